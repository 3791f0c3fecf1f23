"""Lists what the package defines and nothing uses: no page, no study, no other code, no tool.

    python -m tools.unused

Tests do not count. Prints a line for each, and nothing where all are in use.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).resolve().parents[1]


def unused(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Yields (module, name) for public functions and classes that nothing but tests names.

    A package that only passes a name on does not use it. A name counts as used wherever it is
    written, whatever it means there, but in its own definition.

    Args:
        root: folder of the repository.
    """
    defined: list[tuple[Path, str]] = []
    written: Counter[str] = Counter()
    for path in [*(root / "equitutor").rglob("*.py"), *(root / "tools").rglob("*.py")]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            own = set()
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own = {node.name}
                if not node.name.startswith("_") and path.is_relative_to(root / "equitutor"):
                    defined.append((path, node.name))
            passed_on = path.name == "__init__.py" and isinstance(node, ast.ImportFrom)
            written.update(set() if passed_on else names(node) - own)
    for path in (root / "book").rglob("*.ipynb"):
        written.update(names(ast.parse(code(path))))
    for path in [*(root / "book").rglob("*.md"), root / "README.md", root / "_config.yml"]:
        written.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    for path, name in defined:
        if not written[name]:
            yield ".".join(path.relative_to(root).with_suffix("").parts), name


def names(tree: ast.AST) -> set[str]:
    """Returns all names, attributes and imported names in a tree.

    >>> sorted(names(ast.parse("from a import b; c.d")))
    ['b', 'c', 'd']
    """
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                found.add(name)
    return found


def code(notebook: Path) -> str:
    """Returns the code of a notebook as Python."""
    plain = TransformerManager().transform_cell
    cells = nbformat.read(notebook, as_version=4).cells
    return "\n".join(plain(c.source) for c in cells if c.cell_type == "code")


if __name__ == "__main__":
    lines = [f"{module}: {name}" for module, name in unused()]
    print("\n".join(lines), end="\n" if lines else "")
    sys.exit(bool(lines))
