"""Measure a model at every element of an orbit, in bounded memory."""

import pickle
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from equitutor.orbits import batching, metrics
from equitutor.orbits.models import answer, device_of, lent
from equitutor.orbits.orbit import Orbit, leave, round_trip
from equitutor.orbits.result import OrbitResult
from equitutor.orbits.scale import with_another
from equitutor.runtime import coarsest, tolerance, widest

_TOGETHER = 4  # inputs among which the first one is asked for again
_FAR = 10.0  # times the tolerance: other sizes of a batch are summed in another order
AT_ONCE = 64  # tasks that wait for an executor that does not say how many workers it has


def evaluate(
    model: Callable[[Any], Any],
    x: Any,
    y: Any,
    orbit: Orbit,
    metric: str | metrics.Metric = "correct",
    batch: int = 256,
    device: torch.device | str | None = None,
    keep_outputs: bool = False,
    missing: str = "error",
    higher_is_better: bool | None = None,
    progress: bool = True,
    floor: bool = False,
    executor: Executor | None = None,
) -> OrbitResult:
    """Returns the scores of `model` at every element of `orbit` and for every sample, (G, N).

    Sample n at element g scores metric(model(rho_in(g) x_n), rho_out(g) y_n). No gradient is
    computed, but those that a model takes itself. Modules run in eval mode, also those behind a
    lambda, a partial, a method or an object, and the model and all random states are left as they
    were.

    Args:
        model: module or any callable from a batch of inputs to a batch of outputs, in whatever
            dtype it is: give x in the dtype that it wants. Outputs may be arrays of NumPy or JAX.
        x, y: batches of inputs and targets: tensors, arrays, lists, or tuples, dicts and
            dataclasses of these. A container keeps its type.
        orbit: the elements and their actions.
        metric: "correct", "confidence", "squared_error", or a function of (outputs, targets) that
            returns one number for each sample, without reduction.
        batch: pairs of element and sample in a forward pass, >= 1. It bounds the memory. The
            scores do not depend on it where a model treats each input by itself; one that does
            not, as a norm over the batch or an attention over the wrong axis, is warned of.
        device: where to compute: data and model are moved, and the model is put back. None takes
            the device that the model is on.
        keep_outputs: keep the raw outputs, which `consensus` needs. They take G x N outputs of
            memory on the CPU.
        missing: "error" refuses a NaN score; "count" keeps it as missing, to be left out of means
            and counted in `OrbitResult.coverage`.
        higher_is_better: whether a large score is good; None knows it for the named metrics and
            takes True for any other.
        progress: show a bar on work of more than two seconds.
        floor: measure as well how far a score is off by resampling and rounding alone, by going
            along the orbit and back (`round_trip`); doubles the time.
        executor: of `concurrent.futures`, or one with its `submit`, as Dask's. Blocks of `batch`
            samples are measured there, each with a copy of the model, and merged. The scores are
            the same, bit for bit. None computes here.

    Raises:
        ValueError: x and y differ in length, a batch changes its length, the metric does not
            return (B,) real numbers, a score is infinite, or NaN under missing="error", an action
            writes into what it is given, or the floor is asked for on an orbit without `inv_x`.

    Source: individual and aggregate NERO (Zhao et al. 2023).

    >>> from equitutor.orbits import shifts
    >>> result = evaluate(lambda x: x[:, 0, 0], torch.eye(4).view(4, 1, 1, 4), torch.arange(4),
    ...                   shifts(1, 4))
    >>> result.aggregate().tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    if not callable(model):
        raise ValueError(f"model must be callable, got {type(model).__name__}")
    if not isinstance(orbit, Orbit):
        raise ValueError(f"orbit must be an Orbit, got {type(orbit).__name__}")
    n = batching.count(x, "x")
    if batching.count(y, "y") != n:
        raise ValueError(f"x and y must have equal length, got {n} and {batching.count(y, 'y')}")
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise ValueError(f"batch must be an int >= 1, got {batch!r}")
    if missing not in ("error", "count"):
        raise ValueError(f"missing must be 'error' or 'count', got {missing!r}")
    back = round_trip(orbit) if floor else None
    score = metrics.named(metric)
    if higher_is_better is None:
        higher_is_better = score not in metrics.SMALLER_IS_BETTER
    start = time.perf_counter()
    bar = tqdm(total=len(orbit) * n, desc=orbit.name, unit="pair", delay=2, mininterval=1,
               disable=not progress, leave=False)  # fmt: skip
    where = device_of(model) if device is None else device
    walk = partial(_walk, orbit=orbit, score=score, rows=max(1, batch // n), where=where,
                   keep=keep_outputs, missing=missing)  # fmt: skip
    spans = [(first, min(n, first + batch)) for first in range(0, n, batch)]
    blocks = ((batching.take(x, *span), batching.take(y, *span), span[0]) for span in spans)
    with bar, lent(model, device=None if executor else device):
        if executor is None:
            parts = [walk(model, *block, tick=bar.update) for block in blocks]
            together = min(batch, n * min(len(orbit), max(1, batch // n)), _TOGETHER)
            if together > 1 and _mixes(model, x, where, together):
                warnings.warn("what model answers to one input depends on the others in the batch: "
                              "scores change with `batch`", stacklevel=2)  # fmt: skip
        else:
            tasks = (_packed((walk, model, device, block)) for block in blocks)
            parts = []
            for (first, last), part in zip(spans, _spread(executor, tasks), strict=True):
                parts.append(part)
                bar.update(len(orbit) * (last - first))
    seconds = time.perf_counter() - start
    meta = {
        "model": getattr(model, "__name__", type(model).__name__),
        "metric": metrics.name_of(metric),
        "function": score,
        "seconds": seconds,
        "pairs_per_second": len(orbit) * n / seconds,
    }
    result = merge([OrbitResult(scores, orbit, higher_is_better, outputs, meta)
                    for scores, outputs in parts])  # fmt: skip
    result = replace(result, meta=meta)
    if back is None:
        return result
    still = Orbit("still", torch.zeros(1, 1), leave)
    there, here = (
        evaluate(model, x, y, o, metric, batch, device, missing="count", progress=False,
                 executor=executor).scores
        for o in (back, still)
    )  # fmt: skip
    return replace(result, floor=(there - here).abs())


def _mixes(model: Callable, x: Any, device: torch.device | str | None, n: int) -> bool:
    """Returns whether a model answers otherwise to the first input among up to n than alone."""
    some = batching.move(batching.take(x, 0, min(n - 1, batching.count(x, "x"))), device)
    try:
        some = with_another(some)
        n = batching.count(some, "x")
        one = batching.take(some, 0, 1)
        alone, again, among = (
            batching.tensors(batching.own(batching.parts_of(answer(model, batching.own(part)), k)))
            for part, k in ((one, 1), (one, 1), (some, n))
        )
        near = _FAR * tolerance(coarsest(*alone, *batching.tensors(some)))
        far = lambda a, b: bool((a[:1] - b[:1]).abs().max() > near * b.abs().max())
        rows = [(len(a), len(b)) for a, b in zip(alone, among, strict=True)]
        if set(rows) != {(1, n)} or any(map(far, alone, again)):  # chance is no mixing
            return False
        return any(map(far, alone, among))
    except Exception:  # words, no numbers, or a model that wants batches of one size
        return False


def merge(results: Sequence[OrbitResult]) -> OrbitResult:
    """Returns one result of the samples of several, in their order; all on one orbit.

    Seconds add up. Raises ValueError where orbits, metrics or what was kept differ.

    >>> from equitutor.orbits import shifts
    >>> run = lambda x: evaluate(lambda x: x[:, 0, 0], x, torch.zeros(len(x)).long(), shifts(1, 4))
    >>> x = torch.rand(6, 1, 1, 4)
    >>> torch.equal(merge([run(x[:2]), run(x[2:])]).scores, run(x).scores)
    True
    """
    results = list(results)
    if not results or not all(isinstance(r, OrbitResult) for r in results):
        raise ValueError(f"results must be OrbitResults, at least one, got {results!r}")
    first = results[0]
    for r in results[1:]:
        same = {
            "orbits": r.orbit.name == first.orbit.name
            and r.orbit.params.shape == first.orbit.params.shape
            and torch.equal(r.orbit.params, first.orbit.params)
            and torch.equal(r.orbit.weights, first.orbit.weights)
            and _choices(r.orbit) == _choices(first.orbit),
            "higher_is_better": r.higher_is_better == first.higher_is_better,
            "metrics": r.meta.get("metric") == first.meta.get("metric"),
            "outputs": (r.outputs is None) == (first.outputs is None),
            "floors": (r.floor is None) == (first.floor is None),
        }
        for what, agrees in same.items():
            if not agrees:
                raise ValueError(f"results must agree in their {what}, got {first} and {r}")
    side_by_side = lambda parts: None if parts[0] is None else batching.join(parts, axis=1)
    seconds = sum(r.meta.get("seconds", 0.0) for r in results)
    scores = side_by_side([r.scores for r in results])
    meta = dict(first.meta)
    if seconds:
        meta |= {"seconds": seconds, "pairs_per_second": scores.numel() / seconds}
    return replace(first, scores=scores, outputs=side_by_side([r.outputs for r in results]),
                   floor=side_by_side([r.floor for r in results]), meta=meta)  # fmt: skip


def _choices(orbit: Orbit) -> dict[str, str]:
    """Returns what an orbit says about its action in words and numbers, as a resampler."""
    plain = (str, int, float, tuple, list, type(None))
    return {name: repr(v) for name, v in orbit.extra.items() if isinstance(v, plain)}


def _walk(
    model: Callable,
    x: Any,
    y: Any,
    first: int,
    *,
    orbit: Orbit,
    score: metrics.Metric,
    rows: int,
    where: torch.device | str | None,
    keep: bool,
    missing: str,
    tick: Callable | None = None,
) -> tuple[Tensor, Any]:
    """Returns scores (G, N) and kept outputs of one block of samples, the first of number `first`.

    `rows` elements share a forward pass.
    """
    n = batching.count(x, "x")
    scores, kept = None, []
    with torch.no_grad():
        inputs, targets = batching.move(x, where), batching.move(y, where)
        for top in range(0, len(orbit), rows):
            elements = range(top, min(len(orbit), top + rows))
            moved = transformed(orbit, "act_x", inputs, elements)
            answers = transformed(orbit, "act_y", targets, elements)
            size = len(elements) * n
            # It may write into what it is given.
            outputs = answer(model, batching.apart(moved, inputs))
            parts = batching.parts_of(outputs, size)
            if batching.count(parts, "model(x)") != size:
                raise ValueError(
                    f"model must return one output for each input: got "
                    f"{batching.count(parts, 'model(x)')} for {size}"
                )
            last = first + n
            values = scored(score, outputs, answers, orbit, elements, first, last, missing)
            if scores is None:
                scores = torch.empty(len(orbit), n, dtype=values.dtype, device="cpu")
            scores[elements.start : elements.stop] = values
            for k in range(len(elements) if keep else 0):
                mine = batching.take(parts, k * n, (k + 1) * n)
                kept.append(batching.own(batching.move(mine, "cpu")))
            if tick is not None:
                tick(size)
    return scores, batching.stack(kept) if keep else None  # fmt: skip


def _spread(executor: Executor, tasks: Iterator[bytes]) -> Iterator[tuple[Tensor, Any]]:
    """Returns the results in order; few tasks wait at a time, so that memory does not grow."""
    most = 2 * getattr(executor, "_max_workers", AT_ONCE)
    waiting: deque = deque()
    for task in tasks:
        waiting.append(executor.submit(_elsewhere, task))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _packed(task: Any) -> bytes:
    """Returns a task as bytes; plain pickle refuses lambdas, of which orbits are made."""
    import cloudpickle

    return cloudpickle.dumps(task)


def _elsewhere(task: bytes) -> tuple[Tensor, Any]:
    """Returns what `_walk` does, in the process of a worker."""
    walk, model, device, block = pickle.loads(task)
    with lent(model, device=device):
        return walk(model, *block)


def chunks(g: int, n: int, batch: int) -> Iterator[tuple[range, int, int]]:
    """Returns blocks (elements, first sample, last sample + 1) of at most `batch` pairs.

    With few samples a block holds all of them at several elements, so that the model never sees a
    tiny batch for want of samples.

    >>> list(chunks(3, 2, 4))
    [(range(0, 2), 0, 2), (range(2, 3), 0, 2)]
    """
    rows = max(1, batch // n)
    for first in range(0, n, batch):
        for top in range(0, g, rows):
            yield range(top, min(g, top + rows)), first, min(n, first + batch)


def transformed(orbit: Orbit, name: str, data: Any, elements: Sequence[int]) -> Any:
    """Returns the batch as each element moves it, behind one another."""
    parts, versions = [], []
    for g in elements:
        parts.append(batching.own(_act(orbit, name, data, g), np.ndarray))
        versions.append(_versions(parts[-1]))
    if versions != list(map(_versions, parts)):
        raise ValueError(f"{name} must return new data, but {name} of the orbit {orbit.name!r} "
                         "writes into what it returned before")  # fmt: skip
    return batching.join(parts)


def _versions(data: Any) -> list[int]:
    """Returns how often each tensor was written into."""
    return [t._version for t in batching.all_tensors(data) if not t.is_inference()]


def _act(orbit: Orbit, name: str, data: Any, g: int) -> Any:
    where = f"{name} of the orbit {orbit.name!r}, element {g} ({orbit.label(g)})"
    versions = _versions(data)
    try:
        moved = getattr(orbit, name)(data, g)
    except Exception as error:
        error.add_note(f"in {where}")
        raise
    if versions != _versions(data):  # the next element would start from there
        raise ValueError(f"{name} must return new data, but {where} writes into what it is given")
    count = batching.count(data, name)
    if batching.count(moved, name) != count:
        raise ValueError(f"{name} must keep the number of samples, but {where} makes "
                         f"{batching.count(moved, name)} of {count}")  # fmt: skip
    return moved


def scored(
    score: metrics.Metric,
    outputs: Any,
    answers: Any,
    orbit: Orbit,
    elements: range,
    first: int,
    last: int,
    missing: str = "count",
) -> Tensor:
    """Returns the scores of a metric, (elements, samples), on the CPU.

    Args:
        outputs, answers: of samples `first` ... `last` - 1 at all `elements`, one behind another.
        missing: as in `evaluate`.

    Raises ValueError, as `evaluate` does, where the metric returns no such numbers.
    """
    size = len(elements) * (last - first)
    where = f"elements {elements.start} ... {elements.stop - 1}, samples {first} ... {last - 1}"
    try:
        values = score(outputs, answers)
        if isinstance(values, list | tuple):  # Python's numbers are float64
            values = torch.as_tensor(values, dtype=widest(), device="cpu")
        values = torch.as_tensor(values).detach().cpu()
    except Exception as error:
        error.add_note(f"in the metric {getattr(score, '__name__', score)!r} at {where}")
        raise
    if values.shape != (size,):
        raise ValueError(
            f"metric must return one number for each sample, shape ({size},), "
            f"got shape {tuple(values.shape)}"
        )
    if values.is_complex():
        raise ValueError(f"metric must return real numbers, got {values.dtype}")
    values = values if values.dtype == torch.float64 else values.float()
    if values.isinf().any():
        raise ValueError(
            f"metric returned infinity for {int(values.isinf().sum())} of {size} pairs at {where}: "
            f"no mean or spread would be left; bound it, or return NaN with missing='count'"
        )
    if missing == "error" and values.isnan().any():
        raise ValueError(
            f"metric returned NaN for {int(values.isnan().sum())} of {size} pairs at {where}; "
            f"pass missing='count' to leave such scores out and count them"
        )
    return values.view(len(elements), last - first)
