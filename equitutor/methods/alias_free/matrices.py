"""Resampling along one axis as a matrix. Down is the transpose of up, divided by the factor.

Pixel i of n has the coordinate i - (n - 1) / 2, so everything is symmetric about the center of
the image. Fine sample j lies at the coarse coordinate (j - 1/2) / 2: between two coarse samples,
never on one.
"""

import math

import torch
from torch import Tensor

from equitutor.checks import check_even

__all__ = ["BOUNDARIES", "border_index", "ideal_matrix", "resample_matrix"]

BOUNDARIES = ("zero", "circular", "reflect")


def border_index(index: Tensor, n: int, boundary: str) -> Tensor:
    """Returns which of the n samples stands at each `index`, int64, -1 where there is none.

    Args:
        index: int64, any values.
        n: samples on the axis, >= 1.
        boundary: "zero" (nothing beyond the border), "circular", or "reflect" (mirrored at the
            edge of the outer pixel, so that it is repeated: the only mirror for which the
            transpose of up is again a filter).

    Raises:
        ValueError: n < 1, or another boundary.

    >>> border_index(torch.arange(-2, 5), 3, "reflect").tolist()
    [1, 0, 0, 1, 2, 2, 1]
    """
    _check_size(n)
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary must be one of {', '.join(BOUNDARIES)}, got {boundary!r}")
    if boundary == "circular":
        return index % n
    if boundary == "reflect":
        index = index % (2 * n)
        return torch.minimum(index, 2 * n - 1 - index)
    return torch.where((index < 0) | (index >= n), -1, index)


def resample_matrix(n: int, h: Tensor, boundary: str = "zero") -> Tensor:
    """Returns the matrix U of upsampling by two along one axis, float64 (2n, n).

    (U x)[j] = 2 sum_i h(j - 2i - 1/2) x[i], with h counted from its center. D = U.T / 2 is
    downsampling with the same filter, for all three boundaries.

    Args:
        n: coarse samples, >= 1.
        h: filter (L,), L even.
        boundary: "zero", "circular" or "reflect", as in `border_index`.

    Raises:
        ValueError: n < 1, a filter of odd length (it would move the grid by half a sample), or an
            unknown boundary.

    >>> U = resample_matrix(4, torch.tensor([0.25, 0.25, 0.25, 0.25]), "circular")
    >>> (U @ torch.ones(4, dtype=torch.float64)).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    _check_size(n)
    if h.ndim != 1:
        raise ValueError(f"h must be a filter (L,), got shape {tuple(h.shape)}")
    taps = check_even(len(h), "the length of h")
    fine = torch.arange(2 * n)
    # Every coarse sample that a tap can meet, those beyond the border among them.
    reach = torch.arange(-taps, n + taps)
    k = fine[:, None] - 2 * reach + taps // 2 - 1  # (2n, n + 2 taps): which tap meets which sample
    value = torch.where((k >= 0) & (k < taps), 2 * h.double()[k.clamp(0, taps - 1)], 0.0)
    source = border_index(reach, n, boundary)
    matrix = torch.zeros(2 * n, n, dtype=torch.float64)
    return matrix.index_add(1, source[source >= 0], value[:, source >= 0])


def ideal_matrix(n: int, nyquist: str = "zero") -> Tensor:
    """Returns the matrix of ideal, periodic upsampling by two along one axis, float64 (2n, n).

    The spectrum is copied, and the new bins are zero. An even n has a bin at its Nyquist frequency
    whose phase a real signal does not tell.

    Args:
        n: coarse samples, >= 1.
        nyquist: "zero" drops that bin, and the operator commutes with every shift of what it
            keeps; "split" shares it between both signs, which interpolates the samples but does
            not commute.

    Raises:
        ValueError: an argument outside these ranges.

    >>> U = ideal_matrix(6)
    >>> torch.allclose(U @ U.T @ U / 2, U)
    True
    """
    _check_size(n)
    if nyquist not in ("zero", "split"):
        raise ValueError(f"nyquist must be 'zero' or 'split', got {nyquist!r}")
    distance = (torch.arange(2 * n, dtype=torch.float64)[:, None] - 0.5) / 2 - torch.arange(n)
    k = torch.arange(1, (n - 1) // 2 + 1, dtype=torch.float64)
    wave = 2 * torch.cos(2 * math.pi / n * distance[..., None] * k).sum(-1)
    matrix = 1 + wave
    if nyquist == "split" and n % 2 == 0:
        matrix = matrix + torch.cos(math.pi * distance)
    return matrix / n


def _check_size(n: int) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"n must be an int >= 1, got {n!r}")
