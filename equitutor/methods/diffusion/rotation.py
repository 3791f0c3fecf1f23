"""Turn an image while it is generated, and measure by how much it turned.

If the denoiser followed rotations exactly, turning in small steps would be the same as turning the
finished image. It does not, so part of the angle is lost on the way.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equitutor.checks import check_maps
from equitutor.methods.alias_free import disc_mask, ideal_rotate

__all__ = ["RotationPlan", "border_level", "conjugated", "group_averaged",
           "realized_angles"]  # fmt: skip

Denoiser = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class RotationPlan:
    """Spreads `angle` over the reverse steps between the shares `start` and `end` of the chain.

    Args:
        angle: degrees in all, counter-clockwise on the screen.
        start, end: window in [0, 1]; 0 is pure noise, 1 the finished image. The paper uses all.
        rotate: function (x, degrees) to turned images. Bilinear interpolation does not do: in a
            hundred steps it removes most of the noise.
        turn_noise: turn the fresh noise of each step as far as the image was turned so far.
            Needed for equality path by path where eta > 0.

    Raises:
        ValueError: the angle is not finite, or not 0 <= start < end <= 1.

    Source: Anjum 2024 (arXiv 2411.09174), with a window added.

    >>> RotationPlan(90).increments(3)
    [30.0, 30.0, 30.0]
    >>> RotationPlan(90, start=0.5).increments(4)
    [0.0, 0.0, 45.0, 45.0]
    """

    angle: float
    start: float = 0.0
    end: float = 1.0
    rotate: Callable[[Tensor, float], Tensor] = ideal_rotate
    turn_noise: bool = False

    def __post_init__(self):
        if isinstance(self.angle, bool) or not math.isfinite(self.angle):
            raise ValueError(f"angle must be a finite number of degrees, got {self.angle!r}")
        if not 0 <= self.start < self.end <= 1:
            raise ValueError(
                f"start and end must be 0 <= start < end <= 1, got {self.start!r}, {self.end!r}"
            )

    def increments(self, steps: int) -> list[float]:
        """Returns the degrees to turn after each of the reverse steps; their sum is `angle`."""
        if type(steps) is not int or steps < 1:
            raise ValueError(f"steps must be an int >= 1, got {steps!r}")
        inside = [self.start <= (k + 0.5) / steps <= self.end for k in range(steps)]
        if not any(inside):
            raise ValueError(f"the window {self.start} ... {self.end} holds none of {steps} steps")
        return [self.angle / sum(inside) if one else 0.0 for one in inside]


def conjugated(
    model: Denoiser, angle: float, rotate: Callable[[Tensor, float], Tensor] = ideal_rotate
) -> Denoiser:
    """Returns the denoiser that turns back, predicts, and turns again.

    Sampling with it from turned noise is the same as turning the finished image.

    >>> f = conjugated(lambda x, t: x * torch.arange(2.0), 180)
    >>> f(torch.ones(1, 1, 2, 2), None)[0, 0].tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    """
    if isinstance(angle, bool) or not math.isfinite(angle):
        raise ValueError(f"angle must be a finite number of degrees, got {angle!r}")
    if not callable(model):
        raise ValueError(f"model must be callable, got {model!r}")
    return lambda x, t: rotate(model(rotate(x, -angle), t), angle)


def group_averaged(model: Denoiser) -> Denoiser:
    """Returns the mean of the four denoisers conjugated with quarter turns.

    It commutes exactly with quarter turns, whatever the model, for four times the cost and
    without training.

    >>> f = group_averaged(lambda x, t: x * torch.arange(2.0))
    >>> f(torch.ones(1, 1, 2, 2), None)[0, 0].tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """

    if not callable(model):
        raise ValueError(f"model must be callable, got {model!r}")

    def average(x: Tensor, t: Tensor) -> Tensor:
        if x.shape[-1] != x.shape[-2]:
            raise ValueError(f"x must be square maps, got shape {tuple(x.shape)}")
        turned = (torch.rot90(x, k, (-2, -1)) for k in range(4))
        results = [torch.rot90(model(y, t), -k, (-2, -1)) for k, y in enumerate(turned)]
        # In pairs: this order of the sum is the same for every quarter turn, bit for bit.
        return ((results[0] + results[2]) + (results[1] + results[3])) / 4

    return average


@torch.no_grad()
def realized_angles(
    reference: Tensor,
    turned: Tensor,
    candidates: Tensor | None = None,
    rotate: Callable[[Tensor, float], Tensor] = ideal_rotate,
) -> tuple[Tensor, Tensor]:
    """Returns by how much each image is turned against its reference, and how alike they are then.

    The angle is the candidate at which the turned reference correlates best with the image.

    Args:
        reference, turned: square images (B, C, n, n); pixels outside a disc are ignored.
        candidates: degrees (K,); -180 ... 175 in steps of 5, if None.

    Returns:
        degrees (B,), and correlations (B,) in [-1, 1].

    Raises:
        ValueError: the two shapes differ, or there are no candidates.

    >>> x = torch.randn(2, 1, 16, 16)
    >>> realized_angles(x, ideal_rotate(x, 30))[0]
    tensor([30., 30.])
    """
    if reference.shape != turned.shape:
        raise ValueError(
            f"turned must have the shape of reference, {tuple(reference.shape)}, "
            f"got {tuple(turned.shape)}"
        )
    for name, x in (("reference", reference), ("turned", turned)):
        check_maps(x, name)
        if x.shape[-1] != x.shape[-2] or not torch.isfinite(x).all():
            raise ValueError(f"{name} must be square and finite, got shape {tuple(x.shape)}")
    candidates = torch.arange(-180.0, 180.0, 5) if candidates is None else candidates
    if not len(candidates):
        raise ValueError("candidates must hold at least one angle, got none")
    mask = disc_mask(turned.shape[-1]).to(turned.device)

    def centered(x: Tensor) -> Tensor:
        inside = x[..., mask].flatten(1)
        inside = inside - inside.mean(1, keepdim=True)
        return inside / inside.norm(dim=1, keepdim=True).clamp_min(1e-12)

    goal = centered(turned)
    alike = torch.stack([(centered(rotate(reference, a)) * goal).sum(1)
                         for a in candidates.tolist()])  # fmt: skip
    best = alike.max(0)
    return candidates.to(best.indices.device)[best.indices], best.values


def border_level(x: Tensor) -> float:
    """Returns the mean of the outermost pixels of images (B, C, H, W): their background.

    >>> border_level(torch.eye(3).view(1, 1, 3, 3))
    0.25
    """
    check_maps(x)
    inside = x[..., 1:-1, 1:-1]
    count = x.numel() - inside.numel()
    return ((x.double().sum() - inside.double().sum()) / count).item()
