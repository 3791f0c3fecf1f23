"""What a shift and a rotation do to images."""

import math
import operator

import torch
from torch import Tensor
from torch.nn import functional as F

# Where a Python loop over samples beats one gather on a CPU (measured from 1 x 3 x 32 x 32 to
# 32 x 3 x 224 x 224): the gather pays for its index and, backward, for a scatter out of cache.
_LOOP_BELOW_SAMPLES = 8
_LOOP_ABOVE_PIXELS = 64 * 64


def roll_images(x: Tensor, dy: int | Tensor, dx: int | Tensor) -> Tensor:
    """Return the images shifted circularly: pixel n of the result is pixel n - (dy, dx) of x.

    Args:
        x: images (B, C, H, W), any dtype and device.
        dy: pixels downward; an int for the batch, or an integer tensor () or (B,).
        dx: pixels to the right; as dy.

    Shifts may be negative or larger than the image. The result is exact; its gradient is the
    opposite roll of the incoming gradient. On an accelerator and under torch.compile a tensor
    of shifts is never read by the host.

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
    few_or_large = len(x) < _LOOP_BELOW_SAMPLES or height * width > _LOOP_ABOVE_PIXELS
    if few_or_large and x.device.type == "cpu" and not torch.compiler.is_compiling():
        shifts = zip(x, dy.tolist(), dx.tolist(), strict=True)
        return torch.stack([torch.roll(image, shift, (-2, -1)) for image, *shift in shifts])
    rows = (torch.arange(height, device=x.device) - dy[:, None]) % height  # (B, H)
    columns = (torch.arange(width, device=x.device) - dx[:, None]) % width  # (B, W)
    index = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)  # (B, H*W)
    index = index[:, None].expand(-1, x.shape[1], -1)  # (B, C, H*W), no copy
    return x.flatten(2).gather(2, index).view(x.shape)


def rotate_images(
    x: Tensor,
    angle: float | Tensor,
    resampler: str = "bilinear",
    padding: str = "zeros",
    exact_right_angles: bool = False,
) -> Tensor:
    """Return the images rotated counter-clockwise on the screen, about the image center.

    Args:
        x: images (B, C, H, W), floating point.
        angle: degrees; a number, or a tensor () or (B,), through which gradients flow.
        resampler: "bilinear", "bicubic" or "nearest", of torch.nn.functional.grid_sample.
            Pixels are unit squares (align_corners=False), so the center is that of the picture.
        padding: what lies outside the image: "zeros" or "border" (the edge repeated).
        exact_right_angles: whether angles that are multiples of 90 on square images, and of 180
            on all images, move pixels without resampling, bit for bit. Reads a tensor of angles
            on the host.

    Between right angles the result is blurred and loses its corners, so this is an action only
    up to interpolation. Exact right angles are sharp where all other angles are blurred: on an
    orbit that mixes both, a spike at 0 or 90 degrees belongs to the resampler, not to the model.
    Leave the default False there, and use True for the subgroup of quarter turns alone.

    Raises:
        ValueError: x is not four-dimensional, a name is unknown, a tensor of angles does not fit
            the batch, or a number is not finite.
        TypeError: x is not floating point, and an angle needs resampling.

    >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> rotate_images(x, 90, exact_right_angles=True)[0, 0].tolist()
    [[2.0, 4.0], [1.0, 3.0]]
    """
    check_images(x)
    for name, value, known in (
        ("resampler", resampler, ("bilinear", "bicubic", "nearest")),
        ("padding", padding, ("zeros", "border")),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; need one of {', '.join(known)}")
    if not isinstance(angle, Tensor) and not math.isfinite(angle):
        raise ValueError(f"angle is {angle}; need a finite number of degrees")
    if isinstance(angle, Tensor) and angle.shape not in ((), (len(x),)):
        raise ValueError(f"angle has shape {tuple(angle.shape)}; need () or ({len(x)},)")
    if not exact_right_angles:
        return _resample_rotated(x, angle, resampler, padding)
    step = 90 if x.shape[-2] == x.shape[-1] else 180
    angles = angle.tolist() if isinstance(angle, Tensor) else angle
    if not isinstance(angles, list):
        if angles % step == 0:
            return torch.rot90(x, int(angles // 90), (-2, -1))
        return _resample_rotated(x, angle, resampler, padding)
    return torch.cat(
        [
            torch.rot90(image, int(a // 90), (-2, -1))
            if a % step == 0
            else _resample_rotated(image, angle[i], resampler, padding)
            for i, (image, a) in enumerate(zip(x.split(1), angles, strict=True))
        ]
    )


def _resample_rotated(x: Tensor, angle: float | Tensor, resampler: str, padding: str) -> Tensor:
    if not x.is_floating_point():
        raise TypeError(f"x has dtype {x.dtype}; need floating point to resample")
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
    return F.grid_sample(x, grid, mode=resampler, padding_mode=padding, align_corners=False)


def check_images(x: Tensor) -> None:
    """Raise ValueError unless x is (B, C, H, W)."""
    if x.ndim != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}; need images (B, C, H, W)")


def _shift(name: str, value, batch: int) -> int | Tensor:
    """Return a shift as an int or as an int64 tensor () or (B,)."""
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
