"""Renders the sources in `build/src`: nothing, or the pages that changed, or the whole book.

Sphinx renders one page anew where only its own words changed. What other pages show of it (titles,
labels, numbers, terms, citations), and what all pages share, makes the whole book new.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import nbformat

import equitutor
from equitutor.chapters import BookError, pages, write_text
from tools.press.feed import write_feed
from tools.press.finish import finish

_JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"
_OPTIONS = ["-W", "-n", "--keep-going", "--quiet", "--path-output", "build/site"]
# Lines of a page that others show or count: headings, labels, openings and options of directives.
_SHARED = re.compile(r"^\s*(?:#|\(|:|```|~~~).*|\{cite[^}]*\}`[^`]*`", re.MULTILINE)
_OPENING = re.compile(r"^# .*\n+(?:.+\n?)+", re.MULTILINE)  # the pages beside it show it


def fingerprint(root: Path, solutions: bool, pdf: bool = False) -> str:
    """Returns a hash of all that a book is made from: sources, package, executed pages, libraries.

    Args:
        root: folder of the book.
        solutions: whether the pages show the solutions of their exercises.
        pdf: whether they offer PDFs.
    """
    package = Path(equitutor.__file__).parent
    names = ("_config.yml", "_toc.yml", "constraints.txt", "CHANGELOG.md")
    files = [root / name for name in names if (root / name).is_file()]
    for folder in (root / "book", package, Path(__file__).parent, root / "build/executed"):
        files += sorted(f for f in folder.rglob("*") if f.is_file() and _counts(f))
    return _hash([solutions, pdf, _libraries()], files)


def render(root: Path, whole: str = "", add: Callable[[Path], None] | None = None) -> Path:
    """Render ``build/src`` with Jupyter Book, warnings as errors; return the page to open.

    Args:
        root: folder of the book.
        whole: what `fingerprint` gave for it; kept beside the site, for `rendered`.
        add: adds to the rendered site, given its folder. The whole book is new before and after it.

    Raises:
        BookError: Jupyter Book ended with an error. No site is left then.
    """
    site, source = root / "build/site", root / "build/src"
    shape = f"{_shape(source)} {whole if add else ''}"
    known = _known(site)
    old_map = site / "_build/html/sitemap.xml"
    if known.get("shape") == shape:
        # Of an incremental build the site map has only the pages that changed.
        sitemap, options = old_map.read_bytes() if old_map.is_file() else None, _OPTIONS
    else:
        shutil.rmtree(site, ignore_errors=True)  # a page that is gone must not stay in the site
        sitemap, options = None, [*_OPTIONS, "--all"]
    stamp = site / "book.json"
    stamp.unlink(missing_ok=True)
    command = [sys.executable, "-c", _JUPYTER_BOOK, "build", "build/src", *options]
    done = subprocess.run(command, cwd=root, check=False)
    page = site / "_build/html/index.html"
    if done.returncode or not page.is_file():
        shutil.rmtree(site, ignore_errors=True)  # what was wrong is to be said the next time, too
        raise BookError(f"jupyter-book ended with code {done.returncode}; its messages are above")
    if sitemap is not None:
        old_map.write_bytes(sitemap)
    write_feed(root, page.parent)
    finish(page.parent)
    if add:
        add(page.parent)
    write_text(stamp, json.dumps({"shape": shape, "whole": whole}))
    return page


def rendered(root: Path, whole: str) -> Path | None:
    """Returns the page to open where the site is that of a fingerprint, else None."""
    page = root / "build/site/_build/html/index.html"
    same = _known(root / "build/site").get("whole") == whole
    return page if same and page.is_file() else None


def _known(site: Path) -> dict:
    try:
        return json.loads((site / "book.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _shape(source: Path) -> str:
    """Returns a hash of all in the sources that more than one page shows."""
    own = set(pages(source))
    rest = (p for p in source.rglob("*") if p.is_file() and p not in own and _counts(p))
    # Records and networks show on pages by way of the outputs of cells.
    hidden = {source / "book/results", source / "book/checkpoints"}
    shared = sorted(p for p in rest if not hidden & {*p.parents})
    press = sorted(Path(__file__).parent.rglob("*.py"))
    return _hash([_libraries(), *(_shared(page) for page in sorted(own))], [*press, *shared])


def _shared(page: Path) -> list[str]:
    """Returns what other pages show of a page, or count."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        words = [text] if "{glossary}" in text else _SHARED.findall(text)
        return [page.name, *words, *_OPENING.findall(text)]
    found = [page.name]
    for cell in nbformat.reads(text, as_version=4).cells:
        found += _OPENING.findall(cell.source) if cell.cell_type == "markdown" else []
        found += _SHARED.findall(cell.source) if cell.cell_type == "markdown" else []
        found.append(json.dumps(cell.metadata.get("mystnb", {}), sort_keys=True))
    return found


def _libraries() -> list[str]:
    installed = {f"{d.name} {d.version}" for d in importlib.metadata.distributions()}
    return [sys.version, *sorted(installed)]


def _counts(path: Path) -> bool:
    return path.suffix not in {".pyc", ".lock"} and ".ipynb_checkpoints" not in path.parts


def _hash(facts: Iterable[object], files: Iterable[Path]) -> str:
    digest = hashlib.sha256(json.dumps(list(facts)).encode())
    for path in files:
        digest.update(f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    return digest.hexdigest()
