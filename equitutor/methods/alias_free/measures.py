"""Ideal shifts and rotations of band-limited maps, and how far a network is from following them.

Maps are periodic here. An even size has a wave at its Nyquist frequency, + - + -, of which pixels
show the cosine only. A shift by s pixels makes it cos(pi s) times itself: exact for whole pixels,
and what is left of it for a fraction. A rotation, which must lose nothing, leaves it in its place.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from equitutor.checks import check_maps, check_number

__all__ = ["band_limit", "disc_mask", "eq_psnr", "ideal_rotate", "ideal_shift", "relative_error"]


def ideal_shift(x: Tensor, shift: tuple[float, float]) -> Tensor:
    """Returns the maps moved by `shift` = (down, right) pixels, any real numbers, around a torus.

    Whole pixels are moved as they are, bit for bit, as `Tensor.roll` does. For a fraction s of a
    pixel the Nyquist wave of an even size is multiplied by cos(pi s). Without that wave, shifts add
    up: a, then b, is a + b.

    Args:
        x: maps (B, C, H, W), float32 or float64.
        shift: (dy, dx) in pixels.

    Raises:
        ValueError: `x` is not such maps, or a shift is not a finite number.

    >>> x = torch.arange(16.0).view(1, 1, 4, 4)
    >>> torch.equal(ideal_shift(x, (1, -2)), x.roll((1, -2), (2, 3)))
    True
    """
    check_maps(x)
    _check_precision(x)
    if not isinstance(shift, tuple | list) or len(shift) != 2:
        raise ValueError(f"shift must be two numbers (down, right), got {shift!r}")
    for axis, s in zip((-2, -1), shift, strict=True):
        s = check_number(s, "shift")
        whole = round(s)
        x = x.roll(whole % x.shape[axis], axis)
        if s != whole:  # at most half a pixel is left, so a long way loses no digits
            x = _slide(x, x.new_tensor(s - whole), axis, keep_nyquist=False)
    return x


def ideal_rotate(x: Tensor, angle: float) -> Tensor:
    """Returns the maps turned counter-clockwise on the screen by `angle` degrees about the center.

    Quarter turns move pixels exactly; what remains, at most 45 degrees, is three shears: every row
    or column slides by its own amount, all its waves but the Nyquist wave, which stays. So a shear
    loses nothing, and white noise stays white. Inside the disc of `disc_mask` this is a rotation of
    what is band-limited; pixels that leave the square come in on the other side.

    Args:
        x: square maps (B, C, n, n), float32 or float64; for quarter turns any floating dtype.
        angle: degrees.

    Raises:
        ValueError: `x` is not such maps or not square, or the angle is not finite.

    Source: Unser, Thevenaz, Yaroslavsky 1995, rotation by three shears.

    >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> ideal_rotate(x, 90)[0, 0].tolist()
    [[2.0, 4.0], [1.0, 3.0]]
    """
    check_maps(x)
    n = x.shape[-1]
    if x.shape[-2] != n:
        raise ValueError(f"x must be square, got {x.shape[-2]} x {n}")
    angle = check_number(angle, "angle")
    turns = round(angle / 90)
    x = torch.rot90(x, turns % 4, (-2, -1))
    rest = math.radians(angle - 90 * turns)
    if rest == 0:
        return x
    center = torch.arange(n, dtype=x.dtype, device=x.device) - (n - 1) / 2
    row_shift, column_shift = math.tan(rest / 2) * center, -math.sin(rest) * center
    # Counter-clockwise with rows counted downward: a row below the center first moves right.
    x = _slide(x, row_shift[:, None], -1, keep_nyquist=True)
    x = _slide(x, column_shift, -2, keep_nyquist=True)
    return _slide(x, row_shift[:, None], -1, keep_nyquist=True)


def _slide(x: Tensor, shift: Tensor, axis: int, keep_nyquist: bool) -> Tensor:
    """Returns `x` moved along `axis` by `shift`, which broadcasts against the other axis.

    The Nyquist wave stays, or keeps the part of it that pixels show.
    """
    _check_precision(x)
    n = x.shape[axis]
    k = torch.arange(n // 2 + 1, dtype=x.dtype, device=x.device)
    k = k[:, None] if axis == -2 else k
    phase = -2 * math.pi / n * k * shift
    factor = torch.polar(torch.ones_like(phase), phase)
    if n % 2 == 0:
        last = k == n // 2
        seen = torch.ones_like(phase) if keep_nyquist else phase.cos()
        factor = torch.where(last, seen.to(factor.dtype), factor)
    return torch.fft.irfft(torch.fft.rfft(x, dim=axis) * factor, n=n, dim=axis)


def band_limit(x: Tensor, radius: float = 0.99) -> Tensor:
    """Returns the maps without frequencies outside a disc, so that they can be moved losslessly.

    Args:
        x: maps (B, C, H, W), floating.
        radius: of the disc, as a share of the Nyquist frequency, in (0, 1.5].

    Raises:
        ValueError: an argument outside these.

    >>> x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    >>> torch.allclose(band_limit(band_limit(x, 0.8), 0.8), band_limit(x, 0.8))
    True
    """
    check_maps(x)
    check_number(radius, "radius", 1e-6, 1.5)
    _check_precision(x)
    f_y = torch.fft.fftfreq(x.shape[-2], dtype=x.dtype, device=x.device)[:, None]
    f_x = torch.fft.fftfreq(x.shape[-1], dtype=x.dtype, device=x.device)
    keep = f_y.square() + f_x.square() <= (0.5 * radius) ** 2
    return torch.fft.ifft2(torch.fft.fft2(x) * keep).real


def disc_mask(n: int, radius: float = 0.4) -> Tensor:
    """Returns which pixels of an n x n map lie within `radius * n` of its center, bool (n, n).

    >>> disc_mask(4, 0.25).int().tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    check_number(radius, "radius", 0, 1)
    if type(n) is not int or n < 1:
        raise ValueError(f"n must be an int >= 1, got {n!r}")
    x = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    return x[:, None].square() + x.square() <= (radius * n) ** 2


def relative_error(a: Tensor, b: Tensor, mask: Tensor | None = None) -> float:
    """Returns |a - b| / |b| in the Euclidean norm, over the pixels of `mask` if given.

    >>> relative_error(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0]))
    1.0
    """
    if a.shape != b.shape:
        raise ValueError(f"a and b must have one shape, got {tuple(a.shape)}, {tuple(b.shape)}")
    if not a.is_floating_point() and not b.is_floating_point():
        a, b = a.double(), b.double()  # a difference of bytes would wrap around
    if mask is not None:
        _check_mask(mask, a)
        a, b = a[..., mask], b[..., mask]
    return ((a - b).double().norm() / b.double().norm()).item()


@torch.no_grad()
def eq_psnr(
    f: Callable[[Tensor], Tensor],
    transform: Callable[[Tensor], Tensor],
    x: Tensor,
    mask: Tensor | None = None,
) -> float:
    """Returns how well `f` follows `transform`, in dB: higher is better, inf is exact.

    EQ = 10 log10(2^2 / mean |f(T x) - T f(x)|^2), for images with values in [-1, 1].

    Args:
        f: function of maps (B, C, H, W) to maps on which `transform` works, too.
        transform: a shift or rotation of maps.
        x: maps; band-limit them first, all models with the same radius.
        mask: bool, the pixels of f's maps to compare, (H, W); all, if None.

    Raises:
        ValueError: `x` is not floating maps, f changes shapes, or `mask` leaves no pixel.

    Source: the EQ-T and EQ-R of Karras et al. 2021 (arXiv 2106.12423).

    >>> x = torch.rand(2, 1, 8, 8)
    >>> eq_psnr(torch.tanh, lambda x: x.roll(3, -1), x)
    inf
    """
    check_maps(x)
    a, b = f(transform(x)), transform(f(x))
    if a.shape != b.shape:
        raise ValueError(f"f must keep shapes, got {tuple(a.shape)} and {tuple(b.shape)}")
    error = (a - b).double().square()
    if mask is not None:
        _check_mask(mask, error)
        error = error[..., mask.to(error.device)]
    if error.numel() == 0:
        raise ValueError("mask must leave at least one pixel")
    error = error.mean().item()
    return math.inf if error == 0 else 10 * math.log10(4 / error)


def _check_mask(mask: Tensor, x: Tensor) -> None:
    if mask.dtype != torch.bool or mask.shape != x.shape[x.ndim - mask.ndim :]:
        raise ValueError(
            f"mask must be bool, of the last axes of {tuple(x.shape)}, "
            f"got shape {tuple(mask.shape)} of {mask.dtype}"
        )


def _check_precision(x: Tensor) -> None:
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be float32 or float64 for a Fourier transform, got {x.dtype}")
