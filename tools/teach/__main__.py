"""Everything for a course, from one source: ``python -m tools.teach [SESSION ...]``.

For each session ``build/teach/<session>/``: the notebooks of students and instructors, the
autograder.
"""

import argparse
import sys
import time

from equitutor.chapters import BookError, find_root
from tools.colab import read_book
from tools.teach.assignment import make_assignment, sessions


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status of the command: 0 all is made, 2 something can't be."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("session", nargs="*", help="name of a lesson; default: all")
    chosen = parser.parse_args(argv).session
    root = find_root()
    try:
        known = sessions(root)
        if unknown := sorted(set(chosen) - known.keys()):
            raise BookError(f"no session {unknown[0]!r}; the sessions are: {', '.join(known)}")
        book = read_book(root)
        for name in chosen or known:
            begin = time.monotonic()
            make_assignment(root, name, book, root / "build/teach" / name)
            print(f"{name}: {time.monotonic() - begin:.0f} s, build/teach/{name}", flush=True)
    except BookError as error:
        print(f"teach: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
