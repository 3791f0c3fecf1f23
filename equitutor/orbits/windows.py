"""The orbit of a scene seen through a window that slides over it."""

import torch
from torch import Tensor

from equitutor.actions import shift_boxes
from equitutor.checks import check_count
from equitutor.orbits.orbit import Orbit


def windows(canvas: int, size: int, reach: int, step: int = 1) -> Orbit:
    """Returns the orbit of a square scene under shifts of a window: crops, without padding.

    Args:
        canvas, size: sides of the scene and of the window, pixels; canvas - size even.
        reach: largest shift of the window in both directions, pixels; a multiple of step.
        step: pixels between neighboring shifts.

    Raises ValueError, naming the argument, where a value does not fit.

    >>> windows(16, 8, reach=4, step=2).act_x(torch.rand(3, 1, 16, 16), 0).shape
    torch.Size([3, 1, 8, 8])
    """
    for name, value in (("canvas", canvas), ("size", size), ("reach", reach), ("step", step)):
        check_count(name, value)
    if (canvas - size) % 2 or canvas - size < 2 * reach:
        raise ValueError(f"canvas must be size + 2 reach plus an even number, got {canvas}")
    if reach % step:
        raise ValueError(f"reach must be a multiple of step {step}, got {reach}")
    moves = range(-reach, reach + 1, step)
    corners = [
        ((canvas - size) // 2 + dy, (canvas - size) // 2 + dx) for dy in moves for dx in moves
    ]

    def crop(x: Tensor, i: int) -> Tensor:
        if x.ndim != 4 or x.shape[-2:] != (canvas, canvas):
            raise ValueError(f"x must be (B, C, {canvas}, {canvas}), got {tuple(x.shape)}")
        top, left = corners[i]
        return x[..., top : top + size, left : left + size]  # (B, C, size, size)

    return Orbit(
        "windows",
        torch.tensor([(dy, dx) for dy in moves for dx in moves]),
        crop,
        lambda boxes, i: shift_boxes(boxes, -corners[i][0], -corners[i][1]),
        lambda boxes, i: shift_boxes(boxes, corners[i][0], corners[i][1]),
        kind="grid2d",
        coords=("dy (px)", "dx (px)"),
        identity=len(corners) // 2,
    )
