"""Which code a run depends on: a hash, for each module, of what the run reaches in it.

A run reaches the function that it starts from, whatever that names, and so on through imports.
What a module does on being imported counts as well; functions and classes that nothing reached
names do not. The hash is that of the syntax tree without docstrings: comments, layout and the
version of Python do not change it.

Pages and pictures feed no number, and what only carries numbers about (engine, records, verdicts)
makes none, so they do not count. How a file is fetched does not either: its checksum is recorded.

One more hash, under the name "*", is that of all that is reached, wherever it stands: code that was
only moved to another module is the same code.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType

__all__ = ["code_of", "code_of_text"]

PACKAGE = "equitutor"
ANYWHERE = "*"
NO_NUMBERS = {
    "": "chapters explorers figures fingerprint nero __main__",
    "data.": "cache errors reads registry",
    "studies.": "__main__ code engine pages records study verdicts",
}
_LEFT_OUT = tuple(f"{PACKAGE}.{room}{n}" for room, ns in NO_NUMBERS.items() for n in ns.split())


def code_of(study: ModuleType, start: str = "run") -> dict[str, str]:
    """Returns module -> hash for all code that a function of a study's module depends on, and "*".

    Of the study's own module only what `start` reaches counts: another seed in the grid, or another
    word in a claim, ages no record. Statements that bind nothing count if they change what is
    reached, such as `NETWORKS["wide"] = ...`, or name nothing of the module.

    Args:
        study: module that defines `start`, of this package or of your own. Of your own, what lies
            in the same package, or beside a lone module, counts like this package.
        start: name of a function in it.

    Names are followed as they are written, imports inside of functions, too; an attribute counts
    as every name that it may mean, so there is rather too much than too little.

    Raises ValueError where the module does not define `start`.

    >>> import equitutor.training
    >>> list(code_of(equitutor.training, "cosine")), list(code_of(equitutor.training, "fit"))
    (['*', 'equitutor.training'], ['*', 'equitutor.runtime', 'equitutor.training'])
    """
    path = Path(study.__file__)
    files = _Files(study.__name__, path)
    module = _module(study.__name__, path)
    if start not in module.binds:
        raise ValueError(f"start must be defined in {study.__name__}, got {start!r}")
    return _reached(module, module.binds[start], files, _LEFT_OUT)


def code_of_text(text: str) -> dict[str, str]:
    """Returns module -> hash for all code of the package that a program depends on, and "*".

    Args:
        text: Python source, such as the cells of a notebook. All of it runs; it goes by the name
            "<text>". Pages and pictures count here: their output is what the program shows.

    Raises SyntaxError where the text is not Python.

    >>> list(code_of_text("from equitutor import figures; figures.use()"))
    ['*', '<text>', 'equitutor.figures']
    """
    files = _Files()
    module = _Module("<text>", ast.parse(text))
    return _reached(module, range(len(module.body)), files, ())


class _Files:
    """Finds the source file of a module: of this package, or of the package of a study."""

    def __init__(self, study: str = PACKAGE, path: Path | None = None):
        depth = study.count(".") + (path is not None and path.name == "__init__.py")
        self.home = path.absolute().parents[depth] if path else _HOME
        lone = depth == 0 and not {"site-packages", "dist-packages"} & {*self.home.parts}
        self.top = None if lone and path else study.split(".")[0]
        self.found: dict[str, Path | None] = {}

    def __call__(self, name: str) -> Path | None:
        """Returns the file of a module, or None where it is of another package."""
        if name not in self.found:
            self.found[name] = self._find(name)
        return self.found[name]

    def _find(self, name: str) -> Path | None:
        top, *_ = parts = name.split(".")
        if top != PACKAGE and self.top not in (None, top):
            return None
        base = (_HOME if top == PACKAGE else self.home).joinpath(*parts)
        for path in (base / "__init__.py", base.parent / f"{base.name}.py"):
            if path.is_file():
                return path
        return None

    def targets(self, base: str, name: str, attributes: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yields (module, name) for what `from base import name` brings and is asked for."""
        if name == "":
            module = base
        elif self(f"{base}.{name}"):
            module = f"{base}.{name}"
        else:
            yield base, name
            return
        for attribute in attributes:
            yield module, attribute
            if self(f"{module}.{attribute}"):
                yield from self.targets(module, attribute, attributes)


_HOME = Path(__file__).absolute().parents[2]


def _reached(
    module: "_Module", first: Iterable[int], files: _Files, left_out: tuple[str, ...]
) -> dict[str, str]:
    """Returns module -> hash of the statements that some statements of a module lead to."""
    modules, reached = {module.name: module}, {module.name: set()}
    waiting, seen = [], set()

    def reach(where: str, numbers: Iterable[int]) -> None:
        for number in set(numbers) - reached[where]:
            reached[where].add(number)
            waiting.extend(modules[where].needs(number, files))

    reach(module.name, first)
    while waiting:
        while waiting:
            where, what = waiting.pop()
            if (where, what) in seen:
                continue
            seen.add((where, what))
            if where not in modules:
                skipped = any(f"{where}.".startswith(f"{n}.") for n in left_out)
                path = None if skipped else files(where)
                if path is None:
                    continue
                modules[where] = _module(where, path)
                reached[where] = set()
                reach(where, modules[where].always)
            reach(where, modules[where].binds.get(what, ()))
            waiting.extend(modules[where].passes_on(what, files))
        reach(module.name, module.effects_on(reached[module.name]))
    hashes, anywhere = {}, set()
    for where, numbers in sorted(reached.items()):
        if numbers and where != PACKAGE:  # the version of the package is not its code
            texts = [modules[where].texts(number) for number in sorted(numbers)]
            hashes[where] = _digest(text for text, _ in texts if text)
            anywhere |= {text for _, text in texts if text}
    return {ANYWHERE: _digest(sorted(anywhere))} | hashes


class _Module:
    """The top-level statements of a module: what each binds, and which run on import."""

    def __init__(self, name: str, tree: ast.Module, is_package: bool = False):
        self.name, self.is_package, self.body = name, is_package, tree.body
        self.mentions, self.texts = cache(self.mentions), cache(self.texts)  # for many studies
        self.binds: dict[str, set[int]] = {}
        self.always: set[int] = set()
        self.effects: set[int] = set()
        self.imports: dict[str, set[tuple[str, str]]] = {}
        for number, node in enumerate(self.body):
            if isinstance(node, _DEFINITIONS):
                self.binds.setdefault(node.name, set()).add(number)
                continue
            self._add_imports(node, self.imports)
            if isinstance(node, ast.Import | ast.ImportFrom) or _is_text(node) or _is_main(node):
                continue
            names = _bound(node)
            for bound in names:
                self.binds.setdefault(bound, set()).add(number)
            if names != {"__all__"}:
                self.always.add(number)
            if not names and not isinstance(node, ast.Assert):
                self.effects.add(number)

    def needs(self, number: int, files: _Files) -> Iterator[tuple[str, str]]:
        """Yields (module, name) for all that a statement mentions, here or in other modules."""
        names, attributes, imports = self.mentions(number)
        for name in names & self.binds.keys():
            yield self.name, name
        for name in names & imports.keys():
            for base, taken in imports[name]:
                yield from files.targets(base, taken, attributes)
        for base, _ in imports.get("*", ()):
            yield from ((base, name) for name in names)

    def mentions(self, number: int) -> tuple[set[str], set[str], dict[str, set[tuple[str, str]]]]:
        """Returns names and attributes in a statement, and the imports that they may mean."""
        node = self.body[number]
        imports = {name: set(targets) for name, targets in self.imports.items()}
        self._add_imports(node, imports)
        attributes = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
        return _names(node), attributes, imports

    def texts(self, number: int) -> tuple[str, str]:
        """Returns a statement as text, whole and without its imports; "" where it is a text."""
        node = self.body[number]
        return ("", "") if _is_text(node) else (_words(node), _words(node, without=_IMPORTS))

    def passes_on(self, name: str, files: _Files) -> Iterator[tuple[str, str]]:
        """Yields (module, name) for what a name of this module is that it imports itself."""
        for base, taken in self.imports.get(name, ()):
            yield from files.targets(base, taken, ())
        for base, _ in self.imports.get("*", ()):
            yield base, name

    def effects_on(self, reached: set[int]) -> Iterator[int]:
        """Yields the statements that bind nothing and may change what is reached."""
        for number in self.effects - reached:
            mine = [self.binds[name] for name in _names(self.body[number]) & self.binds.keys()]
            if not mine or any(numbers & reached for numbers in mine):
                yield number

    def _add_imports(self, node: ast.stmt, imports: dict[str, set[tuple[str, str]]]) -> None:
        """Adds, for each import inside a statement, its name here, and its module and name there.

        A module imported as a whole has no name there.
        """
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import):
                for alias in inner.names:
                    # `import a.b.c` binds a, and whatever is asked of it is asked of c
                    name = alias.asname or alias.name.split(".")[0]
                    imports.setdefault(name, set()).add((alias.name, ""))
            elif isinstance(inner, ast.ImportFrom):
                base = inner.module or ""
                if inner.level:
                    parts = self.name.split(".")
                    parts = parts[: len(parts) - inner.level + self.is_package]
                    base = ".".join([*parts, *([base] if base else [])])
                for alias in inner.names:
                    imports.setdefault(alias.asname or alias.name, set()).add((base, alias.name))


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)


def _module(name: str, path: Path) -> _Module:
    return _parsed(name, path, path.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _parsed(name: str, path: Path, mtime_ns: int) -> _Module:
    """Returns the module in a file; its time is there so that an edited file is read again."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return _Module(name, tree, is_package=path.name == "__init__.py")


def _bound(node: ast.AST) -> set[str]:
    """Returns the names that a top-level statement defines, other than by an import.

    Names inside of functions, lambdas and comprehensions are their own.
    """
    if isinstance(node, _DEFINITIONS):
        return {node.name}
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Store) else set()
    own = isinstance(
        node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    )
    if own:  # but for `:=`, which binds outside of a comprehension
        return {n.target.id for n in ast.walk(node) if isinstance(n, ast.NamedExpr)}
    return {name for child in ast.iter_child_nodes(node) for name in _bound(child)}


def _names(node: ast.stmt) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _is_main(node: ast.stmt) -> bool:
    """Returns whether a statement is `if __name__ == "__main__"`, which no import runs."""
    return isinstance(node, ast.If) and "__name__" in _names(node.test)


def _digest(words: Iterable[str]) -> str:
    return hashlib.sha256(";".join(words).encode()).hexdigest()[:16]


def _words(node, without: tuple[type, ...] = ()) -> str:
    """Returns a syntax tree as text: what is empty is left out, so versions of Python agree."""
    if isinstance(node, list):
        kept = [part for part in node if not _is_text(part) and not isinstance(part, without)]
        return f"[{','.join(_words(part, without) for part in kept)}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.JoinedStr):
        node = ast.JoinedStr(_joined(node.values))
    fields = [
        f"{name}={_words(value, without)}"
        for name, value in ast.iter_fields(node)
        if name not in ("ctx", "kind", "type_comment") and value is not None and value != []
    ]
    return f"{type(node).__name__}({','.join(fields)})"


def _joined(parts: list[ast.expr]) -> list[ast.expr]:
    """Returns the parts of an f-string as most versions of Python have them: texts in one piece."""
    found = []
    for part in parts:
        if isinstance(part, ast.Constant) and found and isinstance(found[-1], ast.Constant):
            found[-1] = ast.Constant(found[-1].value + part.value)
        elif not isinstance(part, ast.Constant) or part.value:
            found.append(part)
    return found


def _is_text(node) -> bool:
    """Returns whether a statement is a text that stands alone, as a docstring does."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
