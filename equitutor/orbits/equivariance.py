"""From a measurement to an assertion: is f(rho_in(g) x) = rho_out(g) f(x)?"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from equitutor.orbits import batching, scale
from equitutor.orbits.evaluate import chunks, transformed
from equitutor.orbits.models import answer, device_of, lent, modules_of
from equitutor.orbits.orbit import Orbit, round_trip
from equitutor.runtime import coarsest, rounding, tolerance, uncast


def equivariance_error(
    f: Callable[[Any], Any], x: Any, orbit: Orbit, batch: int = 256, relative: bool = False
) -> Tensor:
    """Returns |f(rho_in(g) x) - rho_out(g) f(x)|, its largest entry for each pair, (G, N).

    What the meter itself adds (resampling, rounding) is the same number on the orbit that goes and
    comes back: ``equivariance_error(f, x, orbits.round_trip(orbit))``, the floor of the
    measurement. Print it beside the error.

    Args:
        f: module (run in eval mode, without gradient) or callable; its outputs are tensors or
            arrays (NumPy, JAX), or tuples, dicts and dataclasses of these, or a list with an entry
            for each input.
        x: batch of N inputs.
        orbit: the elements; `orbit.act_y` says how outputs are to move.
        batch: pairs in a forward pass, >= 1.
        relative: divide by how much f varies over the samples, which no offset can change; each
            tensor of an output by its own. An output that does not vary has no relative error: NaN
            where it is right, infinity where it is wrong.

    Raises ValueError where an output is no tensor with one row for each input, or not finite.

    >>> from equitutor.orbits import shifts
    >>> blur = lambda x: (x + x.roll(1, -1)) / 2
    >>> equivariance_error(blur, torch.rand(2, 1, 4, 4), shifts(4, 4, output="image")).max().item()
    0.0
    """
    parts = _measure(f, x, orbit, batch)
    if not relative:
        return torch.stack([part.errors for part in parts]).amax(0)
    shares = []
    for part in parts:
        blind = part.varies <= part.noise
        shares.append(torch.where(part.errors > part.noise * blind, part.errors, 0.0)
                      / (0.0 if blind else part.varies))  # fmt: skip
    return torch.stack(shares).amax(0)


def assert_equivariant(
    f: Callable[[Any], Any],
    x: Any,
    orbit: Orbit,
    atol: float = 0.0,
    rtol: float | None = None,
    batch: int = 256,
) -> None:
    """Returns nothing; raises AssertionError where `f` is not equivariant on the orbits of `x`.

    It has to be shown: an output that is the same for every input, or whose offset is so large that
    rounding drowns it, says nothing about equivariance, and is refused as well; so are inputs that
    no element changes. Where an entry is off by more than rounding of itself, and that of larger
    ones beside it could be the cause, float64 decides.

    Args:
        f, x, orbit, batch: as in `equivariance_error`.
        atol: allowed absolute error.
        rtol: allowed error relative to how much f varies over the samples. None takes
            `runtime.tolerance` of the least precise dtype among x, the parameters and f(x), 2e-5
            in float32, and adds what rounding does at the size of f(x).

    The message names the worst element and sample, so that it can be looked at, and the floor of
    the measurement there, where the orbit can be undone.

    >>> from equitutor.orbits import shifts
    >>> assert_equivariant(lambda x: x.mean((1, 2, 3)), torch.rand(2, 1, 4, 4), shifts(4, 4))
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    for name, value in (("atol", atol), ("rtol", 0.0 if rtol is None else rtol)):
        if not 0 <= value < math.inf:  # NaN and infinity would let everything pass
            raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
    parts = _measure(f, x, orbit, batch)
    for part in parts:
        share = tolerance(part.dtype) if rtol is None else rtol
        bound = atol + share * part.varies + (part.noise if rtol is None else 0.0)
        worst = part.errors.max().item()
        if worst > bound:
            g, n = divmod(int(part.errors.argmax()), part.errors.shape[1])
            off = (part.errors > bound).float().mean().item()
            raise AssertionError(
                f"not equivariant under {orbit.name}: output off by {worst:.3g} "
                f"(allowed {bound:.3g}; it varies by {part.varies:.3g} over the samples) at "
                f"element {g} ({orbit.label(g)}), sample {n}; {off:.1%} of all pairs are off"
                f"{_floor_in_words(f, x, orbit, g, n)}"
            )
        drowned_but_allowed = part.varies > part.noise and atol > part.noise
        if part.silence is STILL:
            raise AssertionError(f"nothing is shown about {orbit.name}: {STILL}")
        if part.silence and not drowned_but_allowed:
            raise AssertionError(
                f"nothing is shown about {orbit.name}: {part.silence}. Move the parameters from "
                f"where they start (diagnose has perturb=0.1 for it), subtract the offset, or take "
                f"other inputs"
            )
    if rtol is None and any(part.beyond(tolerance(part.dtype)).any() for part in parts):
        _look_closer(f, x, orbit, batch, parts, atol)


def _look_closer(f, x, orbit: Orbit, batch: int, parts: list, atol: float) -> None:
    """Raises AssertionError where float64 does not take away what only larger entries explain.

    An entry in a small unit beside one in a large unit may be off by much of what it varies by, and
    that is less than rounding of the other. Whether it is rounding, a wider precision tells.
    """
    __tracebackhide__ = True
    device = device_of(f) or next((t.device for t in batching.tensors(x)), torch.device("cpu"))
    try:
        with lent(f, dtype=torch.float64), uncast(device):
            exact = _measure(f, batching.cast(x, torch.float64), orbit, batch)
    except Exception:  # a device or a code without float64: as far as can be seen, it is in order
        return
    for part, closer in zip(parts, exact, strict=True):
        left = closer.entries.to(part.entries)
        real = part.beyond(tolerance(part.dtype)) & (left > part.entries / 100) & (left > atol)
        if real.any():
            k = int(torch.where(real, left, 0).argmax())
            low, high = part.range.flatten(1)[:, k] if part.range.ndim > 1 else part.range
            raise AssertionError(
                f"not equivariant under {orbit.name}: entry {k} of the output is off by "
                f"{part.entries.flatten()[k]:.3g}, and varies by {(high - low).item():.3g}. Beside "
                f"larger entries this looks like rounding, but in float64 it is there as well"
            )


def _floor_in_words(f, x, orbit: Orbit, g: int, n: int) -> str:
    if orbit.inv_x is None:
        return ""
    one = Orbit(orbit.name, torch.zeros(1, 1), lambda x, i: orbit.act_x(x, g),
                inv_x=lambda x, i: orbit.inv_x(x, g))  # fmt: skip
    try:
        floor = equivariance_error(f, batching.take(x, n, n + 1), round_trip(one)).max().item()
    except Exception:  # a model that wants other batches: the finding stands without it
        return ""
    return f"; going there and back changes it by {floor:.2g}"


class _Part(NamedTuple):
    """One tensor of the output: its errors (G, N), and what they are to be compared with."""

    errors: Tensor
    varies: float
    noise: float
    silence: str
    dtype: torch.dtype
    entries: Tensor  # the largest error of each entry, flat
    range: Tensor  # (2, ...), its smallest and largest value

    def beyond(self, share: float) -> Tensor:
        """Returns which entries are off by more than their own size and variation explain."""
        low, high = self.range.flatten(1) if self.range.ndim > 1 else self.range[:, None]
        size = torch.maximum(low.abs(), high.abs()).to(self.entries)
        bound = rounding(self.dtype) * size * self.range.is_floating_point()
        return self.entries > share * scale.differences(high[:, None], low[:, None]) + bound


def _measure(f, x, orbit: Orbit, batch: int) -> list[_Part]:
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise ValueError(f"batch must be an int >= 1, got {batch!r}")
    n, device = batching.count(x, "x"), device_of(f)
    if device is not None and device.type == "meta":
        raise ValueError("f must hold numbers, got parameters on the device 'meta'")
    errors: list[Tensor] = []
    entries: list[Tensor] = []  # the same, of each entry over all pairs
    moves = False
    ranges: list[Tensor] = []  # of the outputs over samples, and over elements as far as they move
    with torch.no_grad(), lent(f):
        for elements, first, last in chunks(len(orbit), n, batch):
            if elements.start == 0:  # a new block of samples
                inputs = batching.move(batching.take(x, first, last), device)
                still = batching.own(_output(f, inputs, inputs))
                ranges = _widened(ranges, _checked(still, "f(x)", last - first))
            there = transformed(orbit, "act_x", inputs, elements)
            moves = moves or not _equal(there, batching.join([inputs] * len(elements)))
            size = len(elements) * (last - first)
            found = _checked(_output(f, there, inputs), "f(g x)", size)
            if [t.shape[1:] for t in found] == [t.shape[1:] for t in ranges]:
                ranges = _widened(ranges, found)
            wanted = transformed(orbit, "act_y", still, elements)
            wanted = _stacked(wanted, size)
            if [t.shape for t in wanted] != [t.shape for t in found]:
                raise ValueError(
                    f"act_y of the orbit must move f(x) to the shape of f(g x), "
                    f"{_shapes(found)}, got {_shapes(wanted)}"
                )
            if not errors:
                errors = [torch.empty(len(orbit), n, dtype=torch.float32, device="cpu")
                          for _ in found]  # fmt: skip
                entries = [torch.zeros((), device=t.device) for t in found]
            for k, (a, b) in enumerate(zip(found, wanted, strict=True)):
                entries[k] = torch.maximum(entries[k], scale.differences(
                    a.flatten(1).mT if a.ndim > 1 else a[None],
                    b.flatten(1).mT if b.ndim > 1 else b[None]))  # fmt: skip
                error = scale.differences(a, b).cpu().view(len(elements), -1)
                errors[k] = errors[k].to(error.dtype)
                errors[k][elements.start : elements.stop, first:last] = error
        sources = [*batching.tensors(x), *(p for m in modules_of(f) for p in m.parameters())]
        if any(scale.silence(y, *sources) for y in ranges):
            ranges = _with_another(f, batching.move(batching.take(x, 0, 1), device), ranges)
    return [
        _Part(e, scale.variation(y), scale.rounded(y, *sources),
              scale.silence(y, *sources) if moves else STILL, coarsest(y, *sources), apart, y)
        for e, y, apart in zip(errors, ranges, entries, strict=True)
    ]  # fmt: skip


STILL = "no element of the orbit changes x, so that anything looks equivariant: take other inputs"


def _output(f: Callable, x: Any, inputs: Any) -> Any:
    """Returns the output, of a list of tensors as a tuple; f may write into what it is given."""
    return batching.parts_of(answer(f, batching.apart(x, inputs)), batching.count(x, "x"))


def _equal(a: Any, b: Any) -> bool:
    """Returns whether two batches hold the same numbers; where there are none to see, False."""
    one, two = (batching.all_tensors(batching.as_tensors(data)) for data in (a, b))
    return bool(one) and len(one) == len(two) and all(map(torch.equal, one, two))


def _widened(ranges: list[Tensor], parts: list[Tensor]) -> list[Tensor]:
    both = zip(ranges, parts, strict=True) if ranges else ((part,) for part in parts)
    return [scale.extremes(pair) for pair in both]


def _with_another(f, x: Any, ranges: list[Tensor]) -> list[Tensor]:
    """Returns the ranges with the output of a made-up input: the samples may lie on one orbit."""
    try:
        others = _checked(answer(f, scale.with_another(x)), "f(x)", batching.count(x, "x") + 1)
        wider = _widened(ranges, others)
    except Exception:  # words, or a model that wants other batches: what is there must do
        return ranges
    return [b if b.isfinite().all() else a for a, b in zip(ranges, wider, strict=True)]


def _checked(value: Any, name: str, size: int) -> list[Tensor]:
    """Returns the tensors of an output; ValueError unless each has `size` rows of real numbers."""
    parts = _stacked(value, size)
    for part in parts:
        batching.check_plain(part, name)
    if not parts or any(part.ndim == 0 or len(part) != size for part in parts):
        found = _shapes(parts) if parts else type(value)
        raise ValueError(f"{name} must be a tensor with {size} rows, got {found}")
    for part in parts:
        if part.is_quantized:
            raise ValueError(f"{name} must not be quantized, got {part.dtype}: use dequantize()")
        if part.is_floating_point() and part.dtype.itemsize < 2:
            raise ValueError(f"{name} must have 16 bits or more, got {part.dtype}: cast it wider")
        if part.is_complex():
            raise ValueError(f"{name} must be real, got {part.dtype}: use view_as_real")
        if not part.isfinite().all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    return [part if part.dtype in _COMPARED else part.to(torch.int64) for part in parts]


# Truth values and wide unsigned numbers have no minimum, or no absolute value.
_COMPARED = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int8,
             torch.int16, torch.int32, torch.int64}  # fmt: skip


def _stacked(value: Any, size: int) -> list[Tensor]:
    """Returns the tensors of an output; of a list with an entry for each sample, stacked."""
    value = batching.as_tensors(value)
    if isinstance(value, list) and len(value) == size:
        rows = [batching.all_tensors(sample) for sample in value]
        if len({_shapes(row, True) for row in rows}) == 1:
            return [torch.stack(column) for column in zip(*rows, strict=True)]
    return batching.all_tensors(value)


def _shapes(parts: list[Tensor], all_of_them: bool = False) -> Any:
    shapes = tuple(tuple(part.shape) for part in parts)
    return shapes[0] if len(shapes) == 1 and not all_of_them else shapes
