"""Digits over colored backgrounds: MNIST-M rebuilt from photographs, and a relative that is free.

Both take the difference of a black and white digit and a background: the digit shows as the
background's negative, and no brightness or color tells it from its surroundings.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .arguments import check_choice, check_count
from .cache import fetch_all
from .errors import FormatError
from .images import Images, digits, mnist
from .pictures import read_picture

__all__ = ["blend", "mnist_m", "mnist_m_like", "textures"]

SIZE = 28
TEST_PHOTOS = 15  # of the 60; no photograph stands behind digits of both splits


def mnist_m(split: str, n: int | None = None, seed: int = 0) -> Images:
    """Return MNIST digits over crops of photographs, 28 x 28 in color, by the recipe of MNIST-M.

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


def mnist_m_like(split: str, seed: int = 0) -> Images:
    """Return scikit-learn's digits over generated textures, 28 x 28 in color. No download.

    Made like MNIST-M, but it is not MNIST-M: results on the two can't be compared. Everything in
    it is generated or openly licensed.

    Args:
        split: ``"train"`` (1300 images) or ``"test"`` (497), with textures of their own.
        seed: of the textures, an int >= 0.

    Raises:
        ValueError: an argument outside these ranges.

    Example:
        >>> mnist_m_like("test").x.shape
        torch.Size([497, 3, 28, 28])
    """
    check_choice("split", split, ("train", "test"))
    check_count("seed", seed, least=0)
    source = digits(split, size=SIZE)
    ground = textures(len(source), seed=2 * seed + (split == "test"))
    return Images(blend(source.x > 0.5, ground), source.y, "mnist_m_like", source.classes)


def blend(digit: Tensor, ground: Tensor) -> Tensor:
    """Return |ground - digit|, float32 ``(N, 3, H, W)``.

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


def textures(n: int, size: int = SIZE, seed: int = 0) -> Tensor:
    """Return generated color textures, float32 ``(n, 3, size, size)`` in [0, 1].

    In turn: noise whose spectrum falls with the frequency, cells around random points, and stripes.

    Args:
        n: how many. size: height and width in pixels, at least 2. seed: an int >= 0.

    Raises:
        ValueError: an argument outside these ranges.

    Example:
        >>> textures(6).shape
        torch.Size([6, 3, 28, 28])
    """
    check_count("n", n)
    check_count("size", size, least=2)
    check_count("seed", seed, least=0)
    draw = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.rand(shape, generator=draw)
    each = -(-n // 3)  # of every kind, rounded up
    y, x = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")

    frequency = torch.fft.fftfreq(size)
    radius = (frequency[:, None] ** 2 + frequency**2).sqrt().clamp_min(1 / size)
    fall = radius ** -(1 + rand(each, 1, 1, 1))  # exponents from 1 to 2, as in photographs
    noise = torch.fft.ifft2(torch.fft.fft2(torch.randn(each, 3, size, size, generator=draw)) * fall)
    low, high = noise.real.amin((1, 2, 3), True), noise.real.amax((1, 2, 3), True)
    clouds = (noise.real - low) / (high - low)

    points, colors = rand(each, 12, 2), rand(each, 12, 3)
    distance = (y - points[..., :1, None]) ** 2 + (x - points[..., 1:, None]) ** 2
    owner = F.one_hot(distance.argmin(1), 12).float()  # (each, size, size, 12)
    cells = torch.einsum("bhwk,bkc->bchw", owner, colors)

    angle, count, phase = (torch.pi * rand(each, 1, 1), 2 + 6 * rand(each, 1, 1), rand(each, 1, 1))
    wave = torch.sin(2 * torch.pi * (count * (angle.cos() * x + angle.sin() * y) + phase))
    ends = rand(each, 2, 3, 1, 1)
    stripes = ends[:, 0] + (ends[:, 1] - ends[:, 0]) * (wave[:, None] + 1) / 2

    mixed = torch.stack([clouds, cells, stripes], 1).flatten(0, 1)[:n]  # in turn
    return mixed.clamp(0, 1)


def _pick(n: int, draw: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=draw))
