"""What all plots share: the check of what is to be drawn, and one color scale for all panels."""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from equitutor.orbits import OrbitResult

Results = OrbitResult | Mapping[str, OrbitResult]


def as_mapping(results: Results, *kinds: str) -> dict[str, OrbitResult]:
    """Returns the results by name; a result on its own gets the empty name.

    Args:
        results: a result, or a dict name -> result of several models.
        kinds: the kinds of orbit that can be drawn; none allows all.

    Raises ValueError for anything else, or for another kind of orbit.
    """
    if isinstance(results, OrbitResult):
        results = {"": results}
    if not isinstance(results, Mapping) or not results:
        raise ValueError(f"results must be an OrbitResult or a dict of them, got {type(results)}")
    for name, result in results.items():
        check_result(f"results[{name!r}]", result)
        if kinds and result.orbit.kind not in kinds:
            raise ValueError(
                f"results[{name!r}] must come from an orbit of kind "
                f"{' or '.join(map(repr, kinds))}, got {result.orbit.kind!r} ({result.orbit.name})"
            )
    return dict(results)


def check_result(name: str, result: OrbitResult) -> None:
    """Returns nothing; raises ValueError unless `result` holds a score for each pair.

    A result made by hand may hold anything, and a table of another shape would be drawn askew.
    """
    if not isinstance(result, OrbitResult):
        raise ValueError(f"{name} must be an OrbitResult, got {type(result)}")
    scores, g = result.scores, len(result.orbit)
    fits = isinstance(scores, Tensor) and scores.is_floating_point()
    if not fits or scores.ndim != 2 or len(scores) != g or not scores.shape[1]:
        found = (
            f"{scores.dtype} {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores)
        )
        raise ValueError(f"{name} must hold floating point scores ({g}, N), N >= 1, got {found}")


def values_of(result: OrbitResult, sample: int | None) -> Tensor:
    """Returns the aggregate over samples, (G,), or the scores of one sample.

    Raises ValueError for a sample out of range.
    """
    if sample is None:
        values = result.aggregate()
    else:
        check_sample(result, sample)
        values = result.scores[:, sample]
    values = values.detach().cpu()
    return values if values.dtype == torch.float64 else values.float()  # NumPy has no bfloat16


def floor_of(result: OrbitResult, sample: int | None) -> Tensor | None:
    """Returns how far `values_of` is off by the measurement alone, (G,); None: not measured."""
    if result.floor is None:
        return None
    floor = result.floor.nanmean(1) if sample is None else result.floor[:, sample]
    return floor.detach().cpu().double().nan_to_num()


def largest_floor(results: Iterable[OrbitResult], sample: int | None = None) -> float | None:
    """Returns the largest `floor_of` of several panels on one scale; None where none is known."""
    floors = [floor_of(result, sample) for result in results]
    return max((f.max().item() for f in floors if f is not None), default=None)


def check_sample(result: OrbitResult, sample: int) -> None:
    """Returns nothing; raises ValueError unless `sample` indexes the samples of `result`."""
    try:
        index = -1 if isinstance(sample, bool) else operator.index(sample)
    except TypeError:
        index = -1
    if not 0 <= index < result.scores.shape[1]:
        raise ValueError(f"sample must index {result.scores.shape[1]} samples, got {sample!r}")


def value_range(values: Tensor) -> tuple[float, float]:
    """Returns the least and the largest value that is not missing.

    Raises ValueError where none is there, or one is infinite.
    """
    present = values[~values.isnan()]
    if len(present) == 0:
        raise ValueError("results must hold at least one score that is not missing, got none")
    if present.isinf().any():
        raise ValueError("results must hold finite scores or NaN, got infinity")
    return present.min().item(), present.max().item()


class Scale(NamedTuple):
    """One color scale, and what it has to say about values beyond its ends."""

    low: float
    high: float
    extend: str = "neither"  # "min", "max" or "both": the ends that clip values
    note: str = ""


def shared_scale(
    values: Iterable[Tensor],
    limits: tuple[float, float] | None = None,
    percentile: float | None = None,
) -> Scale:
    """Returns the color scale of all panels together. Where it clips, it says so.

    Args:
        values: what each panel draws; missing values are NaN.
        limits: (low, high) of the scale; None takes the range of all values.
        percentile: in (0, 100], where to clip the high end instead; None does not.

    Raises ValueError where nothing is left to draw, or limits or percentile do not fit.

    >>> shared_scale([torch.tensor([0.0, 1.0]), torch.tensor([5.0])], limits=(0, 2))
    Scale(low=0, high=2, extend='max', note='clipped')
    """
    values = torch.cat([v.detach().cpu().double().flatten() for v in values])
    low, high = lowest, highest = value_range(values)
    note = "clipped"
    if limits is not None and percentile is not None:
        raise ValueError(f"limits and percentile exclude each other, got {limits} and {percentile}")
    if limits is not None:
        try:
            low, high = (operator.index(v) if isinstance(v, int) else float(v) for v in limits)
        except (TypeError, ValueError):
            low = high = math.nan
        if isinstance(limits, str) or not -math.inf < low < high < math.inf:
            raise ValueError(f"limits must be finite (low, high) with low < high, got {limits!r}")
    if percentile is not None:
        if not isinstance(percentile, int | float) or not 0 < percentile <= 100:
            raise ValueError(f"percentile must lie in (0, 100], got {percentile!r}")
        high = np.nanpercentile(values.numpy(), percentile).item()
        if low == high < highest:
            raise ValueError(
                f"percentile must lie above the lowest value, {low:g}, got {percentile!r}"
            )
        note = f"clipped at percentile {percentile:g}"
    clips = lowest < low, high < highest
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[clips]
    return Scale(low, high, extend, note if any(clips) else "")


def color_bar(
    artist, axes: Sequence, label: str, scale: Scale, floor: float | None = None, **kwargs
):
    """Returns the one color bar of all `axes`; an arrow and a note mark an end that clips.

    A frame in its middle is as high as the `floor` of the measurement to both sides: colors that
    differ by less say nothing.
    """
    label = f"{label} ({scale.note})" if scale.note else label
    if floor is not None:
        label += f"\nframed: the measurement itself, ±{floor:.1g}"
    bar = axes[0].figure.colorbar(
        artist, ax=list(axes), label=label, extend=scale.extend, **({"shrink": 0.85} | kwargs)
    )
    if floor is not None:
        middle = (scale.low + scale.high) / 2
        span = bar.ax.axvspan if bar.orientation == "horizontal" else bar.ax.axhspan
        span(max(scale.low, middle - floor), min(scale.high, middle + floor),
             facecolor="none", edgecolor="white", lw=1.5)  # fmt: skip
    return bar


def check_axes(axes: Sequence, count: int, projection: str = "rectilinear") -> Sequence:
    """Returns `axes`; raises ValueError unless there are `count` of the `projection`."""
    size = len(axes) if isinstance(axes, Sequence | np.ndarray) else axes
    if size != count:
        raise ValueError(f"axes must be {count}, one for each model, got {size!r}")
    for ax in axes:
        check_ax("axes", ax, projection)
    return axes


def check_ax(name: str, ax, projection: str) -> None:
    """Returns nothing; raises ValueError unless `ax` is matplotlib axes of the `projection`."""
    found = getattr(ax, "name", type(ax).__name__)
    if not hasattr(ax, "scatter") or found != projection:
        raise ValueError(f"{name} must be {projection} axes, got {found!r}")
