"""Embeddings: a map of the samples, in which neighbors have similar orbits."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from equitutor import figures
from equitutor.nero.scale import check_ax, check_result, color_bar, shared_scale
from equitutor.orbits import OrbitResult

METHODS = ("pca", "tsne", "isomap")
_NEIGHBORS = 5  # as the authors of NERO chose


class Embedding(NamedTuple):
    """A point in the plane for each sample.

    Attributes:
        points: (N, 2) float64.
        explained: for "pca", the share of the variance along each axis, in [0, 1]; else None.
        method: one of `METHODS`.
    """

    points: Tensor
    explained: tuple[float, float] | None
    method: str


def embed(result: OrbitResult, method: str = "pca", seed: int = 0) -> Embedding:
    """Returns a point in the plane for each sample, from its scores along its own orbit.

    The features of sample n are its individual NERO, column n of `result.scores`. Signs are fixed:
    the point farthest out along each axis (the first of them) lies on its positive side. Samples
    that all have the same scores stand at the origin.

    Args:
        result: result of N >= 3 samples on any orbit, without missing scores.
        method: "pca"; or "tsne" or "isomap", whose distances between far points mean little.
        seed: seed of "tsne", an int >= 0.

    Raises ValueError for N < 3, missing scores, an unknown method or a bad seed.

    Source: the dimension reduction plot of NERO (Zhao et al. 2023).

    >>> from equitutor.orbits import so2
    >>> points, explained, _ = embed(OrbitResult(torch.eye(4), so2(4)))
    >>> points.shape, round(sum(explained), 2)
    (torch.Size([4, 2]), 0.67)
    """
    check_result("result", result)
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be an int >= 0, got {seed!r}")
    features = result.scores.detach().cpu().T.double().numpy()  # (N, G)
    if len(features) < 3:
        raise ValueError(f"result must hold at least 3 samples to embed, got {len(features)}")
    if not np.isfinite(features).all():
        raise ValueError(
            f"result must hold finite scores to embed, got {(~np.isfinite(features)).sum()} that "
            "are missing or infinite; decide what they count for first"
        )
    # Rounding is no variance: an exactly invariant model must not show a cloud of noise.
    rounding = 4 * torch.finfo(result.scores.dtype).eps * np.abs(features).max()
    if np.ptp(features, axis=0).max() <= rounding:
        points, explained = np.zeros((len(features), 2)), (0.0, 0.0)
    elif method == "pca":
        points, explained = _pca(features)
    elif method == "isomap":
        points = _isomap(features)
    else:
        points = _tsne(features, seed)
    reach = np.abs(points)
    far = (reach >= (1 - 1e-6) * reach.max(0)).argmax(0)  # rounding must not break a tie
    points = points * np.where(points[far, [0, 1]] < 0, -1.0, 1.0)
    return Embedding(torch.from_numpy(points), explained if method == "pca" else None, method)


def _pca(features: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    from sklearn.decomposition import PCA

    pca = PCA(min(2, features.shape[1]), svd_solver="full")
    points = pca.fit_transform(features)
    missing = 2 - points.shape[1]  # an orbit of one element has one feature
    share = np.pad(pca.explained_variance_ratio_, (0, missing))
    return np.pad(points, ((0, 0), (0, missing))), (float(share[0]), float(share[1]))


def _tsne(features: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    start, _ = _pca(features)
    return TSNE(
        perplexity=min(30, (len(features) - 1) / 3),
        init=1e-4 * start / start[:, 0].std(),  # small, so that the start decides little
        learning_rate="auto",
        random_state=seed,
    ).fit_transform(features)


def _isomap(features: np.ndarray) -> np.ndarray:
    from scipy.sparse.csgraph import connected_components
    from sklearn.manifold import Isomap
    from sklearn.neighbors import kneighbors_graph

    neighbors = min(_NEIGHBORS, len(features) - 1)
    # Islands have no distance along the graph to one another: look farther until there are none.
    while connected_components(kneighbors_graph(features, neighbors), directed=False)[0] > 1:
        neighbors = min(2 * neighbors, len(features) - 1)
    # The dense solver starts from no random vector.
    return Isomap(n_neighbors=neighbors, eigen_solver="dense").fit_transform(features)


def plot_embedding(
    result: OrbitResult,
    color: str | Tensor = "mean",
    method: str = "pca",
    seed: int = 0,
    embedding: Embedding | None = None,
    label: str = "score",
    limits: tuple[float, float] | None = None,
    ax=None,
):
    """Returns the axes with one point for each sample; samples with similar orbits lie together.

    Args:
        result: result of N >= 3 samples on any orbit.
        color: "mean" of the score along each sample's orbit; "spread", its standard deviation
            along the orbit; or integer labels (N,), then each point is drawn as its label.
        method, seed: as in `embed`.
        embedding: from `embed`, to draw the same points again; None makes it.
        label: what the score means, for the color bar.
        limits: (low, high) of the color scale; None takes the range of the points.
        ax: matplotlib axes to draw on; None makes a figure.

    Raises ValueError where `embed` does, or for an embedding, color or limits that do not fit.

    >>> from equitutor.orbits import so2
    >>> ax = plot_embedding(OrbitResult(torch.rand(8, 20), so2(8)), color="spread")
    >>> len(ax.collections[0].get_offsets())
    20
    """
    if embedding is None:
        embedding = embed(result, method, seed)
    check_result("result", result)
    if not isinstance(embedding, Embedding) or embedding.method not in METHODS:
        raise ValueError(f"embedding must be an Embedding, as embed returns it, got {embedding!r}")
    points, count = torch.as_tensor(embedding.points).numpy(), result.scores.shape[1]
    if points.shape != (count, 2) or not np.isfinite(points).all():
        raise ValueError(f"embedding must hold {count} points, all finite, got {points}")
    if not isinstance(color, str):
        labels = _labels(color, count, limits)
    elif color in ("mean", "spread"):
        values = (result.mean() if color == "mean" else result.spread()).detach().cpu()
        scale = shared_scale([values], limits)
    else:
        raise ValueError(f"color must be 'mean', 'spread' or labels (N,), got {color!r}")
    if ax is None:
        ax = figures.grid(1, height=3.6, width=5.2, layout="constrained")[1][0, 0]
    check_ax("ax", ax, "rectilinear")
    if isinstance(color, str):
        dots = ax.scatter(
            *points.T, c=values.numpy(), cmap=figures.SEQUENTIAL, vmin=scale.low, vmax=scale.high,
            s=22, edgecolors=figures.INK, linewidths=0.4,
        )  # fmt: skip
        kind = "mean" if color == "mean" else "standard deviation"
        color_bar(dots, [ax], f"{label}, {kind} over orbit", scale)
    else:
        _draw_labels(ax, points, labels)
    shown = {"pca": "PCA", "tsne": "t-SNE", "isomap": "Isomap"}[embedding.method]
    for axis, set_label in enumerate((ax.set_xlabel, ax.set_ylabel)):
        unit = "arbitrary units"
        if embedding.explained is not None:
            unit = f"{100 * embedding.explained[axis]:.0f}% of the variance"
        set_label(f"{shown} {axis + 1} ({unit})")
    ax.set_aspect("equal", adjustable="datalim")
    ax.locator_params(nbins=6)
    return ax


def _labels(color, count: int, limits) -> Tensor:
    try:
        labels = torch.as_tensor(color).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"color must be {count} integer labels, got {type(color)}") from None
    if labels.is_floating_point() or labels.is_complex() or labels.shape != (count,):
        raise ValueError(
            f"color must be {count} integer labels, got {labels.dtype} {tuple(labels.shape)}"
        )
    if limits is not None:
        raise ValueError(f"limits must be None for labels, got {limits!r}")
    return labels.long()


def _draw_labels(ax, points: np.ndarray, labels: Tensor) -> None:
    """Draw each point as its label, so that color alone carries nothing."""
    from matplotlib import colormaps, colors

    kinds = labels.unique().tolist()
    # The ends of the map do not stand out from white paper, or from the dark theme's.
    shades = colormaps[figures.SEQUENTIAL](np.linspace(0.4, 0.6, len(kinds)))
    palette = colors.ListedColormap(shades)
    norm = colors.BoundaryNorm(np.arange(len(kinds) + 1) - 0.5, len(kinds))
    for k, kind in enumerate(kinds):
        mine = (labels == kind).numpy()
        dots = ax.scatter(
            *points[mine].T, c=np.full(mine.sum(), k), cmap=palette, norm=norm,
            marker=f"${kind}$", s=36, linewidths=0.4,
        )  # fmt: skip
    bar = ax.figure.colorbar(dots, ax=ax, label="label", shrink=0.85)
    bar.set_ticks(range(len(kinds)), labels=[str(kind) for kind in kinds])
    bar.ax.minorticks_off()
