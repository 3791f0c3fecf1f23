"""One UNet that predicts noise; how it changes the rate is put in from outside.

All variants have the same parameters with the same names, so a weight can be moved between them,
and two that start from one seed start equal.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equitutor.checks import check_even
from equitutor.methods.diffusion.resamplers import filtered, resampling_pair

__all__ = ["UNet", "time_code"]


def time_code(t: Tensor, dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns sines and cosines of the step's number at dim / 2 frequencies, (B, dim).

    The angles are float32, equal on every processor; sines and cosines are taken in `dtype`, or in
    float32 where that is coarser.

    Args:
        t: (B,), numbers of steps.
        dim: even.
        dtype: of the result, floating.

    Source: Vaswani et al. 2017.

    >>> time_code(torch.tensor([0]), 4)
    tensor([[0., 0., 1., 1.]])
    """
    check_even(dim, "dim")
    # In float32, exp is another last digit on another processor, and t makes it hundreds of them.
    frequency = [math.exp(-k * math.log(1e4) / dim) for k in range(0, dim, 2)]
    angle = t.float()[:, None] * torch.tensor(frequency, dtype=torch.float32, device=t.device)
    angle = angle.to(torch.promote_types(torch.float32, dtype))
    return torch.cat([angle.sin(), angle.cos()], 1).to(dtype)


class DoubleConv(nn.Module):
    """Two 3 x 3 convolutions with group normalization; with `residual` the input is added.

    Args:
        act: module, applied between the convolutions and after the sum of a residual.
        padding: padding mode of the convolutions.

    >>> DoubleConv(2, 4, nn.GELU(), "zeros")(torch.rand(1, 2, 8, 8)).shape
    torch.Size([1, 4, 8, 8])
    """

    def __init__(self, inside, outside, act, padding, middle=None, residual=False):
        super().__init__()
        middle = middle or outside
        conv = lambda a, b: nn.Conv2d(a, b, 3, padding=1, bias=False, padding_mode=padding)
        self.first, self.second = conv(inside, middle), conv(middle, outside)
        self.norms = nn.ModuleList([nn.GroupNorm(1, middle), nn.GroupNorm(1, outside)])
        self.act, self.residual = act, residual

    def forward(self, x: Tensor) -> Tensor:
        """Returns maps (B, outside, H, W)."""
        y = self.act(self.norms[0](self.first(x)))
        y = self.norms[1](self.second(y))
        return self.act(x + y) if self.residual else y


class SelfAttention(nn.Module):
    """Attention of all pixels to all pixels, without any position, and a pointwise network.

    >>> SelfAttention(8)(torch.rand(1, 8, 4, 4)).shape
    torch.Size([1, 8, 4, 4])
    """

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attend = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.mix = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, channels),
            nn.GELU(),
            nn.Linear(channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns maps of the shape of `x`."""
        tokens = x.flatten(2).mT  # (B, H W, C)
        normed = self.norm(tokens)
        tokens = tokens + self.attend(normed, normed, normed, need_weights=False)[0]
        return (tokens + self.mix(tokens)).mT.reshape(x.shape)


class _Stage(nn.Module):
    """Residual and plain double convolution, the time, perhaps attention."""

    def __init__(self, inside, outside, act, padding, time_dim, attention, middle=None):
        super().__init__()
        self.residual = DoubleConv(inside, inside, act, padding, residual=True)
        self.plain = DoubleConv(inside, outside, act, padding, middle)
        self.time = nn.Linear(time_dim, outside)
        self.attention = SelfAttention(outside) if attention else nn.Identity()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        y = self.plain(self.residual(x)) + self.time(F.silu(code))[:, :, None, None]
        return self.attention(y)


class UNet(nn.Module):
    """Predicts the noise in images (B, C, H, W); parameters do not depend on the resampler.

    `UNet(width=32, levels=3, time_dim=256, attend_from=0)` is the paper's network, with its 5.9
    million parameters.

    Args:
        resampler: name of a pair, as in `resampling_pair`.
        channels: of the images.
        width: channels of the finest maps; must be divisible by 4 where there is attention.
        levels: number of halvings; 2^levels must divide H and W.
        act_factor: 1 for plain GELU; 2 (or 4) for GELU at that many times the rate.
        padding: of convolutions and alias-free resamplers, "zeros", "circular" or
            "replicate".
        time_dim: length of the code of the time, even.
        attend_from: finest level with attention, 0 for all maps, None for no attention.

    `forward(x, t)` takes the numbers t (B,) of steps and returns maps of the shape of `x`.

    Raises:
        ValueError: an argument outside these; `forward` for maps that do not fit.

    Source: Anjum 2024 (arXiv 2411.09174) and its code; DDPM: Ho et al. 2020.

    >>> net = UNet("kaiser", width=8)
    >>> net(torch.rand(2, 1, 16, 16), torch.tensor([0, 500])).shape
    torch.Size([2, 1, 16, 16])
    """

    def __init__(
        self,
        resampler: str = "kaiser",
        channels: int = 1,
        width: int = 16,
        levels: int = 2,
        act_factor: int = 1,
        padding: str = "zeros",
        time_dim: int = 64,
        attend_from: int | None = None,
    ):
        super().__init__()
        sizes = {"channels": channels, "width": width, "levels": levels, "time_dim": time_dim}
        for name, value in sizes.items():
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be an int >= 1, got {value!r}")
        if time_dim % 2:
            raise ValueError(f"time_dim must be even, got {time_dim}")
        if type(act_factor) is not int or act_factor not in (1, 2, 4):
            raise ValueError(f"act_factor must be 1, 2 or 4, got {act_factor!r}")
        if attend_from is not None and (type(attend_from) is not int or attend_from < 0):
            raise ValueError(f"attend_from must be None or an int >= 0, got {attend_from!r}")
        self.channels, self.levels, self.time_dim = channels, levels, time_dim
        self.down, self.up = resampling_pair(resampler, padding)
        act = nn.GELU() if act_factor == 1 else filtered(F.gelu, resampler, padding, act_factor)
        attends = lambda level: attend_from is not None and level >= attend_from
        c = [width * 2 ** min(level, levels - 1) for level in range(levels + 1)]
        # width 2 will do where attention sees only coarser maps, of twice the channels or more
        attended = [c[i] for i in range(1, levels + 1) if attends(i)]
        attended += [c[i - 1] for i in range(1, levels) if attends(i)] + c[:1] * attends(0)
        if any(size % 4 for size in attended):
            raise ValueError(f"width must be divisible by 4 for attention, got {width}")
        self.enter = DoubleConv(channels, c[0], act, padding)
        self.descent = nn.ModuleList(
            _Stage(c[i], c[i + 1], act, padding, time_dim, attends(i + 1)) for i in range(levels)
        )
        self.bottom = nn.Sequential(
            DoubleConv(c[-1], 2 * c[-1], act, padding),
            DoubleConv(2 * c[-1], 2 * c[-1], act, padding),
            DoubleConv(2 * c[-1], c[-1], act, padding),
        )
        self.ascent = nn.ModuleList(
            _Stage(2 * c[i], c[max(i - 1, 0)], act, padding, time_dim, attends(i), middle=c[i])
            for i in reversed(range(levels))
        )
        self.leave = nn.Conv2d(c[0], channels, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Returns the predicted noise, shape of `x`."""
        if (
            x.ndim != 4
            or x.shape[1] != self.channels
            or not (x.numel() and x.is_floating_point())
            or any(n % 2**self.levels for n in x.shape[2:])
        ):
            raise ValueError(
                f"x must be non-empty floating-point maps (B, {self.channels}, H, W) with "
                f"{2**self.levels} dividing H and W, "
                f"got shape {tuple(x.shape)} of {x.dtype}"
            )
        if t.shape != (len(x),):
            raise ValueError(f"t must have shape ({len(x)},), got {tuple(t.shape)}")
        code = time_code(t, self.time_dim, x.dtype)
        y = self.enter(x)
        skips = []
        for stage in self.descent:
            skips.append(y)
            y = stage(self.down(y), code)
        y = self.bottom(y)
        for stage in self.ascent:
            y = stage(torch.cat([skips.pop(), self.up(y)], 1), code)
        return self.leave(y)
