"""The loaders of labeled images: real files where they are at hand, generated ones elsewhere."""

import gzip
import hashlib
import struct
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from conftest import needs_data
from hypothesis import given, settings
from hypothesis import strategies as st

from equitutor.data import (
    SETS,
    DataSet,
    File,
    FormatError,
    cifar10,
    digits,
    fetch,
    mnist,
    on_canvas,
)
from equitutor.data.images import CIFAR10_CLASSES


def check(images, n, shape, y_counts):
    assert len(images) == n
    assert images.x.shape == (n, *shape)
    assert images.x.dtype == torch.float32
    assert images.y.shape == (n,)
    assert images.y.dtype == torch.int64
    assert images.x.min() == 0
    assert images.x.max() == 1
    assert images.y.bincount(minlength=len(images.classes)).tolist() == y_counts


@needs_data("mnist")
def test_real_mnist():
    train, test = mnist("train"), mnist("test")
    published = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    check(train, 60000, (1, 28, 28), published)
    check(test, 10000, (1, 28, 28), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    assert train.x.mean().item() == pytest.approx(0.1307, abs=1e-4)  # as published for MNIST
    assert train.x.std().item() == pytest.approx(0.3081, abs=1e-4)
    assert train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert train.classes == tuple("0123456789")
    assert not train.subset


@needs_data("cifar10_subset")
def test_real_cifar10_subset(tmp_path, monkeypatch):
    monkeypatch.setenv("EQUITUTOR_CACHE", str(tmp_path))
    train, test = cifar10("train"), cifar10("test")
    counts = train.y.bincount().tolist()
    check(train, 6796, (3, 32, 32), counts)
    assert min(counts) > 600
    check(test, 1000, (3, 32, 32), test.y.bincount().tolist())
    assert train.subset
    assert test.subset
    # Published means of the channels; planes or labels in another order would not fit.
    expected = torch.tensor([0.4914, 0.4822, 0.4465])
    torch.testing.assert_close(train.x.mean((0, 2, 3)), expected, atol=0.01, rtol=0)
    # Neighboring pixels are alike in every row and column: the planes are cut at the right width.
    for dim in (2, 3):
        assert train.x[:200].diff(dim=dim).abs().mean() < 0.08


@needs_data("cifar10_subset")
def test_class_names_are_the_published_ones():
    path = fetch("cifar10_subset/cifar-10-python-subset.tar.gz")
    with tarfile.open(path) as archive:
        meta = archive.extractfile("cifar-10-batches-py/batches.meta").read()
    positions = [meta.index(name.encode()) for name in CIFAR10_CLASSES]
    assert positions == sorted(positions)


def serve_from(folder, monkeypatch, files):
    """Write ``{"<set>/<file>": bytes}`` to a data folder and make them the registry's."""
    for name, data in files.items():
        set_name, _, file_name = name.partition("/")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        known = tuple(f for f in SETS[set_name].files if f.name != file_name)
        file = File(file_name, len(data), f"sha256:{hashlib.sha256(data).hexdigest()}", ())
        monkeypatch.setitem(SETS, set_name, DataSet("", "", "", (*known, file)))
    monkeypatch.setenv("EQUITUTOR_DATA", str(folder))
    monkeypatch.setenv("EQUITUTOR_CACHE", str(folder / "cache"))


def small_mnist(n_images, n_labels):
    pixels = np.arange(n_images * 784).reshape(n_images, 28, 28).astype(np.uint8)
    images = struct.pack(">4I", 0x803, n_images, 28, 28) + pixels.tobytes()
    labels = struct.pack(">2I", 0x801, n_labels) + bytes(range(n_labels))
    return pixels, {
        "mnist/t10k-images-idx3-ubyte.gz": gzip.compress(images, mtime=0),
        "mnist/t10k-labels-idx1-ubyte.gz": gzip.compress(labels, mtime=0),
    }


def test_mnist_from_small_files(tmp_path, monkeypatch):
    pixels, files = small_mnist(3, 3)
    serve_from(tmp_path, monkeypatch, files)
    test = mnist("test")
    torch.testing.assert_close(test.x[:, 0] * 255, torch.from_numpy(pixels).float())
    assert test.y.tolist() == [0, 1, 2]
    test.x[0] = 0  # the tensors own their memory


def test_mnist_with_a_label_missing(tmp_path, monkeypatch):
    serve_from(tmp_path, monkeypatch, small_mnist(3, 2)[1])
    with pytest.raises(FormatError, match="mnist/t10k has 3 images but 2 labels"):
        mnist("test")


FULL = "cifar10/cifar-10-python.tar.gz"
PART = "cifar10_subset/cifar-10-python-subset.tar.gz"


@pytest.mark.parametrize(
    ("there", "used", "subset"), [((FULL, PART), FULL, False), ((PART,), PART, True), ((), FULL, 0)]
)
def test_cifar10_prefers_the_full_archive(tmp_path, monkeypatch, there, used, subset):
    serve_from(tmp_path, monkeypatch, dict.fromkeys(there, b"an archive"))
    monkeypatch.setenv("EQUITUTOR_DATA", str(tmp_path))
    asked = []
    batch = np.zeros((2, 3, 32, 32), np.uint8), np.zeros(2, np.int64)
    monkeypatch.setattr("equitutor.data.images.fetch", lambda name: asked.append(name))
    monkeypatch.setattr("equitutor.data.images.read_cifar10", lambda path, split: batch)
    assert cifar10("test").subset == subset
    assert asked == [used]


def test_digits():
    train, test = digits("train"), digits("test")
    check(train, 1300, (1, 24, 24), train.y.bincount().tolist())
    check(test, 497, (1, 24, 24), test.y.bincount().tolist())
    share_train, share_test = train.y.bincount() / 1300, test.y.bincount() / 497
    torch.testing.assert_close(share_train, share_test, atol=0.003, rtol=0)
    torch.testing.assert_close(digits("test").x, test.x, atol=0, rtol=0)


def test_digits_split_parts_the_whole_set():
    from sklearn.datasets import load_digits

    parts = torch.cat([digits("train", size=8).x, digits("test", size=8).x])
    whole = torch.from_numpy(load_digits().images).float() / 16

    def rows(x):
        return sorted(map(tuple, (x.reshape(len(x), 64) * 16).int().tolist()))

    assert rows(parts) == rows(whole)


@settings(max_examples=100)
@given(size=st.integers(8, 40))
def test_digits_keep_their_place_at_any_size(size):
    x = digits("test", size).x[:20]
    assert x.shape == (20, 1, size, size)
    centers = []
    for image in (x, digits("test", 8).x[:20]):
        n = image.shape[-1]
        grid = (torch.arange(n) + 0.5) / n
        mass = image.sum((1, 2, 3))
        centers.append(torch.stack([(image.sum(d)[:, 0] * grid).sum(1) / mass for d in (2, 3)]))
    torch.testing.assert_close(*centers, atol=0.03, rtol=0)


def test_energy_of_phases_ties_at_scale_4_only():
    """The reason for the default of 24 pixels, as the docstring of `digits` gives it."""

    def mirror_gap(size):
        x = digits("test", size).x[:100]  # p = 4: phase k against phase 3 - k of the columns
        energy = torch.stack([x[..., k::4].double().square().sum((1, 2, 3)) for k in range(4)])
        return ((energy - energy.flip(0)).abs() / energy.sum(0)).amax(0).median()

    assert mirror_gap(32) < 0.25 * mirror_gap(24)


@pytest.mark.parametrize("size", [7, 0, -8, 24.0, "24", None, True])
def test_digits_refuse_sizes(size):
    with pytest.raises(ValueError, match=f"size is {size!r}, but has to be an int of at least 8"):
        digits("train", size)


@pytest.mark.parametrize("load", [mnist, cifar10, digits])
def test_unknown_split(load):
    with pytest.raises(ValueError, match="split is 'valid', but has to be 'train' or 'test'"):
        load("valid")


@settings(max_examples=100)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    more=st.integers(0, 9),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.uint8]),
)
def test_canvas_keeps_and_centers(height, width, more, dtype):
    size = max(height, width) + more
    x = torch.ones(2, 3, height, width, dtype=dtype)
    out = on_canvas(x, size)
    assert out.shape == (2, 3, size, size)
    assert out.dtype == dtype
    assert out.sum() == x.sum()
    for lines, n in ((out[0, 0].any(1), height), (out[0, 0].any(0), width)):
        filled = lines.nonzero().flatten().tolist()
        assert filled == list(range((size - n) // 2, (size - n) // 2 + n))


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((1, 1, 28, 28), 27, "size is 27, but has to be an int of at least 28"),
        ((1, 1, 28, 30), 29, "at least 30"),
        ((1, 1, 28, 28), 40.0, "size is 40.0"),
        ((1, 28, 28), 40, r"x has the shape \(1, 28, 28\), but has to be \(N, C, H, W\)"),
    ],
)
def test_canvas_refuses(shape, size, message):
    with pytest.raises(ValueError, match=message):
        on_canvas(torch.zeros(shape), size)


def test_short_repr():
    assert repr(digits("test"))[:30] == "Images(name='digits', classes="


def test_import_is_light():
    heavy = ("sklearn", "pooch", "requests", "matplotlib")
    code = f"import sys, equitutor.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
