"""A lesson to work through: without solutions, in plain Markdown, with gaps to be filled.

A cell of code with the tag ``gap`` keeps the heads and the docstrings of its functions, and loses
their bodies. The checks behind it stay: they fail until the gap is filled.
"""

import ast
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from equitutor.chapters import chapter
from tools.colab import Book, copy_for_colab
from tools.press.handout import without_solutions

YOUR_TURN = "...  # your turn"


def lesson_handout(root: Path, name: str, book: Book) -> NotebookNode:
    """Returns the handout of a lesson.

    Args:
        root: folder of the book.
        name: name of the lesson.
        book: the book around it.

    Raises:
        BookError: no such chapter.
    """
    node = without_solutions(nbformat.read(chapter(root, name), as_version=4))
    for cell in node.cells:
        if cell.cell_type == "code" and "gap" in cell.metadata.get("tags", []):
            cell.source = with_gaps(cell.source)
    return copy_for_colab(node, name, book)


def with_gaps(source: str) -> str:
    '''Returns code whose functions have lost their bodies; what stands around them is as it was.

    Args:
        source: Python.

    >>> print(with_gaps('def double(x):\\n    """Twice x."""\\n    return 2 * x\\n\\nassert True'))
    def double(x):
        """Twice x."""
        ...  # your turn
    <BLANKLINE>
    assert True
    '''
    lines = source.split("\n")
    for part in reversed(ast.parse(source).body):  # from below: line numbers above stay true
        if not isinstance(part, ast.FunctionDef):
            continue
        body = part.body[1:] if ast.get_docstring(part) else part.body
        if not body:
            continue
        begin = min([body[0].lineno, *(d.lineno for d in getattr(body[0], "decorator_list", []))])
        while lines[begin - 2].strip().startswith("#"):
            begin -= 1  # what a comment above the first line says is a part of the solution
        lines[begin - 1 : body[-1].end_lineno] = [" " * body[0].col_offset + YOUR_TURN]
    return "\n".join(lines)
