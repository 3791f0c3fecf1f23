"""Everything for a course, from one source: ``python -m tools.teach [SESSION ...]``.

For each session ``build/teach/<session>/``: the notebooks of students and instructors, the
autograder, the handout of the lesson, its slides, the notes for the instructor.
"""

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import nbformat

from equitutor.chapters import BookError, chapters, find_root, write_text
from equitutor.press.executed import execute_one, is_fresh, load
from equitutor.press.execution import ChapterFailed
from tools.colab import read_book
from tools.teach.assignment import make_assignment, sessions
from tools.teach.handouts import lesson_handout
from tools.teach.notes import appendix
from tools.teach.slides import deck, vendor, write_deck

AT_ONCE = 2  # sessions: each takes one core and about 2 GB


def make_session(name: str, root: Path, slides: bool = True, echo: bool = False) -> None:
    """Write all that one session needs into ``build/teach/<name>``.

    Args:
        name: name of a lesson that has a master.
        root: folder of the book.
        slides: also its slides, for which the lesson is executed where it has changed.
        echo: show on the terminal what the lesson prints.

    Raises:
        BookError: as `make_assignment`.
        ChapterFailed: the lesson failed.
    """
    begin, book, out = time.monotonic(), read_book(root), root / "build/teach" / name
    make_assignment(root, name, book, out)
    write_text(out / f"{name}.ipynb", nbformat.writes(lesson_handout(root, name, book)))
    notes = (root / f"book/teach/{name}.md").read_text(encoding="utf-8")
    if slides:
        if not is_fresh(root, name, chapters(root)[name]):
            execute_one(root, name, echo=echo)
        executed, _ = load(root, name)
        shown = deck(executed, name, book)
        write_deck(shown, book.titles[name], out / "slides.html")
        notes += "\n" + appendix(executed, shown)
    write_text(out / "notes.md", notes)
    print(f"{name}: {time.monotonic() - begin:.0f} s, build/teach/{name}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status of the command: 0 all is made, 1 a lesson failed, 2 it can't be."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("session", nargs="*", help="name of a lesson; default: all")
    parser.add_argument("--no-slides", action="store_true", help="slides need the lesson's outputs")
    options = parser.parse_args(argv)
    root = find_root()
    try:
        known = sessions(root)
        if unknown := sorted(set(options.session) - known.keys()):
            raise BookError(f"no session {unknown[0]!r}; the sessions are: {', '.join(known)}")
        names = options.session or list(known)
        make = partial(make_session, root=root, slides=not options.no_slides)
        if len(names) == 1:
            make(names[0], echo=True)
        else:
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(min(AT_ONCE, len(names)), spawn) as pool:
                list(pool.map(make, names))
        vendor(root / "build/teach/vendor")
    except ChapterFailed as error:
        print(error, file=sys.stderr)
        return 1
    except BookError as error:
        print(f"teach: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
