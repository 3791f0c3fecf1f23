"""What `diagnose` needs of its arguments: without it, its finding would mean nothing."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from equitutor.orbits.batching import all_tensors, check_plain, count
from equitutor.orbits.orbit import Orbit


def check_arguments(model, orbit, actions, tolerance, elements, samples, perturb) -> None:
    """Raises a ValueError that names the argument where one of `diagnose` does not fit."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch module with layers, got {type(model).__name__}")
    if not isinstance(orbit, Orbit):
        raise ValueError(f"orbit must be an Orbit, got {type(orbit).__name__}")
    if all(g == orbit.identity for g in range(len(orbit))):
        raise ValueError(f"orbit must hold more than the identity, got {orbit.name!r}")
    for name, value, least in (("elements", elements, 2), ("samples", samples, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be an int >= {least}, got {value!r}")
    for name, value in (("tolerance", tolerance), ("perturb", perturb)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
    if actions is not None and not isinstance(actions, dict):
        raise ValueError(f"actions must be a dict or None, got {type(actions).__name__}")
    known = {name for name, _ in model.named_modules()}
    for name, act in (actions or {}).items():
        if name not in known:
            raise ValueError(f"actions names the layer {name!r}, but the model has no such module")
        if not callable(act):
            raise ValueError(f"actions must give {name!r} a function (feature, i), got {act!r}")


def check_inputs(x: Any, orbit: Orbit, elements: list[int]) -> None:
    """Raises a ValueError unless the inputs are finite and some element of the orbit moves them.

    >>> from equitutor.orbits import shifts
    >>> check_inputs(torch.ones(1, 1, 4, 4), shifts(4, 4), [1, 2])
    Traceback (most recent call last):
    ValueError: x must change along the orbit, but 'shifts of 4 x 4, step 1' leaves it alone
    """
    parts = all_tensors(x)
    if not parts:
        raise ValueError(f"x must hold a tensor, got {type(x).__name__} without one")
    for part in parts:
        check_plain(part, "x")
        if part.is_floating_point() and part.dtype.itemsize < 2:
            raise ValueError(f"x must have 16 bits or more, got {part.dtype}: cast it wider")
    if not all(part.isfinite().all() for part in parts):
        raise ValueError("x must hold finite numbers, got NaN or infinity")
    for g in elements:
        there = orbit.act_x(x, g)
        if count(there, "act_x(x)") != count(x, "x"):
            raise ValueError(f"orbit must keep the number of samples, but act_x of {orbit.name!r} "
                             f"makes {count(there, 'x')} of {count(x, 'x')}")  # fmt: skip
        moved = all_tensors(there)
        if len(moved) != len(parts) or not all(map(torch.equal, moved, parts)):
            return
    raise ValueError(f"x must change along the orbit, but {orbit.name!r} leaves it alone")
