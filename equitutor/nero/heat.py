"""Heat maps: the score at every shift."""

from collections.abc import Sequence

import torch
from torch import Tensor

from equitutor import figures
from equitutor.nero.scale import (
    Results,
    as_mapping,
    check_axes,
    color_bar,
    largest_floor,
    shared_scale,
    values_of,
)
from equitutor.orbits import Orbit


def plot_heat(
    results: Results,
    sample: int | None = None,
    label: str = "score",
    limits: tuple[float, float] | None = None,
    axes: Sequence | None = None,
):
    """Returns the axes of heat maps over all shifts, one for each model, on one color scale.

    The unmoved input stands in the middle; shifts run from minus half to plus half of the torus.

    Args:
        results: result on a `shifts` orbit, or a dict name -> result of several models.
        sample: index of one sample; None draws the mean over samples.
        label: what the color means, for the color bar.
        limits: (low, high) of the scale; None takes the range of all panels together.
        axes: matplotlib axes to draw on, one for each model; None makes a figure.

    Raises ValueError for another kind of orbit, or a sample out of range.

    >>> from equitutor.orbits import evaluate, shifts
    >>> x, y = torch.rand(3, 1, 4, 6), torch.zeros(3, dtype=torch.long)
    >>> result = evaluate(lambda x: x[:, 0, 0], x, y, shifts(4, 6), "confidence")
    >>> len(plot_heat({"raw": result, "again": result}))
    2
    """
    results = as_mapping(results, "grid2d")
    values = {name: values_of(result, sample) for name, result in results.items()}
    scale = shared_scale(values.values(), limits)
    if axes is None:
        axes = figures.grid(len(results), height=2.6)[1][0]
    check_axes(axes, len(results))
    for ax, (name, result) in zip(axes, results.items(), strict=True):
        table, step, top, left = _centered(result.orbit, values[name])
        rows, columns = table.shape
        image = ax.imshow(
            table, cmap=figures.SEQUENTIAL, vmin=scale.low, vmax=scale.high,
            extent=(left, left + columns * step, top + rows * step, top),
        )  # fmt: skip
        ax.plot(0, 0, "+", color="white", ms=9, mew=2.5)
        ax.plot(0, 0, "+", color="black", ms=8, mew=1)
        ax.set(title=name, xlabel="shift right (px)", ylabel="shift down (px)")
    color_bar(image, axes, label, scale, largest_floor(results.values(), sample))
    return axes


def _centered(orbit: Orbit, values: Tensor):
    """Returns the table (rows, columns) around no shift, its step, and its top and left edge."""
    if "shape" in orbit.extra:  # a torus: what is beyond half way round lies on the other side
        rows, columns = orbit.extra["shape"]
        step = 1 if rows * columns == 1 else int(orbit.params.flatten().unique()[1])
        table = torch.roll(values.view(rows, columns), (rows // 2, columns // 2), (0, 1))
        top, left = -(rows // 2) * step, -(columns // 2) * step
    else:  # a grid of steps to both sides, row-major
        down, right = (side.unique() for side in orbit.params.T)
        if len(down) * len(right) != len(orbit):
            raise ValueError(
                f"results must lie on a full grid of shifts, got {len(orbit)} shifts on "
                f"{len(down)} x {len(right)} places"
            )
        step = (right[1] - right[0]).item() if len(right) > 1 else 1
        table = values.view(len(down), len(right))
        top, left = down[0].item(), right[0].item()
    return table.numpy(), step, top - step / 2, left - step / 2
