"""Results of the chapters that have no study yet: one file each, written by a full run.

A full run writes `book/results/<chapter>.json`, which is committed; a fast run writes the same to
`build/results/`, which is not. `equitutor.studies` is what takes its place, chapter by chapter.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from equitutor import runtime
from equitutor.chapters import BookError, find_root, write_text
from equitutor.chapters import book_file as recorded

__all__ = [
    "VERDICTS",
    "claim",
    "claims_markdown",
    "described",
    "grid",
    "judge",
    "load",
    "metric",
    "paired",
    "record",
    "recorded",
    "shown",
    "stamp",
    "table",
    "written_since",
]

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


def shown(entry: dict[str, Any], digits: int = 1) -> str:
    """Returns a metric in words: mean ± standard deviation, and unit.

    Yes-or-no outcomes, values of 0 and 100, are counted: their deviation tells nothing more.

    >>> shown(metric([97.0, 99.0], "%"))
    '98.0 ± 1.4 %'
    >>> shown(metric(-11.0, "°")), shown(metric(3e-7))
    ('−11.0°', '3.0e-07')
    >>> shown(metric([0.0, 100.0, 0.0], "%"))
    '1 of 3'
    """
    mean, std, values = entry["mean"], entry["std"], entry["values"]
    if set(values) == {0.0, 100.0}:
        return f"{values.count(100.0)} of {len(values)}"
    tiny = mean != 0 and abs(mean) < 10 ** (-digits - 1)
    form = f".{digits}e" if tiny else f".{digits}f"
    words = f"{mean:{form}}" + ("" if std is None else f" ± {std:{form}}")
    words = words.replace("-", "−", 1) if mean < 0 else words
    unit = {"x": "×"}.get(entry["unit"], entry["unit"])
    return words + (unit if unit in ("°", "×", "") else f" {unit}")


def grid(metrics: dict[str, dict[str, Any]], group: str, digits: int = 1, hide: Sequence[str] = ()):
    """Returns the metrics named `group/row/column` as one table for a notebook.

    Args:
        metrics: name -> entry made by `metric`.
        group: first part of the names to show.
        digits: digits after the point.
        hide: columns to leave out.

    >>> print(grid({"digits/plain/accuracy": metric(97.0, "%")}, "digits").data)
    | digits | accuracy (%) |
    |---|---|
    | plain | 97.0 |
    <BLANKLINE>
    One seed.

    A row with fewer seeds than the others is named below the table.
    """
    from IPython.display import Markdown

    mine = {tuple(k.split("/")[1:]): v for k, v in metrics.items() if k.startswith(f"{group}/")}
    mine = {key: entry for key, entry in mine.items() if key[1] not in hide}
    if not mine:
        return Markdown(f"No results on {group} are recorded.")
    rows, columns = (list(dict.fromkeys(key[part] for key in mine)) for part in (0, 1))
    units = {column: entry["unit"] for (_, column), entry in mine.items()}
    heads = [f"{column} ({units[column]})" if units[column] else column for column in columns]
    lines = [f"| {group} | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        entries = [mine.get((row, column)) for column in columns]
        cells = ["–" if e is None else shown({**e, "unit": ""}, digits) for e in entries]
        cells = [cell.replace(" ", "\N{NO-BREAK SPACE}") for cell in cells]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    seeds = {row: max(entry["n"] for key, entry in mine.items() if key[0] == row) for row in rows}
    most = max(seeds.values())
    below = f"Mean ± standard deviation over {most} seeds" if most > 1 else "One seed"
    fewer = [
        f"{row}: {'one run' if n == 1 else f'{n} runs'}" for row, n in seeds.items() if n < most
    ]
    lines.append(f"\n{'; '.join([below, *fewer])}.")
    return Markdown("\n".join(lines))


def record(
    chapter: str,
    metrics: dict[str, dict[str, Any]],
    claims: Sequence[dict[str, str]] = (),
    seeds: Sequence[int] = (),
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the record of this run, and writes it to the results file of the chapter.

    Args:
        chapter: name of the chapter's notebook, without ending.
        metrics: name -> entry made by `metric`.
        claims: entries made by `claim`; their metrics must be among `metrics`.
        seeds: seeds the run used.
        settings: sizes, steps, data sets: what a reader needs to repeat it.

    Where the book's folder is not at hand (the package alone is installed, as on Colab) nothing is
    written.

    Raises ValueError for an entry that was not made by `metric`, or a claim about no metric.

    >>> record("x", {"hits": 3})
    Traceback (most recent call last):
    ValueError: metrics['hits'] must come from ledger.metric, got 3
    """
    if not chapter or Path(chapter).name != chapter or chapter == "..":
        raise ValueError(f"chapter must be the bare name of a notebook, got {chapter!r}")
    for name, entry in metrics.items():
        if not isinstance(entry, dict) or not {"mean", "std", "n", "unit"} <= entry.keys():
            raise ValueError(f"metrics[{name!r}] must come from ledger.metric, got {entry!r}")
    for entry in claims:
        if entry["metric"] and entry["metric"] not in metrics:
            raise ValueError(f"claims name the metric {entry['metric']!r}, which is not measured")
    root = _root()
    result = {
        "chapter": chapter,
        "profile": runtime.profile(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seeds": list(seeds),
        "settings": settings or {},
        "metrics": metrics,
        "claims": list(claims),
        "environment": {"device": runtime.device_name()},
    }
    if root is not None:
        _write(_path(root, chapter, result["profile"]), result)
    return result


def stamp(chapter: str, profile: str, seconds: float, peak_mb: float) -> None:
    """Returns nothing; adds the seconds and the peak memory of a run to its results file.

    Raises BookError where the run recorded nothing.

    >>> stamp("no-such-chapter", "full", seconds=1.0, peak_mb=1.0)
    Traceback (most recent call last):
    equitutor.chapters.BookError: no-such-chapter recorded no results: ...
    """
    root = find_root()
    path = _path(root, chapter, profile)
    if not path.exists():
        raise BookError(f"{chapter} recorded no results: its notebook must call ledger.record")
    result = json.loads(path.read_text(encoding="utf-8"))
    _write(path, result | {"seconds": round(seconds, 1), "peak_mb": round(peak_mb)})


def written_since(moment: float, chapter: str, profile: str) -> bool:
    """Returns whether the results file of a chapter was written after a moment, in seconds.

    >>> written_since(0.0, "no-such-chapter", "full")
    False
    """
    path = _path(find_root(), chapter, profile)
    return path.exists() and path.stat().st_mtime >= moment


def load(chapter: str, profile: str = "full") -> dict[str, Any] | None:
    """Returns the recorded results of a chapter, or None where there are none.

    Args:
        chapter: name of the chapter's notebook, without ending.
        profile: "full" for the committed run, "fast" for the last one of this checkout.

    >>> load("no-such-chapter") is None
    True
    """
    if profile not in runtime.PROFILES:
        raise ValueError(f"profile must be one of {runtime.PROFILES}, got {profile!r}")
    root = _root()
    path = recorded(f"results/{chapter}.json") if profile == "full" else None
    if profile == "fast" and root is not None:
        path = _path(root, chapter, profile)
    if path is None or not path.exists():
        return None
    return json.loads(path.read_text(encoding="utf-8"))


def described(result: dict[str, Any]) -> str:
    """Returns one sentence on where and when a result was made.

    Args:
        result: what `record` or `load` returned.

    >>> run = {"profile": "full", "date": "2026-01-31", "seeds": [0, 1], "seconds": 90.0}
    >>> described(run | {"environment": {"device": "CPU"}})
    'run of 2026-01-31 on CPU, 2 min, seeds 0, 1'
    """
    minutes = f", {result['seconds'] / 60:.0f} min" if "seconds" in result else ""
    words = f"run of {result['date']} on {result['environment']['device']}"
    return f"{words}{minutes}, seeds {', '.join(map(str, result['seeds']))}"


def table(chapter: str, live: dict[str, Any] | None = None):
    """Returns the claims of a chapter as a table for a notebook: paper, ours here, ours recorded.

    Args:
        chapter: name of the chapter's notebook, without ending.
        live: the record of the run that is going on, as `record` returned it.

    >>> table("no-such-chapter").data
    'No run of this chapter is recorded here.'
    """
    from IPython.display import Markdown

    return Markdown(claims_markdown(chapter, live) or "No run of this chapter is recorded here.")


def claims_markdown(chapter: str, live: dict[str, Any] | None = None) -> str | None:
    """Returns the claims table of a chapter as Markdown, or None where no run is recorded.

    Verdict and reason are the full run's where there is one, else the fast run's.

    >>> claims_markdown("no-such-chapter") is None
    True
    """
    full = load(chapter, "full")
    fast = load(chapter, "fast")
    if live is not None:
        full, fast = (live, fast) if live["profile"] == "full" else (full, live)
    runs = {"fast": fast, "full": full}
    judge = full or fast
    if judge is None:
        return None
    lines = ["| claim | verdict | paper | ours, here | ours, recorded | why |", "|---" * 6 + "|"]
    for entry in judge["claims"]:
        ours = [_ours(run, entry["claim"]) for run in runs.values()]
        cells = [entry["claim"], f"**{entry['verdict']}**", entry["paper"], *ours, entry["why"]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    for name, run in zip(("here", "recorded"), runs.values(), strict=True):
        lines.append("" if run else f"\nOurs, {name}: no run.")
        lines.append(f"Ours, {name}: {described(run)}." if run else "")
    return "\n".join(lines) + "\n"


def _ours(run: dict[str, Any] | None, text: str) -> str:
    """Returns what a run says of a claim, with the data it was measured on; a dash for nothing.

    Profiles use different data, so each run looks up the metric under its own name.
    """
    mine = [entry for entry in run["claims"] if entry["claim"] == text] if run else []
    name = mine[0]["metric"] if mine else ""
    if name not in (run or {"metrics": ()})["metrics"]:
        return "–"
    group, slash, _ = name.partition("/")
    words, n = shown(run["metrics"][name]), run["metrics"][name]["n"]
    parts = [words + ",", f"n = {n}"] if n > 1 and " of " not in words else [words]
    parts = [part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts]  # lines break between them
    return " ".join(parts) + (f" ({group})" if slash else "")


def _root() -> Path | None:
    try:
        return find_root()
    except BookError:
        return None


def _path(root: Path, chapter: str, profile: str) -> Path:
    folder = "book/results" if profile == "full" else "build/results"
    return root / folder / f"{chapter}.json"


def _write(path: Path, result: dict[str, Any]) -> None:
    write_text(path, json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
