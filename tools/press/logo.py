"""The book's logo: one shape carried around its orbit under a cyclic group, as SVG text."""

from __future__ import annotations

import math
from pathlib import Path

from equitutor.chapters import find_root, write_text

BLUE, ORANGE = "#2f8fd0", "#e8702a"  # both read well on white and on black


def svg(n: int = 8) -> str:
    """Returns the logo as an SVG document: a drop, and its images under the n rotations of C_n.

    Args:
        n: order of the cyclic group, at least 2.

    Raises:
        ValueError: `n` is no integer of at least 2.

    >>> svg().count("<path")
    8
    """
    if not isinstance(n, int) or n < 2:
        raise ValueError(f"n: must be an integer of at least 2, it is {n!r}")
    # An asymmetric drop, so that each rotation shows.
    drop = "M0-27C7-33 7-43-1-47C-8-42-7-33 0-27Z"
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-50 -50 100 100" role="img">',
        "<title>Equitutor: one shape and its orbit</title>",
        f'<circle r="19" fill="none" stroke="{BLUE}" stroke-width="2.5" stroke-dasharray="'
        f'{2 * math.pi * 19 / (2 * n):.3f}"/>',
    ]
    for k in range(n):
        color = ORANGE if k == 0 else BLUE
        opacity = 1 if k == 0 else 1 - 0.7 * k / n
        turn = f"rotate({360 * k / n:g})"
        lines.append(
            f'<path d="{drop}" transform="{turn}" fill="{color}" fill-opacity="{opacity:.2f}"/>'
        )
    lines.append(f'<circle r="6" fill="{ORANGE}"/>')
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def main(root: Path | None = None) -> None:
    """Writes `book/_assets/logo.svg` and `favicon.svg`, which has fewer drops for small sizes.

    Args:
        root: folder of the book; default the one around the working directory.
    """
    assets = (root or find_root()) / "book/_assets"
    write_text(assets / "logo.svg", svg(8))
    write_text(assets / "favicon.svg", svg(5))


if __name__ == "__main__":
    main()
