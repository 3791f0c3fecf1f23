"""What a shift and a rotation do to boxes and points."""

import torch
from torch import Tensor

from equitutor.runtime import uncast, working


def shift_boxes(boxes: Tensor, dy: float | Tensor, dx: float | Tensor) -> Tensor:
    """Return the boxes moved down by dy and right by dx; nothing wraps and nothing is clipped.

    Args:
        boxes: (B, 4) or (B, K, 4), corners (x1, y1, x2, y2) in pixels.
        dy, dx: pixels; a number for the batch, or a tensor () or (B,).

    Raises ValueError if a shape does not fit.

    >>> shift_boxes(torch.tensor([[0.0, 0.0, 4.0, 2.0]]), dy=1, dx=10).tolist()
    [[10.0, 1.0, 14.0, 3.0]]
    """
    if boxes.ndim not in (2, 3) or boxes.shape[-1] != 4:
        raise ValueError(f"boxes has shape {tuple(boxes.shape)}; need (B, 4) or (B, K, 4)")
    x1, y1, x2, y2 = boxes.unbind(-1)  # (B,) or (B, K)
    shifts = []
    for name, shift in (("dy", dy), ("dx", dx)):
        if isinstance(shift, Tensor):
            if shift.shape not in ((), (len(boxes),)):
                raise ValueError(f"{name} has shape {tuple(shift.shape)}; need () or (B,)")
            shift = shift.to(boxes.device).expand(len(boxes)).view(-1, *[1] * (x1.ndim - 1))
        shifts.append(shift)
    dy, dx = shifts
    return torch.stack(torch.broadcast_tensors(x1 + dx, y1 + dy, x2 + dx, y2 + dy), -1)


def rotate_points(p: Tensor, R: Tensor) -> Tensor:
    """Return the points R p.

    Args:
        p: points (B, N, 3), floating point.
        R: rotations (3, 3) or (B, 3, 3), on any device.

    Half precision is multiplied in float32, also under autocast, and only the result is rounded.

    Raises:
        ValueError: a shape does not fit.
        TypeError: p is not floating point.

    >>> quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> rotate_points(torch.tensor([[[1.0, 0.0, 0.0]]]), quarter).tolist()
    [[[0.0, 1.0, 0.0]]]
    """
    return _multiply("p", p, "R", R, 3).to(p.dtype)


def _multiply(name: str, p: Tensor, matrix_name: str, matrix: Tensor, d: int) -> Tensor:
    """Returns the moved points in the working precision."""
    if p.ndim != 3 or p.shape[-1] != d:
        raise ValueError(f"{name} has shape {tuple(p.shape)}; need (B, N, {d})")
    if not p.is_floating_point():
        raise TypeError(f"{name} has dtype {p.dtype}; need floating point")
    if matrix.shape not in ((d, d), (len(p), d, d)):
        raise ValueError(
            f"{matrix_name} has shape {tuple(matrix.shape)}; "
            f"need ({d}, {d}) or ({len(p)}, {d}, {d})"
        )
    dtype = working(p.dtype)
    with uncast(p.device):
        return p.to(dtype) @ matrix.to(p.device, dtype).transpose(-2, -1)
