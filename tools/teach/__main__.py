"""Everything for a course, from one source: ``python -m tools.teach [SESSION ...]``.

For each session ``build/teach/<session>/``: the notebooks of students and instructors, the
autograder, the handout of the lesson, its slides, the notes for the instructor.
"""

import argparse
import sys
import time

import nbformat

from equitutor.chapters import BookError, chapters, find_root, write_text
from tools.colab import read_book
from tools.press.executed import execute_one, is_fresh, load
from tools.press.execution import ChapterFailed
from tools.teach.assignment import make_assignment, sessions
from tools.teach.handouts import lesson_handout
from tools.teach.notes import appendix
from tools.teach.slides import deck, vendor, write_deck


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
        book = read_book(root)
        for name in options.session or known:
            begin, out = time.monotonic(), root / "build/teach" / name
            make_assignment(root, name, book, out)
            write_text(out / f"{name}.ipynb", nbformat.writes(lesson_handout(root, name, book)))
            notes = (root / f"book/teach/{name}.md").read_text(encoding="utf-8")
            if not options.no_slides:
                if not is_fresh(root, name, chapters(root)[name]):
                    execute_one(root, name, echo=True)
                executed, _ = load(root, name)
                slides = deck(executed, name, book)
                write_deck(slides, book.titles[name], out / "slides.html")
                notes += "\n" + appendix(executed, slides)
            write_text(out / "notes.md", notes)
            print(f"{name}: {time.monotonic() - begin:.0f} s, build/teach/{name}", flush=True)
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
