"""Lengths of moments: numbers of a cloud that no rotation changes."""

import torch
from torch import Tensor, nn

from equitutor.checks import check_clouds, check_count, check_positive
from equitutor.models.point_clouds.basis import Gaussians, harmonics


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

    def __init__(
        self,
        classes: int = 8,
        degree: int = 4,
        radii: int = 8,
        width: int = 64,
        reach: float = 1.2,
    ):
        super().__init__()
        check_count("classes", classes, 2)
        check_count("width", width)
        check_count("degree", degree, 0)
        check_count("radii", radii, 2)
        if degree > 11:
            raise ValueError(f"degree must be at most 11, got {degree}")
        check_positive("reach", reach)
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
        check_clouds(points)
        x = points - points.mean(1, keepdim=True)
        bumps = self.basis(x.norm(dim=-1))  # (B, N, radii)
        return bumps.transpose(1, 2) @ harmonics(x, self.degree) / x.shape[1]

    def invariants(self, points: Tensor) -> Tensor:
        """Returns the lengths of the moments of each radius and degree, (B, radii, degree + 1)."""
        blocks = self.moments(points).split([2 * k + 1 for k in range(self.degree + 1)], -1)
        lengths = [(b.square().mean(-1) + 1e-12).sqrt() for b in blocks]  # (B, radii) each
        return torch.stack(lengths, -1)

    def forward(self, points: Tensor) -> Tensor:
        return self.head(self.norm(self.invariants(points).flatten(1)))
