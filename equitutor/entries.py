"""What a results file holds: metrics, and claims with the verdict that the metrics support.

A part of :mod:`equitutor.ledger`; chapters use the functions by their names there.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["VERDICTS", "claim", "judge", "metric", "paired"]

VERDICTS = ("holds", "holds in part", "does not hold", "not tested")


def metric(values: float | Sequence[float], unit: str = "") -> dict[str, Any]:
    """Returns mean, standard deviation, number and unit of repeated measurements.

    Args:
        values: one number, or one for each seed; a tensor or array of these will do. All finite.
        unit: unit in words or signs, "" for a pure number.

    The standard deviation is that of the sample (n - 1), and None for a single value.

    >>> metric([97.0, 99.0], "%")["mean"], metric([97.0, 99.0])["n"]
    (98.0, 2)
    """
    if hasattr(values, "tolist"):  # a tensor or an array, which may hold a single number
        values = values.tolist()
    if isinstance(values, str):
        raise ValueError(f"values must be numbers, got the text {values!r}")
    values = [float(v) for v in (values if isinstance(values, Iterable) else [values])]
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"values must be finite numbers, at least one, got {values}")
    mean = math.fsum(values) / len(values)
    spread = None
    if len(values) > 1:
        spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return {"mean": mean, "std": spread, "n": len(values), "unit": unit, "values": values}


def paired(a: dict[str, Any], b: dict[str, Any], unit: str = "points") -> dict[str, Any]:
    """Returns the metric a - b, taken seed by seed, so that what the seeds share cancels.

    Args:
        a, b: entries made by `metric` from the same seeds in the same order.
        unit: unit of the difference.

    Raises ValueError where the two have different numbers of values.

    >>> paired(metric([90.0, 92.0]), metric([80.0, 82.0]))["std"]
    0.0
    """
    if a["n"] != b["n"]:
        raise ValueError(f"a and b must come from the same seeds, got {a['n']} and {b['n']} values")
    return metric([u - v for u, v in zip(a["values"], b["values"], strict=True)], unit)


def claim(text: str, paper: str, ours: str, verdict: str, why: str) -> dict[str, str]:
    """Returns one line of the claims table.

    Args:
        text: the claim in one sentence.
        paper: the paper's figure and setting.
        ours: name of the metric that answers it, or "" where none does.
        verdict: one of `VERDICTS`; compute it from the numbers, do not type it.
        why: what explains the difference, or what is missing.

    >>> claim("It works.", "100 %", "accuracy", "holds", "Same setting.")["verdict"]
    'holds'
    """
    if verdict not in VERDICTS:
        raise ValueError(f"verdict must be one of {VERDICTS}, got {verdict!r}")
    return {"claim": text, "paper": paper, "metric": ours, "verdict": verdict, "why": why}


def judge(
    text: str,
    paper: str,
    name: str,
    metrics: dict[str, dict[str, Any]],
    why: str,
    holds: Callable[[float], bool] | None = None,
    partly: Callable[[float], bool] | None = None,
) -> dict[str, str]:
    """Returns one line of the claims table, with the verdict that the measured values support.

    Args:
        text, paper, why: as in `claim`.
        name: name of the metric that answers it; where `metrics` lacks it, nothing was tested.
        metrics: name -> entry made by `metric`.
        holds: the claim holds if this is true of the value of every seed.
        partly: else it holds in part if this is true of the mean.

    Raises ValueError where the metric is there and no rule is given.

    >>> judge("It works.", "100 %", "hits", {"hits": metric([100, 98])}, "Same setting.",
    ...       holds=lambda v: v == 100, partly=lambda mean: mean > 95)["verdict"]
    'holds in part'
    """
    if name not in metrics:
        return claim(text, paper, "", "not tested", why)
    if holds is None:
        raise ValueError(f"holds must be a rule for the metric {name!r}, got None")
    if all(map(holds, metrics[name]["values"])):
        verdict = "holds"
    elif partly is not None and partly(metrics[name]["mean"]):
        verdict = "holds in part"
    else:
        verdict = "does not hold"
    return claim(text, paper, name, verdict, why)
