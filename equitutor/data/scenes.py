"""Generated scenes for detection: one digit in the middle of clutter, and windows of them.

A scene is larger than the window that a detector sees. Moving the digit in the window is moving
the window in the scene, so what enters at the border is real and no padding is made up.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from equitutor.checks import check_count
from equitutor.data.images import Images

SCRAPS = 100  # different scraps of digits, for the clutter of all scenes together
TRIES = 36  # to put one of them into a scene of 128 x 128 pixels
DIAMETER = 11  # of a scrap, pixels
EDGE = 0.6  # a digit begins where it is brighter than this
CONTRAST = (0.3, 0.7)  # of an enlarged digit: these become 0 and 1
MARGIN = 4  # pixels around the digit to find that are free of scraps
HEIGHTS = (18, 28)  # of a digit, pixels


@dataclass(frozen=True, eq=False)
class Scenes:
    """Scenes with one object to find, in the middle.

    Args:
        x: float32 ``(N, C, S, S)``, values in [0, 1].
        boxes: float32 ``(N, 4)``, corners ``(x1, y1, x2, y2)`` of the object in pixels.
        y: int64 ``(N,)``, its class, indices into ``classes``.
        name: the data set.
        classes: a name for each class.
        others: float32 ``(N, M, 5)``, what else a detector is to find, as in `targets`.
    """

    x: Tensor = field(repr=False)
    boxes: Tensor = field(repr=False)
    y: Tensor = field(repr=False)
    name: str
    classes: tuple[str, ...]
    others: Tensor | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def targets(self) -> Tensor:
        """What a detector is to find, float32 ``(N, 1 + M, 5)``: the object in the middle first.

        Rows are ``x1, y1, x2, y2, class``; where a scene has fewer than 1 + M, class is -1.
        """
        first = torch.cat([self.boxes, self.y[:, None].to(self.boxes)], 1)[:, None]
        return first if self.others is None else torch.cat([first, self.others], 1)


def scenes(images: Images, n: int, size: int = 128, seed: int = 0) -> Scenes:
    """Returns scenes with a digit in the middle, 18 to 28 pixels tall, and clutter all around.

    The clutter is a soft texture with scraps of other digits; none touches the digit to find.

    Args:
        images: gray images of bright digits on black, as `digits` or `mnist` return them.
        n: number of scenes; the first scenes do not depend on it.
        size: height and width of a scene in pixels, at least 64.
        seed: other scenes for another seed.

    Raises:
        ValueError: an argument is out of range, or images is empty, not gray or has a black one.

    Example:
        >>> from equitutor.data import digits
        >>> made = scenes(digits("test"), 2)
        >>> made.x.shape, made.boxes.mean(0)[[0, 2]].mean()
        (torch.Size([2, 1, 128, 128]), tensor(64.))
    """
    check_count("n", n)
    check_count("size", size, 64)
    check_count("seed", seed, 0)
    if not len(images) or images.x.shape[1] != 1:
        raise ValueError(
            f"images has the shape {tuple(images.x.shape)}, but has to be (N, 1, H, W)"
        )
    generator = torch.Generator().manual_seed(seed)
    scraps = [_scrap(images, generator) for _ in range(SCRAPS)]
    made = [_scene(images, scraps, size, generator) for _ in range(n)]
    x, boxes, y = (torch.stack(part) for part in zip(*made, strict=True))
    return Scenes(x, boxes, y, f"scenes of {images.name}", images.classes)


def window(
    x: Tensor, boxes: Tensor, dy: int | Tensor, dx: int | Tensor, size: int = 64
) -> tuple[Tensor, Tensor]:
    """Returns the part of each scene that a detector sees, and the boxes in it.

    Args:
        x: scenes ``(N, C, H, W)``.
        boxes: ``(N, 4)``, corners in pixels of the scene, or targets ``(N, M, 5)``.
        dy, dx: how far the content moves down and right in the window, pixels; at 0 the window
            is in the middle of the scene. An int for all, or an int64 tensor ``(N,)``.
        size: height and width of the window in pixels.

    Raises:
        ValueError: a shape does not fit, or the window would leave the scene.

    Example:
        >>> x = torch.zeros(1, 1, 8, 8)
        >>> x[0, 0, 3, 4] = 1
        >>> seen, boxes = window(x, torch.tensor([[4.0, 3.0, 5.0, 4.0]]), dy=1, dx=-1, size=4)
        >>> seen[0, 0].nonzero().tolist(), boxes.tolist()
        ([[2, 1]], [[1.0, 2.0, 2.0, 3.0]])
    """
    many = boxes.ndim == 3 and len(boxes) == len(x) and boxes.shape[2] == 5
    if x.ndim != 4 or not (many or boxes.shape == (len(x), 4)):
        raise ValueError(
            f"x and boxes have the shapes {tuple(x.shape)} and {tuple(boxes.shape)}, "
            "but have to be (N, C, H, W) and (N, 4) or (N, M, 5)"
        )
    check_count("size", size)
    starts = []
    for name, shift, length in (("dy", dy, x.shape[-2]), ("dx", dx, x.shape[-1])):
        shift = torch.as_tensor(shift, device=x.device)
        if shift.dtype != torch.int64 or shift.shape not in ((), (len(x),)):
            raise ValueError(f"{name} is {shift!r}, but has to be an int or int64 of shape (N,)")
        start = ((length - size) // 2 - shift).expand(len(x))
        if len(x) and not 0 <= start.min() <= start.max() <= length - size:
            raise ValueError(
                f"{name} is {shift.tolist()}: a window of {size} pixels would leave the scene "
                f"of {length}"
            )
        starts.append(start)
    top, left = starts
    span = torch.arange(size, device=x.device)
    rows, columns = (top[:, None] + span)[:, :, None], (left[:, None] + span)[:, None, :]
    seen = x.permute(0, 2, 3, 1)[torch.arange(len(x))[:, None, None], rows, columns]
    corner = torch.stack([left, top, left, top], 1).to(boxes)  # (N, 4)
    if many:  # the class stays
        corner = F.pad(corner, (0, 1))[:, None]
    return seen.permute(0, 3, 1, 2), boxes - corner


def _scene(
    images: Images, scraps: list[Tensor], size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns one scene ``(1, size, size)``, the box of its digit, and which digit it is."""
    index = _draw(0, len(images), generator)
    digit = _cut_out(images.x[index, 0], 2 * _draw(HEIGHTS[0] // 2, HEIGHTS[1] // 2 + 1, generator))
    height, width = digit.shape
    top, left = (size - height) // 2, (size - width) // 2
    canvas = _texture(size, generator)
    quiet = height + 2 * MARGIN, width + 2 * MARGIN
    for _ in range(round(TRIES * (size / 128) ** 2)):
        _paste(canvas, scraps[_draw(0, len(scraps), generator)], quiet, generator)
    place = canvas[top : top + height, left : left + width]
    place += digit * (1 - place)  # where the digit is 1, the scene is 1
    box = torch.tensor([left, top, left + width, top + height], dtype=torch.float32)
    return canvas[None], box, images.y[index]


def _cut_out(image: Tensor, height: int) -> Tensor:
    """Returns the bright part of an image, scaled, with more contrast: enlarged strokes are soft.

    The sides are even, so that the part has the middle of a scene for its own.
    """
    rows, columns = ((image > EDGE).any(dim).nonzero() for dim in (1, 0))
    if not len(rows):
        raise ValueError(f"images has an image without a pixel above {EDGE}: nothing to find")
    part = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    width = 2 * max(2, min(height, round(height * part.shape[1] / part.shape[0])) // 2)
    part = F.interpolate(part[None, None], size=(height, width), mode="bilinear")
    low, high = CONTRAST
    return ((part[0, 0] - low) / (high - low)).clamp(0, 1)


def _texture(size: int, generator: torch.Generator) -> Tensor:
    """Returns soft noise ``(size, size)`` in [0, 0.6], of four sizes of grain."""
    noise = torch.zeros(1, 1, size, size)
    for grain in (32, 16, 8, 4):
        cells = size // grain + 1
        coarse = torch.rand(1, 1, cells, cells, generator=generator) * grain**0.5
        noise += F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)
    noise -= noise.amin()
    return 0.6 * (noise / noise.amax())[0, 0]


def _scrap(images: Images, generator: torch.Generator) -> Tensor:
    """Returns a round part, soft at its edge, of a random digit."""
    digit = _cut_out(images.x[_draw(0, len(images), generator), 0], HEIGHTS[1])
    size = height, width = [min(DIAMETER, side) for side in digit.shape]
    y, x = (_draw(0, whole - part + 1, generator)
            for whole, part in zip(digit.shape, size, strict=True))  # fmt: skip
    down, right = ((torch.arange(side) - (side - 1) / 2) / (DIAMETER / 2) for side in size)
    disk = (2 - 2 * (down[:, None] ** 2 + right**2)).clamp(0, 1)
    return disk * digit[y : y + height, x : x + width]


def _paste(
    canvas: Tensor, scrap: Tensor, quiet: tuple[int, int], generator: torch.Generator
) -> None:
    """Put the scrap at a random place, unless it would reach into the quiet part.

    That is in the middle and of the height and width ``quiet``: there a scrap would look like a
    part of the digit to find.
    """
    height, width = scrap.shape
    top, left = (_draw(0, len(canvas) - side + 1, generator) for side in (height, width))
    apart = [
        abs(2 * start + side - len(canvas)) >= side + free
        for start, side, free in zip((top, left), (height, width), quiet, strict=True)
    ]
    if any(apart):
        place = canvas[top : top + height, left : left + width]
        place += scrap * (1 - place)


def _draw(low: int, high: int, generator: torch.Generator) -> int:
    """Returns a random int of low, ..., high - 1."""
    return int(torch.randint(low, high, (), generator=generator))
