"""Damaged files of every format: a reader answers, or refuses with a FormatError; nothing else.

It takes no more memory than four times the file, and less than a second. Files are cut, bits flip,
bytes and lines come and go, numbers in a header become huge or odd; inside of gzip and tar as well
as outside. 200 files, or 10,000 with --hypothesis-profile=nightly.
"""

import gzip
import io
import json
import pickle
import random
import re
import struct
import tarfile
import tempfile
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_data_clouds import MIXED, PLAIN, WAYS, pcd, table
from test_data_motion import BONES, still_clip, write_cmu

from equitutor.data.errors import DataError, FormatError
from equitutor.data.formats import read_cifar10, read_idx
from equitutor.data.motion_files import read_cmu, read_deepmimic
from equitutor.data.pictures import read_flo, read_picture, read_voc
from equitutor.data.solids import read_off, read_pcd, read_voxels
from equitutor.data.trajectories import read_walks

RATIO = 4  # bytes of memory for each of the file
SLACK = 512_000  # bytes that a reader takes for the smallest file: buffers of gzip, tar and XML
SECONDS = 1.0  # of the processor


def squeezed(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def in_a_tar(data: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in ("batches.meta", "test_batch"):
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def idx(n: int) -> bytes:
    rng = np.random.default_rng(n)
    return bytes([0, 0, 8, 3]) + struct.pack(">3I", n, 4, 4) + rng.bytes(16 * n)


def batch(n: int, protocol: int) -> bytes:
    rng = np.random.default_rng(n)
    data = rng.integers(0, 256, (n // 8 + 1, 3072), dtype=np.uint8)
    return pickle.dumps({"data": data, "labels": [k % 10 for k in range(len(data))]}, protocol)


def grids(n: int) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(n).integers(0, 2, (n, 1, 3, 4, 5)).astype("<f8"))
    return stream.getvalue()


def off(n: int, head: str = "OFF") -> bytes:
    rng = np.random.default_rng(n)
    color = " 10 20 30" if head == "COFF" else ""
    lines = [head, f"{n + 3} {n} 0", *(f"{a:.6f} {b:.6f} {c:.6f}{color}"
             for a, b, c in rng.normal(size=(n + 3, 3)))]  # fmt: skip
    lines += [f"3 {k} {k + 1} {k + 2}" for k in range(n)]
    return "\n".join(lines).encode()


def voc(n: int) -> bytes:
    one = ("<object><name>RBC</name><pose>Unspecified</pose><truncated>0</truncated><difficult>{}"
           "</difficult><bndbox><xmin>{}</xmin><ymin>3</ymin><xmax>60</xmax><ymax>40</ymax></bndbox>"
           "</object>\n")  # fmt: skip
    body = "".join(one.format(k % 2, k % 50 + 1) for k in range(n))
    size = "<size><width>64</width><height>48</height><depth>3</depth></size>"
    return f"<annotation>{size}{body}</annotation>".encode()


def flo(n: int) -> bytes:
    values = np.random.default_rng(n).normal(size=(n, 5, 2)).astype("<f4")
    return struct.pack("<f2i", 202021.25, 5, n) + values.tobytes()


def picture(form: str, n: int) -> bytes:
    noise = np.random.default_rng(n).integers(0, 256, (8, n + 1, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, form)
    return stream.getvalue()


def walks(n: int) -> bytes:
    rows = [f"{10 * k}\t{p}\t{k / 3:.6f}\t{p / 7:.6f}" for p in range(3) for k in range(n)]
    return "\n".join(rows).encode()


def clip(n: int) -> bytes:
    rng = np.random.default_rng(n)
    frames = still_clip(frames=n + 1)
    for frame in frames["Frames"]:
        frame[1:] = (np.array(frame[1:]) + 0.01 * rng.normal(size=43)).tolist()
    return json.dumps(frames).encode()


def mocap(n: int) -> bytes:
    """A skeleton and frames in one piece, all bones with three angles; `read_mocap` parts them."""
    change = [("dof rx\n", ""), ("axis 0 0 20 XYZ", "axis 0 0 20 XYZ\ndof rx ry rz")]
    with tempfile.TemporaryDirectory() as folder:
        skeleton = write_cmu(Path(folder), change=change)[0].read_bytes()
    angles = "".join(f"{bone} 12.3456789 -45.678901 78.901234\n" for bone in BONES)
    frames = "".join(f"{k + 1}\nroot 1.25 2.5 3.75 0 90.5 0\n{angles}" for k in range(n + 1))
    return skeleton + b"\n=====\n:FULLY-SPECIFIED\n:DEGREES\n" + frames.encode()


def read_mocap(path: Path):
    skeleton, _, frames = path.read_bytes().partition(b"=====")
    parts = path.with_suffix(".asf"), path.with_suffix(".amc")
    for part, data in zip(parts, (skeleton, frames), strict=True):
        part.write_bytes(data)
    return read_cmu(*parts)


@dataclass
class Format:
    """What is fuzzed: a good file of about n parts, what wraps it, what reads it."""

    build: Callable[[int], bytes]
    read: Callable[[Path], object]
    wraps: tuple[Callable[[bytes], bytes], ...] = ()


FORMATS = {
    "IDX": Format(idx, lambda path: read_idx(path, 3), (squeezed,)),
    **{f"CIFAR, protocol {p}": Format(lambda n, p=p: batch(n, p),
                                      lambda path: read_cifar10(path, "test"),
                                      (in_a_tar, squeezed)) for p in range(6)},
    "voxels": Format(grids, read_voxels, (squeezed,)),
    "OFF": Format(off, read_off),
    "COFF": Format(lambda n: off(n, "COFF"), read_off),
    **{f"PCD, {way}": Format(lambda n, way=way: pcd(table(PLAIN, n), way), read_pcd)
       for way in WAYS},
    **{f"PCD of more fields, {way}": Format(lambda n, way=way: pcd(table(MIXED, n), way), read_pcd)
       for way in WAYS},
    "VOC": Format(voc, lambda path: read_voc(path, ("RBC",))),
    "FLO": Format(flo, read_flo),
    **{form: Format(lambda n, form=form: picture(form, n), lambda path: read_picture(path, "RGB"))
       for form in ("PNG", "JPEG", "BMP", "TIFF", "GIF")},
    "walks": Format(walks, read_walks),
    "DeepMimic": Format(clip, read_deepmimic),
    "ASF and AMC": Format(mocap, read_mocap),
}  # fmt: skip

ODD = (b"-1", b"0", b"1", b"1e999", b"nan", b"-0.0", b"1_0", b"", b"0x10", b"3.5", b"9" * 12,
       b"9" * 30, b"9" * 5000, b"2147483648", b"65536", b"\xb2", b"zero")  # fmt: skip
HUGE = tuple(
    struct.pack(f, v) for f in ("<I", ">I", "<Q") for v in (0, 2**31 - 1, 2**31, 2**32 - 1)
)
SIZES = (0, 1, 3, 20, 300)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes after one accident."""
    at = rng.randrange(len(data) + 1)
    length = rng.choice((1, 1, 2, 8, 100, 5000))
    kind = rng.randrange(9)
    if kind == 0:
        return data[:at]
    if kind == 1 and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + rng.randbytes(length) + data[at:]
    if kind == 3:
        return data[:at] + data[at + length :]
    if kind == 4:  # again
        return data[:at] + data[max(0, at - length) : at] * rng.choice((1, 3)) + data[at:]
    if kind == 5:  # a number in a header, or anywhere
        numbers = [*re.finditer(rb"-?[0-9.]+", data[: rng.choice((300, len(data)))])]
        if numbers:
            one = rng.choice(numbers)
            return data[: one.start()] + rng.choice(ODD) + data[one.end() :]
    if kind == 6:
        at = rng.randrange(min(len(data), rng.choice((32, 600, 10**9))) + 1)
        value = rng.choice(HUGE)
        return data[:at] + value + data[at + len(value) :]
    lines = data.split(b"\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    if kind == 7:
        lines[a], lines[b] = lines[b], lines[a]
    else:
        words = lines[a].split(b" ")
        rng.shuffle(words)
        lines[a] = b" ".join(words)
    return b"\n".join(lines)


def make(form: Format, size: int, where: list[int], seed: int) -> bytes:
    """Return a file of the format with an accident for each entry of ``where``, a layer."""
    rng = random.Random(seed)
    data = form.build(size)
    for layer, wrap in enumerate((*form.wraps, None)):
        for _ in range(sum(place % (len(form.wraps) + 1) == layer for place in where)):
            data = damaged(data, rng)
        data = wrap(data) if wrap else data
    return data


def measured(read: Callable[[Path], object], path: Path) -> tuple[float, int, bool]:
    """Return seconds of the processor, bytes at most, and whether the file was read."""
    tracemalloc.start()
    start, answered = time.process_time(), True
    try:
        read(path)
    except FormatError:
        answered = False
    finally:
        seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return seconds, peak, answered


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder, once all readers have read a file: what they import is not the file's memory."""
    path = tmp_path_factory.mktemp("fuzz") / "sound"
    Image.init()
    for form in FORMATS.values():
        path.write_bytes(make(form, 1, [], 0))
        form.read(path)
    return path.parent


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", SIZES[1:])
def test_sound_files_are_read_within_the_same_bounds(folder, name, size):
    form, path = FORMATS[name], folder / "sound"
    path.write_bytes(make(form, size, [], 0))
    seconds, peak, answered = measured(form.read, path)
    assert answered
    assert peak <= RATIO * unpacked(path) + SLACK, peak / unpacked(path)
    assert seconds < SECONDS


def unpacked(path: Path) -> int:
    """Return the size of a file; of a sound gzip file, that of what it holds."""
    try:
        with gzip.open(path) as stream:
            return max(path.stat().st_size, len(stream.read()))
    except (OSError, EOFError, zlib.error):
        return path.stat().st_size


WORST = {"seconds": 0.0, "memory": 0.0}
SEEN = Counter()


@settings(
    deadline=None,  # the processor's time is measured below
    max_examples=max(200, settings.default.max_examples),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    name=st.sampled_from(sorted(FORMATS)),
    size=st.sampled_from(SIZES),
    where=st.lists(st.integers(0, 2), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_file_harms(folder, name, size, where, seed):
    form, path = FORMATS[name], folder / "damaged"
    path.write_bytes(make(form, size, where, seed))
    seconds, peak, answered = measured(form.read, path)
    bytes_of_file = path.stat().st_size
    SEEN["read" if answered else "refused"] += 1
    WORST["seconds"] = max(WORST["seconds"], seconds)
    WORST["memory"] = max(WORST["memory"], (peak - SLACK) / max(bytes_of_file, 1))
    allowed = RATIO * (unpacked(path) if answered else bytes_of_file) + SLACK
    assert peak <= allowed, f"{peak} bytes for a file of {bytes_of_file}"
    assert seconds < SECONDS


def test_figures_of_the_run(capsys):
    """Prints what the run above met, for the record; most damage has to be seen, and not all is."""
    with capsys.disabled():
        print(f"\nfuzz: {dict(SEEN)}, slowest {WORST['seconds']:.2f} s, most memory beyond "
              f"{SLACK} bytes {WORST['memory']:.2f} times the file")  # fmt: skip
    assert SEEN["refused"] > SEEN["read"] > 0 or not SEEN


def test_errors_are_both_kinds():
    """Callers that know the package catch a DataError, others a ValueError."""
    assert issubclass(FormatError, DataError)
    assert issubclass(FormatError, ValueError)


@pytest.mark.parametrize("broken", [
    lambda path: [0.0] * 10**6,  # memory
    lambda path: path.read_bytes().index(b"no such bytes"),  # another exception
])  # fmt: skip
def test_a_reader_that_does_harm_is_caught(folder, broken):
    path = folder / "some"
    path.write_bytes(b"1 2 3")
    with pytest.raises((AssertionError, ValueError)) as caught:
        _, peak, _ = measured(broken, path)
        assert peak <= RATIO * path.stat().st_size + SLACK
    assert not isinstance(caught.value, FormatError)
