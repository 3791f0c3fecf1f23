"""What the NERO explorer draws of an input and of raw outputs, small enough to travel in a page."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from equitutor import groups
from equitutor.explorers.host import png_uri
from equitutor.nero import tiles
from equitutor.nero.payload import encode
from equitutor.orbits import Orbit

RENDERERS = ("image", "boxes", "flow", "points")
MAX_CLASSES = 20  # more bars than that nobody reads
_PIXELS = 200_000  # of all gray pictures together; colored ones get half
_LEAST_SIDE = 12  # a picture with fewer pixels shows nothing
_POINTS = 128  # of each cloud
_ARROWS = 8  # along each side of a flow field


def picture_data(inputs, orbit: Orbit, outputs: list, renderer: str | Callable) -> dict:
    """Returns the detail view's data: how to draw each input at each element, and its answers.

    Images are moved in the page itself where the orbit's action is a turn, a mirror, a shift or a
    crop, which is tried out on a test picture. Any other action is drawn here, once for each
    element and sample.

    Args:
        inputs: images (N, C, H, W), frame pairs (N, 2, H, W) or point clouds (N, P, 3).
        orbit: the orbit.
        outputs: for each model its raw outputs (G, N, ...), or None.
        renderer: one of `RENDERERS`, or a function (sample, element) -> image (H, W) or (H, W, 3)
            with floats in [0, 1] or uint8.

    Raises ValueError where inputs, outputs and renderer do not fit, or take too much room.
    """
    if callable(renderer):
        return {"draw": "image"} | _thumbnails(
            (renderer(n, g) for g in range(len(orbit)) for n in range(len(inputs))),
            len(orbit) * len(inputs),
        )
    data = {"draw": renderer}
    inputs = inputs.detach().cpu().float()
    if renderer == "points":
        return data | _clouds(inputs, orbit)
    low, high = inputs.min().item(), inputs.max().item()
    outside = 0.0
    if low < 0 or high > 1:
        span = (high - low) or 1.0
        inputs, outside = (inputs - low) / span, min(max(-low / span, 0.0), 1.0)
    motion = find_motion(orbit, inputs.shape)
    if motion is None:
        moved = (orbit.act_x(inputs, g) for g in range(len(orbit)))
        frames = (_gray_or_rgb(image) for batch in moved for image in batch)
        data |= _thumbnails(frames, len(orbit) * len(inputs))
    else:
        frames = inputs.flatten(0, 1)[:, None] if renderer == "flow" else inputs
        budget = _PIXELS / (2 if inputs.shape[1] == 3 else 1)
        data |= {"motion": motion, "size": list(inputs.shape[-2:])}
        data["outside"] = outside  # the gray of a zero
        data |= {"sprite": _sprite([_gray_or_rgb(f) for f in frames], budget)}
        data["frames"] = len(frames) // len(inputs)
    if renderer == "boxes":
        data["boxes"] = [_boxes(output, (len(orbit), len(inputs))) for output in outputs]
    if renderer == "flow":
        data |= _arrows(outputs, (len(orbit), len(inputs)))
    return data


def bars(outputs: list, count: int | None) -> list[str] | None:
    """Returns base64 of class probabilities, uint8 of 255ths (G, N, K), for each model, or None.

    Args:
        outputs: for each model its logits (G, N, K), or None.
        count: how many classes there are; None takes K.
    """
    shapes = {tuple(o.shape) if isinstance(o, Tensor) else None for o in outputs}
    shape = shapes.pop()
    fits = not shapes and shape is not None and len(shape) == 3 and 2 <= shape[2] <= MAX_CLASSES
    if not fits or count not in (None, shape[2]):
        return None
    return [encode((o.float().softmax(-1) * 255).nan_to_num(0).round(), "u1") for o in outputs]


def find_motion(orbit: Orbit, shape) -> dict | None:
    """Returns how a page can move images of this shape as the orbit does, or None.

    {"matrices": G x [a, b, c, d] on (right, up), "swap": G times whether two frames change
    places}, or {"offsets": G x [right, down] in pixels, "view": [h, w], "wrap": bool}.

    >>> from equitutor.orbits import shifts
    >>> find_motion(shifts(8, 8, step=4), (1, 1, 8, 8))["offsets"]
    [[0, 0], [4, 0], [0, 4], [4, 4]]
    """
    probe = torch.rand(1, shape[1], 4, 4, generator=torch.Generator().manual_seed(0))
    probe = F.interpolate(probe, tuple(shape[-2:]), mode="bilinear")
    moved = [orbit.act_x(probe, g) for g in range(len(orbit))]
    if any(not isinstance(m, Tensor) or m.ndim != 4 for m in moved):
        return None
    if orbit.kind == "grid2d" and orbit.params.shape[1] == 2:
        return _find_shift(orbit, probe, moved)
    matrices = _matrices(orbit)
    if matrices is None or any(m.shape != probe.shape for m in moved):
        return None
    swaps = []
    for matrix, after in zip(matrices, moved, strict=True):
        turned = _turned(probe, matrix)
        # Resamplers differ a little, another action a lot.
        options = [turned, turned.flip(1)] if shape[1] == 2 else [turned]
        distances = [(after - option).abs().mean().item() for option in options]
        if min(distances) > 0.06:
            return None
        swaps.append(distances.index(min(distances)))
    flat = [[round(v, 6) for v in m.flatten().tolist()] for m in matrices]
    return {"matrices": flat, "swap": swaps}


def _find_shift(orbit: Orbit, probe: Tensor, moved: list[Tensor]) -> dict | None:
    full, view = probe.shape[-2:], moved[0].shape[-2:]
    shifts = [(int(dy), int(dx)) for dy, dx in orbit.params.tolist()]
    rolls = (torch.roll(probe, s, (-2, -1)) for s in shifts)
    if full == view and all(map(torch.equal, moved, rolls)):
        return {"offsets": [[dx, dy] for dy, dx in shifts], "view": list(view), "wrap": True}
    for sign in (1, -1):  # a window that moves over a larger picture
        corners = [[(n - m) // 2 + sign * d for n, m, d in zip(full, view, s, strict=True)]
                   for s in shifts]  # fmt: skip
        crops = (probe[..., max(r, 0) : r + view[0], max(c, 0) : c + view[1]] for r, c in corners)
        if all(m.shape == c.shape and m.equal(c) for m, c in zip(moved, crops, strict=True)):
            return {"offsets": [[-c, -r] for r, c in corners], "view": list(view), "wrap": False}
    return None


def _matrices(orbit: Orbit) -> list[Tensor] | None:
    """Returns the 2 x 2 matrix that each element may be, acting on (right, up)."""
    if orbit.kind == "circle":
        angles = torch.deg2rad(orbit.params[:, 0])
        rows = [angles.cos(), -angles.sin(), angles.sin(), angles.cos()]
        return list(torch.stack(rows, 1).view(-1, 2, 2))
    if tiles.is_d4_time(orbit):
        return list(groups.dihedral(4).elements.repeat_interleave(2, 0))
    group = orbit.extra.get("group")
    return list(group.elements) if group is not None and group.dimension == 2 else None


def _turned(x: Tensor, matrix: Tensor) -> Tensor:
    """Returns images moved about their center by a matrix on (right, up)."""
    size = torch.tensor([x.shape[-1], x.shape[-2]], dtype=torch.float64)
    flip = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))  # rows run down
    source = flip @ torch.linalg.inv(matrix.double()) @ flip
    source = source * size[None, :] / size[:, None]
    theta = torch.cat([source, torch.zeros(2, 1, dtype=torch.float64)], 1).to(x)[None]
    return F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False),
                         align_corners=False)  # fmt: skip


def _clouds(inputs: Tensor, orbit: Orbit) -> dict:
    keep = torch.linspace(0, inputs.shape[1] - 1, min(_POINTS, inputs.shape[1])).round().long()
    points = inputs[:, keep]  # (N, P, 3)
    reach = points.norm(dim=-1).max().clamp(min=1e-9)
    basis = torch.cat([torch.eye(3), torch.zeros(1, 3)])[None]  # what the action does to the axes
    moved = torch.stack([orbit.act_x(basis, g)[0] for g in range(len(orbit))])  # (G, 4, 3)
    matrices = (moved[:, :3] - moved[:, 3:]).transpose(1, 2)
    return {
        "points": encode((points / reach * 127).round(), "i1"),
        "turns": matrices.contiguous().numpy().ravel(),
    }


def _gray_or_rgb(image) -> Tensor:
    """Returns (H, W) or (H, W, 3) of an image (C, H, W)."""
    image = torch.as_tensor(image)
    return image.permute(1, 2, 0) if image.shape[0] == 3 else image.mean(0)


def _thumbnails(frames, count: int) -> dict:
    if count * _LEAST_SIDE**2 > 2 * _PIXELS:
        raise ValueError(
            f"inputs need a picture for each of {count} elements and samples, as this action "
            f"cannot be drawn in the page; need at most {2 * _PIXELS // _LEAST_SIDE**2} pictures"
        )
    frames = [_as_floats(frame) for frame in frames]
    shapes = {tuple(frame.shape) for frame in frames}
    if len(shapes) > 1:
        raise ValueError(f"renderer must return pictures of one shape, got {sorted(shapes)}")
    return {"sprite": _sprite(frames, 2 * _PIXELS), "size": list(frames[0].shape[:2])}


def _as_floats(frame) -> Tensor:
    try:
        frame = frame.detach().cpu() if isinstance(frame, Tensor) else torch.tensor(frame)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"renderer must return a picture of numbers, got {type(frame)}") from None
    if not frame.is_floating_point() and frame.dtype != torch.uint8:
        raise ValueError(f"renderer must return floats in [0, 1] or uint8, got {frame.dtype}")
    if not frame.numel() or not frame.isfinite().all():
        raise ValueError(f"renderer must return finite pixels, got {tuple(frame.shape)} with NaN, "
                         "infinity or none")  # fmt: skip
    if frame.ndim != 2 and not (frame.ndim == 3 and frame.shape[-1] == 3):
        raise ValueError(f"renderer must return (H, W) or (H, W, 3), got {tuple(frame.shape)}")
    return frame / 255.0 if frame.dtype == torch.uint8 else frame.float()


def _sprite(frames: list[Tensor], budget: float) -> dict:
    """Returns one PNG of all frames, (H, W) or (H, W, 3) each, row by row."""
    from PIL import Image

    stack = torch.stack(frames).float()
    stack = stack[:, None] if stack.ndim == 3 else stack.permute(0, 3, 1, 2)  # (n, C, H, W)
    n, channels, height, width = stack.shape
    shrink = min(1.0, math.sqrt(budget / (n * height * width)))
    if shrink < 1:
        height, width = max(1, int(height * shrink)), max(1, int(width * shrink))
        stack = F.interpolate(stack, (height, width), mode="area")
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = torch.zeros(rows * columns, channels, height, width)
    sheet[:n] = stack
    sheet = sheet.view(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    pixels = (sheet.clamp(0, 1) * 255).round().byte()
    pixels = pixels.reshape(rows * height, columns * width, channels).squeeze(-1).numpy()
    uri = png_uri(Image.fromarray(pixels), optimize=True)
    return {"uri": uri, "columns": columns, "tile": [height, width]}


def _boxes(output, size: tuple[int, int]) -> str:
    """Returns base64 of int16 tenths of pixels, (G, N, 4); -32768 where missing."""
    if not isinstance(output, Tensor) or output.shape[:2] != size or output.shape[2:] < (4,):
        raise ValueError(
            f"renderer 'boxes' needs kept outputs {(*size, 4)}, x1, y1, x2, y2 in pixels first, "
            f"got {tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__}"
        )
    tenths = (output[..., :4].float() * 10).clamp(-32767, 32767).round()
    return encode(tenths.nan_to_num(-32768.0), "<i2")


def _arrows(outputs: list, size: tuple[int, int]) -> dict:
    for output in outputs:
        if not isinstance(output, Tensor) or output.ndim != 5 or output.shape[:2] != size:
            raise ValueError(
                f"renderer 'flow' needs kept outputs {(*size, 2, 'H', 'W')}, got "
                f"{tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__}"
            )
        if not output.isfinite().all():
            raise ValueError("renderer 'flow' needs finite outputs, got NaN or infinity")
    means = [F.adaptive_avg_pool2d(o.float().flatten(0, 1), _ARROWS) for o in outputs]
    largest = max(m.abs().max().item() for m in means) or 1.0
    return {"arrows": [encode((m / largest * 127).round(), "i1") for m in means],
            "side": _ARROWS}  # fmt: skip


def guess_renderer(inputs, orbit: Orbit, kept: Mapping) -> str:
    """Returns the renderer that fits the inputs; ValueError where none does."""
    shape = tuple(inputs.shape) if isinstance(inputs, Tensor) else None
    if shape is not None and len(shape) == 3 and shape[2] == 3:
        return "points"
    if shape is not None and len(shape) == 4:
        flows = all(isinstance(o, Tensor) and o.ndim == 5 for o in kept.values())
        return "flow" if shape[1] == 2 and flows else "image"
    raise ValueError(
        "inputs must be a tensor of images (N, C, H, W) or point clouds (N, P, 3), or come with a "
        f"renderer(sample, element) -> image, got {shape or type(inputs).__name__}"
    )
