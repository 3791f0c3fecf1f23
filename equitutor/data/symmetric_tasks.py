"""Generated regression tasks with a dial: how strongly a chosen symmetry is broken."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from equitutor.checks import check_choice, check_count

AXES = ("x", "y", "z")


@dataclass(frozen=True, eq=False)
class Regression:
    """Inputs and targets of a regression task.

    Args:
        x: float32 ``(N, in)``.
        y: float32 ``(N, out)``.
        name: what the task is.
    """

    x: Tensor = field(repr=False)
    y: Tensor = field(repr=False)
    name: str

    def __len__(self) -> int:
        return len(self.x)


def inertia(
    n: int, masses: int = 3, axis: str = "z", eps: float = 0.3, seed: int = 0
) -> Regression:
    """Returns point masses and a tensor that is their moment of inertia, bent along one axis.

    The target is that of `inertia_target`. Masses are softplus of a standard normal number,
    positions are standard normal.

    Args:
        n: number of samples.
        masses: number k of point masses; an input is k masses, then k positions (x, y, z).
        axis: ``"x"``, ``"y"`` or ``"z"``, the axis whose rotations stay an exact symmetry.
        eps: how strongly the other rotations are broken; 0 breaks nothing, -1 erases a column.
        seed: an int >= 0.

    Raises:
        ValueError: an argument outside these ranges.

    Source: the task of Kim et al., 2023 (arXiv 2306.00356), as their code has it.

    Example:
        >>> task = inertia(100)
        >>> task.x.shape, task.y.shape
        (torch.Size([100, 12]), torch.Size([100, 9]))
    """
    check_count("n", n)
    check_count("masses", masses)
    generator = _generator(seed)
    m = torch.nn.functional.softplus(torch.randn(n, masses, generator=generator))
    x = torch.cat([m, torch.randn(n, 3 * masses, generator=generator)], 1)
    return Regression(x, inertia_target(x, axis, eps), f"inertia, {axis}, eps {eps}")


def inertia_target(x: Tensor, axis: str = "z", eps: float = 0.3) -> Tensor:
    """Returns J + eps (J e) e^T, row by row, where J is the moment of inertia about the origin.

    Args:
        x: ``(..., 4 k)``: k masses, then k positions.
        axis: the unit vector e. eps: a finite number.

    With eps = 0 it turns with every rotation and reflection, else exactly with those that keep
    the line along e.

    Raises:
        ValueError: another shape, axis, or a number that is not finite.

    Example:
        >>> inertia_target(torch.tensor([2.0, 1.0, 0.0, 0.0]), eps=0.0).view(3, 3).diagonal()
        tensor([0., 2., 2.])
    """
    _check_floats(x)
    if x.ndim == 0 or x.shape[-1] == 0 or x.shape[-1] % 4:
        raise ValueError(f"x has the shape {tuple(x.shape)}, but has to be (..., 4 k)")
    check_choice("axis", axis, AXES)
    _check_finite("eps", eps)
    k = x.shape[-1] // 4
    m, r = x[..., :k, None, None], x[..., k:].unflatten(-1, (k, 3))
    eye = torch.eye(3, dtype=x.dtype, device=x.device)
    outer = r[..., :, None] * r[..., None, :]
    j = (m * (r.square().sum(-1)[..., None, None] * eye - outer)).sum(-3)  # (..., 3, 3)
    e = eye[AXES.index(axis)]
    return (j + eps * (j @ e)[..., None] * e).flatten(-2)


def cossim(n: int, keeps: str = "rotation", eps: float = 0.3, seed: int = 0) -> Regression:
    """Returns triples of vectors and the mean cosine between them, less a part that breaks a group.

    The target is that of `cossim_target`.

    Args:
        n: number of samples; an input is three standard normal vectors of space.
        keeps: ``"rotation"`` or ``"scale"``: the symmetry that stays exact.
        eps: how strongly the other one is broken.
        seed: an int >= 0.

    Raises:
        ValueError: an argument outside these ranges.

    Source: the task of Kim et al., 2023 (arXiv 2306.00356), as their code has it.

    Example:
        >>> task = cossim(100, keeps="scale")
        >>> task.x.shape, task.y.shape
        (torch.Size([100, 9]), torch.Size([100, 1]))
    """
    check_count("n", n)
    x = torch.randn(n, 9, generator=_generator(seed))
    return Regression(x, cossim_target(x, keeps, eps), f"cosines, keeps {keeps}, eps {eps}")


def cossim_target(x: Tensor, keeps: str = "rotation", eps: float = 0.3) -> Tensor:
    """Returns the mean cosine of three vectors, taken in turn, less eps times a breaking part.

    That part is the mean length of the vectors if rotations are kept; if scaling is kept, the
    ratio of the sum of |entries| of the first vector to that of the two others.

    Args:
        x: ``(..., 9)``, three vectors. keeps: ``"rotation"`` or ``"scale"``. eps: finite.

    Raises:
        ValueError: another shape, another ``keeps``, or a number that is not finite.

    Example:
        >>> x = torch.eye(3).flatten()
        >>> round(cossim_target(x, "rotation", eps=1.0).item(), 6), cossim_target(x, "scale", 1.0)
        (-1.0, tensor([-0.5000]))
    """
    _check_floats(x)
    if x.ndim == 0 or x.shape[-1] != 9:
        raise ValueError(f"x has the shape {tuple(x.shape)}, but has to be (..., 9)")
    check_choice("keeps", keeps, ("rotation", "scale"))
    _check_finite("eps", eps)
    v = x.unflatten(-1, (3, 3))
    unit = v / v.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    cosine = (unit * unit.roll(-1, -2)).sum(-1).mean(-1, keepdim=True)  # (..., 1)
    if keeps == "rotation":
        return cosine - eps * v.norm(dim=-1).mean(-1, keepdim=True)
    size = v.abs().sum(-1)  # (..., 3)
    return cosine - eps * (size[..., :1] / size[..., 1:].sum(-1, keepdim=True).clamp_min(1e-12))


def _check_floats(x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        found = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x is {found}, but has to be a tensor of floating point numbers")


def _generator(seed: int) -> torch.Generator:
    check_count("seed", seed, least=0)
    if seed >= 2**64:
        raise ValueError(f"seed is {seed}, but has to be below 2**64")
    return torch.Generator().manual_seed(seed)


def _check_finite(name: str, value: float) -> None:
    if type(value) is bool or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, but has to be a finite number")
