"""From points to parts: soft centroids, pooled features, points in the frames of the group."""

import torch
from torch import Tensor, nn

from equitutor.methods.icosahedral import ExactConstants, RotationTables


def part_centroids(points: Tensor, weights: Tensor) -> Tensor:
    """Returns the weighted centroid of each part, (B, P, 3); zero for a part without points.

    Center the cloud before: then the zero of an empty part is the middle of the cloud, and no
    guard against division by zero can break translation.

    Args:
        points: (B, N, 3). weights: >= 0, (B, N, P).

    >>> points = torch.tensor([[[1.0, 0, 0], [3, 0, 0]]])
    >>> part_centroids(points, torch.tensor([[[1.0, 0], [1, 0]]]))
    tensor([[[2., 0., 0.],
             [0., 0., 0.]]])
    """
    _check_weights(weights, points)
    return (weights.mT @ points) / weights.sum(1).clamp(min=1e-6)[..., None]


def pool_parts(features: Tensor, weights: Tensor) -> Tensor:
    """Returns features of parts (B, P, G, C), weighted means of those of points (B, S, G, C).

    Args:
        features: (B, S, G, C). weights: >= 0, (B, S, P). A part without weight gets zeros.

    >>> pool_parts(torch.ones(1, 5, 60, 2), torch.zeros(1, 5, 3)).abs().max()
    tensor(0.)
    """
    _check_weights(weights, features)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-6)
    return torch.einsum("bsp,bsgc->bpgc", weights, features)


def _check_weights(weights: Tensor, values: Tensor) -> None:
    if weights.ndim != 3 or weights.shape[:2] != values.shape[:2]:
        raise ValueError(
            f"weights has shape {tuple(weights.shape)}; need ({len(values)}, {values.shape[1]}, P)"
        )


def parts_of(labels: Tensor, points: Tensor, parts: int) -> Tensor:
    """Returns weights (B, N, P) as `points` are: 1 in the part that a label names, else 0.

    Args:
        labels: (B, N), int64. points: (B, N, 3). parts: P.

    Raises:
        ValueError: labels of another shape or dtype.
        RuntimeError: a label outside 0 ... P - 1; on a GPU, later, an assertion there.

    >>> parts_of(torch.tensor([[1, 0]]), torch.zeros(1, 2, 3), 3)
    tensor([[[0., 1., 0.],
             [1., 0., 0.]]])
    """
    if labels.shape != points.shape[:2] or labels.dtype != torch.int64:
        raise ValueError(
            f"labels has shape {tuple(labels.shape)} and dtype {labels.dtype}; need "
            f"{tuple(points.shape[:2])}, int64"
        )
    # one_hot looks at the labels before it starts, and scatter while it runs.
    return points.new_zeros(*labels.shape, parts).scatter(2, labels[..., None], 1)


def part_vectors(centroids: Tensor, parents: tuple[int, ...], elements: Tensor) -> Tensor:
    """Returns where the rest of the body lies, seen by each part in each frame, (B, P, G, 9).

    Three vectors from the centroid of a part: to its parent's, to the mean of its children's, and
    to the middle of the cloud; each as R_a^T v. They know the neighbors, so they are exact for a
    common rotation only, not for one of a single part.

    Args:
        centroids: of a centered cloud, (B, P, 3). parents: -1 for the root.
        elements: (G, 3, 3).

    >>> from equitutor.methods.icosahedral import rotation_tables
    >>> part_vectors(torch.zeros(2, 3, 3), (-1, 0, 1), rotation_tables().elements.float()).shape
    torch.Size([2, 3, 60, 9])
    """
    p = len(parents)
    if centroids.ndim != 3 or centroids.shape[1] != p:
        raise ValueError(f"centroids has shape {tuple(centroids.shape)}; need (B, {p}, 3)")
    up = [i if q < 0 else q for i, q in enumerate(parents)]
    down = torch.zeros(p, p)
    for i, q in enumerate(parents):
        if q >= 0:
            down[q, i] = 1
    leaf = down.sum(1) == 0
    down[leaf, leaf] = 1
    down = (down / down.sum(1, keepdim=True)).to(centroids)
    vectors = torch.stack(
        [centroids[:, up] - centroids, down @ centroids - centroids, -centroids], 2
    )  # (B, P, 3, xyz)
    # v R_a is the row R_a^T v.
    return torch.einsum("bpvi,gij->bpgvj", vectors, elements).flatten(3)


class PartLift(ExactConstants):
    """Features of a part from its own points only, seen in the frame of each group element.

    Each point becomes R_a^T (x - c) / unit, c the centroid of its part, goes through a small
    network, and the points of a part are averaged and maximized. If a part turns by g about any
    point, its features permute exactly, and those of all others stay as they are, also where parts
    touch. Labels are hard, so each point is seen once, and no gradient reaches them.

    Args:
        tables: the group.
        width: channels; the output has twice as many.
        unit: length that counts as 1, meters.

    Source: ours; the articulated symmetry is that of Feng et al. 2023, section 3.

    >>> from equitutor.methods.icosahedral import rotation_tables
    >>> lift = PartLift(rotation_tables(), 8)
    >>> lift(torch.rand(2, 50, 3), torch.zeros(2, 50, dtype=torch.long), 3).shape
    torch.Size([2, 3, 60, 16])
    """

    def __init__(self, tables: RotationTables, width: int, unit: float = 0.15):
        super().__init__()
        self.unit = unit
        self.add_constant("elements", tables.elements)
        self.first = nn.Linear(3, width)
        self.second = nn.Linear(width, width)

    def forward(self, points: Tensor, labels: Tensor, parts: int) -> Tensor:
        """Returns features (B, P, G, 2 width).

        Args:
            points: (B, N, 3). labels: part of each point, (B, N), int64. parts: P.

        Raises:
            ValueError, RuntimeError: as for `parts_of`.
        """
        one_hot = parts_of(labels, points, parts)  # (B, N, P)
        centroids = part_centroids(points, one_hot)
        offset = (points - one_hot @ centroids) / self.unit  # (B, N, 3)
        # W R_a^T u: turn the 3 x H weights, not the points.
        turned = (self.elements @ self.first.weight.T).movedim(0, 1).flatten(1)  # (3, G H)
        h = (offset @ turned).unflatten(-1, (len(self.elements), -1)) + self.first.bias
        h = self.second(nn.functional.leaky_relu(h, 0.1)).relu()  # (B, N, G, H)
        share = one_hot / one_hot.sum(1, keepdim=True).clamp(min=1)
        mean = torch.einsum("bnp,bngh->bpgh", share, h)
        index = labels[:, :, None, None].expand_as(h)
        top = h.new_zeros(len(h), parts, *h.shape[2:]).scatter_reduce(1, index, h, "amax")
        return torch.cat([mean, top], -1)
