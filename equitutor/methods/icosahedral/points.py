"""Centers, neighbors and invariants of point clouds, from differences of points only.

Distances are computed from differences, never as |a|^2 - 2 a.b + |b|^2: that shortcut loses half
the digits far from the origin, and nearest neighbors then change under a rotation.
"""

import torch
from torch import Tensor


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Returns all distances (B, N, S) from points a (B, N, 3) to points b (B, S, 3).

    >>> distances(torch.zeros(1, 1, 3), torch.tensor([[[3.0, 4.0, 0.0]]]))
    tensor([[[5.]]])
    """
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def take(values: Tensor, index: Tensor) -> Tensor:
    """Returns values[b, index[b, ...]]: (B, N, ...) and (B, ...) make (B, ..., rest).

    Raises:
        ValueError: index holds no integers, or has another B.
        IndexError: index has an entry outside 0 ... N - 1 (on a GPU, later, an assertion there).

    >>> take(torch.arange(6.0).view(2, 3), torch.tensor([[2], [0]]))
    tensor([[2.],
            [3.]])
    """
    b, n = values.shape[:2]
    if index.dtype not in (torch.int32, torch.int64) or index.ndim < 1 or len(index) != b:
        raise ValueError(
            f"index has dtype {index.dtype} and shape {tuple(index.shape)}; "
            f"need integers of shape ({b}, ...)"
        )
    offset = torch.arange(b, device=index.device).view(-1, *[1] * (index.ndim - 1)) * n
    # An index beyond its own cloud would find a value of another one. It is sent to where there is
    # none, and index_select refuses it: a check here would make a GPU wait.
    row = (index + offset).where((index >= 0) & (index < n), -1)
    rows = values.flatten(0, 1).index_select(0, row.flatten())
    return rows.unflatten(0, tuple(index.shape))


def farthest_points(points: Tensor, n: int) -> Tensor:
    """Returns indices (B, n) of points far from one another; the first is always index 0.

    Each next point is the farthest from those chosen before. A cloud with fewer than n different
    points repeats some.

    Args:
        points: (B, N, 3), N >= 1.
        n: how many, >= 1.

    Raises:
        ValueError: points are not a non-empty (B, N, 3) tensor, or n is not an int >= 1.

    Source: Eldar et al., "The farthest point strategy for progressive image sampling", 1997.

    >>> farthest_points(torch.tensor([[[0.0, 0, 0], [1, 0, 0], [5, 0, 0]]]), 2)
    tensor([[0, 2]])
    """
    check_points("points", points)
    check_count("n", n)
    points = points.detach()
    chosen = torch.zeros(points.shape[0], n, dtype=torch.long, device=points.device)
    apart = points.new_full(points.shape[:2], torch.inf)
    rows = torch.arange(len(points), device=points.device)
    for i in range(1, n):
        last = points[rows, chosen[:, i - 1]]
        apart = torch.minimum(apart, (points - last[:, None]).square().sum(-1))
        chosen[:, i] = apart.argmax(1)
    return chosen


def nearest(points: Tensor, centers: Tensor, k: int) -> Tensor:
    """Returns indices (B, S, min(k, N)) of the points nearest to each center, nearest first.

    No radius is asked for: a kernel that vanishes outside its ball leaves distant points out.

    Args:
        points: (B, N, 3). centers: (B, S, 3).
        k: neighbors, >= 1.

    Raises:
        ValueError: a shape does not fit, or k is not an int >= 1.

    >>> nearest(torch.tensor([[[0.0, 0, 0], [1, 0, 0]]]), torch.tensor([[[0.9, 0, 0]]]), 5)
    tensor([[[1, 0]]])
    """
    check_points("points", points)
    check_points("centers", centers)
    check_count("k", k)
    if len(points) != len(centers):
        raise ValueError(f"centers has {len(centers)} clouds; need {len(points)}, as points has")
    apart = distances(centers.detach(), points.detach())
    return apart.topk(min(k, points.shape[1]), largest=False).indices


def interpolation(points: Tensor, centers: Tensor, k: int = 3) -> tuple[Tensor, Tensor]:
    """Returns (index, weight), both (B, N, k): how each point mixes the values of its centers.

    Weights go with the inverse squared distance and sum to 1. Fewer than k centers: all of them.

    Args:
        points: (B, N, 3). centers: (B, S, 3).
        k: centers for each point, >= 1.

    Raises:
        ValueError: a shape does not fit, or k is not an int >= 1.

    Source: Qi et al., PointNet++, NeurIPS 2017, equation 2.

    >>> interpolation(torch.zeros(1, 1, 3), torch.tensor([[[1.0, 0, 0], [-1, 0, 0]]]))[1]
    tensor([[[0.5000, 0.5000]]])
    """
    index = nearest(centers, points, k)
    apart = (points[:, :, None] - take(centers, index)).square().sum(-1)
    inverse = 1 / (apart + 1e-8)
    return index, inverse / inverse.sum(-1, keepdim=True)


def point_invariants(points: Tensor, sizes: tuple[int, ...] = (8, 24, 72)) -> Tensor:
    """Returns numbers (B, N, 1 + 3 len(sizes)) that no rotation or translation of a cloud changes.

    The distance to the cloud's mean, and for each neighborhood three invariants of the covariance
    of its points: spread, flatness and thickness. All of them are exact for every rotation.

    Args:
        points: (B, N, 3).
        sizes: numbers of neighbors.

    Raises:
        ValueError: points are not a non-empty (B, N, 3) tensor, or a size is below 1.

    >>> point_invariants(torch.randn(2, 50, 3)).shape
    torch.Size([2, 50, 10])
    """
    check_points("points", points)
    mean = points.mean(1, keepdim=True)
    found = [(points - mean).norm(dim=-1)]
    near = nearest(points, points, max(sizes))
    for size in sizes:
        check_count("sizes", size)
        u = take(points, near[..., :size])
        u = u - u.mean(2, keepdim=True)  # (B, N, k, 3)
        c = u.mT @ u / u.shape[2]
        trace = c.diagonal(dim1=-2, dim2=-1).sum(-1)
        # Divided by the trace, the other two say what the shape is, whatever its size.
        s = c / (trace[..., None, None] + 1e-8)
        found += [(trace + 1e-12).sqrt(), s.square().sum((-2, -1)), 27 * torch.linalg.det(s)]
    return torch.stack(found, -1)


def check_points(name: str, value: Tensor) -> None:
    """Returns nothing; raises ValueError unless value is a (B, N, 3) tensor, N >= 1.

    Its values are not looked at: a GPU would have to wait for that.
    """
    if not isinstance(value, Tensor) or value.ndim != 3 or value.shape[-1] != 3:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} is {shape}; need a tensor of shape (B, N, 3)")
    if not value.is_floating_point() or 0 in value.shape:
        raise ValueError(
            f"{name} has dtype {value.dtype} and shape {tuple(value.shape)}; "
            "need floating-point numbers, and at least one point"
        )


def check_count(name: str, value: int, least: int = 1) -> None:
    """Returns nothing; raises ValueError unless value is an int >= least, and not a bool."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; need an int of at least {least}")
