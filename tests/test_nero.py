"""NERO plots: planted values stand where they belong, and all models share one scale."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba

from equitutor import figures
from equitutor.nero import plot_heat, plot_polar
from equitutor.orbits import Orbit, OrbitResult, d4_time, shifts, so2, windows


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def result(orbit, samples=3, low=0.0, high=1.0):
    """Return scores spread over low ... high, all different."""
    scores = torch.linspace(low, high, len(orbit) * samples)
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(0))
    return OrbitResult(scores[order].view(len(orbit), samples), orbit)


def planted(height, width, step, at):
    """Return a result that is 1 at the shift ``at`` and 0 elsewhere."""
    orbit = shifts(height, width, step)
    hit = (orbit.params == torch.tensor(at, dtype=torch.float64)).all(1)
    assert hit.sum() == 1
    return OrbitResult(hit.float()[:, None], orbit)


# Heat maps ---------------------------------------------------------------------------------


def drawn_at(image, down, right):
    """Return the value an image shows at a point of its axes."""
    left, end, bottom, top = image.get_extent()
    table = image.get_array()
    row = int((down - top) / (bottom - top) * table.shape[0])
    column = int((right - left) / (end - left) * table.shape[1])
    return table[row, column]


@pytest.mark.parametrize(
    ("size", "at", "shown_at"),
    [
        ((4, 6, 1), (0, 0), (0, 0)),
        ((4, 6, 1), (1, 2), (1, 2)),
        ((4, 6, 1), (3, 5), (-1, -1)),
        ((5, 7, 1), (0, 0), (0, 0)),
        ((5, 7, 1), (4, 1), (-1, 1)),
        ((8, 12, 2), (0, 0), (0, 0)),
        ((8, 12, 2), (6, 2), (-2, 2)),
        ((1, 6, 1), (0, 5), (0, -1)),
        ((1, 1, 1), (0, 0), (0, 0)),
    ],
)
def test_the_unmoved_input_stands_in_the_middle(size, at, shown_at):
    (ax,) = plot_heat(planted(*size, at))
    (image,) = ax.get_images()
    assert drawn_at(image, *shown_at) == 1
    assert image.get_array().sum() == 1


def test_models_share_one_scale_and_one_color_bar():
    orbit = shifts(4, 6)
    results = {"a": result(orbit, high=0.5), "b": result(orbit, low=0.2, high=2.0)}
    axes = plot_heat(results)
    images = [ax.get_images()[0] for ax in axes]
    low, high = images[0].get_clim()
    assert images[1].get_clim() == (low, high)
    means = torch.cat([r.aggregate() for r in results.values()])
    assert (low, high) == (means.min(), means.max())
    assert [ax.get_title() for ax in axes] == ["a", "b"]
    assert len(axes[0].figure.axes) == 3
    assert plot_heat(results, limits=(0, 1))[0].get_images()[0].get_clim() == (0, 1)


def test_a_sample_is_drawn_on_its_own():
    r = result(shifts(4, 6))
    table = plot_heat(r, sample=1)[0].get_images()[0].get_array()
    assert sorted(table.flatten().tolist()) == sorted(r.scores[:, 1].tolist())


def test_given_axes_are_drawn_on():
    _, axes = figures.grid(2)
    plot_heat({"a": result(shifts(2, 2)), "b": result(shifts(2, 4))}, axes=axes[0])
    assert [len(ax.get_images()) for ax in axes[0]] == [1, 1]
    with pytest.raises(ValueError, match="axes must be 1"):
        plot_heat(result(shifts(2, 2)), axes=axes[0])


def test_missing_scores_do_not_spoil_the_scale():
    r = result(shifts(2, 2), samples=1, low=0.25, high=1.0)
    r.scores[1] = torch.nan
    low, high = plot_heat(r)[0].get_images()[0].get_clim()
    assert 0.25 <= low < high <= 1.0
    with pytest.raises(ValueError, match="not missing"):
        plot_heat(OrbitResult(torch.full((4, 1), torch.nan), shifts(2, 2)))


# Polar curves ------------------------------------------------------------------------------


def test_curves_are_closed_and_radii_start_at_zero():
    r = result(so2(8), low=0.5)
    ax = plot_polar(r)
    (line,) = ax.get_lines()
    angles, radii = line.get_data()
    assert len(angles) == 9
    assert angles[-1] - angles[0] == pytest.approx(2 * np.pi)
    assert radii[-1] == radii[0]
    np.testing.assert_allclose(radii[:-1], r.aggregate())
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] >= radii.max()


def test_each_model_has_a_curve_a_band_and_a_name():
    ax = plot_polar({"a": result(so2(8)), "b": result(so2(12), high=3.0)}, roles={"b": "plain"})
    assert [line.get_label() for line in ax.get_lines()] == ["a", "b"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]
    assert sum(isinstance(c, PolyCollection) for c in ax.collections) == 2
    assert to_rgba(ax.get_lines()[1].get_color()) == to_rgba(figures.COLORS["plain"])
    assert ax.get_ylim()[1] > 1  # one scale, wide enough for the larger


def test_a_single_sample_has_no_band():
    for ax in (
        plot_polar(result(so2(8)), sample=0),
        plot_polar(result(so2(8)), band=False),
        plot_polar(result(so2(8), samples=1)),
    ):
        assert len(ax.collections) == 0
    np.testing.assert_allclose(
        plot_polar(result(so2(8)), sample=2).get_lines()[0].get_ydata()[:-1],
        result(so2(8)).scores[:, 2],
    )


def test_a_limit_holds_and_scores_of_zero_draw():
    assert plot_polar(result(so2(8)), limit=5.0).get_ylim() == (0, 5)
    assert plot_polar(result(so2(8), high=0.0)).get_ylim() == (0, 1)


def test_missing_scores_do_not_spoil_the_radius():
    r = result(so2(8), low=2.0, high=4.0)
    r.scores[3] = torch.nan
    assert plot_polar(r).get_ylim()[1] > 2


# Refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot_heat(result(so2(8))), "kind 'grid2d', got 'circle'"),
        (lambda: plot_polar(result(shifts(2, 2))), "kind 'circle', got 'grid2d'"),
        (lambda: plot_polar({"a": result(so2(8)), "b": result(d4_time())}), r"results\['b'\]"),
        (lambda: plot_heat({}), "results must be"),
        (lambda: plot_heat([result(shifts(2, 2))]), "results must be"),
        (lambda: plot_heat({"a": torch.zeros(4, 2)}), "OrbitResult"),
        (lambda: plot_heat(result(shifts(2, 2)), sample=3), "sample must index 3"),
        (lambda: plot_polar(result(so2(8)), sample=-1), "sample must index 3"),
        (lambda: plot_polar(result(so2(8), low=-1.0)), ">= 0 to be a radius"),
        (lambda: plot_polar(result(so2(8)), ax=figures.grid(1)[1][0, 0]), "polar axes"),
        (lambda: plot_polar({"a": result(so2(8))}, roles={"a": "best"}), "roles"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_the_floor_of_the_measurement_is_drawn():
    """As a band around a curve, and as a frame on the scale of colors."""
    scores, floor = torch.full((8, 2), 0.5), torch.full((8, 2), 0.1)
    plain, known = OrbitResult(scores, so2(8)), OrbitResult(scores, so2(8), floor=floor)
    bands = lambda ax: [c for c in ax.collections if "itself" in str(c.get_label())]
    assert not bands(plot_polar(plain, band=False))
    ax = plot_polar({"one": known, "two": known}, band=False)
    (band,) = bands(ax)  # named once, drawn for both
    radii = band.get_paths()[0].vertices[:, 1]
    assert len(ax.collections) == 2
    assert radii.min() == pytest.approx(0.4) and radii.max() == pytest.approx(0.6)
    scores = torch.arange(16.0).view(8, 2)
    for floor, words in ((None, "score"), (torch.full((8, 2), 2.0), "±2")):
        (ax,) = plot_heat(OrbitResult(scores, shifts(2, 4), floor=floor))
        bar = next(a for a in ax.figure.axes if a is not ax)
        assert words in bar.get_ylabel()
        frames = [p for p in bar.patches if p.get_height() == pytest.approx(4.0)]
        assert len(frames) == (floor is not None)


def test_heat_of_windows_has_no_shift_in_the_middle():
    orbit = windows(16, 8, reach=4, step=2)  # 5 x 5 shifts from -4 to 4
    scores = torch.zeros(25, 2)
    scores[orbit.identity] = 1
    scores[0] = 0.5  # 4 up, 4 left
    (ax,) = plot_heat(OrbitResult(scores, orbit))
    (image,) = ax.get_images()
    table = image.get_array()
    assert table.shape == (5, 5) and table[2, 2] == 1 and table[0, 0] == 0.5
    assert image.get_extent() == [-5, 5, 5, -5]
    some = Orbit("some", orbit.params[:24], lambda x, i: x, kind="grid2d")
    with pytest.raises(ValueError, match="full grid of shifts, got 24"):
        plot_heat(OrbitResult(scores[:24], some))


@pytest.mark.parametrize(
    "scores",
    [
        torch.ones(8, 2, dtype=torch.long), torch.ones(8, 0), torch.ones(8), torch.ones(7, 2),
        torch.ones(8, 2, 2), torch.full((8, 2), torch.inf), torch.ones(8, 2).cfloat(),
    ],
)  # fmt: skip
def test_tables_that_are_no_scores_are_refused(scores):
    for draw, orbit in ((plot_polar, so2(8)), (plot_heat, shifts(2, 4))):
        with pytest.raises(ValueError, match=r"floating point scores \(8, N\)|finite scores"):
            draw(OrbitResult(scores, orbit))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_any_precision_and_with_gradients_draw(dtype):
    scores = torch.rand(8, 3).to(dtype).requires_grad_()
    plot_heat(OrbitResult(scores, shifts(2, 4)))
    curve = plot_polar(OrbitResult(scores, so2(8))).lines[0].get_ydata()
    assert curve[:-1] == pytest.approx(scores.detach().double().mean(1).numpy(), rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sample": True}, "sample"), ({"sample": 1.5}, "sample"), ({"limits": 5}, "limits"),
     ({"limits": (0, torch.inf)}, "limits"), ({"limits": (None, 1)}, "limits"),
     ({"axes": 5}, "axes"), ({"axes": [1]}, "axes")],
)  # fmt: skip
def test_arguments_of_a_heat_map_are_named(options, message):
    with pytest.raises(ValueError, match=f"{message} must"):
        plot_heat(OrbitResult(torch.rand(8, 2), shifts(2, 4)), **options)


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": -1}, {"limit": "a"}, {"roles": 5}])
def test_arguments_of_a_curve_are_named(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must"):
        plot_polar(OrbitResult(torch.rand(8, 2), so2(8)), **options)
