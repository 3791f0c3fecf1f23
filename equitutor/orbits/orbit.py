"""An orbit: the elements it runs through, and what each does to inputs, targets and outputs."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from equitutor.runtime import widest

KINDS = ("circle", "grid2d", "finite", "disk", "points")
Action = Callable[[Any, int], Any]


def leave(data: Any, i: int) -> Any:
    """Returns `data` as it is: the action of every element on an invariant output.

    >>> leave("seven", 3)
    'seven'
    """
    return data


@dataclass(frozen=True)
class Orbit:
    """The elements g_0 ... g_{G-1} that carry an input along its orbit, and their actions.

    Attributes:
        name: name for titles and errors.
        params: (G, k) coordinates of the elements, such as angles or shifts.
        act_x: function (x, i) -> rho_in(g_i) x on a batch of inputs.
        act_y: function (y, i) -> rho_out(g_i) y on a batch of targets or outputs; the default
            leaves them as they are: the output is then expected to be invariant.
        inv_y: function (y, i) -> rho_out(g_i)^-1 y.
        weights: (G,) quadrature weights of the elements, non-negative; scaled to sum to one.
            None weighs all elements equally.
        kind: how the elements lie: "circle", "grid2d", "finite", "disk" or "points".
        coords: names, with units, of the k coordinates.
        identity: index of the identity element, or None where the sample does not contain it.
        extra: what else is known about the elements.
        inv_x: function (x, i) -> rho_in(g_i)^-1 x, for `round_trip`; None where it is not known.
            Give it anew where `act_x` is replaced.

    Raises ValueError, naming the attribute, where shapes or values do not fit.

    >>> flip = Orbit("mirror", torch.tensor([[0.0], [1.0]]), lambda x, i: x.flip(-1) if i else x)
    >>> len(flip), flip.weights.tolist()
    (2, [0.5, 0.5])
    """

    name: str
    params: Tensor
    act_x: Action
    act_y: Action = leave
    inv_y: Action = leave
    weights: Tensor | None = None
    kind: str = "points"
    coords: tuple[str, ...] = ()
    identity: int | None = 0
    extra: dict = field(default_factory=dict, compare=False)
    inv_x: Action | None = None

    def __post_init__(self):
        params = _exact(self.params)
        if params.ndim != 2 or len(params) == 0:
            raise ValueError(f"params must be (G, k) with G >= 1, got {tuple(params.shape)}")
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {self.kind!r}")
        if self.identity is not None and not 0 <= self.identity < len(params):
            raise ValueError(f"identity must index {len(params)} elements, got {self.identity!r}")
        for name in ("act_x", "act_y", "inv_y", "inv_x"):
            if name == "inv_x" and self.inv_x is None:
                continue
            if not callable(getattr(self, name)):
                raise ValueError(f"{name} must be callable, got {getattr(self, name)!r}")
        weights = _exact([1.0] * len(params) if self.weights is None else self.weights)
        if weights.shape != params.shape[:1] or not weights.isfinite().all() or (weights < 0).any():
            raise ValueError(f"weights must be {len(params)} finite numbers >= 0, got {weights}")
        if weights.sum() == 0:
            raise ValueError("weights must not all be zero")
        coords = self.coords or tuple(f"g{k}" for k in range(params.shape[1]))
        if len(coords) != params.shape[1]:
            raise ValueError(f"coords must name {params.shape[1]} coordinates, got {coords!r}")
        object.__setattr__(self, "params", params)
        object.__setattr__(self, "weights", weights / weights.sum())
        object.__setattr__(self, "coords", coords)

    def __len__(self) -> int:
        return len(self.params)

    def weights_in(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        """Returns the weights (G,) in a dtype, by way of numbers: no device need know both dtypes.

        >>> from equitutor.orbits import so2
        >>> so2(2).weights_in(torch.float16)
        tensor([0.5000, 0.5000], dtype=torch.float16)
        """
        return torch.tensor(self.weights.tolist(), dtype=dtype, device=device)

    def label(self, i: int) -> str:
        """Returns the coordinates of element `i` in words.

        >>> from equitutor.orbits import so2
        >>> so2(4).label(1)
        'angle (degrees) 90'
        """
        values = self.params.tolist()[i]
        return ", ".join(f"{c} {v:g}" for c, v in zip(self.coords, values, strict=True))


def _exact(numbers: Any) -> Tensor:
    device = numbers.device if isinstance(numbers, Tensor) else torch.device("cpu")
    dtype = widest(device)
    if isinstance(numbers, Tensor) and numbers.dtype != dtype:
        numbers = numbers.tolist()  # no device need know both dtypes
    return torch.as_tensor(numbers, dtype=dtype, device=device)


def round_trip(orbit: Orbit) -> Orbit:
    """Returns the orbit that acts with each element and at once with its inverse.

    Nothing should move, so what a model's output or score still changes is the floor of the
    measurement: resampling and rounding of the meter itself. It is an estimate from above, because
    there and back are two steps.

    Raises ValueError where the orbit has no `inv_x`.

    >>> from equitutor.orbits import so2
    >>> x = torch.rand(1, 1, 9, 9)
    >>> (round_trip(so2(8)).act_x(x, 1) - x).abs().max() > 0.1  # two interpolations blur noise
    tensor(True)
    """
    if orbit.inv_x is None:
        raise ValueError(f"orbit must have an inv_x that undoes its act_x, got {orbit.name!r}")
    there, back = orbit.act_x, orbit.inv_x
    stays = dict(act_y=leave, inv_y=leave, inv_x=leave)
    return replace(orbit, name=f"{orbit.name}, there and back",
                   act_x=lambda x, i: back(there(x, i), i), **stays)  # fmt: skip
