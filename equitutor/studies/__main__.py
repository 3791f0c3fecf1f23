"""The command line: ``python -m equitutor.studies list | run | show``."""

import argparse
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from equitutor.studies import engine, records
from equitutor.studies.code import code_of
from equitutor.studies.study import SIZES, STUDIES, Study, canonical, find
from equitutor.studies.verdicts import shown, table, verdicts


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns 0, 1 if a run failed, 2 if it cannot be done, 130 if stopped.

    Args:
        argv: the words after ``python -m equitutor.studies``; default those of the process.
    """
    options = _parser().parse_args(argv)
    try:
        return options.action(options)
    except (ValueError, OSError, ModuleNotFoundError) as error:  # a wrong word, an altered record
        print(f"studies: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped. What was finished is recorded; the same command goes on.",
              file=sys.stderr)  # fmt: skip
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m equitutor.studies", description="Run the experiments behind the book."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    listed = commands.add_parser("list", help="the studies, their sizes, and what is recorded")
    listed.set_defaults(action=_list, results=None)

    run = commands.add_parser("run", help="run what has no record with today's code")
    run.add_argument("study", help=f"{', '.join(STUDIES)}, or a module that defines STUDY")
    run.add_argument("--size", choices=SIZES, default="smoke")
    run.add_argument(
        "--only", action="append", default=[], metavar="KEY=VALUE[,VALUE]",
        help="only runs with this value, e.g. network=plain; may be given again",
    )  # fmt: skip
    where = run.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, metavar="N", help="processes (one a GPU, or a core)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler, tcp://host:port")
    run.add_argument("--checkpoints", type=Path, metavar="DIR", help="default build/runs/STUDY")
    run.set_defaults(action=_run)

    show = commands.add_parser("show", help="tables and verdicts from the records")
    show.add_argument("study")
    show.add_argument("--size", choices=SIZES, help="default: the largest one recorded")
    show.set_defaults(action=_show)

    for command in (run, show):
        command.add_argument("--results", type=Path, metavar="DIR", help="default: the book's")
    return parser


def _list(options: argparse.Namespace) -> int:
    for name in STUDIES:
        study, module = find(name)
        code = code_of(module, study.run.__name__)
        found = [r for r in records.read(records.place(study.name)) if records.planned(study, r)]
        old = Counter(r["size"] for r in found if records.stale(r, code))
        there = Counter(r["size"] for r in found)
        print(name)
        for size, configs in study.sizes.items():
            if isinstance(configs, str):
                print(f"  {size:6s} {configs}")
                continue
            stale = f", {old[size]} of them stale" if old[size] else ""
            print(f"  {size:6s} {len(configs)} runs, {there[size]} recorded{stale}")
    return 0


def _run(options: argparse.Namespace) -> int:
    only = {}
    for word in options.only:
        key, equals, values = word.partition("=")
        if not equals or not key or not values:
            raise ValueError(f"--only must be KEY=VALUE, got {word!r}")
        only.setdefault(key, []).append(values)
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {options.workers}")
    if options.scheduler:
        executor = partial(engine.cluster, options.scheduler)
    else:
        executor = partial(engine.pool, options.workers)
    report = engine.run(
        options.study, options.size, only, executor, options.results, options.checkpoints
    )
    print(f"{report.done} runs done, {report.recorded} had a record, {len(report.failed)} failed")
    for config, reason in report.failed:
        print(f"failed: {config}: {reason.splitlines()[0]}", file=sys.stderr)
    return 1 if report.failed else 0


def _show(options: argparse.Namespace) -> int:
    study, _ = find(options.study)
    runs = records.load(options.study, results=options.results)
    if runs.empty:
        print(f"no runs of {study.name} are recorded")
        return 0
    there = [size for size in SIZES if (runs["size"] == size).any()]
    size = options.size or there[-1]
    mine = runs[runs["size"] == size]
    print(f"{study.name}, size {size}: {len(mine)} runs (recorded sizes: {', '.join(there)})")
    if mine.empty:
        return 0
    for names in sorted({s for s in mine["stale"] if s}):
        print(f"stale: {(mine['stale'] == names).sum()} runs, changed since: {names}")
    axes = _axes(study, size)
    for name, part in mine.groupby(axes[:-1], sort=False) if axes[:-1] else [((), mine)]:
        print("\n" + ", ".join(map(str, name)))
        print(table(part, axes[-1], list(study.units), study.units).T.to_string())
    print()
    for found in verdicts(study, runs, size):
        value = f" ({shown(found.estimate, found.claim.unit)})" if found.estimate else ""
        print(f"{found.verdict.upper()}{value}: {found.claim.text}\n    {found.reason}")
    return 0


def _axes(study: Study, size: str) -> list[str]:
    """Returns the fewest keys that tell the runs of a size apart, but for the seed."""
    configs, axes, count = study.planned(size), [], 1
    others = dict.fromkeys(key for config in configs for key in config if key != "seed")
    for key in ["data", "network", *others]:
        kinds = {canonical([c.get(k) for k in (*axes, key)]) for c in configs}
        if len(kinds) > count:
            axes, count = [*axes, key], len(kinds)
    return axes or list(others)[:1] or ["seed"]


if __name__ == "__main__":
    sys.exit(main())
