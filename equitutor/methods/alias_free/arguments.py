"""Checks of arguments that the modules of this folder share."""

import math

from torch import Tensor

__all__ = ["check_even", "check_maps", "check_number"]


def check_number(value: float, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """Returns `value` as a float; raises ValueError unless it is finite, in [low, high], no bool.

    >>> check_number(0.25, "cutoff", 0, 0.5)
    0.25
    """
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not (real and math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} must be a finite number in [{low:g}, {high:g}], got {value!r}")
    return float(value)


def check_even(value: int, name: str) -> int:
    """Returns `value`; raises ValueError unless it is a positive even int.

    >>> check_even(12, "taps")
    12
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 2 or value % 2:
        raise ValueError(f"{name} must be a positive even int, got {value!r}")
    return value


def check_maps(x: Tensor, name: str = "x") -> None:
    """Returns nothing; raises ValueError unless `x` holds real floating-point maps (B, C, H, W).

    >>> import torch; check_maps(torch.zeros(1, 1, 4, 4))
    """
    if not isinstance(x, Tensor) or x.ndim != 4 or not x.numel() or not x.is_floating_point():
        got = f"shape {tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else repr(x)[:80]
        raise ValueError(f"{name} must be non-empty floating-point maps (B, C, H, W), got {got}")
