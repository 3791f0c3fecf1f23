"""The explorers of bodies: checkpoints in half precision, numbers for the page, and refusals."""

import base64
import json

import numpy as np
import pytest
import torch

from equitutor.explorers.articulated import (
    articulated_explorer,
    axes_of,
    part_colors,
    surface_sample,
)
from equitutor.explorers.fitters import (
    halves,
    load_fitter,
    page_body,
    page_fitter,
    save_fitter,
    shorts,
)
from equitutor.explorers.projection import projection_explorer
from equitutor.methods.articulated import ArtEq, PointNet, anny_lite, toy_body
from equitutor.methods.icosahedral import rotation_angle, rotation_tables

TOY = toy_body()
BEND = [{"name": "arm", "part": 2, "axis": [0.0, 1.0, 0.0], "low": -60, "high": 60}]


def nets():
    torch.manual_seed(0)
    return PointNet(6, 3, width=16), ArtEq(TOY.parents, 3)


def upright(body=TOY):
    return {"rest": torch.eye(3).expand(body.n_parts, 3, 3)}


@pytest.mark.parametrize("kind", ["PointNet", "ArtEq"])
def test_a_checkpoint_comes_back_as_its_halves(kind, tmp_path):
    net = nets()[kind == "ArtEq"]
    config = {"ArtEq": dict(parents=list(TOY.parents), n_shape=3),
              "PointNet": dict(n_parts=6, n_shape=3, width=16)}[kind]  # fmt: skip
    path = save_fitter(net, tmp_path / "net.safetensors", **config)
    again = load_fitter(path)
    assert not again.training
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.half().float())
    assert path.stat().st_size < 2.2 * sum(p.numel() for p in net.parameters()) + 10_000


def test_checkpoints_refuse(tmp_path):
    pointnet, _ = nets()
    with pytest.raises(ValueError, match="model is a Linear; need one of ArtEq, PointNet"):
        save_fitter(torch.nn.Linear(2, 2), tmp_path / "a")
    with pytest.raises(ValueError, match="does not rebuild the model"):
        save_fitter(pointnet, tmp_path / "a", n_parts=6, n_shape=3, width=17)
    with pytest.raises(ValueError, match="need at most 2000000"):
        large = dict(n_parts=60, n_shape=3, width=3000)
        save_fitter(PointNet(**large), tmp_path / "a", **large)
    assert not list(tmp_path.iterdir())
    (tmp_path / "b").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="is not a checkpoint of save_fitter"):
        load_fitter(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        load_fitter(tmp_path / "c")


def test_packed_numbers_come_back():
    values = np.array([0.1, -2.0, 6e-5])
    back = np.frombuffer(base64.b64decode(halves(values)), "<f2")
    np.testing.assert_allclose(back, values, rtol=1e-3)
    assert np.frombuffer(base64.b64decode(shorts([0, 65535])), "<u2").tolist() == [0, 65535]
    with pytest.raises(ValueError, match="value runs from -1 to 3"):
        shorts([-1, 3])


def test_page_networks_refuse_what_the_page_cannot_compute():
    for options, wish in (
        (dict(parent_conditioning=True), "parent_conditioning=False"),
        (dict(norm="points"), "norm='channel'"),
        (dict(invariants=False), "invariants=True"),
        (dict(vectors=False), "vectors=True"),
    ):
        with pytest.raises(ValueError, match=wish):
            page_fitter(ArtEq(TOY.parents, 3, **options), TOY.parents)
    with pytest.raises(TypeError, match="net must be an ArtEq or a PointNet, got Linear"):
        page_fitter(torch.nn.Linear(2, 2), TOY.parents, "net")


def test_explorer_refuses():
    pointnet, arteq = nets()
    with pytest.raises(ValueError, match="poses has 0 entries; need 1 to 12"):
        articulated_explorer(pointnet, arteq, TOY, {}, BEND)
    with pytest.raises(ValueError, match=r"poses\['a'\] has shape \(3, 3\)"):
        articulated_explorer(pointnet, arteq, TOY, {"a": torch.eye(3)}, BEND)
    few = ArtEq(TOY.parents, 3, tables=rotation_tables("octahedral"))
    with pytest.raises(ValueError, match="arteq must be an ArtEq with the 60 rotations"):
        articulated_explorer(pointnet, few, TOY, upright(), BEND)


def test_explorers_fit_a_page():
    person = anny_lite()
    large = PointNet(19, 8, width=160), ArtEq(person.parents, 8, frame=6)
    poses = {str(k): upright(person)["rest"] for k in range(8)}
    explorer = articulated_explorer(*large, person, poses, BEND)
    assert len(explorer.to_html().encode()) < 1_000_000
    assert len(projection_explorer().to_html().encode()) < 100_000
    data = json.loads(explorer.payload)
    assert len(data["labels"]) == 512
    assert len(data["colors"]) == len(set(data["colors"])) == 19


def test_axes_meet_the_group_where_they_say():
    elements = rotation_tables().elements
    found = axes_of(elements)
    angle = rotation_angle(torch.eye(3).double(), elements).rad2deg()
    for axis, count in zip(found, (5, 3, 2, 2, 1), strict=True):
        v = torch.tensor(axis["vector"]).double()
        fixed = (elements @ v - v).norm(dim=1) < 1e-6
        assert int(fixed.sum()) == count, axis["name"]
    five = (elements @ torch.tensor(found[0]["vector"]).double()
            - torch.tensor(found[0]["vector"]).double()).norm(dim=1) < 1e-6  # fmt: skip
    assert sorted(angle[five].round().tolist()) == [0, 72, 72, 144, 144]


def test_points_on_the_surface_and_their_parts():
    corners, mix, labels = surface_sample(TOY, 400, 0)
    torch.testing.assert_close(mix.sum(1), torch.ones(400))
    assert mix.min() >= 0
    assert (TOY.labels[corners] == labels[:, None]).all()  # one-hot weights
    assert labels.unique().tolist() == list(range(6))
    body = page_body(anny_lite(), corners, mix)
    assert np.allclose(body["shares"].reshape(-1, 4).sum(1), 1)
    assert len(set(part_colors(TOY.names))) == TOY.n_parts
