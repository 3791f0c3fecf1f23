"""Clouds from files: real ones where they are at hand, small and broken ones elsewhere."""

import gzip
import io
import math
import struct
import zipfile

import numpy as np
import pytest
import torch
from conftest import needs_data
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data_images import serve_from

from equitutor import groups
from equitutor.data import (
    SETS,
    DataSet,
    FormatError,
    center_and_scale,
    geometric_shapes,
    modelnet10_voxels,
    pcl_shapes,
    read_off,
    read_pcd,
    sample_surface,
)
from equitutor.data.clouds import surface
from equitutor.data.solids import lzf_decompress, read_voxels


def check(clouds, n, points, n_classes):
    assert len(clouds) == n
    assert clouds.x.shape == (n, points, 3)
    assert clouds.x.dtype == torch.float32
    assert clouds.y.shape == (n,)
    assert clouds.y.dtype == torch.int64
    assert len(clouds.classes) == n_classes
    assert clouds.x.mean(1).abs().max() < 1e-5
    torch.testing.assert_close(clouds.x.norm(dim=-1).amax(1), torch.ones(n))


@needs_data("pcl_shapes")
def test_real_animals():
    train, test = pcl_shapes("train"), pcl_shapes("test")
    check(train, 5, 3400, 5)
    check(test, 4, 3400, 5)
    assert train.classes == test.classes == ("cat", "horse", "lioness", "michael", "wolf")
    assert test.y.tolist() == [0, 1, 2, 3]
    for clouds in (train, test):  # all are thin from left to right, and that is x
        extent = clouds.x.amax(1) - clouds.x.amin(1)
        assert extent.argmin(1).tolist() == [0] * len(clouds)
    assert not torch.allclose(train.x[:4], test.x, atol=0.1)  # other poses


@needs_data("geometric_shapes")
def test_real_geometric_shapes():
    solids, all_shapes = geometric_shapes(200), geometric_shapes(50, solid_only=False)
    check(solids, 32, 200, 32)
    check(all_shapes, 40, 50, 40)
    flat = [name.startswith("2d_") for name in all_shapes.classes]
    thickness = torch.linalg.svdvals(all_shapes.x)[:, 2]
    assert (thickness[torch.tensor(flat)] < 1e-4).all()
    assert (thickness[~torch.tensor(flat)] > 1e-2).all()
    # Area-weighted: on a sphere, opposite halves get as many points, wherever vertices crowd.
    sphere = geometric_shapes(2000).x[solids.classes.index("3d_sphere")]
    assert ((sphere > 0).float().mean(0) - 0.5).abs().max() < 0.05
    assert sphere.norm(dim=1).min() > 0.9


@needs_data("modelnet10_voxels")
def test_real_voxels():
    train, test = modelnet10_voxels("train", 64), modelnet10_voxels("test", 64)
    check(train, 712 + 372, 64, 2)
    check(test, 177 + 93, 64, 2)
    assert test.y.bincount().tolist() == [177, 93]
    # A chair has four legs and a monitor a foot: chairs have fewer points low in the middle.
    assert train.classes == ("chair", "monitor")
    thin = torch.linalg.svdvals(train.x)[:, 2]
    assert thin[train.y == 1].median() < thin[train.y == 0].median()  # screens are thin


CUBE = """OFF  # a cube
8 6 12

0 0 0
1 0 0
1 1 0
0 1 0
0 0 1
1 0 1
1 1 1
0 1 1
4 0 1 2 3
4 4 5 6 7  255 0 0  # a color
4 0 1 5 4
4 1 2 6 5
4 2 3 7 6
4 3 0 4 7
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("solids")


def write(folder, data, name="some.file"):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def mesh_of(folder, text):
    vertices, faces = read_off(write(folder, text))
    return torch.from_numpy(vertices), torch.from_numpy(faces)


@pytest.mark.parametrize(
    "text", [CUBE, CUBE.replace("\n", "\r\n"), CUBE.replace("OFF  # a cube\n", "OFF")]
)
def test_off_in_its_dialects(folder, text):
    vertices, faces = mesh_of(folder, text)
    assert vertices.shape == (8, 3)
    assert vertices.dtype == torch.float64
    assert faces.shape == (12, 3)
    assert faces[:2].tolist() == [[0, 1, 2], [0, 2, 3]]
    a, b, c = vertices[faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=1) / 2
    assert area.tolist() == [0.5] * 12


@pytest.mark.parametrize(
    "text",
    [
        "COFF\n3 1 0\n0 0 0 255 0 0 255\n1 0 0 255 0 0 255\n0 1 0 255 0 0\n3 0 1 2\n",
        "NOFF\n3 1 0\n0 0 0 0 0 1\n1 0 0 0 0 1\n0 1 0 0 0 1\n3 0 1 2 0.5 0.5 0.5 1\n",
        "STCNOFF\n3 1\n0 0 0 0 0 1 1 1 1 0 0\n1 0 0 0 0 1 1 1 1 0 0\n"
        "0 1 0 0 0 1 1 1 1 0 0\n3 0 1 2\n",
        "OFF # one triangle\n\n# counts\n3 1 3\n0 0 0\n\n1 0 0 # second\n0 1 0\n3 0 1 2 7",
        "OFF\r3 1 0\r0 0 0\r1 0 0\r0 1 0\r3 0 1 2\r",
    ],
)
def test_off_with_colors_normals_and_comments(folder, text):
    vertices, faces = mesh_of(folder, text)
    assert vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4OFF\n1 0 0\n1 2 3 4\n", "begins with '4OFF', expected 'OFF'"),
        ("nOFF 4\n1 0 0\n", "expected 'OFF'"),
        ("OFF BINARY\n1 0 0\n", "is a binary OFF file"),
        (CUBE.replace("8 6 12", f"8 {10**15} 12"), f"14 lines .* 8 vertices and {10**15} faces"),
        (CUBE.replace("8 6 12", f"{10**15} 6 12"), f"14 lines .* {10**15} vertices and 6 faces"),
        (CUBE.replace("8 6 12", "9 6 12"), "14 lines .* 9 vertices and 6 faces"),
        (CUBE.replace("8 6 12", "8 " + 5000 * "9"), "no whole number of up to 18 digits"),
        (CUBE.replace("8 6 12", "8 -6 12"), "no counts"),
        (CUBE.replace("8 6 12", "8 6 12 1"), "no counts"),
        (CUBE.replace("8 6 12", "8 6.0 12"), "'6.0' is no whole number"),
        (CUBE.replace("8 6 12", "7 7 12"), "a face of 0 corners"),
        (CUBE.replace("1 1 0\n", "1 1 nan\n"), "'1 1 nan' is no finite point"),
        (CUBE.replace("1 1 0\n", "1 1 1_0\n"), "not the numbers.*1_0"),
        (CUBE.replace("4 3 0 4 7", "2 3 0"), "a face of 2 corners, expected at least 3"),
        (CUBE.replace("4 3 0 4 7", "-1"), "a face of -1 corners"),
        (CUBE.replace("4 3 0 4 7", "4 3 0 4 7 1 2"), "2 numbers after the corners"),
        (CUBE.replace("4 3 0 4 7", "4 3 0 4 7.5"), "'7.5' is no whole number"),
        (CUBE.replace("4 3 0 4 7", "4 3 0 4 7 red"), "not the numbers.*red"),
        ("COFF\n1 0 0\n0 0 0\n", "3 coordinates a vertex, expected 6 or 7"),
        ("", "begins with '', expected 'OFF'"),
        (b"PK\x03\x04", "expected 'OFF'"),
        ("OFF\n", "not the numbers"),
        ("OFF\n8\n", "not the numbers"),
        (CUBE[:-10], "some.file has 13 lines after the counts, expected 8 vertices and 6 faces"),
        (CUBE + "3 0 1 2\n", "has 15 lines"),
        (CUBE.replace("1 1 0\n", "1 1\n"), "not the numbers"),
        (CUBE.replace("1 1 0\n", "1 1 zero\n"), "not the numbers.*zero"),
        (CUBE.replace("4 3 0 4 7", "4 3 0 4 8"), "names a vertex that is not there"),
        (CUBE.replace("4 3 0 4 7", "4 3 0 4 -1"), "names a vertex that is not there"),
        (CUBE.replace("4 3 0 4 7", "5 3 0 4 7"), "has a face of fewer corners than it says"),
        ("OFF 1 0 0\n1 2\n", "has 2 coordinates a vertex, expected 3"),
    ],
)
def test_broken_off(folder, text, message):
    with pytest.raises(FormatError, match=message):
        read_off(write(folder, text))


PCD = """# .PCD v.7 - Point Cloud Data file format
VERSION .7
FIELDS x y z
SIZE 4 4 4
TYPE F F F
COUNT 1 1 1
WIDTH 3
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS 3
DATA ascii
1 2 3
-4 5e1 6.5
nan nan nan
"""


def test_pcd(folder):
    assert read_pcd(write(folder, PCD)).tolist() == [[1, 2, 3], [-4, 50, 6.5]]
    assert read_pcd(write(folder, PCD.replace("\n", "\r\n"))).shape == (2, 3)
    more = PCD.replace("FIELDS x y z", "FIELDS rgb z y x")
    more = more.replace("4 4 4", "4 4 4 4").replace("F F F", "F F F F").replace("1 1 1", "1 1 1 1")
    more = more.replace("1 2 3\n", "9 1 2 3\n").replace("-4 5", "9 -4 5").replace("nan", "0 nan", 1)
    assert read_pcd(write(folder, more)).tolist() == [[3, 2, 1], [6.5, 50, -4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a PCD file with the fields x, y and z"),
        ("<html>moved</html>", "not a PCD file"),
        (PCD.replace("FIELDS x y z", "FIELDS a b c"), "not a PCD file with the fields"),
        (PCD.replace("DATA ascii", "DATA morse"), "is written as morse, expected ascii"),
        (PCD[:-12], "has 2 points, expected 3"),
        (PCD + "7 8 9\n", "has 4 points, expected 3"),
        (PCD.replace("1 2 3\n", "1 2\n"), "a line that is not 3 numbers"),
        (PCD.replace("1 2 3\n", "1 2 three\n"), "a line that is not 3 numbers: .*three"),
    ],
)
def test_broken_pcd(folder, text, message):
    with pytest.raises(FormatError, match=message):
        read_pcd(write(folder, text))


def table(kinds, n=5, seed=0):
    """A record for each of n points: fields of random whole numbers, named x, y, z and others."""
    rng = np.random.default_rng(seed)
    points = np.empty(n, [(name, kind, count) for name, kind, count in kinds])
    for name, _, count in kinds:
        points[name] = rng.integers(0, 100, (n, count))
    return points


def pcd(points, data, change=(), tail=b""):
    """A PCD file of the records, written as text, binary, or compressed (without any gain)."""
    kinds = [(name, *points.dtype.fields[name][0].subdtype) for name in points.dtype.names]
    head = "\n".join([
        "# .PCD v0.7", "VERSION 0.7",
        f"FIELDS {' '.join(name for name, *_ in kinds)}",
        f"SIZE {' '.join(str(kind.itemsize) for _, kind, _ in kinds)}",
        f"TYPE {' '.join({'f': 'F', 'i': 'I', 'u': 'U'}[kind.kind] for _, kind, _ in kinds)}",
        f"COUNT {' '.join(str(shape[0]) for *_, shape in kinds)}",
        f"WIDTH {len(points)}", "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {len(points)}",
        f"DATA {data}\n",
    ])  # fmt: skip
    for old, new in change:
        assert old in head
        head = head.replace(old, new)
    if data == "ascii":
        rows = (" ".join(str(v) for name, *_ in kinds for v in row[name].tolist())
                for row in points)  # fmt: skip
        return (head + "\n".join(rows)).encode() + tail
    body = points.tobytes()
    if data == "binary_compressed":
        body = b"".join(points[name].tobytes() for name, *_ in kinds)
        lzf = b"".join(bytes([len(body[i : i + 32]) - 1]) + body[i : i + 32]
                       for i in range(0, len(body), 32))  # fmt: skip
        body = struct.pack("<II", len(lzf), len(body)) + lzf
    return head.encode() + body + tail


PLAIN = [(axis, "<f4", 1) for axis in "xyz"]
MIXED = [("rgb", "<u4", 1), ("z", "<f8", 1), ("normal", "<f4", 3), ("x", "<i2", 1),
         ("_", "<u1", 7), ("y", "<f4", 1)]  # fmt: skip
WAYS = ["ascii", "binary", "binary_compressed"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kinds", [PLAIN, MIXED])
def test_pcd_of_any_fields_written_in_any_way(folder, way, kinds):
    points = table(kinds, 40)
    wanted = np.stack([points[axis][:, 0] for axis in "xyz"], 1).astype(float)
    found = read_pcd(write(folder, pcd(points, way)))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, wanted)
    if kinds is PLAIN:
        points["y"][3] = np.nan
        assert len(read_pcd(write(folder, pcd(points, way)))) == 39


@pytest.mark.parametrize("way", WAYS)
def test_pcd_says_its_size_in_one_of_two_entries(folder, way):
    points = table(PLAIN, 6)
    wanted = read_pcd(write(folder, pcd(points, way)))
    for change in (
        ("POINTS 6\n", ""),
        ("WIDTH 6\nHEIGHT 1\n", ""),
        ("WIDTH 6\nHEIGHT 1", "WIDTH 2\nHEIGHT 3"),
    ):
        found = read_pcd(write(folder, pcd(points, way, [change])))
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("COUNT 1 1 1", "COUNT 3 1 1"), "COUNT 3 1 1 for the fields x y z: expected one number x"),
        (("COUNT 1 1 1", "COUNT 1 1"), "COUNT 1 1, expected 3 of at least 1"),
        (("COUNT 1 1 1", "COUNT 1 1 0"), "COUNT 1 1 0, expected 3 of at least 1"),
        (("COUNT 1 1 1", "COUNT 1 1 one"), "no whole numbers as COUNT"),
        (("WIDTH 5", "WIDTH 4"), "WIDTH 4 and HEIGHT 1, but POINTS 5"),
        (("POINTS 5", "POINTS 4"), "WIDTH 5 and HEIGHT 1, but POINTS 4"),
        (("POINTS 5", "POINTS -5"), "POINTS -5, expected 1 of at least 0"),
        (("WIDTH 5\nHEIGHT 1\nVIEW", "VIEW"), None),
        (
            ("WIDTH 5\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 5", "WIDTH 9"),
            "9 points|need 108|expected 9",
        ),
        (
            ("VIEWPOINT 0 0 0 1 0 0 0", "VIEWPOINT 1 2 3 1 0 0 0"),
            "VIEWPOINT 1 2 3 1",
        ),
        (("VIEWPOINT 0 0 0 1 0 0 0", "VIEWPOINT 0 0 0 0 1 0 0"), "VIEWPOINT 0 0 0 0 1"),
        (("VIEWPOINT 0 0 0 1 0 0 0", "VIEWPOINT 0 0 0"), "VIEWPOINT 0 0 0, but only"),
        (("VIEWPOINT", "LANDSCAPE"), "header entry 'LANDSCAPE', which no PCD file has"),
        (("HEIGHT 1", "HEIGHT 1\nHEIGHT 1"), "header entry 'HEIGHT', twice"),
        (("FIELDS x y z", "FIELDS x y y"), "with the fields x, y and z"),
        (("FIELDS x y z", "FIELDS x y z x"), "COUNT 1 1 1, expected 4|fields x y z x"),
        (("DATA", "POINTS 5\nDATA"), "header entry 'POINTS', twice"),
    ],
)
def test_pcd_headers_are_obeyed_or_refused(folder, way, change, message):
    path = write(folder, pcd(table(PLAIN), way, [change]))
    if message is None:
        assert len(read_pcd(path)) == 5
        return
    with pytest.raises(FormatError, match=message):
        read_pcd(path)


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("SIZE 4 4 4", "SIZE 4 4 3"), "SIZE 4 4 3 and TYPE F F F for 3 fields"),
        (("SIZE 4 4 4", "SIZE 4 4"), "SIZE 4 4 and TYPE"),
        (("SIZE 4 4 4\n", ""), "SIZE  and TYPE"),
        (("TYPE F F F", "TYPE F F X"), "TYPE F F X"),
        (("SIZE 4 4 4", "SIZE 4 4 8"), "60 bytes|80|needs? 80"),
        (("WIDTH 5", f"WIDTH {10**12}"), "WIDTH"),
    ],
)
def test_pcd_sizes_are_obeyed_or_refused(folder, way, change, message):
    with pytest.raises(FormatError, match=message):
        read_pcd(write(folder, pcd(table(PLAIN), way, [change])))


def test_pcd_of_huge_counts(folder):
    for way in WAYS[1:]:  # a field of more numbers than a NumPy record can have, and no points
        big = [("COUNT 1 1 3 1 7 1", f"COUNT 1 1 3 1 {10**15} 1")]
        with pytest.raises(FormatError, match="bytes"):
            read_pcd(write(folder, pcd(table(MIXED), way, big)))
        none = read_pcd(write(folder, pcd(table(MIXED, 0), way, big)))
        assert none.shape == (0, 3)
    for way in WAYS:
        change = [("WIDTH 5", f"WIDTH {10**15}"), ("POINTS 5", f"POINTS {10**15}")]
        with pytest.raises(FormatError, match=f"{10**15}|{12 * 10**15}"):
            read_pcd(write(folder, pcd(table(PLAIN), way, change)))


def test_pcd_that_is_too_short_or_too_long(folder):
    points = table(PLAIN)
    binary, packed = pcd(points, "binary"), pcd(points, "binary_compressed")
    cases = [
        (binary[:-1], "holds 59 bytes of points, but 5 points of 12 bytes are 60"),
        (binary + b"\0", "holds 61 bytes of points"),
        (packed[:-3], "cut off: 62 compressed bytes expected, found 59"),
        (packed + b"x", "other things after its 62 compressed bytes"),
        (packed[: packed.index(b"compressed\n") + 13], "cut off: 2 bytes after the header"),
        (packed.replace(struct.pack("<II", 62, 60), struct.pack("<II", 62, 48)), "unpacks to 48"),
        (packed.replace(struct.pack("<II", 62, 60), struct.pack("<II", 33, 60)), "other things"),
        (packed.replace(struct.pack("<II", 62, 60) + b"\x1f", struct.pack("<II", 62, 60) + b"\x3f"),
         "before the first byte|bytes came out"),
    ]  # fmt: skip
    for data, message in cases:
        with pytest.raises(FormatError, match=message):
            read_pcd(write(folder, data))
    filled = read_pcd(write(folder, packed + bytes(100) + b"\n"))  # the library fills its last page
    np.testing.assert_array_equal(filled, read_pcd(write(folder, packed)))


def test_lzf():
    assert lzf_decompress(bytes([0, 65]) + bytes([7 << 5, 3, 0]), 13) == 13 * b"A"  # 7 + 3 + 2
    with pytest.raises(ValueError, match="before the first byte"):
        lzf_decompress(bytes([0, 65, 32, 9]), 4)
    with pytest.raises(ValueError, match="1 bytes came out, expected 2"):
        lzf_decompress(bytes([0, 65]), 2)


GRIDS = np.random.default_rng(0).integers(0, 2, (3, 1, 4, 5, 6)).astype("<f8")


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_voxels(folder):
    found = read_voxels(write(folder, gzip.compress(npy(GRIDS), mtime=0)))
    assert found.dtype == bool
    np.testing.assert_array_equal(found, GRIDS[:, 0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(npy(GRIDS)[:-1], mtime=0), "is cut off: it does not hold 3 grids"),
        (gzip.compress(npy(GRIDS), mtime=0)[:-30], "not a sound gzipped NumPy file"),
        (gzip.compress(npy(GRIDS) + b"x", mtime=0), "is too long"),
        (gzip.compress(npy(GRIDS * 0.5), mtime=0), "values other than 0 and 1"),
        (gzip.compress(npy(GRIDS.astype("f4")), mtime=0), "holds float32"),
        (gzip.compress(npy(GRIDS[:, 0]), mtime=0), r"holds float64 \(3, 4, 5, 6\)"),
        (gzip.compress(b"no array", mtime=0), "not a sound gzipped NumPy file"),
        (npy(GRIDS), "not a sound gzipped NumPy file"),
        (b"", "not a sound gzipped NumPy file"),
    ],
)
def test_broken_voxels(folder, data, message):
    with pytest.raises(FormatError, match=message):
        read_voxels(write(folder, data))


@settings(max_examples=100)
@given(seed=st.integers(0, 999))
def test_surface_by_its_definition(seed):
    grid = np.random.default_rng(seed).random((4, 5, 3)) < 0.8
    found = surface(grid)
    for place in np.ndindex(grid.shape):
        neighbors = [
            np.add(place, step) for step in (*np.eye(3, dtype=int), *-np.eye(3, dtype=int))
        ]
        bare = any(
            not (p >= 0).all() or not (p < grid.shape).all() or not grid[tuple(p)]
            for p in neighbors
        )
        assert found[place] == (grid[place] and bare)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_points_lie_on_the_mesh_by_area(folder):
    # A cube three times as high: a side has 3/14 of the area, the bottom 1/14.
    vertices, faces = mesh_of(folder, CUBE)
    points = sample_surface(vertices * torch.tensor([1.0, 1, 3]), faces, 20_000, generator())
    assert points.dtype == torch.float64
    assert points.min() > -1e-12
    x, y, z = (points / torch.tensor([1.0, 1, 3])).unbind(1)
    on = torch.stack([x, 1 - x, y, 1 - y, z, 1 - z]).abs() < 1e-9
    assert on.any(0).all()
    share = on.double().mean(1)
    expected = torch.tensor([3.0, 3, 3, 3, 1, 1], dtype=torch.float64) / 14
    torch.testing.assert_close(share, expected, atol=0.015, rtol=0)
    # Inside a side the points are spread evenly, over both of its triangles.
    side = points[on[0]][:, 1:] / torch.tensor([1.0, 3])
    counts = torch.histogramdd(side.float(), [4, 4], range=[0.0, 1.0, 0.0, 1.0]).hist
    assert (counts / counts.mean() - 1).abs().max() < 0.25


@given(seed=st.integers(0, 999))
def test_sampling_commutes_with_rotations(seed):
    torch_generator = generator(seed)
    vertices = torch.randn(9, 3, generator=torch_generator, dtype=torch.float64)
    faces = torch.randint(9, (7, 3), generator=torch_generator)
    faces[0] = torch.tensor([0, 1, 2])  # at least one has an area
    turn = groups.haar_so3(1, torch_generator)[0].double()

    def sample(vertices):
        return sample_surface(vertices, faces, 50, generator(seed))

    torch.testing.assert_close(sample(vertices @ turn.T), sample(vertices) @ turn.T)


def test_sampling_by_height_would_not_commute_with_rotations(folder):
    """The broken twin draws its triangles by their height above the floor, not by their area."""
    vertices, faces = mesh_of(folder, CUBE)
    turn = groups.haar_so3(1, generator(1))[0].double()

    def sample(vertices):
        height = vertices[faces][..., 2].mean(1)
        chosen = torch.multinomial(height - height.min() + 0.1, 50, True, generator=generator())
        return vertices[faces[chosen]].mean(1)

    assert not torch.allclose(sample(vertices @ turn.T), sample(vertices) @ turn.T)


@pytest.mark.parametrize(
    ("vertices", "faces", "n", "message"),
    [
        (torch.ones(3, 2), torch.tensor([[0, 1, 2]]), 5, r"vertices has the shape \(3, 2\)"),
        (torch.eye(3), torch.tensor([0, 1, 2]), 5, r"faces has the shape \(3,\)"),
        (torch.ones(3, 3), torch.tensor([[0, 1, 2]]), 5, "1 triangles without any area"),
        (torch.ones(3, 3), torch.zeros(0, 3, dtype=torch.int64), 5, "0 triangles without"),
        (torch.eye(3), torch.tensor([[0, 1, 2]]), 0, "n is 0, but has to be an int"),
    ],
)
def test_meshes_that_can_not_be_sampled(vertices, faces, n, message):
    with pytest.raises(ValueError, match=message):
        sample_surface(vertices, faces, n, generator())


@settings(max_examples=100)
@given(seed=st.integers(0, 999), scale=st.floats(0.1, 100), shift=st.floats(-50, 50))
def test_normal_form_ignores_place_and_size(seed, scale, shift):
    x = torch.randn(2, 20, 3, generator=generator(seed), dtype=torch.float64)
    out = center_and_scale(x)
    torch.testing.assert_close(center_and_scale(scale * x + shift), out)
    assert not torch.allclose(center_and_scale(x * torch.tensor([2.0, 1, 1])), out)


@pytest.mark.parametrize("points", [torch.zeros(5), torch.zeros(4, 2), torch.zeros(0, 3)])
def test_normal_form_refuses_shapes(points):
    with pytest.raises(ValueError, match=r"points has the shape .* has to be \(..., P, 3\)"):
        center_and_scale(points)


def test_normal_form_refuses_a_single_point():
    with pytest.raises(ValueError, match="all the same"):
        center_and_scale(torch.ones(2, 4, 3))


def test_small_archive_of_meshes(tmp_path, monkeypatch):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("3d_cube/train/3d_cube", "3d_cube/test/3d_cube", "2d_x/train/2d_x"):
            archive.writestr(f"raw/{name}.off", CUBE)
    data = stream.getvalue()
    serve_from(tmp_path, monkeypatch, {"geometric_shapes/raw.zip": data})
    assert geometric_shapes(10).classes == ("3d_cube",)
    assert geometric_shapes(10, solid_only=False).classes == ("2d_x", "3d_cube")
    assert torch.equal(geometric_shapes(10).x, geometric_shapes(10).x)
    assert not torch.equal(geometric_shapes(10).x, geometric_shapes(10, seed=1).x)
    # A corner of a cube is at sqrt(3) / 2 of its middle, the middle of a side at 1 / 2.
    radius = geometric_shapes(4000).x[0].norm(dim=1)
    assert radius.min() == pytest.approx(1 / math.sqrt(3), abs=0.03)
    serve_from(tmp_path, monkeypatch, {"geometric_shapes/raw.zip": data[:-10]})
    with pytest.raises(FormatError, match=r"raw\.zip is not a whole zip archive"):
        geometric_shapes(10)


def test_clouds_of_unlike_length(tmp_path, monkeypatch):
    short = PCD.replace("nan nan nan", "7 8 9")
    monkeypatch.setitem(SETS, "pcl_shapes", DataSet("", "", "", ()))
    files = {"ism_train_cow.pcd": short, "ism_train_ox.pcd": PCD, "ism_test_ox.pcd": PCD}
    files = {f"pcl_shapes/{name}": text.encode() for name, text in files.items()}
    serve_from(tmp_path, monkeypatch, files)
    with pytest.raises(FormatError, match=r"clouds of \[3, 2\] points"):
        pcl_shapes("train")
    test = pcl_shapes("test")
    check(test, 1, 2, 2)
    assert test.classes[test.y] == "ox"


@pytest.mark.parametrize("load", [pcl_shapes, modelnet10_voxels])
def test_unknown_split(load):
    with pytest.raises(ValueError, match="split is 'val', but has to be 'train' or 'test'"):
        load("val")


def test_refused_counts():
    with pytest.raises(ValueError, match="points is 0, but has to be an int of at least 1"):
        geometric_shapes(0)
    with pytest.raises(ValueError, match="seed is -1, but has to be an int of at least 0"):
        geometric_shapes(10, seed=-1)


@pytest.mark.parametrize(
    ("faces", "chance", "message"),
    [
        (torch.tensor([[-1, 0, 1]]), torch.Generator(), "faces names vertices -1"),
        (torch.tensor([[0, 1, 3]]), torch.Generator(), "faces names vertices 0 to 3"),
        (torch.tensor([[0.0, 1, 2]]), torch.Generator(), "int64"),
        (torch.tensor([[0, 1, 2]]), None, "generator is None"),
    ],
)
def test_faces_of_no_mesh_are_refused(faces, chance, message):
    with pytest.raises(ValueError, match=message):
        sample_surface(torch.eye(3), faces, 4, chance)


@pytest.mark.parametrize("points", [np.eye(3), torch.eye(3).long()])
def test_normal_form_refuses_what_has_no_fractions(points):
    with pytest.raises(ValueError, match="points is"):
        center_and_scale(points)
