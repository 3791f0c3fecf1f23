"""A small detector that marks the centers of objects on a heat map, without anchor boxes.

The network turns images (B, C, H, W) into maps (B, classes + 4, H / 4, W / 4): one heat map of
logits for each class, and for each cell the logarithms of the distances from the cell's center to
the left, top, right and bottom of its box, in cells. Targets are (B, M, 5), rows
``x1, y1, x2, y2, class`` in pixels, class -1 where there is no object. Detections are (B, K, 6),
rows ``x1, y1, x2, y2, confidence, class``, the most confident first.

Nothing in a convolution knows where it is; what is not equivariant under shifts comes from the
border (padding), from the stride, or from coordinates that were put in.

Source: objects as points (Zhou et al. 2019), with the focal loss of CornerNet (Law and Deng 2018)
and distances to four sides (FCOS, Tian et al. 2019), weighted as in TTFNet (Liu et al. 2020).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equitutor.checks import check_count, check_input

STRIDE = 4  # pixels of a cell of the maps
LEAST_VISIBLE = 0.25  # of its area has to be in the image, or an object is no target


class CenterDetector(nn.Module):
    """Detector of objects by their centers.

    Args:
        classes: number of classes of objects.
        channels: channels of the images.
        width: channels of the first layer; further layers have twice as many.
        coordinates: whether two channels with the pixel's place in the image are added to it.
        blur: whether maps are blurred before every other pixel is dropped.
        padding: what stands beyond the border, "zeros" or "replicate".

    Raises ValueError where an argument does not fit.

    Source: coordinate channels by Liu et al. (2018), blur before subsampling by Zhang (2019).

    >>> net = CenterDetector()
    >>> net(torch.rand(2, 1, 64, 64)).shape
    torch.Size([2, 14, 16, 16])
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        width: int = 16,
        coordinates: bool = False,
        blur: bool = False,
        padding: str = "zeros",
    ):
        super().__init__()
        check_count("classes", classes)
        check_count("channels", channels)
        check_count("width", width)
        _check_padding(padding)
        self.classes, self.channels, self.coordinates = classes, channels, bool(coordinates)
        wide = 2 * width

        def layer(c: int, d: int, dilation: int = 1) -> list[nn.Module]:
            conv = nn.Conv2d(c, d, 3, padding=dilation, dilation=dilation, bias=False,
                             padding_mode=padding)  # fmt: skip
            return [conv, nn.BatchNorm2d(d), nn.ReLU()]

        def halve(c: int, d: int) -> list[nn.Module]:
            if blur:
                return [*layer(c, d), BlurPool(d, padding)]
            # 4 x 4 pixels around the corner where four meet: the center of the coarser pixel
            conv = nn.Conv2d(c, d, 4, stride=2, padding=1, bias=False, padding_mode=padding)
            return [conv, nn.BatchNorm2d(d), nn.ReLU()]

        self.body = nn.Sequential(
            *layer(channels + 2 * self.coordinates, width),
            *halve(width, wide),
            *halve(wide, wide),
            *layer(wide, wide),
            *layer(wide, wide, 2),  # sees 45 pixels in all: an object and its surroundings
            *layer(wide, wide, 2),
        )
        self.head = nn.Conv2d(wide, classes + 4, 1)
        nn.init.constant_(self.head.bias[:classes], -4.0)  # nearly all cells hold no center
        nn.init.constant_(self.head.bias[classes:], 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Returns maps (B, classes + 4, H / 4, W / 4) of images (B, C, H, W)."""
        wanted = f"(B, {self.channels}, H, W) with sides that are multiples of {STRIDE}"
        shape = getattr(x, "shape", ())
        fits = len(shape) == 4 and shape[1] == self.channels and not (shape[2] % 4 or shape[3] % 4)
        check_input("x", x, wanted, fits, self.head.weight)
        if self.coordinates:
            rows, columns = (torch.linspace(-1, 1, side).to(x) for side in x.shape[2:])
            grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))  # (2, H, W)
            x = torch.cat([x, grid.expand(len(x), -1, -1, -1)], 1)
        return self.head(self.body(x))


class BlurPool(nn.Module):
    """Halves the sides of maps (B, C, H, W) after a blur with the binomial filter 1 3 3 1.

    Args:
        channels: C. padding: "zeros" or "replicate".

    Source: Zhang, Making convolutional networks shift-invariant again, ICML 2019.

    >>> BlurPool(2, "replicate")(torch.ones(1, 2, 8, 8)).unique()
    tensor([1.])
    """

    def __init__(self, channels: int, padding: str = "zeros"):
        super().__init__()
        check_count("channels", channels)
        _check_padding(padding)
        line = torch.tensor([1.0, 3, 3, 1]) / 8
        self.register_buffer("filter", (line[:, None] * line).expand(channels, 1, 4, 4).clone())
        self.mode = "replicate" if padding == "replicate" else "constant"

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), self.mode), self.filter, stride=2, groups=x.shape[1])


class TopBoxes(nn.Module):
    """A detector that answers with boxes: `decode` after a network that answers with maps.

    Args:
        net: module from images to maps. k: boxes for each image, >= 1.

    >>> TopBoxes(CenterDetector(), 3)(torch.rand(2, 1, 64, 64)).shape
    torch.Size([2, 3, 6])
    """

    def __init__(self, net: nn.Module, k: int = 1):
        super().__init__()
        if not callable(net):
            raise ValueError(f"net must be callable, got {type(net).__name__}")
        check_count("k", k)
        self.net, self.k = net, k

    def forward(self, x: Tensor) -> Tensor:
        return decode(self.net(x), self.k)


def decode(maps: Tensor, k: int = 1) -> Tensor:
    """Returns the k most confident detections (B, k, 6), boxes clipped to the image.

    A center is a cell whose heat no neighbor of the same class exceeds. Where there are fewer than
    k of them, the rest has confidence 0.

    Args:
        maps: (B, classes + 4, h, w). k: 1 ... classes * h * w.

    Raises ValueError where a shape or k does not fit.

    >>> maps = torch.full((1, 5, 4, 4), -9.0)
    >>> maps[0, 0, 1, 2], maps[0, 1:] = 2.0, 0.0  # one cell to each side of the center (10, 6)
    >>> [round(v, 2) for v in decode(maps)[0, 0].tolist()]
    [6.0, 2.0, 14.0, 10.0, 0.88, 0.0]
    """
    classes = _check_maps(maps)
    height, width = maps.shape[2:]
    check_count("k", k)
    if k > classes * height * width:
        raise ValueError(f"k must be at most the {classes * height * width} cells, got {k}")
    heat = maps[:, :classes].sigmoid()
    heat = heat * (heat == F.max_pool2d(heat, 3, stride=1, padding=1))
    confidence, index = heat.flatten(1).topk(k)  # (B, k)
    label, cell = index // (height * width), index % (height * width)
    boxes = _boxes(maps[:, classes:].float())  # (B, h w, 4)
    boxes = boxes.gather(1, cell[..., None].expand(-1, -1, 4))
    return torch.cat([boxes, confidence[..., None], label[..., None].to(boxes)], -1)


def center_loss(maps: Tensor, targets: Tensor, box_weight: float = 1.0) -> Tensor:
    """Returns the loss of a batch, a scalar: focal loss of the heat, L1 of the log distances.

    A target's box is clipped to the image first; where less than a quarter of its area is left, it
    is dropped. Around its center, heat is expected to fall off as a Gaussian whose width is a
    twelfth of the box, at least half a cell; boxes are learned under its upper half.

    Args:
        maps: (B, classes + 4, h, w). targets: (B, M, 5), rows x1, y1, x2, y2, class or -1.
        box_weight: weight of the box part.

    Raises ValueError where a shape or a class does not fit.

    >>> center_loss(CenterDetector()(torch.rand(2, 1, 64, 64)), torch.zeros(2, 1, 5)).ndim
    0
    """
    classes = _check_maps(maps)
    if not len(maps):
        raise ValueError("maps must hold at least one image, got none")
    if not isinstance(box_weight, int | float) or not 0 <= box_weight < float("inf"):
        raise ValueError(f"box_weight must be a finite number >= 0, got {box_weight!r}")
    maps = maps.float()
    boxes, label = _clipped(targets, len(maps), classes, maps.shape[2:])  # (B, M, 4), (B, M)
    centers = _centers(maps)  # (P, 2)
    middle, side = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    sigma = (side / 12).clamp(min=STRIDE / 2)
    far = ((centers - middle[:, :, None]) / sigma[:, :, None]).square().sum(-1)  # (B, M, P)
    nearest = far.argmin(-1, keepdim=True)
    splat = torch.exp(-far / 2).scatter(-1, nearest, 1.0) * (label >= 0)[..., None]
    wanted = torch.zeros(len(maps), classes, len(centers), device=maps.device)
    index = label.clamp(min=0)[..., None].expand_as(splat)
    wanted = wanted.scatter_reduce(1, index, splat, "amax")  # (B, classes, P)

    heat = maps[:, :classes].flatten(2)
    p = heat.sigmoid()
    hit = -((1 - p) ** 2) * F.logsigmoid(heat)
    miss = -((1 - wanted) ** 4) * p**2 * F.logsigmoid(-heat)
    count = (label >= 0).sum().clamp(min=1)
    focal = torch.where(wanted == 1, hit, miss).sum() / count

    owner = splat.argmax(1)  # (B, P), the object that a cell is to describe
    weight = splat.amax(1) * (splat.amax(1) >= 0.5)
    box = boxes.gather(1, owner[..., None].expand(-1, -1, 4))  # (B, P, 4)
    reach = torch.cat([centers - box[..., :2], box[..., 2:] - centers], -1) / STRIDE
    weight = weight * (reach > 0).all(-1)  # a cell outside of its box can't describe it
    error = maps[:, classes:].flatten(2).transpose(1, 2) - reach.clamp(min=0.1).log()
    box_part = (error.abs().mean(-1) * weight).sum() / weight.sum().clamp(min=1)
    return focal + box_weight * box_part


def _centers(maps: Tensor) -> Tensor:
    """Returns the centers (h w, 2) of the cells, right and down, in pixels."""
    down, right = ((torch.arange(side, device=maps.device) + 0.5) * STRIDE
                   for side in maps.shape[2:])  # fmt: skip
    return torch.stack(torch.meshgrid(down, right, indexing="ij")[::-1], -1).flatten(0, 1)


def _boxes(logs: Tensor) -> Tensor:
    """Returns the boxes (B, h w, 4) of all cells, in pixels, clipped to the image."""
    reach = STRIDE * logs.clamp(max=10).exp().flatten(2).transpose(1, 2)  # (B, P, 4)
    centers, (height, width) = _centers(logs), logs.shape[2:]
    boxes = torch.cat([centers - reach[..., :2], centers + reach[..., 2:]], -1)
    limit = torch.tensor([width, height] * 2, device=logs.device) * STRIDE
    return boxes.clamp(min=0).minimum(limit)


def _clipped(targets: Tensor, n: int, classes: int, cells) -> tuple[Tensor, Tensor]:
    """Returns boxes clipped to the image, and int64 labels, -1 where too little is visible."""
    shape = tuple(targets.shape) if isinstance(targets, Tensor) else ()
    if len(shape) != 3 or shape[0] != n or shape[2] != 5 or not shape[1]:
        raise ValueError(f"targets must be ({n}, M, 5) with M >= 1, got {shape or type(targets)}")
    boxes, label = targets[..., :4].float(), targets[..., 4].long()
    if (label != targets[..., 4]).any():  # NaN, too
        raise ValueError(f"targets must hold whole numbers as classes, got {targets[..., 4]}")
    if label.max() >= classes or label.min() < -1:
        raise ValueError(f"targets must hold classes -1 ... {classes - 1}, got {label.unique()}")
    if not boxes[label >= 0].isfinite().all():
        raise ValueError("targets must hold finite boxes, got NaN or infinity")
    limit = torch.tensor([cells[1], cells[0]] * 2, device=boxes.device) * STRIDE
    seen = boxes.clamp(min=0).minimum(limit)
    area = lambda b: (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1)
    visible = area(seen) > LEAST_VISIBLE * area(boxes)
    label = torch.where(visible, label, -1)
    return torch.where((label >= 0)[..., None], seen, 0.0), label


def _check_maps(maps: Tensor) -> int:
    shape = tuple(maps.shape) if isinstance(maps, Tensor) else ()
    if len(shape) != 4 or shape[1] < 5 or 0 in shape[2:] or not maps.is_floating_point():
        raise ValueError(f"maps must be floating point (B, classes + 4, h, w), "
                         f"got {getattr(maps, 'dtype', type(maps))} {shape}")  # fmt: skip
    return maps.shape[1] - 4


def _check_padding(padding: str) -> None:
    if padding not in ("zeros", "replicate"):
        raise ValueError(f"padding must be 'zeros' or 'replicate', got {padding!r}")
