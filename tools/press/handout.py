"""A chapter for students: its notebook without the solutions, with every exercise."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

from equitutor.chapters import BookError, chapter, write_text

# A whole gate: its fence, the lines of its options, and the fence that closes it.
_GATE = re.compile(
    r"^(?P<fence>:{3,}|`{3,})\{solution-(?P<kind>start|end)\}[^\n]*\n"
    r"(?:[^\n]*\n)*?(?P=fence)[ \t]*$",
    re.MULTILINE,
)


def without_solutions(node: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Returns the notebook, in place, without what stands between the gates of its solutions.

    Args:
        node: a notebook; text before and after the gates of one cell stays.

    Raises:
        ValueError: a solution begins inside another one, ends without a beginning, or never ends.

    >>> cell = nbformat.v4.new_markdown_cell
    >>> gate = ":::{{solution-{}}} ex-a\\n:::".format
    >>> texts = ["Why?\\n\\n" + gate("start"), "Because.", gate("end") + "\\n\\nNext."]
    >>> made = without_solutions(nbformat.v4.new_notebook(cells=list(map(cell, texts))))
    >>> [c.source for c in made.cells]
    ['Why?', 'Next.']
    """
    kept, inside = [], False
    for number, cell in enumerate(node.cells, 1):
        if cell.cell_type != "markdown":
            if not inside:
                kept.append(cell)
            continue
        parts, begin, gates = [], 0, list(_GATE.finditer(cell.source))
        for gate in gates:
            if (gate["kind"] == "start") is inside:
                raise ValueError(f"cell {number}: solution-{gate['kind']} at the wrong place")
            if not inside:
                parts.append(cell.source[begin : gate.start()].strip())
            inside, begin = not inside, gate.end()
        if not inside:
            parts.append(cell.source[begin:].strip() if gates else cell.source)
        cell.source = "\n\n".join(part for part in parts if part)
        if cell.source:
            kept.append(cell)
    if inside:
        raise ValueError("a solution has no end")
    node.cells = kept
    return node


def handout(root: Path, name: str, out: Path | None = None) -> Path:
    """Write a chapter without its solutions, and return the path of the new notebook.

    Args:
        root: folder of the book.
        name: name of the chapter, as in ``book/<name>.ipynb``.
        out: folder for the copy; default ``build/handouts``. It is made when missing.

    Raises:
        BookError: no such chapter, the folder is the chapter's own or can't be written to, or the
            gates of the solutions do not match.
    """
    source = chapter(root, name)
    target = (root / "build/handouts" if out is None else out) / source.name
    if target.resolve() == source.resolve():
        raise BookError(f"{out} holds the chapter itself: choose another folder")
    try:
        node = without_solutions(nbformat.read(source, as_version=4))
        write_text(target, nbformat.writes(node) + "\n")
    except ValueError as error:
        raise BookError(f"{name}: {error}") from error
    except OSError as error:
        raise BookError(f"{target} can't be written: {error}") from error
    return target
