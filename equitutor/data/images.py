"""Labeled images: MNIST, CIFAR-10, and the small digits that need no download."""

import tarfile
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from equitutor.chapters import book_file
from equitutor.data.cache import fetch, locate
from equitutor.data.errors import DataError, FormatError
from equitutor.data.formats import read_cifar10, read_idx
from equitutor.data.reads import array_checksum, note

DIGIT_CLASSES = tuple("0123456789")
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@dataclass(frozen=True, eq=False)
class Images:
    """Images with labels.

    Args:
        x: float32 ``(N, C, H, W)``, values in [0, 1].
        y: int64 ``(N,)``, indices into ``classes``.
        name: the data set.
        classes: a name for each class.
        subset: True if this is only a part of the published split.
    """

    x: Tensor = field(repr=False)
    y: Tensor = field(repr=False)
    name: str
    classes: tuple[str, ...]
    subset: bool = False

    def __len__(self) -> int:
        return len(self.y)


def mnist(split: str) -> Images:
    """Returns one split of MNIST: 28 x 28 gray images of handwritten digits.

    Args:
        split: ``"train"`` (60000 images) or ``"test"`` (10000).

    Raises:
        ValueError: another split.
        DataError: the files can't be had or are broken.

    Source: Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist/.

    Example:
        >>> mnist("test").x.shape  # doctest: +SKIP
        torch.Size([10000, 1, 28, 28])
        >>> mnist("valid")
        Traceback (most recent call last):
        ValueError: split is 'valid', but has to be 'train' or 'test'
    """
    _check_split(split)
    prefix = {"train": "mnist/train", "test": "mnist/t10k"}[split]
    pixels = read_idx(fetch(f"{prefix}-images-idx3-ubyte.gz"), ndim=3)
    labels = read_idx(fetch(f"{prefix}-labels-idx1-ubyte.gz"), ndim=1)
    if len(pixels) != len(labels):
        raise FormatError(f"{prefix} has {len(pixels)} images but {len(labels)} labels")
    return Images(_unit(pixels[:, None]), _labels(labels), "mnist", DIGIT_CLASSES)


def handful() -> Images:
    """Returns 20 test digits of MNIST, two of each class, that come with the book. No download.

    They are picked: networks of the book read them.

    Raises:
        DataError: the file is not at hand: the package was installed without the book's files.

    Source: as for `mnist`.

    Example:
        >>> handful().x.shape
        torch.Size([20, 1, 28, 28])
    """
    return _of_the_book("mnist-handful")


def hundred() -> Images:
    """Returns 100 test digits of MNIST, the first ten of each class. No download, not picked.

    Raises:
        DataError: the file is not at hand: the package was installed without the book's files.

    Source: as for `mnist`.

    Example:
        >>> hundred().y.bincount().unique()
        tensor([10])
    """
    return _of_the_book("mnist-hundred")


def _of_the_book(name: str) -> Images:
    from safetensors.torch import load_file

    path = book_file(f"checkpoints/{name}.safetensors")
    if path is None:
        raise DataError(f"{name}.safetensors is not among the files of the book")
    part = load_file(path)
    note(f"book/{name}", array_checksum(part["x"].numpy()))
    return Images(_unit(part["x"].numpy()), part["y"], "mnist", DIGIT_CLASSES, subset=True)


def cifar10(split: str) -> Images:
    """Returns one split of CIFAR-10: 32 x 32 color photographs of ten classes.

    Reads the full archive if it is on this machine; else a subset, if ``EQUITUTOR_DATA`` holds
    it; else downloads the full one (170 MB). The field ``subset`` says which it was. The full
    training split takes 0.6 GB as float32.

    Args:
        split: ``"train"`` (50000 images, subset 6796) or ``"test"`` (10000, subset 1000).

    Raises:
        ValueError: another split.
        DataError: the archive can't be had or is broken.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

    Example:
        >>> cifar10("test").x.shape  # doctest: +SKIP
        torch.Size([10000, 3, 32, 32])
        >>> cifar10("valid")
        Traceback (most recent call last):
        ValueError: split is 'valid', but has to be 'train' or 'test'
    """
    _check_split(split)
    full = "cifar10/cifar-10-python.tar.gz"
    part = "cifar10_subset/cifar-10-python-subset.tar.gz"
    subset = locate(full) is None and locate(part) is not None
    pixels, labels = read_cifar10(fetch(part if subset else full), split)
    return Images(_unit(pixels), _labels(labels), "cifar10", CIFAR10_CLASSES, subset)


def cifar10_jpeg(split: str) -> Images:
    """Returns one split of "CIFAR-10, JPEG copy": all images of CIFAR-10, saved once as JPEG.

    For machines that cannot reach the original. The copies lie 30.5 dB (median) from the true
    pixels, so results on them carry the name of the copy. Sorted by class.

    Args:
        split: ``"train"`` (50000 images) or ``"test"`` (10000).

    Raises:
        ValueError: another split.
        DataError: the archive can't be had or is broken.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

    Example:
        >>> cifar10_jpeg("test").x.shape  # doctest: +SKIP
        torch.Size([10000, 3, 32, 32])
    """
    _check_split(split)
    path = fetch("cifar10_jpeg/cifar10-jpeg.tar.gz")
    pixels, labels = _jpeg_images(path, split)
    return Images(_unit(pixels), _labels(labels), "cifar10_jpeg", CIFAR10_CLASSES)


@lru_cache(maxsize=2)  # both splits: a process decodes 60000 files once
def _jpeg_images(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels (N, 3, 32, 32), uint8, and labels (N,) of an archive split/class/n.jpg."""
    from PIL import Image

    pixels, labels = [], []
    with tarfile.open(path) as archive:
        for member in archive:
            part, name, *_ = member.name.split("/")
            if part == split and member.isfile():
                image = Image.open(archive.extractfile(member)).convert("RGB")
                pixels.append(np.asarray(image))
                labels.append(CIFAR10_CLASSES.index(name))
    if not pixels or {p.shape for p in pixels} != {(32, 32, 3)}:
        raise FormatError(f"{path} holds no 32 x 32 images in a folder {split}")
    x = np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2))
    return x, np.array(labels)


def digits(split: str, size: int = 24) -> Images:
    """Returns one split of scikit-learn's 8 x 8 digits, enlarged bilinearly. No download.

    Choose ``size`` with the patch size p of the model in mind: at a scale ``size / 8`` that is
    a multiple of p (32 pixels for p = 4), interpolation makes the p polyphase components
    mirror images of one another. They then have the same energy, so that choosing the
    strongest one is a tie. The default, a scale of 3, has no such ties with p = 4.

    Args:
        split: ``"train"`` (1300 images) or ``"test"`` (497). The split is always the same, and
            stratified: all classes have the same share in both.
        size: height and width in pixels, at least 8.

    Raises:
        ValueError: another split, or a size that is not an int >= 8.

    Source: UCI, Optical Recognition of Handwritten Digits, as shipped with scikit-learn.

    Example:
        >>> digits("test", size=16).x.shape
        torch.Size([497, 1, 16, 16])
    """
    _check_split(split)
    if type(size) is not int or size < 8:
        raise ValueError(f"size is {size!r}, but has to be an int of at least 8")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    note("scikit-learn/digits", array_checksum(data.data))
    train, test = train_test_split(
        np.arange(len(data.target)), train_size=1300, stratify=data.target, random_state=0
    )
    chosen = train if split == "train" else test
    x = torch.from_numpy(data.images[chosen, None].astype(np.float32) / 16)  # (N, 1, 8, 8)
    x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    return Images(x, _labels(data.target[chosen]), "digits", DIGIT_CLASSES)


def on_canvas(x: Tensor, size: int) -> Tensor:
    """Returns the images centered on a larger black canvas, ``(N, C, size, size)``.

    Where the margin is odd, the extra row is below and the extra column on the right.

    Args:
        x: ``(N, C, H, W)``, any dtype.
        size: height and width of the canvas in pixels, at least H and W.

    Raises:
        ValueError: x does not have four dimensions, or size is not an int that large.

    Example:
        >>> on_canvas(torch.ones(1, 1, 2, 2), 4)[0, 0]
        tensor([[0., 0., 0., 0.],
                [0., 1., 1., 0.],
                [0., 1., 1., 0.],
                [0., 0., 0., 0.]])
    """
    if x.ndim != 4:
        raise ValueError(f"x has the shape {tuple(x.shape)}, but has to be (N, C, H, W)")
    height, width = x.shape[-2:]
    if type(size) is not int or size < max(height, width):
        raise ValueError(f"size is {size!r}, but has to be an int of at least {max(height, width)}")
    left, top = (size - width) // 2, (size - height) // 2
    return F.pad(x, (left, size - width - left, top, size - height - top))


def _check_split(split: str) -> None:
    if split not in ("train", "test"):
        raise ValueError(f"split is {split!r}, but has to be 'train' or 'test'")


def _unit(pixels: np.ndarray) -> Tensor:
    """Returns bytes 0..255 as float32 in [0, 1]."""
    return torch.from_numpy(pixels.astype(np.float32)).div_(255)


def _labels(labels: np.ndarray) -> Tensor:
    return torch.from_numpy(labels.astype(np.int64))
