"""A real person, seen from one side by a depth camera."""

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .arguments import check_count
from .cache import fetch
from .errors import FormatError


def human_scan(points: int = 2048, seed: int = 0, nearer: float = 1.0) -> Tensor:
    """Return head and shoulders of a person, seen by a depth camera: ``(points, 3)``, float32.

    Meters, z is up. The camera sees the front only, and the frame's border cuts the person. The
    person faces -y, as the bodies of this book do; the mean of the points is the origin.

    Args:
        points: number of points, drawn at random from those of the person.
        seed: other points for another seed.
        nearer: what is farther from the camera than this, in meters, is background.

    Raises:
        ValueError: points or seed is not an int in range, or nothing is that near.
        DataError: the file can't be had or is broken.

    Source: Point Cloud Library, tutorial on template alignment.

    Example:
        >>> human_scan().shape  # doctest: +SKIP
        torch.Size([2048, 3])
    """
    check_count("points", points)
    check_count("seed", seed, 0)
    cloud = read_compressed_pcd(fetch("human_scan/person.pcd"))
    person = cloud[cloud[:, 2] < nearer]
    if not len(person):
        raise ValueError(f"nearer is {nearer!r}, but the nearest point is at {cloud[:, 2].min()}")
    rng = np.random.default_rng(seed)
    chosen = person[rng.choice(len(person), points, replace=points > len(person))]
    # The camera looks along z, and y points down; the person looks back at it.
    x, y, z = (chosen - chosen.mean(0)).T
    return torch.from_numpy(np.stack([x, z, -y], 1)).float()


def read_compressed_pcd(path: Path) -> np.ndarray:
    """Return the points of a PCD file written as ``DATA binary_compressed``, without those that
    are not finite.

    Returns:
        float64 ``(N, 3)``, in the unit of the file.

    Raises:
        FormatError: another kind of file, one with fields other than float32, or one cut off.

    Source: https://pointclouds.org/documentation/tutorials/pcd_file_format.html.
    """
    data = path.read_bytes()
    head, found, body = data.partition(b"DATA binary_compressed\n")
    lines = (line.split() for line in head.decode("latin-1").splitlines())
    header = {words[0]: words[1:] for words in lines if words}
    fields = header.get("FIELDS", [])
    if not found or not {"x", "y", "z"} <= set(fields) or "POINTS" not in header:
        raise FormatError(f"{path} is not a compressed PCD file with the fields x, y and z")
    if set(header.get("SIZE", [])) != {"4"} or any(n != "1" for n in header.get("COUNT", ["1"])):
        raise FormatError(f"{path} has fields that are not single numbers of 4 bytes")
    try:
        packed, size = struct.unpack_from("<II", body)
        values = lzf_decompress(body[8 : 8 + packed], size)
        table = np.frombuffer(values, "<f4").reshape(len(fields), int(header["POINTS"][0]))
    except (IndexError, ValueError, struct.error) as error:
        raise FormatError(f"{path} is cut off or broken: {error}") from error
    points = table[[fields.index(axis) for axis in "xyz"]].T.astype(np.float64)
    return points[np.isfinite(points).all(1)]


def lzf_decompress(data: bytes, size: int) -> bytes:
    """Return what LZF packed: runs of new bytes, and copies of earlier ones.

    Args:
        data: the packed bytes. size: of the result.

    Raises:
        ValueError: the result has another size, or a copy begins before the first byte.

    Source: the format of Lehmann's LibLZF, http://software.schmorp.de/pkg/liblzf.html.

    Example:
        >>> lzf_decompress(bytes([2]) + b"abc" + bytes([(4 - 2) << 5, 2]), 7)
        b'abcabca'
    """
    out = bytearray()
    i, end = 0, len(data)
    while i < end:
        control = data[i]
        i += 1
        if control < 32:
            out += data[i : i + control + 1]
            i += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += data[i]
            i += 1
        start = len(out) - ((control & 31) << 8) - data[i] - 1
        i += 1
        if start < 0:
            raise ValueError("a copy begins before the first byte")
        length += 2
        run = out[start : start + length]
        while len(run) < length:  # a copy may read what it has just written
            run += run[: length - len(run)]
        out += run
    if len(out) != size:
        raise ValueError(f"{len(out)} bytes came out, expected {size}")
    return bytes(out)
