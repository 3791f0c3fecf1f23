"""Builds the book: executes the chapters that changed, fills in what was measured, renders.

Three folders below ``build/``: ``executed`` (the cache), ``src`` (sources with outputs), ``site``.
"""

from __future__ import annotations

from pathlib import Path

from equitutor.chapters import BookError, chapters, pages
from tools.press import paper
from tools.press.assembly import assemble
from tools.press.executed import execute_changed, load
from tools.press.rendering import fingerprint, render, rendered


def build(root: Path, jobs: int = 2, solutions: bool = True, pdf: bool = False) -> Path:
    """Build the whole book and return the page to open.

    Args:
        root: folder of the book.
        jobs: how many chapters are executed at once.
        solutions: whether the pages show the solutions of their exercises.
        pdf: whether the pages offer a PDF of theirs, and one of the whole book.

    Raises:
        ChapterFailed: a chapter did not run through.
        BookError: a page is missing, Jupyter Book refused the sources, or a PDF needs a Chromium.
    """
    names = [page.relative_to(root).with_suffix("").as_posix() for page in pages(root)]
    if pdf and paper.chromium() is None:  # both are found before minutes of work
        raise BookError(paper.NO_CHROMIUM)
    if page := rendered(root, fingerprint(root, solutions, pdf)):
        print("Nothing has changed since the last build.")
        return page
    executed = execute_changed(root, jobs)
    assemble(root, solutions)
    finished = fingerprint(root, solutions, pdf)
    site = render(root, finished, (lambda site: paper.print_all(site, names)) if pdf else None)
    for name in chapters(root):
        _, record = load(root, name)
        how = "executed now" if name in executed else "from the cache"
        print(f"{name}: {record.seconds:.0f} s, {record.peak_mb:.0f} MB, {how}")
    return site
