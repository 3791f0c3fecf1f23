"""Checks of arguments, at the door: each raises a ValueError that names what is wrong.

A sentence says the argument, what it was, and what it has to be.

>>> from equitutor.checks import check_choice, check_count
>>> check_choice("split", "test", ("train", "test"))
>>> check_count("n", 3)
"""

import math
from collections.abc import Collection

import torch
from torch import Generator, Tensor

__all__ = [
    "check_choice",
    "check_clouds",
    "check_count",
    "check_even",
    "check_generator",
    "check_input",
    "check_maps",
    "check_number",
    "check_positive",
]


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise a ValueError that names the argument unless ``value`` is one of ``choices``.

    Example:
        >>> check_choice("split", "valid", ("train", "test"))
        Traceback (most recent call last):
        ValueError: split is 'valid', but has to be 'train' or 'test'
    """
    if value not in choices:
        *most, last = map(repr, choices)
        known = f"{', '.join(most)} or {last}" if most else last
        raise ValueError(f"{name} is {value!r}, but has to be {known}")


def check_count(name: str, value: int, least: int = 1) -> None:
    """Raise a ValueError that names the argument unless ``value`` is an int >= ``least``.

    Example:
        >>> check_count("n", 0)
        Traceback (most recent call last):
        ValueError: n is 0, but has to be an int of at least 1
    """
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is {value!r}, but has to be an int of at least {least}")


def check_number(value: float, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """Returns `value` as a float; raises ValueError unless it is finite, in [low, high], no bool.

    >>> check_number(0.25, "cutoff", 0, 0.5)
    0.25
    """
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not (real and math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} must be a finite number in [{low:g}, {high:g}], got {value!r}")
    return float(value)


def check_positive(name: str, value: float) -> None:
    """Returns nothing; raises ValueError unless `value` is a finite number > 0.

    >>> check_positive("reach", 0.5)
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")


def check_even(value: int, name: str) -> int:
    """Returns `value`; raises ValueError unless it is a positive even int.

    >>> check_even(12, "taps")
    12
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 2 or value % 2:
        raise ValueError(f"{name} must be a positive even int, got {value!r}")
    return value


def check_generator(generator: Generator) -> None:
    """Returns nothing; raises ValueError unless `generator` is one of PyTorch.

    >>> check_generator(torch.Generator())
    """
    if not isinstance(generator, Generator):  # None would draw from the global state
        raise ValueError(f"generator must be a torch.Generator, got {generator!r}")


def check_maps(x: Tensor, name: str = "x") -> None:
    """Returns nothing; raises ValueError unless `x` holds real floating-point maps (B, C, H, W).

    >>> check_maps(torch.zeros(1, 1, 4, 4))
    """
    if not isinstance(x, Tensor) or x.ndim != 4 or not x.numel() or not x.is_floating_point():
        got = f"shape {tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else repr(x)[:80]
        raise ValueError(f"{name} must be non-empty floating-point maps (B, C, H, W), got {got}")


def check_clouds(points: Tensor) -> None:
    """Returns nothing; raises ValueError unless `points` is a batch of clouds (B, N, 3).

    >>> check_clouds(torch.zeros(1, 4, 3))
    """
    if (
        not isinstance(points, Tensor) or points.ndim != 3 or points.shape[-1] != 3
        or 0 in points.shape or not points.is_floating_point()
    ):  # fmt: skip
        found = (
            f"{points.dtype} {tuple(points.shape)}" if isinstance(points, Tensor) else type(points)
        )
        raise ValueError(f"points must be floating point clouds (B, N, 3), got {found}")


def check_input(name: str, x: Tensor, wanted: str, fits: bool, weight: Tensor) -> None:
    """Raises ValueError unless `x` is a tensor that `fits`, of the dtype of a network's weight.

    Args:
        name: of the argument. wanted: its shape in words.
        fits: whether the shape is as wanted; sides of length 0 never are, an empty batch is.

    >>> check_input("x", torch.zeros(2, 3), "(B, 3)", True, torch.zeros(1))
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} must be a tensor {wanted}, got {type(x).__name__}")
    if not fits or 0 in x.shape[1:]:
        raise ValueError(f"{name} must be {wanted}, got {tuple(x.shape)}")
    if x.dtype == weight.dtype:
        return
    if not (x.is_floating_point() and torch.is_autocast_enabled(x.device.type)):  # casts by itself
        raise ValueError(f"{name} must be {weight.dtype}, as the network is, got {x.dtype}")
