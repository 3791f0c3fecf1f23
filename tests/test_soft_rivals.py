"""Two later ways to be nearly symmetric: what is kept breaks little, and what turns is a group."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from equitutor import groups as finite_groups
from equitutor.methods.soft import (
    SO,
    LatentNetwork,
    O,
    Rep,
    SoftProjectedLinear,
    embed_O2,
    function_error,
    hom_projector,
    soft_projector,
)

PAIRS = [(0, 1), (1, 1), (1, 2), (2, 2)]


def generators(group, rank):
    """Directions and elements of a group on tensors of one rank."""
    rep = Rep(**{f"n{rank}": 1})
    return torch.cat([rep.drho(group.lie), rep.rho(group.discrete)])


def breaking(group, a, b, w):
    """The norm of B W - W A over all generators."""
    into, out = generators(group, a), generators(group, b)
    return torch.stack([B @ w - w @ A for A, B in zip(into, out, strict=True)]).norm()


@pytest.mark.parametrize(("a", "b"), PAIRS)
@pytest.mark.parametrize("group", [O(3), SO(3), embed_O2((0, 1))], ids=lambda g: g.name)
def test_softness_goes_from_exact_to_all(group, a, b):
    whole = torch.eye(3 ** (a + b), dtype=torch.float64)
    assert_close(soft_projector(group, a, b, 0.0), hom_projector(group, a, b))
    assert_close(soft_projector(group, a, b, 1.0), whole)


@given(st.sampled_from(PAIRS), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_what_is_kept_breaks_no_more_than_its_share(pair, one, other, seed):
    small, large = (soft_projector(SO(3), *pair, s) for s in sorted((one, other)))
    assert_close(large @ small, small)  # nested
    assert_close(small @ small, small)
    a, b = pair
    draw = torch.Generator().manual_seed(seed)
    w = torch.randn(3**b, 3**a, generator=draw, dtype=torch.float64)
    kept = (small @ w.flatten()).view_as(w)
    worst = max(breaking(SO(3), a, b, e.view_as(w)) for e in torch.eye(w.numel()).double())
    bound = breaking(SO(3), a, b, kept)
    # `worst` of single entries is at most the largest singular value.
    largest = torch.linalg.matrix_norm(constraint(SO(3), a, b), 2)
    assert worst <= largest + 1e-9
    assert bound <= min(one, other) * largest * kept.norm() + 1e-8


def constraint(group, a, b):
    """W -> (B W - W A) over all generators, as one matrix."""
    units = torch.eye(3 ** (a + b), dtype=torch.float64).view(-1, 3**b, 3**a)
    into, out = generators(group, a), generators(group, b)
    columns = [
        torch.cat([(B @ w - w @ A).flatten() for A, B in zip(into, out, strict=True)])
        for w in units
    ]
    return torch.stack(columns, 1)


def test_a_dense_weight_breaks_more_than_a_small_share():  # the broken twin of the bound
    draw = torch.Generator().manual_seed(0)
    w = torch.randn(3, 3, generator=draw, dtype=torch.float64)
    largest = torch.linalg.matrix_norm(constraint(SO(3), 1, 1), 2)
    assert breaking(SO(3), 1, 1, w) > 0.1 * largest * w.norm()


@pytest.mark.parametrize(("softness", "exact"), [(0.0, True), (0.6, False), (1.0, False)])
def test_a_layer_of_softness_zero_is_equivariant(softness, exact):
    torch.manual_seed(0)
    rep = Rep(2, 2, 1)
    layer = SoftProjectedLinear(rep, rep, SO(3), softness)
    x = torch.randn(20, rep.size)
    error = function_error(layer, x, SO(3), rep, rep, 8, torch.Generator().manual_seed(0))
    assert (error < 1e-5) == exact
    if softness == 1:
        assert_close(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("softness", [-0.1, 1.1, float("nan"), "much"])
def test_another_softness_is_refused(softness):
    with pytest.raises(ValueError, match="softness"):
        soft_projector(SO(3), 1, 1, softness)


@given(st.integers(0, 23), st.integers(0, 23))
def test_latent_numbers_turn_by_a_representation(i, j):
    group = finite_groups.octahedral()
    net = LatentNetwork(3, 1, 8, group, copies=2)
    z = torch.arange(48.0)
    both = net.turn(net.turn(z, j), i)
    assert torch.equal(both, net.turn(z, int(group.mul[i, j])))
    other = int(group.mul[j, i])
    assert torch.equal(both, net.turn(z, other)) == (other == int(group.mul[i, j]))


def test_an_encoder_that_asks_each_element_turns():
    """E(x)[h] = c(h^-1 x) is a function on the group, so E(g x) = g E(x), whatever c is."""
    group = finite_groups.octahedral()
    net = LatentNetwork(3, 1, 8, group, copies=1)
    elements = group.elements.float()
    c = lambda v: torch.sin(v @ torch.tensor([1.0, 2.0, 3.0]))
    encode = lambda x: torch.stack([c(x @ h) for h in elements], -1)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    for g in (1, 5, 17):
        moved = encode(x @ elements[g].T)
        assert_close(moved, net.turn(encode(x), g))
        wrong = int(group.inv[g])
        assert wrong == g or not torch.allclose(moved, net.turn(encode(x), wrong), atol=1e-3)
