"""Two explorers for the first chapter: the orbit of a shape, and the table of a small group."""

from collections.abc import Sequence
from html import escape

import torch

from equitutor import groups
from equitutor.explorers.host import Explorer, source

# Cells (right, up) around a center that lies on a cell, so that they fit a pixel grid.
SHAPES = {
    "letter F": [(-1, 2), (0, 2), (1, 2), (-1, 1), (-1, 0), (0, 0), (-1, -1), (-1, -2)],
    "letter S": [(1, 1), (0, 1), (0, 0), (0, -1), (-1, -1)],
    "letter T": [(-1, 1), (0, 1), (1, 1), (0, 0), (0, -1)],
    "plus": [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)],
}
LARGEST = 8  # rows of a table that still fit a phone


def orbit_explorer(
    shapes: dict[str, Sequence[tuple[int, int]]] | None = None,
    title: str = "The orbit of a shape: choose a group, then step or play",
) -> Explorer:
    """Returns an explorer that walks a shape through its orbit under five groups.

    Quarter turns, turns and mirrors, shifts on a torus, all turns of the plane, all turns of
    space. It counts the different pictures, and the elements that change nothing.

    Args:
        shapes: cells (right, up) of each shape by its name, integers of absolute value <= 2; one
            to eight shapes, none empty. The default is F, S, T and a plus.
        title: one line.

    Raises ValueError where a shape does not fit.

    >>> "letter F" in orbit_explorer().to_html()
    True
    """
    shapes = SHAPES if shapes is None else shapes
    if not 1 <= len(shapes) <= 8:
        raise ValueError(f"shapes must be 1 to 8, got {len(shapes)}")
    for name, cells in shapes.items():
        good = all(
            len(c) == 2 and all(type(v) is int and abs(v) <= 2 for v in c)
            for c in map(tuple, cells)
        )
        if not cells or not good or len(set(map(tuple, cells))) < len(cells):
            raise ValueError(
                f"shapes[{name!r}] must be different cells (right, up) with integers from -2 to 2, "
                f"got {list(cells)}"
            )
    data = {
        "shapes": [
            {"name": escape(n), "cells": [list(c) for c in cells]} for n, cells in shapes.items()
        ]
    }
    name, cells = next(iter(shapes.items()))
    return Explorer(
        "\n".join(map(source, ("orbit-pictures.js", "orbits.js"))), data, title,
        fallback=_row_of_pictures(cells), style=source("groups.css"), height=560,
        alt=f"{name}: its eight pictures under the turns and mirrors of the square.",
    )  # fmt: skip


def cayley_explorer(
    chosen: Sequence[groups.FiniteGroup] | None = None,
    title: str = "Multiplication tables: click a cell to compose two transformations",
) -> Explorer:
    """Returns an explorer of multiplication tables, each cell shown as two moves of a letter F.

    Args:
        chosen: groups of plane matrices with at most 8 elements, made by `groups.cyclic` or
            `groups.dihedral`; the default is C4, D2, D3 and D4. It opens on the last.
        title: one line.

    Raises ValueError where a group does not fit.

    >>> cayley_explorer([groups.cyclic(4)]).title.startswith("Multiplication")
    True
    """
    if chosen is None:
        chosen = [groups.cyclic(4), groups.dihedral(2), groups.dihedral(3), groups.dihedral(4)]
    if not chosen:
        raise ValueError("chosen must hold at least one group, got none")
    tables = []
    for group in chosen:
        if not isinstance(group, groups.FiniteGroup):
            raise ValueError(f"chosen must hold FiniteGroup, got {type(group).__name__}")
        if group.dimension != 2 or group.order > LARGEST:
            raise ValueError(
                f"chosen must hold plane groups of at most {LARGEST} elements, got {group!r}"
            )
        names = _names(group)
        tables.append(
            {
                "name": group.name,
                "labels": [long for long, _ in names],
                "short": [short for _, short in names],
                "mul": group.mul.tolist(),
                "matrices": group.elements.flatten(1).tolist(),
            }
        )
    return Explorer(
        source("cayley.js"), {"groups": tables}, title,
        fallback=_colored_table(chosen[-1].mul.tolist()), style=source("groups.css"), height=420,
        alt=f"The multiplication table of {chosen[-1].name}: each row and each column holds every "
        "element once.",
    )  # fmt: skip


def _names(group: groups.FiniteGroup) -> list[tuple[str, str]]:
    """Returns for each orthogonal plane matrix what it does, in words and as a symbol."""
    angles = torch.atan2(group.elements[:, 1, 0], group.elements[:, 0, 0]).rad2deg().round()
    degrees = [int(a) % 360 for a in angles]
    steps = sorted(set(degrees))  # 0, then the multiples of the smallest turn
    power = {
        a: ("", "r", *(f"r{'⁰¹²³⁴⁵⁶⁷⁸⁹'[k]}" for k in range(2, 8)))[steps.index(a)] for a in steps
    }
    names = []
    for a, mirrored in zip(degrees, torch.linalg.det(group.elements) < 0, strict=True):
        if mirrored:
            names.append((f"mirror and turn by {a}°" if a else "mirror", power[a] + "m"))
        else:
            names.append((f"turn by {a}°" if a else "do nothing", power[a] or "e"))
    return names


def _row_of_pictures(cells) -> str:
    """Returns the eight pictures of a shape under D4 as inline SVG."""
    parts = []
    for k, ((a, b), (c, d)) in enumerate(groups.dihedral(4).elements.int().tolist()):
        for x, y in cells:
            right, up = a * x + b * y, c * x + d * y
            parts.append(f'<rect x="{6 * k + 2.5 + right}" y="{2.5 - up}" width="1" height="1"/>')
    return f'<svg viewBox="0 0 48 6" fill="#0072b2">{"".join(parts)}</svg>'


def _colored_table(mul: list[list[int]]) -> str:
    """Returns a multiplication table in gray levels as inline SVG."""
    n = len(mul)
    cells = [
        f'<rect x="{j}" y="{i}" width="1" height="1" fill-opacity="{(k + 1) / n:.2f}"/>'
        for i, row in enumerate(mul)
        for j, k in enumerate(row)
    ]
    return f'<svg viewBox="0 0 {n} {n}" width="300" fill="#0072b2">{"".join(cells)}</svg>'
