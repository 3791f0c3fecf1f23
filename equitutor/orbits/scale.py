"""What an error is compared with: how much an output varies over samples, never its offset.

Who adds a million to an output changes nothing about it but what rounding does to it, so an error
divided by the size of the output could be made as small as one likes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from equitutor.orbits import batching
from equitutor.runtime import coarsest, rounding, tolerance, widest, working

_SHIFT = 0.1  # of a made-up sample, relative to the spread of the numbers in the real ones
_DROWNED = 0.05  # rounding, relative to the variation, beyond which a measurement is blind


def variation(y: Tensor) -> float:
    """Returns the largest difference of one entry of `y` (N, ...) between two samples.

    >>> variation(torch.tensor([[5.0, 100.0], [7.0, 101.0]]))
    2.0
    """
    if not y.numel():
        return 0.0
    return differences(y.amax(0)[None], y.amin(0)[None]).item()


def extremes(batches: Iterable[Tensor]) -> Tensor:
    """Returns the smallest and the largest value of each entry of (N, ...) batches, (2, ...).

    They have the variation and the size of all the batches together.

    >>> extremes([torch.tensor([[1.0, 5.0]]), torch.tensor([[2.0, 4.0], [3.0, 4.0]])]).tolist()
    [[1.0, 4.0], [3.0, 5.0]]
    """
    low = high = None
    for y in batches:
        one, two = y.amin(0), y.amax(0)
        low = one if low is None else torch.minimum(low, one)
        high = two if high is None else torch.maximum(high, two)
    return torch.stack([low, high])


def rounded(y: Tensor, *also: Tensor | torch.dtype) -> float:
    """Returns what rounding alone may do to an entry of `y`: it grows with the offset.

    Args:
        y: the output, of any shape; integers and truth values are exact.
        also: tensors or dtypes that it was computed from; the least precise one counts.

    >>> rounded(torch.full((2,), 1e6)) > 1
    True
    """
    if not y.is_floating_point() or not y.numel():
        return 0.0
    return rounding(coarsest(y, *also)) * y.abs().max().item()


def silence(y: Tensor, *also: Tensor | torch.dtype) -> str:
    """Returns why an output (N, ...) says nothing about equivariance, or "" where it does.

    It does not where it is the same for all samples, or where rounding at its size is a good part
    of how much it varies.

    Args:
        y, also: as in `rounded`.

    >>> silence(torch.ones(3, 2))
    'constant output: it is the same for every input'
    >>> silence(torch.eye(2)), silence(torch.eye(2) + 1e5).startswith("its offset")
    ('', True)
    """
    varies, noise = variation(y), rounded(y, *also)
    if not math.isfinite(varies):
        return "it varies by more than a number can hold"
    if varies <= noise:
        return "constant output: it is the same for every input"
    if noise > max(_DROWNED, 4 * tolerance(coarsest(y, *also))) * varies:
        return (
            f"its offset drowns it: it varies by {varies:.2g} over the samples, of which rounding "
            f"at its size may be {noise:.2g}"
        )
    return ""


def with_another(x: Any) -> Any:
    """Returns the batch with a made-up sample behind it: the first one, its numbers changed a bit.

    Where there is one sample, or all lie on one orbit, an output that depends on nothing looks like
    one that is invariant. This tells them apart. Whole numbers change where there are no others:
    they are drawn from those of the sample, so that each stays one that the model knows.

    >>> with_another(torch.rand(1, 3)).shape
    torch.Size([2, 3])
    """
    draw = torch.Generator().manual_seed(0)

    def changed(t: Tensor) -> Tensor:
        exact = t.to(working(t.dtype))
        spread = exact.std().item() if t.numel() > 1 else abs(exact.item())
        step = torch.randn(t.shape, generator=draw).to(exact)
        return (exact + _SHIFT * (spread or 1.0) * step).to(t.dtype)

    def drawn(t: Tensor) -> Tensor:
        at = torch.randint(max(1, t.numel()), t.shape, generator=draw).to(t.device)
        return t.flatten()[at] if t.numel() else t

    one = batching.take(x, 0, 1)
    if not batching.tensors(one):
        return batching.join([x, batching.each_tensor(one, drawn, lambda t: t.ndim > 0)])
    return batching.join([x, batching.each_tensor(one, changed)])


def differences(a: Tensor, b: Tensor) -> Tensor:
    """Returns the largest |a - b| of each sample, (N,), in the widest precision there is."""
    exact = widest(a.device)
    if a.is_floating_point() or b.is_floating_point():
        off = a.to(exact) - b.to(exact)
    else:  # float64 would round large ones, and small types would wrap
        off = a.to(torch.int64) - b.to(torch.int64)
    return off.abs().reshape(len(a), -1).amax(1).to(exact)
