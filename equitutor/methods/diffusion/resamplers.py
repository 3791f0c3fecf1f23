"""The pairs (down, up) that can be put into the UNet. None of them has a parameter."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equitutor.checks import check_maps
from equitutor.methods.alias_free import (
    AliasFreeDown,
    AliasFreeUp,
    FilteredAct,
    jinc_lowpass,
    kaiser_lowpass,
    paper_kernel,
)

__all__ = ["RESAMPLERS", "KernelDown", "KernelUp", "filtered", "resampling_pair"]

RESAMPLERS = ("maxpool_bilinear", "avg_nearest", "paper3x3", "kaiser", "jinc", "ideal")
BORDERS = {"zeros": "zero", "circular": "circular", "replicate": "reflect"}  # conv -> ours


class _Kernel(nn.Module):
    def __init__(self, kernel: Tensor | None = None):
        super().__init__()
        if kernel is None:
            kernel = paper_kernel(2.0)
        elif kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or len(kernel) % 2 == 0:
            raise ValueError(f"kernel must be (K, K) with odd K, got shape {tuple(kernel.shape)}")
        elif not torch.isfinite(kernel).all():
            raise ValueError(f"kernel must be finite, got {kernel.flatten().tolist()[:9]}")
        self.register_buffer("kernel", kernel.float(), persistent=False)

    def _each(self, x: Tensor) -> Tensor:
        """Returns the kernel once for each channel of `x`, (C, 1, K, K); refuses other `x`."""
        check_maps(x)
        return self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)


class KernelDown(_Kernel):
    """Filters maps (B, C, H, W) with an odd kernel and keeps every second pixel, as the paper does.

    Kept for study: the pixels that stay are not symmetric about the center of the image.

    Args:
        kernel: (K, K), K odd; None for `paper_kernel(2.0)`.

    Source: Anjum 2024 (arXiv 2411.09174).

    >>> import torch
    >>> KernelDown()(torch.rand(1, 2, 8, 8)).shape
    torch.Size([1, 2, 4, 4])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Returns maps (B, C, ceil(H / 2), ceil(W / 2))."""
        kernel = self._each(x)
        return F.conv2d(x, kernel, stride=2, padding=kernel.shape[-1] // 2, groups=x.shape[1])


class KernelUp(_Kernel):
    """Puts zeros between the pixels of maps (B, C, H, W) and filters with an odd kernel.

    Kept for study: the gain 4 that makes up for the zeros is missing, as in the paper.

    Args:
        kernel: (K, K), K odd; None for `paper_kernel(2.0)`.

    Source: Anjum 2024 (arXiv 2411.09174).

    >>> import torch
    >>> KernelUp()(torch.ones(1, 1, 8, 8)).mean() < 0.3
    tensor(True)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Returns maps (B, C, 2 H, 2 W)."""
        kernel = self._each(x).flip(-1, -2)  # a transposed convolution reads it backwards
        half = kernel.shape[-1] // 2
        return F.conv_transpose2d(x, kernel, None, 2, half, 1, groups=x.shape[1])


def resampling_pair(name: str, padding: str = "zeros", factor: int = 2) -> nn.ModuleList:
    """Returns the modules [down, up] of a resampler, both without parameters.

    Args:
        name: "maxpool_bilinear" (the paper's baseline, with align_corners=True), "avg_nearest" (a
            plain pair that keeps the grid in place), "paper3x3" (its kernel, beta 2, normalized),
            "kaiser" (12 taps), "jinc" (12 x 12) or "ideal" (periodic; circular padding only).
        padding: that of the convolutions beside it, "zeros", "circular", or "replicate" (a mirror,
            as a 3 x 3 kernel sees it). Only kaiser and jinc look at it.
        factor: 2, or 4 for the alias-free ones.

    Raises:
        ValueError: an unknown name or padding, or a combination that does not exist.

    >>> import torch
    >>> down, up = resampling_pair("kaiser")
    >>> up(down(torch.rand(1, 1, 8, 8))).shape
    torch.Size([1, 1, 8, 8])
    """
    if name not in RESAMPLERS:
        raise ValueError(f"resampler must be one of {', '.join(RESAMPLERS)}, got {name!r}")
    if padding not in BORDERS:
        raise ValueError(f"padding must be one of {', '.join(BORDERS)}, got {padding!r}")
    if name in ("maxpool_bilinear", "avg_nearest", "paper3x3") and factor != 2:
        raise ValueError(f"factor must be 2 for {name}, got {factor!r}")
    if name == "maxpool_bilinear":
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        return nn.ModuleList([nn.MaxPool2d(2), up])
    if name == "avg_nearest":
        return nn.ModuleList([nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="nearest")])
    if name == "paper3x3":
        return nn.ModuleList([KernelDown(), KernelUp()])
    how = _filter(name), BORDERS[padding], factor
    return nn.ModuleList([AliasFreeDown(*how), AliasFreeUp(*how)])


def filtered(
    act: Callable[[Tensor], Tensor], name: str, padding: str = "zeros", factor: int = 2
) -> nn.Module:
    """Returns `act` between the up and the down of a resampler: Kaiser for the two plain pairs.

    Args:
        act: pointwise function. name, padding, factor: as in `resampling_pair`.

    >>> import torch
    >>> filtered(torch.square, "kaiser")(torch.rand(1, 1, 8, 8)).shape
    torch.Size([1, 1, 8, 8])
    """
    if not callable(act):
        raise ValueError(f"act must be callable, got {act!r}")
    if name in ("maxpool_bilinear", "avg_nearest"):
        name = "kaiser"
    down, up = resampling_pair(name, padding, factor)  # refuses what does not exist
    if name == "paper3x3":
        return nn.Sequential(up, _Pointwise(act), down)
    return FilteredAct(act, factor, _filter(name), BORDERS[padding])


def _filter(name: str) -> Tensor | str:
    """Returns the filter of an alias-free resampler, as `AliasFreeUp` takes it."""
    return {"kaiser": kaiser_lowpass, "jinc": jinc_lowpass, "ideal": lambda: "ideal"}[name]()


class _Pointwise(nn.Module):
    def __init__(self, act: Callable[[Tensor], Tensor]):
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x)
