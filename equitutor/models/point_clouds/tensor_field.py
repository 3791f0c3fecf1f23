"""Features that turn with the cloud: scalars, vectors and tensors at each point."""

import itertools
import math

import torch
from torch import Tensor, nn

from equitutor.checks import check_clouds, check_count, check_positive
from equitutor.models.point_clouds.basis import Gaussians, harmonics


class TensorFieldNet(nn.Module):
    """Network of tensor products between neighbors: features turn with the cloud, logits stay.

    Each point carries scalars, vectors and tensors (irreps of O(3)). A layer multiplies those of
    the nearest neighbors by spherical harmonics of the offsets, with weights that depend on the
    distance, and takes the mean. At the end, scalars and the lengths of all else are averaged over
    the points.

    Args:
        classes: number of logits.
        neighbors: nearest points that a point hears, itself among them, 2 ... N.
        channels: numbers of scalars, vectors and tensors in the hidden layers.
        layers: number of layers.
        radii: Gaussians of the distance, >= 2. reach: largest distance with one, > 0.

    Raises ValueError where an argument or the cloud's shape does not fit.

    Source: tensor field networks (Thomas et al. 2018), with e3nn (Geiger and Smidt 2022).

    >>> TensorFieldNet()(torch.randn(2, 64, 3)).shape
    torch.Size([2, 8])
    """

    def __init__(
        self,
        classes: int = 8,
        neighbors: int = 10,
        channels: tuple[int, int, int] = (12, 6, 4),
        layers: int = 2,
        radii: int = 3,
        reach: float = 0.8,
    ):
        super().__init__()
        check_count("classes", classes, 2)
        check_count("neighbors", neighbors, 2)
        check_count("layers", layers)
        check_count("radii", radii, 2)
        if not isinstance(channels, tuple | list) or len(channels) != 3:
            raise ValueError(f"channels must be three numbers, got {channels!r}")
        for number in channels:
            check_count("channels", number)
        check_positive("reach", reach)
        self.neighbors = neighbors
        self.far, self.near = Gaussians(2 * radii, 1.2), Gaussians(radii, reach)
        widths = [(2 * radii, 1, 1), *[tuple(channels)] * layers]
        self.layers = nn.ModuleList(
            TensorFieldLayer(a, b, radii) for a, b in itertools.pairwise(widths)
        )
        self.norm = nn.BatchNorm1d(sum(channels))
        self.head = nn.Sequential(nn.Linear(sum(channels), 48), nn.ReLU(), nn.Linear(48, classes))

    def features(self, points: Tensor) -> list[Tensor]:
        """Returns the last features of each point: scalars, vectors, tensors, (B, N, c, 2l + 1)."""
        check_clouds(points)
        if self.neighbors > points.shape[1]:
            raise ValueError(
                f"points must be at least the {self.neighbors} neighbors, got {points.shape[1]}"
            )
        x = points - points.mean(1, keepdim=True)
        r = x.norm(dim=-1)
        _, vector, tensor = harmonics(x, 2).split([1, 3, 5], -1)
        f = [
            self.far(r)[..., None],
            *(r[..., None, None] * y[:, :, None] for y in (vector, tensor)),
        ]
        near = torch.cdist(x, x).topk(self.neighbors, largest=False).indices  # (B, N, K)
        offset = x[torch.arange(len(x), device=x.device)[:, None, None], near] - x[:, :, None]
        bumps = self.near(offset.norm(dim=-1))  # (B, N, K, radii)
        edges = bumps[..., None] * harmonics(offset, 2)[..., None, :] / self.neighbors
        for layer in self.layers:
            f = layer(f, near, edges)
        return f

    def forward(self, points: Tensor) -> Tensor:
        scalars, *others = self.features(points)
        lengths = [(f.square().mean(-1) + 1e-12).sqrt() for f in others]
        return self.head(self.norm(torch.cat([scalars[..., 0], *lengths], -1).mean(1)))


class TensorFieldLayer(nn.Module):
    """One layer of `TensorFieldNet`: products with the neighbors, their mean, a gate.

    The product of degrees a and b has parts of the degrees |a - b| ... a + b; the Wigner 3j symbols
    say how its entries mix. Parts whose parity does not fit, such as cross products, are left out.

    Args:
        before, after: numbers of scalars, vectors and tensors of input and output.
        radii: number of functions of the distance.
    """

    def __init__(self, before: tuple[int, int, int], after: tuple[int, int, int], radii: int):
        super().__init__()
        from e3nn import o3

        self.paths = [
            (a, b, c)
            for a, b, c in itertools.product(range(3), repeat=3)
            if abs(a - b) <= c <= a + b and (a + b + c) % 2 == 0
        ]
        for a, b, c in self.paths:  # scaled: the product of unit entries has unit entries
            symbol = o3.wigner_3j(a, b, c, dtype=torch.float64) * math.sqrt(2 * c + 1)
            self.register_buffer(f"symbol{a}{b}{c}", symbol.float(), persistent=False)
        wide = (after[0] + after[1] + after[2], after[1], after[2])  # one gate for each non-scalar
        into = [sum(path[2] == c for path in self.paths) for c in range(3)]
        self.mix = nn.ParameterList(
            torch.randn(before[a], radii, wide[c]) / math.sqrt(before[a] * into[c])
            for a, _, c in self.paths
        )
        self.own = nn.ParameterList(
            torch.randn(m, n) / math.sqrt(m) for m, n in zip(before, wide, strict=True)
        )
        self.after = after

    def forward(self, f: list[Tensor], near: Tensor, edges: Tensor) -> list[Tensor]:
        """Returns the new features, (B, N, c, 2 l + 1) for l = 0, 1, 2, from the old.

        near are the neighbors (B, N, K); edges (B, N, K, radii, 9), harmonics of the offsets.
        """
        out = [torch.einsum("znui,uv->znvi", part, w) for part, w in zip(f, self.own, strict=True)]
        cloud = torch.arange(len(near), device=near.device)[:, None, None]
        heard = torch.cat([part.flatten(2) for part in f], -1)[cloud, near]  # (B, N, K, all)
        # Sum over the neighbors first: what is left to do then is done once for each point.
        both = edges.flatten(3).transpose(2, 3) @ heard  # (B, N, radii 9, all)
        both = both.unflatten(2, (-1, 9)).split([part[0, 0].numel() for part in f], -1)
        both = [part.split([1, 3, 5], 3) for part in both]  # [a][b]: degrees of feature, harmonic
        for (a, b, c), weight in zip(self.paths, self.mix, strict=True):
            pair = both[a][b].unflatten(-1, (-1, 2 * a + 1))
            symbol = getattr(self, f"symbol{a}{b}{c}").to(pair)
            product = torch.einsum("znrjui,ijk->znruk", pair, symbol)
            out[c] = out[c] + torch.einsum("znruk,urv->znvk", product, weight)
        scalars, gates = out[0].split([self.after[0], sum(self.after[1:])], 2)
        gates = gates.sigmoid().split(self.after[1:], 2)
        return [nn.functional.silu(scalars), out[1] * gates[0], out[2] * gates[1]]
