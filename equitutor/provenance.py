"""What a run was made with: the code behind a notebook, as one hash, and the environment.

The hash answers one question: would the same cells and the same modules run again? Comments,
docstrings, blank lines and layout do not change it, nor does the version of Python.
"""

from __future__ import annotations

import ast
import hashlib
import platform
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from equitutor.reach import reached
from equitutor.source import code_cells, normalized, plain_python

# Tags of a cell that change what running it does.
_TAGS_THAT_MATTER = {"raises-exception", "skip-execution"}

PACKAGE = Path(__file__).resolve().parent


def closure(notebook: str | Path, without: Collection[str] = ()) -> list[Path]:
    """Returns the package files a notebook runs on: modules it imports, in turn, and their data.

    Args:
        notebook: path of an ``.ipynb`` file.
        without: modules to leave out with all below them, e.g. ``("equitutor.explorers",)``.

    Returns:
        Absolute paths, sorted: every ``.py`` file reached by static imports (those inside
        functions as well), and all other files that lie in the folders of those modules. The data
        files of the package's root folder belong to every notebook.
    """
    waiting: list[str] = []
    for source, _ in code_cells(notebook):
        waiting += _imports(plain_python(source), package="")
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        path = _module_file(name)
        if path is None or name in found or _left_out(name, without):
            continue
        found[name] = path
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += _imports(path.read_text(encoding="utf-8"), package)
        waiting.append(name.rpartition(".")[0])  # a package's __init__ runs before its modules
    files = set(found.values())
    for folder in {path.parent for path in files}:
        files.update(_data_files(folder))
    return sorted(files)


def _left_out(name: str, without: Collection[str]) -> bool:
    return any(name == left or name.startswith(left + ".") for left in without)


def _imports(source: str, package: str) -> list[str]:
    """Returns the dotted names of this package that a source text imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                parents = parts[: len(parts) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            # "from a import b" may name a module b or something inside a: try both.
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == PACKAGE.name]


def _module_file(name: str) -> Path | None:
    """Returns the source file of a dotted name below this package, or None."""
    if not name:
        return None
    base = PACKAGE.joinpath(*name.split(".")[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _data_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a package folder that are not Python, sub-packages left out."""
    for path in folder.iterdir():
        if path.is_dir() and path.name != "__pycache__" and not (path / "__init__.py").exists():
            yield from _data_files(path)
        elif path.is_file() and path.suffix not in {".py", ".pyc"}:
            yield path


def code_hash(notebook: str | Path) -> str:
    """Returns a SHA-256 over a notebook's code cells and the Python modules it runs on.

    Args:
        notebook: path of an ``.ipynb`` file.

    Returns:
        64 hexadecimal digits. They change when the code changes, not when only comments,
        docstrings, blank lines, markdown cells or outputs do.
    """
    digest = hashlib.sha256()
    for line in _cell_lines(notebook):
        digest.update(line.encode())
    for path in closure(notebook):
        if path.suffix == ".py":
            name = path.relative_to(PACKAGE).as_posix()
            text = normalized(path.read_text(encoding="utf-8"))
            digest.update(f"file {name} {text}\n".encode())
    return digest.hexdigest()


def reached_hash(
    notebook: str | Path, without: Collection[str] = (), skip: Collection[str] = ()
) -> str:
    """Returns a SHA-256 over a notebook's code cells and the definitions they can reach.

    Finer than :func:`code_hash`: a new function in a shared module changes nothing for a notebook
    that never names it. See :mod:`equitutor.reach` for what counts as reached.

    Args:
        notebook: path of an ``.ipynb`` file.
        without: modules to leave out, as in :func:`closure`.
        skip: tags of cells to leave out, such as ``("figure",)``.

    Returns:
        64 hexadecimal digits, with the same invariances as :func:`code_hash`.
    """
    cells = [plain_python(c) for c, tags in code_cells(notebook) if set(skip).isdisjoint(tags)]
    modules = {
        module_name(path): path.read_text(encoding="utf-8")
        for path in closure(notebook, without)
        if path.suffix == ".py"
    }
    digest = hashlib.sha256()
    for line in [*_cell_lines(notebook, skip), *reached("\n".join(cells), modules)]:
        digest.update(line.encode())
    return digest.hexdigest()


def module_name(path: Path) -> str:
    """Returns the dotted name of a file of this package.

    >>> module_name(PACKAGE / "data" / "__init__.py"), module_name(PACKAGE / "ledger.py")
    ('equitutor.data', 'equitutor.ledger')
    """
    parts = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _cell_lines(notebook: str | Path, skip: Collection[str] = ()) -> Iterator[str]:
    for source, tags in code_cells(notebook):
        if set(skip).isdisjoint(tags):
            marks = sorted(_TAGS_THAT_MATTER.intersection(tags))
            yield f"cell {marks} {normalized(plain_python(source))}\n"


def environment() -> dict[str, str]:
    """Returns what the run is made with: versions, device and platform, as words.

    Returns:
        The keys ``python, torch, numpy, equitutor, device, platform``. The name of the
        machine is not among them.

    >>> sorted(environment())
    ['device', 'equitutor', 'numpy', 'platform', 'python', 'torch']
    """
    import numpy
    import torch

    from equitutor import __version__, runtime

    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "equitutor": __version__,
        "device": runtime.device_name(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
