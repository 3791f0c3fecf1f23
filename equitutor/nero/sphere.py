"""Spheres: the score by where a turn takes the axis that pointed up."""

from collections.abc import Sequence

import numpy as np
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

_SAME = 1e-6  # landing places nearer than this are one


def plot_sphere(
    results: Results,
    up: Sequence[float] = (0.0, 0.0, 1.0),
    sample: int | None = None,
    label: str = "score",
    limits: tuple[float, float] | None = None,
    axes: Sequence | None = None,
):
    """Returns Mollweide axes, one for each model: a dot where each turn takes the up-axis.

    The north pole is `up` itself, so the latitude shows how far the cloud is tipped over; areas
    are true. Turns that take `up` to the same place share a dot, which shows their mean.

    Args:
        results: result on an `so3_haar` or `so3_disk` orbit, or a dict name -> result.
        up: the axis that points up in the clouds as they are, three numbers, not all zero.
        sample: index of one sample; None draws the mean over samples.
        label: what the color means, for the color bar.
        limits: (low, high) of the scale; None takes the range of all dots together.
        axes: Mollweide axes to draw on, one for each model; None makes a figure.

    Raises ValueError for an orbit without rotation matrices, a sample out of range, or up, limits
    or axes that do not fit.

    >>> from equitutor.orbits import OrbitResult, so3_haar
    >>> result = OrbitResult(torch.rand(50, 2), so3_haar(50))
    >>> plot_sphere(result)[0].name
    'mollweide'
    """
    results = as_mapping(results, "disk", "points")
    for name, result in results.items():
        if "matrices" not in result.orbit.extra:
            raise ValueError(f"results[{name!r}] must come from so3_haar or so3_disk, "
                             f"got {result.orbit.name}")  # fmt: skip
    frame = _frame(up)
    dots = {}
    for name, result in results.items():
        landing = result.orbit.extra["matrices"] @ frame[2]  # (G, 3)
        dots[name] = _by_place(landing @ frame.T, values_of(result, sample))
    scale = shared_scale([values for _, values in dots.values()], limits)
    if axes is None:
        columns = min(len(results), 2)
        rows = -(-len(results) // columns)
        style = dict(subplot_kw={"projection": "mollweide"}, layout="constrained")
        size = dict(height=2.1, width=figures.WIDTH) if columns > 1 else dict(height=3, width=5.4)
        axes = figures.grid(columns, rows, **size, **style)[1].flatten()
        for ax in axes[len(results) :]:
            ax.remove()
        axes = axes[: len(results)]
    check_axes(axes, len(results), "mollweide")
    for ax, (name, (places, values)) in zip(axes, dots.items(), strict=True):
        picture = _draw(ax, places, values, scale)
        ax.set_title(name)
    color_bar(picture, axes, label, scale, largest_floor(results.values(), sample), shrink=0.75)
    return axes


def _frame(up: Sequence[float]) -> Tensor:
    """Return orthonormal rows: where longitude 0 and 90 degrees and the north pole lie."""
    try:
        north = torch.as_tensor(up, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        north = torch.zeros(0)
    if north.shape != (3,) or not north.isfinite().all() or not north.any():
        raise ValueError(f"up must be three finite numbers, not all zero, got {up!r}")
    north = north / north.norm()
    start = torch.zeros(3, dtype=torch.float64)
    start[north.abs().argmin()] = 1  # the coordinate axis least along the pole
    start = start - (start @ north) * north
    start = start / start.norm()
    return torch.stack([start, torch.linalg.cross(north, start), north])


def _by_place(places: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct places (K, 3) and the mean of the values, (K,), at each."""
    rounded = (places / _SAME).round()
    _, which = rounded.unique(dim=0, return_inverse=True)  # (G,)
    groups = [which == k for k in range(int(which.max()) + 1)]
    return (
        torch.stack([places[mine].mean(0) for mine in groups]),
        torch.stack([values[mine].nanmean() for mine in groups]),
    )


def _draw(ax, places: Tensor, values: Tensor, scale):
    longitude = torch.atan2(places[:, 1], places[:, 0])
    latitude = torch.asin(places[:, 2].clamp(-1, 1))
    inches = ax.get_window_extent().width / ax.figure.dpi
    # Dots as large as their share of the ellipse, which is half as high as wide.
    area = np.pi / 8 * (72 * inches) ** 2 / len(values)
    picture = ax.scatter(
        longitude.numpy(), latitude.numpy(), c=values.numpy(), s=float(np.clip(0.5 * area, 4, 90)),
        cmap=figures.SEQUENTIAL, vmin=scale.low, vmax=scale.high, linewidths=0, zorder=2,
    )  # fmt: skip
    tilts = [30, 60, 90, 120, 150]
    ax.set_yticks(np.deg2rad([90 - t for t in tilts]), [f"{t}" for t in tilts])
    ax.set_xticks(np.deg2rad([-120, -60, 0, 60, 120]), [])
    ax.grid(color=figures.COLORS["muted"], alpha=0.35, lw=0.5)
    ax.tick_params(labelsize=8)
    ax.set(xlabel="direction of tilt (−180 to 180 degrees)", ylabel="tilt (degrees)")
    ax.spines[:].set_visible(True)
    return picture
