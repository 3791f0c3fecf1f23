"""The projector onto equivariant maps: its law, its table, its agreement with slower ways."""

import math

import pytest
import torch
from bench.lib.dense import clear_cache, dense_projector
from conftest import rounding
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from equitutor import groups as finite_groups
from equitutor.methods.soft import (
    SO,
    MatrixGroup,
    O,
    Rep,
    TypedProjector,
    embed_O2,
    finite,
    hom_projector,
    join,
    reflection,
    scaling,
)
from equitutor.methods.soft import projectors as module
from equitutor.methods.soft.representations import tensor_power

BOOSTS = torch.zeros(3, 4, 4)
for k in range(3):
    BOOSTS[k, 0, k + 1] = BOOSTS[k, k + 1, 0] = 1  # time is axis 0
TURNS = torch.zeros(3, 4, 4)
TURNS[:, 1:, 1:] = SO(3).lie.float()
LORENTZ = MatrixGroup("SO(1, 3)", 4, lie=torch.cat([BOOSTS, TURNS]))
SL2 = MatrixGroup(
    "SL(2)", 2, lie=torch.tensor([[[1.0, 0], [0, -1]], [[0, 1], [0, 0]], [[0, 0], [1, 0]]])
)
C4 = finite(finite_groups.cyclic(4))
GROUPS = [O(3), SO(3), embed_O2((0, 1)), reflection(2), scaling(3), O(2), C4, SL2, LORENTZ]
named = pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.name)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dims(group, pairs):
    traces = [hom_projector(group, a, b).trace().item() for a, b in pairs]
    assert all(abs(t - round(t)) < 1e-9 for t in traces)
    return [round(t) for t in traces]


# The table of the paper's groups, and groups that it never names ------------------------------

PAIRS = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("group", "table"),
    [
        (O(3), [1, 0, 1, 1, 0, 3]),
        (SO(3), [1, 0, 1, 1, 1, 3]),
        (embed_O2((0, 1)), [1, 1, 2, 2, 4, 10]),
        (embed_O2((1, 2)), [1, 1, 2, 2, 4, 10]),
        (reflection(2), [1, 2, 5, 5, 14, 41]),
        (scaling(3), [1, 0, 0, 9, 0, 81]),
        (MatrixGroup("trivial", 3), [1, 3, 9, 9, 27, 81]),
        (C4, [1, 0, 2, 2, 0, 8]),
        (SL2, [1, 0, 1, 1, 0, 2]),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_trace_table(group, table):
    assert dims(group, PAIRS) == table


def turn(angle):
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[[c, -s], [s, c]]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("angle", "table"),
    [(2 * math.pi, [1, 2, 4, 4, 8, 16]), (math.pi, [1, 0, 4, 4, 0, 16])],
    ids=["full", "half"],
)
def test_what_rounding_leaves_of_an_element_is_no_constraint(angle, table):
    """sin(pi) is 1e-16 to a computer. Next to nothing else, that must not count as a turn."""
    h = turn(angle)
    assert 0 < h[0, 1, 0].abs() < 1e-15
    assert dims(MatrixGroup("turn", 2, discrete=h), PAIRS) == table
    rep = Rep(n2=1, d=2)
    dense = dense_projector(MatrixGroup("turn", 2, discrete=h), rep, rep)
    assert round(dense.trace().item()) == 16
    tiny = MatrixGroup("turn", 2, discrete=turn(angle + 1e-3))  # the twin: this is one
    assert dims(tiny, [(2, 2)]) == [6]


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_the_length_of_a_direction_does_not_matter(size):
    both = join("both", [MatrixGroup("long", 3, lie=size * scaling(3).lie), SO(3)])
    assert dims(both, PAIRS) == dims(join("both", [scaling(3), SO(3)]), PAIRS)
    plain = dense_projector(both, Rep(1, 1), Rep(1, 1))
    assert_close(plain, dense_projector(join("both", [scaling(3), SO(3)]), Rep(1, 1), Rep(1, 1)))


def test_no_direction_at_all_asks_for_nothing():
    still = MatrixGroup("still", 2, lie=torch.zeros(1, 2, 2))
    assert dims(still, PAIRS) == [1, 2, 4, 4, 8, 16]


def test_lorentz():
    assert dims(LORENTZ, [(0, 1), (1, 1), (1, 2)]) == [0, 1, 0]
    metric = hom_projector(LORENTZ, 0, 2)
    assert_close(metric.trace(), torch.tensor(1.0, dtype=torch.float64))
    eta = torch.diag(torch.tensor([-1.0, 1, 1, 1], dtype=torch.float64)).flatten()
    assert_close(metric @ eta, eta)
    assert not torch.allclose(metric @ torch.eye(4).double().flatten(), eta.abs())  # Euclid's


def test_the_rotations_of_space_know_the_cross_product():
    p = hom_projector(SO(3), 2, 1)
    epsilon = torch.zeros(3, 3, 3, dtype=torch.float64)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        epsilon[i, j, k], epsilon[i, k, j] = 1, -1
    assert_close(p @ epsilon.flatten(), epsilon.flatten())
    assert hom_projector(O(3), 2, 1).abs().max() < 1e-9


def test_duals_matter_where_lengths_change():
    pairs = [(0, (1, 1)), ((0, 1), 0), (1, (0, 1)), ((1, 1), (1, 1))]
    assert dims(scaling(2), pairs) == [4, 0, 0, 16]
    assert dims(SL2, [(0, (1, 1)), (1, (0, 1))]) == [1, 1]  # the trace; a vector's area form


# The law -----------------------------------------------------------------------------------


@named
@pytest.mark.parametrize("pair", [(0, 1), (1, 1), (2, 1), (1, (0, 1))], ids=str)
def test_a_projector_is_one(group, pair):
    p = hom_projector(group, *pair)
    assert p.dtype == torch.float64
    assert_close(p @ p, p, atol=1e-12, rtol=0)
    assert_close(p, p.T, atol=1e-14, rtol=0)


def test_not_every_matrix_with_the_right_range_is_a_projector():
    """The broken twins of the test above: a mean of two projectors, and a slanted one."""
    p, q = hom_projector(embed_O2((0, 1)), 1, 1), hom_projector(embed_O2((1, 2)), 1, 1)
    mean = (p + q) / 2
    assert_close(mean, mean.T, atol=1e-14, rtol=0)
    assert (mean @ mean - mean).abs().max() > 0.01
    slanted = p + p @ noise(9, 9) @ (torch.eye(9) - p)  # same range, other kernel
    assert_close(slanted @ slanted, slanted)
    assert (slanted - slanted.T).abs().max() > 0.1


def test_the_table_needs_the_transpose(monkeypatch):
    """The broken twin of the table: B W = W A^T asks for something else."""
    solve = module._solve
    twin = lambda a, b, h, k: solve(a.mT.contiguous(), b, h.mT.contiguous(), k)
    shear = MatrixGroup("shear", 2, lie=torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]))
    right = hom_projector(shear, 1, 1) @ torch.tensor([0.0, 1.0, 0.0, 0.0]).double()
    clear_cache()
    monkeypatch.setattr(module, "_solve", twin)
    wrong = hom_projector(shear, 1, 1) @ torch.tensor([0.0, 1.0, 0.0, 0.0]).double()
    assert dims(SL2, [(0, 2), (1, (0, 1))]) != [1, 1]
    clear_cache()
    assert_close(right, torch.tensor([0.0, 1.0, 0.0, 0.0]).double())  # a shear keeps itself
    assert not torch.allclose(wrong, right)


@named
@pytest.mark.parametrize("pair", [(1, 1), (1, 2), (0, 2), ((0, 1), 1)], ids=str)
def test_projected_maps_commute_with_the_group(group, pair):
    a, b = pair
    h = group.sample(10, torch.Generator().manual_seed(0))
    rho_in, rho_out = tensor_power(h, a), tensor_power(h, b)
    w = noise(rho_out.shape[-1], rho_in.shape[-1])
    projected = (hom_projector(group, a, b) @ w.flatten()).view_as(w)
    size = rho_out.norm(dim=(1, 2)).max() * rho_in.norm(dim=(1, 2)).max()  # boosts are large
    assert (rho_out @ projected - projected @ rho_in).abs().max() < 1e-11 * size
    if group.name not in ("scale",) or pair != (1, 1):  # to scaling every linear map is one
        assert (rho_out @ w - w @ rho_in).abs().max() > 0.1  # the broken twin


def test_for_a_compact_group_projecting_is_averaging():
    c4 = C4.discrete
    w = noise(2, 2)
    average = (c4 @ w @ c4.mT).mean(0)
    assert_close((hom_projector(C4, 1, 1) @ w.flatten()).view(2, 2), average)


@pytest.mark.parametrize("pair", [(1, 1), (1, 2), (2, 2)], ids=str)
def test_the_maps_of_a_larger_group_are_among_those_of_a_smaller_one(pair):
    large = hom_projector(O(3), *pair)
    for axes in ((0, 1), (1, 2), (0, 2)):
        small = hom_projector(embed_O2(axes), *pair)
        assert_close(large @ small, large, atol=1e-12, rtol=0)
        assert_close(small @ large, large, atol=1e-12, rtol=0)
        assert (large @ small - small).abs().max() > 0.1  # and not the other way round


# Whole layers --------------------------------------------------------------------------------

layers = st.tuples(
    st.sampled_from([O(3), SO(3), embed_O2((0, 1)), reflection(2)]),
    *[st.builds(Rep, st.integers(0, 2), st.integers(0, 2), st.integers(1, 1))] * 2,
)


@given(layers, st.integers(0, 99))
def test_a_layer_is_projected_as_by_the_dense_solve(case, seed):
    group, rep_in, rep_out = case
    w, b = noise(rep_out.size, rep_in.size, seed=seed), noise(rep_out.size, seed=seed + 1)
    p = TypedProjector(group, rep_in, rep_out)
    dense = dense_projector(group, rep_in, rep_out)
    assert_close(p.weight(w).flatten(), dense @ w.flatten(), atol=1e-10, rtol=0)
    of_bias = dense_projector(group, Rep(1), rep_out)
    assert_close(p.bias(b), of_bias @ b, atol=1e-10, rtol=0)
    assert p.dim() == round((dense.trace() + of_bias.trace()).item())
    assert p.dim() + p.codim() == w.numel() + b.numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_removed_is_orthogonal_to_what_stays(dtype):
    rep_in, rep_out = Rep(3, 2, 1), Rep(2, 2, 1)
    p = TypedProjector(O(3), rep_in, rep_out)
    w = noise(rep_out.size, rep_in.size).to(dtype)
    kept = p.weight(w)
    assert kept.dtype == dtype
    tolerance = rounding(dtype, 2)
    assert abs(((w - kept) * kept).sum()) < tolerance * w.square().sum()
    assert_close(p.weight(kept), kept, atol=tolerance, rtol=0)
    h = O(3).sample(1, torch.Generator().manual_seed(0)).to(dtype)[0]
    assert_close(rep_out.rho(h) @ kept @ rep_in.rho(h).T, kept, atol=2 * tolerance, rtol=0)
    assert not torch.allclose(rep_out.rho(h) @ w @ rep_in.rho(h).T, w, atol=1e-1)


def test_seeds_are_projected_side_by_side():
    rep_in, rep_out = Rep(2, 2), Rep(1, 1, 1)
    p = TypedProjector(embed_O2((0, 1)), rep_in, rep_out)
    w, b = noise(4, rep_out.size, rep_in.size), noise(4, rep_out.size)
    for k in range(4):
        assert_close(p.weight(w)[k], p.weight(w[k]))
        assert_close(p.bias(b)[k], p.bias(b[k]))
    assert_close(torch.vmap(p.weight)(w), p.weight(w))


def test_empty_stacks_and_views_are_weights_too():
    rep_in, rep_out = Rep(1, 2), Rep(2, 1)
    p = TypedProjector(O(3), rep_in, rep_out)
    assert p.weight(torch.zeros(0, 5, 7)).shape == (0, 5, 7)
    assert p.bias(torch.zeros(0, 5)).shape == (0, 5)
    w = noise(7, 5).T  # not contiguous
    assert_close(p.weight(w), p.weight(w.contiguous()))
    half = p.weight(w.half())
    assert half.dtype == torch.float16
    assert_close(half.double(), p.weight(w), atol=5e-3, rtol=0)


def test_different_spaces_on_both_sides_of_a_non_orthogonal_group():
    rep_in, rep_out = Rep(1, 2, d=2, n01=1, n11=1), Rep(1, 1, d=2, n02=1)
    dense = dense_projector(SL2, rep_in, rep_out)
    w = noise(rep_out.size, rep_in.size)
    p = TypedProjector(SL2, rep_in, rep_out)
    assert_close(p.weight(w).flatten(), dense @ w.flatten(), atol=1e-10, rtol=0)


# The cache -----------------------------------------------------------------------------------


def test_equal_generators_share_one_solution(monkeypatch):
    hom_projector(O(3), 1, 2)
    monkeypatch.setattr(module, "_solve", lambda *a: pytest.fail("solved a second time"))
    first = hom_projector(O(3), 1, 2)
    renamed = MatrixGroup("mine", 3, O(3).lie, O(3).discrete)
    assert hom_projector(renamed, (1, 0), 2) is first


def test_a_projector_met_first_without_gradients_has_gradients_later():
    clear_cache()
    p = TypedProjector(O(2), Rep(n1=1, d=2), Rep(n1=1, d=2))
    with torch.inference_mode():
        p.weight(torch.eye(2))
    w = torch.eye(2, requires_grad=True)
    p.weight(w).square().sum().backward()
    assert_close(w.grad, 2 * torch.eye(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TypedProjector(O(2), Rep(1), Rep(1, d=2)), r"rep_in has d = 3, but O\(2\) acts"),
        (lambda: TypedProjector(O(3), Rep(1), Rep(1, d=2)), "rep_out has d = 2"),
        (lambda: hom_projector(O(2), 0, 3), "type must be"),
        (
            lambda: TypedProjector(O(3), Rep(2), Rep(1)).weight(torch.zeros(2, 1)),
            r"w must be \(..., 1, 2\), got \(2, 1\)",
        ),
        (
            lambda: TypedProjector(O(3), Rep(2), Rep(1)).bias(torch.zeros(2)),
            r"b must be \(..., 1\)",
        ),
        (
            lambda: TypedProjector(O(3), Rep(2), Rep(1)).weight(torch.ones(1, 2).int()),
            "w must be floating point, got torch.int32",
        ),
        (
            lambda: TypedProjector(O(3), Rep(2), Rep(1)).bias(torch.ones(1).long()),
            "b must be floating point, got torch.int64",
        ),
        (
            lambda: TypedProjector(O(3), Rep(2), Rep(1)).weight([[1.0, 2.0]]),
            r"w must be \(..., 1, 2\), got list",
        ),
        (lambda: TypedProjector("O(3)", Rep(2), Rep(1)), "group must be a MatrixGroup"),
        (lambda: TypedProjector(O(3), 2, Rep(1)), "rep_in must be a Rep, got 2"),
        (lambda: hom_projector(3, 1, 1), "group must be a MatrixGroup, got 3"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_joined_groups_ask_for_both():
    both = join("both", [SO(3), scaling(3)])
    assert dims(both, PAIRS) == [1, 0, 0, 1, 0, 3]
