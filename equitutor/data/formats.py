"""Readers for the file formats that image sets come in: gzip, IDX, and CIFAR's pickles.

Every length is checked before anything of that length is made: a number in a header costs nothing.
"""

import gzip
import io
import math
import pickle
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from equitutor.data.errors import FormatError

_PIECE = 1 << 16  # bytes that are decompressed at a time
_MANY = 1 << 20  # bytes too many are counted up to here
_IDX_TYPES = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}


def unzip(path: Path) -> Iterator[bytes]:
    """Yield what a gzip file holds, in pieces of at most 64 kB; several members are joined.

    Args:
        path: the ``.gz`` file. Zeros may follow its last member, as on a tape.

    Raises:
        FormatError: not gzip, a wrong checksum, or anything but zeros after the last member.
        EOFError: the file ends before its data do; all that came out was yielded.

    Source: RFC 1952.
    """
    try:
        with gzip.open(path) as stream:
            while piece := stream.read1(_PIECE):
                yield piece
    except (OSError, zlib.error) as error:
        raise FormatError(f"{path} is not a sound gzip file: {error}") from error


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Returns the array of a gzipped IDX file, the format of MNIST.

    Args:
        path: the ``.gz`` file.
        ndim: how many dimensions the array has to have: 3 for images, 1 for labels.

    Returns:
        uint8 array, read-only, of the shape written in the file.

    Raises:
        FormatError: not gzip, another magic number, or not exactly as long as its header says.

    Source: the file format at the end of http://yann.lecun.com/exdb/mnist/.
    """
    header = 4 + 4 * ndim
    head, found, length, whole = bytearray(), 0, header, True
    # The data are unpacked twice: counted first, and kept only where their number is right.
    try:
        for piece in unzip(path):
            head += piece[: header - len(head)]
            found += len(piece)
            if len(head) == header:
                shape, length = _idx_shape(path, bytes(head), ndim)
            if found > length + _MANY:
                break
    except EOFError:
        whole = False
    if len(head) < header:
        raise FormatError(f"{path} is cut off: expected {header} bytes, found {found}")
    needs = f"shape {shape} needs {length} bytes"
    if found > length:
        more = "more than " if found > length + _MANY else ""
        raise FormatError(f"{path} is too long: {needs}, found {more}{found}")
    if found < length:
        raise FormatError(f"{path} is cut off: {needs}, found {found}")
    if not whole:
        raise FormatError(
            f"{path} is cut off: all {length} bytes of {needs.partition(' needs')[0]} are there, "
            "but not the checksum at the end of gzip data"
        )
    data = np.empty(length, np.uint8)
    start = 0
    for piece in unzip(path):
        data[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
        start += len(piece)
    data.flags.writeable = False
    try:
        return data[header:].reshape(shape)
    except ValueError as error:  # such as (0, 2^32 - 1, 2^32 - 1)
        raise FormatError(f"{path} has the shape {shape}, which no array can have") from error


def _idx_shape(path: Path, head: bytes, ndim: int) -> tuple[tuple[int, ...], int]:
    """Returns the shape that a header says, and how many bytes the file then has to hold."""
    magic, expected = head[:4], bytes([0, 0, 8, ndim])
    if magic != expected:
        kind = _IDX_TYPES.get(magic[2]) if magic[:2] == b"\0\0" else None
        what = f": {kind} in {magic[3]} dimensions, not uint8 in {ndim}" if kind else ""
        raise FormatError(
            f"{path} has the magic number {magic.hex()}, expected {expected.hex()}{what}"
        )
    shape = tuple(np.frombuffer(head, ">u4", count=ndim, offset=4).tolist())
    return shape, len(head) + math.prod(shape)


def read_cifar10(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns pixels and labels of one split of a CIFAR-10 archive, without unpacking it to disk.

    Args:
        path: a ``.tar.gz`` with pickled batches, of any protocol, written by Python 2 or 3 with
            NumPy 1 or 2. Training batches may be missing.
        split: ``"train"`` (all ``data_batch_<n>``, in order) or ``"test"`` (``test_batch``).

    Returns:
        pixels uint8 ``(N, 3, 32, 32)`` and labels int64 ``(N,)``.

    Raises:
        FormatError: not a whole archive, no batch of that split, a batch of another layout, or
            a pickle that asks for anything but a NumPy array.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Dataset layout".
    """
    wanted = re.compile(r"data_batch_\d" if split == "train" else "test_batch")
    # What unpacks to far more than the archive holds is no photograph.
    limit = 4 * Path(path).stat().st_size + (1 << 20)
    batches = {}
    try:
        with gzip.open(path) as stream:
            # As a stream: the archive's own numbers then are never lengths of a read.
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = Path(member.name).name
                    if not member.isfile() or not wanted.fullmatch(name):
                        continue
                    where = f"{path}: {name}"
                    if member.issparse() or member.size > limit:
                        raise FormatError(
                            f"{where} is said to hold {member.size} bytes, which is no batch in "
                            f"an archive of {Path(path).stat().st_size}"
                        )
                    batches[name] = _batch(archive.extractfile(member).read(), where)
            while stream.read1(_PIECE):  # to the end, where the checksum stands
                pass
    except FormatError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        raise FormatError(f"{path} is not a whole tar.gz archive: {error}") from error
    if not batches:
        raise FormatError(f"{path} holds no batch of the split {split!r}")
    pixels, labels = zip(*(batches[name] for name in sorted(batches)), strict=True)
    del batches
    return np.concatenate(pixels), np.concatenate(labels)


def _batch(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns pixels ``(n, 3, 32, 32)`` and labels ``(n,)`` of one pickled batch."""
    try:
        batch = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise FormatError(f"{where} can't be read: {error}") from error
    if not isinstance(batch, dict):
        raise FormatError(
            f"{where} has no readable 'data' and 'labels': it is a {type(batch).__name__}"
        )
    try:
        named = {k.decode("latin-1") if isinstance(k, bytes) else k: batch[k] for k in batch}
        pixels, labels = _array(named["data"]), _integers(named["labels"])
    except Exception as error:  # and a sound one may hold nearly anything
        raise FormatError(f"{where} has no readable 'data' and 'labels': {error!r}") from error
    sound = pixels.dtype == np.uint8 and pixels.shape == (len(labels), 3 * 32 * 32)
    if not sound or not ((labels >= 0) & (labels < 10)).all():
        raise FormatError(
            f"{where} has data {pixels.dtype} {pixels.shape} and labels {labels.shape}, expected "
            "uint8 (n, 3072) and n labels from 0 to 9"
        )
    return pixels.reshape(-1, 3, 32, 32), labels  # rows hold red, green, blue planes


class _Text:
    """Bytes as pickles before protocol 3 hold them: characters to be encoded, which costs a copy.

    So it is done only for those that are wanted, and once.
    """

    def __init__(self, text: str = "", encoding: str = "latin1"):
        if encoding != "latin1" or not isinstance(text, str):
            raise ValueError(f"bytes written as {encoding!r}, expected latin1")
        self.text = text


class _Type:
    """A NumPy type as a pickle describes it, ``dtype('u1')`` and then its byte order."""

    def __init__(self, code, *_):
        self.code, self.order = code.decode("ascii") if isinstance(code, bytes) else code, "|"

    def __setstate__(self, state):
        order = state[1]
        self.order = order.decode("ascii") if isinstance(order, bytes) else order

    def type(self) -> np.dtype:
        if not re.fullmatch(r"[<>|=]?[iu][1248]", self.code) or self.order not in {*"<>|="}:
            raise ValueError(f"an array of {self.code!r}, expected whole numbers")
        found = np.dtype(self.code)
        return found if self.order in "|=" else found.newbyteorder(self.order)


class _Array:
    """A NumPy array as a pickle describes it: parts that are looked at before any is made."""

    def __init__(self, raw=b"", kind=None, shape=(), order="C"):
        self.raw, self.kind, self.shape, self.order = raw, kind, shape, order

    def __setstate__(self, state):
        *_, self.shape, self.kind, fortran, self.raw = state
        self.order = "F" if fortran else "C"


def _array(value) -> np.ndarray:
    """Returns the array that a pickle described; TypeError or ValueError if it described none."""
    if not isinstance(value, _Array) or not isinstance(value.kind, _Type):
        raise TypeError(f"a {type(value).__name__.strip('_')}, expected an array")
    raw = value.raw.text.encode("latin-1") if isinstance(value.raw, _Text) else value.raw
    order = value.order.decode("ascii") if isinstance(value.order, bytes) else value.order
    return np.frombuffer(raw, value.kind.type()).reshape(value.shape, order=order)


def _integers(value) -> np.ndarray:
    """Returns int64 ``(n,)`` of an array, or of a list of ints or NumPy's ints."""
    if isinstance(value, _Array):
        found = _array(value)
        if found.ndim != 1:
            raise ValueError(f"labels of the shape {found.shape}, expected (n,)")
        return found.astype(np.int64)
    if not isinstance(value, list | tuple):
        raise TypeError(f"labels are a {type(value).__name__}, expected a list")
    numbers = [_array(one).reshape(()).item() if isinstance(one, _Array) else one for one in value]
    if any(type(one) is not int for one in numbers):  # a list of lists can be longer than any file
        raise TypeError("labels are a list of other things than whole numbers")
    return np.array(numbers, np.int64)


class _ArrayUnpickler(pickle._Unpickler):
    """Loads plain containers, and descriptions of NumPy arrays.

    A pickle may name any function and have it called, so all that it names are the four classes
    above. And it may ask for memory by a number alone: the unpickler that is written in C, and
    NumPy's own functions, would give it. This one, in Python, reads what is there.
    """

    # How NumPy's and Python's versions call what makes an array, a type, or bytes.
    allowed = {  # noqa: RUF012
        "multiarray._reconstruct": lambda *_: _Array(),
        "numeric._frombuffer": lambda raw, kind, shape, order: _Array(raw, kind, shape, order),
        "multiarray.scalar": lambda kind, raw: _Array(raw, kind),
        "numpy.ndarray": None,
        "numpy.dtype": _Type,
        "_codecs.encode": _Text,
        "builtins.bytes": lambda *_: _Text(),
        "__builtin__.bytes": lambda *_: _Text(),
    }
    dispatch = dict(pickle._Unpickler.dispatch)  # noqa: RUF012

    def find_class(self, module: str, name: str):
        short = re.sub(r"^numpy\._?core\.", "", module)
        if f"{short}.{name}" not in self.allowed:
            raise pickle.UnpicklingError(
                f"the pickle asks for {module}.{name}, but only NumPy arrays are allowed"
            )
        return self.allowed[f"{short}.{name}"]

    def load_bytearray8(self):
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(size))

    def load_build(self):  # would set attributes of whatever stands on the stack
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Type | _Array):
            raise pickle.UnpicklingError("the pickle changes what is no array")
        self.stack[-1].__setstate__(state)

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.BUILD[0]] = load_build
