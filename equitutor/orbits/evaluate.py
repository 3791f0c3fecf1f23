"""Measure a model at every element of an orbit, in bounded memory."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from equitutor.orbits import batching, metrics
from equitutor.orbits.models import device_of, lent
from equitutor.orbits.orbit import Orbit
from equitutor.orbits.result import OrbitResult


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
) -> OrbitResult:
    """Returns the scores of `model` at every element of `orbit` and for every sample, (G, N).

    Sample n at element g scores metric(model(rho_in(g) x_n), rho_out(g) y_n). No gradient is
    computed. Modules run in eval mode, also those behind a lambda, a partial, a method or an
    object, and the model and all random states are left as they were.

    Args:
        model: module or any callable from a batch of inputs to a batch of outputs.
        x, y: batches of inputs and targets: tensors, arrays, lists, or tuples, dicts and
            dataclasses of these. A container keeps its type.
        orbit: the elements and their actions.
        metric: "correct", "confidence", "squared_error", or a function of (outputs, targets) that
            returns one number for each sample, without reduction.
        batch: pairs of element and sample in a forward pass, >= 1. It bounds the memory; the
            scores do not depend on it.
        device: where to compute: data and model are moved, and the model is put back. None takes
            the device that the model is on.
        keep_outputs: keep the raw outputs, which `consensus` needs. They take G x N outputs of
            memory on the CPU.
        missing: "error" refuses a NaN score; "count" keeps it as missing, to be left out of means
            and counted in `OrbitResult.coverage`.
        higher_is_better: whether a large score is good; None knows it for the named metrics and
            takes True for any other.
        progress: show a bar on work of more than two seconds.

    Raises:
        ValueError: x and y differ in length, a batch changes its length, the metric does not
            return (B,) numbers, or a score is NaN under missing="error".

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
    score = metrics.named(metric)
    if higher_is_better is None:
        higher_is_better = score not in metrics.SMALLER_IS_BETTER
    where = device_of(model) if device is None else device
    scores = torch.empty(len(orbit), n)
    kept: list[list] = [[] for _ in range(len(orbit))] if keep_outputs else []
    start = time.perf_counter()
    bar = tqdm(total=len(orbit) * n, desc=orbit.name, unit="pair", delay=2, mininterval=1,
               disable=not progress, leave=False)  # fmt: skip
    with torch.no_grad(), lent(model, device=device), bar:
        for elements, first, last in chunks(len(orbit), n, batch):
            inputs = batching.move(batching.take(x, first, last), where)
            targets = batching.move(batching.take(y, first, last), where)
            moved = batching.join([_act(orbit, "act_x", inputs, g) for g in elements])
            answers = batching.join([_act(orbit, "act_y", targets, g) for g in elements])
            outputs = model(moved)
            size = len(elements) * (last - first)
            if batching.count(outputs, "model(x)") != size:
                raise ValueError(
                    f"model must return one output for each input: got "
                    f"{batching.count(outputs, 'model(x)')} for {size}"
                )
            values = _score(score, outputs, answers, size, missing, orbit, elements, first, last)
            scores[elements.start : elements.stop, first:last] = values
            for k, g in enumerate(elements if keep_outputs else ()):
                part = batching.take(outputs, k * (last - first), (k + 1) * (last - first))
                kept[g].append(batching.move(part, "cpu"))
            bar.update(size)
    seconds = time.perf_counter() - start
    meta = {
        "model": getattr(model, "__name__", type(model).__name__),
        "metric": metrics.name_of(metric),
        "function": score,
        "seconds": seconds,
        "pairs_per_second": len(orbit) * n / seconds,
    }
    outputs = batching.stack([batching.join(parts) for parts in kept]) if kept else None
    return OrbitResult(scores, orbit, higher_is_better, outputs, meta)


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


def _act(orbit: Orbit, name: str, data: Any, g: int) -> Any:
    try:
        return getattr(orbit, name)(data, g)
    except Exception as error:
        error.add_note(f"in {name} of the orbit {orbit.name!r}, element {g} ({orbit.label(g)})")
        raise


def _score(score, outputs, answers, size, missing, orbit, elements, first, last) -> Tensor:
    where = f"elements {elements.start} ... {elements.stop - 1}, samples {first} ... {last - 1}"
    try:
        values = torch.as_tensor(score(outputs, answers)).detach().float().cpu()
    except Exception as error:
        error.add_note(f"in the metric {getattr(score, '__name__', score)!r} at {where}")
        raise
    if values.shape != (size,):
        raise ValueError(
            f"metric must return one number for each sample, shape ({size},), "
            f"got shape {tuple(values.shape)}"
        )
    if missing == "error" and values.isnan().any():
        raise ValueError(
            f"metric returned NaN for {int(values.isnan().sum())} of {size} pairs at {where}; "
            f"pass missing='count' to leave such scores out and count them"
        )
    return values.view(len(elements), last - first)
