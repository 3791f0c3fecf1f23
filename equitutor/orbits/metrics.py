"""Scores of one prediction at a time. A metric is any function (output, target) -> (B,)."""

from collections.abc import Callable

import torch
from torch import Tensor

from equitutor.runtime import working

Metric = Callable[..., Tensor]


def correct(logits: Tensor, y: Tensor) -> Tensor:
    """Returns 1.0 where the largest logit is that of the class `y`, else 0.0, (B,).

    Of several largest ones the first counts, as in `torch.argmax`. NaN where a logit is NaN: argmax
    would take it for the largest.

    >>> correct(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1]))
    tensor([1., 0.])
    """
    logits, y = _classes(logits, y)
    return (logits.argmax(-1) == y).float().masked_fill(logits.isnan().any(-1), torch.nan)


def confidence(logits: Tensor, y: Tensor) -> Tensor:
    """Returns the softmax probability of the class `y`, (B,).

    Raises ValueError for what has gone through a softmax already: a second one would flatten it.

    >>> confidence(torch.zeros(1, 4), torch.tensor([2]))
    tensor([0.2500])
    """
    logits, y = _classes(logits, y)
    rough = 2e-2 if logits.dtype.itemsize < 4 else 1e-5
    logits = logits.to(working(logits.dtype))
    if (logits >= 0).all() and ((logits.sum(-1) - 1).abs() <= rough).all() and len(logits.T) > 1:
        raise ValueError(
            "logits must not be probabilities already, but all are >= 0 and each row sums to one: "
            "return logits, or score with lambda p, y: p.gather(1, y[:, None])[:, 0]"
        )
    return logits.softmax(-1).gather(-1, y[:, None])[:, 0]


def squared_error(output: Tensor, y: Tensor) -> Tensor:
    """Returns the mean squared difference of each sample, (B,). Smaller is better.

    >>> squared_error(torch.zeros(2, 3), torch.ones(2, 3))
    tensor([1., 1.])
    """
    output, y = torch.as_tensor(output), torch.as_tensor(y)
    if output.shape != y.shape:  # broadcast, they would give numbers that mean nothing
        raise ValueError(
            f"output and y must have equal shapes, got {tuple(output.shape)} and {tuple(y.shape)}"
        )
    if output.is_complex() or y.is_complex():
        raise ValueError(f"output and y must be real, got {output.dtype} and {y.dtype}")
    # In half precision the squares would overflow, and small whole numbers would wrap.
    output, y = output.to(working(output.dtype)), y.to(working(y.dtype))
    return (output - y).square().flatten(1).mean(1) if output.ndim > 1 else (output - y).square()


def _classes(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    for name, value in (("logits", logits), ("y", y)):
        if isinstance(value, tuple | dict):
            raise ValueError(
                f"{name} must be one tensor, got a {type(value).__name__}: hand over the one that "
                f"is meant, as lambda output, y: metrics.correct(output[0], y)"
            )
    logits, y = torch.as_tensor(logits), torch.as_tensor(y)
    if logits.ndim != 2 or y.shape != logits.shape[:1] or y.is_floating_point():
        raise ValueError(
            f"logits must be (B, K) and y integers (B,), got {tuple(logits.shape)} and "
            f"{y.dtype} {tuple(y.shape)}"
        )
    if (y < 0).any() or (y >= logits.shape[1]).any():
        raise ValueError(
            f"y must lie in 0 ... {logits.shape[1] - 1}, got {y.min().item()} ... {y.max().item()}"
        )
    return logits, y.long()


NAMED: dict[str, Metric] = {
    "correct": correct,
    "confidence": confidence,
    "squared_error": squared_error,
}
SMALLER_IS_BETTER = {squared_error}


def named(metric: str | Metric) -> Metric:
    """Returns the metric of that name, or `metric` itself if it is callable.

    Raises ValueError for an unknown name.

    >>> named("correct") is correct
    True
    """
    if callable(metric):
        return metric
    if metric not in NAMED:
        raise ValueError(f"metric must be callable or one of {sorted(NAMED)}, got {metric!r}")
    return NAMED[metric]


def name_of(metric: str | Metric) -> str:
    """Returns what a metric is called, for titles: what it is, its name does not say.

    >>> name_of("correct"), name_of(lambda output, y: output)
    ('correct', '<lambda>')
    """
    return metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")


def known(meta: dict) -> Metric | None:
    """Returns the metric of this module that made a result, from `OrbitResult.meta`, or None.

    The function that scored decides; its name does only where a result was made by hand.

    >>> def confidence(output, y): ...
    >>> known({"metric": "confidence", "function": confidence}) is None
    True
    """
    metric = meta.get("function", NAMED.get(meta.get("metric")))
    return metric if metric in NAMED.values() else None
