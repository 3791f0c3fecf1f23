"""MNIST-M by its recipe, where the photographs are at hand."""

import numpy as np
import pytest
import torch
from conftest import needs_data

from equitutor.data import SETS, FormatError, mnist, mnist_m
from equitutor.data.mnist_m import TEST_PHOTOS, blend


@needs_data("bsds500_subset")
@needs_data("mnist")
def test_real_mnist_m():
    images = mnist_m("test", n=200)
    assert images.x.shape == (200, 3, 28, 28) and images.x.dtype == torch.float32
    assert images.subset and len(images) == 200
    assert images.x.min() >= 0 and images.x.max() <= 1
    source = mnist("test")
    assert torch.equal(images.y, source.y[:200])
    assert torch.equal(images.x, mnist_m("test", n=200).x)
    other = mnist_m("test", n=200, seed=1)
    assert not torch.equal(images.x, other.x)
    # Undoing the blend leaves photographs: neighbors are alike across the edge of the ink.
    ink = source.x[:200] > 0
    ground = blend(ink, images.x)
    step = lambda x: (x[..., 1:] - x[..., :-1]).abs()
    edge = (ink[..., 1:] != ink[..., :-1]).expand(-1, 3, -1, -1)
    assert step(ground)[edge].mean() < 0.15 < 0.25 < step(images.x)[edge].mean()


@needs_data("bsds500_subset")
@needs_data("mnist")
def test_no_photograph_is_in_both_splits(monkeypatch):
    read = {}

    def spy(path, mode):
        read[split].add(path.name)
        return original(path, mode)

    module = __import__("sys").modules["equitutor.data.mnist_m"]
    original = module.read_picture
    monkeypatch.setattr(module, "read_picture", spy)
    for split in ("train", "test"):
        read[split] = set()
        mnist_m(split, n=1)
    assert len(read["test"]) == TEST_PHOTOS
    assert len(read["train"] | read["test"]) == 60 == len(SETS["bsds500_subset"].files)
    assert not read["train"] & read["test"]


@needs_data("bsds500_subset")
@needs_data("mnist")
def test_a_photograph_that_is_too_small_is_refused(monkeypatch):
    module = __import__("sys").modules["equitutor.data.mnist_m"]
    monkeypatch.setattr(module, "read_picture", lambda path, mode: np.zeros((2, 28, 3), np.uint8))
    with pytest.raises(FormatError, match="smaller than 28 x 28"):
        mnist_m("test", n=1)


def test_blend_is_its_own_inverse():
    digit, ground = torch.rand(2, 1, 4, 4) > 0.5, torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(blend(digit, blend(digit, ground)), ground)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="split is 'valid'"):
        mnist_m("valid")
    with pytest.raises(ValueError, match="seed is -1"):
        mnist_m("test", seed=-1)
    with pytest.raises(ValueError, match="has to be bool"):
        blend(torch.zeros(1, 1, 2, 2), torch.zeros(1, 3, 2, 2))
    with pytest.raises(ValueError, match=r"have to be \(N, 1, H, W\)"):
        blend(torch.zeros(1, 1, 2, 2).bool(), torch.zeros(2, 3, 2, 2))
    for value in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"has to lie in \[0, 1\]"):
            blend(torch.zeros(1, 1, 2, 2).bool(), torch.full((1, 3, 2, 2), value))


@needs_data("mnist")
def test_more_digits_than_there_are():
    with pytest.raises(ValueError, match="n is 10001"):
        mnist_m("test", n=10_001)
