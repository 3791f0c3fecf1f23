"""How far features and outputs are off, as shares of how much they vary over the samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from equitutor.orbits import batching
from equitutor.orbits.scale import rounded, variation

_SOUND = 1e-6  # a share that may be rounding, for float64
_ENTRY = 1e-4  # of the variation of a tensor: what one entry is taken to vary by at least


class Scale:
    """What errors of `y` (N, ...) are compared with: its variation, or its size if it has none.

    In float64, where a tensor as a whole is in order, each entry has to be so by its own variation,
    down to a small part of the largest: one in a large unit hides none beside it.

    >>> Scale(torch.tensor([[1e6 + 1.0], [1e6 + 3.0]]).double()).share(torch.tensor([0.5]).double())
    0.25
    """

    def __init__(self, y: Tensor):
        size = y.abs().max().item() if y.numel() else 0.0
        varies, self.noise = variation(y), rounded(y)
        self.constant = varies <= self.noise
        self.unit = size if self.constant else varies
        self.y = None if self.constant or y.dtype != torch.float64 else y

    def share(self, left: Tensor | None) -> float:
        """Returns the largest entry of an error in this scale; what rounding explains is zero.

        None, and whatever is not finite, is infinitely far off.
        """
        if left is None or not math.isfinite(self.unit):
            return math.inf
        worst = left.abs().max().item() if left.numel() else 0.0
        if not math.isfinite(worst):
            return math.inf
        if worst <= self.noise:
            return 0.0
        whole = worst / (self.unit or 1.0)
        if self.y is None or left.shape[1:] != self.y.shape[1:] or whole > _SOUND:
            return whole
        each = left.abs().amax(0)  # the units are made anew: kept, they would be half of all memory
        units = (self.y.amax(0) - self.y.amin(0)).clamp_(min=_ENTRY * self.unit)
        alone = (each / units).masked_fill_(each <= self.noise, 0.0).max().item()
        return alone if alone > _SOUND else whole


def off(still: Any, moved: Any, act: Callable[[Any], Any]) -> float:
    """Returns how far an output is from what it should be, the worst of its tensors in its scale.

    Args:
        still, moved: outputs (N, ...) at the input and at the input moved; any containers.
        act: how outputs are to move; of one that is for tensors, each has its own.

    >>> y = torch.tensor([[1.0], [3.0]]).double()
    >>> off((y, y), (y, y + 1), lambda y: y)
    0.5
    """
    try:
        wanted = batching.numbers(act(still))
    except Exception:  # for tensors, and not for what holds them
        wanted = []
        for y in batching.all_tensors(still):
            with suppress(Exception):  # of another shape: it cannot be right
                wanted += batching.numbers(act(y))
    parts = batching.numbers(still), batching.numbers(moved), wanted
    if len({tuple(y.shape for y in part) for part in parts[1:]}) > 1:
        return math.inf
    return max((Scale(a).share(b - w) for a, b, w in zip(*parts, strict=True)), default=math.inf)
