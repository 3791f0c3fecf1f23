"""Typed layers and networks: exact where they say so, honest about the distance elsewhere."""

from functools import partial

import pytest
import torch
from conftest import rounding
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import mse_loss
from torch.testing import assert_close

from equitutor import groups as finite_groups
from equitutor.methods.soft import (
    SO,
    ExactTypedLinear,
    GatedQuadratic,
    MatrixGroup,
    O,
    Rep,
    ResidualTypedLinear,
    SoftTypedLinear,
    TypedNetwork,
    codimensions,
    count_parameters,
    distances,
    embed_O2,
    finite,
    function_error,
    function_errors,
    join,
    lie_error,
    mlp,
    reflection,
    scaling,
    soft_layers,
    widest,
)

AXES = [embed_O2((0, 1)), embed_O2((1, 2)), embed_O2((0, 2))]
V = Rep(n1=1)
SPACES = Rep(3, 3), Rep(6, 5, 2), Rep(n2=1)
C4 = finite(finite_groups.cyclic(4))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=generator(seed), dtype=dtype)


def network(layer, spaces=SPACES, seed=0, **settings):
    torch.manual_seed(seed)
    return TypedNetwork(*spaces, layer, **settings)


def error(net, group, spaces=SPACES, dtype=torch.float32, **settings):
    net = net.to(dtype)
    x = noise(50, spaces[0].size, dtype=dtype)
    return function_error(net, x, group, spaces[0], spaces[2], generator=generator(), **settings)


# Exact networks ----------------------------------------------------------------------------


@pytest.mark.parametrize("group", [O(3), SO(3), *AXES, reflection(1)], ids=lambda g: g.name)
def test_exact_networks_are_exact(group):
    net = network(partial(ExactTypedLinear, group=group))
    for dtype in (torch.float32, torch.float64):
        assert error(net, group, dtype=dtype) < rounding(dtype, net)
    if group.name != "O(3)":
        assert error(net, O(3), dtype=torch.float64) > 1e-3  # the broken twin


def test_exact_networks_are_exact_after_training():
    group = AXES[0]
    net = network(partial(ExactTypedLinear, group=group))
    x, y = noise(64, 12), noise(64, 9, seed=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = mse_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert error(net, group, dtype=torch.float64) < 1e-12
    with torch.no_grad():  # the broken twin: the same weights, used without their projection
        for layer in net:
            if isinstance(layer, ExactTypedLinear):
                layer.forward = partial(nn.functional.linear, weight=layer.weight, bias=layer.bias)
    assert error(net, group, dtype=torch.float64) > 1e-2


def test_groups_nobody_planned_for():
    plane = Rep(2, 2, d=2), Rep(4, 3, 2, d=2), Rep(n1=1, d=2)
    net = network(partial(ExactTypedLinear, group=C4), plane)
    assert error(net, C4, plane, dtype=torch.float64) < 1e-12
    sl2 = MatrixGroup(
        "SL(2)", 2, lie=torch.tensor([[[1.0, 0], [0, -1]], [[0, 1], [0, 0]], [[0, 0], [1, 0]]])
    )
    layer = partial(ExactTypedLinear, group=sl2)
    duals = Rep(2, 2, d=2, n01=1), Rep(4, 3, 2, d=2, n01=2, n11=1, n02=1), Rep(1, 1, d=2)
    net = network(layer, duals, orthogonal=False)
    assert error(net, sl2, duals, dtype=torch.float64) < 1e-9
    broken = network(layer, duals, orthogonal=True)  # v . v is not kept by a shear
    assert error(broken, sl2, duals, dtype=torch.float64) > 1e-3


def test_an_exact_network_of_special_relativity():
    boosts = torch.zeros(3, 4, 4)
    for k in range(3):
        boosts[k, 0, k + 1] = boosts[k, k + 1, 0] = 0.3  # time is axis 0
    turns = torch.zeros(3, 4, 4)
    turns[:, 1:, 1:] = SO(3).lie
    lorentz = MatrixGroup("SO(1, 3)", 4, lie=torch.cat([boosts, turns]))
    spaces = Rep(1, 2, d=4, n01=1), Rep(4, 3, d=4, n01=2), Rep(1, 1, d=4)
    net = network(partial(ExactTypedLinear, group=lorentz), spaces, orthogonal=False)
    assert error(net, lorentz, spaces, dtype=torch.float64) < 1e-9
    x = noise(50, spaces[0].size, dtype=torch.float64)
    assert net(x).std(0).min() > 1e-4  # and is no constant
    broken = network(partial(ExactTypedLinear, group=lorentz), spaces, orthogonal=True)
    assert error(broken, lorentz, spaces, dtype=torch.float64) > 1e-3  # v . v is Euclid's


def test_unit_products_respect_scaling_and_can_tell_a_cosine():
    group = join("SO(3) x scale", [SO(3), scaling(3)])
    spaces = Rep(n1=3), Rep(6, 6, 2), Rep(1)
    layer = partial(ExactTypedLinear, group=group)
    net = network(layer, spaces, unit=True)
    assert error(net, group, spaces, dtype=torch.float64) < 1e-9
    assert net(noise(20, 9, dtype=torch.float64)).std() > 1e-3  # and is no constant
    assert error(network(layer, spaces), group, spaces) > 1e-2  # v . v grows with the scale


def test_unit_products_of_zero_are_zero_in_each_dtype():
    for dtype in (torch.float16, torch.float32, torch.float64):
        act = GatedQuadratic(Rep(2, 2, 1), unit=True).to(dtype)
        assert torch.equal(
            act(torch.zeros(3, act.rep_in.size, dtype=dtype)), torch.zeros(3, 17, dtype=dtype)
        )


def test_layers_take_single_samples_empty_batches_and_views():
    for layer in (partial(ExactTypedLinear, group=O(3)), partial(ResidualTypedLinear, group=O(3))):
        net = network(layer)
        x = noise(12, 4).T  # not contiguous
        assert_close(net(x), net(x.contiguous()))
        assert_close(net(x[0]), net(x)[0])
        assert net(x[:0]).shape == (0, 9)


def test_measures_leave_mode_gradients_and_random_state_alone():
    net = network(partial(SoftTypedLinear, groups=AXES))
    x = noise(8, 12).requires_grad_()
    before = torch.get_rng_state()
    function_error(net, x, O(3), SPACES[0], SPACES[2], generator=generator())
    lie_error(net, x, O(3), SPACES[0], SPACES[2])
    assert torch.equal(torch.get_rng_state(), before)
    assert net.training
    assert x.grad is None
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert torch.is_grad_enabled()
    function_error(net, x, O(3), SPACES[0], SPACES[2])  # the twin: torch's own generator moves on
    assert not torch.equal(torch.get_rng_state(), before)


def test_the_bypass_breaks_what_the_layers_keep():
    net = network(partial(ExactTypedLinear, group=O(3)), bypass=True)
    assert error(net, O(3), dtype=torch.float64) < 1e-12  # it starts at zero
    with torch.no_grad():
        for act in net:
            if isinstance(act, GatedQuadratic):
                act.bypass += 0.5
    assert error(net, O(3)) > 1e-2


def test_a_signal_survives_an_exact_network():
    """Projecting alone would shrink it: the narrower the equivariant space, the more."""
    x = noise(200, 12)
    for layer in (
        partial(ExactTypedLinear, group=O(3)),
        partial(SoftTypedLinear, groups=[O(3)]),
    ):
        assert 0.01 < network(layer)(x).std() < 10


@given(
    rep=st.builds(Rep, st.integers(0, 3), st.integers(0, 3), st.integers(1, 2)),
    lead=st.sampled_from([(), (4,), (2, 3)]),
    bypass=st.booleans(),
    unit=st.booleans(),
)
def test_the_nonlinearity_respects_types(rep, lead, bypass, unit):
    act = GatedQuadratic(rep, unit=unit, bypass=bypass).double()
    x = noise(*lead, act.rep_in.size, dtype=torch.float64)
    h = O(3).sample(1, generator())[0]
    y = act(x)
    assert y.shape == (*lead, rep.size)
    assert_close(act(x @ act.rep_in.rho(h).T), y @ rep.rho(h).T)
    plain = nn.functional.silu(x)  # the broken twin
    turned = nn.functional.silu(x @ act.rep_in.rho(h).T)
    assert not torch.allclose(turned, plain @ act.rep_in.rho(h).T)


# Soft and residual ones ----------------------------------------------------------------------


def test_a_projected_weight_has_no_distance():
    layer = SoftTypedLinear(*SPACES[:2], [O(3), AXES[0]]).double()
    assert (layer.distances() > 0.1).all()
    p = layer.projectors[0]
    weight, bias = p.weight(layer.weight), p.bias(layer.bias)
    assert layer.distance(0, weight, bias) < 1e-24
    assert layer.distance(1, weight, bias) < 1e-24  # O(3) holds O(2)
    p = layer.projectors[1]
    assert layer.distance(0, p.weight(layer.weight), p.bias(layer.bias)) > 0.1


def test_the_gradient_of_the_distance_is_what_breaks_the_symmetry():
    layer = SoftTypedLinear(*SPACES[:2], [AXES[1]]).double()
    layer.distance(0).backward()
    p = layer.projectors[0]
    assert_close(layer.weight.grad, layer.weight - p.weight(layer.weight))
    assert_close(layer.bias.grad, layer.bias - p.bias(layer.bias))


def test_the_forward_pass_of_a_soft_layer_is_that_of_a_dense_one():
    layer = SoftTypedLinear(*SPACES[:2], [O(3)])
    x = noise(5, 12)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


def test_at_the_start_distances_go_with_codimension():
    """A larger group looks worse before anything is learned: the trap that normalizing avoids."""
    torch.manual_seed(0)
    wide = Rep(40, 30, 10)
    layer = SoftTypedLinear(wide, wide, [O(3), AXES[0], reflection(0)])
    ratio = layer.distances() / codimensions(layer)
    assert_close(ratio, ratio[:1].expand(3), rtol=0.05, atol=0)
    assert layer.distances()[0] > 1.5 * layer.distances()[2]


def test_distances_of_a_network_and_of_stacked_seeds():
    nets = [network(partial(SoftTypedLinear, groups=AXES), seed=s) for s in range(3)]
    each = torch.stack([distances(net) for net in nets])
    layers = [m for m in nets[0] if isinstance(m, SoftTypedLinear)]
    assert_close(each[0], sum(layer.distances() for layer in layers))
    params, _ = torch.func.stack_module_state(nets)
    assert_close(distances(nets[0], params), each)


def test_without_a_residual_the_residual_network_is_the_exact_one():
    residual = network(partial(ResidualTypedLinear, group=O(3), start=0.0))
    exact = network(partial(ExactTypedLinear, group=O(3)), seed=1)
    exact.load_state_dict(residual.state_dict(), strict=False)
    x = noise(20, 12, dtype=torch.float64)
    assert_close(residual.double()(x), exact.double()(x))
    assert error(residual, O(3), dtype=torch.float64) < 1e-12
    small = network(partial(ResidualTypedLinear, group=O(3)))
    assert 1e-5 < error(small, O(3), dtype=torch.float64) < 1e-2
    with torch.no_grad():
        small[0].residual.weight += 0.3
    assert error(small, O(3), dtype=torch.float64) > 1e-2


def test_equal_budgets():
    net = network(partial(SoftTypedLinear, groups=[O(3)]))
    width = widest(lambda w: mlp(12, 9, w), count_parameters(net))
    assert count_parameters(mlp(12, 9, width)) <= count_parameters(net)
    assert count_parameters(mlp(12, 9, width + 1)) > count_parameters(net)


# Measures ------------------------------------------------------------------------------------


def test_the_function_error_of_functions_whose_error_is_known():
    vector = Rep(n1=1)
    x = noise(2000, 3)
    assert function_error(lambda x: 3 * x, x.double(), O(3), vector, vector) < 1e-12
    assert function_error(lambda x: x, x, O(3), Rep(3), vector) > 0.3
    to_constant = function_error(
        lambda x: torch.ones(len(x), 1), x, O(3), vector, Rep(1), generator=generator()
    )
    assert to_constant == 0
    # A constant vector against its mirror image: |c - hc| / 2 is 0 or 1.
    mirror = reflection(2)
    up = torch.tensor([0.0, 0, 1])
    errors = function_errors(lambda x: up.expand(len(x), 3), x, mirror, vector, vector, n=200)
    assert set(errors.unique().tolist()) == {0.0, 1.0}
    assert 0.3 < errors.mean() < 0.7
    assert function_error(lambda x: torch.zeros(len(x), 3), x, O(3), vector, vector) == 0


def test_a_layer_may_undo_what_another_one_broke():
    """R is enough for equivariance, not needed: large distances, no function error."""
    layers = [SoftTypedLinear(Rep(n1=1), Rep(n1=1), [O(3)]).double() for _ in range(2)]
    change = noise(3, 3, dtype=torch.float64) + 2 * torch.eye(3)
    with torch.no_grad():
        layers[0].weight.copy_(change)
        layers[1].weight.copy_(torch.linalg.inv(change))
        for layer in layers:
            layer.bias.zero_()
    net = nn.Sequential(*layers)
    x = noise(50, 3, dtype=torch.float64)
    assert distances(net) > 0.5
    assert function_error(net, x, O(3), Rep(n1=1), Rep(n1=1)) < 1e-12


@pytest.mark.parametrize("group", [SO(3), AXES[0], scaling(3)], ids=lambda g: g.name)
def test_the_lie_form_is_the_slope_of_the_function_error(group):
    net = mlp(12, 9, 16).double()
    x = noise(20, 12, dtype=torch.float64)
    rep_in, _, rep_out = SPACES
    slope = lie_error(net, x, group, rep_in, rep_out)
    t = 1e-5
    for a, expected in zip(group.lie, slope, strict=True):
        h = torch.linalg.matrix_exp(t * a)
        twisted = net(x @ rep_in.rho(h).T) - net(x) @ rep_out.rho(h).T
        found = twisted.norm(dim=1) / (2 * net(x).norm(dim=1)) / t
        assert_close(found, expected, rtol=1e-3, atol=1e-4)
    exact = network(partial(ExactTypedLinear, group=SO(3))).double()
    assert lie_error(exact, x, SO(3), rep_in, rep_out).max() < 1e-12
    assert slope.min() > 1e-4


def test_the_lie_form_does_not_see_reflections():
    v = Rep(n1=1)
    x = noise(10, 3)
    norm = lambda x: x.norm(dim=-1, keepdim=True) * torch.tensor([0.0, 0.0, 1.0])
    turn = embed_O2((0, 1))
    assert lie_error(norm, x, turn, v, v).max() < 1e-6
    with pytest.raises(ValueError, match="flip z has none"):
        lie_error(norm, x, reflection(2), v, v)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SoftTypedLinear(Rep(1), Rep(1), []), "groups must hold at least one"),
        (lambda: SoftTypedLinear(Rep(1), Rep(1), [O(2)]), "rep_in has d = 3"),
        (lambda: ResidualTypedLinear(Rep(1), Rep(1), O(3), start=-1), "start must be finite"),
        (lambda: ResidualTypedLinear(Rep(1), Rep(1), O(3), start=float("nan")), "start must be"),
        (
            lambda: network(partial(SoftTypedLinear, groups=AXES), depth=0),
            "depth is 0, but has to",
        ),
        (
            lambda: network(partial(SoftTypedLinear, groups=AXES))(noise(4, 5)),
            r"x must be \(..., 12",
        ),
        (lambda: mlp(4, 1, 0), "width is 0, but has to be an int of at least 1"),
        (lambda: widest(lambda w: mlp(4, 1, w), 3), "budget is 3, but width 1 needs"),
        (lambda: widest(lambda w: mlp(4, 1, w), True), "budget is True, but has to be an int"),
        (lambda: distances(nn.Linear(2, 2)), "net must hold SoftTypedLinear layers"),
        (lambda: soft_layers("net"), "net must be a module, got str"),
        (lambda: distances(SoftTypedLinear(V, V, [O(3)]), {}), "params must hold 'weight'"),
        (
            lambda: distances(
                nn.Sequential(SoftTypedLinear(V, V, [O(3)]), SoftTypedLinear(V, V, AXES[:1]))
            ),
            "all with the same groups",
        ),
        (lambda: SoftTypedLinear(V, V, O(3)), "groups must hold at least one MatrixGroup, got"),
        (lambda: SoftTypedLinear(V, V, ["O(3)"]), "group must be a MatrixGroup, got 'O"),
        (lambda: SoftTypedLinear(V, V, [O(3)]).distance(1), "g must be an int in 0 ... 0, got 1"),
        (lambda: SoftTypedLinear(V, V, [O(3)]).distance(-1), "g must be an int in 0 ... 0"),
        (lambda: ExactTypedLinear(V, V, O(3))(noise(4, 2)), r"x must be \(..., 3\)"),
        (lambda: ExactTypedLinear(V, 3, O(3)), "rep_out must be a Rep, got 3"),
        (lambda: ResidualTypedLinear(V, V, O(3), start=True), "start must be finite"),
        (lambda: GatedQuadratic(3), "rep must be a Rep, got 3"),
        (lambda: function_error(nn.Identity(), noise(0, 3), O(3), V, V), "x must be .* not empty"),
        (
            lambda: function_error(nn.Identity(), noise(4, 3).long(), O(3), V, V),
            "x must be floating point .* got .*int64",
        ),
        (
            lambda: function_error(lambda x: x.long(), noise(4, 3), O(3), V, V),
            r"f\(x\) must be floating point",
        ),
        (
            lambda: function_error(lambda x: x.mean(0, keepdim=True), noise(4, 3), O(3), V, V),
            r"f\(x\) must be .* one row for each",
        ),
        (lambda: function_error(nn.Identity(), noise(4, 3), O(2), V, V), "rep_in has d = 3"),
        (lambda: lie_error(nn.Identity(), noise(4, 3), O(2), V, V), "rep_in has d = 3"),
        (lambda: lie_error(nn.Identity(), noise(0, 3), O(3), V, V), "x must be .* not empty"),
        (
            lambda: function_error(lambda x: x, noise(4, 2), O(3), Rep(n1=1), Rep(n1=1)),
            r"x must be \(..., 3\)",
        ),
        (
            lambda: function_error(lambda x: x[:, :2], noise(4, 3), O(3), Rep(n1=1), Rep(n1=1)),
            r"f\(x\) must be \(..., 3\)",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
