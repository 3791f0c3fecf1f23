"""Motion capture and a depth scan: real files where they are at hand, small and broken ones."""

import json
import math
import struct

import numpy as np
import pytest
import torch
from conftest import needs_data
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from equitutor.data import (
    ACROBATIC,
    EVERYDAY,
    HUMAN_PARTS,
    FormatError,
    Motion,
    body_poses,
    human_scan,
    motion,
    retarget,
)
from equitutor.data.human import lzf_decompress, read_compressed_pcd
from equitutor.data.motion import smallest_rotation
from equitutor.data.motion_files import read_cmu, read_deepmimic
from equitutor.groups import haar_so3
from equitutor.methods.articulated import anny_lite

patient = settings(deadline=None, max_examples=20)  # a busy machine is no failure
INDEX = {part: i for i, part in enumerate(HUMAN_PARTS)}
UP = torch.tensor([0.0, 0, 1]).double()
AHEAD = torch.tensor([0.0, -1, 0]).double()


def pointing(rotations, directions, part):
    """Return where a part points in each frame, (T, 3)."""
    i = INDEX[part]
    return torch.nn.functional.normalize(rotations[:, i] @ directions[i].double(), dim=1)


def is_rotation(r):
    eye = torch.eye(3, dtype=r.dtype)
    return (r @ r.mT - eye).abs().max() < 1e-5 and (torch.linalg.det(r) - 1).abs().max() < 1e-5


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=needs_data(f"mocap_{name.split('/')[0]}"))
        for name in EVERYDAY + ACROBATIC
    ],
)
def test_real_clips(name):
    clip = motion(name)
    t = len(clip)
    assert clip.rotations.shape == (t, 19, 3, 3)
    assert clip.root.shape == (t, 3)
    assert is_rotation(clip.rotations)
    torch.testing.assert_close(clip.directions.norm(dim=1), torch.ones(19).double())
    assert 20 < clip.rate < 121
    body = anny_lite()
    rotations = retarget(clip, body.names, body.directions)
    assert is_rotation(rotations)
    for side in ("left", "right"):  # knees and elbows bend one way
        for part in ("upper arm", "forearm", "thigh", "shin"):
            a = pointing(rotations, body.directions, f"{side} {part}")
            b = pointing(clip.rotations, clip.directions, f"{side} {part}")
            assert (a - b).abs().max() < 1e-6
    # frames follow one another without a jump, but for a hand that flips in the climbing clip
    step = (rotations[1:] - rotations[:-1]).square().sum((-2, -1)).sqrt()
    assert (step > 60 / clip.rate).double().mean() < 2e-4
    if name in EVERYDAY:
        assert (pointing(clip.rotations, clip.directions, "chest") @ UP).min() > 0.5
        for side in ("left", "right"):
            assert (pointing(rotations, body.directions, f"{side} thigh") @ UP).mean() < -0.6
            assert (pointing(rotations, body.directions, f"{side} foot") @ AHEAD).mean() > 0.3
    elif name == "deepmimic/cartwheel":
        assert (pointing(clip.rotations, clip.directions, "chest") @ UP).min() < -0.5


@needs_data("mocap_deepmimic")
def test_a_walk_swings_its_legs_in_turn():
    body = anny_lite()
    r = retarget(motion("deepmimic/walk"), body.names, body.directions)
    left = pointing(r, body.directions, "left thigh") @ AHEAD
    right = pointing(r, body.directions, "right thigh") @ AHEAD
    assert float(torch.corrcoef(torch.stack([left, right]))[0, 1]) < -0.5
    # a knee bends backward: the shin points behind the thigh
    for side in ("left", "right"):
        shin = pointing(r, body.directions, f"{side} shin") @ AHEAD
        thigh = pointing(r, body.directions, f"{side} thigh") @ AHEAD
        assert (shin - thigh).mean() < -0.1


@needs_data("mocap_cmu")
@needs_data("mocap_deepmimic")
def test_poses_for_training_and_for_trial():
    body = anny_lite()
    calm = body_poses("everyday", body.names, body.directions, 60)
    wild = body_poses("acrobatic", body.names, body.directions, 60)
    assert calm.dtype == torch.float32
    assert is_rotation(calm)
    assert is_rotation(wild)
    assert torch.equal(calm, body_poses("everyday", body.names, body.directions, 60))
    assert not torch.equal(calm, body_poses("everyday", body.names, body.directions, 60, seed=1))
    upright = [(poses[:, 0, 2, 2] > 0.7).float().mean() for poses in (calm, wild)]
    assert upright[0] > 0.9 > upright[1]
    assert not set(EVERYDAY) & set(ACROBATIC)


@patient
@given(seed=st.integers(0, 9999))
def test_retargeting_points_parts_where_the_clip_points_them(seed):
    g = torch.Generator().manual_seed(seed)
    rest = torch.nn.functional.normalize(torch.randn(19, 3, generator=g).double(), dim=1)
    own = torch.randn(19, 3, generator=g).double()
    unit = torch.nn.functional.normalize(own, dim=1)
    assume((unit * rest).sum(1).min() > -0.95)  # between opposite ones any axis would do
    rotations = haar_so3(2 * 19, g).view(2, 19, 3, 3)
    clip = Motion("some", rotations, rest, torch.zeros(2, 3), 30.0)
    laid = retarget(clip, HUMAN_PARTS, own)
    assert is_rotation(laid)
    for part in HUMAN_PARTS[5:]:
        a, b = pointing(laid, own, part), pointing(rotations, rest, part)
        assert (a - b).abs().max() < 1e-9
    assert torch.equal(laid[:, :5], rotations[:, :5])  # the torso is kept
    # turning the whole clip turns the result
    turn = haar_so3(1, g)[0]
    moved = retarget(Motion("some", turn @ rotations, rest, clip.root, 30.0), HUMAN_PARTS, own)
    assert (moved - turn @ laid).abs().max() < 1e-12


def test_smallest_rotation_of_opposite_and_equal_vectors():
    a = torch.nn.functional.normalize(torch.randn(5, 3).double(), dim=1)
    assert (smallest_rotation(a, a) - torch.eye(3).double()).abs().max() < 1e-12
    assert smallest_rotation(a, -a).isfinite().all()


def still_clip(frames=2, **changes):
    row = [1 / 30, 0, 0.9, 0] + 3 * [1, 0, 0, 0]
    for _ in range(2):
        row += [1, 0, 0, 0, 0.0, 1, 0, 0, 0, 1, 0, 0, 0, 0.0]
    for i, value in changes.items():
        row[int(i[1:])] = value
    return {"Loop": "none", "Frames": frames * [row]}


def test_deepmimic_by_hand(tmp_path):
    path = tmp_path / "clip.txt"
    path.write_text(json.dumps(still_clip()))
    clip = read_deepmimic(path)
    assert (clip.rotations - torch.eye(3).double()).abs().max() < 1e-12
    assert clip.rate == pytest.approx(30)
    assert torch.allclose(clip.directions[INDEX["left thigh"]], -UP)
    assert torch.allclose(clip.directions[INDEX["right foot"]], AHEAD)
    assert torch.allclose(clip.root[0], torch.tensor([0.0, 0, 0.9]))
    # number 20 is the right knee: a hinge by -90 degrees takes the shin behind
    path.write_text(json.dumps(still_clip(n20=-math.pi / 2)))
    bent = read_deepmimic(path)
    assert torch.allclose(pointing(bent.rotations, bent.directions, "right shin")[0], -AHEAD)
    assert torch.allclose(pointing(bent.rotations, bent.directions, "right thigh")[0], -UP)
    assert torch.allclose(pointing(bent.rotations, bent.directions, "left shin")[0], -UP)
    # the chest turned by a quarter takes arms and head along, and the abdomen halfway
    half = math.sqrt(0.5)
    path.write_text(json.dumps(still_clip(n8=half, n10=half)))
    turned = read_deepmimic(path).rotations[0]
    assert torch.allclose(turned[INDEX["head"]], turned[INDEX["chest"]])
    assert torch.allclose(turned[INDEX["abdomen"]] @ turned[INDEX["abdomen"]],
                          turned[INDEX["chest"]], atol=1e-9)  # fmt: skip
    assert torch.allclose(turned[INDEX["pelvis"]], torch.eye(3).double())


BONES = (
    "lowerback", "thorax", "lowerneck", "head", "lclavicle", "lhumerus", "lradius", "lhand",
    "rclavicle", "rhumerus", "rradius", "rhand", "lfemur", "ltibia", "lfoot", "rfemur", "rtibia",
    "rfoot",
)  # fmt: skip


def write_cmu(folder, bones=BONES, frame="root 1 2 3 0 90 0\nlfemur 90\n"):
    lines = [":units", ":root", "order TX TY TZ RX RY RZ", ":bonedata"]
    for bone in bones:
        lines += ["begin", f"name {bone}", "direction 0 -1 0", "length 5", "axis 0 0 20 XYZ"]
        lines += ["dof rx"] if bone == "lfemur" else []
        lines += ["end"]
    parents = dict.fromkeys(bones, "root") | {"ltibia": "lfemur", "lfoot": "ltibia"}
    lines += [":hierarchy", "begin"]
    # children first, to see that the order in the file does not matter
    lines += [f"{parents[b]} {b}" for b in reversed(bones)] + ["end"]
    (folder / "a.asf").write_text("\n".join(lines))
    (folder / "a.amc").write_text(f"#!OML:ASF\n:FULLY-SPECIFIED\n:DEGREES\n1\n{frame}")
    return folder / "a.asf", folder / "a.amc"


def test_cmu_by_hand(tmp_path):
    clip = read_cmu(*write_cmu(tmp_path))
    assert len(clip) == 1
    # root: a quarter about y (up there), which is z here
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]).double()
    assert torch.allclose(clip.rotations[0, INDEX["pelvis"]], quarter, atol=1e-12)
    assert torch.allclose(clip.root[0], 0.0254 / 0.45 * torch.tensor([1.0, -3.0, 2.0]), atol=1e-6)
    # the thigh: parent times C M C^-1, with C a turn by 20 degrees about z
    c, s = math.cos(math.radians(20)), math.sin(math.radians(20))
    axis = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]]).double()
    about_x = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]).double()
    about_y = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]).double()
    b = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]).double()
    want = b @ (about_y @ axis @ about_x @ axis.T) @ b.T
    for part in ("left thigh", "left shin", "left foot"):
        assert torch.allclose(clip.rotations[0, INDEX[part]], want, atol=1e-12)
    assert torch.allclose(clip.rotations[0, INDEX["right thigh"]], quarter, atol=1e-12)


def test_broken_motion_files(tmp_path):
    cases = [
        (dict(frame=""), None),
        (dict(frame="root 1 2 3 0 90\n"), "5 numbers for the bone root"),
        (dict(frame="tail 1\n"), "tail"),
        (dict(frame="lfemur much\n"), "frame 1"),
        (dict(frame="lfemur nan\n"), "not finite"),
        (dict(bones=BONES[:-1]), "no bone rfoot"),
    ]
    for changes, message in cases:
        paths = write_cmu(tmp_path, **changes)
        if message is None:
            assert len(read_cmu(*paths)) == 1
            continue
        with pytest.raises(FormatError, match=message):
            read_cmu(*paths)
    skeleton, frames = write_cmu(tmp_path)
    frames.write_text(":DEGREES\n")
    with pytest.raises(FormatError, match="no frames"):
        read_cmu(skeleton, frames)
    skeleton.write_text(":bonedata\ndirection 1 2\n")
    with pytest.raises(FormatError, match="not a sound ASF"):
        read_cmu(skeleton, frames)
    skeleton.write_text(":hierarchy\nroot ghost\n")
    with pytest.raises(FormatError, match="no data on the bone ghost"):
        read_cmu(skeleton, frames)
    path = tmp_path / "clip.txt"
    for text, message in (
        ("{", "not a DeepMimic clip"),
        ("[]", "not a DeepMimic clip"),
        ('{"Frames": [[1, 2]]}', r"shape \(1, 2\)"),
        (json.dumps(still_clip(n0=0.0)), "no frame lasts"),
        (json.dumps(still_clip(n5=float("nan"))), "not a DeepMimic clip"),
    ):
        path.write_text(text)
        with pytest.raises(FormatError, match=message):
            read_deepmimic(path)


def test_bad_arguments():
    clip = Motion("a", torch.eye(3).double().expand(1, 19, 3, 3), torch.ones(19, 3).double(),
                  torch.zeros(1, 3), 30.0)  # fmt: skip
    cases = [
        (lambda: motion("cmu/99_99"), "name is 'cmu/99_99', but has to be 'cmu/02_01'"),
        (lambda: retarget(clip, ["tail"], torch.ones(1, 3)), "parts has 'tail'"),
        (lambda: retarget(clip, ["head"], torch.ones(2, 3)), r"directions has the shape \(2, 3\)"),
        (lambda: retarget(clip, ["head"], torch.zeros(1, 3)), "a row without length"),
        (lambda: body_poses("odd", (), torch.zeros(0, 3), 1), "kind is 'odd'"),
        (lambda: body_poses("everyday", (), torch.zeros(0, 3), 0), "n is 0"),
        (lambda: body_poses("everyday", (), torch.zeros(0, 3), 1, seed=-1), "seed is -1"),
        (lambda: human_scan(0), "points is 0"),
        (lambda: human_scan(True), "points is True"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


@needs_data("human_scan")
def test_real_person():
    x = human_scan(3000)
    assert x.shape == (3000, 3)
    assert x.mean(0).abs().max() < 1e-5
    size = x.amax(0) - x.amin(0)
    assert 0.3 < size[2] < 1.0  # head and shoulders
    # shoulders are wider than the head, and below it
    top, low = x[x[:, 2] > 0.1], x[x[:, 2] < -0.1]
    assert low[:, 0].std() > 1.3 * top[:, 0].std()
    assert torch.equal(x, human_scan(3000))
    with pytest.raises(ValueError, match=r"nearer is 0\.01"):
        human_scan(10, nearer=0.01)


def packed(points, fields="x y z", sizes="4 4 4"):
    data = np.asarray(points, "<f4").T.tobytes()
    lzf = b"".join(bytes([len(data[i : i + 32]) - 1]) + data[i : i + 32]
                   for i in range(0, len(data), 32))  # fmt: skip
    head = f"# .PCD\nFIELDS {fields}\nSIZE {sizes}\nPOINTS {len(points)}\nDATA binary_compressed\n"
    return head.encode() + struct.pack("<II", len(lzf), len(data)) + lzf


@patient
@given(n=st.integers(1, 40), seed=st.integers(0, 99))
def test_compressed_pcd_round_trip(tmp_path_factory, n, seed):
    path = tmp_path_factory.mktemp("pcd") / "a.pcd"
    points = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    path.write_bytes(packed(points))
    assert np.array_equal(read_compressed_pcd(path), points)
    points[0, 1] = np.nan
    path.write_bytes(packed(points))
    assert len(read_compressed_pcd(path)) == n - 1


def test_broken_compressed_pcd(tmp_path):
    path = tmp_path / "a.pcd"
    whole = packed(np.zeros((5, 3)))
    for data, message in (
        (b"nothing", "not a compressed PCD"),
        (packed(np.zeros((5, 3)), fields="a b c"), "fields x, y and z"),
        (packed(np.zeros((5, 3)), sizes="4 4 8"), "single numbers of 4 bytes"),
        (whole[:-3], "cut off or broken"),
        (whole[: whole.index(b"compressed\n") + 13], "cut off or broken"),
    ):
        path.write_bytes(data)
        with pytest.raises(FormatError, match=message):
            read_compressed_pcd(path)


def test_lzf():
    assert lzf_decompress(bytes([0, 65]) + bytes([7 << 5, 3, 0]), 13) == 13 * b"A"  # 7 + 3 + 2
    with pytest.raises(ValueError, match="before the first byte"):
        lzf_decompress(bytes([0, 65, 32, 9]), 4)
    with pytest.raises(ValueError, match="1 bytes came out, expected 2"):
        lzf_decompress(bytes([0, 65]), 2)
