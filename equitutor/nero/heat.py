"""Heat maps: the score at every shift."""

from collections.abc import Sequence

import torch

from equitutor import figures
from equitutor.nero.scale import (
    Results,
    as_mapping,
    check_axes,
    color_bar,
    shared_scale,
    values_of,
)


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
        rows, columns = result.orbit.extra["shape"]
        step = 1 if rows * columns == 1 else int(result.orbit.params.flatten().unique()[1])
        table = values[name].view(rows, columns)
        centered = torch.roll(table, (rows // 2, columns // 2), (0, 1)).numpy()  # 0 in the middle
        top, left = -(rows // 2) * step - step / 2, -(columns // 2) * step - step / 2
        image = ax.imshow(
            centered, cmap=figures.SEQUENTIAL, vmin=scale.low, vmax=scale.high,
            extent=(left, left + columns * step, top + rows * step, top),
        )  # fmt: skip
        ax.plot(0, 0, "+", color="white", ms=9, mew=2.5)
        ax.plot(0, 0, "+", color="black", ms=8, mew=1)
        ax.set(title=name, xlabel="shift right (px)", ylabel="shift down (px)")
    color_bar(image, axes, label, scale)
    return axes
