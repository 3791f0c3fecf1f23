"""Readers for the file formats that the data sets come in. Every length is checked."""

import io
import math
import pickle
import re
import tarfile
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from .errors import FormatError

_UINT8 = 0x08  # IDX code of the element type
_GZIP = 31  # zlib's window size for "gzip header, largest window"


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Return the array of a gzipped IDX file, the format of MNIST.

    Args:
        path: the ``.gz`` file.
        ndim: how many dimensions the array has to have: 3 for images, 1 for labels.

    Returns:
        uint8 array, read-only, of the shape written in the file.

    Raises:
        FormatError: not gzip, another magic number, or not exactly as long as its header says.

    Source: the file format at the end of http://yann.lecun.com/exdb/mnist/.
    """
    stream = zlib.decompressobj(wbits=_GZIP)
    try:
        data = stream.decompress(Path(path).read_bytes())
    except zlib.error as error:
        raise FormatError(f"{path} is not a sound gzip file: {error}") from error
    header = 4 + 4 * ndim
    if len(data) < header:
        raise FormatError(f"{path} is cut off: expected {header} bytes, found {len(data)}")
    magic, expected = data[:4], bytes([0, 0, _UINT8, ndim])
    if magic != expected:
        raise FormatError(f"{path} has the magic number {magic.hex()}, expected {expected.hex()}")
    shape = tuple(np.frombuffer(data, ">u4", count=ndim, offset=4).tolist())
    length = header + math.prod(shape)
    if len(data) != length or not stream.eof:
        what = "is cut off" if len(data) < length or not stream.eof else "is too long"
        raise FormatError(f"{path} {what}: shape {shape} needs {length} bytes, found {len(data)}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def read_cifar10(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels and labels of one split of a CIFAR-10 archive, without unpacking it to disk.

    Args:
        path: a ``.tar.gz`` with pickled batches. Training batches may be missing.
        split: ``"train"`` (all ``data_batch_<n>``, in order) or ``"test"`` (``test_batch``).

    Returns:
        pixels uint8 ``(N, 3, 32, 32)`` and labels int64 ``(N,)``.

    Raises:
        FormatError: not a whole archive, no batch of that split, a batch of another layout, or
            a pickle that asks for anything but a NumPy array.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Dataset layout".
    """
    wanted = re.compile(r"data_batch_\d" if split == "train" else "test_batch")
    batches = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = Path(member.name).name
                if member.isfile() and wanted.fullmatch(name):
                    batches[name] = archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise FormatError(f"{path} is not a whole tar.gz archive: {error}") from error
    if not batches:
        raise FormatError(f"{path} holds no batch of the split {split!r}")
    arrays = [_batch(batches[name], f"{path}: {name}") for name in sorted(batches)]
    pixels, labels = (np.concatenate(parts) for parts in zip(*arrays, strict=True))
    return pixels, labels


def _batch(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels ``(n, 3, 32, 32)`` and labels ``(n,)`` of one pickled batch."""
    try:
        batch = _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise FormatError(f"{where} can't be read: {error}") from error
    try:
        pixels, labels = batch["data"], np.asarray(batch["labels"], dtype=np.int64)
        sound = (
            pixels.dtype == np.uint8
            and pixels.shape == (len(labels), 3 * 32 * 32)
            and labels.shape == (len(pixels),)
            and set(labels.tolist()) <= set(range(10))
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"{where} has no readable 'data' and 'labels': {error!r}") from error
    if not sound:
        raise FormatError(
            f"{where} has data {pixels.dtype} {pixels.shape} and labels {labels.shape}, expected "
            "uint8 (n, 3072) and n labels from 0 to 9"
        )
    return pixels.reshape(-1, 3, 32, 32), labels  # rows hold red, green, blue planes


class _ArrayUnpickler(pickle.Unpickler):
    """Loads plain containers and NumPy arrays. A pickle may name any function and have it
    called, so everything else that it names is refused."""

    # Taken from an array itself: NumPy moved the function between modules, old pickles name
    # the old place, and importing that one warns.
    _reconstruct = staticmethod(np.empty(0).__reduce__()[0])

    allowed: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str):
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(
                f"the pickle asks for {module}.{name}, but only NumPy arrays are allowed"
            )
        return self.allowed[module, name]
