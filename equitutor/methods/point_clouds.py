"""Classifiers of point clouds under rotations: PointNet, and two that have the symmetry built in.

All map clouds (B, N, 3) to logits (B, classes), and none depends on the order of the points or on
where the cloud stands. `PointNet` depends on its pose. `MomentNet` sees invariant numbers only.
`TensorFieldNet` carries vectors and tensors that turn with the cloud, and reads off their lengths.
"""

import math

import torch
from torch import Tensor, nn

from equitutor import actions, groups


class PointNet(nn.Module):
    """One network for each point, the maximum over points, and a network behind it.

    Args:
        classes: number of logits.
        width: channels of the first layer; the next have 2 and 4 times as many.

    Raises ValueError where an argument or the cloud's shape does not fit.

    Source: PointNet (Qi et al. 2017), without its transform networks.

    >>> PointNet()(torch.randn(2, 128, 3)).shape
    torch.Size([2, 8])
    """

    def __init__(self, classes: int = 8, width: int = 32):
        super().__init__()
        _check_count("classes", classes, 2), _check_count("width", width)
        self.local = nn.Sequential(
            nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2 * width), nn.ReLU(),
            nn.Linear(2 * width, 4 * width),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.ReLU(), nn.Linear(4 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, classes)
        )

    def forward(self, points: Tensor) -> Tensor:
        _check_clouds(points)
        x = points - points.mean(1, keepdim=True)
        # ReLU is monotone: after the maximum it gives what it would give before, in less time.
        return self.head(self.local(x).amax(1))


class MomentNet(nn.Module):
    """Classifier of invariant moments: exactly invariant under rotations and reflections.

    About the centroid, a cloud has the moments M[k, l, m] = mean of b_k(r) Y_lm(direction), with
    Gaussians b_k of the distance and spherical harmonics Y. A rotation mixes the 2 l + 1 numbers
    of one k and l by an orthogonal matrix, so that their length stays. The lengths are all that
    the network behind sees.

    Args:
        classes: number of logits.
        degree: largest l, 0 ... 11. radii: number of Gaussians, >= 2.
        width: channels of the hidden layers. reach: largest distance with a Gaussian, > 0.

    Raises ValueError where an argument or the cloud's shape does not fit.

    Source: power spectrum of a density (Kazhdan et al. 2003; Bartok et al. 2013).

    >>> MomentNet()(torch.randn(2, 128, 3)).shape
    torch.Size([2, 8])
    """

    def __init__(self, classes: int = 8, degree: int = 4, radii: int = 8, width: int = 64,
                 reach: float = 1.2):  # fmt: skip
        super().__init__()
        _check_count("classes", classes, 2), _check_count("width", width)
        _check_count("degree", degree, 0), _check_count("radii", radii, 2)
        if degree > 11:
            raise ValueError(f"degree must be at most 11, got {degree}")
        if not reach > 0:
            raise ValueError(f"reach must be > 0, got {reach!r}")
        self.degree = degree
        self.basis = Gaussians(radii, reach)
        features = radii * (degree + 1)
        self.norm = nn.BatchNorm1d(features)
        self.head = nn.Sequential(
            nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, classes),
        )  # fmt: skip

    def moments(self, points: Tensor) -> Tensor:
        """Returns the moments (B, radii, (degree + 1)^2), which turn with the cloud."""
        from e3nn import o3

        _check_clouds(points)
        x = points - points.mean(1, keepdim=True)
        y = o3.spherical_harmonics(list(range(self.degree + 1)), x, normalize=True,
                                   normalization="component")  # (B, N, (degree + 1)^2)  # fmt: skip
        return self.basis(x.norm(dim=-1)).transpose(1, 2) @ y / x.shape[1]

    def invariants(self, points: Tensor) -> Tensor:
        """Returns the lengths of the moments of each radius and degree, (B, radii, degree + 1)."""
        blocks = self.moments(points).split([2 * l + 1 for l in range(self.degree + 1)], -1)
        lengths = [(b.square().mean(-1) + 1e-12).sqrt() for b in blocks]  # (B, radii) each
        return torch.stack(lengths, -1)

    def forward(self, points: Tensor) -> Tensor:
        return self.head(self.norm(self.invariants(points).flatten(1)))


class TensorFieldNet(nn.Module):
    """Network of tensor products between neighbors: features turn with the cloud, logits stay.

    Each point carries scalars, vectors and tensors (irreps of O(3)). A layer multiplies those of
    the nearest neighbors by spherical harmonics of the offsets, with weights that depend on the
    distance, and takes the mean. At the end, scalars and the lengths of all else are averaged over
    the points.

    Args:
        classes: number of logits.
        neighbors: nearest points that a point hears, itself among them, 2 ... N.
        scalars, vectors, tensors: features of the hidden layers.
        layers: number of layers.
        radii: Gaussians of the distance. reach: largest distance between neighbors with one.

    Raises ValueError where an argument or the cloud's shape does not fit.

    Source: tensor field networks (Thomas et al. 2018), with e3nn (Geiger and Smidt 2022).

    >>> TensorFieldNet()(torch.randn(2, 64, 3)).shape
    torch.Size([2, 8])
    """

    def __init__(self, classes: int = 8, neighbors: int = 12, scalars: int = 12, vectors: int = 6,
                 tensors: int = 4, layers: int = 2, radii: int = 6, reach: float = 1.0):  # fmt: skip
        super().__init__()
        from e3nn import o3

        _check_count("classes", classes, 2), _check_count("neighbors", neighbors, 2)
        for name, value in (("scalars", scalars), ("vectors", vectors), ("tensors", tensors),
                            ("layers", layers)):  # fmt: skip
            _check_count(name, value)
        _check_count("radii", radii, 2)
        if not reach > 0:
            raise ValueError(f"reach must be > 0, got {reach!r}")
        self.neighbors, self.radii = neighbors, radii
        self.far, self.near = Gaussians(radii, 1.2), Gaussians(radii, reach)
        hidden = o3.Irreps(f"{scalars}x0e + {vectors}x1o + {tensors}x2e")
        before = o3.Irreps(f"{radii}x0e + 1x1o + 1x2e")  # of each point, about the centroid
        self.layers = nn.ModuleList(
            TensorFieldLayer(i, hidden, radii) for i in [before, *[hidden] * (layers - 1)]
        )
        self.blocks = [(vectors, 3), (tensors, 5)]
        self.scalars = scalars
        features = scalars + vectors + tensors
        self.norm = nn.BatchNorm1d(features)
        self.head = nn.Sequential(nn.Linear(features, 48), nn.ReLU(), nn.Linear(48, classes))

    def features(self, points: Tensor) -> Tensor:
        """Returns the last features of each point, (B, N, dim): scalars, vectors, tensors."""
        from e3nn import o3

        _check_clouds(points)
        if self.neighbors > points.shape[1]:
            raise ValueError(
                f"points must be at least the {self.neighbors} neighbors, got {points.shape[1]}"
            )
        x = points - points.mean(1, keepdim=True)
        harmonics = lambda l, v: o3.spherical_harmonics(
            l, v, normalize=True, normalization="component"
        )
        r = x.norm(dim=-1)
        f = torch.cat([self.far(r), r[..., None] * harmonics([1, 2], x)], -1)  # (B, N, radii + 8)
        near = torch.cdist(x, x).topk(self.neighbors, largest=False).indices  # (B, N, K)
        row = torch.arange(len(x), device=x.device)[:, None, None]
        offset = x[row, near] - x[:, :, None]  # (B, N, K, 3)
        y, weight = harmonics([0, 1, 2], offset), self.near(offset.norm(dim=-1))
        for layer in self.layers:
            f = layer(f[row, near], y, weight, f)
        return f

    def forward(self, points: Tensor) -> Tensor:
        f = self.features(points)
        parts, start = [f[..., : self.scalars]], self.scalars
        for count, dim in self.blocks:
            block = f[..., start : start + count * dim].unflatten(-1, (count, dim))
            parts.append((block.square().mean(-1) + 1e-12).sqrt())
            start += count * dim
        return self.head(self.norm(torch.cat(parts, -1).mean(1)))


class TensorFieldLayer(nn.Module):
    """One layer of `TensorFieldNet`: products with the neighbors, their mean, a gate.

    Args:
        irreps_in, irreps_out: e3nn irreps of the features, those of the output scalars first.
        radii: number of functions of the distance.
    """

    def __init__(self, irreps_in, irreps_out, radii: int):
        super().__init__()
        from e3nn import o3
        from e3nn.nn import Gate

        irreps_in, irreps_out = o3.Irreps(irreps_in), o3.Irreps(irreps_out)
        harmonics = o3.Irreps("0e + 1o + 2e")
        kept, paths = [], []
        wanted = {ir for _, ir in irreps_out}
        for i, (mul, a) in enumerate(irreps_in):  # each feature times each harmonic, channel-wise
            for j, (_, b) in enumerate(harmonics):
                for c in a * b:
                    if c in wanted:
                        paths.append((i, j, len(kept), "uvu", True))
                        kept.append((mul, c))
        self.product = o3.TensorProduct(irreps_in, harmonics, kept, paths, shared_weights=False,
                                        internal_weights=False)  # fmt: skip
        scalars = o3.Irreps([(m, ir) for m, ir in irreps_out if ir.l == 0])
        others = o3.Irreps([(m, ir) for m, ir in irreps_out if ir.l > 0])
        self.gate = Gate(scalars, [torch.nn.functional.silu] * len(scalars),
                         o3.Irreps([(others.num_irreps, "0e")]), [torch.sigmoid], others)  # fmt: skip
        self.mix = o3.Linear(o3.Irreps(kept).simplify(), self.gate.irreps_in)
        self.own = o3.Linear(irreps_in, self.gate.irreps_in)
        self.radial = nn.Linear(radii, self.product.weight_numel, bias=False)

    def forward(self, near: Tensor, harmonics: Tensor, distance: Tensor, own: Tensor) -> Tensor:
        """Returns features (B, N, out) from those of neighbors (B, N, K, in) and of the points.

        harmonics are (B, N, K, 9), distance (B, N, K, radii), own (B, N, in).
        """
        message = self.product(near, harmonics, self.radial(distance)).mean(2)
        return self.gate(self.mix(message) + self.own(own))


class Gaussians(nn.Module):
    """Bumps of a distance (...,) at equal steps from 0 to `reach`, (..., n).

    >>> Gaussians(3, 1.0)(torch.tensor([0.5])).argmax().item()
    1
    """

    def __init__(self, n: int, reach: float):
        super().__init__()
        self.register_buffer("centers", torch.linspace(0, reach, n), persistent=False)
        self.width = reach / (n - 1) / 1.5

    def forward(self, r: Tensor) -> Tensor:
        return torch.exp(-(((r[..., None] - self.centers) / self.width) ** 2) / 2)


def rotate_haar(points: Tensor, generator: torch.Generator) -> Tensor:
    """Returns each cloud (B, N, 3) turned by a rotation of its own, all of SO(3) equally likely.

    >>> cloud = torch.randn(2, 5, 3)
    >>> turned = rotate_haar(cloud, torch.Generator().manual_seed(0))
    >>> torch.allclose(turned.norm(dim=-1), cloud.norm(dim=-1), atol=1e-6)
    True
    """
    _check_clouds(points)
    return actions.rotate_points(points, groups.haar_so3(len(points), generator))


def rotate_z(points: Tensor, generator: torch.Generator) -> Tensor:
    """Returns each cloud (B, N, 3) turned about the vertical, z, by a random angle of its own.

    >>> cloud = torch.randn(2, 5, 3)
    >>> torch.equal(rotate_z(cloud, torch.Generator())[..., 2], cloud[..., 2])
    True
    """
    _check_clouds(points)
    angle = 2 * math.pi * torch.rand(len(points), generator=generator, dtype=torch.float64)
    c, s, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = [c, -s, zero, s, c, zero, zero, zero, zero + 1]
    return actions.rotate_points(points, torch.stack(rows, -1).view(-1, 3, 3))


def _check_clouds(points: Tensor) -> None:
    if (
        not isinstance(points, Tensor) or points.ndim != 3 or points.shape[-1] != 3
        or 0 in points.shape or not points.is_floating_point()
    ):  # fmt: skip
        found = (
            f"{points.dtype} {tuple(points.shape)}" if isinstance(points, Tensor) else type(points)
        )
        raise ValueError(f"points must be floating point clouds (B, N, 3), got {found}")


def _check_count(name: str, value: int, least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an int >= {least}, got {value!r}")
