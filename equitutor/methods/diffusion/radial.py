"""Kernels that look the same from every side: what a network needs to follow rotations."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["RadialKernel", "radial_convolutions"]


class RadialKernel(nn.Module):
    """Replaces the outer eight numbers of 3 x 3 kernels by their mean, 2 to 1 for edges to corners.

    What is left of nine numbers is two: a center, and a ring that falls off as a binomial filter
    does. No direction is preferred, so a convolution commutes with quarter turns and mirrors, and
    nearly with every rotation of what is band-limited. Such a kernel can't see an edge's direction.

    `forward` maps kernels (..., 3, 3) to the same shape. Use it with `radial_convolutions`.

    Raises:
        ValueError: `forward` for kernels of another size.

    Source: radial and 1 x 1 kernels of Karras et al. 2021 (arXiv 2106.12423), configuration R.

    >>> RadialKernel()(torch.arange(9.0).view(3, 3))
    tensor([[2.6667, 5.3333, 2.6667],
            [5.3333, 4.0000, 5.3333],
            [2.6667, 5.3333, 2.6667]])
    """

    def forward(self, kernel: Tensor) -> Tensor:
        if kernel.ndim < 2 or kernel.shape[-2:] != (3, 3) or not kernel.is_floating_point():
            raise ValueError(
                f"kernel must be (..., 3, 3) of floating-point numbers, "
                f"got shape {tuple(kernel.shape)} of {kernel.dtype}"
            )
        one = torch.tensor([1.0, 2, 1], dtype=kernel.dtype, device=kernel.device)
        ring = one[:, None] * one / 12 * 8  # sums to eight without its center
        ring[1, 1] = 0
        center = kernel[..., 1:2, 1:2]
        mean = (kernel.sum((-2, -1), keepdim=True) - center) / 8
        spot = torch.zeros_like(ring)
        spot[1, 1] = 1
        return mean * ring + center * spot


def radial_convolutions(model: nn.Module) -> nn.Module:
    """Returns `model` after giving all its 3 x 3 convolutions radial kernels, in place.

    The parameters keep their number and their start; gradients reach them through `RadialKernel`.

    Args:
        model: network; convolutions of other sizes stay as they are.

    Raises:
        ValueError: it has no 3 x 3 convolution.

    >>> model = radial_convolutions(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    >>> x = torch.rand(1, 1, 8, 8)
    >>> torch.allclose(model(x.rot90(1, (2, 3))), model(x).rot90(1, (2, 3)), atol=1e-6)
    True
    """
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    if not found:
        raise ValueError("model must have at least one 3 x 3 convolution, got none")
    for layer in found:
        parametrize.register_parametrization(layer, "weight", RadialKernel())
    return model
