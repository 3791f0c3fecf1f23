"""Batches of anything: tensors, arrays, lists, and tuples or dicts of these."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def count(data: Any, name: str) -> int:
    """Returns the number of samples in `data`: the common length of its parts.

    Raises ValueError, naming the argument, for an empty batch or parts of unequal length.

    >>> count((torch.zeros(3, 2), ["a", "b", "c"]), "x")
    3
    """
    parts = _parts(data)
    if parts is not None:
        sizes = {count(part, name) for part in parts}
        if len(sizes) != 1:
            raise ValueError(f"{name} must have parts of equal length, got {sorted(sizes)}")
        return sizes.pop()
    if (
        not hasattr(data, "__len__")
        or isinstance(data, str)
        or (isinstance(data, Tensor | np.ndarray) and data.ndim == 0)
    ):
        raise ValueError(f"{name} must be a batch of samples, got {type(data).__name__}")
    if len(data) == 0:
        raise ValueError(f"{name} must hold at least one sample, got none")
    return len(data)


def take(data: Any, start: int, stop: int) -> Any:
    """Returns samples `start` ... `stop` - 1 of a batch, as a batch of the same structure.

    >>> take({"a": [1, 2, 3]}, 1, 3)
    {'a': [2, 3]}
    """
    return _map(lambda part: part[start:stop], data)


def join(batches: list) -> Any:
    """Returns the batches behind one another, as one batch.

    >>> join([(torch.zeros(1),), (torch.ones(2),)])
    (tensor([0., 1., 1.]),)
    """
    first = batches[0]
    if len(batches) == 1:
        return first
    if isinstance(first, dict):
        return {key: join([b[key] for b in batches]) for key in first}
    if isinstance(first, tuple):
        return tuple(join(list(parts)) for parts in zip(*batches, strict=True))
    if isinstance(first, Tensor):
        return torch.cat(batches)
    if isinstance(first, np.ndarray):
        return np.concatenate(batches)
    return [sample for batch in batches for sample in batch]


def move(data: Any, device: torch.device | str | None) -> Any:
    """Returns the batch with its tensors on `device`; None leaves them where they are.

    >>> move([torch.zeros(1), "text"], "cpu")
    [tensor([0.]), 'text']
    """
    if device is None:
        return data
    if isinstance(data, Tensor):
        return data.to(device, non_blocking=True)
    if isinstance(data, list):
        return [move(sample, device) for sample in data]
    return _map(lambda part: move(part, device), data) if _parts(data) is not None else data


def _parts(data: Any) -> list | None:
    if isinstance(data, dict):
        return list(data.values()) or None
    return list(data) if isinstance(data, tuple) and data else None


def _map(function, data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _map(function, part) for key, part in data.items()}
    if isinstance(data, tuple):
        return tuple(_map(function, part) for part in data)
    return function(data)
