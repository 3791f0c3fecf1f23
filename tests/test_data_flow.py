"""Particle image pairs from files: the real samples where at hand, small broken ones elsewhere."""

import io
import struct

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import needs_data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_data_images import serve_from

from equitutor.data import SETS, DataSet, FormatError, flow_pairs
from equitutor.data.pictures import read_flo

KNOWN = {"backstep": 1, "dns_turbulence": 2, "isotropic": 1, "sqg": 1, "uniform": 6}


def mismatch(pairs, flow):
    """How much the second frame, brought back along the flow, differs from the first."""
    height, width = flow.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    to = torch.stack([x, y]) + flow
    grid = torch.stack([to[:, 0] / (width - 1), to[:, 1] / (height - 1)], -1) * 2 - 1
    back = F.grid_sample(pairs.frames[:, 1:], grid, align_corners=True)
    inner = (back - pairs.frames[:, :1])[..., 16:-16, 16:-16]
    return inner.square().mean((1, 2, 3))


@needs_data("piv_cai2019")
@pytest.mark.parametrize("kind", KNOWN)
def test_real_pairs_and_their_flow(kind):
    pairs = flow_pairs(kind)
    assert pairs.frames.shape == pairs.flow.shape == (KNOWN[kind], 2, 256, 256)
    assert pairs.frames.dtype == pairs.flow.dtype == torch.float32
    assert 0 <= pairs.frames.min() < pairs.frames.max() <= 1
    assert pairs.frames.max() > 0.5
    assert pairs.flow.isfinite().all()
    assert pairs.classes == (kind,)
    assert pairs.y.tolist() == [0] * KNOWN[kind]
    assert "Research use only" in pairs.license
    # The flow explains the second frame; nothing, or a twin with a channel turned, does not.
    turned = pairs.flow * torch.tensor([-1.0, 1]).view(2, 1, 1)
    true, still, wrong = (mismatch(pairs, u) for u in (pairs.flow, 0 * pairs.flow, turned))
    assert (true < 0.5 * still).all()
    assert (true < 0.5 * wrong).all()


@needs_data("piv_cai2019")
@pytest.mark.parametrize("kind", ["dns_turbulence", "isotropic", "sqg"])
def test_real_flow_points_down_in_the_second_channel(kind):
    pairs = flow_pairs(kind)
    twin = pairs.flow * torch.tensor([1.0, -1]).view(2, 1, 1)
    assert (mismatch(pairs, pairs.flow) < 0.5 * mismatch(pairs, twin)).all()


@needs_data("piv_cai2019")
def test_the_uniform_flow_is_five_pixels_to_the_right():
    flow = flow_pairs("uniform").flow
    assert (flow[:, 0] == 5).all()
    assert (flow[:, 1] == 0).all()


@needs_data("piv_cai2019")
def test_real_pair_without_known_flow():
    pairs = flow_pairs("vortex_pair")
    assert pairs.frames.shape == (1, 2, 480, 512)
    assert pairs.flow is None


@needs_data("piv_pivlab")
def test_real_jet():
    pairs = flow_pairs("jet")
    assert pairs.frames.shape == (4, 2, 1040, 1392)
    assert pairs.flow is None
    assert pairs.license == "MIT License."
    first, second = pairs.frames.unbind(1)
    assert not torch.equal(first, second)


def flo(flow, magic=202021.25):
    _, height, width = flow.shape
    values = np.ascontiguousarray(flow.transpose(1, 2, 0), dtype="<f4")
    return struct.pack("<f2i", magic, width, height) + values.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("flow")


def write(folder, data):
    path = folder / "some.flo"
    path.write_bytes(data)
    return path


@settings(max_examples=100)
@given(height=st.integers(1, 6), width=st.integers(1, 6), seed=st.integers(0, 99))
def test_flo_round_trip(folder, height, width, seed):
    flow = np.random.default_rng(seed).normal(size=(2, height, width)).astype(np.float32)
    found = read_flo(write(folder, flo(flow)))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, flow)


def test_unknown_flow_is_nan(folder):
    flow = np.array([[[1.0, 2e9]], [[-1e10, 3.0]]])
    np.testing.assert_array_equal(
        read_flo(write(folder, flo(flow))), [[[1, np.nan]], [[np.nan, 3]]]
    )


FLOW = np.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (flo(FLOW)[:-1], "some.flo is cut off: 4 x 3 pixels need 108 bytes, found 107"),
        (flo(FLOW) + b"x", "is too long: 4 x 3 pixels need 108 bytes, found 109"),
        (flo(FLOW)[:11], "cut off: expected a header of 12 bytes, found 11"),
        (b"", "found 0"),
        (flo(FLOW, magic=1.0), "magic number 0000803f, expected 50494548"),
        (struct.pack(">f2i", 202021.25, 4, 3) + bytes(96), "magic number"),
        (struct.pack("<f2i", 202021.25, 0, 3), "the size 0 x 3, expected at least 1 x 1"),
        (struct.pack("<f2i", 202021.25, -4, -3) + bytes(96), "the size -4 x -3"),
    ],
)
def test_broken_flo(folder, data, message):
    with pytest.raises(FormatError, match=message):
        read_flo(write(folder, data))


def frame(value, size=(4, 3)):
    stream = io.BytesIO()
    Image.new("L", size, value).save(stream, "TIFF")
    return stream.getvalue()


def small_set(tmp_path, monkeypatch, change=None):
    files = {}
    for i in (1, 2):
        files[f"piv_cai2019/SQG/p{i}_img1.tif"] = frame(51 * i)
        files[f"piv_cai2019/SQG/p{i}_img2.tif"] = frame(255)
        files[f"piv_cai2019/SQG/p{i}_flow.flo"] = flo(i * FLOW)
    files.update(change or {})
    monkeypatch.setitem(SETS, "piv_cai2019", DataSet("", "", "", ()))
    kept = {name: data for name, data in files.items() if data is not None}
    serve_from(tmp_path, monkeypatch, kept)


def test_small_set(tmp_path, monkeypatch):
    small_set(tmp_path, monkeypatch)
    pairs = flow_pairs("sqg")
    torch.testing.assert_close(pairs.frames[:, :, 0, 0], torch.tensor([[0.2, 1.0], [0.4, 1.0]]))
    np.testing.assert_array_equal(pairs.flow, np.stack([FLOW, 2 * FLOW]))
    pairs.flow[0] = 0  # the tensors own their memory


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"piv_cai2019/SQG/p2_img2.tif": None}, "no second frame SQG/p2_img2.tif"),
        ({"piv_cai2019/SQG/p2_flow.flo": None}, "2 pairs of sqg, but 1 flows"),
        ({"piv_cai2019/SQG/p1_flow.flo": flo(FLOW[:, :2])}, r"shape \(2, 2, 4\), but the frames"),
        ({"piv_cai2019/SQG/p1_img2.tif": frame(9)[:50]}, "not a whole picture"),
        ({"piv_cai2019/SQG/p1_img2.tif": frame(9, (4, 2))}, "the frames of SQG/p1 differ in size"),
    ],
)
def test_sets_that_do_not_fit_together(tmp_path, monkeypatch, change, message):
    small_set(tmp_path, monkeypatch, change)
    with pytest.raises(FormatError, match=message):
        flow_pairs("sqg")


def test_unknown_kind():
    with pytest.raises(ValueError, match="kind is 'cylinder', but has to be 'backstep', 'dns_"):
        flow_pairs("cylinder")
