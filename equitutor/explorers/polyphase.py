"""The polyphase explorer: move an image and watch a plain and an anchored network answer."""

import torch
from torch import Tensor

from equitutor.actions import roll_images
from equitutor.explorers.host import Explorer, png_uri, source
from equitutor.explorers.networks import page_network
from equitutor.methods.polyphase import PolyViT

MAX_IMAGES = 12
MAX_SIDE = 64  # the page runs both networks once for every pixel


def polyphase_explorer(
    plain: PolyViT,
    anchored: PolyViT,
    x: Tensor,
    y: Tensor,
    classes: tuple[str, ...] | None = None,
    compact: bool = False,
    title: str = "Move the image: one network changes its mind, the other cannot",
) -> Explorer:
    """Returns an explorer of two networks under every shift of up to 12 images.

    Both networks run in the page itself. It opens at the smallest shift that changes the first
    image's answer of `plain` from right to wrong, where there is one.

    Args:
        plain: network without an anchor.
        anchored: network with one; the same patches, channels and classes as `plain`.
        x: images (N, C, H, W) in [0, 1], 1 <= N <= 12, with C = 1 or 3, at most 64 x 64 pixels.
        y: true classes, integers (N,).
        classes: a name for each logit; the default is its number.
        compact: the picture and the two answers only, without phases and maps.
        title: one line.

    Raises:
        TypeError: `plain` or `anchored` is not a PolyViT.
        ValueError: an argument does not fit; the message says which.

    >>> nets = PolyViT(8, dim=8, heads=2, poly=False), PolyViT(8, dim=8, heads=2)
    >>> explorer = polyphase_explorer(*nets, torch.rand(2, 1, 8, 8), torch.tensor([3, 5]))
    >>> explorer.save("polyphase.html")  # doctest: +SKIP
    """
    _check_images(x, y)
    size = tuple(x.shape[-2:])
    networks = {
        name: page_network(model, size, name)
        for name, model in (("plain", plain), ("anchored", anchored))
    }
    _check_networks(networks, x)
    count = len(networks["plain"]["weights"]["head.bias"])
    classes = tuple(map(str, range(count) if classes is None else classes))
    if len(classes) != count:
        raise ValueError(f"classes has {len(classes)} names; need one for each of {count} logits")
    if int(y.min()) < 0 or int(y.max()) >= count:
        raise ValueError(f"y holds classes {y.tolist()}; need 0 to {count - 1}")
    x = x.detach().float().cpu()
    truth = int(y[0])
    chances = [_all_shifts(model, x[:1]) for model in (plain, anchored)]  # (H, W, classes) each
    start = _first_surprise(chances[0], truth)
    picture, alt = _picture(x[0], chances, start, truth, classes)
    data = {
        **networks,
        "x": x.numpy(),
        "y": y.tolist(),
        "classes": list(classes),
        "start": list(start),
        "compact": bool(compact),
    }
    module = "\n".join(map(source, ("nn.js", "polyphase-view.js", "polyphase.js")))
    style = source("polyphase.css")
    height = 420 if compact else 900
    return Explorer(module, data, title, fallback=picture, alt=alt, style=style, height=height)


def _check_images(x: Tensor, y: Tensor) -> None:
    if x.ndim != 4 or not 1 <= len(x) <= MAX_IMAGES or x.shape[1] not in (1, 3):
        raise ValueError(
            f"x has shape {tuple(x.shape)}; need (N, C, H, W) with N from 1 to {MAX_IMAGES} and "
            "C of 1 or 3"
        )
    if not 1 <= max(x.shape[-2:]) <= MAX_SIDE:
        raise ValueError(f"x has sides {tuple(x.shape[-2:])}; need at most {MAX_SIDE} pixels each")
    if not x.is_floating_point() or not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError("x must hold floating-point numbers in [0, 1], without NaN")
    if y.shape != (len(x),) or y.is_floating_point() or y.dtype == torch.bool:
        raise ValueError(
            f"y is {y.dtype} of shape {tuple(y.shape)}; need integers of shape ({len(x)},)"
        )


def _check_networks(networks: dict, x: Tensor) -> None:
    configs = {name: network["config"] for name, network in networks.items()}
    for name, config in configs.items():
        if config["anchored"] != (name == "anchored"):
            has = "an anchor" if config["anchored"] else "no anchor"
            raise ValueError(f"{name} has {has}; need the one that its name says")
        if config["channels"] != x.shape[1]:
            raise ValueError(
                f"{name} takes {config['channels']} channels; need {x.shape[1]}, those of x"
            )
    if configs["plain"]["patch"] != configs["anchored"]["patch"]:
        raise ValueError(
            f"plain has patches {configs['plain']['patch']}; need those of anchored, "
            f"{configs['anchored']['patch']}"
        )
    heads = [len(network["weights"]["head.bias"]) for network in networks.values()]
    if heads[0] != heads[1]:
        raise ValueError(f"plain has {heads[0]} classes; need those of anchored, {heads[1]}")


def _all_shifts(model: PolyViT, image: Tensor) -> Tensor:
    """Returns the class probabilities (H, W, classes) of one image under each shift (dy, dx)."""
    height, width = image.shape[-2:]
    parameter = next(model.parameters())
    dx = torch.arange(width)
    rows = []
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for dy in range(height):
            moved = roll_images(image.expand(width, -1, -1, -1), torch.full_like(dx, dy), dx)
            rows.append(model(moved.to(parameter)).float().softmax(1).cpu())
    model.train(was_training)
    return torch.stack(rows)


def _first_surprise(chances: Tensor, truth: int) -> tuple[int, int]:
    """Returns the smallest shift with a wrong answer, or (0, 0) if there is none or at rest."""
    wrong = chances.argmax(2) != truth
    if wrong[0, 0]:
        return 0, 0
    height, width = wrong.shape
    shifts = [((r + height // 2) % height - height // 2, (c + width // 2) % width - width // 2)
              for r, c in wrong.nonzero().tolist()]  # fmt: skip
    return min(shifts, key=lambda t: (t[0] ** 2 + t[1] ** 2, t), default=(0, 0))


def _picture(image, chances, start, truth, classes) -> tuple[str, str]:
    """Returns the picture for a page without JavaScript, as a data address, and its text."""
    from matplotlib.figure import Figure

    dy, dx = start
    height, width = image.shape[-2:]
    figure = Figure(figsize=(7.5, 2.9), layout="constrained")
    axes = figure.subplots(1, 3)
    moved = roll_images(image[None], dy, dx)[0].permute(1, 2, 0)  # (H, W, C)
    axes[0].imshow(moved.squeeze(2).numpy(), cmap="gray", vmin=0, vmax=1)
    where = f"{abs(dx)} {'left' if dx < 0 else 'right'}, {abs(dy)} {'up' if dy < 0 else 'down'}"
    axes[0].set_title(f"moved {where}", fontsize=9)
    words = []
    for axis, name, p in zip(axes[1:], ("plain", "anchored"), chances, strict=True):
        right = (p.argmax(2) == truth).float().mean().item()
        says = classes[int(p[dy, dx].argmax())]
        centered = torch.roll(p[..., truth], (height // 2, width // 2), (0, 1))
        axis.imshow(centered.numpy(), cmap="cividis", vmin=0, vmax=1)
        axis.set_title(f"{name}: says {says}, right at {right:.0%} of shifts", fontsize=9)
        words.append(f"the {name} network says {says} and is right at {right:.0%} of all shifts")
    for axis in axes:
        axis.set_axis_off()
    return png_uri(figure, dpi=110), (
        f"An image of class {classes[truth]}, moved by pixels {where}: "
        f"{words[0]}; {words[1]}. Two maps show the probability of the true class at each shift."
    )
