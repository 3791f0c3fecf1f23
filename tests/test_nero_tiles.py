"""Tiles: each element has its tile, in its place, under its name, on the one scale."""

import math

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from equitutor import figures, groups
from equitutor.nero import plot_tiles
from equitutor.orbits import Orbit, OrbitResult, d4_time, finite, so2


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def numbered(orbit, samples=1):
    """Return a result whose score is the index of the element."""
    return OrbitResult(torch.arange(len(orbit)).double()[:, None].repeat(1, samples), orbit)


def of(group):
    return finite(group, lambda x, i: x)


def tiles(ax):
    """Return the rows of tiles as they are seen, each (array, title)."""
    heads = {}
    for text in ax.texts:
        heads.setdefault(round(text.get_position()[0], 3), []).append(text)
    seen = {}
    for image in ax.get_images():
        left, right, _, top = image.get_extent()
        above = [t for t in heads[round((left + right) / 2, 3)] if t.get_position()[1] < top]
        title = max(above, key=lambda t: t.get_position()[1]).get_text()  # the nearest one
        seen.setdefault(round(top, 3), {})[left] = (image.get_array(), title)
    downward = ax.get_ylim()[0] > ax.get_ylim()[1]
    assert downward
    return [[row[left] for left in sorted(row)] for _, row in sorted(seen.items())]


# The sixteen -------------------------------------------------------------------------------


def test_reversed_twins_stand_outside_of_the_element_they_reverse():
    orbit = d4_time()
    (ax,) = plot_tiles(numbered(orbit))
    rows = tiles(ax)
    shown = [[int(array.item()) for array, _ in row] for row in rows]
    assert sorted(i for row in shown for i in row) == list(range(16))
    assert [len(row) for row in shown] == [4] * 4
    pair = torch.stack([torch.arange(9.0).view(3, 3), 10 + torch.arange(9.0).view(3, 3)])[None]
    for row in shown:
        moved = [orbit.act_x(pair, i)[0] for i in row]
        assert [frames[0].max().item() for frames in moved] == [18, 8, 8, 18]  # the later frame
        assert torch.equal(moved[0].flip(0), moved[1])
        assert torch.equal(moved[3].flip(0), moved[2])
    assert shown[0][1] == orbit.identity


def test_titles_name_what_the_element_does():
    orbit = d4_time()
    x = torch.arange(18.0).view(1, 2, 3, 3)
    (ax,) = plot_tiles(numbered(orbit))
    titles = {int(array.item()): title for row in tiles(ax) for array, title in row}
    assert len(set(titles.values())) == 16
    for i, title in titles.items():
        wanted = x.flip(-2) if "flip" in title else x  # upside down, before the turn
        turn = next((k for k in range(1, 4) if f"{90 * k}°" in title), 0)
        wanted = torch.rot90(wanted, turn, (-2, -1))
        wanted = wanted.flip(1) if "reversed" in title else wanted
        assert torch.equal(orbit.act_x(x, i), wanted), title


# Other groups ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "lengths"),
    [(groups.cyclic(5), [5]), (groups.dihedral(4), [8]), (groups.octahedral(), [12, 12])],
)
def test_other_groups_stand_in_rows_in_the_order_of_their_table(group, lengths):
    rows = tiles(plot_tiles(numbered(of(group)))[0])
    assert [len(row) for row in rows] == lengths
    assert [array.item() for row in rows for array, _ in row] == list(range(len(group)))
    assert rows[0][0][1] == "identity"


def test_the_identity_stands_first_wherever_the_table_has_it():
    group = groups.cyclic(4).subgroup([2, 0])
    (row,) = tiles(plot_tiles(numbered(of(group)))[0])
    assert [(array.item(), title) for array, title in row] == [(1, "identity"), (0, "180°")]


def test_names_can_be_given_and_elements_of_any_finite_orbit_have_one():
    orbit = Orbit("mirror", torch.tensor([[0.0], [1.0]]), lambda x, i: x, kind="finite")
    (row,) = tiles(plot_tiles(numbered(orbit))[0])
    assert [title for _, title in row] == ["identity", "$g_{1}$"]
    (row,) = tiles(plot_tiles(numbered(orbit), names=["as it is", "mirrored"])[0])
    assert [title for _, title in row] == ["as it is", "mirrored"]


# Maps and scores ---------------------------------------------------------------------------


def test_maps_are_averaged_over_the_samples_of_their_own_element():
    maps = torch.rand(5, 3, 2, 4, generator=torch.Generator().manual_seed(0)).double()
    maps[2, 1, 0, 3] = torch.nan
    result = numbered(of(groups.cyclic(5)), samples=3)
    mean = np.nanmean(maps.numpy(), axis=1)
    for drawn in (maps, torch.from_numpy(mean)):
        (row,) = tiles(plot_tiles(result, maps=drawn)[0])
        np.testing.assert_allclose(np.stack([array for array, _ in row]), mean)
    (row,) = tiles(plot_tiles(result, maps=maps, sample=2)[0])
    np.testing.assert_allclose(np.stack([array for array, _ in row]), maps[:, 2])


def test_a_tile_keeps_the_shape_of_its_map():
    (ax,) = plot_tiles(numbered(of(groups.cyclic(3))), maps=torch.rand(3, 4, 8))
    left, right, bottom, top = ax.get_images()[0].get_extent()
    assert (bottom - top) / (right - left) == pytest.approx(0.5)
    assert "4 × 8 px" in ax.get_xlabel()


def test_scores_are_written_into_their_tiles():
    result = OrbitResult(torch.tensor([[0.25], [0.5], [math.nan]]), of(groups.cyclic(3)))
    (ax,) = plot_tiles(result)
    assert {"0.25", "0.50", "nan"} <= {text.get_text() for text in ax.texts}
    assert len(plot_tiles(result, maps=torch.rand(3, 2, 2))[0].texts) == 3  # titles alone


# One scale ---------------------------------------------------------------------------------


def test_models_share_one_scale():
    orbit = of(groups.cyclic(3))
    scores = {"a": torch.tensor([[0.1], [0.2], [0.3]]), "b": torch.tensor([[0.0], [0.2], [0.9]])}
    axes = plot_tiles({name: OrbitResult(s, orbit) for name, s in scores.items()})
    (limits,) = {image.get_clim() for ax in axes for image in ax.get_images()}
    assert limits == pytest.approx((0, 0.9))
    assert [ax.get_title() for ax in axes] == ["a", "b"]


def test_a_clipped_scale_says_so():
    result = numbered(of(groups.cyclic(5)))
    for options, top, words, extend in (
        (dict(percentile=50), 2, "clipped at percentile 50", "max"),
        (dict(percentile=100), 4, "", "neither"),
        (dict(limits=(1, 3)), 3, "clipped", "both"),
        (dict(limits=(-1, 9)), 9, "", "neither"),
    ):
        (ax,) = plot_tiles(result, label="error (px)", **options)
        bar = ax.get_images()[-1].colorbar
        assert ax.get_images()[0].get_clim()[1] == top
        assert bar.extend == extend
        assert bar.ax.get_ylabel() == (f"error (px) ({words})" if words else "error (px)")


# Refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(maps=torch.zeros(3, 4, 2, 2)), r"maps must be \(3, H, W\) or \(3, 2, H, W\)"),
        (dict(maps=torch.zeros(2, 3, 4, 4)), "maps must be"),  # samples first
        (dict(maps=torch.zeros(3, 2)), "maps must be"),
        (dict(maps={"b": torch.zeros(3, 2, 2)}), "maps must have the names"),
        (dict(maps=torch.zeros(3, 2, 2), sample=0), "sample must be None"),
        (dict(maps=torch.zeros(3, 2, 2, 2), sample=2), "sample must index 2"),
        (dict(sample=2), "sample must index 2"),
        (dict(names=["one"]), "names must be 3"),
        (dict(percentile=0), "percentile must lie in"),
        (dict(percentile=1e-6, maps=torch.eye(3)[None].repeat(3, 1, 1)), "above the lowest value"),
        (dict(percentile=50, limits=(0, 1)), "exclude each other"),
        (dict(limits=(1, 1)), "limits must be"),
        (dict(axes=[]), "axes must be 1"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plot_tiles(numbered(of(groups.cyclic(3)), samples=2), **options)


def test_other_orbits_and_maps_without_names_are_refused():
    with pytest.raises(ValueError, match="kind 'finite', got 'circle'"):
        plot_tiles(numbered(so2(4)))
    two = {name: numbered(of(groups.cyclic(3))) for name in "ab"}
    with pytest.raises(ValueError, match="maps must be a dict"):
        plot_tiles(two, maps=torch.zeros(3, 2, 2))
    with pytest.raises(ValueError, match="not missing"):
        plot_tiles(two, maps=dict.fromkeys("ab", torch.full((3, 2, 2), torch.nan)))


def test_given_axes_are_drawn_on():
    _, axes = figures.grid(2)
    two = {name: numbered(of(groups.cyclic(3))) for name in "ab"}
    assert [len(ax.get_images()) for ax in plot_tiles(two, axes=axes[0])] == [3, 3]
