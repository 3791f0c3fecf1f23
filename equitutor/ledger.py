"""The book's ledger: what was measured, by which code, where, and what it says of a claim.

A full run writes `book/results/<chapter>.json`, which is committed; a fast run writes the same to
`build/results/`, which is not. Pages read their numbers from these files.
"""

import json
import sysconfig
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from equitutor import provenance, runtime
from equitutor.chapters import BookError, find_root, write_text
from equitutor.entries import VERDICTS, claim, judge, metric, paired
from equitutor.tables import grid, shown

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
]


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
    notebook = root / "book" / f"{chapter}.ipynb" if root else None
    result = {
        "chapter": chapter,
        "profile": runtime.profile(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seeds": list(seeds),
        "settings": settings or {},
        "metrics": metrics,
        "claims": list(claims),
        "environment": provenance.environment(),
        "code": _code_hash(notebook),
    }
    if root is not None:
        _write(_path(root, chapter, result["profile"]), result)
    return result


def _code_hash(notebook: Path | None) -> str | None:
    """Returns the hash of the code that measures.

    Pictures, pages, and the cells tagged figure, demo or exercise feed no recorded number, so they
    age no result. Where a data file came from does not either: its checksum pins what is in it.
    """
    if notebook is None or not notebook.exists():
        return None
    drawing = "explorers nero figures ledger chapters provenance source press"
    fetching = "data.cache data.registry data.cli data.errors"
    without = [f"equitutor.{name}" for name in f"{drawing} {fetching}".split()]
    return provenance.reached_hash(notebook, without, skip=("figure", "demo", "exercise"))


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


def load(chapter: str, profile: str = "full") -> dict[str, Any] | None:
    """Returns the recorded results of a chapter, or None where there are none.

    The entry "stale" says whether the code has changed since the run.

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
    result = json.loads(path.read_text(encoding="utf-8"))
    notebook = root / "book" / f"{chapter}.ipynb" if root else None
    now = _code_hash(notebook)
    return result | {"stale": None not in (now, result["code"]) and now != result["code"]}


def recorded(name: str) -> Path | None:
    """Returns the path of a recorded file of the book, or None where it is not at hand.

    Args:
        name: path below `book/`, such as "results/x.json" or "checkpoints/x.safetensors".

    Looks in the checkout, else among the files that come with an installed package.

    >>> recorded("results/no-such-chapter.json") is None
    True
    """
    root = _root()
    installed = Path(sysconfig.get_path("data"), "share", "equitutor")
    path = (root / "book" if root else installed) / name
    return path if path.exists() else None


def described(result: dict[str, Any]) -> str:
    """Returns one sentence on where and when a result was made, and whether it is stale.

    Args:
        result: what `record` or `load` returned.

    >>> run = {"profile": "full", "date": "2026-01-31", "seeds": [0, 1], "seconds": 90.0}
    >>> described(run | {"environment": {"device": "CPU"}})
    'full run of 2026-01-31 on CPU, 2 min, seeds 0, 1'
    """
    minutes = f", {result['seconds'] / 60:.0f} min" if "seconds" in result else ""
    words = f"{result['profile']} run of {result['date']} on {result['environment']['device']}"
    stale = "; **stale**: the code has changed since" if result.get("stale") else ""
    return f"{words}{minutes}, seeds {', '.join(map(str, result['seeds']))}{stale}"


def table(chapter: str, live: dict[str, Any] | None = None):
    """Returns the claims of a chapter as a table for a notebook: paper, ours fast, ours full.

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
    lines = ["| claim | verdict | paper | ours, fast | ours, full | why |", "|---" * 6 + "|"]
    for entry in judge["claims"]:
        ours = [_ours(run, entry["claim"]) for run in runs.values()]
        cells = [entry["claim"], f"**{entry['verdict']}**", entry["paper"], *ours, entry["why"]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    for name, run in runs.items():
        lines.append("" if run else f"\nOurs, {name}: no run recorded.")
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
