"""The studies of soft equivariance: what they train, what they measure, what they conclude."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from equitutor.methods.soft import (
    SO,
    SoftTuning,
    count_parameters,
    distances,
    soft_layers,
)
from equitutor.studies import (
    cosines,
    find,
    inertia,
    soft,
    soft_cosines,
    soft_strengths,
    soft_walks,
    verdicts,
    walks,
)
from equitutor.studies.study import Estimate, check_metrics
from equitutor.studies.verdicts import MissingRuns

# Forward-mode derivatives of PyTorch 2.13 still script a module of their own.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
STUDIES = ["soft-equivariance", "soft-walks", "soft-cosines", "soft-strengths"]
SMOKE = [(name, config) for name in STUDIES for config in find(name)[0].planned("smoke")]


def label(value):
    if isinstance(value, dict):
        return value.get("network") or f"{value['task']}, {value['way']}"
    return value


# Runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "config"), SMOKE, ids=label)
def test_each_kind_of_run_gives_what_its_study_declares(name, config, tmp_path):
    from equitutor.training import Checkpoint

    study, _ = find(name)
    found = check_metrics(study, study.run(dict(config), Checkpoint(tmp_path / "a.pt")))
    if name == "soft-equivariance":
        exact = [v for k, v in found.items() if k.startswith("breaks") and k.endswith("z0")]
        kind = config["network"]
        if kind in ("truth", "exact O(3)"):
            assert max(exact) < 1e-3
        if kind in ("MLP", "no penalty"):
            assert min(exact) > 1


def test_a_run_is_the_same_again_and_another_seed_is_not(tmp_path):
    from equitutor.training import Checkpoint

    config = soft.planned(["PER, automatic"], [0], "0 0.3", **soft.SMALL)[0]
    kept = lambda name: Checkpoint(tmp_path / name)
    nets, tuning = soft.train("PER, automatic", soft.cases("0 0.3", 0), config, kept("a"))
    again, _ = soft.train("PER, automatic", soft.cases("0 0.3", 0), config, kept("b"))
    other, _ = soft.train("PER, automatic", soft.cases("0 0.3", 1), config, kept("c"))
    x = inertia.held_out(10)
    assert torch.equal(nets[0](x), again[0](x))
    assert not torch.allclose(nets[0](x), other[0](x))
    assert tuning.strengths[:, 0].eq(0).all()  # nobody asks for O(3)


@pytest.mark.parametrize(
    ("network", "kinds", "spread"),
    [
        (inertia.network, soft.TRAINED, 1.03),
        (walks.network, list(soft_walks.CHOSEN)[1:], 1.03),
        (cosines.network, soft_cosines.TRAINED, 1.03),
    ],
    ids=["inertia", "walks", "cosines"],
)
def test_competitors_have_equally_many_parameters(network, kinds, spread):
    counts = [count_parameters(network(kind)) for kind in kinds]
    assert max(counts) < spread * min(counts)


# Cases --------------------------------------------------------------------------------------


def test_levels_share_data_and_null_runs_do_not():
    main = soft.cases(soft.LEVELS, 0)
    by_axis = {axis: {c.seed for c in main if c.axis == axis} for axis in soft.AXES}
    assert all(len(seeds) == 1 for seeds in by_axis.values())
    null = [c for seed in soft.NULL_SEEDS for c in soft.cases(soft.NULL_LEVELS, seed)]
    assert len({c.seed for c in null}) == len(null) == 36
    used = {c.seed for seed in range(10) for c in soft.cases(soft.LEVELS, seed)}
    assert not used & {c.seed for c in null}
    assert not (used | {c.seed for c in null}) & {997, 998, 999}  # those of the tests


@pytest.mark.parametrize("axis", soft.AXES)
def test_the_plane_of_an_axis_is_the_one_that_holds(axis):
    f = partial(inertia.target, axis=axis, eps=1.0)
    errors = [inertia.error_of(f, inertia.held_out(50), group) for group in inertia.PLANES]
    right = soft.AXES.index(axis)
    assert errors[right] < 1e-3
    assert min(e for k, e in enumerate(errors) if k != right) > 5


# Ways to ask --------------------------------------------------------------------------------


def one(net):
    return {name: p[None].detach() for name, p in net.named_parameters()}


@pytest.mark.parametrize("kind", ["PER, fixed", "PER, automatic", "PER, told", "PER in the loss"])
def test_strengths_of_the_candidates(kind):
    tuning = inertia.asking(kind, ["x", "z"], [2.0, 3.0], 100)["tune"]
    on = [[0, 2, 2, 2], [0, 3, 3, 3]]
    if "told" in kind:
        on = [[0, 0, 2, 0], [0, 3, 0, 0]]  # turns about x turn the plane yz
    assert tuning.strengths.tolist() == on
    assert tuning.decoupled == ("in the loss" not in kind)


def test_the_lie_penalty_is_zero_for_symmetric_weights_alone():
    torch.manual_seed(0)
    net = inertia.network("Lie derivative")
    ask = inertia.LiePenalty(torch.tensor([1.0]))
    assert ask(one(net)).shape == (1,)
    assert ask(one(net)) > 1e-4
    with torch.no_grad():
        for layer in soft_layers(net).values():
            layer.weight.copy_(layer.projectors[0].weight(layer.weight))
            layer.bias.copy_(layer.projectors[0].bias(layer.bias))
    assert ask(one(net)) < 1e-10


def test_the_latent_penalty_is_zero_for_a_constant_latent_alone():
    torch.manual_seed(0)
    net = inertia.network("latent loss")
    ask = inertia.LatentPenalty(torch.tensor([1.0]))
    assert ask(one(net)) > 1e-6
    with torch.no_grad():
        net.encoder[2].weight.zero_()
        net.encoder[2].bias.fill_(1.0)  # equal numbers stay where they are
    assert ask(one(net)) < 1e-12


def test_residual_pathways_are_held_down_each_with_its_own_strength():
    torch.manual_seed(0)
    net = inertia.network("RPP, O(3)")
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "residual" in name:
                p.fill_(1.0)
    params = {name: torch.stack([p, p]) for name, p in net.named_parameters()}
    weak, strong = inertia.held_down(net, torch.tensor([1.0, 10.0]), params).tolist()
    assert strong == pytest.approx(10 * weak, rel=0.01)


# Measures -----------------------------------------------------------------------------------


def test_a_twist_changes_the_distance_and_not_the_function():
    torch.manual_seed(0)
    net, x = inertia.network("PER, fixed"), inertia.held_out(20)
    with torch.no_grad():  # symmetric in the plane xy
        for layer in soft_layers(net).values():
            layer.weight.copy_(layer.projectors[1].weight(layer.weight))
            layer.bias.copy_(layer.projectors[1].bias(layer.bias))
    other = inertia.twist(net, inertia.AXIS_TURN)
    assert_close(other(x), net(x), atol=1e-5, rtol=1e-5)
    assert distances(net)[1] < 1e-8 < 1 < distances(other)[1]
    about_z = torch.tensor([[-1.0, 0, 0], [0, -1, 0], [0, 0, 1]])  # an element of the group
    assert distances(inertia.twist(net, about_z))[1] < 1e-8


def test_readings_are_what_the_rule_uses():
    net = inertia.network("PER, fixed")
    tuning = SoftTuning(net, torch.tensor([0.0, 1, 1, 1]), 100, at=0.6, every=1)
    for step in range(100):
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.01 * torch.randn(p.shape))
        tuning(step, lr=0.01)
    assert torch.equal(inertia.readings(tuning.record, 100, 0.6), tuning.snapshot)
    assert not torch.equal(inertia.readings(tuning.record, 100, 0.5), tuning.snapshot)


def test_announced_is_what_no_null_run_shows():
    null = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])  # medians 2 and 20, at most 1.5 units
    assert soft.announced([[3.0, 31.0], [3.1, 29.0]], null).tolist() == [
        [False, True], [True, False],
    ]  # fmt: skip


# Conclusions --------------------------------------------------------------------------------


def records(kind, seed, text=soft.LEVELS, **metrics):
    """A made-up run; metrics are functions of a case."""
    row = {"network": kind, "seed": seed, "levels": text, "size": "cpu"}
    for case in soft.cases(text, seed):
        for name in soft.PER_CASE:
            value = metrics.get(name, lambda case: 1.0)
            row[f"{name} {case.axis}{case.slot}"] = float(value(case))
    return row


def by_plane(right, wrong):
    """Metrics of the three planes: one value for the plane that holds, one for the others."""
    return lambda k: lambda case: right(case) if soft.AXES.index(case.axis) == k else wrong(case)


def test_networks_know_which_plane_holds():
    made = by_plane(lambda case: 0.0, lambda case: 10 * case.eps)
    runs = pd.DataFrame(
        [records("PER, automatic", 0, **{f"breaks_{n}": made(k) for k, n in enumerate(soft.NAMES)})]
    )
    rows = soft.networks(runs)
    assert len(rows) == 12
    assert rows["right"].eq(0).all()
    assert rows["wrong"].to_numpy() == pytest.approx(10 * rows["eps"].to_numpy())


def test_the_exponent_of_a_power_law_is_found():
    names = list(enumerate(soft.NAMES))
    level = by_plane(lambda case: 0.0, lambda case: case.eps + 1e-3)
    fall = by_plane(lambda case: 100.0, lambda case: 100 * (case.eps + 1e-3) ** -0.4)
    truth = records("truth", 0, **{f"breaks_{n}": level(k) for k, n in names})
    both = {f"breaks_{n}": level(k) for k, n in names}
    both |= {f"strength_{n}": fall(k) for k, n in names}
    runs = pd.DataFrame([truth, records(soft.AUTO, 0, **both)])
    assert soft.exponent(runs).mean == pytest.approx(0.4)
    assert soft.tracking(runs).mean == pytest.approx(1.0)
    with pytest.raises(MissingRuns):
        soft.exponent(runs[runs["network"] == soft.AUTO])


def test_gains_are_paired_by_axis_and_seed():
    luck = lambda case: 7.0 * case.seed
    worse = [records("MLP", s, error=lambda c: luck(c) + 2 + c.eps) for s in (0, 1)]
    runs = pd.DataFrame([*worse, *(records(soft.AUTO, s, error=luck) for s in (0, 1))])
    found = soft.gain("MLP")(runs)
    assert len(found.values) == 6
    assert found.mean == pytest.approx(2.3)
    assert found.half < 1e-9
    with pytest.raises(MissingRuns):
        soft.gain("exact O(3)")(runs)


def test_false_alarms_and_finds_are_counted():
    names = list(enumerate(soft.NAMES))
    quiet = by_plane(lambda c: 1 + c.seed % 7 / 100, lambda c: 1 + c.seed % 5 / 100)
    loud = by_plane(lambda c: 1.0, lambda c: 1 + c.eps)
    null = records(soft.AUTO, 100, soft.NULL_LEVELS, **{f"breaks_{n}": quiet(k) for k, n in names})
    run = records(soft.AUTO, 0, **{f"breaks_{n}": loud(k) for k, n in names})
    table = soft.null_table(pd.DataFrame([null, run]), "function error")
    assert table[table["eps"] == 0]["false"].eq(0).all()
    assert table[table["eps"] == 0.3]["found"].eq(100).all()
    swapped = by_plane(lambda c: 5.0, lambda c: 1.0)
    run = records(soft.AUTO, 0, **{f"breaks_{n}": swapped(k) for k, n in names})
    table = soft.null_table(pd.DataFrame([null, run]), "function error")
    assert table["false"].eq(100).all()
    assert table["found"].eq(0).all()
    assert soft.null_table(pd.DataFrame([run]), "strength").empty


def some(*values):
    return Estimate(values, float(np.mean(values)), -1.0, 1.0)


@pytest.mark.parametrize(
    ("nulls", "values", "verdict"),
    [
        (36, [0.0] * 9, "holds"),
        (36, [100.0] + [0.0] * 8, "holds in part"),
        (36, [100.0] * 5 + [0.0] * 4, "does not hold"),
        (2, [100.0] * 2, "holds in part"),
    ],
)
def test_alarms_are_compared_with_chance(nulls, values, verdict):
    assert soft.silent(nulls).judge(some(*values)) == verdict


def test_every_claim_is_judged_or_lacks_its_runs():
    for name in STUDIES:
        study, _ = find(name)
        empty = pd.DataFrame(columns=["size", *study.planned("cpu")[0], *study.units])
        assert {v.verdict for v in verdicts(study, empty, "cpu")} == {"not tested"}


# Walks --------------------------------------------------------------------------------------


def test_windows_of_each_kind():
    street = walks.scenes("street")["train"]
    late = walks.late_people(street)
    assert 0 < late.sum() < len(street) / 2
    x, _ = walks.windows(street, "early people", 0)
    assert len(x) == len(street) - int(late.sum())
    assert len(walks.windows(street, "few", 0)[0]) == 200
    plain, _ = walks.windows(street, "all", 0)
    turned, future = walks.windows(street, "turned", 0)
    assert_close(turned.norm(dim=-1), plain.norm(dim=-1))  # the same windows, moved
    assert not torch.allclose(turned, plain)
    assert_close(future.norm(dim=-1), walks.windows(street, "all", 0)[1].norm(dim=-1))
    flipped, _ = walks.windows(street, "flipped", 0)
    assert_close(flipped.abs(), plain.abs())


def test_a_set_that_is_named_again_is_another_one():
    assert walks.sets_of("all, turned, turned", 3) == [("all", 3), ("turned", 3), ("turned", 1003)]


# Strengths ----------------------------------------------------------------------------------


def test_the_best_strength_and_who_uses_it(monkeypatch):
    values = [9.0, 8, 7, 6, 5, 4, 5, 9]  # the sixth is 10
    row = {f"{name} {k}": v for name in soft_strengths.PARTS for k, v in enumerate(values)}
    runs = pd.DataFrame([{"task": "inertia", "way": "RPP, told", "seed": 20, **row}])
    assert soft_strengths.best(runs) == {("inertia", "RPP, told"): 10.0}
    for chosen, share in ((10.0, 100.0), (1.0, 0.0)):
        monkeypatch.setitem(soft.CHOSEN, "RPP, told", chosen)
        assert soft_strengths.agreement(runs).values == (share,)


def test_every_strength_in_use_was_tried():
    tried = {(c["task"], c["way"]) for c in find("soft-strengths")[0].planned("cpu")}
    for (task, way), value in soft_strengths.used().items():
        assert (task, way) in tried
        assert value in soft_strengths.dials(way)


# Cosines ------------------------------------------------------------------------------------


def test_no_invariant_function_beats_the_average_over_turns():
    f = cosines.best_invariant("scale holds, dial 1")
    error = cosines.miss(f, "scale holds, dial 1")
    assert 1 < error < 6
    x = cosines.cossim(100, seed=0).x
    group = SO(3)
    assert inertia.error_of(f, x, group, cosines.REP_IN, cosines.REP_OUT) < 1
    shifted = lambda x: f(x) + 0.05
    assert cosines.miss(shifted, "scale holds, dial 1") > error
