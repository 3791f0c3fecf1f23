"""Digits over colored backgrounds: MNIST-M rebuilt from photographs.

It takes the difference of a black and white digit and a background: the digit shows as the
background's negative, and no brightness or color tells it from its surroundings.
"""

import torch
from torch import Tensor

from equitutor.checks import check_choice, check_count
from equitutor.data.cache import fetch_all
from equitutor.data.errors import FormatError
from equitutor.data.images import Images, mnist
from equitutor.data.pictures import read_picture

__all__ = ["blend", "mnist_m"]

SIZE = 28
TEST_PHOTOS = 15  # of the 60; no photograph stands behind digits of both splits


def mnist_m(split: str, n: int | None = None, seed: int = 0) -> Images:
    """Returns MNIST digits over crops of photographs, 28 x 28 in color, by the recipe of MNIST-M.

    A digit's pixels above zero become white; the image is |crop - digit| in each channel. The
    photographs are 60 of BSDS500's: 45 of them for training, the other 15 for testing. These are
    not the published images, and there are fewer photographs, so `subset` is True.

    Args:
        split: ``"train"`` or ``"test"``.
        n: the first n digits of the split; all, if None (0.6 GB for training).
        seed: of the crops, an int >= 0.

    Raises:
        ValueError: an argument outside these ranges.
        DataError: digits or photographs can't be had or are broken.

    Source: Y. Ganin, V. Lempitsky, 2015 (arXiv 1409.7495); P. Arbelaez et al., 2011 (BSDS500).

    Example:
        >>> mnist_m("test", n=100).x.shape  # doctest: +SKIP
        torch.Size([100, 3, 28, 28])
        >>> mnist_m("valid")
        Traceback (most recent call last):
        ValueError: split is 'valid', but has to be 'train' or 'test'
    """
    check_choice("split", split, ("train", "test"))
    check_count("seed", seed, least=0)
    source = mnist(split)
    if n is None:
        n = len(source)
    check_count("n", n)
    if n > len(source):
        raise ValueError(f"n is {n}, but has to be at most {len(source)}, the size of the split")
    paths = sorted(fetch_all("bsds500_subset").items())
    paths = paths[-TEST_PHOTOS:] if split == "test" else paths[:-TEST_PHOTOS]
    photos = []
    for _, path in paths:
        pixels = read_picture(path, "RGB")
        if min(pixels.shape[:2]) < SIZE:
            raise FormatError(f"{path} is smaller than {SIZE} x {SIZE} pixels")
        photos.append(torch.from_numpy(pixels).permute(2, 0, 1))  # (3, H, W)
    draw = torch.Generator().manual_seed(seed)
    crops = torch.empty(n, 3, SIZE, SIZE)
    for crop in crops:
        photo = photos[_pick(len(photos), draw)]
        top, left = (_pick(side - SIZE + 1, draw) for side in photo.shape[1:])
        crop.copy_(photo[:, top : top + SIZE, left : left + SIZE])
    x = blend(source.x[:n] > 0, crops.div_(255))
    return Images(x, source.y[:n].clone(), "mnist_m", source.classes, subset=True)


def blend(digit: Tensor, ground: Tensor) -> Tensor:
    """Returns |ground - digit|, float32 ``(N, 3, H, W)``.

    Args:
        digit: bool ``(N, 1, H, W)``, True where there is ink.
        ground: float32 ``(N, 3, H, W)`` in [0, 1].

    Raises:
        ValueError: shapes that do not fit, a digit that is not bool, a ground outside [0, 1].

    Example:
        >>> blend(torch.tensor([[[[True, False]]]]), torch.full((1, 3, 1, 2), 0.25))[0, 0]
        tensor([[0.7500, 0.2500]])
    """
    if digit.dtype != torch.bool:
        raise ValueError(f"digit is {digit.dtype}, but has to be bool")
    if digit.ndim != 4 or ground.shape != (len(digit), 3, *digit.shape[2:]) or digit.shape[1] != 1:
        raise ValueError(
            f"digit is {tuple(digit.shape)} and ground {tuple(ground.shape)}, but they have to be "
            "(N, 1, H, W) and (N, 3, H, W)"
        )
    if not ((ground >= 0) & (ground <= 1)).all():  # False for NaN, too
        low, high = ground.min().item(), ground.max().item()
        raise ValueError(f"ground holds {low:g} ... {high:g}, but has to lie in [0, 1]")
    return (ground - digit.float()).abs()


def _pick(n: int, draw: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=draw))
