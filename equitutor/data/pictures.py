"""Readers for pictures and what is annotated on them: boxes (VOC) and flow (Middlebury)."""

import struct
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from .errors import FormatError

FLO_MAGIC = struct.pack("<f", 202021.25)  # the bytes "PIEH"
FLO_UNKNOWN = 1e9  # Middlebury: a larger value says that the flow is not known here


def read_picture(path: Path, mode: str) -> np.ndarray:
    """Return the pixels of a picture in any format that Pillow knows.

    Args:
        path: the file.
        mode: ``"L"`` for gray ``(H, W)`` or ``"RGB"`` for color ``(H, W, 3)``; a picture in
            another mode is converted.

    Returns:
        uint8 array.

    Raises:
        FormatError: not a picture, cut off, or of 16 bits per pixel, which would be clipped.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("error", UserWarning)  # so Pillow speaks of corrupt tags
            if picture.mode.startswith(("I", "F")):
                raise FormatError(f"{path} has the mode {picture.mode}, expected 8 bits a channel")
            return np.array(picture.convert(mode))
    except (OSError, SyntaxError, ValueError, struct.error, UserWarning) as error:
        raise FormatError(f"{path} is not a whole picture: {error}") from error


def read_voc(path: Path, classes: tuple[str, ...]) -> tuple[tuple[int, int], np.ndarray, list[int]]:
    """Return the size, the boxes and the labels of a Pascal VOC annotation.

    Boxes without area are left out: two of the published BCCD boxes are a single point.

    Args:
        path: the ``.xml`` file.
        classes: the names that objects may have.

    Returns:
        ``(height, width)`` in pixels; float32 ``(K, 4)``, corners ``(x1, y1, x2, y2)`` in pixels;
        indices into ``classes``.

    Raises:
        FormatError: not XML, an element is missing or no number, an unknown class, a box with
            its corners swapped or beyond the picture.

    Source: http://host.robots.ox.ac.uk/pascal/VOC/, development kit, "Annotation files".
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise FormatError(f"{path} is not sound XML: {error}") from error
    width, height = (_number(root, f"size/{side}", path) for side in ("width", "height"))
    boxes, labels = [], []
    for item in root.findall("object"):
        name = item.findtext("name")
        if name not in classes:
            raise FormatError(f"{path} has an object {name!r}, expected one of {classes}")
        box = x1, y1, x2, y2 = [
            _number(item, f"bndbox/{corner}", path) for corner in ("xmin", "ymin", "xmax", "ymax")
        ]
        if not (0 <= x1 <= x2 <= width and 0 <= y1 <= y2 <= height):
            raise FormatError(f"{path} has a box {box} that does not fit {width:g} x {height:g}")
        if x1 < x2 and y1 < y2:
            boxes.append(box)
            labels.append(classes.index(name))
    return (int(height), int(width)), np.array(boxes, np.float32).reshape(-1, 4), labels


def _number(element: ElementTree.Element, tag: str, path: Path) -> float:
    text = element.findtext(tag)
    try:
        return float(text)
    except (TypeError, ValueError):
        raise FormatError(f"{path} has {text!r} as {tag}, expected a number") from None


def read_flo(path: Path) -> np.ndarray:
    """Return the flow in a Middlebury ``.flo`` file.

    Returns:
        float32 ``(2, H, W)``: displacement in pixels to the right, and down. NaN where the file
        says that it is not known.

    Raises:
        FormatError: another magic number, or not exactly as long as the header says.

    Source: S. Baker et al., https://vision.middlebury.edu/flow/, "flow-code/README.txt".
    """
    data = Path(path).read_bytes()
    if len(data) < 12:
        raise FormatError(f"{path} is cut off: expected a header of 12 bytes, found {len(data)}")
    if data[:4] != FLO_MAGIC:
        raise FormatError(
            f"{path} has the magic number {data[:4].hex()}, expected {FLO_MAGIC.hex()}"
        )
    width, height = struct.unpack("<2i", data[4:12])
    if width < 1 or height < 1:
        raise FormatError(f"{path} has the size {width} x {height}, expected at least 1 x 1")
    needed = 12 + 8 * width * height
    if len(data) != needed:
        problem = "cut off" if len(data) < needed else "too long"
        raise FormatError(
            f"{path} is {problem}: {width} x {height} pixels need {needed} bytes, found {len(data)}"
        )
    flow = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)
    known = np.abs(flow) <= FLO_UNKNOWN  # False for NaN, too
    return np.where(known, flow, np.float32("nan")).transpose(2, 0, 1).astype(np.float32)
