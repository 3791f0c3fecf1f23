"""Alias-free resampling against zero-insertion and a convolution, and what it costs in a UNet."""

from functools import partial

import torch
import torch.nn.functional as F
from lib.timing import compare, table
from scipy.signal import upfirdn

from equitutor.methods.alias_free import AliasFreeDown, AliasFreeUp, FilteredAct, kaiser_lowpass
from equitutor.methods.diffusion import Diffusion, UNet

SHAPES = [(16, 32, 16, 16), (16, 64, 32, 32), (8, 64, 64, 64)]
TARGET = "target: 2d / ours >= 4 and separable / ours >= 2.5 at 16 x 16, both >= 1 everywhere"
FILTER = kaiser_lowpass()
TAPS = len(FILTER)


def convolve(x: torch.Tensor, gain: float, stride: int, separable: bool) -> torch.Tensor:
    """Return depthwise convolutions with the filter; the map has its margin already."""
    channels, h = x.shape[1], FILTER.float()
    if not separable:
        kernel = gain**2 * torch.outer(h, h).expand(channels, 1, TAPS, TAPS)
        return F.conv2d(x, kernel, stride=stride, groups=channels)
    kernel = (gain * h).expand(channels, 1, 1, TAPS)
    x = F.conv2d(x, kernel.mT, stride=(stride, 1), groups=channels)
    return F.conv2d(x, kernel, stride=(1, stride), groups=channels)


def up(x: torch.Tensor, separable: bool) -> torch.Tensor:
    """Return the maps at twice the rate: zeros between the pixels, then the filter."""
    b, c, height, width = x.shape
    fine = x.new_zeros(b, c, 2 * height, 2 * width)
    fine[..., ::2, ::2] = x
    return convolve(F.pad(fine, (TAPS // 2, TAPS // 2 - 1) * 2), 2, 1, separable)


def down(x: torch.Tensor, separable: bool) -> torch.Tensor:
    """Return the maps at half the rate: the filter at the full rate, then every second pixel."""
    return convolve(F.pad(x, (TAPS // 2 - 1,) * 4), 1, 1, separable)[..., ::2, ::2]


def strided(x: torch.Tensor, separable: bool = True) -> torch.Tensor:
    """Return `down` with the pixels that nobody needs left out of the convolution."""
    return convolve(F.pad(x, (TAPS // 2 - 1,) * 4), 1, 2, separable)


def act(x: torch.Tensor, separable: bool) -> torch.Tensor:
    return down(F.gelu(up(x, separable)), separable)


def scipy_up(x: torch.Tensor) -> torch.Tensor:
    y, first = x.numpy(), TAPS // 2 - 1
    for axis in (2, 3):
        y = upfirdn(2 * FILTER.float().numpy(), y, up=2, axis=axis)
        y = y.take(range(first, first + 2 * x.shape[axis]), axis)
    return torch.from_numpy(y)


def scipy_down(x: torch.Tensor) -> torch.Tensor:
    y, first = x.numpy(), TAPS // 2
    for axis in (2, 3):  # of every second result, those from the filter's center on
        y = upfirdn(FILTER.float().numpy(), y, axis=axis)
        y = y.take(range(first, first + x.shape[axis], 2), axis)
    return torch.from_numpy(y)


def backward(function, x):
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(function(x).square().sum(), x)
    return gradient


def operators() -> None:
    """Print up, down, filtered activation, and the last with its gradient."""
    ours = {"up": AliasFreeUp(), "down": AliasFreeDown(), "act": FilteredAct()}
    peers = {"up": (up, scipy_up), "down": (down, scipy_down), "act": (act, None)}
    rows = []
    for shape in SHAPES:
        coarse = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        for name, module in ours.items():
            x = up(coarse, True) if name == "down" else coarse
            peer, reference = peers[name]
            rivals = {
                "ours": module,
                "2d": partial(peer, separable=False),
                "separable": partial(peer, separable=True),
            }
            if reference:
                rivals["scipy"] = reference
            if name == "down":
                rivals["strided"] = strided
            for rival, call in rivals.items():
                torch.testing.assert_close(call(x), module(x), atol=1e-5, rtol=1e-5, msg=rival)
            for kind, run in (("forward", lambda f, x: f(x)), ("forward + backward", backward)):
                timed = {k: f for k, f in rivals.items() if kind == "forward" or k != "scipy"}
                ms = compare({k: partial(run, f, x) for k, f in timed.items()}, repeats=7)
                rows.append(("x".join(map(str, shape)), name, kind, ms["ours"], ms["2d"],
                             ms["separable"], ms.get("scipy", ""), ms["2d"] / ms["ours"],
                             ms["separable"] / ms["ours"],
                             ms["strided"] / ms["ours"] if "strided" in ms else ""))  # fmt: skip
    table(
        f"resampling between maps of this size and twice that, 12 taps, ms, one thread ({TARGET})",
        (
            "maps",
            "what",
            "pass",
            "ours",
            "2d",
            "sep",
            "scipy",
            "2d/ours",
            "sep/ours",
            "strided/ours",
        ),
        rows,
    )


def networks() -> None:
    """Print a whole UNet, training and sampling, against the plain one."""
    x = torch.randn(48, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    chain = Diffusion()
    variants = {
        "plain (average, nearest)": UNet("avg_nearest"),
        "paper's baseline": UNet("maxpool_bilinear"),
        "Kaiser (B)": UNet("kaiser"),
        "jinc (B)": UNet("jinc"),
        "Kaiser, filtered GELU (D)": UNet("kaiser", act_factor=2),
        "paper's 3 x 3, filtered GELU (D)": UNet("paper3x3", act_factor=2),
    }

    def train(model):
        model.zero_grad()
        chain.loss(model, x, torch.Generator().manual_seed(0)).backward()

    training = compare({k: partial(train, m) for k, m in variants.items()}, repeats=7)
    sampling = compare(
        {k: partial(chain.sample, m, x.shape, steps=2) for k, m in variants.items()}, repeats=7
    )
    plain = [times["plain (average, nearest)"] for times in (training, sampling)]
    rows = [
        (name, training[name], training[name] / plain[0], sampling[name] / 2,
         sampling[name] / plain[1])
        for name in variants
    ]  # fmt: skip
    table(
        "UNet, 48 images of 16 x 16, ms for each step (goal: B <= 1.15, D <= 1.5 of plain)",
        ("network", "training", "ratio", "sampling", "ratio"),
        rows,
    )


def warm_allocator() -> None:
    """Free one large block, after which the C library keeps what is freed for the next call.

    Otherwise it hands large maps back, and each call pays for fresh pages.
    """
    torch.ones(31 * 2**18)


def main() -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    warm_allocator()
    operators()
    networks()


if __name__ == "__main__":
    main()
