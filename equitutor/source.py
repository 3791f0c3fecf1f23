"""Source text in a normal form: cells of a notebook, and Python without comments and layout."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Iterator
from pathlib import Path

_IGNORED = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
_LAYOUT = {tokenize.INDENT: "<indent>", tokenize.DEDENT: "<dedent>", tokenize.NEWLINE: "<newline>"}


def code_cells(notebook: str | Path) -> list[tuple[str, list[str]]]:
    """Returns the code cells of a notebook file as pairs (source, tags), in order.

    Args:
        notebook: path of an ``.ipynb`` file.

    Raises:
        ValueError: the file is not a notebook.
    """
    text = Path(notebook).read_text(encoding="utf-8")
    try:
        cells = json.loads(text)["cells"]
        return [
            ("".join(cell["source"]), sorted(cell["metadata"].get("tags", [])))
            for cell in cells
            if cell["cell_type"] == "code"
        ]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"notebook: {notebook} is not a Jupyter notebook ({error})") from error


def plain_python(source: str) -> str:
    """Returns a cell's source with IPython's magic lines written as Python calls.

    Args:
        source: text of one code cell.

    >>> plain_python("%matplotlib inline")
    "magic('%matplotlib inline')"
    >>> plain_python("x = 1")
    'x = 1'
    """
    if source.lstrip().startswith("%%"):
        return f"magic({source!r})"
    try:
        ast.parse(source)
    except SyntaxError:
        lines = []
        for line in source.splitlines():
            command = line.lstrip()
            if command.startswith(("%", "!")):
                line = f"{line[: len(line) - len(command)]}magic({command!r})"
            lines.append(line)
        return "\n".join(lines)
    return source


def normalized(source: str) -> str:
    """Return Python source as one line of tokens, without comments, docstrings and layout.

    Args:
        source: Python source text.

    Raises:
        SyntaxError: the text is not Python.

    >>> normalized("def f(x):  # why\\n    'doc'\\n\\n    return  x")
    'def f ( x ) : <newline> <indent> return x <newline> <dedent>'
    """
    tree = ast.parse(source)
    docstrings = {(n.lineno, n.col_offset): n.end_lineno for n in _docstrings(tree)}
    lines = source.splitlines(keepends=True)
    words: list[str] = []
    string_start, depth, skip_to = None, 0, 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        # Python 3.12 cuts an f-string into pieces; taken whole it reads the same as before.
        if kind.endswith("STRING_START"):
            string_start = string_start or token.start
            depth += 1
        elif kind.endswith("STRING_END"):
            depth -= 1
            if depth == 0:
                words.append(_between(lines, string_start, token.end))
                string_start = None
        elif depth or token.type in _IGNORED:
            continue
        elif token.type == tokenize.STRING and token.start in docstrings:
            skip_to = docstrings[token.start]
        elif token.type == tokenize.NEWLINE and token.start[0] == skip_to:
            continue
        elif token.type in _LAYOUT:
            words.append(_LAYOUT[token.type])
        else:
            words.append(token.string)
    return " ".join(words)


def _docstrings(tree: ast.Module) -> Iterator[ast.Expr]:
    """Yield the docstring expressions that stand on lines of their own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
                and (isinstance(node, ast.Module) or first.lineno > node.lineno)
            ):
                yield first


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """Returns the source text between two (line, column) positions."""
    picked = lines[start[0] - 1 : end[0]]
    picked[-1] = picked[-1][: end[1]]
    picked[0] = picked[0][start[1] :]
    return "".join(picked)
