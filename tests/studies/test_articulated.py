"""The study of ArtEq: what its runs return, the scans it tests on, its rules and measures."""

import pandas as pd
import pytest
import torch
from conftest import needs_data

from equitutor.groups import haar_so3
from equitutor.methods.articulated import ArtEq, PointNet, part_angles
from equitutor.studies import articulated, estimate, verdicts
from equitutor.studies.study import check_metrics
from equitutor.studies.verdicts import MissingRuns

STUDY = articulated.STUDY
CAPTURED = [needs_data("mocap_cmu"), needs_data("mocap_deepmimic")]
SMOKE = [
    pytest.param(
        config,
        marks=CAPTURED if config["body"] == "person" else [],
        id=f"{config['body']}, {config['network']}",
    )
    for config in STUDY.configs("smoke")
]
TIMES = {"training_seconds", "seconds_per_body"}


@pytest.mark.parametrize("config", SMOKE)
def test_a_run_measures_what_is_declared(config):
    found = check_metrics(STUDY, STUDY.run(config, None))
    name = config["network"]
    knows_the_60 = "PointNet" not in name and name not in articulated.DESCENTS
    assert (found["deviation_group"] < 0.1) == knows_the_60
    assert (found["deviation_random"] < 0.1) == (name in articulated.EXACT)
    assert found["parameters"] > 0 or name in articulated.DESCENTS


def test_a_run_follows_from_its_configuration():
    config, *_ = STUDY.configs("smoke", {"network": ["ArtEq + turns"], "body": ["toy"]})
    first, again, other = (
        {k: v for k, v in STUDY.run(config | {"seed": seed}, None).items() if k not in TIMES}
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_a_network_is_rebuilt_from_plain_values():
    for body in articulated.bodies().values():
        for name in articulated.NETWORKS:
            if name in articulated.ABLATIONS or name in articulated.DESCENTS:
                continue
            config = dict(network=name, body="toy" if body.n_parts == 6 else "person")
            made = articulated.network(config, body)
            kind, again = type(made), articulated.options(config, body)
            kind(**again).load_state_dict(made.state_dict())


def test_steps_bring_the_same_scans_again_and_labels_in_some():
    stream = articulated.Stream(articulated.draw_toy, 10, 2, seed=3)
    (taught, scans), (points, later) = stream(0), stream(1)
    assert taught is scans
    assert points is later.points
    assert torch.equal(stream(0)[1].points, scans.points)
    other = articulated.Stream(articulated.draw_toy, 10, 2, seed=4)
    for another in (later, other(0)[1]):
        assert not torch.equal(another.points, scans.points)


@pytest.mark.parametrize("body", ["toy", pytest.param("person", marks=CAPTURED)])
def test_turned_scans_are_the_others_turned(body):
    held = articulated.held_out(dict(body=body, tested=2, points=40))
    assert tuple(held) == articulated.TESTS
    about = haar_so3(2, torch.Generator().manual_seed(5)).float()
    for name in articulated.BENDS:
        a, b = held[name], held[f"{name}_turned"]
        torch.testing.assert_close(b.points, a.points @ about.mT)
        assert part_angles(b.rotations, about[:, None] @ a.rotations).max() < 0.1
        assert part_angles(b.rotations, a.rotations).min() > 1


def test_deviation_tells_the_equivariant_network_from_the_other():
    torch.manual_seed(0)
    toy = articulated.bodies()["toy"]
    points = articulated.draw_toy(2, articulated.seeded(0), 80).points
    elements = ArtEq(toy.parents, 3).elements[:4]
    off = [
        articulated.deviation(net.eval(), points, elements)
        for net in (ArtEq(toy.parents, 3), PointNet(6, 3, width=16))
    ]
    assert off[0].shape == (4, 2, 6)
    assert off[0].max() < 0.1 < 10 < off[1].max()


def test_a_hidden_part_leaves_no_point():
    scans = articulated.draw_toy(3, articulated.seeded(0), 100)
    hidden = articulated.hide(scans, 2)
    assert (scans.labels == 2).any(1).all()
    assert not (hidden.labels == 2).any()
    for before, after in zip(scans.points, hidden.points, strict=True):
        there = (after[:, None] == before[None]).all(2)
        assert there.any(1).all()


@pytest.mark.parametrize(
    ("rule", "values", "verdict"),
    [
        (articulated.graded(44, 0, ""), [50, 50], "holds"),
        (articulated.graded(44, 0, ""), [44, 44], "holds in part"),
        (articulated.graded(44, 0, ""), [0, 0], "does not hold"),
        (articulated.graded(44, 0, ""), [60, -60], "undecided"),
        (articulated.graded(44, 0, ""), [50], "undecided"),
        (articulated.each_below(0.1, 15, ""), [0.09, 0.01], "holds"),
        (articulated.each_below(0.1, 15, ""), [0.1, 0.01], "holds in part"),
        (articulated.each_below(0.1, 15, ""), [15, 0.01], "does not hold"),
    ],
)
def test_rules_at_their_edges(rule, values, verdict):
    assert rule.judge(estimate(values)) == verdict
    assert verdict in rule.verdicts


def records(**columns):
    return pd.DataFrame({"body": "toy", "size": "cpu", "seed": 0} | columns)


def test_the_cheapest_descent_that_is_as_good_counts():
    names = ["ArtEq + turns", *articulated.DESCENTS]
    runs = records(
        network=names, v2v_near_turned=[8, 30, 8, 7], seconds_per_body=[0.01, 0.1, 0.4, 1.2]
    )
    assert articulated.passes(runs).values == pytest.approx((40,))
    none = runs.assign(v2v_near_turned=[5, 30, 8, 7])
    assert articulated.passes(none).values == pytest.approx((120,))  # a lower bound
    with pytest.raises(MissingRuns, match="a run of every seed"):
        articulated.passes(runs[:3])
    with pytest.raises(MissingRuns):
        articulated.passes(runs[1:])


@pytest.mark.parametrize(
    ("mine", "verdict", "word"),
    [(2, "holds", "at home"), (8, "holds in part", "not surely"), (12, "does not hold", "as good")],
)
def test_the_first_claim_gives_the_reason_of_its_verdict(mine, verdict, word):
    networks = ["ArtEq + turns", "PointNet"]
    rows = [
        dict.fromkeys(STUDY.units, 1.0)
        | dict(body="person", size="cpu", seed=seed, network=name, v2v_far=value + 0.01 * seed)
        for seed in range(3)
        for name, value in zip(networks, (mine, 10), strict=True)
    ]
    first = verdicts(STUDY, pd.DataFrame(rows), "cpu")[0]
    assert first.verdict == verdict
    assert word in first.reason


def test_a_gain_needs_the_same_seeds():
    runs = records(network=["ArtEq + turns", "PointNet"], v2v_far=[1.0, 2.0], seed=[0, 1])
    with pytest.raises(MissingRuns, match="the same seed"):
        articulated.saved("v2v_far", "ArtEq + turns", "PointNet", "toy")(runs)
    with pytest.raises(MissingRuns):
        articulated.saved("v2v_far", "ArtEq + turns", "PointNet", "toy")(runs[:0])
