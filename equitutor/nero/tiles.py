"""Tiles: one picture, or one number, for each element of a finite group."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from equitutor import figures, groups
from equitutor.nero.scale import (
    Results,
    as_mapping,
    check_axes,
    check_sample,
    color_bar,
    largest_floor,
    shared_scale,
    values_of,
)
from equitutor.orbits import Orbit, OrbitResult

_LONGEST_ROW = 12
_LINE = 0.14  # inches that a line of a tile's title takes


def plot_tiles(
    results: Results,
    maps: Tensor | Mapping[str, Tensor] | None = None,
    sample: int | None = None,
    label: str = "score",
    limits: tuple[float, float] | None = None,
    percentile: float | None = None,
    names: Sequence[str] | None = None,
    axes: Sequence | None = None,
):
    """Returns the axes of tiles, one tile for each element, one axes for each model.

    For D4 x time reversal the tiles stand four by four: the turns and the flips in the two inner
    columns, their time-reversed twins outside. Other groups stand in the order of their table,
    the identity first, at most twelve in a row. All models share one color scale.

    Args:
        results: result on a `finite` or `d4_time` orbit, or a dict name -> result.
        maps: a value for each pixel, such as errors, (G, H, W), or (G, N, H, W) to be averaged
            over the samples; for several results a dict name -> maps. None draws the scores.
        sample: index of one sample; None draws the mean over samples.
        label: what the color means, with its unit, for the color bar.
        limits: (low, high) of the scale; None takes the range of all tiles together.
        percentile: in (0, 100], clips the high end of the scale there instead; the color bar says
            so.
        names: titles of the elements, in their order; None makes them from the group.
        axes: matplotlib axes to draw on, one for each model; None makes a figure.

    Raises ValueError for another kind of orbit, maps of another shape, a sample out of range, or
    limits, percentile, names or axes that do not fit.

    Source: the particle image velocimetry case of NERO (Zhao et al. 2023).

    >>> from equitutor.orbits import d4_time
    >>> result = OrbitResult(torch.rand(16, 3), d4_time())
    >>> (ax,) = plot_tiles(result, maps=torch.rand(16, 3, 8, 8))
    >>> len(ax.get_images())
    16
    """
    results = as_mapping(results, "finite")
    if not isinstance(maps, Mapping):
        if maps is not None and len(results) > 1:
            raise ValueError(
                f"maps must be a dict with the names {list(results)}, got {type(maps)}"
            )
        maps = dict.fromkeys(results, maps)
    if maps.keys() != results.keys():
        raise ValueError(f"maps must have the names {list(results)}, got {list(maps)}")
    tiles = {name: _tiles(result, maps[name], sample) for name, result in results.items()}
    titles = {name: _titles(result.orbit, names) for name, result in results.items()}
    layouts = [tile_rows(result.orbit) for result in results.values()]
    scale = shared_scale(tiles.values(), limits, percentile)
    if axes is None:
        axes = _make_axes(layouts, list(tiles.values()), list(titles.values()))
    check_axes(axes, len(results))
    for ax, layout, name in zip(axes, layouts, results, strict=True):
        ax.set_title(name)
        written = maps[name] is None
        image = _draw(ax, layout, tiles[name], titles[name], scale, written)
    color_bar(image, axes, label, scale, largest_floor(results.values(), sample))
    return axes


def element_names(orbit: Orbit) -> list[str]:
    """Returns a short title for each element of a finite orbit.

    Turns are counter-clockwise; "flip 90°" flips upside down, then turns by 90 degrees.

    >>> from equitutor.orbits import finite
    >>> element_names(finite(groups.dihedral(2), lambda x, i: x))
    ['identity', '180°', 'flip', 'flip 180°']
    """
    if is_d4_time(orbit):
        space = [_plane_name(g) for g in groups.dihedral(4).elements]
        return [name + end for name in space for end in ("", "\nreversed")]
    group = orbit.extra.get("group")
    if group is None or group.dimension != 2:
        return ["identity" if i == orbit.identity else f"$g_{{{i}}}$" for i in range(len(orbit))]
    return [_plane_name(g) for g in group.elements]


def _plane_name(g: Tensor) -> str:
    """Name a symmetry of the plane, R(angle) or R(angle) diag(1, -1)."""
    angle = round(math.degrees(math.atan2(g[1, 0], g[0, 0])), 1) % 360
    turn = f"{angle:g}°" if angle else ""
    if torch.linalg.det(g) < 0:
        return f"flip {turn}".strip()
    return turn or "identity"


def is_d4_time(orbit: Orbit) -> bool:
    """Returns whether the orbit runs over D4 x time reversal, in the order of `orbits.d4_time`.

    >>> from equitutor.orbits import d4_time, shifts
    >>> is_d4_time(d4_time()), is_d4_time(shifts(2, 2))
    (True, False)
    """
    group = orbit.extra.get("group")
    pairs = groups.direct_product(groups.dihedral(4), groups.cyclic(2))
    return group is not None and torch.equal(group.elements, pairs.elements)


def tile_rows(orbit: Orbit) -> list[list[int]]:
    """Returns the rows of element indices, the identity first (or the 4 x 4 of `d4_time`).

    >>> from equitutor.orbits import d4_time
    >>> tile_rows(d4_time())[0]
    [1, 0, 8, 9]
    """
    if is_d4_time(orbit):  # element 2 k turns, element 2 (4 + k) flips first; odd ones reverse
        return [[2 * k + 1, 2 * k, 2 * k + 8, 2 * k + 9] for k in range(4)]
    first = orbit.identity or 0
    order = [first] + [i for i in range(len(orbit)) if i != first]
    return [order[i : i + _LONGEST_ROW] for i in range(0, len(order), _LONGEST_ROW)]


def _titles(orbit: Orbit, names: Sequence[str] | None) -> list[str]:
    if names is None:
        return element_names(orbit)
    if isinstance(names, str) or not isinstance(names, Sequence) or len(names) != len(orbit):
        raise ValueError(f"names must be {len(orbit)}, one for each element, got {names!r}")
    return [str(name) for name in names]


def _tiles(result: OrbitResult, maps: Tensor | None, sample: int | None) -> Tensor:
    """Returns the tiles (G, H, W); a score makes a tile of one pixel."""
    if maps is None:
        return values_of(result, sample)[:, None, None]
    size = result.scores.shape
    try:
        maps = torch.as_tensor(maps).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"maps must be numbers, got {type(maps)}") from None
    if maps.is_complex():
        raise ValueError(f"maps must be real, got {maps.dtype}")
    maps = maps.double()
    if (
        maps.ndim not in (3, 4)
        or not maps.numel()
        or maps.shape[: maps.ndim - 2] != size[: maps.ndim - 2]
    ):
        g, n = size
        raise ValueError(f"maps must be ({g}, H, W) or ({g}, {n}, H, W), got {tuple(maps.shape)}")
    if sample is None:
        return maps if maps.ndim == 3 else maps.nanmean(1)
    check_sample(result, sample)
    if maps.ndim == 3:
        raise ValueError(f"sample must be None for maps averaged already, got {sample!r}")
    return maps[:, sample]


def _make_axes(layouts: list, tiles: list[Tensor], titles: list[list[str]]):
    """Returns axes that give every tile the room it needs: blocks side by side, rows stacked."""
    wide = max(len(layout[0]) for layout in layouts)
    side_by_side = wide <= 4
    columns = len(layouts) if side_by_side else 1
    tile = min(0.88 * figures.WIDTH / columns / wide, 1.1)  # inches
    height = max(
        len(layout) * (tile * t.shape[1] / t.shape[2] + _lines(names) * _LINE) + 0.55
        for layout, t, names in zip(layouts, tiles, titles, strict=True)
    )
    width = min(figures.WIDTH, columns * wide * tile + 1.2)
    rows = len(layouts) // columns
    return figures.grid(columns, rows, height, width, layout="constrained")[1].flatten()


def _lines(names: list[str]) -> int:
    return 1 + max(name.count("\n") for name in names)


def _decimals(scale) -> int:
    """Returns how many decimals the numbers in the tiles need: two digits of the largest."""
    largest = max(abs(scale.low), abs(scale.high))
    magnitude = math.floor(math.log10(largest)) if largest else 0
    return max(0, 1 - magnitude if magnitude < 0 else 2 - magnitude)


def _draw(ax, layout, tiles: Tensor, titles: list[str], scale, written: bool):
    """Draw the tiles of one model, each one unit wide, and return the last one."""
    from matplotlib.colors import Normalize

    columns, height = len(layout[0]), tiles.shape[1] / tiles.shape[2]
    inches = ax.get_window_extent().width / ax.figure.dpi / columns  # of a tile, nearly
    head, gap = _lines(titles) * _LINE / inches + 0.04, 0.06
    longest = max(len(line) for title in titles for line in title.split("\n"))
    size = max(5.0, min(8.5, 72 * inches / (0.6 * longest)))
    digits = _decimals(scale)
    norm = Normalize(scale.low, scale.high)
    for r, row in enumerate(layout):
        for c, element in enumerate(row):
            left, top = c * (1 + gap), r * (height + head) + head
            image = ax.imshow(
                tiles[element].numpy(), cmap=figures.SEQUENTIAL, norm=norm,
                extent=(left, left + 1, top + height, top), interpolation="nearest",
            )  # fmt: skip
            ax.text(left + 0.5, top - 0.03, titles[element], size=size, ha="center", va="bottom",
                    linespacing=1.0)  # fmt: skip
            if written:
                value = tiles[element, 0, 0].item()
                dark = not norm(value) >= 0.5  # a missing tile is white
                color = "white" if dark and not math.isnan(value) else "black"
                ax.text(left + 0.5, top + height / 2, f"{value:.{digits}f}", size=size, color=color,
                        ha="center", va="center")  # fmt: skip
    ax.set(
        xlim=(-0.12, columns * (1 + gap) - gap + 0.12), ylim=(len(layout) * (height + head), 0),
        xticks=[], yticks=[],
        xlabel="" if written else f"each tile: {tiles.shape[1]} × {tiles.shape[2]} px",
    )  # fmt: skip
    ax.spines[:].set_visible(False)
    return image
