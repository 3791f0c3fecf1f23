"""What a group element does to images, flow fields, boxes and points.

Each function is a left group action on a batch: the identity changes nothing, and applying
``h`` and then ``g`` is the same as applying the product ``g h`` once. Only ``rotate_images``
between right angles is an action up to interpolation, and says so.

>>> import torch
>>> from equitutor import actions
>>> actions.roll_images(torch.arange(3.0).view(1, 1, 1, 3), dy=0, dx=1)
tensor([[[[2., 0., 1.]]]])
"""

import functools
import math
import operator
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from equitutor import groups
from equitutor.runtime import uncast, working

__all__ = [
    "roll_images",
    "rotate_images",
    "rotate_points",
    "shift_boxes",
    "transform_flow",
    "transform_scalar",
]

RESAMPLERS = ("bilinear", "bicubic", "nearest")
_EXTENDED = {"edge": "border", "reflect": "reflection"}  # our names, and those of grid_sample


def roll_images(x: Tensor, dy: int | Tensor, dx: int | Tensor) -> Tensor:
    """Returns the images shifted circularly: pixel n of the result is pixel n - (dy, dx) of x.

    Args:
        x: images (B, C, H, W), any dtype and device.
        dy: pixels downward; an int for the batch, or an integer tensor () or (B,).
        dx: pixels to the right; as dy.

    Shifts may be negative or larger than the image. The result is exact; its gradient is the
    opposite roll of the incoming gradient. A tensor of shifts is never read by the host.

    Raises:
        ValueError: x is not four-dimensional, or a tensor of shifts does not fit the batch.
        TypeError: a shift is not an integer.

    >>> x = torch.arange(6).view(1, 1, 2, 3)
    >>> roll_images(x, 0, 1)[0, 0].tolist()
    [[2, 0, 1], [5, 3, 4]]
    >>> two = torch.cat([x, x])
    >>> roll_images(two, torch.tensor([0, 1]), 0)[:, 0, 0].tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    check_images(x)
    height, width = x.shape[-2:]
    dy, dx = _shift("dy", dy, len(x)), _shift("dx", dx, len(x))
    if x.numel() == 0:
        return x.clone()
    dy, dx = dy % height, dx % width  # first, so that no later sum can overflow
    if not isinstance(dy, Tensor) and not isinstance(dx, Tensor):
        return torch.roll(x, (dy, dx), (-2, -1))
    dy, dx = (
        s.to(x.device).expand(len(x))
        if isinstance(s, Tensor)
        else torch.full((len(x),), s, device=x.device)
        for s in (dy, dx)
    )
    rows = (torch.arange(height, device=x.device) - dy[:, None]) % height  # (B, H)
    columns = (torch.arange(width, device=x.device) - dx[:, None]) % width  # (B, W)
    index = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)  # (B, H*W)
    index = index[:, None].expand(-1, x.shape[1], -1)  # (B, C, H*W), no copy
    return x.flatten(2).gather(2, index).view(x.shape)


def rotate_images(
    x: Tensor,
    angle: float | Tensor,
    resampler: str = "bilinear",
    fill: float | Sequence[float] | str = 0.0,
    exact_right_angles: bool = False,
    mask: str | None = None,
) -> Tensor:
    """Returns the images rotated counter-clockwise on the screen, about the image center.

    Args:
        x: images (B, C, H, W), floating point.
        angle: degrees; a number, or a tensor () or (B,), through which gradients flow.
        resampler: "bilinear", "bicubic" or "nearest", of torch.nn.functional.grid_sample.
            Pixels are unit squares (align_corners=False), so the center is that of the picture.
        fill: what lies outside the image and comes in at its corners: a number or C numbers, one
            a channel; "edge", the border repeated; "reflect", the image mirrored at its border.
            The default 0 is black for values in [0, 1]. It is NOT black for images that were
            normalized: give black as it is there, (0 - mean) / std.
        exact_right_angles: whether angles that are multiples of 90 on square images, and of 180
            on all images, move pixels without resampling, bit for bit. Reads a tensor of angles
            on the host.
        mask: "disc" sets all that lies outside the largest disc in the image to `fill`, at every
            angle alike, so that no corner comes or goes; needs a fill of numbers. None: no mask.

    Between right angles the result is blurred and loses its corners, so this is an action only
    up to interpolation. Exact right angles are sharp where all other angles are blurred: on an
    orbit that mixes both, a spike at 0 or 90 degrees belongs to the resampler, not to the model.
    Leave the default False there, and use True for the subgroup of quarter turns alone.

    Half precision is resampled in float32, and only the result is rounded.

    Raises:
        ValueError: x is not four-dimensional, a name is unknown, a tensor of angles does not fit
            the batch, `fill` does not fit the channels, or a number is not finite.
        TypeError: x is not floating point, and an angle or a mask needs it.

    >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> rotate_images(x, 90, exact_right_angles=True)[0, 0].tolist()
    [[2.0, 4.0], [1.0, 3.0]]
    >>> rotate_images(torch.full((1, 1, 5, 5), -0.42), 45, fill=-0.42).std().item() < 1e-6
    True
    """
    check_images(x)
    check_rotation(resampler, fill, mask, channels=x.shape[1])
    if not isinstance(angle, Tensor) and not math.isfinite(angle):
        raise ValueError(f"angle is {angle}; need a finite number of degrees")
    if isinstance(angle, Tensor) and angle.shape not in ((), (len(x),)):
        raise ValueError(f"angle has shape {tuple(angle.shape)}; need () or ({len(x)},)")
    turn = partial(_resample_rotated, resampler=resampler, fill=fill)
    step = 90 if x.shape[-2] == x.shape[-1] else 180
    angles = angle.tolist() if isinstance(angle, Tensor) and exact_right_angles else angle
    if not exact_right_angles:
        turned = turn(x, angle)
    elif not isinstance(angles, list):
        turned = (
            torch.rot90(x, int(angles // 90), (-2, -1)) if angles % step == 0 else turn(x, angle)
        )
    else:
        turned = torch.cat(
            [
                torch.rot90(image, int(a // 90), (-2, -1)) if a % step == 0 else turn(image, one)
                for image, a, one in zip(x.split(1), angles, angle, strict=True)
            ]
        )
    return _masked(turned, fill) if mask else turned


def check_rotation(
    resampler: str,
    fill: float | Sequence[float] | str,
    mask: str | None,
    channels: int | None = None,
) -> None:
    """Raise ValueError unless the choices of `rotate_images` are known and fit each other."""
    if resampler not in RESAMPLERS:
        raise ValueError(f"resampler is {resampler!r}; need one of {', '.join(RESAMPLERS)}")
    if mask not in (None, "disc"):
        raise ValueError(f"mask is {mask!r}; need 'disc' or None")
    if isinstance(fill, str):
        if fill not in _EXTENDED:
            raise ValueError(f"fill is {fill!r}; need numbers or one of {', '.join(_EXTENDED)}")
        if mask:
            raise ValueError(f"fill is {fill!r}; need numbers to fill what the mask hides")
        return
    try:
        numbers = torch.as_tensor(fill, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"fill is {fill!r}; need a number, one a channel, or a name") from None
    if not numbers.isfinite().all():
        raise ValueError(f"fill is {fill!r}; need finite numbers")
    if numbers.ndim > 1 or (numbers.ndim and channels not in (None, len(numbers))):
        raise ValueError(f"fill is {fill!r}; need one number, or one for each of the channels")


def _resample_rotated(
    x: Tensor, angle: float | Tensor, resampler: str, fill: float | Sequence[float] | str
) -> Tensor:
    if not x.is_floating_point():
        raise TypeError(f"x has dtype {x.dtype}; need floating point to resample")
    stored, x = x.dtype, x.to(working(x.dtype))  # in half precision the grid itself would be off
    if isinstance(angle, Tensor):
        radians = torch.deg2rad(angle.to(x)).expand(len(x))[:, None, None]
        cos, sin = radians.cos(), radians.sin()  # (B, 1, 1)
    else:
        radians = math.radians(angle)
        cos, sin = x.new_tensor([[[[math.cos(radians)]]], [[[math.sin(radians)]]]]).unbind()
    height, width = x.shape[-2:]
    # Offsets from the center to the centers of the pixels, in pixels; v points down.
    v = torch.arange(height, dtype=x.dtype, device=x.device)[:, None] - (height - 1) / 2
    u = torch.arange(width, dtype=x.dtype, device=x.device) - (width - 1) / 2
    # Each pixel looks up where it came from: the opposite rotation, written with v down.
    source = ((cos * u - sin * v) * (2 / width), (sin * u + cos * v) * (2 / height))
    grid = torch.stack(source, -1).expand(len(x), -1, -1, -1)  # (B, H, W, 2), -1..1 edge to edge
    outside = _EXTENDED.get(fill, "zeros") if isinstance(fill, str) else "zeros"
    look_up = partial(
        F.grid_sample, grid=grid, mode=resampler, padding_mode=outside, align_corners=False
    )
    with uncast(x.device):
        turned = look_up(x)
        if not isinstance(fill, str):
            fill = torch.as_tensor(fill, dtype=x.dtype)
            if fill.any():
                inside = look_up(torch.ones_like(x[:, :1]))  # (B, 1, H, W): the image's own share
                turned = turned + (1 - inside) * fill.to(x.device).view(-1, 1, 1)
    return turned.to(stored)


def _masked(x: Tensor, fill: float | Sequence[float]) -> Tensor:
    """Returns images with `fill` outside the disc of centers of pixels that no turn carries out."""
    if not x.is_floating_point():
        raise TypeError(f"x has dtype {x.dtype}; need floating point to fill what the mask hides")
    height, width = x.shape[-2:]
    v = torch.arange(height, device=x.device)[:, None] - (height - 1) / 2
    u = torch.arange(width, device=x.device) - (width - 1) / 2
    hidden = u * u + v * v > ((min(height, width) - 1) / 2) ** 2
    return torch.where(hidden, torch.as_tensor(fill).to(x).view(-1, 1, 1), x)


def check_images(x: Tensor) -> None:
    """Raise ValueError unless x is (B, C, H, W)."""
    if x.ndim != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}; need images (B, C, H, W)")


def _shift(name: str, value, batch: int) -> int | Tensor:
    """Returns a shift as an int or as an int64 tensor () or (B,)."""
    if not isinstance(value, Tensor):
        try:
            return operator.index(value)
        except TypeError:
            raise TypeError(f"{name} is {value!r}; need an int or an integer tensor") from None
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f"{name} has dtype {value.dtype}; need an integer tensor")
    if value.shape not in ((), (batch,)):
        raise ValueError(f"{name} has shape {tuple(value.shape)}; need () or ({batch},)")
    return value.long()


def transform_scalar(x: Tensor, g: int | Tensor) -> Tensor:
    """Returns images moved by one of the eight symmetries of the square, bit for bit.

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
    """Returns flow fields moved by a symmetry of the square: pixels move and vectors turn.

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
    """Returns an element of D4 as nested ints, from its index or its matrix."""
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


def shift_boxes(boxes: Tensor, dy: float | Tensor, dx: float | Tensor) -> Tensor:
    """Returns the boxes moved down by dy and right by dx; nothing wraps and nothing is clipped.

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
    """Returns the points R p.

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
