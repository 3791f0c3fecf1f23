"""House style for every figure: one palette, one size grid, axes that say what they show.

>>> from equitutor import figures
>>> figures.COLORS["plain"], figures.COLORS["method"]
('#D55E00', '#0072B2')
"""

import os
import sys

import numpy as np
import torch

# Okabe and Ito's colors, told apart by color-blind readers; each has one meaning in the book.
COLORS = {
    "plain": "#D55E00",  # the network without the method
    "method": "#0072B2",  # the network with it
    "augmented": "#009E73",
    "partial": "#CC79A7",  # one half of a method, in an ablation
    "other": "#E69F00",
    "muted": "#7F7F7F",
}
MARKERS = {
    "plain": "s",
    "method": "o",
    "augmented": "^",
    "partial": "D",
    "other": "v",
    "muted": "x",
}
SEQUENTIAL = "cividis"  # low to high
INK = "#1b1f24"  # of words and axes; a page in the dark theme shows another in its place
WIDTH = 7.2  # inches: the text column of the book


def use() -> None:
    """Sets the house style for all figures that follow. Chapters call it in their first cell.

    Where pages are made, each figure comes out as a drawing, too (see `tools/press/drawings.py`).

    >>> use()
    """
    import matplotlib as mpl

    if os.environ.get("EQUITUTOR_STATIC") and (shell := sys.modules["IPython"].get_ipython()):
        from matplotlib_inline.config import InlineBackend

        InlineBackend.instance(parent=shell).figure_formats = {"retina", "svg"}
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 160,
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": False,
            "axes.prop_cycle": mpl.cycler(color=list(COLORS.values())),
            "legend.frameon": False,
            "image.cmap": SEQUENTIAL,
            "image.interpolation": "none",  # a drawing keeps the pixels as they are
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    )


def grid(columns: int, rows: int = 1, height: float = 2.2, width: float = WIDTH, **kwargs):
    """Returns (figure, axes[rows, columns]) at the width of the text.

    Args:
        columns, rows: number of panels, >= 1.
        height: height of a row in inches.
        width: width of the figure in inches.
        kwargs: passed on to `matplotlib.pyplot.subplots`.

    >>> figure, axes = grid(3)
    >>> axes.shape
    (1, 3)
    """
    import matplotlib.pyplot as plt

    if columns < 1 or rows < 1:
        raise ValueError(f"columns and rows must be >= 1, got {columns!r} and {rows!r}")
    return plt.subplots(rows, columns, figsize=(width, height * rows), squeeze=False, **kwargs)


def show_image(ax, image, title: str = "", cells: int | tuple[int, int] | None = None, **kwargs):
    """Returns the artist of `image` drawn on `ax`, with the lines of a patch grid if asked for.

    Args:
        ax: matplotlib axes.
        image: (H, W), (1, H, W) or (3, H, W) tensor or array, values in [0, 1] unless `vmin` and
            `vmax` are given.
        title: title of the panel.
        cells: side of a grid cell in pixels, p or (p_h, p_w); draws the grid lines.
        kwargs: passed on to `Axes.imshow`.

    >>> _, axes = grid(1)
    >>> show_image(axes[0, 0], torch.rand(1, 8, 8), cells=4).get_array().shape
    (8, 8)
    """
    array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)
    elif array.ndim != 2:
        raise ValueError(f"image must be (H, W), (1, H, W) or (3, H, W), got {array.shape}")
    artist = ax.imshow(array, **({"cmap": "gray", "vmin": 0, "vmax": 1} | kwargs))
    ax.set(xticks=[], yticks=[], title=title)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if cells is not None:
        p_h, p_w = cells if isinstance(cells, tuple) else (cells, cells)
        height, width = array.shape[:2]
        style = {"color": COLORS["other"], "lw": 0.7}
        for row in range(0, height + 1, p_h):
            ax.axhline(row - 0.5, **style)
        for column in range(0, width + 1, p_w):
            ax.axvline(column - 0.5, **style)
    return artist
