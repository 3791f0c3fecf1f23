"""Readers of IDX files and CIFAR-10 archives: whole, broken, and malicious."""

import gzip
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equitutor.data import FormatError
from equitutor.data.formats import read_cifar10, read_idx

patient = settings(deadline=None)  # a busy machine is no failure


def idx(array, magic=None):
    magic = magic or bytes([0, 0, 8, array.ndim])
    return magic + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


def write(folder, data):
    path = folder / "some.gz"
    path.write_bytes(data)
    return path


@patient
@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_idx_round_trip(folder, shape, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    found = read_idx(write(folder, gzip.compress(idx(array), mtime=0)), ndim=len(shape))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


LABELS = np.arange(100, dtype=np.uint8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            gzip.compress(idx(LABELS), mtime=0)[:-12],
            r"some.gz is cut off: .*\(100,\) needs 108 bytes, fo",
        ),
        (
            gzip.compress(idx(LABELS), mtime=0)[:-4],
            "is cut off",
        ),  # only gzip's own trailer is missing
        (gzip.compress(idx(LABELS)[:-1], mtime=0), "is cut off: .* needs 108 bytes, found 107"),
        (gzip.compress(idx(LABELS) + b"x", mtime=0), "is too long: .* needs 108 bytes, found 109"),
        (gzip.compress(idx(LABELS)[:7], mtime=0), "is cut off: expected 8 bytes, found 7"),
        (gzip.compress(b"", mtime=0), "expected 8 bytes, found 0"),
        (
            gzip.compress(idx(LABELS, bytes([0, 0, 13, 1])), mtime=0),
            "number 00000d01, expected 00000801",
        ),
        (gzip.compress(idx(LABELS[:, None]), mtime=0), "number 00000802, expected 00000801"),
        (idx(LABELS), "some.gz is not a sound gzip file"),
        (b"", "expected 8 bytes, found 0"),
    ],
)
def test_broken_idx(folder, data, message):
    with pytest.raises(FormatError, match=message):
        read_idx(write(folder, data), ndim=1)


def test_idx_with_a_flipped_bit(folder):
    data = bytearray(gzip.compress(idx(LABELS), compresslevel=0, mtime=0))
    data[60] ^= 1
    with pytest.raises(FormatError, match="not a sound gzip file"):
        read_idx(write(folder, bytes(data)), ndim=1)


def text(value):
    """A short Python-2 byte string, as an opcode."""
    return b"U" + bytes([len(value)]) + value


def python2_batch(pixels, labels, module=b"numpy.core.multiarray", function=b"_reconstruct"):
    """A pickle of {"data": pixels, "labels": labels}, opcode by opcode as Python 2 wrote it."""
    shape = b"".join(b"M" + struct.pack("<H", n) for n in pixels.shape)
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    raw = b"T" + struct.pack("<i", pixels.size) + pixels.tobytes()
    array = b"c" + module + b"\n" + function + b"\ncnumpy\nndarray\nK\x00\x85" + text(b"b")
    array += b"\x87R(K\x01(" + shape + b"t" + dtype + b"\x89" + raw + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([n]) for n in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + numbers + b"u."


def archive(folder, members):
    path = folder / "some.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3072), dtype=np.uint8)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_cifar_batches_in_order(folder, module):
    path = archive(
        folder,
        {
            "data_batch_2": python2_batch(PIXELS[2:4], [7, 8], module),
            "batches.meta": b"not read",
            "data_batch_1": python2_batch(PIXELS[:2], [5, 6], module),
            "test_batch": python2_batch(PIXELS[4:], [9], module),
        },
    )
    pixels, labels = read_cifar10(path, "train")
    assert pixels.dtype == np.uint8
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(pixels, PIXELS[:4].reshape(4, 3, 32, 32))
    assert labels.tolist() == [5, 6, 7, 8]
    pixels, labels = read_cifar10(path, "test")
    np.testing.assert_array_equal(pixels, PIXELS[4:].reshape(1, 3, 32, 32))
    assert labels.tolist() == [9]


class Evil:
    def __reduce__(self):
        return print, ("this must never run",)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (pickle.dumps(Evil(), protocol=2), "asks for __builtin__.print, but only NumPy arrays"),
        (python2_batch(PIXELS, range(5), b"os", b"system"), "asks for os.system, but only"),
        (python2_batch(PIXELS, range(5), b"numpy", b"load"), "asks for numpy.load, but only"),
    ],
)
def test_forbidden_globals(folder, capsys, batch, message):
    with pytest.raises(FormatError, match=message):
        read_cifar10(archive(folder, {"test_batch": batch}), "test")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (python2_batch(PIXELS, range(4)), r"data uint8 \(5, 3072\) and labels \(4,\), expected"),
        (python2_batch(PIXELS[:, :9], range(5)), r"data uint8 \(5, 9\)"),
        (python2_batch(PIXELS, [0, 1, 2, 3, 10]), "labels from 0 to 9"),
        (pickle.dumps({"labels": [1]}, protocol=2), "no readable 'data' and 'labels'"),
        (pickle.dumps([1, 2], protocol=2), "no readable 'data' and 'labels'"),
        (pickle.dumps({"data": [1], "labels": [1]}, protocol=2), "no readable 'data'"),
        (python2_batch(PIXELS, range(5))[:-900], "test_batch can't be read"),
        (b"no pickle", "test_batch can't be read"),
    ],
)
def test_wrong_layout(folder, batch, message):
    with pytest.raises(FormatError, match=message):
        read_cifar10(archive(folder, {"test_batch": batch}), "test")


def test_split_without_batches(folder):
    path = archive(folder, {"test_batch": python2_batch(PIXELS, range(5))})
    with pytest.raises(FormatError, match=r"holds no batch of the split 'train'"):
        read_cifar10(path, "train")


@pytest.mark.parametrize("keep", [0, 100, 9000])
def test_archive_cut_off(folder, keep):
    path = archive(folder, {"test_batch": python2_batch(PIXELS, range(5))})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match=r"not a whole tar\.gz archive"):
        read_cifar10(path, "test")


def test_archive_that_is_none(folder):
    path = folder / "some.tar.gz"
    path.write_bytes(b"<html>moved</html>")
    with pytest.raises(FormatError, match=r"not a whole tar\.gz archive"):
        read_cifar10(path, "test")
