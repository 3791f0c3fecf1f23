"""Each orbit with a toy that is equivariant on it and a twin that is not; consensus."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from equitutor import groups, orbits
from equitutor.orbits import (
    Orbit,
    OrbitResult,
    assert_equivariant,
    consensus,
    d4_time,
    equivariance_error,
    evaluate,
    finite,
    shifts,
    so2,
    so3_disk,
    so3_haar,
    variance_decomposition,
)
from equitutor.rotations import rotation_matrix


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def turns():
    """Return the exact quarter turns of images, on inputs and outputs."""
    act = lambda x, i: torch.rot90(x, i, (-2, -1))
    return finite(groups.cyclic(4), act, act)


def upward(x):
    """Return a blur along the rows alone: it commutes with shifts and with no quarter turn."""
    return x + x.roll(1, -1) / 2


def flow_toy(pairs):
    """Return a flow that turns with its frames: their mean brightness gradient, times change."""
    total, change = pairs.sum(1), pairs[:, 1] - pairs[:, 0]
    right = total.roll(-1, -1) - total.roll(1, -1)
    down = total.roll(-1, -2) - total.roll(1, -2)
    return torch.stack([right, down], 1) * change[:, None]


# Orbit, inputs, equivariant toy, broken twin, tolerance
CASES = {
    "so2 at right angles": (
        so2(4, "nearest", output="image"), noise(3, 2, 6, 6), torch.square, upward, 0,
    ),
    "so2 at right angles, odd side": (
        so2(4, "nearest", output="image"), noise(3, 2, 5, 5), torch.square, upward, 0,
    ),
    "so2, bilinear right angles": (
        so2(4, output="image"), noise(3, 2, 6, 6), lambda x: 3 * x, upward, 1e-12,
    ),
    "so2, any angle, linear in the pixels": (
        so2(10, output="image"), noise(3, 2, 7, 7), lambda x: 3 * x, upward, 1e-12,
    ),
    "so2, invariant": (
        so2(4, "nearest"), noise(3, 1, 6, 6), lambda x: x.amax((1, 2, 3)),
        lambda x: x[:, 0, 0, 0], 0,
    ),
    "shifts": (
        shifts(4, 6, output="image"), noise(3, 1, 4, 6), upward, lambda x: x * x[:, :, :1], 0,
    ),
    "shifts, step": (
        shifts(4, 6, step=2), noise(3, 1, 4, 6), lambda x: x[:, 0, ::2, ::2].amax((1, 2)),
        lambda x: x[:, 0, 0, 0], 0,
    ),
    "finite": (turns(), noise(3, 1, 5, 5), torch.square, upward, 0),
    "d4_time": (d4_time(), noise(3, 2, 6, 6), flow_toy, lambda x: x, 1e-12),
    "so3_disk": (
        so3_disk(output="points"), noise(3, 8, 3), lambda p: p * p.norm(dim=2, keepdim=True),
        lambda p: p * p[..., :1], 1e-12,
    ),
    "so3_disk, invariant": (
        so3_disk(("xy",)), noise(3, 8, 3), lambda p: p.norm(dim=2).sum(1),
        lambda p: p[:, 0, 0], 1e-12,
    ),
    "so3_haar": (
        so3_haar(20, output="points"), noise(3, 8, 3), lambda p: p - p.mean(1, keepdim=True),
        lambda p: p.abs(), 1e-12,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_equivariant_toy_has_no_error_and_its_twin_has(name):
    orbit, x, toy, twin, tolerance = CASES[name]
    for batch in (1, 7, 1000):
        errors = equivariance_error(toy, x, orbit, batch)
        assert errors.shape == (len(orbit), 3)
        assert errors.max() <= tolerance
        assert_close(equivariance_error(twin, x, orbit, batch), equivariance_error(twin, x, orbit))
    assert_equivariant(toy, x, orbit, atol=1e-10, rtol=0)
    assert equivariance_error(twin, x, orbit).max() > 1e-2
    with pytest.raises(AssertionError, match="not equivariant under"):
        assert_equivariant(twin, x, orbit)


@pytest.mark.parametrize("name", CASES)
def test_the_actions_of_an_orbit_can_be_undone(name):
    orbit, x, _, _, _ = CASES[name]
    if orbit.act_y is not orbits.orbit.leave and not name.startswith("so2, any"):
        y = x if "d4" not in name else flow_toy(x)
        for i in range(len(orbit)):
            assert_close(orbit.inv_y(orbit.act_y(y, i), i), y, atol=1e-12, rtol=0)
    if orbit.identity is not None:
        assert_close(orbit.act_x(x, orbit.identity), x, atol=1e-12, rtol=0)


def test_the_message_names_the_worst_element_and_sample():
    orbit, x = shifts(2, 3), torch.zeros(4, 1, 2, 3)
    x[2, 0, 1, 2] = 5.0  # reaches the corner by one step down and one to the right
    with pytest.raises(AssertionError) as caught:
        assert_equivariant(lambda x: x[:, 0, 0, 0], x, orbit, atol=0.5)
    for part in ("off by 5", r"element 4 (down (px) 1, right (px) 1)", "sample 2", "4.2%"):
        assert part in str(caught.value)


def test_tolerances_are_absolute_plus_relative_to_the_variation():
    orbit, x = shifts(1, 2), torch.tensor([[[[100.0, 101.0]]], [[[110.0, 110.5]]]])
    first = lambda x: x[:, 0, 0, 0]  # off by 1 at most, and varies by 10
    assert_equivariant(first, x, orbit, atol=1.01, rtol=0)
    assert_equivariant(first, x, orbit, atol=0, rtol=0.11)
    for atol, rtol in ((0.99, 0), (0, 0.09)):
        with pytest.raises(AssertionError):
            assert_equivariant(first, x, orbit, atol=atol, rtol=rtol)


@pytest.mark.parametrize("bad", [{"atol": math.nan}, {"atol": -1.0}, {"rtol": math.nan}])
def test_a_tolerance_that_lets_everything_pass_is_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        assert_equivariant(lambda x: x[:, 0, 0], torch.rand(2, 1, 2, 3), shifts(2, 3), **bad)


def test_truth_values_are_outputs_too():
    any_bright = lambda x: (x > 0.5).flatten(1).any(1)
    first_bright = lambda x: x[:, 0, 0, 0] > 0.5
    x = torch.eye(3).view(3, 1, 1, 3)
    assert equivariance_error(any_bright, x, shifts(1, 3)).max() == 0
    assert equivariance_error(first_bright, x, shifts(1, 3)).max() == 1


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: x.mean(), "f.x. must be a tensor with 2 rows"),
        (lambda x: x[:1], "2 rows"),
        (lambda x: x / 0, "finite"),
        (lambda x: x * 1j, "real"),
        (lambda x: x[:, 0], "act_y"),
    ],
)
def test_an_output_that_cannot_be_compared_is_refused(f, message):
    orbit = shifts(2, 3)
    if f(torch.ones(2, 1, 2, 3)).ndim == 3:  # act_y that lends the output another shape
        orbit = Orbit("odd", torch.zeros(2, 1), lambda x, i: x, lambda y, i: y[..., None])
    with pytest.raises(ValueError, match=message):
        equivariance_error(f, torch.ones(2, 1, 2, 3), orbit)
    with pytest.raises(ValueError, match="batch"):
        equivariance_error(f, torch.ones(2, 1, 2, 3), orbit, batch=0)


# Elements and weights ----------------------------------------------------------------------


@given(st.integers(1, 40))
def test_angles_are_half_open_and_equally_spaced(n):
    angles = so2(n).params[:, 0]
    assert angles[0] == 0
    assert angles[-1] < 360
    assert_close(angles.diff(), torch.full((n - 1,), 360 / n, dtype=torch.float64))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_shifts_are_the_torus_once(rows, columns, step):
    orbit = shifts(rows * step, columns * step, step)
    assert len({tuple(p) for p in orbit.params.tolist()}) == len(orbit) == rows * columns
    assert orbit.params.max() < max(rows, columns) * step
    assert (orbit.params % step == 0).all()


@pytest.mark.parametrize("name", CASES)
def test_weights_sum_to_one(name):
    weights = CASES[name][0].weights
    assert (weights >= 0).all()
    assert_close(weights.sum().item(), 1.0)


def test_weights_are_scaled_and_checked():
    build = lambda w: Orbit("w", torch.zeros(2, 1), lambda x, i: x, weights=w)
    assert build([1, 3]).weights.tolist() == [0.25, 0.75]
    for bad in ([1.0], [1.0, -1.0], [1.0, math.nan], [0.0, 0.0]):
        with pytest.raises(ValueError, match="weights"):
            build(bad)


def test_the_rim_of_a_disk_is_antipodal_and_its_center_is_the_identity():
    orbit = so3_disk(("xy", "xz", "yz"), n_axis=8, n_angle=5)
    matrices = orbit.extra["matrices"].view(3, 8, 5, 3, 3)
    eye = torch.eye(3, dtype=torch.float64)
    assert_close(matrices[:, :, 0], eye.expand(3, 8, 3, 3))
    assert_close(matrices[:, :4, -1], matrices[:, 4:, -1])
    assert not torch.allclose(matrices[:, :4, 2], matrices[:, 4:, 2], atol=0.1)
    assert_close(matrices @ matrices.mT, eye.expand(3, 8, 5, 3, 3))
    assert_close(torch.linalg.det(matrices), torch.ones(3, 8, 5, dtype=torch.float64))
    angle = torch.linspace(0, math.pi, 5, dtype=torch.float64)
    trace = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert_close(trace, (1 + 2 * angle.cos()).expand(3, 8, 5))
    weights = orbit.weights.view(3, 8, 5)
    assert weights[..., 0].sum() == 0  # Haar measure of the identity
    assert_close(weights[..., 2], weights[..., 4])  # density 1 and 2, of which half: the range ends


def test_disk_axes_lie_in_their_planes():
    orbit = so3_disk(("xz",), n_axis=4, n_angle=3)
    quarter = orbit.extra["matrices"][1]  # about x, by 90 degrees
    half_pi = torch.tensor([math.pi / 2], dtype=torch.float64)
    assert_close(quarter, rotation_matrix(torch.tensor([[1.0, 0.0, 0.0]]), half_pi)[0])
    z = orbit.extra["matrices"][4]  # the next axis is z: it leaves z alone and turns x to y
    assert_close(z @ torch.eye(3).double()[0], torch.eye(3).double()[1])


def test_haar_samples_repeat_with_their_seed_and_are_even():
    a, b, c = so3_haar(400), so3_haar(400), so3_haar(400, seed=1)
    assert torch.equal(a.params, b.params)
    assert not torch.equal(a.params, c.params)
    assert a.extra["matrices"].mean(0).abs().max() < 0.15
    assert a.identity is None
    assert math.isnan(OrbitResult(torch.zeros(400, 1), a).summary()["identity"])


def test_d4_time_is_its_group():
    orbit, pairs = d4_time(), noise(1, 2, 4, 4)
    group = orbit.extra["group"]
    for g in range(16):
        for h in range(16):
            both = orbit.act_x(orbit.act_x(pairs, h), g)
            assert torch.equal(both, orbit.act_x(pairs, int(group.mul[g, h])))
            both = orbit.act_y(orbit.act_y(pairs, h), g)
            assert_close(both, orbit.act_y(pairs, int(group.mul[g, h])))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: so2(0), "n is"),
        (lambda: so2(4.0), "n is"),
        (lambda: so2(True), "n is"),
        (lambda: so2(4, "lanczos"), "resampler"),
        (lambda: so2(4, output="points"), "output"),
        (lambda: shifts(4, 6, 4), "step must divide"),
        (lambda: shifts(4, 0), "width"),
        (lambda: shifts(4, 6, output="map"), "output"),
        (lambda: finite("C4", lambda x, i: x), "FiniteGroup"),
        (lambda: so3_disk(()), "planes"),
        (lambda: so3_disk(("xw",)), "planes"),
        (lambda: so3_disk(n_angle=1), "n_angle"),
        (lambda: so3_disk(n_axis=0), "n_axis"),
        (lambda: so3_haar(0), "n is"),
        (lambda: so3_haar(3, output="image"), "output"),
        (lambda: Orbit("o", torch.zeros(3), lambda x, i: x), "params"),
        (lambda: Orbit("o", torch.zeros(0, 1), lambda x, i: x), "params"),
        (lambda: Orbit("o", torch.zeros(1, 1), None), "act_x must be callable"),
        (lambda: Orbit("o", torch.zeros(1, 1), lambda x, i: x, kind="line"), "kind"),
        (lambda: Orbit("o", torch.zeros(1, 1), lambda x, i: x, identity=1), "identity"),
        (lambda: Orbit("o", torch.zeros(1, 1), lambda x, i: x, coords=("a", "b")), "coords"),
    ],
)
def test_an_orbit_that_makes_no_sense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# Consensus ---------------------------------------------------------------------------------


def along(outputs, weights=None):
    """Return a result with these outputs (G, N, ...), on an orbit that leaves outputs alone."""
    outputs = torch.as_tensor(outputs)
    params = torch.zeros(len(outputs), 1)
    orbit = Orbit("any", params, lambda x, i: x, weights=weights)
    return OrbitResult(torch.zeros(outputs.shape[:2]), orbit, outputs=outputs)


def test_consensus_kinds():
    logits = torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]], [[9.0, 0.0]]])  # (3, 1, 2)
    assert_close(consensus(along(logits)), torch.tensor([[3.0, 2 / 3]]))
    assert_close(consensus(along(logits), "probability"), logits.softmax(-1).mean(0))
    assert consensus(along(logits), "vote").tolist() == [1]  # two against one, however sure
    assert consensus(along(logits), "probability").argmax(-1).tolist() == [0]
    assert consensus(along(logits, [1.0, 1.0, 3.0]), "vote").tolist() == [0]
    assert_close(consensus(along(logits, [0.0, 1.0, 1.0])), torch.tensor([[4.5, 0.5]]))


def test_consensus_refuses_what_has_no_mean():
    logits = torch.zeros(3, 1, 2)
    bad = [
        (along(logits), "median", "kind must be"),
        (along(logits[..., 0]), "vote", r"logits \(G, N, K\)"),
        (along(torch.zeros(3, 1, dtype=torch.long)), "mean", "class indices"),
        (planted_without_outputs(), "mean", "keep_outputs=True"),
    ]
    for result, kind, message in bad:
        with pytest.raises(ValueError, match=message):
            consensus(result, kind)


def planted_without_outputs():
    return evaluate(lambda x: x[:, 0, 0], noise(2, 1, 1, 4), torch.zeros(2).long(), shifts(1, 4))


def test_outputs_that_move_but_cannot_be_brought_back_are_refused():
    """An Orbit with act_y and the default inv_y would average answers in different poses."""
    x, orbit = noise(2, 1, 4, 4), shifts(4, 4, output="image")

    def measured(**actions):
        mine = Orbit("my shifts", orbit.params, orbit.act_x, **actions)
        return evaluate(upward, x, upward(x), mine, "squared_error", keep_outputs=True)

    one_way = measured(act_y=orbit.act_y)
    assert one_way.scores.max() < 1e-20  # the model is equivariant, and scored rightly
    for ask in (consensus, lambda result: variance_decomposition(result, upward(x))):
        with pytest.raises(ValueError, match="inv_y undoes its act_y: 'my shifts' has an act_y"):
            ask(one_way)
    assert_close(consensus(measured(act_y=orbit.act_y, inv_y=orbit.inv_y)), upward(x))
    # the broken twin: what was computed before, although the error is zero
    silent = one_way.outputs.mean(0)
    assert (silent - upward(x)).abs().max() > 0.1
    total, still = lambda x: x.sum((1, 2, 3)), Orbit("still", orbit.params, orbit.act_x)
    invariant = evaluate(total, x, total(x), still, "squared_error", keep_outputs=True)
    assert_close(consensus(invariant), total(x))  # neither action: nothing to bring back


def test_consensus_takes_outputs_that_are_numpy_arrays():
    x, orbit = noise(3, 1, 1, 4), shifts(1, 4)
    model = lambda x: x[:, 0, 0].numpy()
    result = evaluate(model, x, torch.zeros(3).long(), orbit, keep_outputs=True)
    assert isinstance(result.outputs, np.ndarray)
    assert_close(consensus(result), x.mean(3)[:, 0].expand(-1, 4))


@pytest.mark.parametrize("group", ["turns", "shifts"])
def test_consensus_over_a_group_is_equivariant_whatever_the_model(group):
    orbit = turns() if group == "turns" else shifts(4, 4, output="image")
    place = noise(1, 4, 4, seed=3)
    model = lambda x: x * place + x.roll(1, -1).square()
    x = noise(2, 1, 4, 4)

    def answer(x, elements=99):
        part = Orbit(orbit.name, orbit.params[:elements], orbit.act_x, orbit.act_y, orbit.inv_y)
        return consensus(
            evaluate(model, x, x, part, lambda out, y: out.sum((1, 2, 3)), keep_outputs=True)
        )

    assert_equivariant(answer, x, orbit, atol=1e-10, rtol=0, batch=7)
    with pytest.raises(AssertionError):
        assert_equivariant(model, x, orbit)
    with pytest.raises(AssertionError):  # all elements but one are no group
        assert_equivariant(lambda x: answer(x, len(orbit) - 1), x, orbit)


def test_consensus_of_an_equivariant_model_is_the_model():
    x, orbit = noise(3, 2, 6, 6), d4_time()
    result = evaluate(flow_toy, x, flow_toy(x), orbit, "squared_error", keep_outputs=True)
    assert_close(consensus(result), flow_toy(x))


@given(st.integers(0, 99), st.integers(1, 9), st.integers(1, 4), st.booleans())
def test_error_is_error_of_the_mean_plus_variance(seed, g, n, vector):
    shape = (g, n, 2, 3) if vector else (g, n)
    weights = noise(g, seed=seed + 1).abs()
    result = along(noise(*shape, seed=seed), weights)
    y = noise(*shape[1:], seed=seed + 2)
    error, symmetrized, variance = variance_decomposition(result, y)
    assert error.shape == (n,)
    assert_close(error, symmetrized + variance)
    squares = (result.outputs - y).square().reshape(g, n, -1).sum(2)
    assert_close(error, (weights / weights.sum()) @ squares)
    assert (variance >= 0).all()
    if g > 1:
        assert not torch.allclose(error, symmetrized)  # without the second part it is wrong


def test_the_decomposition_turns_outputs_back_first():
    x, orbit = noise(2, 1, 4, 4), shifts(4, 4, output="image")
    result = evaluate(upward, x, upward(x), orbit, "squared_error", keep_outputs=True)
    assert variance_decomposition(result, upward(x)).error.max() < 1e-20
    with pytest.raises(ValueError, match="y must have shape"):
        variance_decomposition(result, x[:, 0])
