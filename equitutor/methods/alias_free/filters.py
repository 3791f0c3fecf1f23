"""Low-pass filters for a change of rate by two, and what is right and wrong about a filter.

Frequencies are in cycles per sample of the *fine* grid: its Nyquist frequency is 0.5, that of the
coarse grid is 0.25. Filters are float64. An even number of taps puts the filter's center between
two fine samples, where the centers of the coarse pixels lie.
"""

import math

import torch
from torch import Tensor

from equitutor.checks import check_even, check_number

__all__ = [
    "gain",
    "jinc",
    "jinc_lowpass",
    "kaiser_beta",
    "kaiser_lowpass",
    "paper_kernel",
    "polyphase_sums",
]


def kaiser_beta(attenuation: float) -> float:
    """Returns the shape parameter beta of the Kaiser window for an attenuation in dB, >= 0.

    Source: J. F. Kaiser, 1974; the usual three-piece formula.

    >>> round(kaiser_beta(60), 3), kaiser_beta(20)
    (5.653, 0.0)
    """
    a = check_number(attenuation, "attenuation", 0)
    if a > 50:
        return 0.1102 * (a - 8.7)
    if a >= 21:
        return 0.5842 * (a - 21) ** 0.4 + 0.07886 * (a - 21)
    return 0.0


def kaiser_lowpass(taps: int = 12, cutoff: float = 0.25, width: float = 0.2) -> Tensor:
    """Returns a separable low-pass filter, float64 (taps,), symmetric and of sum one.

    An ideal low-pass, sinc(2 cutoff k), cut off by a Kaiser window. Of taps, width of the
    transition and attenuation, two can be chosen: here more taps at the same width mean a deeper
    stop band.

    Args:
        taps: length, even.
        cutoff: middle of the transition band, in (0, 0.5) cycles per fine sample.
        width: of the transition band, in (0, 0.5] cycles per fine sample.

    Raises:
        ValueError: an argument outside these ranges.

    >>> h = kaiser_lowpass()
    >>> h.shape, round(h.sum().item(), 12), torch.equal(h, h.flip(0))
    (torch.Size([12]), 1.0, True)
    """
    check_even(taps, "taps")
    check_number(cutoff, "cutoff", 1e-6, 0.5 - 1e-6)
    check_number(width, "width", 1e-6, 0.5)
    beta = kaiser_beta(2.285 * (taps - 1) * 2 * math.pi * width + 7.95)
    x = _centered(taps)
    return _unit(torch.special.sinc(2 * cutoff * x) * _kaiser(x / ((taps - 1) / 2), beta))


def jinc(r: Tensor, cutoff: float) -> Tensor:
    """Returns the impulse response of the ideal disc |f| <= cutoff at distance `r` (samples).

    It is c J1(2 pi c r) / r, and pi c^2 at r = 0.

    >>> jinc(torch.tensor([0.0], dtype=torch.float64), 0.25)
    tensor([0.1963], dtype=torch.float64)
    """
    r = r.double()
    safe = r.clamp_min(1e-9)  # the limit at 0 is reached far above this distance
    value = cutoff * torch.special.bessel_j1(2 * math.pi * cutoff * safe) / safe
    return torch.where(r < 1e-9, torch.full_like(r, math.pi * cutoff**2), value)


def jinc_lowpass(
    taps: int = 12, cutoff: float = 0.25, beta: float = 4.0, window: str = "radial"
) -> Tensor:
    """Returns a circular low-pass filter, float64 (taps, taps), symmetric and of sum one.

    Its pass band is a disc, the only band that every rotation leaves alone. A separable filter
    keeps frequencies on the diagonals up to sqrt(2) times its cutoff.

    Args:
        taps: length of a side, even.
        cutoff: radius of the disc, in (0, 0.5) cycles per fine sample.
        beta: shape of the Kaiser window, >= 0.
        window: "radial" (a function of the distance) or "outer" (a product of two).

    Raises:
        ValueError: an argument outside these ranges.

    >>> h = jinc_lowpass()
    >>> h.shape, torch.equal(h, h.T), torch.allclose(h, h.rot90())
    (torch.Size([12, 12]), True, True)
    """
    check_even(taps, "taps")
    check_number(cutoff, "cutoff", 1e-6, 0.5 - 1e-6)
    check_number(beta, "beta", 0, 100)
    if window not in ("radial", "outer"):
        raise ValueError(f"window must be 'radial' or 'outer', got {window!r}")
    x = _centered(taps)
    r = (x[:, None].square() + x.square()).sqrt()
    if window == "radial":
        shape = _kaiser(r / (taps / 2), beta)  # the window's edge is the side of the square
    else:
        one = _kaiser(x / ((taps - 1) / 2), beta)
        shape = one[:, None] * one
    return _unit(jinc(r, cutoff) * shape)


def paper_kernel(beta: float = 0.0, normalize: bool = True) -> Tensor:
    """Returns the paper's 3 x 3 low-pass kernel, float64 (3, 3), for study: see its gain.

    Args:
        beta: shape of its Kaiser window; the paper tries 0, 1 and 2.
        normalize: divide by the sum (the paper's suffix N).

    Source: Anjum 2024 (arXiv 2411.09174) and its code: circular low-pass of cutoff a quarter, times
    a product of Kaiser windows.

    >>> round(paper_kernel(0, normalize=False).sum().item(), 3)
    1.154
    """
    check_number(beta, "beta", 0, 100)
    x = _centered(3)
    one = _kaiser(x, beta)
    kernel = jinc((x[:, None].square() + x.square()).sqrt(), 0.25) * one[:, None] * one
    return kernel / kernel.sum() if normalize else kernel


def gain(h: Tensor, f_x: Tensor | float, f_y: Tensor | float = 0.0) -> Tensor:
    """Returns the gain of a filter at frequencies (f_x, f_y), real, float64.

    Args:
        h: (L,), used along both axes, or (L, L); symmetric, so that the gain is real.
        f_x, f_y: cycles per sample, of the same or of broadcasting shapes.

    Raises:
        ValueError: `h` is neither (L,) nor (L, L).

    >>> gain(kaiser_lowpass(), 0.0), gain(kaiser_lowpass(), 0.5).abs() < 1e-12
    (tensor(1., dtype=torch.float64), tensor(True))
    """
    _check_filter(h)
    f_x, f_y = torch.broadcast_tensors(
        *(torch.as_tensor(f, dtype=torch.float64) for f in (f_x, f_y))
    )
    x = _centered(len(h))
    wave = [torch.cos(2 * math.pi * f[..., None] * x) for f in (f_x, f_y)]  # (..., L)
    if h.ndim == 1:
        return (wave[0] @ h.double()) * (wave[1] @ h.double())
    sine = [torch.sin(2 * math.pi * f[..., None] * x) for f in (f_x, f_y)]
    h = h.double()
    return ((wave[1] @ h) * wave[0]).sum(-1) - ((sine[1] @ h) * sine[0]).sum(-1)


def polyphase_sums(h: Tensor) -> Tensor:
    """Returns the gain for a constant at each of the fine samples of a coarse pixel.

    Zeros are put between the coarse samples, so the filter is multiplied by 2 (by 4 for (L, L)).
    All numbers have to be one, or a constant comes out as a checkerboard.

    Args:
        h: filter (L,) or (L, L).

    Returns:
        float64 (2,) or (2, 2).

    Raises:
        ValueError: `h` is neither (L,) nor (L, L).

    >>> polyphase_sums(kaiser_lowpass()).round(decimals=9)
    tensor([1., 1.], dtype=torch.float64)
    """
    _check_filter(h)
    h = h.double()
    if h.ndim == 1:
        return 2 * torch.stack([h[i::2].sum() for i in (0, 1)])
    return 4 * torch.stack([h[i::2, j::2].sum() for i in (0, 1) for j in (0, 1)]).view(2, 2)


def _centered(taps: int) -> Tensor:
    return torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2


def _kaiser(x: Tensor, beta: float) -> Tensor:
    """Returns the Kaiser window at x, |x| <= 1; zero beyond."""
    inside = (1 - x.square()).clamp_min(0).sqrt()
    value = torch.special.i0(beta * inside) / torch.special.i0(x.new_tensor(beta))
    return torch.where(x.abs() > 1, 0.0, value)


def _unit(h: Tensor) -> Tensor:
    """Returns `h` symmetric to the last bit, and of sum one."""
    h = h + h.flip(0)
    if h.ndim == 2:
        h = h + h.flip(1)
        h = h + h.T
    return h / h.sum()


def _check_filter(h: Tensor) -> None:
    if not isinstance(h, Tensor) or h.ndim not in (1, 2) or h.shape[0] != h.shape[-1]:
        shape = tuple(h.shape) if isinstance(h, Tensor) else h
        raise ValueError(f"h must be a filter (L,) or (L, L), got {shape!r}")
