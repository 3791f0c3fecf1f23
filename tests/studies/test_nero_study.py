"""The four studies of NERO: that they run, and the mathematics that they add."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import needs_data
from laboratory import lab  # noqa: F401
from safetensors.torch import load_file

from equitutor import data, orbits
from equitutor.chapters import book_file
from equitutor.models.group_cnn import GroupCNN
from equitutor.studies import __main__ as cli
from equitutor.studies import find, nero, nero_boxes, nero_clouds, nero_flows

STUDIES = ("nero", "nero-boxes", "nero-flows", "nero-clouds")


def smoke(lab, name, **only):  # noqa: F811
    """Returns network -> record of the smallest size."""
    lab.study, lab.path = name, lab.results / f"{name}.jsonl"
    lab.run(only={key: [value] for key, value in only.items()})
    return {r["config"]["network"]: r for r in lab.records()}


def test_the_study_of_digits_runs(lab, capsys):  # noqa: F811
    found = smoke(lab, "nero", network="CNN,C4")
    assert found["C4"]["metrics"]["logit_change"] < 1e-5 < found["CNN"]["metrics"]["logit_change"]
    assert found["C4"]["metrics"]["power_in_fours"] > 99.99 > 90 > found["CNN"]["metrics"][
        "power_in_fours"]  # fmt: skip
    assert list(found["C4"]["data"]) == ["scikit-learn/digits"]
    assert cli.main(lab.words("show")) == 0
    assert "NOT TESTED" in capsys.readouterr().out


def test_the_study_of_detectors_runs(lab):  # noqa: F811
    (record,) = smoke(lab, "nero-boxes", network="jittered").values()
    assert record["metrics"]["in_view"] == 100


@needs_data("piv_cai2019")
@needs_data("piv_pivlab")
def test_the_study_of_flows_runs(lab):  # noqa: F811
    found = smoke(lab, "nero-flows")
    assert found["cross-correlation"]["metrics"]["equivariance_error"] < 1e-5
    assert found["network, posed"]["metrics"]["equivariance_error"] > 1e-2
    flat = [found["cross-correlation"]["metrics"][f"real_{i}"] for i in range(16)]
    assert max(flat) - min(flat) < 1e-5
    assert {name.split("/")[0] for name in found["network"]["data"]} >= {"piv_cai2019"}


def test_the_study_of_clouds_runs(lab):  # noqa: F811
    found = smoke(lab, "nero-clouds", network="PointNet,moments")
    assert found["moments"]["metrics"]["logit_change"] < 1e-4
    assert found["PointNet"]["metrics"]["logit_change"] > 1e-3


@needs_data("bccd")
@needs_data("modelnet10_voxels")
@needs_data("geometric_shapes")
@needs_data("pcl_shapes")
@needs_data("mnist")
def test_real_data_are_read_as_the_runs_see_them():
    train, test = nero_boxes.places_to_look({"data": "cells", "tested": 8})
    assert len(test) == 8 and train.x.shape[1:] == test.x.shape[1:] == (3, 112, 112)
    for name in nero_clouds.TITLES:
        first, then = nero_clouds.clouds(name, 32)
        assert first.x.shape[1:] == then.x.shape[1:] == (32, 3)
        assert set(then.y.tolist()) <= set(first.y.tolist())  # no test class is unknown
    assert nero.images("mnist", "test").x.shape == (10_000, 1, 28, 28)


@needs_data("mnist")
def test_the_hundred_digits_are_the_first_ten_of_each_class():
    test, few = data.mnist("test"), data.hundred()
    for label in range(10):
        torch.testing.assert_close(few.x[few.y == label], test.x[test.y == label][:10])


@pytest.mark.parametrize("name, n", [("CNN", 1), ("CNN-turned", 1), ("C4", 4), ("C4-turned", 4),
                                     ("C8", 8)])  # fmt: skip
def test_the_recorded_networks_read_upright_digits(name, n):
    net = GroupCNN(n, width=8)
    net.load_state_dict(load_file(book_file(f"checkpoints/nero-{name}.safetensors")))
    few = data.hundred()
    assert (net.eval()(few.x).argmax(1) == few.y).float().mean() > 0.7


def walk_of(outputs, y):
    """A result whose outputs (36, N, K) are given."""
    circle = orbits.so2(36)
    correct = (outputs.argmax(2) == y).float()
    return orbits.OrbitResult(correct, circle, outputs=outputs)


def test_how_sure_it_is_where_it_is_wrong():
    y = torch.tensor([0, 0])
    outputs = torch.zeros(36, 2, 2)
    outputs[:, 0, 0] = 2.0  # right, 88 % sure
    outputs[:, 1, 1] = 4.0  # wrong, 98 % sure
    found = nero.confidences(walk_of(outputs, y), y)
    assert found["wrong_and_sure"] == 100 and found["told_apart"] == 0
    outputs[:, 1, 1] = 1.0  # wrong, and less sure than where it is right
    found = nero.confidences(walk_of(outputs, y), y)
    assert found["wrong_and_sure"] == 0 and found["told_apart"] == 100
    outputs[:18, 1, 1] = 4.0  # half and half: 18 of 35 turned ones are counted from angle 10
    assert float(nero.confidences(walk_of(outputs, y), y)["told_apart"]) == pytest.approx(
        100 * 18 / 35
    )


def test_six_for_nine():
    y = torch.tensor([6, 9, 3])
    said = torch.tensor([9, 9, 8])  # a 6 for a 9, right, another mistake
    outputs = F.one_hot(said, 10).float().expand(36, 3, 10)
    found = nero.mistakes(walk_of(outputs, y), y)
    assert found["six_nine"] == 50 and found["six_nine_swapped"] == 50


def test_the_error_splits_and_the_vote_is_that_of_the_orbit():
    draw = torch.Generator().manual_seed(0)
    y, outputs = torch.tensor([0, 1, 2]), torch.randn(36, 3, 4, generator=draw)
    walk = walk_of(outputs, y)
    found = nero.by_itself(walk, orbits.rescore(walk, y, "confidence"), y)
    error = (outputs.softmax(2) - F.one_hot(y, 4)).square().sum(2).mean()
    parts = found["symmetrized_error"] + found["equivariance_variance"]
    torch.testing.assert_close(parts.float(), error)
    vote = F.one_hot(outputs.argmax(2), 4).sum(0).argmax(1)
    assert found["vote_right"] == 100 * (vote == y).float().mean()


def test_a_network_of_four_orientations_has_its_power_in_fours():
    torch.manual_seed(0)
    x, y = data.digits("test", size=24).x[:4], torch.tensor([0, 1, 2, 3])
    share = {}
    for n in (1, 4):
        net = GroupCNN(n, width=4).eval()
        walk = orbits.evaluate(net, x, y, orbits.so2(36), keep_outputs=True)
        sure = orbits.rescore(walk, y, "confidence")
        share[n] = nero.by_itself(walk, sure, y)["power_in_fours"]
    assert share[4] > 99.9 > 90 > share[1]


def test_the_three_walks_of_a_window():
    walks = nero_boxes.walks(128)
    assert [len(w) for w in walks.values()] == [49, 16, 49]
    places = walks["places"].params
    assert (places % 4 == 0).all()  # one phase of the stride
    residues = {tuple(p) for p in (walks["phases"].params % 4).tolist()}
    assert len(residues) == 16  # all phases
    assert (walks["row"].params[:, 0] == 0).all()
    x, box = torch.rand(1, 1, 128, 128), torch.tensor([[[60.0, 60, 70, 72, 1]]])
    for walk in walks.values():
        assert (walk.params[walk.identity] == 0).all()
        for i in (0, len(walk) - 1):  # what is under the box stays under it
            a, b, c, d = walk.act_y(box, i)[0, 0, :4].int().tolist()
            seen = walk.act_x(x, i)[..., b:d, a:c]
            torch.testing.assert_close(seen, x[..., 60:72, 60:70])
            torch.testing.assert_close(walk.inv_y(walk.act_y(box, i), i), box)


def test_batches_of_windows_keep_the_object_and_its_box_together():
    scene = torch.zeros(1, 1, 128, 128)
    scene[..., 60:68, 58:70] = 1
    target = torch.tensor([[58.0, 60, 70, 68]])
    scenes = data.Scenes(scene, target, torch.tensor([3]), "one", tuple("0123"))
    x, boxes = nero_boxes.framed(scenes, 8, 0, 6)(5)
    for image, (left, top, right, bottom, label) in zip(x[:, 0], boxes[:, 0].int().tolist(),
                                                        strict=True):  # fmt: skip
        assert label == 3 and image[top:bottom, left:right].sum() == image.sum() == 96
    assert len({tuple(b[0].tolist()) for b in boxes}) > 1  # jittered
    again = nero_boxes.framed(scenes, 8, 0, 6)(5)
    torch.testing.assert_close(again[1], boxes)  # a resumed run sees the same


def test_moved_batches_hold_flows_of_their_frames():
    """Of a uniform flow: cross-correlation finds the moved flow in the moved pair."""
    pairs = data.particle_pairs(4, 48, seed=0, fields=("uniform",), max_shift=3.0)
    batches = nero_flows.Batches(pairs.frames, pairs.flow, 2, 0)
    draw, seen = nero_flows.moved(batches), set()
    for step in range(8):
        frames, flow = draw(step)
        found = nero_flows.cross_correlation(frames)
        middle = (slice(None), slice(None), slice(16, 32), slice(16, 32))
        assert (found[middle] - flow[middle]).abs().max() < 0.5
        seen.add(tuple(flow[0, :, 24, 24].sign().tolist()))
    assert len(seen) > 1


def test_every_claim_names_what_the_runs_record():
    import pandas as pd

    for name in STUDIES:
        study, _ = find(name)
        runs = pd.DataFrame([
            {"size": "cpu", **config, **dict.fromkeys(study.units, 1.0)}
            for config in study.configs("cpu")
        ])  # fmt: skip
        for claim in study.claims:
            if claim.measure is not None:
                assert math.isfinite(claim.measure(runs).mean), claim.text
