"""The command line: ``python -m equitutor build | run | handout | data | address``.

All but `data` is for a checkout: the tools of the book lie beside the package, not in it.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from equitutor.chapters import BookError, chapter, find_root

_TOOLS = {"jupyter-book": "jupyter_book", "nbclient": "nbclient", "psutil": "psutil"}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0 well, 1 a chapter failed, 2 cannot be done.

    Args:
        argv: the words after ``python -m equitutor``; default those of the process.
    """
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["data"]:
        from equitutor.data.cli import main as data

        return data(words[1:])
    options = _parser().parse_args(words)
    try:
        return options.action(options)
    except BookError as error:
        print(f"equitutor: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m equitutor", description="Build the book, run a chapter, get its data."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    build = commands.add_parser("build", help="execute what changed and render the whole book")
    build.add_argument("--jobs", type=_positive, default=2, help="chapters executed at once (2)")
    build.add_argument("--hide-solutions", action="store_true", help="for a course")
    build.add_argument("--pdf", action="store_true", help="offer each page and the book as PDF")
    build.set_defaults(action=_build)

    run = commands.add_parser("run", help="execute one chapter without a browser")
    run.add_argument("chapter", help="its name, e.g. polyphase-vit")
    run.add_argument("--profile", choices=["fast", "full"], default="fast")
    run.add_argument("--threads", type=_positive, help="CPU threads of PyTorch (fast: 1)")
    run.set_defaults(action=_run)

    handout = commands.add_parser("handout", help="copy a chapter without its solutions")
    handout.add_argument("chapter", help="its name, e.g. polyphase-vit")
    handout.add_argument("--out", type=Path, metavar="FOLDER", help="default: build/handouts")
    handout.set_defaults(action=_handout)

    commands.add_parser("data", help="list, fetch or find the data sets", add_help=False)

    address = commands.add_parser("address", help="show or change the public address of the book")
    address.add_argument("--set", metavar="URL", dest="new", help="rewrite it everywhere")
    address.set_defaults(action=_address)
    return parser


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, it is {number}")
    return number


def _beside() -> None:
    """Make the ``tools`` of a checkout importable, or raise BookError where there are none."""
    home = Path(__file__).resolve().parents[1]
    if not (home / "tools/press").is_dir():
        raise BookError("the tools of the book are not installed: run this in a clone of it")
    if str(home) not in sys.path:
        sys.path.insert(0, str(home))


def _require_tools() -> None:
    """Raise BookError when a tool that only authors need is not at hand."""
    _beside()
    missing = [name for name, module in _TOOLS.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise BookError(
            f"{' and '.join(missing)} not installed: run pip install -r requirements.txt first"
        )


def _build(options: argparse.Namespace) -> int:
    root = find_root()
    _require_tools()
    from tools.press.book import build
    from tools.press.execution import ChapterFailed

    try:
        page = build(root, options.jobs, not options.hide_solutions, options.pdf)
    except ChapterFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\nThe book is ready. Open this address in a browser:\n    {page.resolve().as_uri()}")
    return 0


def _run(options: argparse.Namespace) -> int:
    root = find_root()
    notebook = chapter(root, options.chapter)
    _require_tools()
    from tools.press.execution import ChapterFailed, execute

    name = f"{options.chapter}-{options.profile}"
    copy = root / "build/runs" / f"{name}.ipynb"
    log = root / "build/logs" / f"{name}.log"
    _say(f"{options.chapter}: profile {options.profile}, log in {log.relative_to(root)}")
    try:
        done = execute(
            notebook,
            profile=options.profile,
            log=log,
            threads=options.threads or (1 if options.profile == "fast" else None),
            save=copy,
        )
    except ChapterFailed as error:
        print(error, file=sys.stderr)
        _say(f"The notebook as far as it came: {copy.relative_to(root)}")
        return 1
    _say(f"{options.chapter}: {done.seconds:.0f} s, {done.peak_mb:.0f} MB")
    _say(f"Executed copy: {copy.relative_to(root)}")
    return 0


def _handout(options: argparse.Namespace) -> int:
    root = find_root()
    _require_tools()
    from tools.press.handout import handout

    _say(str(handout(root, options.chapter, options.out)))
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _address(options: argparse.Namespace) -> int:
    _beside()
    from tools.press.address import address, disagreements, set_address

    root = find_root()
    if options.new:
        for path in set_address(root, options.new):
            print(f"changed {Path(path).relative_to(root)}")
    problems = disagreements(root)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(address(root))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
