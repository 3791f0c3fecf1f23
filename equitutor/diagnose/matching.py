"""The roll, or the permutation of rows, that carries one feature to another best."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from equitutor.runtime import tolerance, widest, working

SUMS = 1e-4  # sums of rows that differ by more, relative to their size, are sums of other rows


def best_roll(a: Tensor, b: Tensor) -> Tensor:
    """Returns `a` (B, C, h, w), each sample rolled so that it agrees best with `b`.

    >>> a = torch.rand(2, 3, 4, 5)
    >>> torch.equal(best_roll(a, a.roll((1, 2), (2, 3))), a.roll((1, 2), (2, 3)))
    True
    """
    exact = (t.to(working(t.dtype)) for t in (a, b))  # half precision has no Fourier transform
    centered = [t - t.mean((2, 3), keepdim=True) for t in exact]
    one, two = (torch.fft.rfft2(t) for t in centered)
    agree = torch.fft.irfft2((two * one.conj()).sum(1), s=a.shape[-2:])  # (B, h, w)
    best = agree.flatten(1).argmax(1).tolist()
    steps = [divmod(k, a.shape[-1]) for k in best]
    return torch.stack([t.roll(s, (1, 2)) for t, s in zip(a, steps, strict=True)])


def permuted(axis: int) -> Callable[[Tensor, Tensor, int], Tensor | None]:
    """Returns what is left where entries along an axis change places, alike for all samples.

    >>> a = torch.rand(2, 3)
    >>> permuted(1)(a, a.flip(1), 0).abs().max().item()
    0.0
    """

    def error(a, b, g):
        if a.ndim <= axis or a.shape[axis] < 2:
            return None
        a, b = (t.movedim(axis, 0).flatten(1) for t in (a, b))
        return match(a, b)

    return error


def match(a: Tensor, b: Tensor) -> Tensor:
    """Returns rows of `b` (n, d) minus the rows of `a` that fit them, each row used once.

    >>> a = torch.rand(5, 3)
    >>> match(a, a[torch.randperm(5)]).abs().max().item()
    0.0
    """
    n = len(a)
    if n * n * a.shape[1] <= 10**8 and _alike(a, b):  # rounding cannot mislead a nearest neighbor
        exact = (t.to(working(t.dtype)) for t in (b, a))  # nor has it these distances
        near = torch.cdist(*exact, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
        if len(near.unique()) == n:
            return b - a[near]
    weight = torch.randn(a.shape[1], generator=torch.Generator().manual_seed(1))
    weight = weight.to(a.device, widest(a.device))
    order = [(t.to(weight.dtype) @ weight).argsort() for t in (a, b)]
    return b[order[1]] - a[order[0]]


def _alike(a: Tensor, b: Tensor) -> bool:
    """Returns whether the rows of `b` may be those of `a`: then their sums are the same."""
    near = max(SUMS, 1e3 * tolerance(a.dtype)) * a.abs().sum(0).max()
    return bool((a.sum(0) - b.sum(0)).abs().max() <= near)
