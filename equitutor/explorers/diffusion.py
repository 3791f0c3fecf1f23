"""Two explorers of denoisers: move their input by any amount; turn an image while it is made."""

import torch
from torch import Tensor

from equitutor.explorers.denoisers import page_denoiser, rounded
from equitutor.explorers.host import Explorer, png_uri, source
from equitutor.methods.alias_free import band_limit, disc_mask, eq_psnr, ideal_rotate, ideal_shift
from equitutor.methods.diffusion import Diffusion, RotationPlan, UNet, realized_angles

__all__ = ["dial_explorer", "equivariance_explorer"]

MAX_IMAGES = 6
SHIFT = (0.21, 0.37)  # where the explorer opens: down, right


def equivariance_explorer(
    networks: dict[str, UNet],
    x: Tensor,
    chain: Diffusion,
    times: tuple[int, ...] = (200, 500, 800),
    title: str = "Move the input: does the denoised image follow?",
) -> Explorer:
    """Returns an explorer in which denoisers answer a shift and a rotation of noisy images.

    The networks run in the page itself, with weights rounded to half precision.

    Args:
        networks: name -> UNet, one to five, as `page_denoiser` takes them.
        x: clean images (N, 1, n, n) in [-1, 1], 1 <= N <= 6.
        chain: the process they were trained for, predicting velocity.
        times: steps of the chain to choose from, three at least.
        title: one line.

    Raises:
        TypeError: a network is not a UNet.
        ValueError: an argument does not fit; the message says which.

    >>> chain = Diffusion(predict="velocity")
    >>> explorer = equivariance_explorer({"a": UNet(width=2)}, torch.zeros(1, 1, 8, 8), chain)
    >>> "f(g x)" in explorer.to_html()
    True
    """
    side = _check(networks, x, chain)
    if len(times) < 3 or not all(0 <= t < chain.steps for t in times):
        raise ValueError(f"times must be 3 or more in 0 ... {chain.steps - 1}, got {times!r}")
    x = x.detach().float().cpu()
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(x.shape, generator=generator)
    noisy = torch.stack([band_limit(chain.add_noise(x, t, noise), 0.8) for t in times])
    data = {
        "side": side,
        "names": list(networks),
        "networks": [page_denoiser(net, side) for net in networks.values()],
        "images": len(x),
        "x": x.numpy(),
        "noisy": noisy.numpy(),
        "times": list(times),
        "levels": [chain.alpha_bar[t].item() for t in times],
    }
    nets = {name: rounded(net) for name, net in networks.items()}
    picture, alt = _compared(nets, noisy[1], chain, times[1])
    return _explorer("equivariance", data, title, picture, alt, 590)


def dial_explorer(
    networks: dict[str, UNet],
    starts: Tensor,
    chain: Diffusion,
    steps: int = 25,
    angle: float = 60,
    title: str = "Turn the dial: the angle arrives, but which digit?",
) -> Explorer:
    """Returns an explorer in which an image is generated in the page while it is turned.

    Args:
        networks: name -> UNet, one to five, as `page_denoiser` takes them.
        starts: noise to start from (N, 1, n, n), 1 <= N <= 6.
        chain: the process they were trained for, predicting velocity.
        steps: of the reverse chain, 2 or more, without fresh noise.
        angle: at which it opens, a multiple of 5 in -180 ... 180.
        title: one line.

    Raises:
        TypeError: a network is not a UNet.
        ValueError: an argument does not fit; the message says which.

    >>> chain = Diffusion(predict="velocity")
    >>> explorer = dial_explorer({"a": UNet(width=2)}, torch.zeros(1, 1, 8, 8), chain, steps=3)
    >>> "asked angle" in explorer.to_html()
    True
    """
    side = _check(networks, starts, chain)
    if angle % 5 or not -180 <= angle <= 180:
        raise ValueError(f"angle must be a multiple of 5 in -180 ... 180, got {angle!r}")
    if steps < 2:
        raise ValueError(f"steps must be 2 or more, got {steps!r}")
    times = chain.times(steps)[:-1]
    starts = starts.detach().float().cpu()
    data = {
        "side": side,
        "names": list(networks),
        "networks": [page_denoiser(net, side) for net in networks.values()],
        "images": len(starts),
        "starts": starts.numpy(),
        "times": times,
        "levels": [chain.alpha_bar[t].item() for t in times],
        "angle": angle,
    }
    name, net = next(iter(networks.items()))
    draw = lambda plan: chain.sample(
        rounded(net), starts[:1].shape, steps, rotate=plan, start=starts[:1]
    )
    still, turned = draw(None), draw(RotationPlan(angle) if angle else None)
    got = realized_angles(still, turned)[0].item()
    picture = _picture({"without turning": still, f"asked {angle:g}°": turned}, -1, 1)
    alt = (
        f"Two generated images of the network {name} from the same noise: one as it is, one that "
        f"was turned while it was made. Asked were {angle:g} degrees, realized {got:g}."
    )
    return _explorer("dial", data, title, picture, alt, 440)


def _check(networks: dict[str, UNet], x: Tensor, chain: Diffusion) -> int:
    if not 1 <= len(networks) <= 5:
        raise ValueError(f"networks must be 1 to 5, got {len(networks)}")
    if x.ndim != 4 or not 1 <= len(x) <= MAX_IMAGES or x.shape[1] != 1 or x.shape[2] != x.shape[3]:
        raise ValueError(
            f"images must be (N, 1, n, n) with N from 1 to {MAX_IMAGES}, got {tuple(x.shape)}"
        )
    if not bool(x.isfinite().all()):
        raise ValueError("images must be finite numbers, got NaN or infinity")
    if chain.predict != "velocity":
        raise ValueError(f"chain must predict velocity for the page, got {chain.predict!r}")
    return x.shape[-1]


def _explorer(name, data, title, picture, alt, height) -> Explorer:
    joined = lambda *names: "\n".join(source(f"{name}.js") for name in names)
    return Explorer(
        joined("diffusion-view", name), data, title, fallback=picture, alt=alt,
        style=source("diffusion.css"), height=height,
        worker=joined("unet", "moves", f"{name}-answers"),
    )  # fmt: skip


def _compared(nets, x: Tensor, chain: Diffusion, t: int) -> tuple[str, str]:
    """Returns the picture for a page without JavaScript and its text: the first network."""
    move = lambda x: ideal_shift(x, SHIFT)
    words, pictures = [], {}
    for name, net in nets.items():
        time = torch.full((len(x),), t)
        f = lambda x, net=net, time=time: chain.estimate(x, t, chain.noise_in(net, x, time), 1.5)
        turned = eq_psnr(f, lambda x: ideal_rotate(x, 30), x, disc_mask(x.shape[-1]))
        words.append(f"{name} {eq_psnr(f, move, x):.0f} dB and {turned:.0f} dB")
        pictures = pictures or {"f(g x)": f(move(x)), "g f(x)": move(f(x))}
    alt = (
        f"A denoised image, moved by {SHIFT[1]} pixels to the right and {SHIFT[0]} down, once "
        "before and once after denoising. How well the networks follow this shift, and a turn by "
        f"30 degrees: {'; '.join(words)}."
    )
    return _picture(pictures, -1, 1), alt


def _picture(images: dict[str, Tensor], low: float, high: float) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4 * len(images), 2.6), layout="constrained")
    axes = figure.subplots(1, len(images), squeeze=False)[0]
    for axis, (name, x) in zip(axes, images.items(), strict=True):
        axis.imshow(x[0, 0].numpy(), cmap="gray", vmin=low, vmax=high)
        axis.set_title(name, fontsize=9)
        axis.set_axis_off()
    return png_uri(figure, dpi=110)
