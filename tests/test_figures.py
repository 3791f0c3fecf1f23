"""The house style: what is drawn is what was given."""

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib import pyplot as plt

from equitutor import figures


@pytest.fixture(autouse=True)
def restored():
    with plt.rc_context():
        yield
    plt.close("all")


def test_the_style_is_set_only_on_request():
    before = plt.rcParams["axes.spines.top"]
    figures.grid(2)
    assert plt.rcParams["axes.spines.top"] == before
    figures.use()
    assert plt.rcParams["axes.spines.top"] is False
    assert plt.rcParams["image.cmap"] == figures.SEQUENTIAL


def test_each_role_has_one_color_and_its_own_marker():
    assert len(set(figures.COLORS.values())) == len(figures.COLORS)
    assert figures.COLORS.keys() == figures.MARKERS.keys()
    assert len(set(figures.MARKERS.values())) == len(figures.MARKERS)
    assert figures.SEQUENTIAL in colormaps


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (2, 4)])
def test_a_grid_has_its_rows_and_columns(shape):
    figure, axes = figures.grid(shape[1], shape[0], height=2.0)
    assert axes.shape == shape
    assert figure.get_size_inches().tolist() == [figures.WIDTH, 2.0 * shape[0]]


@pytest.mark.parametrize("size", [{"columns": 0}, {"columns": 1, "rows": 0}])
def test_an_empty_grid_is_refused(size):
    with pytest.raises(ValueError, match="columns and rows"):
        figures.grid(**size)


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        (torch.rand(4, 6, requires_grad=True), (4, 6)),
        (torch.rand(1, 4, 6), (4, 6)),
        (torch.rand(3, 4, 6), (4, 6, 3)),
        (np.random.default_rng(0).random((3, 4, 6)), (4, 6, 3)),
    ],
)
def test_an_image_is_shown_as_it_is(image, shape):
    ax = figures.grid(1)[1][0, 0]
    shown = figures.show_image(ax, image, title="a").get_array()
    assert shown.shape == shape
    wanted = torch.as_tensor(image).detach().numpy().squeeze()
    np.testing.assert_allclose(shown if shown.ndim == 2 else np.moveaxis(shown, -1, 0), wanted)
    assert ax.get_title() == "a"
    assert len(ax.get_lines()) == 0


def test_gray_runs_from_zero_to_one_unless_said_otherwise():
    ax = figures.grid(1)[1][0, 0]
    assert figures.show_image(ax, torch.full((4, 4), 0.5)).get_clim() == (0, 1)
    assert figures.show_image(ax, torch.rand(4, 4), vmin=-2, vmax=3).get_clim() == (-2, 3)


@pytest.mark.parametrize(
    ("cells", "rows", "columns"),
    [(2, [-0.5, 1.5, 3.5], [-0.5, 1.5, 3.5, 5.5]), ((4, 3), [-0.5, 3.5], [-0.5, 2.5, 5.5])],
)
def test_grid_lines_stand_between_the_cells(cells, rows, columns):
    ax = figures.grid(1)[1][0, 0]
    figures.show_image(ax, torch.rand(4, 6), cells=cells)
    across = [line.get_ydata()[0] for line in ax.get_lines() if line.get_xdata()[1] == 1]
    down = [line.get_xdata()[0] for line in ax.get_lines() if line.get_ydata()[1] == 1]
    assert across == rows
    assert down == columns


@pytest.mark.parametrize("shape", [(4,), (2, 4, 4), (1, 1, 4, 4)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match="image must be"):
        figures.show_image(figures.grid(1)[1][0, 0], torch.rand(shape))
