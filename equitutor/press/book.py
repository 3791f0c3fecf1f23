"""Builds the book: executes the chapters that changed, fills in what was measured, renders.

Three folders below ``build/``: ``executed`` (the cache), ``src`` (sources with outputs), ``site``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from equitutor.chapters import BookError, chapters, pages
from equitutor.press.assembly import assemble
from equitutor.press.executed import execute_changed, load
from equitutor.press.finish import finish

_JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"


def build(root: Path, jobs: int = 2, solutions: bool = True) -> Path:
    """Build the whole book and return the page to open.

    Args:
        root: folder of the book.
        jobs: how many chapters are executed at once.
        solutions: whether the pages show the solutions of their exercises.

    Raises:
        ChapterFailed: a chapter did not run through.
        BookError: a page is missing, or Jupyter Book refused the sources.
    """
    pages(root)  # a missing page is found before minutes of work
    executed = execute_changed(root, jobs)
    assemble(root, solutions)
    site = render(root)
    for name in chapters(root):
        _, record = load(root, name)
        how = "executed now" if name in executed else "from the cache"
        print(f"{name}: {record.seconds:.0f} s, {record.peak_mb:.0f} MB, {how}")
    return site


def render(root: Path) -> Path:
    """Render ``build/src`` with Jupyter Book, warnings as errors; return the page to open.

    Args:
        root: folder of the book.

    Raises:
        BookError: Jupyter Book ended with an error.
    """
    site = root / "build/site"
    shutil.rmtree(site, ignore_errors=True)  # a page that is gone must not stay in the site
    options = ["-W", "-n", "--keep-going", "--all", "--quiet"]
    command = [sys.executable, "-c", _JUPYTER_BOOK, "build", "build/src", *options]
    done = subprocess.run([*command, "--path-output", "build/site"], cwd=root, check=False)
    page = site / "_build/html/index.html"
    if done.returncode or not page.is_file():
        raise BookError(f"jupyter-book ended with code {done.returncode}; its messages are above")
    finish(page.parent)
    return page
