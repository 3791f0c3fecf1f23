"""Photographs with boxes around what is to be found: blood cells."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import torch
from torch import Tensor

from equitutor.checks import check_choice
from equitutor.data.cache import fetch, fetch_all
from equitutor.data.errors import FormatError
from equitutor.data.pictures import read_picture, read_voc

BLOOD_CELLS = ("RBC", "WBC", "Platelets")  # red and white blood cells


@dataclass(frozen=True, eq=False)
class Detections:
    """Images with boxes.

    Args:
        images: uint8 ``(N, 3, H, W)``, values 0 to 255: as float32 they would take four times
            the memory, so turn a batch at a time.
        boxes: for each image float32 ``(K, 4)``, corners ``(x1, y1, x2, y2)`` in pixels from the
            left and upper edge: a box of the whole image is ``(0, 0, W, H)``.
        labels: for each image int64 ``(K,)``, indices into ``classes``.
        name: the data set.
        classes: a name for each class.
        difficult: for each image bool ``(K,)``, objects that an evaluation should leave out; none
            where it is empty.
    """

    images: Tensor = field(repr=False)
    boxes: tuple[Tensor, ...] = field(repr=False)
    labels: tuple[Tensor, ...] = field(repr=False)
    name: str
    classes: tuple[str, ...]
    difficult: tuple[Tensor, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.images)


def blood_cells(split: str) -> Detections:
    """Returns one split of BCCD: 640 x 480 photographs of blood, with a box around each cell.

    Boxes one pixel wide or high are left out: the published set has two, slips of the mouse.

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
    images, boxes, labels, difficult = [], [], [], []
    for stem in stems:
        pixels = read_picture(pictures[stem], "RGB")  # (H, W, 3)
        note = read_voc(notes[stem], BLOOD_CELLS)
        if pixels.shape[:2] != note.size or (images and images[0].shape != pixels.shape):
            raise FormatError(
                f"{pictures[stem]} has {pixels.shape[:2]} pixels, its annotation says {note.size}, "
                f"and all pictures need one size"
            )
        images.append(pixels)
        corners = torch.from_numpy(note.boxes)
        kept = (corners[:, 2:] - corners[:, :2] > 1).all(1)
        boxes.append(corners[kept])
        labels.append(torch.tensor(note.labels, dtype=torch.int64)[kept])
        difficult.append(torch.tensor(note.difficult, dtype=torch.bool)[kept])
    stack = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # (N, 3, H, W)
    return Detections(
        stack.contiguous(), tuple(boxes), tuple(labels), "bccd", BLOOD_CELLS, tuple(difficult)
    )
