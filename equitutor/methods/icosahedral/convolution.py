"""Convolutions on (point, group element): between points, between elements, and both in turn."""

import math

import torch
from torch import Tensor, nn

from equitutor.methods.icosahedral.constants import ExactConstants
from equitutor.methods.icosahedral.points import check_count, take
from equitutor.methods.icosahedral.tables import RotationTables


class InterConv(ExactConstants):
    """Kernel-point convolution between points: the same weights, turned for every group element.

        f'(x, a) = sum_m W_m sum_j kappa(x_j - x, R_a k_m) f(x_j, a) / n(x)
        kappa(u, k) = relu(1 - |u - k|^2 / sigma)

    The kernel is the group's own: origin and n directions that the group permutes. So R_a k_m is
    another kernel point, kappa is needed for 1 + n points instead of G (1 + n), and the small
    weights are permuted instead of the large features. Kernel points lie at half the radius, with
    sigma = radius^2 / 4: kappa vanishes outside the ball by itself, without a mask that could
    jump. n(x) is a soft count of neighbors, sum_j relu(1 - |x_j - x|^2 / radius^2).

    Args:
        tables: the group.
        inputs, outputs: channels.
        radius: of the ball that a center sees, > 0, in the unit of the points.

    Source: Chen et al. 2021 (EPN); the invariant kernel is ours. See also Zhu et al., "E2PN",
    CVPR 2023, for another way to spare work.

    >>> from equitutor.methods.icosahedral import nearest, rotation_tables
    >>> x = torch.rand(2, 50, 3)
    >>> layer = InterConv(rotation_tables(), 4, 8, radius=0.3)
    >>> layer(x, x, nearest(x, x, 10), torch.rand(2, 50, 60, 4)).shape
    torch.Size([2, 50, 60, 8])
    """

    def __init__(self, tables: RotationTables, inputs: int, outputs: int, radius: float):
        super().__init__()
        check_count("inputs", inputs)
        check_count("outputs", outputs)
        if isinstance(radius, bool) or not (0 < radius < math.inf):
            raise ValueError(f"radius is {radius!r}; need a finite number above 0")
        self.radius = float(radius)
        self.weight = nn.Parameter(torch.randn(len(tables.kernel), inputs, outputs))
        # A center sees about two kernel points for each neighbor, and the mean of its neighbors.
        nn.init.normal_(self.weight, std=1 / math.sqrt(inputs))
        self.add_constant("kernel", tables.kernel * radius / 2)
        # R_a k_m = k_m' turns sum_m W_m kappa_(R_a k_m) into sum_m' W_(where[a, m']) kappa_m'.
        self.register_buffer("where", tables.turned.argsort(1), persistent=False)

    def kappa(self, points: Tensor, centers: Tensor, neighbors: Tensor) -> Tensor:
        """Returns kappa / n(x) of each neighbor at each kernel point, (B, S, K, k)."""
        u = take(points, neighbors) - centers[:, :, None]  # (B, S, k, 3)
        square = u.square().sum(-1, keepdim=True)
        # |u - k|^2 from small differences u: here the shortcut costs no digits.
        apart = square - 2 * (u @ self.kernel.T) + self.kernel.square().sum(-1)
        kappa = (1 - apart * (4 / self.radius**2)).relu()  # (B, S, k, K)
        count = (1 - square / self.radius**2).relu().sum(2, keepdim=True)
        return (kappa / count.clamp(min=1)).mT

    def forward(
        self, points: Tensor, centers: Tensor, neighbors: Tensor, features: Tensor
    ) -> Tensor:
        """Returns features (B, S, G, outputs) at the centers.

        Args:
            points: (B, N, 3). centers: (B, S, 3).
            neighbors: indices of points near each center, (B, S, k), as from `nearest`.
            features: (B, N, G, inputs); or (B, N, inputs), invariants to be lifted to the group.

        Raises:
            ValueError: a shape does not fit, or neighbors are no indices of points.
        """
        _, inputs, outputs = self.weight.shape
        g = len(self.where)
        lifted = features.ndim == 4
        want = (*points.shape[:2], *([g] if lifted else []), inputs)
        if features.shape != want:
            raise ValueError(
                f"features has shape {tuple(features.shape)}; need {want}, or without the axis of "
                f"{g} group elements"
            )
        if centers.shape != (len(points), *neighbors.shape[1:2], 3):
            raise ValueError(
                f"centers has shape {tuple(centers.shape)} and neighbors {tuple(neighbors.shape)}; "
                f"need (B, S, 3) and (B, S, k) with B = {len(points)}"
            )
        kappa = self.kappa(points, centers, neighbors)
        weight = self.weight[self.where].flatten(1, 2)  # (G, K C, C')
        if not lifted:
            mixed = (kappa @ take(features, neighbors)).flatten(2)  # (B, S, K C)
            weight = weight.movedim(0, 1).flatten(1)  # (K C, G C')
            return (mixed @ weight).unflatten(2, (g, outputs))
        if not len(features):
            return features.new_empty(0, centers.shape[1], g, outputs)
        # One cloud at a time: what lies between the two sums then stays in the cache.
        clouds = zip(kappa, neighbors, features, strict=True)
        return torch.stack([(kernel_sums(*cloud) @ weight).transpose(0, 1) for cloud in clouds])


def kernel_sums(kappa: Tensor, neighbors: Tensor, features: Tensor) -> Tensor:
    """Returns sum_j kappa_m(x_j - x) f(x_j, a) of one cloud, as (G, S, K C).

    A neighbor is near few of the kernel points, so most of kappa is zero. On the CPU that is left
    out. A GPU would have to wait until the rest is counted: there it is a product with all of it.

    Args:
        kappa: (S, K, k). neighbors: (S, k).
        features: (N, G, C).

    >>> kappa, near = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[2, 0]])
    >>> kernel_sums(kappa, near, torch.arange(3.0)[:, None, None]).item()
    2.0
    """
    (s, k, _), (g, c) = kappa.shape, features.shape[1:]
    if not kappa.is_cpu or torch.compiler.is_compiling():
        sums = kappa @ features[neighbors].flatten(2)  # (S, K, G C)
        return sums.view(s, k, g, c).permute(2, 0, 1, 3).reshape(g, s, k * c)
    on = kappa.detach() != 0
    count = on.sum(-1).flatten()
    sums = nn.functional.embedding_bag(
        neighbors[:, None].expand(kappa.shape)[on],
        features.flatten(1),
        count.cumsum(0) - count,
        mode="sum",
        per_sample_weights=kappa[on],
    )
    return sums.view(s, k, g, c).permute(2, 0, 1, 3).reshape(g, s, k * c)


class IntraConv(nn.Module):
    """Convolution between group elements: f'(x, a) = b + sum_n V_n f(x, a b_n), n over neighbors.

    Multiplication from the right commutes with the action, which multiplies from the left.

    Args:
        tables: the group.
        inputs, outputs: channels.

    Source: Chen et al. 2021; Feng et al. 2023 (13 taps).

    >>> from equitutor.methods.icosahedral import rotation_tables
    >>> IntraConv(rotation_tables(), 4, 6)(torch.rand(2, 50, 60, 4)).shape
    torch.Size([2, 50, 60, 6])
    """

    def __init__(self, tables: RotationTables, inputs: int, outputs: int):
        super().__init__()
        check_count("inputs", inputs)
        check_count("outputs", outputs)
        taps = len(tables.neighbors)
        self.weight = nn.Parameter(torch.empty(taps, inputs, outputs))
        nn.init.normal_(self.weight, std=1 / math.sqrt(taps * inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("sources", tables.mul[:, tables.neighbors], persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Returns features (..., G, outputs) of features (..., G, inputs).

        Raises:
            ValueError: the features do not fit.
        """
        taps, inputs, outputs = self.weight.shape
        g = len(self.sources)
        if features.ndim < 2 or features.shape[-2:] != (g, inputs):
            raise ValueError(
                f"features has shape {tuple(features.shape)}; need (..., {g}, {inputs})"
            )
        # One (G C, G C') matrix, mostly zeros: a single product beats gathering 13 copies.
        full = self.weight.new_zeros(g, g, inputs, outputs)
        rows = torch.arange(g, device=full.device)[:, None].expand(g, taps)
        full = full.index_put((self.sources, rows), self.weight.expand(g, *self.weight.shape))
        full = full.transpose(1, 2).reshape(g * inputs, g * outputs)
        return (features.flatten(-2) @ full).unflatten(-1, (g, outputs)) + self.bias


class PointGroupNorm(nn.Module):
    """Instance norm whose statistics run over points and group elements together.

    It commutes with the action, since both permute under it. Statistics that are stored for each
    group element, as those of a batch norm are, would not. Unlike a norm over channels
    (`nn.LayerNorm`), it lets every part of a body know of every other.

    Args:
        channels: of the features (B, S, G, C).

    Source: Feng et al. 2023.

    >>> PointGroupNorm(4)(torch.rand(2, 50, 60, 4)).mean((1, 2)).abs().max() < 1e-5
    tensor(True)
    """

    def __init__(self, channels: int):
        super().__init__()
        check_count("channels", channels)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Returns normalized features, (B, S, G, C)."""
        variance, mean = torch.var_mean(features, (1, 2), correction=0, keepdim=True)
        return (features - mean) * (variance + 1e-5).rsqrt() * self.weight + self.bias


class SeparableBlock(nn.Module):
    """Convolution between points, then between group elements, with a linear skip.

    One kernel on all of SE(3) is replaced by its two factors.

    Args:
        tables: the group.
        inputs, outputs: channels.
        radius: of the ball that a center sees.
        norm: "channel" (each point and element on its own: exactly local) or "points" (as in the
            paper, `PointGroupNorm`).

    Source: Chen et al. 2021; Feng et al. 2023.

    >>> from equitutor.methods.icosahedral import nearest, rotation_tables, take
    >>> x, picked = torch.rand(2, 50, 3), torch.arange(20).expand(2, 20)
    >>> block = SeparableBlock(rotation_tables(), 4, 8, radius=0.3)
    >>> block(x, picked, nearest(x, take(x, picked), 10), torch.rand(2, 50, 60, 4)).shape
    torch.Size([2, 20, 60, 8])
    """

    def __init__(
        self,
        tables: RotationTables,
        inputs: int,
        outputs: int,
        radius: float,
        norm: str = "channel",
    ):
        super().__init__()
        if norm not in ("channel", "points"):
            raise ValueError(f"norm is {norm!r}; need 'channel' or 'points'")
        make = nn.LayerNorm if norm == "channel" else PointGroupNorm
        self.inter = InterConv(tables, inputs, outputs, radius)
        self.intra = IntraConv(tables, outputs, outputs)
        self.norm1, self.norm2 = make(outputs), make(outputs)
        self.skip = nn.Linear(inputs, outputs, bias=False)
        self.act = nn.LeakyReLU(0.1)

    def forward(self, points: Tensor, picked: Tensor, neighbors: Tensor, features: Tensor):
        """Returns features (B, S, G, outputs) at the picked points.

        Args:
            points: (B, N, 3).
            picked: indices of the centers, (B, S).
            neighbors: indices of the points near each center, (B, S, k).
            features: (B, N, G, inputs), or invariants (B, N, inputs).
        """
        h = self.inter(points, take(points, picked), neighbors, features)
        h = self.norm2(self.intra(self.act(self.norm1(h))))
        skip = self.skip(take(features, picked))
        return self.act(h + (skip if features.ndim == 4 else skip[:, :, None]))
