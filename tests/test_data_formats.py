"""Readers of IDX files and CIFAR-10 archives: whole, broken, and malicious."""

import gzip
import io
import pickle
import re
import struct
import tarfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equitutor.data import FormatError
from equitutor.data.formats import read_cifar10, read_idx


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


@settings(max_examples=100)
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


def test_idx_of_several_members_and_with_zeros_behind(folder):
    data = idx(LABELS)
    joined = b"".join(gzip.compress(data[i : i + 40], mtime=0) for i in range(0, len(data), 40))
    for tail in (b"", bytes(512)):
        np.testing.assert_array_equal(read_idx(write(folder, joined + tail), ndim=1), LABELS)
    with pytest.raises(FormatError, match="not a sound gzip file: Not a gzipped file"):
        read_idx(write(folder, joined + b"garbage"), ndim=1)
    with pytest.raises(FormatError, match=r"is too long: .* needs 108 bytes, found 116"):
        read_idx(write(folder, joined + gzip.compress(bytes(8))), ndim=1)


@pytest.mark.parametrize("level", [0, 9])
def test_idx_cut_at_any_byte_says_what_is_missing(folder, level):
    """Never that it needs 11 bytes and found 11."""
    numbers = np.arange(3, dtype=np.uint8)
    data = gzip.compress(idx(numbers), level, mtime=0)
    for keep in (0, *range(2, len(data))):  # one byte could be of any format
        with pytest.raises(FormatError, match="is cut off") as caught:
            read_idx(write(folder, data[:keep]), ndim=1)
        message = str(caught.value)
        wanted = re.search(r"(?:expected|needs) (\d+) bytes.* found (\d+)$", message)
        if wanted is None:
            assert "all 11 bytes of shape (3,) are there, but not the checksum" in message
        else:
            assert int(wanted[2]) < int(wanted[1])


def test_idx_of_other_types_and_of_shapes_that_no_array_has(folder):
    with pytest.raises(FormatError, match="int16 in 2 dimensions, not uint8 in 1"):
        read_idx(write(folder, gzip.compress(idx(LABELS, bytes([0, 0, 11, 2])))), ndim=1)
    huge = bytes([0, 0, 8, 3]) + struct.pack(">3I", 0, 2**32 - 1, 2**32 - 1)
    try:
        assert read_idx(write(folder, gzip.compress(huge)), ndim=3).size == 0
    except FormatError as error:
        assert "which no array can have" in str(error)


def test_a_huge_count_or_a_bomb_takes_no_memory(folder):
    """1 GB is promised by the header, or unpacked behind an array of 100 bytes."""
    promised = gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 10**4, 10**3, 10**2) + b"x")
    stream = io.BytesIO()
    with gzip.open(stream, "wb", compresslevel=1) as packed:
        packed.write(idx(LABELS))
        for _ in range(64):
            packed.write(bytes(1 << 20))
    for data, ndim, message in (
        (promised, 3, "needs 1000000016 bytes, found 17"),
        (stream.getvalue(), 1, "is too long: .* needs 108 bytes, found more than 1"),
    ):
        path = write(folder, data)
        tracemalloc.start()
        with pytest.raises(FormatError, match=message):
            read_idx(path, ndim)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20


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


LABEL_KINDS = {
    "list": lambda labels: labels,
    "tuple": tuple,
    "array": np.array,
    "big-endian array": lambda labels: np.array(labels, ">i2"),
    "list of NumPy's numbers": lambda labels: [np.int64(label) for label in labels],
}
PIXEL_KINDS = {
    "array": lambda pixels: pixels,
    "columns first": np.asfortranarray,
    "a view": lambda pixels: np.repeat(pixels, 2, 0)[::2],
    "not writable": lambda pixels: np.frombuffer(pixels.tobytes(), np.uint8).reshape(pixels.shape),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("pixels", PIXEL_KINDS)
@pytest.mark.parametrize("labels", LABEL_KINDS)
@pytest.mark.parametrize("old", [False, True])
def test_batches_pickled_anew(folder, protocol, pixels, labels, old):
    """By any protocol, by NumPy 2 and by NumPy 1, whose modules had no underscore."""
    numbers = [9, 0, 3, 5, 1]
    batch = {
        "batch_label": "some",
        "labels": LABEL_KINDS[labels](numbers),
        "data": PIXEL_KINDS[pixels](PIXELS),
        "id": b"\x00\xff",
    }
    data = pickle.dumps(batch, protocol=protocol)
    if old and protocol < 4:  # in others a name's length stands before it
        data = data.replace(b"cnumpy._core.", b"cnumpy.core.")
    elif old:
        for module in (b"numpy._core.multiarray", b"numpy._core.numeric"):
            name = b"\x8c" + bytes([len(module)]) + module
            short = module.replace(b"_", b"")
            data = data.replace(name, b"\x8c" + bytes([len(short)]) + short)
        if data[2:3] == b"\x95":  # the frame is shorter by as much
            data = data[:2] + data[11:]
    found, found_labels = read_cifar10(archive(folder, {"test_batch": data}), "test")
    np.testing.assert_array_equal(found.reshape(5, -1), PIXELS)
    assert found_labels.tolist() == numbers


class Evil:
    def __reduce__(self):
        return print, ("this must never run",)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (pickle.dumps(Evil(), protocol=2), "asks for __builtin__.print, but only NumPy arrays"),
        (python2_batch(PIXELS, range(5), b"os", b"system"), "asks for os.system, but only"),
        (python2_batch(PIXELS, range(5), b"numpy", b"load"), "asks for numpy.load, but only"),
        (b"\x80\x02cnumpy\ndtype\nN}U\x08__init__K\x01s\x86b.", "changes what is no array"),
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


@pytest.mark.parametrize(
    "batch",
    [
        b"\x80\x05\x8e" + struct.pack("<Q", 1 << 40) + b"x",  # bytes
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x",  # a bytearray
        b"\x80\x05\x8d" + struct.pack("<Q", 1 << 40) + b"x",  # text
        b"\x80\x05\x95" + struct.pack("<Q", 1 << 40) + b"x",  # a frame
        b"\x80\x02]r" + struct.pack("<I", 1 << 31) + b".",  # the place of a memo
        python2_batch(PIXELS, range(5)).replace(b"M\x00\x0c", b"J\xff\xff\xff\x7f"),
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"J\xff\xff\xff\x7f\x85U\x01b\x87R.",
        # labels of which each list holds the one before it twice
        python2_batch(PIXELS, []).replace(b"](e", b"]K\x01a" + 40 * b"2\x862" + b"0" * 40),
    ],
)
def test_numbers_in_a_pickle_take_no_memory(folder, batch):
    path = archive(folder, {"test_batch": batch})
    tracemalloc.start()
    with pytest.raises(FormatError, match="test_batch"):
        read_cifar10(path, "test")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_members_of_other_sizes_than_they_say(folder):
    path = archive(folder, {"test_batch": python2_batch(PIXELS, range(5))})
    plain = bytearray(gzip.decompress(path.read_bytes()))
    plain[124:136] = b"77777777777\0"  # 8 GB, in octal
    plain[148:156] = b"        "
    plain[148:156] = b"%06o\0 " % sum(plain[:512])
    path.write_bytes(gzip.compress(bytes(plain)))
    with pytest.raises(FormatError, match="is said to hold 8589934591 bytes, which is no batch"):
        read_cifar10(path, "test")


@pytest.mark.parametrize("cut", [1, 4, 8, 100])
def test_archive_without_its_end(folder, cut):
    path = archive(folder, {"test_batch": python2_batch(PIXELS, range(5))})
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(FormatError, match=r"not a whole tar\.gz archive"):
        read_cifar10(path, "test")


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
