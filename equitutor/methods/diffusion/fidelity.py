"""How far generated images are from real ones: FID and KID, with an interval.

With the features of a small digit classifier this is "FID-64": good for comparing two models of one
experiment, never for comparing with a published FID.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from equitutor.methods.alias_free.arguments import check_maps

__all__ = ["FeatureNet", "bootstrap_interval", "features", "fid", "kid"]


class FeatureNet(nn.Module):
    """A small classifier; its last layer but one gives 64 features of an image.

    Args:
        channels: of the images. classes: how many. Images have at least 8 x 8 pixels.

    `forward` returns logits (B, classes), `features` (B, 64).

    >>> FeatureNet().features(torch.rand(3, 1, 16, 16)).shape
    torch.Size([3, 64])
    """

    def __init__(self, channels: int = 1, classes: int = 10):
        super().__init__()
        for name, value in (("channels", channels), ("classes", classes)):
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be an int >= 1, got {value!r}")
        self.channels = channels
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
            nn.Flatten(), nn.Linear(512, 64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, classes)

    def features(self, x: Tensor) -> Tensor:
        """Returns features (B, 64) of images (B, C, H, W)."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (B, classes)."""
        return self.head(self.features(x))


@torch.no_grad()
def features(net: FeatureNet, x: Tensor, scale: float = 1.0, batch: int = 500) -> Tensor:
    """Returns the features of images (N, C, H, W), divided by `scale`, float64 (N, 64), on the CPU.

    Not every device knows float64, and the distances of the features need it.

    Divide by the standard deviation over all features of the real images: the unit of FID is
    then the same for two networks.

    >>> features(FeatureNet(), torch.rand(3, 1, 16, 16)).dtype
    torch.float64
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale!r}")
    if type(batch) is not int or batch < 1:
        raise ValueError(f"batch must be an int >= 1, got {batch!r}")
    check_maps(x)
    channels = getattr(net, "channels", x.shape[1])
    if x.shape[1] != channels:
        raise ValueError(f"x must have {channels} channels for this net, got {x.shape[1]}")
    return torch.cat([net.features(part).cpu().double() for part in x.split(batch)]) / scale


def fid(a: Tensor, b: Tensor) -> float:
    """Returns the Frechet distance of two sets of features, >= 0: that of two fitted Gaussians.

    |m_a - m_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2). It is too large by about d / N-th parts when
    samples are few; compare sets of one size only.

    Args:
        a, b: features (N, d) and (M, d), N, M >= 2. Fewer samples than d are fine.

    Raises:
        ValueError: other shapes, or numbers that are not finite.

    Source: Heusel et al. 2017 (arXiv 1706.08500).

    >>> a = torch.randn(50, 3)
    >>> round(fid(a, a + torch.tensor([3.0, 4.0, 0.0])), 4)
    25.0
    """
    a, b = _check_pair(a, b)
    cov_a, cov_b = torch.cov(a.T).view(a.shape[1], -1), torch.cov(b.T).view(a.shape[1], -1)
    # The symmetric form has real, non-negative eigenvalues, also where a covariance is singular.
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(distance.item(), 0.0)


def kid(a: Tensor, b: Tensor) -> float:
    """Returns the squared kernel distance of two sets of features, without bias: may be negative.

    Kernel (u . v / d + 1)^3. Its mean is right for any number of samples.

    Args:
        a, b: as in `fid`.

    Source: Binkowski et al. 2018 (arXiv 1801.01401).

    >>> a = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> kid(a[:100], a[100:]) < 0.2 < kid(a[:100], a[100:] + 2)
    True
    """
    a, b = _check_pair(a, b)
    kernel = lambda u, v: (u @ v.T / u.shape[1] + 1) ** 3
    within = 0.0
    for u in (a, b):
        k = kernel(u, u)
        within += ((k.sum() - k.trace()) / (len(u) * (len(u) - 1))).item()
    return within - 2 * kernel(a, b).mean().item()


def bootstrap_interval(
    statistic: Callable[[Tensor, Tensor], float],
    a: Tensor,
    b: Tensor,
    repeats: int = 100,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Returns the statistic and the ends of its bootstrap interval: (value, low, high).

    Samples are drawn again with replacement from both sets. A repeated sample makes FID larger, so
    the spread of the bootstrap is taken, not its place: it is moved to the value. This is the noise
    of sampling alone; the noise of training is larger, and only more training runs show it.

    Args:
        statistic: `fid` or `kid`. a, b: features (N, d), (M, d).
        repeats: number of draws, >= 2. level: in (0, 1).

    Raises:
        ValueError: an argument outside these ranges.

    >>> a, b = torch.randn(2, 40, 2).unbind()
    >>> value, low, high = bootstrap_interval(fid, a, b, repeats=20)
    >>> low <= value <= high
    True
    """
    if type(repeats) is not int or repeats < 2:
        raise ValueError(f"repeats must be an int >= 2, got {repeats!r}")
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level!r}")
    if not callable(statistic):
        raise ValueError(f"statistic must be callable, got {statistic!r}")
    if type(seed) is not int:
        raise ValueError(f"seed must be an int, got {seed!r}")
    if not (len(a) and len(b)):
        raise ValueError(f"a and b must hold samples, got {len(a)} and {len(b)}")
    generator = torch.Generator().manual_seed(seed)
    draw = lambda x: x[torch.randint(len(x), (len(x),), generator=generator)]
    values = torch.tensor([statistic(draw(a), draw(b)) for _ in range(repeats)]).double()
    value = statistic(a, b)
    tail = (1 - level) / 2
    low, high = torch.quantile(values, torch.tensor([tail, 1 - tail]).double()) - values.median()
    return value, value + min(low.item(), 0.0), value + max(high.item(), 0.0)


def _check_pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"a and b must be features (N, d) and (M, d) with N, M >= 2, got {tuple(a.shape)} "
            f"and {tuple(b.shape)}"
        )
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("a and b must be finite, got NaN or infinity")
    return a.double(), b.double()
