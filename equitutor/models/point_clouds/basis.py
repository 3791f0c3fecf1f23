"""Functions of an offset: bumps of its length, spherical harmonics of its direction."""

import torch
from torch import Tensor, nn


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


def harmonics(x: Tensor, degree: int) -> Tensor:
    """Returns the spherical harmonics of directions x (..., 3), degrees 0 ... degree behind one
    another, (..., (degree + 1)^2). Of the zero vector, all but the first are zero.

    >>> harmonics(torch.randn(5, 3), 2).square().sum(-1).round()
    tensor([9., 9., 9., 9., 9.])
    """
    from e3nn import o3

    return o3.spherical_harmonics(
        list(range(degree + 1)), x, normalize=True, normalization="component"
    )
