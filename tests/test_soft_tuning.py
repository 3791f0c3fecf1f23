"""The rule, the snapshot it is fed with, the penalty, and the decoupled step."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import mse_loss
from torch.testing import assert_close

from equitutor.methods.soft import (
    O,
    Rep,
    ResidualTypedLinear,
    Snapshot,
    SoftTuning,
    SoftTypedLinear,
    TypedNetwork,
    TypedProjector,
    codimensions,
    decoupled_step,
    distances,
    embed_O2,
    function_error,
    join,
    penalty,
    reflection,
    residual_penalty,
    snapshot_rule,
)
from equitutor.training import Batches, fit_stacked

GROUPS = [O(3), embed_O2((0, 1)), embed_O2((1, 2))]
SPACES = Rep(2, 2), Rep(3, 2, 1), Rep(n2=1)


def network(seed=0, groups=GROUPS, **settings):
    torch.manual_seed(seed)
    layer = partial(SoftTypedLinear, groups=groups)
    return TypedNetwork(*SPACES, layer, **settings).double()


def looked(distances):
    """Returns a snapshot that has seen distances."""
    kept = Snapshot()
    kept.update(distances)
    return kept


# The rule ----------------------------------------------------------------------------------

numbers = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=5)


@settings(max_examples=50)
@given(r=numbers, lam=st.floats(1e-3, 1e3), power=st.floats(0, 6), c=st.floats(1e-2, 1e2))
def test_the_rule(r, lam, power, c):
    r = torch.tensor(r, dtype=torch.float64)
    old = torch.full_like(r, lam)
    new = snapshot_rule(r, old, power)
    assert_close(new[r.argmin()], old[0])  # the best group keeps its strength
    assert (new <= old * (1 + 1e-12)).all()  # and no other gains any
    assert_close(new, lam * (r.min() / r) ** power)  # the formula itself
    assert_close(snapshot_rule(c * r, old, power), new)  # only ratios matter


def test_a_group_without_strength_takes_no_part():
    r = torch.tensor([0.1, 1.0, 2.0])
    new = snapshot_rule(r, torch.tensor([0.0, 8.0, 8.0]))
    assert new.tolist() == [0, 8, 2]  # the largest group is nearest, and is not asked
    assert snapshot_rule(r, torch.tensor([8.0, 8.0, 8.0]))[1] < 0.1  # if it were


def test_the_rule_is_finite_where_a_distance_is_zero():
    assert snapshot_rule(torch.tensor([0.0, 0.0, 1.0]), torch.ones(3)).tolist() == [1, 1, 0]
    assert snapshot_rule(torch.zeros(2), torch.ones(2)).tolist() == [1, 1]
    assert snapshot_rule(torch.tensor([1.0, 2.0]), torch.zeros(2)).tolist() == [0, 0]
    assert snapshot_rule(torch.tensor([1.0, 2.0]), torch.ones(2), power=0).tolist() == [1, 1]


def test_normalizing_can_change_who_is_best():
    r, lam = torch.tensor([4.0, 3.0]), torch.ones(2)
    assert snapshot_rule(r, lam).argmax() == 1
    assert snapshot_rule(r, lam, normalize=torch.tensor([4.0, 2.0])).argmax() == 0


def test_each_seed_has_its_own_rule():
    r = torch.tensor([[1.0, 2.0], [4.0, 2.0]])
    lam = torch.tensor([8.0, 8.0])
    assert snapshot_rule(r, lam).tolist() == [[8, 2], [2, 8]]


def test_the_snapshot_is_one_moment_and_not_a_minimum():
    kept = Snapshot()
    moments = [[3.0, 3.0], [2.0, 9.0], [2.5, 8.0], [2.5, 8.5]]
    seen = []
    for r in moments:
        kept.update(torch.tensor(r))
        seen.append(kept.value.tolist())
    # The second group gets worse in the kept vector, because the first one got better.
    assert seen == [[3, 3], [2, 9], [2.5, 8], [2.5, 8]]
    minimum = torch.tensor(moments).amin(0)
    assert kept.value.tolist() != minimum.tolist()


def test_seeds_keep_their_own_snapshots():
    kept = Snapshot()
    kept.update(torch.tensor([[1.0, 1.0], [1.0, 1.0]]))
    kept.update(torch.tensor([[0.5, 2.0], [1.5, 2.0]]))
    assert kept.value.tolist() == [[0.5, 2], [1, 1]]


# Penalty and step --------------------------------------------------------------------------


def test_the_penalty_is_the_weighted_sum_of_distances():
    net = network()
    lam = torch.tensor([0.0, 2.0, 3.0], dtype=torch.float64)
    r = distances(net)
    assert_close(penalty(net, lam), 2 * r[1] + 3 * r[2])
    penalty(net, lam).backward()
    p, q = net[0].projectors[1:]
    w = net[0].weight
    assert_close(w.grad, 2 * (w - p.weight(w)) + 3 * (w - q.weight(w)))


def test_the_decoupled_step_solves_its_minimum():
    """At the new weights the gradient of sum lambda R + |V - W|^2 / 2 lr vanishes."""
    net = network()
    lam, lr = torch.tensor([0.5, 2.0, 30.0], dtype=torch.float64), 0.3
    before = {k: p.detach().clone() for k, p in net.named_parameters()}
    decoupled_step(net, lam, lr)
    penalty(net, lam).backward()
    for layer, name in ((net[0], "0"), (net[2], "2")):
        for kind in ("weight", "bias"):
            new, old = getattr(layer, kind), before[f"{name}.{kind}"]
            assert_close(new.grad + (new - old) / lr, torch.zeros_like(new))
            assert not torch.allclose(new, old)
    assert_close(net[1].weight[0], before["1.weight.0"])  # nothing but soft layers moves


@settings(max_examples=50)
@given(lr=st.floats(0, 1e3), lam=st.floats(0, 1e3))
def test_the_step_never_overshoots(lr, lam):
    torch.manual_seed(0)
    layer = SoftTypedLinear(Rep(1, 2), Rep(1, 1), GROUPS[1:]).double()
    r = layer.distances()
    shared = TypedProjector(join("both", GROUPS[1:]), layer.rep_in, layer.rep_out)
    kept = shared.weight(layer.weight)
    decoupled_step(layer, torch.tensor([lam, lam], dtype=torch.float64), lr)
    assert layer.distances().sum() <= r.sum() * (1 + 1e-9)
    both = shared.weight(layer.weight)
    assert_close(both, kept, atol=1e-7, rtol=1e-6)  # what both allow is left alone
    if lr == 0 or lam == 0:
        assert_close(layer.distances(), r)


def test_a_strong_step_projects_onto_what_all_groups_allow():
    net = network(groups=[embed_O2((0, 1)), embed_O2((1, 2))])
    decoupled_step(net, torch.full((2,), 1e9), lr=1.0)
    assert distances(net).max() < 1e-12
    twin = network(groups=[embed_O2((0, 1)), embed_O2((1, 2))])
    decoupled_step(twin, torch.tensor([1e9, 0.0]), lr=1.0)  # only the first one is asked for
    assert distances(twin)[0] < 1e-12
    assert distances(twin)[1] > 0.1


def test_stacked_seeds_take_the_step_of_each():
    nets = [network(seed) for seed in range(3)]
    params, _ = torch.func.stack_module_state(nets)
    params = {k: p.detach() for k, p in params.items()}
    lam = torch.rand(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    decoupled_step(nets[0], lam, 0.5, params)
    for k, net in enumerate(nets):
        twin = network(k)
        decoupled_step(twin, lam[k], 0.5)
        for name, p in twin.named_parameters():
            assert_close(params[name][k], p.detach())
        assert not torch.equal(net[0].weight, twin[0].weight)  # the step was in `params` only


def test_a_refused_step_changes_nothing():
    net = network()
    before = [p.clone() for p in net.parameters()]
    for strengths in (torch.ones(2, 3), torch.tensor([1.0, math.inf, 1.0])):
        with pytest.raises(ValueError, match="strengths must be"):
            decoupled_step(net, strengths, 1.0)
        for p, old in zip(net.parameters(), before, strict=True):
            assert torch.equal(p, old)


def test_the_strengths_are_a_copy():
    mine = torch.tensor([0.0, 1.0, 1.0])
    tuning = SoftTuning(network(), mine, 9)
    mine.fill_(5.0)
    assert tuning.strengths.tolist() == [0, 1, 1]


def test_the_residual_penalty():
    layer = ResidualTypedLinear(Rep(1, 1), Rep(1, 1), O(3), start=1.0).double()
    residual = (layer.residual.weight.square().sum() + layer.residual.bias.square().sum()) / 2
    assert_close(residual_penalty(layer, 1.0, 0.0), residual)
    w, b = layer.projector.weight(layer.weight), layer.projector.bias(layer.bias)
    exact = (w.square().sum() + b.square().sum()) / 2
    assert_close(residual_penalty(layer, 0.0, 3.0), 3 * exact)
    layers = [ResidualTypedLinear(Rep(1, 1), Rep(1, 1), O(3)).double() for _ in range(2)]
    params, _ = torch.func.stack_module_state(layers)
    together = residual_penalty(layers[0], params=params)
    assert_close(together, torch.stack([residual_penalty(m) for m in layers]))


# The driver ------------------------------------------------------------------------------------


def drive(net, steps=20, **settings):
    tuning = SoftTuning(net, [0.0, 4.0, 4.0], steps, **settings)
    strengths = []
    for step in range(steps):
        tuning(step, lr=0.01)
        strengths.append(tuning.strengths.tolist())
    return tuning, strengths


def test_the_rule_is_used_once_at_its_time():
    net = network()
    with torch.no_grad():  # the first group holds nearly, the second does not
        decoupled_step(net, torch.tensor([0.0, 50.0, 0.0]), 1.0)
    tuning, strengths = drive(net, at=0.5, decoupled=False, every=3)
    assert all(s == [0, 4, 4] for s in strengths[:9])
    assert all(s == strengths[9] for s in strengths[9:])
    assert strengths[9][:2] == [0, 4]
    assert strengths[9][2] < 0.1
    assert_close(tuning.strengths, snapshot_rule(tuning.snapshot, torch.tensor([0.0, 4, 4])))
    assert [step for step, _ in tuning.record] == [0, 3, 6, 9, 12, 15, 18]


def test_without_a_time_the_strengths_stay():
    tuning, strengths = drive(network(), at=None)
    assert strengths == [[0, 4, 4]] * 20
    assert tuning.snapshot is None
    assert tuning.record[-1][1][1] < tuning.record[0][1][1]  # the step was taken all the same


def test_each_seed_may_have_strengths_of_its_own():
    seeds, own = [0, 1], torch.tensor([[0.0, 9.0, 0.0], [0.0, 0.0, 1.0]])
    x = torch.randn(40, SPACES[0].size).double()
    batches = Batches(x, torch.randn(40, SPACES[-1].size).double(), 20)
    some = {"steps": 20, "lr": 0.01, "progress": False}

    def train(strengths, at=0.5):
        tuning = SoftTuning(network(), strengths, 20, at=at)
        return fit_stacked(network, seeds, batches, mse_loss, tune=tuning, **some), tuning

    together, tuning = train(own)
    assert_close(tuning.strengths.float(), own)  # one group each: the nearest one
    for k in range(2):
        alone, _ = train(own[k])
        assert_close(distances(together.models[k]), distances(alone.models[k]))
    same, _ = train(own[0])  # the broken twin: one strength for all
    assert not torch.allclose(distances(together.models[1]), distances(same.models[1]))


def test_the_window_bounds_what_the_snapshot_sees():
    for window, first in ((0.0, 9), (0.25, 4), (1.0, 0)):
        net = network()
        tuning = SoftTuning(net, [0.0, 4, 4], 20, at=0.5, window=window, decoupled=False, every=1)
        for step in range(20):
            with torch.no_grad():  # distances grow with time: the first look is the best
                net[0].weight *= 1.1
            tuning(step)
        assert_close(tuning.snapshot, dict(tuning.record)[first])


@pytest.mark.parametrize("normalize", ["codim", "init"])
def test_normalized_rules(normalize):
    net = network(groups=[O(3), embed_O2((0, 1)), reflection(2)])
    tuning, _ = drive(net, normalize=normalize, decoupled=False)
    by = codimensions(net) if normalize == "codim" else tuning.record[0][1]
    expected = snapshot_rule(tuning.snapshot, torch.tensor([0.0, 4, 4]), normalize=by)
    assert_close(tuning.strengths, expected)
    plain, _ = drive(net, decoupled=False)
    assert not torch.allclose(plain.strengths, tuning.strengths)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: snapshot_rule(torch.tensor([-1.0]), torch.ones(1)), "distances must be finite"),
        (lambda: snapshot_rule(torch.tensor([math.nan]), torch.ones(1)), "distances must be"),
        (lambda: snapshot_rule(torch.ones(2), torch.tensor([1.0, -1])), "strengths must be finite"),
        (lambda: snapshot_rule(torch.ones(2), torch.ones(3)), r"strengths must be \(2,\)"),
        (lambda: snapshot_rule(torch.ones(2), torch.ones(2), -1.0), "power must"),
        (lambda: snapshot_rule(torch.ones(2), torch.ones(2), True), "power must"),
        (
            lambda: snapshot_rule(torch.ones(2), torch.ones(2), normalize=torch.zeros(2)),
            "normalize must be finite and > 0",
        ),
        (lambda: decoupled_step(network(), torch.ones(3), -1.0), "lr must be .*finite"),
        (lambda: decoupled_step(network(), torch.ones(2), 1.0), r"strengths must be \(3,\)"),
        (lambda: decoupled_step(network(), -torch.ones(3), 1.0), "strengths must be finite"),
        (lambda: snapshot_rule([1.0], torch.ones(1)), "distances must be a tensor, got"),
        (lambda: snapshot_rule(torch.tensor(1.0), torch.tensor(1.0)), r"distances must be \(1,\)"),
        (
            lambda: snapshot_rule(torch.ones(2, 3), torch.ones(4, 3)),
            r"strengths must be \(3,\), one a group, or \(2, 3\), got \(4, 3\)",
        ),
        (
            lambda: snapshot_rule(torch.ones(2), torch.ones(2), normalize=torch.ones(1)),
            r"normalize must be \(2,\)",
        ),
        (lambda: Snapshot().update([1.0]), "distances must be a tensor"),
        (lambda: Snapshot().update(torch.tensor(1.0)), r"distances must be \(..., G\), got \(\)"),
        (lambda: Snapshot().update(torch.tensor([math.nan])), "distances must be finite"),
        (lambda: looked(torch.ones(2)).update(torch.ones(1)), r"distances must be \(2,\)"),
        (lambda: penalty(network(), torch.ones(1)), r"strengths must be \(3,\).* got \(1,\)"),
        (lambda: penalty(network(), torch.tensor(2.0)), r"strengths must be \(3,\).* got \(\)"),
        (lambda: penalty(network(), [1.0, 1.0, 1.0]), "strengths must be a tensor"),
        (lambda: penalty(network(), -torch.ones(3)), "strengths must be .*finite"),
        (lambda: decoupled_step(network(), [1.0] * 3, 1.0), "strengths must be a tensor"),
        (lambda: decoupled_step(network(), torch.ones(2, 3), 1.0), r"got \(2, 3\)"),
        (lambda: SoftTuning(network(), [math.nan] * 3, 9), "strengths must be finite"),
        (lambda: SoftTuning(network(), [-1.0] * 3, 9), "strengths must be finite"),
        (lambda: SoftTuning(network(), [1.0] * 3, 9, power=-1.0), "power must"),
        (lambda: SoftTuning(network(), [1.0] * 3, 9, at=True), "at must be None or in"),
        (lambda: SoftTuning(network(), [1.0] * 3, 9, window=True), "window must be in"),
        (
            lambda: SoftTuning(network(), [1.0] * 3, 9)(-1),
            "step is -1, but has to be",
        ),
        (lambda: residual_penalty(network()), "net must hold ResidualTypedLinear"),
        (
            lambda: SoftTuning(network(), [1.0], 10),
            r"strengths must be \(3,\) or \(seeds, 3\), got \(1,\)",
        ),
        (lambda: SoftTuning(network(), [1.0] * 3, 0), "steps .* has to be an int of at least 1"),
        (lambda: SoftTuning(network(), [1.0] * 3, 9, at=0.0), r"at must be None or in \(0, 1\]"),
        (lambda: SoftTuning(network(), [1.0] * 3, 9, at=math.nan), "at must be None"),
        (lambda: SoftTuning(network(), [1.0] * 3, 9, window=2), "window must be in"),
        (lambda: SoftTuning(network(), [1.0] * 3, 9, normalize="size"), "normalize must be None"),
        (
            lambda: SoftTuning(network(), [1.0] * 3, 9, every=0),
            "every is 0, but has to be",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# What must not matter -----------------------------------------------------------------------


def run(progress=False, look=False, every=5, meddle=False):
    """Trains three seeds; `look` measures and logs on the way, as a figure or a log would."""
    groups = [O(3), embed_O2((0, 1)), embed_O2((1, 2))]
    make = lambda: TypedNetwork(*SPACES, partial(SoftTypedLinear, groups=groups))
    tuning = SoftTuning(make(), [0.0, 5.0, 5.0], 30, every=every)
    x = torch.randn(60, SPACES[0].size, generator=torch.Generator().manual_seed(0))
    batches = Batches(x, torch.randn(60, 9, generator=torch.Generator().manual_seed(1)), 20)

    def tune(step, params, lr):
        tuning(step, params, lr)
        if meddle:  # as a figure would that projects the weights where they lie
            decoupled_step(tuning.net, torch.tensor([0.0, 1.0, 0.0]), 1e-3, params)
        if look:
            distances(tuning.net, params)
            torch.rand(3)  # a plot may draw, a log may seed
            net = make()
            function_error(net, x, groups[1], SPACES[0], SPACES[2], 2)

    stack = fit_stacked(make, [0, 1, 2], batches, mse_loss, 30, tune=tune, progress=progress)
    weights = torch.cat([p.detach().flatten() for m in stack.models for p in m.parameters()])
    return weights, tuning


def test_logging_and_plotting_change_no_result():
    quiet, tuning = run()
    for noisy in ({"progress": True}, {"look": True}):
        weights, other = run(**noisy)
        assert torch.equal(weights, quiet)
        assert torch.equal(other.strengths, tuning.strengths)
        assert torch.equal(other.snapshot, tuning.snapshot)
    assert not torch.equal(run(meddle=True)[0], quiet)  # the broken twin
    assert not torch.equal(run(every=3)[0], quiet)  # and this one is a setting
