"""All that one session needs, in one folder."""

import time
from pathlib import Path

import nbformat

from equitutor.chapters import chapters, write_text
from tools.colab import read_book
from tools.press.executed import execute_one, is_fresh, load
from tools.teach.assignment import make_assignment
from tools.teach.handouts import lesson_handout
from tools.teach.notes import appendix
from tools.teach.slides import deck, write_deck


def make_session(name: str, root: Path, slides: bool = True, echo: bool = False) -> None:
    """Write a session into ``build/teach/<name>``.

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
