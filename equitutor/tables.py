"""Metrics in words and in tables, as pages show them."""

from collections.abc import Sequence
from typing import Any


def shown(entry: dict[str, Any], digits: int = 1) -> str:
    """Returns a metric in words: mean ± standard deviation, and unit.

    Yes-or-no outcomes, values of 0 and 100, are counted: their deviation tells nothing more.

    >>> from equitutor.ledger import metric
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

    >>> from equitutor.ledger import metric
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
