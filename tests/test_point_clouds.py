"""Networks for clouds: what has the symmetry has it exactly, and what lacks it is seen to."""

import pytest
import torch
from conftest import needs_data
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from equitutor import data, groups, orbits
from equitutor.models import point_clouds
from equitutor.models.point_clouds import (
    MomentNet,
    PointNet,
    TensorFieldLayer,
    TensorFieldNet,
    harmonics,
    rotate_haar,
    rotate_z,
)


def clouds(n: int = 4, points: int = 48, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, points, 3, generator=generator, dtype=torch.float64)
    return x * torch.tensor([1.0, 0.6, 0.3]).double() / 2 + 0.2  # long, and not centered


def ready(make, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return make().double().eval()


class Uncentered(MomentNet):
    """Broken: moments about the origin, not about the centroid."""

    def moments(self, points):
        return self.basis(points.norm(dim=-1)).transpose(1, 2) @ harmonics(points, self.degree)


class Mixed(MomentNet):
    """Broken: the numbers of a degree are summed, as if each were invariant on its own."""

    def invariants(self, points):
        blocks = self.moments(points).split([2 * k + 1 for k in range(self.degree + 1)], -1)
        return torch.stack([b.sum(-1) for b in blocks], -1)


class WrongBlocks(MomentNet):
    """Broken: lengths over five numbers each, across the borders of the degrees."""

    def invariants(self, points):
        return self.moments(points).unflatten(-1, (-1, 5)).square().mean(-1).sqrt()


class WrongSymbol(TensorFieldNet):
    """Broken: two entries of one table of Wigner 3j symbols have changed places."""

    def __init__(self):
        super().__init__()
        for layer in self.layers:
            layer.symbol112 = layer.symbol112.flip(-1)


INVARIANT = [MomentNet, TensorFieldNet]


@pytest.mark.parametrize("make", INVARIANT)
def test_haar_range_is_zero(make):
    net, x = ready(make), clouds()
    logits = net(x)
    assert logits.std(0).max() > 1e-3  # clouds are told apart
    errors = orbits.equivariance_error(net, x, orbits.so3_haar(25))
    assert errors.max() <= 1e-5
    result = orbits.evaluate(net, x, torch.zeros(4).long(), orbits.so3_haar(25), "confidence")
    assert result.spread("range").max() <= 1e-5


@given(seed=st.integers(0, 10**6), make=st.sampled_from(INVARIANT))
def test_turned_moved_mirrored_and_shuffled_clouds_have_the_same_logits(seed, make):
    generator = torch.Generator().manual_seed(seed)
    net, x = ready(make, seed % 7), clouds(2, 32, seed)
    R = groups.haar_so3(1, generator)[0]
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0]).double())
    shift = torch.randn(3, generator=generator, dtype=torch.float64)
    order = torch.randperm(32, generator=generator)
    wanted = net(x)
    for moved in (x @ R.T, x @ mirror @ R.T, x + shift, x[:, order], (x @ R.T + shift)[:, order]):
        torch.testing.assert_close(net(moved), wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("twin", [Mixed, WrongBlocks, WrongSymbol, PointNet])
def test_broken_twins_turn(twin):
    with pytest.raises(AssertionError, match="not equivariant"):
        orbits.assert_equivariant(ready(twin), clouds(), orbits.so3_haar(5), atol=1e-4, rtol=1e-4)


def test_a_network_that_forgets_the_centroid_moves():
    x = clouds()
    far = x + torch.tensor([0.5, 0.0, 0.0]).double()
    assert (ready(Uncentered)(far) - ready(Uncentered)(x)).abs().max() > 1e-2
    torch.testing.assert_close(ready(MomentNet)(far), ready(MomentNet)(x))


def test_moments_turn_by_an_orthogonal_matrix_of_each_degree():
    from e3nn import o3

    net, x = ready(MomentNet), clouds()
    R = groups.haar_so3(1, torch.Generator().manual_seed(3))[0]
    wigner = o3.Irreps([(1, (k, 1)) for k in range(5)]).D_from_matrix(R.double())
    # spherical harmonics of odd degree are odd; R is no reflection, so that parity does not show
    torch.testing.assert_close(
        net.moments(x @ R.T), net.moments(x) @ wigner.T, atol=1e-6, rtol=1e-6
    )


def test_vectors_and_tensors_of_each_point_turn():
    from e3nn import o3

    net, x = ready(TensorFieldNet), clouds()
    R = groups.haar_so3(1, torch.Generator().manual_seed(4))[0]
    for degree, (before, after) in enumerate(
        zip(net.features(x), net.features(x @ R.T), strict=True)
    ):
        wigner = o3.Irrep(degree, (-1) ** degree).D_from_matrix(R)
        torch.testing.assert_close(after, before @ wigner.to(before).T, atol=1e-6, rtol=1e-6)
        assert before.abs().max() > 1e-3


def test_the_layer_is_e3nns_tensor_product():
    """One neighbor, one radius: the sums over paths are those of a FullyConnectedTensorProduct."""
    from e3nn import o3

    torch.manual_seed(0)
    layer = TensorFieldLayer((2, 2, 2), (3, 2, 2), 1).double()
    for own in layer.own:
        own.data.zero_()
    wide = (3 + 2 + 2, 2, 2)
    irreps = [f"{a}x0e + {b}x1o + {c}x2e" for a, b, c in ((2, 2, 2), (1, 1, 1), wide)]
    product = o3.FullyConnectedTensorProduct(
        *irreps, internal_weights=False, shared_weights=False,
        irrep_normalization="component", path_normalization="none",
    )  # fmt: skip
    f = [torch.randn(1, 1, 2, 2 * k + 1, dtype=torch.float64) for k in range(3)]
    y = harmonics(torch.randn(1, 1, 1, 3, dtype=torch.float64), 2)
    made = {(a, b, c): weight for (a, b, c), weight in zip(layer.paths, layer.mix, strict=True)}
    weights = []
    for path in product.instructions:
        weight = made[path.i_in1, path.i_in2, path.i_out][:, 0]  # (u, v)
        weights.append((weight / path.path_weight * math_sqrt(path.i_out)).flatten())
    flat = torch.cat([part.flatten(2) for part in f], -1)[0]
    wanted = product.double()(flat, y[0, 0], torch.cat(weights)[None].detach())
    with torch.no_grad():
        out = layer(f, torch.zeros(1, 1, 1, dtype=torch.long), y[..., None, :])
    scalars, gates, vectors, tensors = wanted.split([3, 4, 6, 10], -1)
    gates = gates.sigmoid()[..., None]
    torch.testing.assert_close(out[0][0, :, :, 0], nn.functional.silu(scalars))
    torch.testing.assert_close(out[1][0], vectors.unflatten(-1, (2, 3)) * gates[:, :2])
    torch.testing.assert_close(out[2][0], tensors.unflatten(-1, (2, 5)) * gates[:, 2:])


def math_sqrt(degree: int) -> float:
    """Return what turns a Wigner 3j symbol into e3nn's entries of unit size."""
    return (2 * degree + 1) ** 0.5


@pytest.mark.parametrize("make", [PointNet, MomentNet, TensorFieldNet])
def test_networks_learn_furniture(make):
    train, test = data.furniture(160, 64), data.furniture(40, 64, seed=1)
    torch.manual_seed(0)
    net = make()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(40):
        part = slice(40 * (step % 4), 40 * (step % 4) + 40)
        loss = nn.functional.cross_entropy(net(train.x[part]), train.y[part])
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    net.eval()
    with torch.no_grad():
        upright = (net(test.x).argmax(1) == test.y).float().mean()
        turned = rotate_haar(test.x, torch.Generator().manual_seed(0))
        tumbled = (net(turned).argmax(1) == test.y).float().mean()
    assert upright > 0.6
    if make is PointNet:
        assert tumbled < 0.5 and tumbled < upright - 0.2
    else:
        assert tumbled == upright


@needs_data("pcl_shapes")
def test_scanned_animals_keep_their_invariants_when_they_tumble():
    train, test = data.pcl_shapes("train"), data.pcl_shapes("test")
    net = MomentNet(len(train.classes)).eval()
    orbits.assert_equivariant(net, test.x[:, ::10], orbits.so3_haar(5), atol=1e-4)
    numbers = net.invariants(torch.cat([train.x, test.x]))
    assert numbers.isfinite().all()
    distance = torch.pdist(numbers.flatten(1))
    assert distance.min() > 1e-3  # every scan has its own


@needs_data("modelnet10_voxels")
def test_modelnet_chairs_and_monitors_by_their_invariants():
    clouds = data.modelnet10_voxels("test", points=128)
    turned = rotate_haar(clouds.x, torch.Generator().manual_seed(0))
    net = MomentNet(2).eval()
    before, after = net.invariants(clouds.x), net.invariants(turned)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-3)
    # nearest mean of each class, on every other cloud: enough for most, whatever their pose
    fit, held = before.flatten(1)[::2], after.flatten(1)[1::2]
    means = torch.stack([fit[clouds.y[::2] == k].mean(0) for k in range(2)])
    right = torch.cdist(held, means).argmin(1) == clouds.y[1::2]
    assert right.float().mean() > 0.8


def test_random_turns_are_turns():
    x = clouds(64).float()
    for turn in (rotate_haar, rotate_z):
        moved = turn(x, torch.Generator().manual_seed(0))
        assert torch.equal(moved, turn(x, torch.Generator().manual_seed(0)))
        torch.testing.assert_close(torch.cdist(moved, moved), torch.cdist(x, x), atol=1e-3, rtol=0)
        assert torch.linalg.det(torch.linalg.lstsq(x, moved).solution).min() > 0.9  # no mirror
    up = torch.tensor([[[0.0, 0.0, 1.0]]]).expand(2000, 1, 3)
    assert torch.equal(rotate_z(up, torch.Generator()), up)
    landed = rotate_haar(up, torch.Generator().manual_seed(1))[:, 0]
    assert landed.mean(0).abs().max() < 0.06  # evenly over the sphere
    torch.testing.assert_close(landed.T @ landed / 2000, torch.eye(3) / 3, atol=0.03, rtol=0)
    ahead = torch.tensor([[[1.0, 0.0, 0.0]]]).expand(2000, 1, 3)
    assert rotate_z(ahead, torch.Generator().manual_seed(1))[:, 0].mean(0).abs().max() < 0.06


@pytest.mark.parametrize("make", [PointNet, MomentNet, TensorFieldNet])
def test_a_cloud_with_all_points_in_one_place_has_finite_logits_and_gradients(make):
    net = make().eval()
    x = torch.zeros(1, 16, 3, requires_grad=True)
    net(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("make", [PointNet, MomentNet, TensorFieldNet])
@pytest.mark.parametrize(
    "points",
    [
        torch.zeros(4, 3),
        torch.zeros(1, 4, 2),
        torch.zeros(1, 0, 3),
        torch.zeros(1, 4, 3).long(),
        [1],
    ],
)
def test_what_is_no_cloud_is_refused(make, points):
    with pytest.raises(ValueError, match="points must be"):
        make()(points)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: PointNet(classes=1), "classes"),
        (lambda: PointNet(width=0), "width"),
        (lambda: MomentNet(degree=12), "degree"),
        (lambda: MomentNet(degree=-1), "degree"),
        (lambda: MomentNet(radii=1), "radii"),
        (lambda: MomentNet(reach=0), "reach"),
        (lambda: TensorFieldNet(channels=(1, 2)), "channels"),
        (lambda: TensorFieldNet(channels=(1, 2, 0)), "channels"),
        (lambda: TensorFieldNet(neighbors=1), "neighbors"),
        (lambda: TensorFieldNet(layers=True), "layers"),
        (lambda: TensorFieldNet(neighbors=9)(torch.zeros(1, 8, 3)), "points"),
        (lambda: rotate_haar(torch.zeros(3), torch.Generator()), "points"),
        (lambda: rotate_z(torch.zeros(3), torch.Generator()), "points"),
    ],
)
def test_bad_arguments_are_named(build, name):
    with pytest.raises(ValueError, match=name):
        build()


def test_e3nn_is_imported_only_where_it_is_used():
    import subprocess
    import sys

    code = (
        "import sys; from equitutor.models import point_clouds as p; p.PointNet(); "
        "assert 'e3nn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("turn", [point_clouds.rotate_haar, point_clouds.rotate_z])
@pytest.mark.parametrize("generator", [None, 0])
def test_turns_never_draw_from_the_global_state(turn, generator):
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="generator must"):
        turn(torch.zeros(2, 8, 3), generator)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("reach", [True, float("inf"), float("nan"), "a", None])
def test_a_reach_is_a_finite_number(reach):
    with pytest.raises(ValueError, match="reach must"):
        point_clouds.MomentNet(reach=reach)
