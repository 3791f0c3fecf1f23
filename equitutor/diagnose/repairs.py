"""What else is wrong: each layer by itself, its twin that is in order, and what repairing it gains.

Behind the first layer that loses equivariance nothing moves as it should any more, so a layer is
tried alone: it is given its own inputs, rolled on their own grid. Two wrappers mend any layer that
looks at a neighborhood, whatever its class: `Circular` shows it the torus in place of a border,
`Anchored` chooses the cells of its stride by the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from equitutor.actions import roll_images
from equitutor.diagnose.shares import Scale, off
from equitutor.diagnose.watching import OWN, Event
from equitutor.methods.polyphase import PolyOrder
from equitutor.orbits import batching
from equitutor.orbits.models import answer
from equitutor.orbits.orbit import Orbit
from equitutor.orbits.scale import silence

_REACHES = 4, 16  # cells that a layer sees of the torus beyond each border: what does, is kept
_GAIN_ELEMENTS = 4


@dataclass(frozen=True)
class Suspect:
    """A layer that is not equivariant by itself.

    Attributes:
        layer, kind: its name and class.
        cause: what it does, in words.
        remedy: what usually helps, in one line; "" where nothing is known.
        error: its own error on its own inputs, relative to how much its output varies.
        gain: the share of the model's error that goes away when this layer alone is repaired, in a
            copy: for images by the wrappers of this module, else by `patching.Turned`; negative
            where it grows. None: not measured, there is no such repair, or behind it the output
            says nothing any more.
    """

    layer: str
    kind: str
    cause: str
    remedy: str
    error: float
    gain: float | None = None

    def __str__(self) -> str:
        gain = (
            "" if self.gain is None else f" Repaired alone, the error changes by {-self.gain:+.0%}."
        )
        remedy = f" Try: {self.remedy}." if self.remedy else ""
        return f"{self.layer} ({self.kind}) {self.cause}.{remedy}{gain}"


class Circular(nn.Module):
    """A layer that sees its input as a torus: more of it around, and that cut off again.

    >>> conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    >>> x = torch.rand(1, 1, 6, 6)
    >>> torch.allclose(Circular(conv)(x.roll(1, 3)), Circular(conv)(x).roll(1, 3), atol=1e-6)
    True
    """

    def __init__(self, layer: nn.Module, reach: int = _REACHES[-1]):
        super().__init__()
        self.layer, self.reach = layer, reach

    def forward(self, x: Tensor) -> Any:
        plain = self.layer(x)
        step = stride_of(x, plain)
        around = [min(self.reach, side // step) * step for side in x.shape[-2:]]
        wide = torch.cat([x[..., -around[0] :, :], x, x[..., : around[0], :]], -2)
        wide = torch.cat([wide[..., -around[1] :], wide, wide[..., : around[1]]], -1)
        y = self.layer(wide)  # (B, C, h + 2 a, w + 2 a), a of the cells of its own grid
        for axis, a in zip((-2, -1), around, strict=True):
            y = y.narrow(axis, a // step, plain.shape[axis])
        return y


class Anchored(nn.Module):
    """A layer that counts the cells of its stride from an anchor that moves with the input."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(PolyOrder(stride_of(x, self.layer(x)))(x))


def stride_of(x: Tensor, y: Tensor) -> int:
    """Returns by how much a layer makes images coarser: 2 for 6 x 6 -> 3 x 3; at least 1.

    >>> stride_of(torch.zeros(1, 1, 6, 6), torch.zeros(1, 1, 3, 3))
    2
    """
    return max(1, round(x.shape[-1] / max(1, y.shape[-1])))


def suspects(
    events: list[Event], size: tuple[int, int], rolls: Sequence[tuple[int, int]], tolerance: float
) -> list[tuple[Suspect, nn.Module | None]]:
    """Returns the layers that are not equivariant by themselves, each with its mended twin.

    A layer is given its own inputs, rolled. It is to follow the rolls of the orbit, in the pixels
    of its own grid; where these are parts of one of them, whole ones.

    Args:
        events: of one run, as `Watch` records them; layers that have weights of their own or no
            layers in them, from one batch of images (B, C, H, W) to another, are tried.
        size, rolls: of the model's input, and what the orbit does to it, pixels.
        tolerance: largest error that counts as rounding.
    """
    found, seen = [], set()
    unit = math.gcd(*size, *(by for roll in rolls for by in roll))
    for event in events:
        module = event.module
        whole = (
            not next(module.children(), None) or next(module.parameters(False), None) is not None
        )
        if event.leaves or not whole or event.name in (OWN, *seen) or len(event.tensors) != 1:
            continue
        seen.add(event.name)
        if any(event.name.startswith(f"{s.layer}.") for s, _ in found):
            continue  # a part of one that is named already
        x = event.tensors[0]
        if x.ndim != 4 or min(x.shape[-2:]) < 2:
            continue
        suspect = _tried(event, x, max(1, round(unit * x.shape[-1] / size[1])), tolerance)
        found += [suspect] if suspect else []
    return found


def _tried(
    event: Event, x: Tensor, by: int, tolerance: float
) -> tuple[Suspect, nn.Module | None] | None:
    layer, kind = event.module, type(event.module).__name__
    y = _output(layer, x)
    if y is None or y.ndim != 4:
        return None
    step = stride_of(x, y)
    own, cells = _error(layer, x, by), math.lcm(step, by)
    if own <= tolerance:
        return None
    whole = own if cells == by else _error(layer, x, cells)
    twins = [layer] if whole <= tolerance else [Circular(layer, reach) for reach in _REACHES]
    mended = (t for t in twins if t is layer or _error(t, x, cells) <= tolerance)
    twin = next(mended, None)
    if twin is None:
        cause, remedy = "treats places differently", "one weight for all places"
        return Suspect(event.name, kind, cause, remedy, own), None
    causes, remedies = [], []
    if twin is not layer:
        causes.append("shows the border of the image")
        remedies.append("circular padding")
    around = twin if twin is not layer else Circular(layer, _REACHES[0])
    if cells > by and _error(around, x, by) > tolerance:
        causes.append(f"keeps every {step}{'nd' if step == 2 else 'th'} pixel by its place")
        remedies.append("no stride, an anchored grid, or a low-pass filter before it")
        twin = Anchored(around)
    causes, remedies = causes or ["treats places differently"], remedies or [""]
    return Suspect(event.name, kind, " and ".join(causes), "; ".join(remedies), own), twin


def _output(layer: nn.Module, x: Tensor) -> Tensor | None:
    try:
        parts = batching.tensors(answer(layer, x.clone()))
    except Exception:  # it wants more than the one tensor
        return None
    return parts[0] if len(parts) == 1 else None


def _error(layer: nn.Module, x: Tensor, by: int) -> float:
    """Returns how far a layer is off when its input rolls by so many pixels down and right."""
    still, moved = _output(layer, x), _output(layer, roll_images(x, by, by))
    if still is None or moved is None or still.shape != moved.shape:
        return float("inf")
    cells = by * still.shape[-1] / x.shape[-1]
    wanted = [still]  # invariant
    if cells == int(cells):
        wanted.append(roll_images(still, int(cells), int(cells)))
    else:  # what a good layer may do: roll by a whole cell, or not
        wanted += [roll_images(still, a, b) for a in (0, 1) for b in (0, 1)]
    size = Scale(still)
    return min(size.share(moved - w) for w in wanted)


def measured(
    model: nn.Module,
    x: Any,
    orbit: Orbit,
    tried: list[int],
    found: list[tuple[Suspect, nn.Module | None]],
) -> list[Suspect]:
    """Returns the suspects with the gain of repairing each alone, the largest first.

    Args:
        model: the model, in a state that may be changed for a while.
        x, orbit, tried: inputs and elements, of which a few are used.
        found: from `suspects`.
    """
    elements = tried[:_GAIN_ELEMENTS]
    moved = batching.join([x, *(orbit.act_x(x, g) for g in elements)])
    n = batching.count(x, "x")

    def error() -> float | None:
        y = answer(model, batching.each_tensor(moved, Tensor.clone))
        if any(map(silence, batching.tensors(y))):  # a constant is invariant, and no repair
            return None
        part = lambda k: batching.each_tensor(y, lambda t: t[k * n : (k + 1) * n] if t.ndim else t)
        shares = [off(part(0), part(k), lambda y, g=g: orbit.act_y(y, g))
                  for k, g in enumerate(elements, 1)]  # fmt: skip
        return sum(shares) / len(shares)

    before, ranked = error(), []
    for suspect, twin in found:
        gain = None
        if twin is not None and before:
            with suppress(Exception), swapped(model, suspect.layer, twin):  # it may not fit there
                after = error()
                gain = None if after is None else 1 - after / before
        ranked.append(replace(suspect, gain=gain))
    return sorted(ranked, key=lambda s: -float("inf") if s.gain is None else s.gain, reverse=True)


@contextmanager
def swapped(model: nn.Module, name: str, twin: nn.Module) -> Iterator[None]:
    parent = model.get_submodule(name.rpartition(".")[0])
    key = name.rpartition(".")[2]
    before = parent._modules[key]
    twin.train(before.training)
    parent._modules[key] = twin
    try:
        yield
    finally:
        parent._modules[key] = before
