"""Layers on (point, group element): exact where they claim to be, and broken twins that are not."""

import math

import pytest
import torch
from conftest import rounding
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from equitutor import groups
from equitutor.methods.icosahedral import (
    GroupAttention,
    InterConv,
    IntraConv,
    PointGroupNorm,
    RotationTables,
    SeparableBlock,
    farthest_points,
    interpolation,
    nearest,
    point_invariants,
    rotation_tables,
    take,
)
from equitutor.methods.icosahedral.points import distances

TABLES = rotation_tables()
PRECISION = [(dtype, rounding(dtype, 10)) for dtype in (torch.float64, torch.float32)]


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def act(features, g, tables=TABLES):
    """Return L_g f for features (..., G, C) at points that moved along: (L_g f)(a) = f(g^-1 a)."""
    return features[..., tables.mul[tables.inv[g]], :]


def error(a, b):
    return float(((a - b).abs().max() / b.abs().max()).detach())


def naive_inter(layer, points, centers, neighbors, features, tables=TABLES):
    """Return what InterConv returns, as the formula says: every R_a k_m, every feature gathered."""
    elements = tables.elements.to(points)
    u = take(points, neighbors) - centers[:, :, None]  # (B, S, k, 3)
    turned = torch.einsum("aij,mj->ami", elements, layer.kernel)  # (G, K, 3)
    apart = (u[:, :, :, None, None] - turned).square().sum(-1)  # (B, S, k, G, K)
    kappa = (1 - apart / (layer.radius**2 / 4)).relu()
    count = (1 - u.square().sum(-1) / layer.radius**2).relu().sum(2).clamp(min=1)
    near = take(features, neighbors)  # (B, S, k, G, C)
    out = torch.einsum("bskam,bskac,mcd->bsad", kappa, near, layer.weight)
    return out / count[:, :, None, None]


@pytest.mark.parametrize("name", ["icosahedral", "octahedral", "tetrahedral"])
def test_tables(name):
    t = rotation_tables(name)
    g, r = len(t), t.elements
    assert (r[t.mul] - r[:, None] @ r).abs().max() < 1e-12
    assert (r @ r.mT - torch.eye(3, dtype=r.dtype)).abs().max() < 1e-12
    assert (r[t.inv] - r.mT).abs().max() < 1e-12
    a, b, c = torch.randint(g, (3, 500), generator=torch.Generator().manual_seed(0))
    assert torch.equal(t.mul[t.mul[a, b], c], t.mul[a, t.mul[b, c]])
    assert torch.equal(t.relative[a, b], t.relative[t.mul[c, a], t.mul[c, b]])
    # the kernel is permuted by the group, and the table says how
    assert (r[:, None] @ t.kernel[..., None] - t.kernel[t.turned][..., None]).abs().max() < 1e-12
    assert torch.equal(t.turned.sort(1).values, torch.arange(len(t.kernel)).expand(g, -1))
    # float32, as the layers hold them
    r = r.float()
    assert (r[t.mul] - r[:, None] @ r).abs().max() < rounding(torch.float32, 1)


def test_tables_refuse():
    with pytest.raises(ValueError, match="name is 'cube'; need one of 'icosahedral'"):
        rotation_tables("cube")
    mirror = -torch.eye(3, dtype=torch.float64)[None]
    with pytest.raises(ValueError, match="need two or more rotations of space"):
        RotationTables.of(groups.FiniteGroup.from_generators("Ci", mirror))
    half = torch.diag(torch.tensor([-1.0, -1, 1], dtype=torch.float64))[None]
    with pytest.raises(ValueError, match="smallest angle below 180"):
        RotationTables.of(groups.FiniteGroup.from_generators("C2", half))


@pytest.mark.parametrize("name", ["icosahedral", "octahedral", "tetrahedral"])
def test_inter_convolution_is_the_formula(name):
    tables = rotation_tables(name)
    layer = InterConv(tables, 3, 5, radius=0.9).double()
    x = draw(2, 40, 3) * 0.4
    near = nearest(x, x[:, :15], 12)
    f = draw(2, 40, len(tables), 3, seed=1)
    got = layer(x, x[:, :15], near, f)
    want = naive_inter(layer, x, x[:, :15], near, f, tables)
    assert error(got, want) < 1e-12
    # and so are the gradients, those of the points among them
    leaves = [x.requires_grad_(), f.requires_grad_(), layer.weight]
    both = [
        torch.autograd.grad(run(x, x[:, :15], near, f).square().sum(), leaves)
        for run in (layer, lambda *given: naive_inter(layer, *given, tables))
    ]
    assert max(error(a, b) for a, b in zip(*both, strict=True)) < 1e-12
    x, f = x.detach(), f.detach()
    # invariants are features that are the same for all elements
    invariant = draw(2, 40, 3, seed=2)
    same = invariant[:, :, None].expand(-1, -1, len(tables), -1)
    assert error(layer(x, x[:, :15], near, invariant), layer(x, x[:, :15], near, same)) < 1e-12


def test_kernel_vanishes_outside_its_ball():
    layer = InterConv(TABLES, 1, 1, radius=1.0).double()
    u = nn.functional.normalize(draw(1, 500, 3), dim=-1)
    zero = torch.zeros(1, 1, 3, dtype=torch.float64)
    index = torch.arange(500)[None, None]
    assert layer.kappa(1.0001 * u, zero, index).max() == 0
    inside = layer.kappa(0.7 * u, zero, index)
    assert (inside.amax(2) > 0).all()  # no hole: every direction is seen


def test_intra_convolution_is_the_formula():
    layer = IntraConv(TABLES, 3, 4).double()
    f = draw(7, 60, 3)
    near = TABLES.mul[:, TABLES.neighbors]  # a b_n
    want = torch.einsum("xanc,ncd->xad", f[:, near], layer.weight) + layer.bias
    assert error(layer(f), want) < 1e-13


class LeftConv(IntraConv):
    """Broken: multiplies by neighbors from the left, where the action is."""

    def __init__(self, *args):
        super().__init__(*args)
        self.sources = TABLES.mul.T[:, TABLES.neighbors]


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
def test_intra_commutes_and_its_left_twin_does_not(dtype, tolerance):
    f = draw(5, 60, 3, dtype=dtype)
    for layer, exact in ((IntraConv(TABLES, 3, 4), True), (LeftConv(TABLES, 3, 4), False)):
        layer = layer.to(dtype)
        worst = max(error(layer(act(f, g)), act(layer(f), g)) for g in range(60))
        assert worst < tolerance if exact else worst > 0.1


class PerAnchorNorm(nn.Module):
    """Broken as a norm of the group: it keeps the statistics of each group element."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("scale", 1 + torch.rand(60, channels))  # running statistics

    def forward(self, f):
        return f * self.scale.to(f)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
@pytest.mark.parametrize("norm", ["channel", "points", "broken"])
def test_block_commutes_with_all_sixty(norm, dtype, tolerance):
    torch.manual_seed(0)
    block = SeparableBlock(TABLES, 3, 4, 0.9, norm="channel" if norm == "broken" else norm)
    if norm == "broken":
        block.norm1 = PerAnchorNorm(4)
    block = block.to(dtype)
    x, f = draw(2, 50, 3, dtype=dtype) * 0.4, draw(2, 50, 60, 3, seed=1, dtype=dtype)
    picked = farthest_points(x, 12)
    near = nearest(x, take(x, picked), 16)
    out = block(x, picked, near, f)
    assert out.shape == (2, 12, 60, 4)
    worst = 0.0
    for g in range(60):
        turned = x @ TABLES.elements[g].to(dtype).T
        worst = max(worst, error(block(turned, picked, near, act(f, g)), act(out, g)))
    assert worst > 0.02 if norm == "broken" else worst < tolerance
    moved = x + torch.tensor([1.0, -2, 3], dtype=dtype)
    assert norm == "broken" or error(block(moved, picked, near, f), out) < 20 * tolerance


def test_block_is_not_equivariant_off_the_grid():
    torch.manual_seed(0)
    block = SeparableBlock(TABLES, 1, 4, 0.9).double()
    x = draw(1, 50, 3) * 0.4
    picked = farthest_points(x, 12)
    near = nearest(x, take(x, picked), 16)
    ones = torch.ones(1, 50, 1, dtype=x.dtype)
    out = block(x, picked, near, ones)
    for r in groups.haar_so3(5, torch.Generator().manual_seed(0)):
        turned = block(x @ r.T, picked, near, ones)
        nearest_permutation = min(error(turned, act(out, g)) for g in range(60))
        assert nearest_permutation > 0.1  # the tests above are not vacuous


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_two_clusters_do_not_see_each_other(dtype):
    torch.manual_seed(0)
    first = SeparableBlock(TABLES, 1, 4, 0.9).to(dtype)
    second = SeparableBlock(TABLES, 4, 4, 0.9).to(dtype)
    x = draw(1, 60, 3, dtype=dtype) * 0.3
    x[:, 30:, 0] += 2 + x.abs().max()
    tolerance = rounding(dtype, 10, x.abs().max().item())
    ones = torch.ones(1, 60, 1, dtype=dtype)
    picked = torch.arange(0, 60, 3)[None]
    inner = torch.arange(0, 20, 2)[None]

    def net(points):
        near = nearest(points, take(points, picked), 20)
        h = first(points, picked, near, ones)
        centers = take(points, picked)
        return second(centers, inner, nearest(centers, take(centers, inner), 8), h)

    out, own = net(x), inner[0] < 10
    for g in (1, 17, 42):
        turned = x.clone()
        turned[:, :30] = turned[:, :30] @ TABLES.elements[g].to(dtype).T
        moved = net(turned)
        assert error(moved[:, own], act(out, g)[:, own]) < tolerance
        assert torch.equal(moved[:, ~own], out[:, ~own])


def test_norm_of_points_lets_clusters_know_of_each_other():
    norm = PointGroupNorm(3).double()
    f = draw(1, 8, 60, 3)
    changed = f.clone()
    changed[:, :4] *= 5
    assert error(norm(changed)[:, 4:], norm(f)[:, 4:]) > 0.1


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
def test_attention(dtype, tolerance):
    torch.manual_seed(0)
    plain = GroupAttention(16, 4).to(dtype)
    biased = GroupAttention(16, 4, TABLES).to(dtype)
    x = draw(3, 60, 16, dtype=dtype)
    for g in range(60):
        assert error(plain(act(x, g)), act(plain(x), g)) < tolerance
        assert error(biased(act(x, g)), act(biased(x), g)) < tolerance
    anyhow = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    assert error(plain(x[:, anyhow]), plain(x)[:, anyhow]) < tolerance
    # the bias knows the group: a permutation outside of it is noticed
    assert (biased(x[:, anyhow]) - biased(x)[:, anyhow]).abs().max() > 0.01


@settings(max_examples=10)
@given(
    n=st.integers(1, 30), copies=st.integers(1, 4), k=st.integers(1, 40), seed=st.integers(0, 99)
)
def test_few_and_repeated_points(n, copies, k, seed):
    torch.manual_seed(seed)
    x = draw(2, n, 3, seed=seed, dtype=torch.float32).repeat(1, copies, 1).requires_grad_()
    picked = farthest_points(x, 7)
    near = nearest(x, take(x, picked), k)
    assert near.shape == (2, 7, min(k, n * copies))
    invariants = point_invariants(x)
    block = SeparableBlock(TABLES, 10, 3, 0.5)
    out = block(x, picked, near, invariants)
    _, weight = interpolation(x, take(x, picked))
    assert out.isfinite().all()
    torch.testing.assert_close(weight.sum(-1), torch.ones(2, n * copies))
    (out.square().sum() + weight.square().sum()).backward()
    for value in (x, *block.parameters()):
        assert value.grad is None or value.grad.isfinite().all()
    assert block.inter.weight.grad is not None


@settings(max_examples=10)
@given(seed=st.integers(0, 999))
def test_invariants_are_exact_for_every_rotation(seed):
    x = draw(1, 60, 3, seed=seed)
    r = groups.haar_so3(1, torch.Generator().manual_seed(seed))[0]
    moved = x @ r.T + torch.tensor([1.0, -2, 3])
    assert (point_invariants(moved) - point_invariants(x)).abs().max() < 1e-7
    stretched = x * torch.tensor([1.0, 1, 2])
    assert (point_invariants(stretched) - point_invariants(x)).abs().max() > 0.01


def test_farthest_points_against_a_loop():
    x = draw(3, 40, 3)
    chosen = farthest_points(x, 10)
    for points, row in zip(x, chosen.tolist(), strict=True):
        assert row[0] == 0
        for i in range(1, 10):
            apart = torch.cdist(points, points[row[:i]]).amin(1)
            assert apart[row[i]] == pytest.approx(float(apart.max()))


def test_shortcut_distance_fails_where_ours_holds():
    """The usual matrix product for distances is what breaks exactness in float32."""
    x = draw(1, 200, 3, dtype=torch.float32) + 5
    exact = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    shortcut = torch.cdist(x, x, compute_mode="use_mm_for_euclid_dist")
    assert (distances(x, x) - exact).abs().max() < 1e-5
    assert (shortcut - exact).abs().max() > 1e-4


def test_bad_input():
    x = torch.rand(1, 5, 3)
    f = torch.rand(1, 5, 60, 2)
    near = nearest(x, x, 3)
    cases = [
        (lambda: InterConv(TABLES, 2, 2, 0.0), "radius is 0.0; need a finite number above 0"),
        (lambda: InterConv(TABLES, 2, 2, math.nan), "radius is nan"),
        (lambda: InterConv(TABLES, True, 2, 1.0), "inputs is True; need an int"),
        (lambda: InterConv(TABLES, 3, 2, 1.0)(x, x, near, f), r"features has shape \(1, 5, 60, 2"),
        (
            lambda: InterConv(TABLES, 2, 2, 1.0)(x, x[:, :2], near, f),
            r"centers has shape \(1, 2, 3",
        ),
        (lambda: InterConv(TABLES, 2, 2, 1.0)(x, x, near > 1, f), "index has dtype torch.bool"),
        (lambda: take(f, near[[0, 0]]), r"shape \(2, 5, 3\); need integers of shape \(1"),
        # the first cloud of two has no point 5, but there is a sixth row
        (lambda: IntraConv(TABLES, 3, 2)(f), r"need \(..., 60, 3\)"),
        (lambda: IntraConv(TABLES, 0, 2), "inputs is 0; need an int of at least 1"),
        (lambda: GroupAttention(6, 4), "heads is 4; need a divisor of dim, 6"),
        (lambda: GroupAttention(8, 4, TABLES)(f[0, :, :12, :1].expand(-1, -1, 8)), "12 tokens"),
        (lambda: SeparableBlock(TABLES, 2, 2, 1.0, norm="batch"), "norm is 'batch'"),
        (lambda: farthest_points(x[0], 2), r"points is \(5, 3\); need a tensor of shape \(B, N"),
        (lambda: farthest_points(x[:, :0], 2), "at least one point"),
        (lambda: farthest_points(x.long(), 2), "floating-point"),
        (lambda: farthest_points(x, 2.0), "n is 2.0"),
        (lambda: nearest(x, x, 0), "k is 0"),
        (lambda: nearest(x, x.repeat(2, 1, 1), 1), "centers has 2 clouds; need 1"),
        (lambda: GroupAttention(8, 2)(f), r"x has shape \(1, 5, 60, 2\); need \(..., G, 8"),
        (lambda: nearest(x, x[..., :2], 1), "centers is"),
        (lambda: point_invariants(x, (8, 0)), "sizes is 0"),
        (lambda: PointGroupNorm(0), "channels is 0"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
