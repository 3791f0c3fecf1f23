"""Still pictures of bodies and scans, in three dimensions."""

import torch
from torch import Tensor

from equitutor.explorers.articulated import part_colors
from equitutor.methods.articulated import Body, Prediction, closed_form_translation


def stage(figure, place, points: Tensor, title: str = "", azim: float = -72, half: float = 0.85):
    """Returns a bare 3D panel around points, seen from a little above and without perspective.

    Args:
        figure: matplotlib figure; its automatic layout is switched off, since places are given.
        place: (left, bottom, width, height) as shares of the figure.
        points: (N, 3); the panel shows the middle of their box.
        title: above the panel.
        azim: where from, degrees; -90 is the front. half: half the width that is shown.

    >>> from matplotlib.figure import Figure
    >>> stage(Figure(), (0, 0, 1, 1), torch.rand(5, 3), "five points").texts[0].get_text()
    'five points'
    """
    figure.set_layout_engine("none")
    ax = figure.add_axes(place, projection="3d", computed_zorder=False)
    ax.set_proj_type("ortho")
    ax.view_init(elev=8, azim=azim)
    middle = (points.amax(0) + points.amin(0)) / 2
    for set_limits, m in zip((ax.set_xlim, ax.set_ylim, ax.set_zlim), middle.tolist(), strict=True):
        set_limits(m - half, m + half)
    ax.set_box_aspect((1, 1, 1), zoom=1.45)
    ax.set_axis_off()
    ax.text2D(0.5, 1.0, title, transform=ax.transAxes, ha="center", va="bottom")
    return ax


def surface(ax, vertices: Tensor, faces: Tensor, color="#c9d3dc", alpha: float = 1.0):
    """Returns the mesh of a shaded surface, drawn on a panel.

    Args:
        ax: as `stage` makes it. vertices: (V, 3). faces: (F, 3).
        color: one color, or one for each vertex, (V, 3). alpha: below 1 the scan shines through.

    >>> from matplotlib.figure import Figure
    >>> ax = stage(Figure(), (0, 0, 1, 1), torch.eye(3))
    >>> surface(ax, torch.eye(3), torch.tensor([[0, 1, 2]]), alpha=0.5).get_alpha()
    0.5
    """
    from matplotlib.colors import to_rgb
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    corners = vertices[faces]
    a, b, c = corners.unbind(1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)
    light = 0.72 + 0.28 * (normal @ normal.new_tensor([0.35, -0.75, 0.56]))
    own = torch.tensor(to_rgb(color)) if isinstance(color, str) else color[faces].mean(1)
    tone = (own * light[:, None]).clamp(0, 1).numpy()
    edge = dict(edgecolor=tone, linewidth=0.2) if alpha == 1 else dict(linewidth=0)
    mesh = Poly3DCollection(corners.numpy(), facecolor=tone, alpha=alpha, zorder=1, **edge)
    ax.add_collection3d(mesh)
    return mesh


def dots(ax, points: Tensor, labels: Tensor, names: tuple[str, ...], size: float = 5):
    """Returns the points (N, 3) drawn in the colors of their parts.

    Args:
        ax: as `stage` makes it. labels: part of each point, (N,). names: of the parts.
        size: of a point, square points.

    >>> from matplotlib.figure import Figure
    >>> ax = stage(Figure(), (0, 0, 1, 1), torch.eye(3))
    >>> len(dots(ax, torch.eye(3), torch.tensor([0, 1, 0]), ("trunk", "head")).get_offsets())
    3
    """
    colors = [part_colors(names)[k] for k in labels.tolist()]
    style = dict(s=size, c=colors, depthshade=False, lw=0, zorder=2)
    return ax.scatter(*points.T.numpy(), **style)


def fitted(body: Body, prediction: Prediction, points: Tensor) -> Tensor:
    """Returns the vertices (B, V, 3) of predicted bodies, each where its points (B, N, 3) are.

    >>> from equitutor.methods.articulated import PointNet, random_scans, toy_body
    >>> points = random_scans(toy_body(), 2, 50).points
    >>> fitted(toy_body(), PointNet(6, 3).eval()(points), points).shape
    torch.Size([2, 660, 3])
    """
    vertices, _ = body(prediction.beta, prediction.rotations)
    return vertices + closed_form_translation(points, vertices, body.faces)[:, None]
