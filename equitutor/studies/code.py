"""Which code a run depends on: a hash, for each module, of what the run reaches in it.

A run reaches the function that it starts from, whatever that names, and so on through imports.
What a module does on being imported counts as well; functions and classes that nothing reached
names do not. The hash is that of the syntax tree without docstrings: comments, layout and the
version of Python do not change it.

Pages and pictures feed no number, and what only carries numbers about (engine, records, verdicts)
makes none, so they do not count. How a file is fetched does not either: its checksum is recorded.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

__all__ = ["code_of", "code_of_text"]

PACKAGE = "equitutor"
NO_NUMBERS = {
    "": "chapters explorers figures fingerprint ledger nero press __main__",
    "data.": "cache errors reads registry",
    "studies.": "__main__ code engine pages records study verdicts",
}
_LEFT_OUT = tuple(f"{PACKAGE}.{room}{n}" for room, ns in NO_NUMBERS.items() for n in ns.split())


def code_of(study: ModuleType, start: str = "run") -> dict[str, str]:
    """Returns module -> hash for all code that a function of a study's module depends on.

    Of the study's own module only what `start` reaches counts: another seed in the grid, or another
    word in a claim, ages no record.

    Args:
        study: module that defines `start`, of this package or of your own.
        start: name of a function in it.

    Names are followed as they are written, imports inside of functions, too; an attribute counts
    as every name that it may mean, so there is rather too much than too little.

    Raises ValueError where the module does not define `start`.

    >>> import equitutor.training
    >>> list(code_of(equitutor.training, "cosine")), list(code_of(equitutor.training, "fit"))
    (['equitutor.training'], ['equitutor.runtime', 'equitutor.training'])
    """
    module = _Module(study.__name__, _parse(Path(study.__file__)))
    if start not in module.binds:
        raise ValueError(f"start must be defined in {study.__name__}, got {start!r}")
    return _reached(module, module.binds[start], _LEFT_OUT)


def code_of_text(text: str) -> dict[str, str]:
    """Returns module -> hash for all code of the package that a program depends on.

    Args:
        text: Python source, such as the cells of a notebook. All of it runs; it goes by the name
            "<text>". Pages and pictures count here: their output is what the program shows.

    Raises SyntaxError where the text is not Python.

    >>> list(code_of_text("from equitutor import figures; figures.use()"))
    ['<text>', 'equitutor.figures']
    """
    module = _Module("<text>", ast.parse(text))
    return _reached(module, range(len(module.body)), ())


def _reached(module: "_Module", first: Iterable[int], left_out: tuple[str, ...]) -> dict[str, str]:
    """Returns module -> hash of the statements that some statements of a module lead to."""
    modules, reached = {module.name: module}, {module.name: set(first)}
    waiting = [need for number in first for need in module.needs(number)]
    seen = set()
    while waiting:
        where, what = waiting.pop()
        if (where, what) in seen:
            continue
        seen.add((where, what))
        if where not in modules:
            path = None if any(f"{where}.".startswith(f"{n}.") for n in left_out) else _file(where)
            if path is None:
                continue
            is_package = path.name == "__init__.py"
            modules[where], reached[where] = _Module(where, _parse(path), is_package), set()
            numbers = modules[where].always
        else:
            numbers = set()
        numbers = numbers | modules[where].binds.get(what, set())
        for number in numbers - reached[where]:
            reached[where].add(number)
            waiting += modules[where].needs(number)
    return {
        where: _hash([modules[where].body[number] for number in sorted(numbers)])
        for where, numbers in sorted(reached.items())
        if numbers and where != PACKAGE  # the version of the package is not its code
    }


class _Module:
    """The top-level statements of a module: what each binds, and which run on import."""

    def __init__(self, name: str, tree: ast.Module, is_package: bool = False):
        self.name, self.is_package, self.body = name, is_package, tree.body
        self.binds: dict[str, set[int]] = {}
        self.always: set[int] = set()
        self.imports: dict[str, tuple[str, str]] = {}
        for number, node in enumerate(self.body):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.imports |= dict(self._imports(node))
                continue
            names = _bound(node)
            for bound in names:
                self.binds.setdefault(bound, set()).add(number)
            if not isinstance(node, _DEFINITIONS) and not _is_text(node) and names != {"__all__"}:
                self.always.add(number)

    def needs(self, number: int) -> Iterator[tuple[str, str]]:
        """Yields (module, name) for all that a statement mentions, here or in other modules."""
        node = self.body[number]
        imports = dict(self.imports)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                imports |= dict(self._imports(inner))
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        attributes = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
        for name in names & self.binds.keys():
            yield self.name, name
        for name in names & imports.keys():
            module, taken = imports[name]
            yield from [(module, taken)] if taken else [(module, a) for a in attributes]

    def _imports(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, tuple[str, str]]]:
        """Yields, for each import from the package, its name here, and its module and name there.

        A module imported as a whole has no name there.
        """
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    yield alias.asname, (alias.name, "")
                else:  # `import a.b.c` binds a, and whatever is asked of it is asked of c
                    yield alias.name.split(".")[0], (alias.name, "")
            return
        base = node.module or ""
        if node.level:
            parts = self.name.split(".")
            parts = parts[: len(parts) - node.level + self.is_package]
            base = ".".join([*parts, *([base] if base else [])])
        for alias in node.names:
            yield alias.asname or alias.name, _source(base, alias.name)


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _source(base: str, name: str) -> tuple[str, str]:
    """Returns the module that `from base import name` takes the name from in the end, and it."""
    if _file(f"{base}.{name}") is not None:
        return f"{base}.{name}", ""
    path = _file(base)
    if path is not None and path.name == "__init__.py":
        taken = _Module(base, _parse(path), is_package=True).imports.get(name)
        if taken is not None:
            return taken
    return base, name


def _parse(path: Path) -> ast.Module:
    return _parsed(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _parsed(path: Path, mtime_ns: int) -> ast.Module:
    """Returns the syntax tree of a file; its time is there so that an edited file is read again."""
    return ast.parse(path.read_text(encoding="utf-8"))


def _file(name: str) -> Path | None:
    """Returns the source file of a module of this package, or None where there is none."""
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return None
    base = Path(__file__).parents[1].joinpath(*parts[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _bound(node: ast.stmt) -> set[str]:
    """Returns the names that a top-level statement defines."""
    if isinstance(node, _DEFINITIONS):
        return {node.name}
    names = (n for n in ast.walk(node) if isinstance(n, ast.Name))
    return {n.id for n in names if isinstance(n.ctx, ast.Store)}


def _hash(nodes: list[ast.stmt]) -> str:
    words = ";".join(_words(node) for node in nodes if not _is_text(node))
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _words(node) -> str:
    """Returns a syntax tree as text: what is empty is left out, so versions of Python agree."""
    if isinstance(node, list):
        return f"[{','.join(_words(part) for part in node if not _is_text(part))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [
        f"{name}={_words(value)}"
        for name, value in ast.iter_fields(node)
        if name not in ("ctx", "kind", "type_comment") and value is not None and value != []
    ]
    return f"{type(node).__name__}({','.join(fields)})"


def _is_text(node) -> bool:
    """Returns whether a statement is a text that stands alone, as a docstring does."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
