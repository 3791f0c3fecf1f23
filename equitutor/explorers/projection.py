"""The projection explorer: shrink a matrix, and its nearest rotation starts to swing."""

import torch
from torch import Tensor

from equitutor.explorers.host import Explorer, png_uri, source
from equitutor.groups import haar_so3
from equitutor.methods.icosahedral import project_so3

AMOUNT = 0.05  # size of the noise


def projection_explorer(
    title: str = "Shrink M: the nearest rotation starts to swing", seed: int = 4
) -> Explorer:
    """Returns an explorer of the rotation nearest to a matrix that shrinks to zero.

    Args:
        title: one line.
        seed: of the rotation and of the 60 noises.

    >>> projection_explorer().title
    'Shrink M: the nearest rotation starts to swing'
    """
    generator = torch.Generator().manual_seed(seed)
    rotation = haar_so3(1, generator)[0]
    noise = torch.randn(60, 3, 3, generator=generator, dtype=torch.float64)
    noise = noise / noise.norm(dim=(1, 2), keepdim=True)
    data = {
        "rotation": rotation.flatten().tolist(),
        "noise": noise.numpy().reshape(-1),
        "amount": AMOUNT,
        "start": -20,
    }
    module = "\n".join(
        map(source, ("articulated-body.js", "articulated-drawing.js", "projection.js"))
    )
    picture, alt = fallback(rotation, noise)
    style = source("articulated.css")
    return Explorer(module, data, title, fallback=picture, alt=alt, style=style, height=330)


def fallback(rotation: Tensor, noise: Tensor) -> tuple[str, str]:
    """Returns the picture for a page without JavaScript, as a data address, and its text."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.6), layout="constrained")
    for k, size in enumerate((1.0, 0.02)):
        axis = figure.add_subplot(1, 2, k + 1)
        found = project_so3(size / 3**0.5 * rotation + AMOUNT * noise)
        for j, color in enumerate(("#d55e00", "#009e73", "#0072b2")):
            axis.scatter(found[:, 0, j], found[:, 2, j], s=8, c=color)
        axis.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), aspect="equal", xticks=[], yticks=[])
        axis.set_title(f"size of M: {size}", fontsize=9)
    return png_uri(figure, dpi=80), (
        "Axes of 60 rotations: three tight bundles for a matrix of size 1, dots all over a disk "
        "for one of size 0.02."
    )
