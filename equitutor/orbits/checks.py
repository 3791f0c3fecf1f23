"""From a measurement to an assertion: is f(rho_in(g) x) = rho_out(g) f(x)?"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from equitutor.orbits import batching
from equitutor.orbits.evaluate import _act, _device, as_found, chunks
from equitutor.orbits.orbit import Orbit


def equivariance_error(
    f: Callable[[Any], Tensor], x: Any, orbit: Orbit, batch: int = 256
) -> Tensor:
    """Returns |f(rho_in(g) x) - rho_out(g) f(x)|, its largest entry for each pair, (G, N).

    Args:
        f: module (run in eval mode, without gradient) or callable with tensor outputs.
        x: batch of N inputs.
        orbit: the elements; `orbit.act_y` says how outputs are to move.
        batch: pairs in a forward pass, >= 1.

    Raises ValueError where an output is no tensor with one row for each input, or not finite.

    >>> from equitutor.orbits import shifts
    >>> blur = lambda x: (x + x.roll(1, -1)) / 2
    >>> equivariance_error(blur, torch.rand(2, 1, 4, 4), shifts(4, 4, output="image")).max().item()
    0.0
    """
    return _errors(f, x, orbit, batch)[0]


def assert_equivariant(
    f: Callable[[Any], Tensor],
    x: Any,
    orbit: Orbit,
    atol: float = 1e-5,
    rtol: float = 1e-5,
    batch: int = 256,
) -> None:
    """Returns nothing; raises AssertionError where `f` is not equivariant on the orbits of `x`.

    Args:
        f, x, orbit, batch: as in `equivariance_error`.
        atol: allowed absolute error.
        rtol: allowed error relative to the largest |f(x)| in the batch.

    The message names the worst element and sample, so that it can be looked at.

    >>> from equitutor.orbits import shifts
    >>> assert_equivariant(lambda x: x.mean((1, 2, 3)), torch.rand(2, 1, 4, 4), shifts(4, 4))
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    for name, value in (("atol", atol), ("rtol", rtol)):
        if not value >= 0:  # NaN would let everything pass
            raise ValueError(f"{name} must be >= 0, got {value!r}")
    errors, scale = _errors(f, x, orbit, batch)
    bound = atol + rtol * scale
    worst = errors.max().item()
    if worst > bound:
        g, n = divmod(int(errors.argmax()), errors.shape[1])
        share = (errors > bound).double().mean().item()
        raise AssertionError(
            f"not equivariant under {orbit.name}: output off by {worst:.3g} (allowed {bound:.3g}) "
            f"at element {g} ({orbit.label(g)}), sample {n}; {share:.1%} of all pairs are off"
        )


def _errors(f, x, orbit: Orbit, batch: int) -> tuple[Tensor, float]:
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise ValueError(f"batch must be an int >= 1, got {batch!r}")
    n, device = batching.count(x, "x"), _device(f)
    errors, scale = torch.empty(len(orbit), n, dtype=torch.float64), 0.0
    with torch.no_grad(), as_found(f):
        for elements, first, last in chunks(len(orbit), n, batch):
            if elements.start == 0:  # a new block of samples
                inputs = batching.move(batching.take(x, first, last), device)
                still = f(inputs)
            moved = f(batching.join([_act(orbit, "act_x", inputs, g) for g in elements]))
            for name, value, size in (
                ("f(x)", still, last - first),
                ("f(g x)", moved, len(elements) * (last - first)),
            ):
                if not isinstance(value, Tensor) or value.ndim == 0 or len(value) != size:
                    found = tuple(value.shape) if isinstance(value, Tensor) else type(value)
                    raise ValueError(f"{name} must be a tensor with {size} rows, got {found}")
                if value.is_complex():
                    raise ValueError(f"{name} must be real, got {value.dtype}: use view_as_real")
                if not value.isfinite().all():
                    raise ValueError(f"{name} must be finite, got NaN or infinity")
            wanted = torch.cat([_act(orbit, "act_y", still, g) for g in elements])
            if wanted.shape != moved.shape:
                raise ValueError(
                    f"act_y of the orbit must move f(x) to the shape of f(g x), "
                    f"{tuple(moved.shape)}, got {tuple(wanted.shape)}"
                )
            error = (moved.double() - wanted.double()).abs().reshape(size, -1).amax(1).cpu()
            errors[elements.start : elements.stop, first:last] = error.view(len(elements), -1)
            scale = max(scale, still.double().abs().max().item())
    return errors, scale
