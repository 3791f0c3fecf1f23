"""Groups by generators, and how they act on typed features."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from equitutor import groups as finite_groups
from equitutor.methods.soft import (
    SO,
    MatrixGroup,
    O,
    Rep,
    embed_O2,
    finite,
    join,
    reflection,
    scaling,
)
from equitutor.methods.soft.representations import TYPES, tensor_derivative, tensor_power

EYE = torch.eye(3, dtype=torch.float64)
SL2 = MatrixGroup(
    "SL(2)", 2, lie=torch.tensor([[[1.0, 0], [0, -1]], [[0, 1], [0, 0]], [[0, 0], [1, 0]]])
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Groups ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["haar", "lie"])
@pytest.mark.parametrize(
    "group", [O(2), O(3), SO(3), embed_O2((0, 2)), reflection(1)], ids=lambda g: g.name
)
def test_elements_are_orthogonal(group, how):
    h = group.sample(200, generator(), how)
    assert h.dtype == torch.float64
    assert_close(h @ h.mT, torch.eye(group.d, dtype=torch.float64).expand_as(h))
    both = {-1.0, 1.0} if group.name != "SO(3)" else {1.0}
    assert set(torch.linalg.det(h).round().tolist()) == both


def test_an_embedded_group_leaves_its_other_axis_alone():
    for axes, rest in (((0, 1), 2), ((1, 2), 0), ((0, 2), 1)):
        h = embed_O2(axes).sample(50, generator())
        assert_close(h[:, rest], EYE[rest].expand(50, 3))
        assert_close(h[:, :, rest], EYE[rest].expand(50, 3))
    free = O(3).sample(50, generator())  # the broken twin
    assert (free[:, 2] - EYE[2]).abs().max() > 0.5


def test_uniform_elements_have_the_moments_of_the_uniform_law():
    """The mean of h is 0, that of tr(h)^2 is 1: the vectors are one irreducible type."""
    for group in (O(3), SO(3)):
        trace = group.sample(40_000, generator()).diagonal(0, 1, 2).sum(-1)
        assert abs(trace.mean()) < 0.03
        assert abs(trace.square().mean() - 1) < 0.04
    q = torch.linalg.qr(torch.randn(40_000, 3, 3, generator=generator(), dtype=torch.float64))[0]
    assert abs(q.diagonal(0, 1, 2).sum(-1).square().mean() - 1) > 0.04  # QR without its sign


def test_the_same_generator_gives_the_same_elements():
    for group in (O(3), SL2, finite(finite_groups.cyclic(4))):
        assert torch.equal(group.sample(5, generator(3)), group.sample(5, generator(3)))


def test_lie_elements_keep_what_the_group_keeps():
    h = SL2.sample(50, generator())
    assert_close(torch.linalg.det(h), torch.ones(50, dtype=torch.float64))
    assert (h @ h.mT - torch.eye(2)).abs().max() > 0.1  # and are no rotations
    h = scaling(3).sample(50, generator())
    assert_close(h, h[:, :1, :1] * EYE)
    assert (h[:, 0, 0] > 0).all()


@pytest.mark.parametrize(
    ("group", "answer"), [(O(3), True), (SO(2), True), (reflection(0), True), (scaling(2), False)]
)
def test_orthogonal(group, answer):
    assert group.orthogonal is answer


def test_a_group_keeps_its_own_copy_of_the_generators():
    lie = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]], dtype=torch.float64)
    group = MatrixGroup("mine", 2, lie=lie)
    key = group.key
    lie.zero_()
    assert group.lie.abs().sum() == 2
    assert key == MatrixGroup("another name", 2, lie=SO(2).lie).key
    assert key != O(2).key


def test_a_small_matrix_may_be_invertible():
    small = MatrixGroup("shrink", 3, discrete=1e-4 * EYE[None])  # its determinant is 1e-12
    assert torch.equal(small.discrete, 1e-4 * EYE[None])
    flat = EYE.clone()
    flat[2, 2] = 0
    with pytest.raises(ValueError, match="discrete must hold invertible"):
        MatrixGroup("flat", 3, discrete=1e4 * flat[None])


def test_join_and_finite():
    both = join("SO(3) x scale", [SO(3), scaling(3)])
    assert both.lie.shape == (4, 3, 3)
    assert both.haar is None
    c4 = finite(finite_groups.cyclic(4))
    assert len(torch.unique(c4.sample(100, generator()), dim=0)) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: O(0), "n is 0, but has to be an int of at least 1"),
        (lambda: SO(True), "n is True, but has to be an int of at least 1"),
        (lambda: scaling(2.0), "n is 2.0, but has to be an int of at least 1"),
        (lambda: embed_O2((0, 0)), "axes must be two different axes in 0 ... 2"),
        (lambda: embed_O2((0, 3)), "axes must be two different axes"),
        (lambda: embed_O2((0, True)), "axes must be two different axes"),
        (lambda: reflection(3), "axis must be an int in 0 ... 2, got 3"),
        (lambda: MatrixGroup("a", 2, lie=EYE[None]), r"lie must be a tensor \(n, 2, 2\)"),
        (lambda: MatrixGroup("a", 3, lie=EYE), r"lie must be a tensor \(n, 3, 3\)"),
        (lambda: MatrixGroup("a", 3, lie=EYE[None] * math.nan), "lie must hold finite"),
        (lambda: MatrixGroup("a", 3, discrete=0 * EYE[None]), "discrete must hold invertible"),
        (lambda: MatrixGroup("a", 3, discrete="C4"), "discrete must be a tensor"),
        (lambda: O(3).sample(0), "n is 0, but has to be an int of at least 1"),
        (lambda: O(3).sample(1, how="uniform"), "how must be 'haar', 'lie' or None"),
        (lambda: SL2.sample(1, how="haar"), r"SL\(2\) has no uniform sampler"),
        (lambda: MatrixGroup("a", 3, discrete=EYE[None].bool()), "discrete must hold real numbers"),
        (lambda: MatrixGroup("a", 3, lie=EYE[None] * 1j), "lie must hold real numbers"),
        (lambda: MatrixGroup("a", 3, haar=EYE), "haar must be a function"),
        (lambda: O(3).sample(1, how=""), "how must be 'haar', 'lie' or None, got ''"),
        (lambda: O(3).sample(1, 0), "generator must be a torch.Generator or None, got 0"),
        (lambda: embed_O2(None), "axes must be two different axes in 0 ... 2, got None"),
        (lambda: embed_O2("xy"), "axes must be two different axes in 0 ... 2, got 'xy'"),
        (lambda: join("one", O(3)), "groups must hold at least one MatrixGroup"),
        (lambda: join("names", ["O(3)"]), r"group must be a MatrixGroup, got 'O\(3\)'"),
        (lambda: finite(O(3)), "group must be a FiniteGroup, got MatrixGroup"),
        (lambda: join("none", []), "groups must hold at least one"),
        (lambda: join("mixed", [O(2), O(3)]), r"got sizes \[2, 3\]"),
        (lambda: Rep(), "at least one tensor"),
        (lambda: Rep(-1, 2), "n0 is -1, but has to be an int of at least 0"),
        (lambda: Rep(True), "n0 is True, but has to be an int of at least 0"),
        (lambda: Rep(1, d=0), "d is 0, but has to be an int of at least 1"),
        (lambda: Rep(1).rho(torch.eye(2)), r"h must be \(..., 3, 3\), got \(2, 2\)"),
        (lambda: Rep(1).split(torch.zeros(4, 2)), r"x must be \(..., 1\)"),
        (lambda: tensor_power(EYE, 3), "type must be 0, 1, 2 or one of"),
        (lambda: tensor_power(EYE, True), "type must be 0, 1, 2"),
        (lambda: tensor_power(EYE, (1.0, 0.0)), "type must be 0, 1, 2"),
        (lambda: tensor_power(EYE, [1, 0]), "type must be 0, 1, 2"),
        (lambda: tensor_power(EYE[:2], 2), r"h must be floating point \(..., d, d\), got \(2, 3\)"),
        (lambda: tensor_power(EYE.int(), (0, 1)), "h must be floating point"),
        (lambda: tensor_power(0 * EYE, (0, 1)), "h must be invertible for the type"),
        (lambda: tensor_derivative([1.0], 1), r"a must be floating point .* got list"),
        (lambda: Rep(1).drho(torch.eye(2)), r"a must be \(..., 3, 3\), got \(2, 2\)"),
        (lambda: Rep(1).split([0.0]), r"x must be \(..., 1\) for .* got list"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Representations ---------------------------------------------------------------------------

reps = st.builds(
    Rep,
    *[st.integers(0, 2)] * 3,
    d=st.sampled_from([2, 3]),
    n01=st.integers(0, 1),
    n11=st.integers(0, 1),
    n02=st.integers(1, 1),
)


@given(rep=reps, seed=st.integers(0, 99))
def test_a_representation_multiplies_as_the_group_does(rep, seed):
    g, h = torch.randn(2, rep.d, rep.d, generator=generator(seed), dtype=torch.float64)
    g, h = (torch.linalg.matrix_exp(0.3 * m) for m in (g, h))  # any invertible matrices
    assert_close(rep.rho(g @ h), rep.rho(g) @ rep.rho(h))
    twin = rep.rho(h) @ rep.rho(g)  # the wrong order
    assert not torch.allclose(rep.rho(g @ h), twin)


@given(rep=reps, seed=st.integers(0, 99))
def test_the_derivative_is_that_of_the_action(rep, seed):
    a = torch.randn(rep.d, rep.d, generator=generator(seed), dtype=torch.float64)
    exact = torch.linalg.matrix_exp(rep.drho(a))
    assert_close(rep.rho(torch.linalg.matrix_exp(a)), exact, atol=1e-8, rtol=1e-8)


def test_matrices_turn_on_both_sides():
    h = SL2.sample(1, generator())[0]
    m = torch.randn(2, 2, dtype=torch.float64, generator=generator(1))
    inverse = torch.linalg.inv(h)
    for kind, turned in (
        ((2, 0), h @ m @ h.T),
        ((1, 1), h @ m @ inverse),  # a linear map: the same map seen from another basis
        ((0, 2), inverse.T @ m @ inverse),
    ):
        assert_close(tensor_power(h, kind) @ m.flatten(), turned.flatten())
    assert not torch.allclose(tensor_power(h, 2) @ m.flatten(), (h.T @ m @ h).flatten())


@pytest.mark.parametrize("kind", TYPES)
def test_for_rotations_a_dual_turns_as_its_original(kind):
    h = O(3).sample(4, generator())
    assert_close(tensor_power(h, kind), tensor_power(h, sum(kind)))
    stretched = h * 2
    if kind[1]:
        assert not torch.allclose(tensor_power(stretched, kind), tensor_power(stretched, sum(kind)))
    a = SO(3).lie
    assert_close(tensor_derivative(a, kind), tensor_derivative(a, sum(kind)))


def test_split_names_the_parts_of_a_vector():
    rep = Rep(2, 1, 1, d=2)
    parts = rep.split(torch.arange(8.0).expand(5, 8))
    assert parts[0, 0][0].tolist() == [0, 1]
    assert parts[1, 0][0].tolist() == [[2, 3]]
    assert parts[2, 0][0].tolist() == [[[4, 5], [6, 7]]]
