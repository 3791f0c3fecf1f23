"""Checks of arguments that networks of several modules share."""

import torch
from torch import Tensor


def check_count(name: str, value: int, least: int = 1) -> int:
    """Returns `value`; raises ValueError unless it is an int >= `least`.

    >>> check_count("k", 3)
    3
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an int >= {least}, got {value!r}")
    return value


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
