"""Everything for a course, from one source: ``python -m tools.teach [SESSION ...]``.

For each session ``build/teach/<session>/``: the notebooks of students and instructors, the
autograder, the handout of the lesson, its slides, the notes for the instructor.
"""

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from equitutor.chapters import BookError, find_root
from tools.press.execution import ChapterFailed
from tools.teach.assignment import sessions
from tools.teach.session import make_session
from tools.teach.slides import vendor

AT_ONCE = 2  # sessions: each takes one core and about 2 GB


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
            with ProcessPoolExecutor(AT_ONCE, spawn) as pool:
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
