"""Checks of arguments that the penalties and their tuning share."""

import math
from collections.abc import Sequence

from torch import Tensor


def check_tensor(
    name: str, value: Tensor, count: int | None = None, lead: Sequence[int] = ()
) -> None:
    """Raises a ValueError unless the value is finite and >= 0, (count,) or (*lead, count)."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a tensor, got {value!r}")
    if count is not None and tuple(value.shape) not in {(count,), (*lead, count)}:
        raise ValueError(
            f"{name} must be ({count},), one a group, or {(*lead, count)}, got {tuple(value.shape)}"
        )
    if not ((value >= 0) & value.isfinite()).all():
        raise ValueError(f"{name} must be finite and >= 0, got {value.tolist()}")


def check_number(name: str, value: float) -> None:
    """Raises a ValueError unless the value is a finite number >= 0."""
    if isinstance(value, bool) or not (isinstance(value, int | float) and 0 <= value < math.inf):
        raise ValueError(f"{name} must be finite and >= 0, got {value!r}")
