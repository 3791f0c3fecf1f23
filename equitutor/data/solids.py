"""Readers for files of bodies in space: OFF meshes, PCD point clouds, voxel grids.

They read a line, or a piece, at a time: a number in a header makes no array, only data do.
"""

import gzip
import io
import math
import re
import struct
from array import array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from equitutor.data.errors import FormatError
from equitutor.data.words import number, whole

_OFF = re.compile(r"(?P<texture>ST)?(?P<color>C)?(?P<normal>N)?(?P<other>4?n?)OFF")
_PCD_ENTRIES = {"VERSION", "FIELDS", "COLUMNS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT",
                "VIEWPOINT", "POINTS", "DATA"}  # fmt: skip
_PCD_TYPES = {"F": "f", "I": "i", "U": "u"}
_PCD_HEADER = 1 << 12  # bytes of a line of the header, and lines of a header, at most
_PIECE = 1 << 16  # bytes of voxels at a time


def read_off(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the vertices and triangles of an OFF mesh written as text.

    Polygons of more than three corners are cut into a fan of triangles; colors, normals and
    coordinates of textures are left out. The header may run into the counts, ``OFF24 12 0``, as in
    some files of ModelNet.

    Args:
        path: the file; a ``zipfile.Path`` does as well.

    Returns:
        float64 ``(V, 3)``, and int64 ``(F, 3)`` with indices of vertices.

    Raises:
        FormatError: another header, one of points in other than three dimensions or of a binary
            file, a line that is not the finite numbers it should be, a wrong count of lines, or a
            face with fewer than three corners or with a vertex that is not there.

    Source: Princeton Shape Benchmark, https://segeval.cs.princeton.edu/public/off_format.html;
    Geomview's manual for the letters before ``OFF``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "square.off")
        ...     _ = file.write_text("OFF\\n4 1 0\\n0 0 0\\n1 0 0\\n1 1 0\\n0 1 0\\n4 0 1 2 3")
        ...     read_off(file)[1].tolist()
        [[0, 1, 2], [0, 2, 3]]
    """
    with path.open("r", encoding="latin-1") as stream:
        lines = (bare for line in stream if (bare := line.partition("#")[0].strip()))
        first = next(lines, "")
        head = _OFF.match(first)
        if head is None or head["other"]:
            raise FormatError(f"{path} begins with {first[:16]!r}, expected 'OFF'")
        counts = first[head.end() :].strip()
        if counts.upper().startswith("BINARY"):
            raise FormatError(f"{path} is a binary OFF file, expected one written as text")
        extra = 3 * bool(head["normal"]) + 2 * bool(head["texture"])
        widths = (6 + extra, 7 + extra) if head["color"] else (3 + extra,)  # colors have 3 or 4
        wrong = f"{path} has a line that is not the numbers it should be"
        try:
            n_vertices, n_faces = _counts(counts or next(lines, ""))
        except ValueError as error:
            raise FormatError(f"{wrong}: {error}") from error
        vertices, triangles, found, odd = array("d"), array("q"), 0, None
        for found, line in enumerate(lines, 1):
            try:
                if odd is None and found <= n_vertices:
                    vertices.extend(_vertex(line, widths))
                elif odd is None and found <= n_vertices + n_faces:
                    for corners in _triangles(line, n_vertices):
                        triangles.extend(corners)
            except ValueError as error:
                odd = error  # said below: if counts are wrong, all lines are counted first
    if found != n_vertices + n_faces:
        raise FormatError(
            f"{path} has {found} lines after the counts, expected "
            f"{n_vertices} vertices and {n_faces} faces"
        )
    if odd is not None:
        raise FormatError(f"{wrong}: {odd}") from odd
    return (
        np.frombuffer(vertices, np.float64).reshape(-1, 3),
        np.frombuffer(triangles, np.int64).reshape(-1, 3),
    )


def _counts(line: str) -> tuple[int, int]:
    """Returns the numbers of vertices and faces; that of edges is not used by anybody."""
    counts = [whole(word) for word in line.split()]
    if len(counts) not in (2, 3) or min(counts) < 0:
        raise ValueError(f"{line[:40]!r} are no counts of vertices, faces and edges")
    return counts[0], counts[1]


def _vertex(line: str, widths: tuple[int, ...]) -> list[float]:
    """Returns the point of a line, whose color, normal and texture are left out."""
    numbers = [number(word) for word in line.split()]
    if len(numbers) not in widths:
        wanted = " or ".join(map(str, widths))
        raise ValueError(f"it has {len(numbers)} coordinates a vertex, expected {wanted}")
    if not all(map(math.isfinite, numbers[:3])):
        raise ValueError(f"{line[:60]!r} is no finite point")
    return numbers[:3]


def _triangles(line: str, n_vertices: int) -> Iterator[tuple[int, int, int]]:
    """Yield the triangles of a face: a count of corners, their vertices, perhaps a color."""
    count, *rest = line.split()
    n = whole(count)
    if n < 3:
        raise ValueError(f"it has a face of {n} corners, expected at least 3")
    if n > len(rest):
        raise ValueError(f"it has a face of fewer corners than it says: {line[:60]}")
    if len(rest) - n not in (0, 1, 3, 4):
        raise ValueError(f"{len(rest) - n} numbers after the corners of a face are no color")
    corners = [whole(word) for word in rest[:n]]
    for word in rest[n:]:
        number(word)
    for wrong in (min(corners), max(corners)):
        if not 0 <= wrong < n_vertices:
            raise ValueError(
                f"it has a face that names a vertex that is not there: {wrong}, but there are "
                f"{n_vertices}, from 0 on"
            )
    for b, c in pairwise(corners[1:]):
        yield corners[0], b, c


def read_pcd(path: Path) -> np.ndarray:
    """Returns the points of a PCD file, the format of the Point Cloud Library.

    All three ways to write it are read: as text, binary, and binary and compressed. Fields other
    than x, y and z are left out, whatever their type and count, and so are points that are not
    finite: a depth camera writes them where it saw nothing.

    Returns:
        float64 ``(N, 3)``, in the unit of the file.

    Raises:
        FormatError: no header, no fields x, y and z of one number each, entries of the header that
            contradict one another, a viewpoint other than the origin (its points would have to be
            turned by it), a line that is no numbers, or another number of points or bytes than the
            header says.

    Source: https://pointclouds.org/documentation/tutorials/pcd_file_format.html.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "two.pcd")
        ...     _ = file.write_text("FIELDS x y z\\nPOINTS 2\\nDATA ascii\\n0 0 1\\nnan 0 0")
        ...     read_pcd(file).tolist()
        [[0.0, 0.0, 1.0]]
    """
    with Path(path).open("rb") as stream:
        header = _pcd_header(path, stream)
        fields, counts, points = _pcd_layout(path, header)
        if header["DATA"] == ["ascii"]:
            return _pcd_text(path, stream, fields, counts, points)
        types = _pcd_types(path, header, fields)
        body = stream.read()
    # Of a field, the bytes of one point, and those of the fields before it; in Python's numbers.
    sizes = [np.dtype(kind).itemsize * count for kind, count in zip(types, counts, strict=True)]
    places = {axis: fields.index(axis) for axis in "xyz"}
    starts = {axis: sum(sizes[:place]) for axis, place in places.items()}
    if header["DATA"] == ["binary"]:
        if len(body) != points * sum(sizes):
            raise FormatError(
                f"{path} holds {len(body)} bytes of points, but {points} points of {sum(sizes)} "
                f"bytes are {points * sum(sizes)}"
            )
        step, ahead = sum(sizes), starts  # one point stands behind another
    else:
        body = _pcd_unpacked(path, body, points * sum(sizes))
        step, ahead = None, {axis: start * points for axis, start in starts.items()}  # one field
    if not points:
        return np.empty((0, 3))
    columns = [
        np.ndarray(points, types[place], body, ahead[axis], step and (step,))
        for axis, place in places.items()
    ]
    seen = np.logical_and.reduce([np.isfinite(column) for column in columns])
    found = np.empty((int(seen.sum()), 3))
    for k, column in enumerate(columns):
        found[:, k] = column[seen]
    return found


def _pcd_header(path: Path, stream: io.BufferedReader) -> dict[str, list[str]]:
    """Returns the words of each entry of the header, and leave the stream behind it."""
    header: dict[str, list[str]] = {}
    for _ in range(_PCD_HEADER):
        line = stream.readline(_PCD_HEADER)
        words = line.decode("latin-1").partition("#")[0].split()
        if not words and line:
            continue
        if not words or words[0] not in _PCD_ENTRIES or words[0] in header:
            if "FIELDS" in header and words:
                what = "twice" if words[0] in header else "which no PCD file has"
                raise FormatError(f"{path} has the header entry {words[0][:40]!r}, {what}")
            break
        header[words[0]] = words[1:]
        if words[0] == "DATA":
            break
    header.setdefault("FIELDS", header.pop("COLUMNS", []))
    if "DATA" not in header or not {"x", "y", "z"} <= set(header["FIELDS"]):
        found = f": its fields are {' '.join(header['FIELDS'])[:80]}" if header["FIELDS"] else ""
        raise FormatError(f"{path} is not a PCD file with the fields x, y and z{found}")
    if header["DATA"] not in (["ascii"], ["binary"], ["binary_compressed"]):
        raise FormatError(
            f"{path} is written as {' '.join(header['DATA'])}, expected ascii, binary or "
            "binary_compressed"
        )
    return header


def _pcd_layout(path: Path, header: dict[str, list[str]]) -> tuple[list[str], list[int], int]:
    """Returns the fields, the count of numbers in each, and the number of points."""
    fields = header["FIELDS"]

    def numbers_of(entry: str, least: int, n: int) -> list[int]:
        try:
            numbers = [whole(word) for word in header[entry]]
        except ValueError as error:
            raise FormatError(f"{path} has no whole numbers as {entry}: {error}") from error
        if len(numbers) != n or min(numbers) < least:
            raise FormatError(
                f"{path} has {entry} {' '.join(header[entry])}, expected {n} of at least {least}"
            )
        return numbers

    counts = numbers_of("COUNT", 1, len(fields)) if "COUNT" in header else [1] * len(fields)
    for axis in "xyz":
        if fields.count(axis) > 1 or counts[fields.index(axis)] != 1:
            raise FormatError(
                f"{path} has COUNT {' '.join(map(str, counts))} for the fields {' '.join(fields)}: "
                f"expected one number {axis} for each point"
            )
    sizes = {entry: numbers_of(entry, 0, 1)[0] for entry in ("WIDTH", "HEIGHT", "POINTS")
             if entry in header}  # fmt: skip
    points = sizes.get("POINTS", sizes.get("WIDTH", 0) * sizes.get("HEIGHT", 1))
    if not {"POINTS", "WIDTH"} & set(sizes):
        raise FormatError(f"{path} does not say how many points it has, in WIDTH or in POINTS")
    if {"WIDTH", "HEIGHT"} <= set(sizes) and sizes["WIDTH"] * sizes["HEIGHT"] != points:
        raise FormatError(
            f"{path} has WIDTH {sizes['WIDTH']} and HEIGHT {sizes['HEIGHT']}, but POINTS {points}"
        )
    viewpoint = header.get("VIEWPOINT", ["0", "0", "0", "1", "0", "0", "0"])
    try:
        still = [number(word) for word in viewpoint] == [0, 0, 0, 1, 0, 0, 0]
    except ValueError:
        still = False
    if not still:
        raise FormatError(
            f"{path} has VIEWPOINT {' '.join(viewpoint)[:80]}, but only points seen from the "
            "origin, 0 0 0 1 0 0 0, are read"
        )
    return fields, counts, points


def _pcd_types(path: Path, header: dict[str, list[str]], fields: list[str]) -> list[str]:
    """Returns NumPy's name for the type of each field."""
    sizes, types = header.get("SIZE", []), header.get("TYPE", [])
    known = [
        f"<{_PCD_TYPES[kind]}{size}"
        for size, kind in zip(sizes, types, strict=False)
        if kind in _PCD_TYPES and size in (("4", "8") if kind == "F" else ("1", "2", "4", "8"))
    ]
    if not len(known) == len(sizes) == len(types) == len(fields):
        raise FormatError(
            f"{path} has SIZE {' '.join(sizes)} and TYPE {' '.join(types)} for {len(fields)} "
            "fields, expected 4 or 8 bytes of F, or 1, 2, 4 or 8 of I or U, for each"
        )
    return known


def _pcd_text(path: Path, stream: io.BufferedReader, fields, counts, points: int) -> np.ndarray:
    """Returns the finite points ``(N, 3)`` of the lines that are left in the stream."""
    width = sum(counts)
    places = [sum(counts[: fields.index(axis)]) for axis in "xyz"]
    lines, values = 0, array("d")
    for line in stream:
        words = line.decode("latin-1").split()
        if not words:
            continue
        lines += 1
        try:
            row = [number(word) for word in words]
            if len(row) != width:
                raise ValueError(f"it has {len(row)}")
        except ValueError as error:
            raise FormatError(f"{path} has a line that is not {width} numbers: {error}") from error
        point = [row[place] for place in places]
        if all(map(math.isfinite, point)):
            values.extend(point)
    if lines != points:
        raise FormatError(f"{path} has {lines} points, expected {points}")
    return np.frombuffer(values, np.float64).reshape(-1, 3)


def _pcd_unpacked(path: Path, body: bytes, size: int) -> bytes:
    """Returns the bytes of all fields of a compressed file; ``size`` is what its header says."""
    if len(body) < 8:
        raise FormatError(f"{path} is cut off: {len(body)} bytes after the header, expected 8")
    packed, unpacked = struct.unpack_from("<II", body)
    if packed > len(body) - 8:
        raise FormatError(
            f"{path} is cut off: {packed} compressed bytes expected, found {len(body) - 8}"
        )
    if body[8 + packed :].strip(b"\0\n"):  # the library writes a page of zeros and a line's end
        raise FormatError(f"{path} holds other things after its {packed} compressed bytes")
    if unpacked != size:
        raise FormatError(
            f"{path} unpacks to {unpacked} bytes, but its fields and points need {size}"
        )
    try:
        return lzf_decompress(memoryview(body)[8 : 8 + packed], unpacked)
    except ValueError as error:
        raise FormatError(f"{path} is cut off or broken: {error}") from error


def lzf_decompress(data: bytes, size: int) -> bytes:
    """Returns what LZF packed: runs of new bytes, and copies of earlier ones.

    Args:
        data: the packed bytes. size: of the result.

    Raises:
        ValueError: the result has another size, a copy begins before the first byte, or the data
            end within a run.

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
        if i + (length == 7) >= end:
            raise ValueError("the data end within a copy")
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
        if len(out) > size:
            break
    if len(out) != size:
        more = "more than " if i < end else ""
        raise ValueError(f"{more}{len(out)} bytes came out, expected {size}")
    return bytes(out)


def read_voxels(path: Path) -> np.ndarray:
    """Returns the voxel grids of a gzipped NumPy file, without ever holding it as float64.

    Args:
        path: a ``.npy.gz`` file of zeros and ones, float64 ``(N, 1, D, H, W)``.

    Returns:
        bool ``(N, D, H, W)``, an eighth of the size of the file's own numbers.

    Raises:
        FormatError: not gzip, not a NumPy file of that kind, values other than 0 and 1, or not
            exactly as long as the header says.
    """
    pieces: list[np.ndarray] = []
    try:
        with gzip.open(path) as stream:
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                raise FormatError(f"{path} is a NumPy file of version {version}, expected (1, 0)")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            if dtype != np.dtype("<f8") or len(shape) != 5 or shape[1] != 1 or fortran:
                raise FormatError(f"{path} holds {dtype} {shape}, expected float64 (N, 1, D, H, W)")
            if min(shape) < 1:
                raise FormatError(f"{path} has the shape {shape}, expected nothing below 1")
            left = 1
            for side in shape:
                left *= side  # in Python: NumPy's product of huge numbers is another one
            while left and (data := stream.read(8 * min(left, _PIECE // 8))):
                values = np.frombuffer(data, "<f8", len(data) // 8)
                if len(data) % 8:
                    break
                filled = values == 1
                if not (filled | (values == 0)).all():
                    raise FormatError(f"{path} has values other than 0 and 1")
                pieces.append(filled)
                left -= len(filled)
            if left:
                raise FormatError(
                    f"{path} is cut off: it does not hold {shape[0]} grids, {left} numbers are "
                    "missing"
                )
            if stream.read(1):
                raise FormatError(f"{path} is too long: it holds more than {shape[0]} grids")
    except FormatError:
        raise
    except Exception as error:  # NumPy's reader of the header meets nearly anything
        raise FormatError(f"{path} is not a sound gzipped NumPy file: {error}") from error
    return np.concatenate(pieces).reshape(shape[0], *shape[2:])
