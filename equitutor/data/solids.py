"""Readers for files of bodies in space: OFF meshes, PCD point clouds, voxel grids."""

import gzip
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np

from .errors import FormatError


def read_off(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices and triangles of an OFF mesh.

    Polygons of more than three corners are cut into a fan of triangles; colors are left out. The
    header may run into the counts, ``OFF24 12 0``, as in some files of ModelNet.

    Args:
        path: the file; a ``zipfile.Path`` does as well.

    Returns:
        float64 ``(V, 3)``, and int64 ``(F, 3)`` with indices of vertices.

    Raises:
        FormatError: another header, a line that is no numbers, a wrong count of lines, or a face
            that names a vertex that is not there.

    Source: Princeton Shape Benchmark, https://segeval.cs.princeton.edu/public/off_format.html.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "square.off")
        ...     _ = file.write_text("OFF\\n4 1 0\\n0 0 0\\n1 0 0\\n1 1 0\\n0 1 0\\n4 0 1 2 3")
        ...     read_off(file)[1].tolist()
        [[0, 1, 2], [0, 2, 3]]
    """
    text = path.read_bytes().decode("latin-1")
    bare = (line.partition("#")[0].strip() for line in text.splitlines())
    lines = [line for line in bare if line]
    if not lines or not lines[0].startswith("OFF"):
        raise FormatError(f"{path} begins with {text[:16]!r}, expected 'OFF'")
    lines[0] = lines[0][3:]
    if not lines[0]:
        lines.pop(0)
    try:
        n_vertices, n_faces = map(int, lines[0].split()[:2])
        if len(lines) != 1 + n_vertices + n_faces:
            raise FormatError(
                f"{path} has {len(lines) - 1} lines after the counts, expected "
                f"{n_vertices} vertices and {n_faces} faces"
            )
        rows = [line.split() for line in lines[1:]]
        vertices = np.array(rows[:n_vertices], np.float64).reshape(n_vertices, -1)
        polygons = [[int(word) for word in row[1 : 1 + int(row[0])]] for row in rows[n_vertices:]]
    except (IndexError, ValueError) as error:
        raise FormatError(
            f"{path} has a line that is not the numbers it should be: {error}"
        ) from error
    if n_vertices and vertices.shape[1] != 3:
        raise FormatError(f"{path} has {vertices.shape[1]} coordinates a vertex, expected 3")
    triangles = []
    for polygon, row in zip(polygons, rows[n_vertices:], strict=True):
        if len(polygon) != int(row[0]):
            raise FormatError(f"{path} has a face of fewer corners than it says: {' '.join(row)}")
        triangles += [(polygon[0], b, c) for b, c in pairwise(polygon[1:])]
    faces = np.array(triangles, np.int64).reshape(-1, 3)
    if faces.size and not 0 <= faces.min() <= faces.max() < n_vertices:
        raise FormatError(f"{path} has a face that names a vertex that is not there")
    return vertices.reshape(-1, 3), faces


def read_pcd(path: Path) -> np.ndarray:
    """Return the points of a PCD file, the format of the Point Cloud Library, written as text.

    Fields other than x, y and z are left out, and so are points that are not finite: a depth
    camera writes them where it saw nothing.

    Returns:
        float64 ``(N, 3)``, in the unit of the file.

    Raises:
        FormatError: no header, no fields x, y and z, not written as text (``DATA ascii``), a line
            that is no numbers, or another number of points than the header says.

    Source: https://pointclouds.org/documentation/tutorials/pcd_file_format.html.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "two.pcd")
        ...     _ = file.write_text("FIELDS x y z\\nPOINTS 2\\nDATA ascii\\n0 0 1\\nnan 0 0")
        ...     read_pcd(file).tolist()
        [[0.0, 0.0, 1.0]]
    """
    header = {}
    lines = iter(Path(path).read_bytes().decode("latin-1").splitlines())
    for line in lines:
        word, _, rest = line.partition("#")[0].strip().partition(" ")
        header[word] = rest.split()
        if word == "DATA":
            break
    missing = {"FIELDS", "POINTS", "DATA"} - set(header)
    if missing or not {"x", "y", "z"} <= set(header["FIELDS"]):
        raise FormatError(f"{path} is not a PCD file with the fields x, y and z")
    if header["DATA"] != ["ascii"]:
        raise FormatError(f"{path} is written as {' '.join(header['DATA'])}, expected ascii")
    values = [line.split() for line in lines if line.strip()]
    fields, expected = header["FIELDS"], " ".join(header["POINTS"])
    if str(len(values)) != expected:
        raise FormatError(f"{path} has {len(values)} points, expected {expected}")
    try:
        table = np.array(values, np.float64).reshape(len(values), len(fields))
    except ValueError as error:
        raise FormatError(
            f"{path} has a line that is not {len(fields)} numbers: {error}"
        ) from error
    points = table[:, [fields.index(axis) for axis in "xyz"]]
    return points[np.isfinite(points).all(axis=1)]


def read_voxels(path: Path) -> np.ndarray:
    """Return the voxel grids of a gzipped NumPy file, without ever holding it as float64.

    Args:
        path: a ``.npy.gz`` file of zeros and ones, float64 ``(N, 1, D, H, W)``.

    Returns:
        bool ``(N, D, H, W)``, an eighth of the size of the file's own numbers.

    Raises:
        FormatError: not gzip, not a NumPy file of that kind, values other than 0 and 1, or not
            exactly as long as the header says.
    """
    try:
        with gzip.open(path) as stream:
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                raise FormatError(f"{path} is a NumPy file of version {version}, expected (1, 0)")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            if dtype != np.dtype("<f8") or len(shape) != 5 or shape[1] != 1 or fortran:
                raise FormatError(f"{path} holds {dtype} {shape}, expected float64 (N, 1, D, H, W)")
            grids = np.empty((shape[0], *shape[2:]), bool)
            for grid in grids:
                data = stream.read(8 * grid.size)
                if len(data) < 8 * grid.size:
                    raise FormatError(f"{path} is cut off: it does not hold {shape[0]} grids")
                values = np.frombuffer(data, "<f8").reshape(grid.shape)
                grid[:] = values == 1
                if not (grid | (values == 0)).all():
                    raise FormatError(f"{path} has values other than 0 and 1")
            if stream.read(1):
                raise FormatError(f"{path} is too long: it holds more than {shape[0]} grids")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise FormatError(f"{path} is not a sound gzipped NumPy file: {error}") from error
    return grids
