"""The page "The package in one view": each room's sentence, names and example, from the code."""

from __future__ import annotations

import ast
import doctest
import re
from pathlib import Path

# As one meets them. What no page needs comes last.
ORDER = """
orbits diagnose nero groups actions rotations methods models data training studies explorers
runtime figures checks files fingerprint chapters
""".split()  # noqa: SIM905
WIDTH = 74  # of a line on the page


def rooms_markdown(root: Path) -> str:
    """Returns a section for each room of the package, as markdown.

    Args:
        root: folder of the book; the package is read there, not imported.

    Raises ValueError where a room does not begin with one sentence, or shows no example.
    """
    parts = []
    for name in ORDER:
        path = _file(root / "equitutor" / name)
        parts.append(f"## `equitutor.{name}`\n\n{section(path)}")
        if name in ("methods", "models"):  # of the others one needs the room alone
            inner = sorted(p for p in path.parent.iterdir() if p.name[0] not in "_.")
            parts += [f"### `{name}.{p.stem}`\n\n{section(_file(p), False)}" for p in inner]
    return "\n\n".join(parts)


def section(path: Path, needed: bool = True) -> str:
    """Returns the sentence, the public names and the example of a module, as markdown.

    Args:
        path: its file.
        needed: whether its docstring has to show an example.

    Raises ValueError where its docstring does not begin with one sentence, or shows no example.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    text = ast.get_docstring(tree) or ""
    sentence = " ".join(re.split(r"\n\n|(?<=\.)\s", text, maxsplit=1)[0].split())
    example = example_of(text)
    if not sentence.endswith(".") or (needed and not example):
        raise ValueError(f"{path} must begin with one sentence and show an example")
    names = ", ".join(f"`{name}`" for name in public(tree))
    code = f"```python\n{example}\n```" if example else ""
    return "\n\n".join(part for part in (sentence, names, code) if part)


def public(tree: ast.Module) -> list[str]:
    """Returns the public names of a module: its `__all__`, else its functions and classes.

    >>> public(ast.parse("def _a(): pass\\nclass B: pass\\nC = 1"))
    ['B']
    """
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [n.name for n in tree.body if isinstance(n, kinds) and n.name[0] != "_"]


def example_of(text: str) -> str:
    """Returns the examples in a docstring as code, with what comes out of each as a comment.

    >>> example_of("Adds.\\n\\n>>> a = 1\\n>>> a + 1\\n2\\n")
    'a = 1\\na + 1  # 2'
    """
    lines = []
    for example in doctest.DocTestParser().get_examples(text):
        source, shown = example.source.rstrip("\n"), example.want.rstrip("\n").splitlines()
        beside = len(shown) == 1 and len(source) + len(shown[0]) < WIDTH
        lines.append(f"{source}  # {shown[0]}" if beside else source)
        lines += [] if beside else [f"# {line}" for line in shown]
    return "\n".join(lines)


def _file(place: Path) -> Path:
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
