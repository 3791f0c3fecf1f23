"""Scenes cut out of photographs, each with one object in the middle and its real surroundings."""

from collections.abc import Collection

import torch
import torch.nn.functional as F

from equitutor.checks import check_choice, check_count
from equitutor.data.detection import Detections
from equitutor.data.scenes import Scenes


def centered(
    found: Detections,
    size: int,
    shrink: int = 1,
    keep: Collection[str] | None = None,
    alone: bool = False,
) -> Scenes:
    """Returns one scene around each object that stands far enough from the photograph's border.

    So a window can slide over a scene as far as its border, and nothing is padded. An object is in
    the middle up to half a pixel. Objects of other classes than those of ``keep`` stay in the
    picture, unmarked.

    Args:
        found: photographs with boxes.
        size: height and width of a scene in pixels, after shrinking.
        shrink: so many pixels squared become one, their mean.
        keep: names of the classes to find, in the order of the new labels; None keeps all.
        alone: leave out a scene in which any other object of these classes is to be seen.

    Returns:
        Scenes of the photographs in turn; their ``others`` are the other objects to be seen.

    Raises:
        ValueError: an argument is out of range, a class is unknown, or no object is far enough
            from the border.

    Example:
        >>> image = torch.zeros(1, 3, 40, 60, dtype=torch.uint8)
        >>> boxes = torch.tensor([[20.0, 16, 28, 24], [0.0, 0, 8, 8]])
        >>> found = Detections(image, (boxes,), (torch.tensor([1, 0]),), "two", ("a", "b"))
        >>> scene = centered(found, 16, shrink=2)
        >>> scene.x.shape, scene.boxes.tolist(), scene.y.tolist()
        (torch.Size([1, 3, 16, 16]), [[6.0, 6.0, 10.0, 10.0]], [1])
    """
    check_count("size", size)
    check_count("shrink", shrink)
    keep = found.classes if keep is None else tuple(keep)
    if not keep or len(set(keep)) < len(keep):
        raise ValueError(f"keep is {keep}, but has to name different classes")
    for name in keep:
        check_choice("keep", name, found.classes)
    new_label = torch.tensor([keep.index(n) if n in keep else -1 for n in found.classes])
    height, width = (side // shrink for side in found.images.shape[2:])
    x, targets = [], []
    for image, boxes, labels in zip(found.images, found.boxes, found.labels, strict=True):
        rows = torch.cat([boxes / shrink, new_label[labels][:, None].to(boxes)], 1)  # (K, 5)
        rows = rows[rows[:, 4] >= 0]
        whole = None
        for k, row in enumerate(rows):
            left, top = ((row[:2] + row[2:4]) / 2 - size / 2).round().int().tolist()
            if not (0 <= left <= width - size and 0 <= top <= height - size):
                continue
            moved = rows - torch.tensor([left, top, left, top, 0.0])
            seen = ((moved[:, :2] < size) & (moved[:, 2:4] > 0)).all(1)
            seen[k] = False
            if alone and seen.any():
                continue
            if whole is None:
                whole = F.avg_pool2d(image.float() / 255, shrink)
            x.append(whole[:, top : top + size, left : left + size])
            targets.append(torch.cat([moved[k : k + 1], moved[seen]]))
    if not x:
        raise ValueError(
            f"size is {size}: no object of {found.name} is in the middle of so large a scene, "
            f"inside of photographs of {height} x {width} pixels"
        )
    most = max(map(len, targets))
    padded = torch.full((len(x), most, 5), -1.0)
    padded[..., :4] = 0.0
    for row, target in zip(padded, targets, strict=True):
        row[: len(target)] = target
    return Scenes(torch.stack(x), padded[:, 0, :4], padded[:, 0, 4].long(),
                  f"scenes of {found.name}", keep, padded[:, 1:])  # fmt: skip
