"""Means with intervals, differences of paired runs, and the verdict on each claim."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equitutor.studies.study import Claim, Estimate, Rule, Study

__all__ = [
    "Verdict",
    "above",
    "below",
    "estimate",
    "every",
    "paired",
    "shown",
    "table",
    "verdicts",
    "within",
]


class MissingRuns(ValueError):
    """A mean or a difference needs runs that are not recorded."""


def estimate(values: Sequence[float]) -> Estimate:
    """Returns the mean of values, one a run, with its 95 % interval by Student's t.

    Args:
        values: finite numbers, at least one.

    Raises MissingRuns where there is none, or one is NaN: not recorded; ValueError for any other
    value.

    >>> e = estimate([97.0, 98.0, 99.0])
    >>> e.mean, round(e.low, 2), round(e.high, 2)
    (98.0, 95.52, 100.48)
    """
    from scipy import stats

    values = np.asarray(values, dtype=float)
    if not values.size:
        raise MissingRuns("there is none to average")
    if values.ndim == 1 and np.isnan(values).any():
        raise MissingRuns(f"{np.isnan(values).sum()} of {len(values)} lack this value")
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"values must be finite numbers, at least one, got {values.tolist()}")
    mean = float(values.mean())
    if len(values) == 1:
        return Estimate((mean,), mean, -np.inf, np.inf)
    if np.ptp(values) == 0:  # the interval of equal values is a point
        return Estimate(tuple(values.tolist()), mean, mean, mean)
    low, high = stats.t.interval(0.95, len(values) - 1, mean, stats.sem(values))
    return Estimate(tuple(values.tolist()), mean, float(low), float(high))


def paired(a, b, metric: str, on: str = "seed") -> Estimate:
    """Returns the mean of a - b over the runs that share a value of `on`, and its interval.

    What the two runs of a pair share (data, order of batches) cancels.

    Args:
        a, b: tables of runs, as `load` returns them, each with one row for each value of `on`.
        metric: the column to compare.
        on: the column that pairs them.

    Raises MissingRuns where a pair is incomplete, ValueError where a run has several partners.

    >>> import pandas as pd
    >>> a = pd.DataFrame({"seed": [0, 1], "accuracy": [90.0, 92.0]})
    >>> b = pd.DataFrame({"seed": [1, 0], "accuracy": [82.0, 80.0]})
    >>> paired(a, b, "accuracy").values
    (10.0, 10.0)
    """
    for runs in (a, b):
        if not {metric, on} <= {*runs.columns}:
            raise ValueError(
                f"a and b must have the columns {metric!r} and {on!r}, not {sorted(runs)}"
            )
    left, right = a.set_index(on)[metric].sort_index(), b.set_index(on)[metric].sort_index()
    if not (left.index.is_unique and right.index.is_unique):
        raise ValueError(f"a and b must have one run for each {on}, got several")
    if not len(left) or not left.index.equals(right.index):
        raise MissingRuns(
            f"both networks need runs of the same {on}, there are {len(left)} and {len(right)}"
        )
    return estimate((left - right).tolist())


def above(threshold: float, unit: str = "") -> Rule:
    """Returns the rule "holds if the whole interval lies above a threshold".

    >>> above(0).judge(estimate([1.0, 2.0, 3.0])), above(0).judge(estimate([5.0]))
    ('undecided', 'undecided')
    """

    def judge(e: Estimate) -> str:
        if e.low > threshold:
            return "holds"
        return "does not hold" if e.high <= threshold else "undecided"

    return Rule(
        f"holds if the 95 % interval of the mean lies above {threshold:g}{unit}, does not hold if "
        "it lies below, else undecided",
        judge,
    )


def below(threshold: float, unit: str = "") -> Rule:
    """Returns the rule "holds if the whole interval lies below a threshold".

    >>> below(0).judge(estimate([-2.0, -3.0, -4.0])), below(0).judge(estimate([-5.0]))
    ('holds', 'undecided')
    """

    def judge(e: Estimate) -> str:
        if e.high < threshold:
            return "holds"
        return "does not hold" if e.low >= threshold else "undecided"

    return Rule(
        f"holds if the 95 % interval of the mean lies below {threshold:g}{unit}, does not hold if "
        "it lies above, else undecided",
        judge,
    )


def within(low: float, high: float, unit: str = "") -> Rule:
    """Returns the rule "holds if the whole interval lies inside of a range".

    >>> within(10, 30).judge(estimate([19.0, 20.0, 21.0]))
    'holds'
    """

    def judge(e: Estimate) -> str:
        if low <= e.low and e.high <= high:
            return "holds"
        return "does not hold" if e.high < low or e.low > high else "undecided"

    return Rule(
        f"holds if the 95 % interval of the mean lies inside {low:g} to {high:g}{unit}, does not "
        "hold if it lies outside, else undecided",
        judge,
    )


def every(value: float, nearly: float, unit: str = "") -> Rule:
    """Returns the rule "holds if every run gives exactly this value, in part if nearly".

    >>> rule = every(100, nearly=99)
    >>> rule.judge(estimate([100, 100])), rule.judge(estimate([100, 99.5]))
    ('holds', 'holds in part')
    """

    def judge(e: Estimate) -> str:
        if set(e.values) == {value}:
            return "holds"
        return "holds in part" if min(e.values) >= nearly else "does not hold"

    return Rule(
        f"holds if every run gives {value:g}{unit}, holds in part if every run gives at least "
        f"{nearly:g}{unit}",
        judge,
        ("holds", "holds in part", "does not hold"),
    )


@dataclass(frozen=True)
class Verdict:
    """A claim with what was measured (None where there are no runs) and the reason that fits."""

    claim: Claim
    verdict: str
    reason: str
    estimate: Estimate | None
    size: str


def verdicts(study: Study, runs, size: str) -> list[Verdict]:
    """Returns the verdict on each claim of a study, by the rules written down in it.

    Args:
        study: the study.
        runs: table of its records, as `load` returns it.
        size: the size to judge by; a verdict never mixes sizes.

    A claim whose runs are missing is "not tested".

    >>> from equitutor.studies import find, load
    >>> study, _ = find("polyphase-vit")
    >>> {v.verdict for v in verdicts(study, load("polyphase-vit", results="nowhere"), "cpu")}
    {'not tested'}
    """
    mine = runs[runs["size"] == size]
    found = []
    for claim in study.claims:
        if claim.measure is None or mine.empty:
            reason = claim.reasons.get("not tested", f"No runs of size {size} are recorded.")
            found.append(Verdict(claim, "not tested", reason, None, size))
            continue
        try:
            measured = claim.measure(mine)
        except MissingRuns as missing:
            reason = f"Runs of size {size} are missing: {missing}."
            found.append(Verdict(claim, "not tested", reason, None, size))
            continue
        verdict = claim.rule.judge(measured)
        reason = claim.reasons[verdict]
        if verdict == "undecided" and len(measured.values) == 1:
            reason = "One run tells nothing of others: more seeds are needed."
        found.append(Verdict(claim, verdict, reason, measured, size))
    return found


def shown(e: Estimate, unit: str = "", digits: int = 1) -> str:
    """Returns an estimate in words: mean ± half of its 95 % interval, and unit.

    >>> shown(estimate([97.0, 98.0, 99.0]), "%"), shown(estimate([-3e-7]))
    ('98.0 ± 2.5 %', '−3.0e-07')
    """
    tiny = e.mean != 0 and abs(e.mean) < 10 ** (-digits - 1)
    form = f".{digits}e" if tiny else f".{digits}f"
    words = f"{e.mean:{form}}".replace("-", "\N{MINUS SIGN}", 1 if e.mean < 0 else 0)
    words += f" ± {e.half:{form}}" if np.isfinite(e.half) else ""
    return words + (f" {unit}" if unit else "")


def table(runs, rows: str, columns: Sequence[str], units=None, digits: int = 1):
    """Returns a table for a page: for each row and metric the mean ± half of its 95 % interval.

    Args:
        runs: table of records, as `load` returns it; every run of a row is averaged, so choose
            one size and one data set before.
        rows: column that names the rows, in the order of the records.
        columns: metrics to show.
        units: metric -> unit, as a study declares them.
        digits: digits after the point.

    A value that some run of a row lacks is shown as a dash. Raises ValueError for a column that
    is not there.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"network": ["a", "a"], "accuracy": [97.0, 99.0]})
    >>> table(runs, "network", ["accuracy"], {"accuracy": "%"}).iloc[0, 0]
    '98.0 ± 12.7'
    """
    import pandas as pd

    if lacking := [c for c in (rows, *columns) if c not in runs]:
        raise ValueError(f"rows and columns must be among {list(runs)}, got {lacking}")
    units = units or {}

    def cell(values: list[float]) -> str:
        try:
            return shown(estimate(values), digits=digits)
        except MissingRuns:
            return "–"

    cells = {}
    for name, mine in runs.groupby(rows, sort=False, dropna=False):
        cells[name] = [cell(mine[c].tolist()) for c in columns]
    heads = [c.replace("_", " ") + (f" ({units[c]})" if units.get(c) else "") for c in columns]
    return pd.DataFrame.from_dict(cells, orient="index", columns=heads).rename_axis(rows)
