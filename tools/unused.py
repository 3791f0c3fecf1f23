"""Lists what the package and the tools define and nothing uses: no page, study, other code, tool.

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
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def unused(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Yields (module, name) for public functions, classes and methods that only tests name.

    A package that only passes a name on does not use it. A name counts as used wherever it is
    written, whatever it means there, but in its own definition; in a text, wherever it is written
    as code. Methods of a class that extends a class of another library are left out: the library
    may call them.

    Args:
        root: folder of the repository.
    """
    defined: list[tuple[Path, str, str]] = []
    written: Counter[str] = Counter()
    trees = {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for room in ("equitutor", "tools")
        for path in sorted((root / room).rglob("*.py"))
    }
    ours = {n.name: n for tree in trees.values() for n in tree.body if isinstance(n, ast.ClassDef)}
    for path, tree in trees.items():
        for node in tree.body:
            if path.name == "__init__.py" and isinstance(node, ast.ImportFrom):
                continue  # passed on
            for name, label, part in parts(node, ours):
                written.update(names(part) - {name})
                if label and path.name != "__main__.py":
                    defined.append((path, name, label))
    pages = [*(root / "book").rglob("*.md"), root / "README.md"]
    texts = [path.read_text(encoding="utf-8") for path in pages]
    for path in (root / "book").rglob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        written.update(names(ast.parse(code(cells))))
        texts += [cell.source for cell in cells if cell.cell_type == "markdown"]
    for text in texts:
        written.update(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", text))))
    for path, name, label in defined:
        if not written[name]:
            yield ".".join(path.relative_to(root).with_suffix("").parts), label


def parts(node: ast.stmt, ours: dict[str, ast.ClassDef]) -> Iterator[tuple[str, str, ast.AST]]:
    """Yields (name, label, tree) for a statement, or for a class and for each of its methods.

    A method's names do not count for itself, and those of the class do not hold them again. The
    label is how to call a public one, "" for all else.

    Args:
        node: statement of a module.
        ours: name -> definition of the classes that are not another library's.

    >>> tree = ast.parse("class A:\\n def f(self): return self.g()")
    >>> [(name, label) for name, label, _ in parts(tree.body[0], {})]
    [('f', 'A.f'), ('A', 'A')]
    """
    if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        yield "", "", node
        return
    rest: list[ast.AST] = [node]
    if isinstance(node, ast.ClassDef):
        methods = [part for part in node.body if isinstance(part, _FUNCTIONS)]
        rest = [part for part in ast.iter_child_nodes(node) if part not in methods]
        listed = not node.name.startswith("_") and own(node, ours)
        for method in methods:
            public = listed and not method.name.startswith("_")
            yield method.name, f"{node.name}.{method.name}" if public else "", method
    label = "" if node.name.startswith("_") else node.name
    yield node.name, label, ast.Module(rest, [])


def own(node: ast.ClassDef, ours: dict[str, ast.ClassDef]) -> bool:
    """Returns whether a class extends no class of another library."""
    bases = [names(base) for base in node.bases]
    return all(
        any(name in ours and own(ours[name], ours) for name in base) or "NamedTuple" in base
        for base in bases
    )


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


def code(cells: list) -> str:
    """Returns the code of a notebook's cells as Python."""
    plain = TransformerManager().transform_cell
    return "\n".join(plain(c.source) for c in cells if c.cell_type == "code")


if __name__ == "__main__":
    lines = [f"{module}: {name}" for module, name in unused()]
    print("\n".join(lines), end="\n" if lines else "")
    sys.exit(bool(lines))
