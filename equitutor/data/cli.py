"""The command ``python -m equitutor data``: what is there, fetch it, where it lies."""

import argparse
import sys
from pathlib import Path

from equitutor.data.cache import cache_folder, data_folder, fetch_all, locate
from equitutor.data.errors import DataError
from equitutor.data.registry import SETS, dataset


def main(argv: list[str]) -> int:
    """Returns the exit code of the command: 0 done, 1 data can't be had, 2 wrong usage.

    Args:
        argv: the words after ``python -m equitutor data``: none to list the sets,
            ``fetch <set> ...`` to download them, ``path <set>`` to print their folders.

    Example:
        >>> main(["path"])
        2
    """
    try:
        options = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has already printed help or what was wrong
        return stop.code
    try:
        for name in options.sets:
            dataset(name)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        return options.action(options.sets)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m equitutor data", description="List, fetch and find the data sets."
    )
    parser.set_defaults(action=_list, sets=[])
    commands = parser.add_subparsers(metavar="{fetch,path}")
    for name, action, text in (
        ("fetch", _fetch, "download data sets and check them"),
        ("path", _path, "print the folders of a data set"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("sets", nargs="+", metavar="set", help=", ".join(SETS))
        command.set_defaults(action=action)
    return parser


def _list(_: list[str]) -> int:
    header = ("set", "size", "found in", "license")
    rows = [
        (name, f"{entry.size / 1e6:.1f} MB", _found(name), entry.license)
        for name, entry in SETS.items()
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for name, size, found, license in (header, *rows):
        print(f"{name:{widths[0]}}  {size:>{widths[1]}}  {found:{widths[2]}}  {license}")
    print()
    print(f"EQUITUTOR_DATA: {data_folder() or 'not set'}")
    print(f"cache:          {cache_folder()}")
    return 0


def _fetch(sets: list[str]) -> int:
    for name in sets:
        print(*fetch_all(name).values(), sep="\n")
    return 0


def _path(sets: list[str]) -> int:
    for name in sets:
        folders = dict.fromkeys(path.parent for path in _located(name) if path)
        if not folders:
            raise DataError(f"{name} is not on this machine: python -m equitutor data fetch {name}")
        print(*folders, sep="\n")
    return 0


def _located(name: str) -> list[Path | None]:
    return [locate(f"{name}/{file.name}") for file in dataset(name).files]


def _found(name: str) -> str:
    """Returns where a set's files are, in a few words."""
    paths = _located(name)
    there = [path for path in paths if path]
    if not there:
        return "-"
    cache = cache_folder()
    places = {"cache" if path.is_relative_to(cache) else "EQUITUTOR_DATA" for path in there}
    text = " + ".join(sorted(places))
    return text if len(there) == len(paths) else f"{text}, {len(there)} of {len(paths)} files"
