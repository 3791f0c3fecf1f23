"""Interleaved timing: rivals take turns, so that a busy moment hits all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def compare(rivals: Mapping[str, Callable[[], object]], repeats: int = 9) -> dict[str, float]:
    """Return the median milliseconds of processor time of each call, after a warm-up call."""
    for call in rivals.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(repeats):
        for name, call in rivals.items():
            start = time.process_time()
            call()
            times[name].append(1000 * (time.process_time() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a title and an aligned table; numbers get three digits."""
    cells = [[f"{c:.3g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    print(f"\n{title}")
    for row in (head, *cells):
        line = [row[0].ljust(widths[0])]
        print("  ".join(line + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]))
