"""Which definitions of the package a piece of code can reach: static, and rather too many.

A name, an attribute or an identifier-like string counts as a mention. A mention reaches the
definition of that name in the same module, and in the modules imported there; a ``from`` import
lets through the names that it lists.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from equitutor.source import normalized


class _Definition(NamedTuple):
    """A top-level statement: the names it binds (none: it always runs), its text, its mentions."""

    binds: set[str]
    text: str
    mentions: set[str]


class _Import(NamedTuple):
    """An import of a module (``name`` is None) or of a name in it, and the name it gets here."""

    module: str
    name: str | None
    alias: str


def reached(code: str, modules: Mapping[str, str]) -> list[str]:
    """Returns the normalized text of every definition that ``code`` can reach, sorted.

    Args:
        code: Python source, such as the cells of a notebook.
        modules: dotted name -> source of each module that may be reached. A package goes by its
            own name.

    >>> shared = "def used(): return 1\\ndef unused(): return 2"
    >>> reached("from pack import shared; shared.used()", {"pack": "", "pack.shared": shared})
    ['pack.shared def used ( ) : return 1 <newline>']
    """
    definitions = {name: list(_definitions(text)) for name, text in modules.items()}
    imports = {
        name: list(_imports(ast.parse(text), name, modules)) for name, text in modules.items()
    }
    wanted: dict[str, set[str]] = {name: set() for name in modules}
    tree = ast.parse(code)
    _pass_on(_mentions(tree), _imports(tree, "", modules), wanted)
    found: set[str] = set()
    before = None
    while before != (len(found), sum(map(len, wanted.values()))):
        before = (len(found), sum(map(len, wanted.values())))
        for name in modules:
            for definition in definitions[name]:
                if not definition.binds or definition.binds & wanted[name]:
                    found.add(f"{name} {definition.text}")
                    wanted[name] |= definition.mentions
            _pass_on(wanted[name], imports[name], wanted)
    return sorted(found)


def _pass_on(mentions: set[str], imports, wanted: dict[str, set[str]]) -> None:
    """Adds to ``wanted`` what the mentions ask of each imported module."""
    for module, name, alias in imports:
        if name is None:
            wanted[module] |= mentions
        elif alias in mentions:
            wanted[module].add(name)


def _imports(tree: ast.AST, module: str, modules: Mapping[str, str]) -> Iterator[_Import]:
    """Yields the imports of known modules, wherever they stand in the tree."""
    is_package = any(name.startswith(f"{module}.") for name in modules)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in modules:
                    yield _Import(alias.name, None, alias.asname or alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                if inner in modules:
                    yield _Import(inner, None, alias.asname or alias.name)
                elif base in modules:
                    yield _Import(base, alias.name, alias.asname or alias.name)


def _definitions(source: str) -> Iterator[_Definition]:
    lines = source.splitlines(keepends=True)
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # the module's docstring
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            binds = {node.name}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
            binds = {n.id for n in names if isinstance(n.ctx, ast.Store)}
        else:
            binds = set()
        decorators = [d.lineno for d in getattr(node, "decorator_list", [])]
        first = min([node.lineno, *decorators])
        text = normalized("".join(lines[first - 1 : node.end_lineno]))
        yield _Definition(binds, text, _mentions(node))


def _mentions(tree: ast.AST) -> set[str]:
    """Returns every name, attribute and string in a syntax tree."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found
