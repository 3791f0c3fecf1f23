"""Photographs with boxes around what is to be found: blood cells."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import torch
from torch import Tensor

from .arguments import check_choice
from .cache import fetch, fetch_all
from .errors import FormatError
from .pictures import read_picture, read_voc

BLOOD_CELLS = ("RBC", "WBC", "Platelets")  # red and white blood cells


@dataclass(frozen=True, eq=False)
class Detections:
    """Images with boxes.

    Args:
        images: uint8 ``(N, 3, H, W)``, values 0 to 255: as float32 they would take four times
            the memory, so turn a batch at a time.
        boxes: for each image float32 ``(K, 4)``, corners ``(x1, y1, x2, y2)`` in pixels.
        labels: for each image int64 ``(K,)``, indices into ``classes``.
        name: the data set.
        classes: a name for each class.
    """

    images: Tensor = field(repr=False)
    boxes: tuple[Tensor, ...] = field(repr=False)
    labels: tuple[Tensor, ...] = field(repr=False)
    name: str
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


def blood_cells(split: str) -> Detections:
    """Return one split of BCCD: 640 x 480 photographs of blood, with a box around each cell.

    Boxes without area are left out; the published set has two.

    Args:
        split: ``"train"`` (205 images, 189 MB) or ``"val"`` (87 images).

    Raises:
        ValueError: another split.
        DataError: the files can't be had or are broken.

    Source: https://github.com/Shenggan/BCCD_Dataset.

    Example:
        >>> blood_cells("val").images.shape  # doctest: +SKIP
        torch.Size([87, 3, 480, 640])
        >>> blood_cells("test")
        Traceback (most recent call last):
        ValueError: split is 'test', but has to be 'train' or 'val'
    """
    check_choice("split", split, ("train", "val"))
    stems = fetch(f"bccd/BCCD/ImageSets/Main/{split}.txt").read_text(encoding="utf-8").split()
    pictures = {PurePosixPath(k).stem: v for k, v in fetch_all("bccd", "BCCD/JPEGImages/").items()}
    notes = {PurePosixPath(k).stem: v for k, v in fetch_all("bccd", "BCCD/Annotations/").items()}
    missing = [stem for stem in stems if stem not in pictures or stem not in notes]
    if missing:
        raise FormatError(f"bccd has no picture or no annotation of {', '.join(missing[:5])}")
    images, boxes, labels = [], [], []
    for stem in stems:
        pixels = read_picture(pictures[stem], "RGB")  # (H, W, 3)
        size, corners, indices = read_voc(notes[stem], BLOOD_CELLS)
        if pixels.shape[:2] != size or (images and images[0].shape != pixels.shape):
            raise FormatError(
                f"{pictures[stem]} has {pixels.shape[:2]} pixels, its annotation says {size}, "
                f"and all pictures need one size"
            )
        images.append(pixels)
        boxes.append(torch.from_numpy(corners))
        labels.append(torch.tensor(indices, dtype=torch.int64))
    stack = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # (N, 3, H, W)
    return Detections(stack.contiguous(), tuple(boxes), tuple(labels), "bccd", BLOOD_CELLS)
