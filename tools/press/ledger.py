"""What an earlier run of a chapter found, kept until the chapter's study is complete.

One file a chapter, `book/results/<chapter>.json`. It is only read: runs are recorded by
`equitutor.studies`.
"""

import json
from pathlib import Path
from typing import Any


def load(root: Path, chapter: str) -> dict[str, Any] | None:
    """Returns what an earlier run of a chapter found, or None where there was none.

    Args:
        root: folder of the book.
        chapter: name of the chapter's notebook, without ending.

    >>> load(Path("."), "no-such-chapter") is None
    True
    """
    path = root / "book/results" / f"{chapter}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def claims_markdown(run: dict[str, Any]) -> str:
    """Returns the claims of a run as a Markdown table, and where and when it was made.

    Args:
        run: what `load` returned.

    >>> entry = {"mean": 97.0, "std": None, "n": 1, "unit": "%", "values": [97.0]}
    >>> claim = {"claim": "It works.", "verdict": "holds", "paper": "100 %", "metric": "hits",
    ...          "why": "Same setting."}
    >>> made = {"date": "2026-01-31", "seeds": [0], "environment": {"device": "CPU"}}
    >>> print(claims_markdown(made | {"metrics": {"hits": entry}, "claims": [claim]}))
    | claim | verdict | paper | ours | why |
    |---|---|---|---|---|
    | It works. | **holds** | 100 % | 97.0\N{NO-BREAK SPACE}% | Same setting. |
    <BLANKLINE>
    Run of 2026-01-31 on CPU, seeds 0.
    <BLANKLINE>
    """
    lines = ["| claim | verdict | paper | ours | why |", "|---" * 5 + "|"]
    for entry in run["claims"]:
        cells = [entry["claim"], f"**{entry['verdict']}**", entry["paper"],
                 _ours(run["metrics"], entry["metric"]), entry["why"]]  # fmt: skip
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    minutes = f", {run['seconds'] / 60:.0f} min" if "seconds" in run else ""
    where = f"Run of {run['date']} on {run['environment']['device']}{minutes}"
    return "\n".join([*lines, "", f"{where}, seeds {', '.join(map(str, run['seeds']))}.", ""])


def shown(entry: dict[str, Any], digits: int = 1) -> str:
    """Returns a metric in words: mean ± standard deviation, and unit.

    Args:
        entry: mean, std (None for one value), values and unit.
        digits: digits after the point.

    Yes-or-no outcomes, values of 0 and 100, are counted: their deviation tells nothing more.

    >>> shown({"mean": -11.0, "std": None, "values": [-11.0], "unit": "°"})
    '−11.0°'
    >>> shown({"mean": 100 / 3, "std": 57.7, "values": [0.0, 100.0, 0.0], "unit": "%"})
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


def _ours(metrics: dict[str, dict[str, Any]], name: str) -> str:
    """Returns a metric in words, with the data it was measured on; a dash for none."""
    if name not in metrics:
        return "–"
    group, slash, _ = name.partition("/")
    words, n = shown(metrics[name]), metrics[name]["n"]
    parts = [words + ",", f"n = {n}"] if n > 1 and " of " not in words else [words]
    parts = [part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts]  # lines break between them
    return " ".join(parts) + (f" ({group})" if slash else "")
