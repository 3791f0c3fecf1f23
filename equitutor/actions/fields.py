"""What the symmetries of the square do to pixels and to vectors on them."""

import functools
import operator

import torch
from torch import Tensor

from equitutor import groups
from equitutor.actions.images import check_images


def transform_scalar(x: Tensor, g: int | Tensor) -> Tensor:
    """Return images moved by one of the eight symmetries of the square, bit for bit.

    Args:
        x: images (B, C, H, W), any dtype; square where g swaps the axes.
        g: index into ``groups.dihedral(4)`` (0..3 turn counter-clockwise by g * 90 degrees, 4 is
            the flip upside down, 4 + k is that flip followed by turn k), or the 2 x 2 matrix
            itself, acting on (x to the right, y UP).

    Raises:
        ValueError: x is not four-dimensional or not square where it has to be, or g is not one
            of the eight elements.
        TypeError: g is neither an int nor a tensor.

    >>> x = torch.tensor([[[[1, 2], [3, 4]]]])
    >>> transform_scalar(x, 1)[0, 0].tolist()
    [[2, 4], [1, 3]]
    """
    check_images(x)
    (a, b), (c, d) = _d4_matrix(g)
    if a == 0:  # the axes swap; rows run against y
        if x.shape[-2] != x.shape[-1]:
            raise ValueError(f"x has shape {tuple(x.shape)}; need square images to swap the axes")
        x, a, d = x.transpose(-2, -1), -b, -c
    return x.flip([dim for dim, sign in ((-2, d), (-1, a)) if sign < 0])


def transform_flow(u: Tensor, g: int | Tensor) -> Tensor:
    """Return flow fields moved by a symmetry of the square: pixels move and vectors turn.

    Args:
        u: flow (B, 2, H, W): channel 0 points right, channel 1 points DOWN, as rows do. Any
            signed dtype; square where g swaps the axes.
        g: as in transform_scalar, acting on (x to the right, y UP).

    A quarter turn counter-clockwise sends the vector (u, v) to (v, -u). Raises as
    transform_scalar, and ValueError unless there are two channels.

    >>> rightward = torch.tensor([1, 0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    >>> transform_flow(rightward, 1)[0, :, 0, 0].tolist()
    [0, -1]
    """
    _check_flow("u", u)
    (a, b), (c, d) = _d4_matrix(g)
    right, down = transform_scalar(u, g).unbind(1)  # (B, H, W) each
    # The matrix acts with y up; conjugating by diag(1, -1) turns b and c around.
    turned = (a * right, d * down) if a else (-b * down, -c * right)
    return torch.stack(turned, 1)


def _check_flow(name: str, flow: Tensor) -> None:
    if flow.ndim != 4 or flow.shape[1] != 2:
        raise ValueError(f"{name} has shape {tuple(flow.shape)}; need a flow (B, 2, H, W)")


@functools.cache
def _d4() -> list[list[list[int]]]:
    return groups.dihedral(4).elements.int().tolist()


def _d4_matrix(g: int | Tensor) -> list[list[int]]:
    """Return an element of D4 as nested ints, from its index or its matrix."""
    if isinstance(g, Tensor) and g.ndim > 0:
        if g.tolist() not in _d4():
            raise ValueError(f"g is {g.tolist()}; need one of the eight matrices of dihedral(4)")
        return g.int().tolist()
    try:
        index = operator.index(g)
    except TypeError:
        raise TypeError(f"g is {g!r}; need an index or a 2 x 2 tensor") from None
    if not 0 <= index < 8:
        raise ValueError(f"g is {index}; need an index 0..7 into dihedral(4)")
    return _d4()[index]
