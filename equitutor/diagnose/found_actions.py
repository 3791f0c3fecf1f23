"""Guess, from its values alone, how a hidden feature moves when the input moves.

A hidden feature T declares no action. Each `Candidate` is a guess rho; what remains of
T(g x) - rho(g) T(x) over elements and samples says whether the guess is right.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equitutor.actions import transform_scalar
from equitutor.diagnose.matching import best_roll, match, permuted
from equitutor.orbits.batching import each_tensor, tensors
from equitutor.orbits.orbit import Orbit
from equitutor.runtime import tolerance, widest, working

Error = Callable[[Tensor, Tensor, int], Tensor | None]  # (T(x), T(g x), g) -> differences, or None


@dataclass(frozen=True)
class Candidate:
    """A guess: its name in words, and what is left over when it is applied.

    `forces`: it says alone how T(x) moves, without a look at T(g x).
    """

    name: str
    error: Error
    forces: bool = True

    def moved(self, a: Tensor, g: int) -> Tensor | None:
        """Returns T(x) as the guess moves it by element g; None where the shape does not fit."""
        left = self.error(a, torch.zeros_like(a), g)
        return None if left is None else -left


@dataclass(frozen=True)
class Moves:
    """What the elements of an orbit do to the pixels, or to the points, of an input."""

    kind: str  # "image", "points" or "other"
    size: tuple[int, int] = (0, 0)
    turns: tuple[int, ...] = ()  # element of D4, then the roll (down, right)
    rolls: tuple[tuple[int, int], ...] = ()
    matrices: Tensor | None = None  # (G, d, d), d = 2 or 3


def moves(x: Any, orbit: Orbit, elements: list[int]) -> Moves:
    """Returns what the orbit does to the input, found by moving numbered pixels or unit vectors.

    Args:
        x: batch of inputs.
        orbit: the orbit.
        elements: indices of the elements to look at.

    Raises ValueError where an orbit of images moves no whole pixels: it blurs, so that nothing
    could be exact.

    >>> from equitutor.orbits import shifts
    >>> moves(torch.rand(1, 1, 4, 4), shifts(4, 4), [0, 5]).rolls
    ((0, 0), (1, 1))
    """
    parts = tensors(x)
    if not parts:
        return Moves("other")
    if parts[0].ndim != 4:
        found = _as_matrices(x, orbit, elements)
        return Moves("other") if found is None else Moves("points", matrices=found)
    part = parts[0].to(working(parts[0].dtype))  # else numbers of pixels would be equal
    height, width = part.shape[-2:]
    numbers = torch.arange(1, height * width + 1, dtype=part.dtype, device=part.device)
    numbers = numbers.view(1, 1, height, width)
    index = each_tensor(x, lambda t: numbers.expand(1, t.shape[1], -1, -1) if t.ndim == 4 else t)
    turns, rolls = [], []
    for g in elements:
        here = _as_roll(tensors(index)[0], tensors(orbit.act_x(index, g))[0].abs())
        if here is None:
            raise ValueError(
                f"orbit must move whole pixels, so that a difference can be told from a blur, but "
                f"element {g} ({orbit.label(g)}) of {orbit.name!r} does not: use shifts, quarter "
                f"turns or flips"
            )
        turns.append(here[0])
        rolls.append(here[1:])
    return Moves("image", (height, width), tuple(turns), tuple(rolls))


def _as_matrices(x: Any, orbit: Orbit, elements: list[int]) -> Tensor | None:
    """Returns the matrices (G, d, d) by which vectors (..., d) among the inputs move, or None.

    The first tensor that moves is looked at: positions in a cloud or a graph, vectors, in any
    container, of two or three components.
    """
    before = tensors(x)
    after = [tensors(orbit.act_x(x, g)) for g in elements]
    if any([t.shape for t in moved] != [t.shape for t in before] for moved in after):
        return None
    moving = (
        k for k, t in enumerate(before) if not all(torch.equal(t, moved[k]) for moved in after)
    )
    k = next(moving, None)
    if k is None or before[k].ndim < 2 or before[k].shape[-1] not in (2, 3):
        return None
    exact = widest(before[k].device)
    rows = before[k].to(exact).flatten(0, -2)  # (n, d)
    turned = torch.stack([moved[k].to(exact).flatten(0, -2) for moved in after])  # (G, n, d)
    found = (torch.linalg.pinv(rows) @ turned).mT  # T(v) = M v, fitted to all vectors
    near = tolerance(before[k].dtype) * rows.abs().max().item()
    return found if torch.allclose(rows @ found.mT, turned, rtol=0, atol=near) else None


def _as_roll(index: Tensor, moved: Tensor) -> tuple[int, int, int] | None:
    """Returns (turn, down, right) so that `moved` is `index`, turned and then rolled, or None."""
    if moved.shape != index.shape:
        return None
    for turn in range(8) if index.shape[-1] == index.shape[-2] else (0, 2, 4, 6):
        turned = transform_scalar(index, turn)
        hit = (moved[0, 0] == turned[0, 0, 0, 0]).nonzero()
        if len(hit) == 1:
            down, right = hit[0].tolist()
            if torch.equal(turned.roll((down, right), (2, 3)), moved):
                return turn, down, right
    return None


def candidates(found: Moves, orbit: Orbit, samples: int, irreps: list) -> Iterator[Candidate]:
    """Returns the guesses for hidden features, the simplest first.

    Args:
        found: from `moves`; g below counts its elements.
        orbit: the orbit.
        samples: number of inputs in a batch.
        irreps: e3nn irreps that some module of the model declares.

    >>> [c.name for c in candidates(Moves("other"), None, 1, [])]
    ['invariant']
    """
    yield Candidate("invariant", lambda a, b, g: b - a)
    if found.kind == "points":
        yield from _of_points(found, orbit, irreps)
    if found.kind == "image":
        yield from _of_images(found, samples)


# Points ------------------------------------------------------------------------------------


def _of_points(found: Moves, orbit: Orbit, irreps: list) -> Iterator[Candidate]:
    matrix, d = lambda a, g: found.matrices[g].to(a), found.matrices.shape[-1]

    def along(axis: int) -> Error:
        def error(a, b, g):
            if not -a.ndim < axis or a.shape[axis] != d:
                return None
            return b - (a.movedim(axis, -1) @ matrix(a, g).T).movedim(-1, axis)

        return error

    def stacked(a, b, g):
        if a.shape[-1] % d or a.shape[-1] == d:
            return None
        return b - (a.unflatten(-1, (-1, d)) @ matrix(a, g).T).flatten(-2)

    def conjugated(a, b, g):
        if a.ndim < 3 or a.shape[-2:] != (d, d):
            return None
        return b - matrix(a, g) @ a @ matrix(a, g).T

    yield Candidate("vectors turn along", along(-1))
    yield Candidate("vectors (next to last axis) turn along", along(-2))
    yield Candidate("stacked vectors turn along", stacked)
    yield Candidate("matrices R M R^T", conjugated)
    for ir in irreps if d == 3 else ():
        yield declared(ir, found)
    if orbit.kind == "finite":
        for axis in (1, 2, 3):
            yield Candidate(f"axis {axis} is permuted, as a group permutes its elements",
                            permuted(axis), forces=False)  # fmt: skip


def declared(irreps, found: Moves) -> Candidate:
    """Returns the guess that the last axis moves as e3nn irreps, for an orbit of points."""
    cache: dict[int, Tensor] = {}

    def error(a, b, g):
        if a.shape[-1] != irreps.dim:
            return None
        if g not in cache:
            cache[g] = irreps.D_from_matrix(found.matrices[g].cpu().to(widest()))
        return b - a @ cache[g].to(a).T

    return Candidate(f"irreps {irreps}", error)


def declared_irreps(module: nn.Module, leaves: bool) -> list:
    """Returns the e3nn irreps that a module declares for its outputs, or for each of its inputs.

    >>> declared_irreps(nn.Linear(1, 1), True)
    []
    """
    if "e3nn" not in sys.modules:
        return []
    from e3nn.o3 import Irreps

    names = ["irreps_out"] if leaves else ["irreps_in1", "irreps_in2"]
    if not leaves and not hasattr(module, "irreps_in1"):
        names = ["irreps_in"]
    found = []
    for name in names:
        try:
            found.append(Irreps(getattr(module, name)))
        except (AttributeError, ValueError, TypeError, AssertionError):
            return found
    return found


# Images ------------------------------------------------------------------------------------


def _of_images(found: Moves, samples: int) -> Iterator[Candidate]:
    def first(a):  # (B, C, h, w), or (B, C, n, h, w)
        return a if a.ndim == 4 else a.flatten(1, 2) if a.ndim == 5 else None

    def last(a):  # (B, h, w, D)
        return a.permute(0, 3, 1, 2) if a.ndim == 4 else None

    def moved(a, g):  # exactly as the image, on a coarser or finer grid
        ratio = [a.shape[k - 2] / found.size[k] for k in (0, 1)]
        by = [found.rolls[g][k] * ratio[k] for k in (0, 1)]
        if any(abs(v - round(v)) > 1e-9 for v in by) or not _turns(a, found.turns[g]):
            return None
        return transform_scalar(a, found.turns[g]).roll([round(v) for v in by], (2, 3))

    def like_image(view) -> Error:
        def error(a, b, g):
            a, b = view(a), view(b)
            wanted = None if a is None else moved(a, g)
            return None if wanted is None else b - wanted

        return error

    def permuted_channels(a, b, g):
        a, b = first(a), first(b)
        wanted = None if a is None else moved(a, g)
        return None if wanted is None else permuted(1)(wanted, b, g)

    def rolled(view) -> Error:
        def error(a, b, g):
            a, b = view(a), view(b)
            if a is None or not _turns(a, found.turns[g]):
                return None
            return b - best_roll(transform_scalar(a, found.turns[g]), b)

        return error

    def tokens(view) -> Error:  # each sample has a permutation of its own
        def error(a, b, g):
            a, b = view(a), view(b)
            if a is None or len(a) % samples:
                return None
            a, b = (t.reshape(samples, -1, t.shape[-1]) for t in (a, b))
            return torch.stack([match(u, v) for u, v in zip(a, b, strict=True)])

        return error

    yield Candidate("moves like the image", like_image(first))
    yield Candidate("moves like the image (channels last)", like_image(last))
    if any(found.turns):
        yield Candidate("moves like the image, channels permuted", permuted_channels)
    yield Candidate("rolls by whole cells, chosen by the data", rolled(first))
    yield Candidate("rolls by whole cells, chosen by the data (channels last)", rolled(last))
    yield Candidate("a permutation of tokens", tokens(lambda a: a if a.ndim > 2 else None))
    yield Candidate("a permutation of tokens (tokens last)",
                    tokens(lambda a: a.mT if a.ndim == 3 else None))  # fmt: skip
    yield Candidate("a permutation of entries",
                    lambda a, b, g: permuted(1)(a, b, g) if a.ndim == 2 else None)  # fmt: skip


def _turns(a: Tensor, turn: int) -> bool:
    return a.shape[-1] == a.shape[-2] or turn in (0, 2, 4, 6)
