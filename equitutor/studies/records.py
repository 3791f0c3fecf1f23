"""Records: one sealed line for each run, read into a table."""

import hashlib
import json
import math
import os
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from equitutor.chapters import BookError, find_root
from equitutor.data.reads import checksum
from equitutor.files import replacing
from equitutor.studies.code import ANYWHERE, code_of
from equitutor.studies.study import Study, canonical, find

__all__ = ["FIELDS", "AlteredRecord", "append", "load", "place", "planned", "read", "seal", "stale"]

# What a record holds, besides its seal `id`.
FIELDS = (
    "study", "size", "config", "metrics", "seconds", "peak_mb", "device", "versions", "date",
    "data", "code",
)  # fmt: skip


class AlteredRecord(ValueError):
    """A line of a results file is not as a run wrote it; the message names file and line."""


def seal(record: dict[str, Any]) -> dict[str, Any]:
    """Returns the record with its `id`: a SHA-256 over all the rest.

    Raises ValueError where a field is missing or is none of `FIELDS`.

    >>> record = seal(dict.fromkeys(FIELDS))
    >>> sorted(record)[:3], len(record["id"])
    (['code', 'config', 'data'], 64)
    """
    if set(record) != set(FIELDS):
        raise ValueError(f"a record must have the fields {FIELDS}, got {tuple(record)}")
    return record | {"id": hashlib.sha256(canonical(record).encode()).hexdigest()}


def place(study: str, folder: str | Path | None = None) -> Path:
    """Returns the results file of a study: in `folder`, else in the book, else as installed.

    Args:
        study: name of the study, as it stands in the records.
        folder: folder of results, made when something is appended.

    >>> place("polyphase-vit", "somewhere").as_posix()
    'somewhere/polyphase-vit.jsonl'
    """
    if folder is not None:
        return Path(folder) / f"{study}.jsonl"
    try:
        return find_root() / "book/results" / f"{study}.jsonl"
    except BookError:  # the package alone is installed, as on Colab
        return Path(sysconfig.get_path("data"), "share/equitutor/results", f"{study}.jsonl")


def read(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yields the records of a results file; none where there is no file.

    Raises AlteredRecord, with the number of the line, where one is cut, edited, no record, of
    another study than the file is named after, or of a run that another line records already.

    >>> list(read("no-such-file.jsonl"))
    []
    """
    path = Path(path)
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    first: dict[str, int] = {}
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, 1):
        record = _opened(line)
        if record is None or record["study"] != path.stem:
            problem = "this is not what a run of this study wrote"
        elif (other := first.setdefault(_run(record), number)) != number:
            problem = f"line {other} records the same run"
        else:
            yield record
            continue
        raise AlteredRecord(
            f"{path}, line {number}: {problem}. Take the line out, or put the recorded one back; "
            "the next run of the study fills what is missing."
        )


def _opened(line: str) -> dict[str, Any] | None:
    """Returns the record in a line, or None if it is not, sign by sign, as written."""
    try:
        record = json.loads(line)
        sealed = seal({key: value for key, value in record.items() if key != "id"})
        return record if canonical(sealed) == line else None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def append(path: str | Path, record: dict[str, Any]) -> None:
    """Adds a sealed record to a results file, in place of an older one of the same run.

    Another process may do the same at the same time: both records are there in the end. Whatever
    happens, the file holds whole lines only.

    Args:
        path: the results file; its folder is made.
        record: what `seal` returned.

    Raises:
        AlteredRecord: the file holds a line that no run wrote. It is left as it is.

    >>> import tempfile
    >>> record = seal(dict.fromkeys(FIELDS) | {"study": "toy", "size": "smoke", "config": {}})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     append(place("toy", folder), record)
    ...     append(place("toy", folder), record)
    ...     len(list(read(place("toy", folder))))
    1
    """
    from filelock import FileLock

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        kept = [other for other in read(path) if _run(other) != _run(record)]
        with replacing(path) as file:
            file.writelines(f"{canonical(r)}\n".encode() for r in [*kept, record])
            file.flush()
            os.fsync(file.fileno())


def check_writable(folder: Path) -> None:
    """Makes a folder; raises OSError where nothing can be written into it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _run(record: dict[str, Any]) -> str:
    return canonical([record["size"], record["config"]])


def planned(study: Study, record: dict[str, Any]) -> bool:
    """Returns whether the configuration of a record is one that the study still has.

    Args:
        study: the study. record: a record of it, as `read` yields it.

    >>> study, _ = find("polyphase-vit")
    >>> planned(study, {"size": "cpu", "config": {"network": "plain"}})
    False
    """
    return canonical(record["config"]) in study.texts.get(record["size"], ())


def stale(record: dict[str, Any], code: dict[str, str]) -> list[str]:
    """Returns what has changed since a run: names of modules and of data, none if it is up to date.

    Args:
        record: a record as `read` yields it.
        code: what `code_of` gives for its study today.

    Data whose checksum cannot be known without reading them do not count. Code that was moved to
    another module has not changed.

    >>> stale({"code": {"a": "1", "b": "2"}, "data": {}}, {"a": "1", "b": "3"})
    ['b']
    >>> stale({"code": {"*": "1", "a": "2"}, "data": {}}, {"*": "1", "b": "2"})
    []
    >>> stale({"code": {"a": "1"}, "data": {}}, {"b": "1"})
    []
    >>> stale({"code": {"a": "1", "b": "1"}, "data": {}}, {"b": "1"})
    ['a']
    """
    then = {n: was for n, was in record["code"].items() if n != ANYWHERE}
    moved = record["code"].get(ANYWHERE, "") == code.get(ANYWHERE)
    # A module that has another name today, with all that the run reached in it, is the same code.
    renamed = {was for n, was in code.items() if n not in then}
    same = lambda n, was: code[n] == was if n in code else was in renamed
    modules = [] if moved else [n for n, was in then.items() if not same(n, was)]
    today = {name: checksum(name) for name in record["data"]}
    data = [n for n, was in record["data"].items() if today[n] is not None and today[n] != was]
    return sorted(modules) + sorted(data)


def load(study: str, size: str | None = None, results: str | Path | None = None):
    """Returns the records of a study as a pandas DataFrame: one row a run of today's grid.

    Args:
        study: name of a study, or of its module.
        size: only runs of this size.
        results: folder of results, if it is not that of the book.

    Returns:
        A column for each key of the configurations and for each metric, and `size`, `seconds`,
        `peak_mb`, `device`, `date`, `id` and `stale`: the names of the modules and data that have
        changed since the run, "" where there are none. Means are not stored: compute them. Records
        of configurations that the study no longer has stay in the file and out of the table.

    Raises:
        AlteredRecord: a line was changed after the run; the message says which.

    >>> list(load("polyphase-vit", results="nowhere").columns)[:3]
    ['size', 'seconds', 'peak_mb']
    """
    import pandas as pd

    declared, module = find(study)
    code = code_of(module, declared.run.__name__)
    rows = [
        {
            **{key: r[key] for key in ("size", "seconds", "peak_mb", "device", "date", "id")},
            **r["config"],
            **dict.fromkeys(declared.units, math.nan),
            **r["metrics"],
            "stale": ", ".join(stale(r, code)),
        }
        for r in read(place(declared.name, results))
        if size in (None, r["size"]) and planned(declared, r)
    ]
    own = ["size", "seconds", "peak_mb", "device", "date", "id", "stale"]
    grids = [configs for configs in declared.sizes.values() if not isinstance(configs, str)]
    axes = dict.fromkeys(key for configs in grids for config in configs for key in config)
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*own, *axes, *declared.units])
