"""Disks: the score at every turn about the axes of a plane, and how far SO(3) is from them."""

import math
from collections.abc import Mapping

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
from equitutor.orbits import Orbit, OrbitResult

_ARC = 3.0  # degrees: pieces of a wedge, short enough to look round


def plot_disk(
    results: Results,
    sample: int | None = None,
    label: str = "score",
    limits: tuple[float, float] | None = None,
    haar: OrbitResult | float | Mapping[str, OrbitResult | float] | None = None,
    axes=None,
):
    """Returns polar axes (planes, models): direction is the axis, radius the angle of the turn.

    The center is the cloud as it is, the rim a turn by 180 degrees. There axis n and axis -n are
    the same turn, so opposite points of the rim agree. All disks share one color scale. Turns
    close to the identity fill more of a disk than of SO(3): give `haar` to print the mean that
    counts.

    Args:
        results: result on an `so3_disk` orbit, or a dict name -> result of several models; all
            with the same planes.
        sample: index of one sample; None draws the mean over samples.
        label: what the color means, for the color bar.
        limits: (low, high) of the scale; None takes the range of all disks together.
        haar: result on an `so3_haar` orbit, or its mean, to print under the disks; for several
            models a dict with their names.
        axes: polar axes (planes, models) to draw on; None makes a figure.

    Raises ValueError for another kind of orbit, fewer than three axes in a plane, models with
    different planes, a sample out of range, or limits, haar or axes that do not fit.

    Source: the point cloud case of NERO (Zhao et al. 2023).

    >>> from equitutor.orbits import so3_disk
    >>> orbit = so3_disk(("xy", "xz"), n_axis=6, n_angle=4)
    >>> plot_disk(OrbitResult(torch.rand(48, 2), orbit), haar=0.5).shape
    (2, 1)
    """
    results = as_mapping(results, "disk")
    shapes = {name: disk_grid(name, result.orbit) for name, result in results.items()}
    planes = {name: disk_planes(result.orbit, shapes[name]) for name, result in results.items()}
    titles = next(iter(planes.values()))
    if any(p != titles for p in planes.values()):
        raise ValueError(f"results must share their planes, got {planes}")
    means = _haar_means(haar, results)
    tables = {
        name: values_of(result, sample).view(shapes[name]) for name, result in results.items()
    }
    scale = shared_scale(tables.values(), limits)
    if axes is None:
        axes = _make_axes(len(titles), len(results))
    axes = np.asarray(axes, dtype=object)
    if axes.shape != (len(titles), len(results)):
        raise ValueError(f"axes must be (planes, models) = ({len(titles)}, {len(results)}), "
                         f"got {axes.shape}")  # fmt: skip
    check_axes(axes.flatten(), axes.size, "polar")
    for k, plane in enumerate(titles):
        for ax, (name, table) in zip(axes[k], tables.items(), strict=True):
            mesh = _draw(ax, table[k], scale)
            _label(ax, plane)
            named = name if k == 0 or len(results) == 1 else ""  # once above each model's disks
            ax.set_title(f"{named}\naxis in {plane}".strip())
            if name in means:
                ax.set_xlabel(f"{ax.get_xlabel()}\nHaar mean {means[name]:.3g}")
    color_bar(mesh, axes.flatten(), label, scale, largest_floor(results.values(), sample))
    return axes


def disk_grid(name: str, orbit: Orbit) -> tuple[int, int, int]:
    """Returns (planes, axes, angles); ValueError unless the orbit is a grid of disks."""
    params = orbit.params
    shape = tuple(len(column.unique()) for column in params.T)
    if len(shape) == 3 and shape[1] >= 3 and shape[2] >= 2:
        planes, n_axis, n_angle = shape
        grid = torch.cartesian_prod(
            torch.arange(planes).double(),
            torch.arange(n_axis).double() * 360 / n_axis,
            torch.linspace(0, 180, n_angle, dtype=torch.float64),
        )
        if grid.shape == params.shape and grid.allclose(params) and "matrices" in orbit.extra:
            return shape
    raise ValueError(
        f"results[{name!r}] must come from so3_disk with at least 3 axes in each plane, "
        f"got {orbit.name} with {shape} planes, axes and angles"
    )


def disk_planes(orbit: Orbit, shape: tuple[int, int, int]) -> list[str]:
    """Returns "xy", "xz" or "yz" for each disk, read from the turns themselves."""
    turns = orbit.extra["matrices"].view(*shape, 3, 3)[:, :, -1]  # by 180 degrees: 2 n n^T - 1
    along = turns.diagonal(dim1=-2, dim2=-1).mean(1)  # (planes, 3); -1 along the plane's normal
    normals = along.argmin(1).tolist()
    return ["xyz".replace("xyz"[k], "") for k in normals]


def _haar_means(haar, results: Mapping[str, OrbitResult]) -> dict[str, float]:
    if haar is None:
        return {}
    if not isinstance(haar, Mapping):
        haar = dict.fromkeys(results, haar) if len(results) == 1 else {"": haar}
    if haar.keys() != results.keys():
        raise ValueError(f"haar must have the names {list(results)}, got {list(haar)}")
    means = {}
    for name, value in haar.items():
        if isinstance(value, OrbitResult):
            if value.orbit.kind != "points":
                raise ValueError(f"haar[{name!r}] must come from an orbit of kind 'points', as "
                                 f"so3_haar makes, got {value.orbit.kind!r}")  # fmt: skip
            value = value.mean().nanmean().item()
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"haar[{name!r}] must be an OrbitResult or a number, got {value!r}")
        if not math.isfinite(value):
            raise ValueError(f"haar[{name!r}] must be finite, got {value!r}")
        means[name] = value
    return means


def _make_axes(planes: int, models: int):
    """Returns a fresh grid: models side by side, or the planes of a single model."""
    rows, columns = (planes, models) if models > 1 else (1, planes)
    room = min((figures.WIDTH - 0.9) / columns, 3.2)  # inches for a disk and its labels
    style = dict(subplot_kw={"projection": "polar"}, layout="constrained")
    _, axes = figures.grid(columns, rows, room + 0.75, room * columns + 0.9, **style)
    return axes.reshape(planes, models)


def _draw(ax, table: Tensor, scale):
    """Draw one disk, values (axes, angles), as wedges about the axis and angle they stand for."""
    n_axis, n_angle = table.shape
    pieces = int(np.ceil(360 / n_axis / _ARC))
    theta = (np.arange(n_axis * pieces + 1) / pieces - 0.5) * 2 * np.pi / n_axis
    angle = np.linspace(0, 180, n_angle)
    radius = np.concatenate([[0], (angle[1:] + angle[:-1]) / 2, [180]])
    wedges = table.numpy().T.repeat(pieces, axis=1)  # (angles, axes * pieces)
    mesh = ax.pcolormesh(
        theta, radius, wedges, cmap=figures.SEQUENTIAL, vmin=scale.low, vmax=scale.high
    )
    mesh.set_edgecolor("face")  # no hairlines between wedges
    mesh.set_linewidth(0.2)
    return mesh


def _label(ax, plane: str) -> None:
    u, v = plane
    ax.set(theta_zero_location="E", ylim=(0, 180))
    ax.set_xlabel("radius: turn (degrees)", size=9)
    ax.set_thetagrids([0, 90, 180, 270], [f"+{u}", f"+{v}", f"−{u}", f"−{v}"], size=9)
    ax.set_rgrids([90, 180], ["90", "180"], angle=45, size=7)
    for text in ax.get_yticklabels():
        text.set_bbox({"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.8})
    ax.grid(color="white", alpha=0.35, lw=0.5)
    ax.set_axisbelow(False)  # the grid lies over the wedges
    ax.tick_params(pad=-1)
