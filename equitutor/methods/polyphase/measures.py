"""How often a prediction survives a shift, with the range of the shifts named."""

from collections.abc import Callable

import torch
from torch import Tensor

from equitutor.methods.polyphase.anchors import roll_batch


def _check_images(x: Tensor) -> None:
    if x.ndim != 4 or x.numel() == 0:
        raise ValueError(f"x must be a non-empty (B, C, H, W) tensor, got shape {tuple(x.shape)}")


def _classes(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    logits = model(x)
    if logits.ndim != 2 or len(logits) != len(x):
        raise ValueError(f"model must return logits ({len(x)}, K), got {tuple(logits.shape)}")
    if logits.isnan().any():  # argmax would call NaN the winner, always the same one
        raise ValueError("model must return numbers, got NaN logits")
    return logits.argmax(1)


@torch.no_grad()
def consistency(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    reach: int | None = None,
    per_image: bool = True,
    trials: int = 1,
    generator: torch.Generator | None = None,
) -> float:
    """Returns how often two shifted copies of an image get the same class, in [0, 1].

    Args:
        model: callable from images (B, C, H, W) to logits (B, K). Put it into eval mode first.
        x: images (B, C, H, W).
        reach: shifts are drawn from 0 ... reach pixels; None draws from the whole torus.
        per_image: a shift of its own for each image; False draws one for the whole batch, as the
            official evaluation does, which makes the estimate noisier.
        trials: number of pairs drawn for each image, >= 1.
        generator: source of the shifts; None uses torch's global one.

    Read it next to the accuracy: a model that always answers "3" is perfectly consistent.

    Source: Zhang 2019 (the measure), Ding et al. 2023 (reach 14, one shift a batch).

    >>> always_three = lambda x: torch.nn.functional.one_hot(torch.full((len(x),), 3), 10).float()
    >>> consistency(always_three, torch.rand(5, 1, 8, 8))
    1.0
    """
    _check_images(x)
    if reach is not None and (not isinstance(reach, int) or reach < 0):
        raise ValueError(f"reach must be None or an int >= 0, got {reach!r}")
    if not isinstance(trials, int) or trials < 1:
        raise ValueError(f"trials must be an int >= 1, got {trials!r}")
    high = [s if reach is None else reach + 1 for s in x.shape[-2:]]
    draws = len(x) if per_image else 1

    def shifted_class() -> Tensor:
        dy, dx = (torch.randint(n, (draws,), generator=generator).to(x.device) for n in high)
        return _classes(model, roll_batch(x, dy.expand(len(x)), dx.expand(len(x))))

    agree = sum((shifted_class() == shifted_class()).sum() for _ in range(trials))
    return agree.item() / (trials * len(x))
