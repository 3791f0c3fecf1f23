"""Interleaved timing: rivals take turns, so that a busy moment hits all of them."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

TURN = 0.02  # seconds


def compare(rivals: Mapping[str, Callable[[], object]], repeats: int = 9) -> dict[str, float]:
    """Return the median milliseconds of processor time of each call.

    A turn repeats its call for at least `TURN` seconds. So a quick call finds its own data in the
    cache, as in a network, where the layer before has just written them; with a single call for a
    turn it would be timed on what a rival with larger maps left there.
    """
    counts = {}
    for name, call in rivals.items():
        call()
        counts[name] = max(1, math.ceil(TURN / max(_seconds(call, 1), 1e-9)))
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(repeats):
        for name, call in rivals.items():
            times[name].append(1000 * _seconds(call, counts[name]) / counts[name])
    return {name: statistics.median(values) for name, values in times.items()}


def _seconds(call: Callable[[], object], count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        call()
    return time.process_time() - start


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a title and an aligned table; numbers get three digits."""
    cells = [[f"{c:.3g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    print(f"\n{title}")
    for row in (head, *cells):
        line = [row[0].ljust(widths[0])]
        print("  ".join(line + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]))
