"""What the pages of the book print of a study: its verdicts, and where its records come from."""

from equitutor.studies import records
from equitutor.studies.study import SIZES, find
from equitutor.studies.verdicts import shown, verdicts

__all__ = ["claims_markdown", "largest", "origin"]


def largest(runs) -> str | None:
    """Returns the largest size of which there are runs, or None where there are none.

    Args:
        runs: table of records, as `load` returns it.

    >>> import pandas as pd
    >>> largest(pd.DataFrame({"size": ["smoke", "cpu"]}))
    'cpu'
    """
    there = set(runs["size"])
    return next((size for size in reversed(SIZES) if size in there), None)


def origin(study: str, runs, size: str) -> str:
    """Returns in a few sentences where the runs of a size come from, and what is stale or missing.

    Args:
        study: name of the study.
        runs: table of its records, as `load` returns it.
        size: name of a size.

    >>> origin("polyphase-vit", records.load("polyphase-vit", results="nowhere"), "cpu")
    'Size `cpu`: none of 48 runs is recorded.'
    """
    mine = runs[runs["size"] == size]
    planned = find(study)[0].planned(size)
    if mine.empty:
        return f"Size `{size}`: none of {len(planned)} runs is recorded."
    hours = mine["seconds"].sum() / 3600
    words = [
        f"Size `{size}`: {len(mine)} of {len(planned)} runs are recorded, "
        f"{_span(mine['date'])}, on {', '.join(sorted(set(mine['device'])))}; "
        f"{hours:.1f} hours of one worker."
    ]
    for names, part in mine[mine["stale"] != ""].groupby("stale"):
        changed = ", ".join(f"`{name}`" for name in names.split(", "))
        words.append(f"**Stale**: {len(part)} runs, {changed} changed since.")
    return " ".join(words)


def _span(dates) -> str:
    first, last = min(dates), max(dates)
    return first if first == last else f"{first} to {last}"


def claims_markdown(study: str, size: str | None = None, results=None) -> str:
    """Returns the verdicts of a study as a Markdown table, with the reason for each.

    Args:
        study: name of the study.
        size: the size to judge by; default the largest recorded one.
        results: folder of results, if it is not that of the book.

    >>> claims_markdown("polyphase-vit", results="nowhere")
    'No run of this study is recorded yet.'
    """
    declared, _ = find(study)
    runs = records.load(study, results=results)
    size = size or largest(runs)
    if size is None:
        return "No run of this study is recorded yet."
    lines = ["| claim | verdict | ours | paper | why |", "|---|---|---|---|---|"]
    for found in verdicts(declared, runs, size):
        ours = "–"
        if found.estimate is not None:
            value = shown(found.estimate, found.claim.unit, digits=2).replace(
                " ", "\N{NO-BREAK SPACE}"
            )
            ours = f"{value}, n = {len(found.estimate.values)}"
        cells = [found.claim.text, f"**{found.verdict}**", ours, found.claim.paper, found.reason]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, "", origin(study, runs, size)])
