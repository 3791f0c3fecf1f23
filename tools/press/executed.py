"""The cache of executed chapters: what is fresh, and a new execution of what is not."""

from __future__ import annotations

import ast
import concurrent.futures
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

import equitutor
from equitutor.chapters import chapters, write_text
from equitutor.studies.code import code_of, code_of_text
from equitutor.studies.study import STUDIES, find
from tools.press.execution import (
    ChapterFailed,
    Execution,
    execute,
    refuse_warnings,
    without_stderr,
)

PROFILE = "fast"
_TIMED = re.compile(r"^%%?time\b\s*", re.MULTILINE)  # code behind it is code, not a text
CELL_TIMEOUT = 900  # seconds; only a cell that hangs ever meets it


@dataclass(frozen=True)
class Record:
    """What the cache knows about one executed chapter."""

    key: str
    seconds: float
    peak_mb: float
    cores: int


def cache_key(root: Path, notebook: Path) -> str:
    """Returns the SHA-256 over everything that a page's outputs depend on.

    Args:
        root: folder of the book.
        notebook: the page's ``.ipynb`` file.

    Raises SyntaxError where a cell is not Python.
    """
    cells = [c for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code"]
    plain = TransformerManager().transform_cell  # magics become calls
    text = "\n".join(plain(_TIMED.sub("", cell.source)) for cell in cells)
    tags = [sorted({"raises-exception"} & set(c.metadata.get("tags", ()))) for c in cells]
    code, files = code_of_text(text), []
    if "equitutor.studies.records" in code:  # what is stale depends on the code of the studies
        for name in _studies(text, code):
            study, module = find(name)
            code[name] = code_of(module, study.run.__name__)
            files.append(root / f"book/results/{name}.jsonl")
    versions = [PROFILE, sys.version.split()[0], importlib.metadata.version("torch")]
    digest = hashlib.sha256(repr((versions, tags, sorted(code.items()))).encode())
    folders = {Path(equitutor.__file__).parents[1].joinpath(*n.split(".")).parent for n in code
               if n.startswith("equitutor.")}  # fmt: skip
    files += [f for folder in sorted(folders) for f in _data_files(folder)]
    files += [root / "constraints.txt"]
    files += sorted((root / "book/results").glob(f"{notebook.stem}.js*"))  # json, jsonl; no lock
    files += sorted((root / "book/checkpoints").glob(f"{notebook.stem}*"))
    for path in files:
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()


def _studies(text: str, code: dict[str, str]) -> list[str]:
    """Returns the studies that a program may read: named in a text, reached, or else all of them.

    A text with which a name begins counts, as in `load(f"nero-{data}")`.
    """
    nodes = ast.walk(ast.parse(text))
    words = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    begin = tuple(word for word in words if len(word) > 2)
    return [n for n, m in STUDIES.items() if n.startswith(begin) or m in code] or list(STUDIES)


def _data_files(folder: Path) -> Iterator[Path]:
    """Yields the files of a package folder that are not Python, sub-packages left out."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name != "__pycache__" and not (path / "__init__.py").exists():
            yield from _data_files(path)
        elif path.is_file() and path.suffix not in {".py", ".pyc"}:
            yield path


def _cached(root: Path, name: str) -> tuple[Path, Path]:
    folder = root / "build/executed"
    return folder / f"{name}.ipynb", folder / f"{name}.json"


def load(root: Path, name: str) -> tuple[nbformat.NotebookNode, Record] | None:
    """Returns a chapter's executed notebook and its record, or None when it has none.

    Args:
        root: folder of the book.
        name: name of the chapter.
    """
    notebook, record = _cached(root, name)
    if not (notebook.is_file() and record.is_file()):
        return None
    try:
        known = Record(**json.loads(record.read_text()))
    except (ValueError, TypeError):  # a cache of another version of this file
        return None
    return nbformat.read(notebook, as_version=4), known


def is_fresh(root: Path, name: str, notebook: Path) -> bool:
    """Returns whether the cached execution of a chapter still stands for its source.

    Args:
        root: folder of the book.
        name: name of the chapter.
        notebook: the chapter's ``.ipynb`` file.
    """
    found = load(root, name)
    return found is not None and found[1].key == cache_key(root, notebook)


def execute_changed(root: Path, jobs: int = 2) -> list[str]:
    """Execute the chapters whose cached execution is out of date; return their names.

    Args:
        root: folder of the book.
        jobs: how many run at once; one alone shows its progress on the terminal.

    Raises:
        ChapterFailed: one of them failed; nothing is cached for it.
    """
    stale = [name for name, path in chapters(root).items() if not is_fresh(root, name, path)]
    if len(stale) <= 1 or jobs <= 1:
        for name in stale:
            execute_one(root, name, echo=True)
        return stale
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(min(jobs, len(stale)), spawn) as pool:
        running = {pool.submit(execute_one, root, name, echo=False): name for name in stale}
        failures = []
        for future in concurrent.futures.as_completed(running):
            try:
                future.result()
            except ChapterFailed as error:
                failures.append(str(error))
    if failures:
        raise ChapterFailed("\n\n".join(failures))
    return stale


def execute_one(root: Path, name: str, echo: bool) -> None:
    """Execute one chapter in the fast profile and put it into the cache.

    Args:
        root: folder of the book.
        name: name of the chapter.
        echo: show on the terminal what the notebook prints.

    Raises:
        ChapterFailed: it failed; the cache is left as it was.
    """
    notebook = chapters(root)[name]
    print(f"{name}: executing, log in build/logs/{name}.log", flush=True)
    key = cache_key(root, notebook)  # taken before: an edit during the run makes it stale
    done = execute(
        notebook,
        profile=PROFILE,
        log=root / "build/logs" / f"{name}.log",
        timeout=CELL_TIMEOUT,
        echo=echo,
    )
    keep(root, name, key, done)
    print(f"{name}: done in {done.seconds:.0f} s", flush=True)


def keep(root: Path, name: str, key: str, done: Execution) -> None:
    """Put an execution in the fast profile into the cache, and its cost into the results file.

    Args:
        root: folder of the book.
        name: name of the chapter.
        key: its `cache_key`, taken before the execution began.
        done: what the execution left.

    Raises:
        ChapterFailed: a cell wrote a warning; the cache is left as it was.
    """
    refuse_warnings(name, done.notebook)
    record = Record(key, done.seconds, done.peak_mb, os.cpu_count() or 1)
    notebook_path, record_path = _cached(root, name)
    record_path.unlink(missing_ok=True)
    write_text(notebook_path, nbformat.writes(without_stderr(done.notebook)))
    write_text(record_path, json.dumps(asdict(record), indent=1))
