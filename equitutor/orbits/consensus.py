"""What the model would answer if its answers along an orbit agreed with one another."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from equitutor.orbits.orbit import leave
from equitutor.orbits.result import OrbitResult
from equitutor.runtime import uncast, widest, working


def untransformed(result: OrbitResult) -> Tensor:
    """Returns u_g = rho_out(g)^-1 f(rho_in(g) x), the outputs brought back to x, (G, N, ...).

    Raises ValueError where the result was made without keep_outputs=True or without tensors or
    arrays, or where its orbit moves outputs by an act_y and has no inv_y to bring them back.
    """
    outputs, orbit = result.outputs, result.orbit
    if isinstance(outputs, np.ndarray) and outputs.dtype.kind in "biufc":
        outputs = torch.from_numpy(outputs)
    if not isinstance(outputs, Tensor):
        raise ValueError(
            "result must hold outputs that are tensors: call evaluate(..., keep_outputs=True) with "
            f"a model that returns one tensor, got {type(outputs).__name__}"
        )
    if orbit.act_y is not leave and orbit.inv_y is leave:  # the default of Orbit leaves outputs
        raise ValueError(
            f"result must come from an orbit whose inv_y undoes its act_y: {orbit.name!r} has an "
            "act_y only; make it with orbits.finite, or as Orbit(..., act_y=..., inv_y=...)"
        )
    return torch.stack([orbit.inv_y(u, g) for g, u in enumerate(outputs)])


def consensus(result: OrbitResult, kind: str = "mean") -> Tensor:
    """Returns the model's answer averaged over the orbit, one for each sample, (N, ...).

    Args:
        result: from `evaluate(..., keep_outputs=True)`.
        kind: "mean" of the outputs; "probability", mean of the softmax of logits; "vote", the
            class with the largest weight of votes, int64 (N,).

    For a finite group with equal weights the mean is the group average of the model, which is
    exactly equivariant. Class indices are never averaged: that would have no meaning.

    Source: consensus of NERO (Zhao et al. 2023).

    >>> from equitutor.orbits import evaluate, shifts
    >>> x, y = torch.eye(4).view(4, 1, 1, 4), torch.arange(4)
    >>> result = evaluate(lambda x: x[:, 0, 0], x, y, shifts(1, 4), keep_outputs=True)
    >>> consensus(result)[0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    u = untransformed(result)
    if not u.is_floating_point():
        raise ValueError(f"result must hold floating point outputs, got {u.dtype}: never average "
                         f"class indices, let the model return logits")  # fmt: skip
    # In half precision the weights themselves would be rounded, and autocast would round the mean.
    stored, u = u.dtype, u.to(working(u.dtype))
    weights = result.orbit.weights_in(u.dtype, u.device)
    if kind in ("probability", "vote") and u.ndim != 3:
        raise ValueError(f"kind {kind!r} needs logits (G, N, K), got outputs {tuple(u.shape)}")
    if kind == "mean":
        return _mean(weights, u).to(stored)
    if kind == "probability":
        return _mean(weights, u.softmax(-1)).to(stored)
    if kind == "vote":
        if u.isnan().any():  # argmax would take it for the largest
            raise ValueError("result must hold logits without NaN to vote")
        return _mean(weights, one_hot(u.argmax(-1), u.shape[-1]).to(weights)).argmax(-1)
    raise ValueError(f"kind must be 'mean', 'probability' or 'vote', got {kind!r}")


def _mean(weights: Tensor, u: Tensor) -> Tensor:
    with uncast(u.device):
        return torch.tensordot(weights, u, 1)


class Decomposition(NamedTuple):
    """Mean squared error along the orbit, and its two parts, for each sample (N,)."""

    error: Tensor
    symmetrized_error: Tensor
    equivariance_variance: Tensor


def variance_decomposition(result: OrbitResult, y: Tensor) -> Decomposition:
    """Returns mean |u_g - y|^2 = |mean u - y|^2 + variance of u over the orbit, (N,) each.

    The first part is the error of the symmetrized model, the second is all that consensus can see
    without labels. It holds where rho_out(g) preserves lengths.

    Args:
        result: from `evaluate(..., keep_outputs=True)`.
        y: targets (N, ...) of the samples as they are, shaped like the outputs.

    >>> from equitutor.orbits import evaluate, shifts
    >>> x = torch.rand(3, 1, 1, 4)
    >>> result = evaluate(lambda x: x[:, 0, 0, 0], x, torch.zeros(3), shifts(1, 4),
    ...                   "squared_error", keep_outputs=True)
    >>> parts = variance_decomposition(result, torch.zeros(3))
    >>> torch.allclose(parts.error, parts.symmetrized_error + parts.equivariance_variance)
    True
    """
    u = untransformed(result)
    u = u.to(widest(u.device))
    y = torch.as_tensor(y).to(u)
    if y.shape != u.shape[1:]:
        raise ValueError(f"y must have shape {tuple(u.shape[1:])}, got {tuple(y.shape)}")
    weights = result.orbit.weights_in(u.dtype, u.device)
    mean = _mean(weights, u)
    square = lambda d: d.square().flatten(1).sum(1) if d.ndim > 1 else d.square()
    over_orbit = lambda d: torch.stack([square(row) for row in d])
    return Decomposition(
        error=_mean(weights, over_orbit(u - y)),
        symmetrized_error=square(mean - y),
        equivariance_variance=_mean(weights, over_orbit(u - mean)),
    )
