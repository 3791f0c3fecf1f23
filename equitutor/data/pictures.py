"""Readers for pictures and what is annotated on them: boxes (VOC) and flow (Middlebury)."""

import io
import struct
import warnings
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from equitutor.data.errors import FormatError
from equitutor.data.words import number

# A picture of more bytes than these, for each of its file or in all, is a header that lies: the
# pixels of a drawing in two colors are 200 times its PNG.
LARGEST = (256, 1 << 22)
DEEPEST = 16  # XML elements inside one another; VOC has 5
FLO_MAGIC = struct.pack("<f", 202021.25)  # the bytes "PIEH"
FLO_UNKNOWN = 1e9  # Middlebury: a larger value says that the flow is not known here


def read_picture(path: Path, mode: str) -> np.ndarray:
    """Returns the pixels of a picture in any format that Pillow knows.

    Args:
        path: the file.
        mode: ``"L"`` for gray ``(H, W)`` or ``"RGB"`` for color ``(H, W, 3)``; a picture in
            another mode is converted.

    Returns:
        uint8 array.

    Raises:
        FormatError: not a picture, cut off, of more pixels than its file can hold, or of 16 bits
            per pixel, which would be clipped.
    """
    from PIL import Image

    data = Path(path).read_bytes()  # reads from a file make room for what a header says
    limit = max(LARGEST[0] * len(data), LARGEST[1])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # so Pillow speaks of corrupt tags
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as picture:
                if picture.mode.startswith(("I", "F")):
                    raise FormatError(
                        f"{path} has the mode {picture.mode}, expected 8 bits a channel"
                    )
                width, height = picture.size
                if width * height * len(mode) > limit:
                    raise FormatError(
                        f"{path} says it has {width} x {height} pixels, which is more than a file "
                        f"of {len(data)} bytes can hold"
                    )
                return np.array(picture.convert(mode))
    except FormatError:
        raise
    except Exception as error:  # a damaged picture can raise nearly anything
        raise FormatError(f"{path} is not a whole picture: {error}") from error


class Annotation(NamedTuple):
    """What a VOC file says about its picture.

    Attributes:
        size: ``(height, width)`` in pixels.
        boxes: float32 ``(K, 4)``, corners ``(x1, y1, x2, y2)`` in pixels from the left and upper
            edge of the picture, so that a box of the whole picture is ``(0, 0, width, height)``.
        labels: indices into the classes.
        difficult: whether an object is marked as hard; VOC's evaluation leaves those out.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    labels: list[int]
    difficult: list[bool]


def read_voc(path: Path, classes: tuple[str, ...]) -> Annotation:
    """Returns the size, the boxes and the labels of a Pascal VOC annotation.

    VOC names the first and the last pixel of a box, and counts them from 1. So the left and upper
    edge of a box lie 1 before its first pixel's number, and a box of one pixel has the area 1.

    Args:
        path: the ``.xml`` file.
        classes: the names that objects may have.

    Raises:
        FormatError: not XML, or one with entities of its own; an element is missing, twice there
            or no number; an unknown class; a box with its corners swapped or with pixels beyond
            1 ... width and 1 ... height, as in a file that counts from 0.

    Source: http://host.robots.ox.ac.uk/pascal/VOC/, development kit, "Annotation files".

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "whole.xml")
        ...     _ = file.write_text(
        ...         "<annotation><size><width>10</width><height>8</height></size><object>"
        ...         "<name>cat</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>"
        ...         "<xmax>10</xmax><ymax>8</ymax></bndbox></object></annotation>"
        ...     )
        ...     found = read_voc(file, ("cat",))
        >>> found.boxes.tolist(), found.difficult
        ([[0.0, 0.0, 10.0, 8.0]], [True])
    """
    sizes, objects = [], []
    for child in _children(path):
        if child.tag == "size":
            sizes.append([_number(child, side, path) for side in ("width", "height")])
        elif child.tag == "object":
            objects.append(_object(child, classes, path))
    if len(sizes) != 1:
        raise FormatError(f"{path} has {len(sizes)} elements 'size', expected 1")
    (width, height) = sizes[0]
    if not all(1 <= side < 2**31 and side == int(side) for side in (width, height)):
        raise FormatError(f"{path} has the size {width:g} x {height:g}, expected whole numbers")
    for _, (x1, y1, x2, y2), _ in objects:
        if not (1 <= x1 <= x2 <= width and 1 <= y1 <= y2 <= height):
            raise FormatError(
                f"{path} has a box {[x1, y1, x2, y2]} that does not fit {width:g} x {height:g}: "
                f"VOC counts pixels from 1, and its boxes end with their last pixel"
            )
    labels, boxes, difficult = map(list, zip(*objects, strict=True)) if objects else ([], [], [])
    edges = np.array(boxes, np.float32).reshape(-1, 4) - np.array([1, 1, 0, 0], np.float32)
    return Annotation((int(height), int(width)), edges, labels, difficult)


def _children(path: Path):
    """Yield the elements right under the root, one at a time."""
    refused = b"<!doctype"  # entities may stand for others, a thousand times over
    depth, root = 0, None
    try:
        with Path(path).open("rb") as stream:
            if refused in stream.read(1 << 12).replace(b"\0", b"").lower():
                raise FormatError(f"{path} defines entities, which no VOC file does")
            stream.seek(0)
            for event, element in ElementTree.iterparse(stream, ("start", "end")):
                root = element if root is None else root
                depth += 1 if event == "start" else -1
                if depth > DEEPEST:
                    raise FormatError(f"{path} has elements more than {DEEPEST} deep")
                if event == "end" and depth == 1:
                    yield element
                    root.clear()
    except FormatError:
        raise
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise FormatError(f"{path} is not sound XML: {error}") from error


def _object(item: ElementTree.Element, classes: tuple[str, ...], path: Path):
    """Returns the label, the four numbers of the box and whether it is difficult."""
    name = item.findtext("name")
    name = name.strip() if name else name
    if name not in classes:
        raise FormatError(f"{path} has an object {name!r}, expected one of {classes}")
    if len(item.findall("bndbox")) > 1:
        raise FormatError(f"{path} has an object {name!r} with {len(item.findall('bndbox'))} boxes")
    corners = ("xmin", "ymin", "xmax", "ymax")
    box = [_number(item, f"bndbox/{corner}", path) for corner in corners]
    difficult = item.findtext("difficult", "0").strip()
    if difficult not in ("0", "1"):
        raise FormatError(f"{path} has {difficult[:40]!r} as difficult, expected 0 or 1")
    return classes.index(name), box, difficult == "1"


def _number(element: ElementTree.Element, tag: str, path: Path) -> float:
    text = element.findtext(tag)
    try:
        return number(text)
    except (TypeError, ValueError):
        where = tag if "/" in tag else f"{element.tag}/{tag}"
        raise FormatError(f"{path} has {text!r} as {where}, expected a number") from None


def read_flo(path: Path) -> np.ndarray:
    """Returns the flow in a Middlebury ``.flo`` file.

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
    flow = flow.transpose(2, 0, 1).astype(np.float32, order="C")
    flow[~(np.abs(flow) <= FLO_UNKNOWN)] = np.nan  # of NaN, too, this is true
    return flow
