"""Records: one sealed line for each run, read into a table."""

import hashlib
import json
import os
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from equitutor.chapters import BookError, find_root
from equitutor.data.reads import checksum
from equitutor.studies.code import code_of
from equitutor.studies.study import canonical, find

__all__ = ["FIELDS", "AlteredRecord", "append", "load", "place", "read", "seal", "stale"]

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

    Raises AlteredRecord, with the number of the line, where one is cut, edited, or no record.
    """
    path = Path(path)
    if not path.exists():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            rest = {key: record[key] for key in FIELDS}
            sound = set(record) == {*FIELDS, "id"} and seal(rest)["id"] == record["id"]
        except (ValueError, TypeError, KeyError):
            sound = False
        if not sound:
            raise AlteredRecord(
                f"{path}, line {number}: this is not what a run wrote. Take the line out, or put "
                "the recorded one back; the next run of the study fills what is missing."
            )
        yield record


def append(path: str | Path, record: dict[str, Any]) -> None:
    """Adds a sealed record to a results file, in place of an older one of the same run.

    Another process may do the same at the same time: both records are there in the end. Whatever
    happens, the file holds whole lines only.

    Args:
        path: the results file; its folder is made.
        record: what `seal` returned.

    Raises:
        AlteredRecord: the file holds a line that no run wrote. It is left as it is.
    """
    from filelock import FileLock

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        kept = [other for other in read(path) if _run(other) != _run(record)]
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.writelines(f"{canonical(r)}\n" for r in [*kept, record])
                file.flush()
                os.fsync(file.fileno())
            os.chmod(part, 0o644)
            os.replace(part, path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise


def _run(record: dict[str, Any]) -> str:
    return canonical([record["size"], record["config"]])


def stale(record: dict[str, Any], code: dict[str, str]) -> list[str]:
    """Returns what has changed since a run: names of modules and of data, none if it is up to date.

    Args:
        record: a record as `read` yields it.
        code: what `code_of` gives for its study today.

    Data whose checksum cannot be known without reading them do not count.
    """
    modules = [name for name, digest in record["code"].items() if code.get(name) != digest]
    today = {name: checksum(name) for name in record["data"]}
    data = [n for n, was in record["data"].items() if today[n] is not None and today[n] != was]
    return sorted(modules) + sorted(data)


def load(study: str, size: str | None = None, results: str | Path | None = None):
    """Returns the records of a study as a pandas DataFrame: one row a run.

    Args:
        study: name of a study, or of its module.
        size: only runs of this size.
        results: folder of results, if it is not that of the book.

    Returns:
        A column for each key of the configurations and for each metric, and `size`, `seconds`,
        `peak_mb`, `device`, `date`, `id` and `stale`: the names of the modules and data that have
        changed since the run, "" where there are none. Means are not stored: compute them.

    Raises:
        AlteredRecord: a line was changed after the run; the message says which.

    >>> sorted(load("polyphase-vit", size="smoke", results="nowhere").columns)[:3]
    ['date', 'device', 'id']
    """
    import pandas as pd

    declared, module = find(study)
    code = code_of(module)
    records = [r for r in read(place(declared.name, results)) if size in (None, r["size"])]
    rows = [
        {
            **{key: r[key] for key in ("size", "seconds", "peak_mb", "device", "date", "id")},
            **r["config"],
            **r["metrics"],
            "stale": ", ".join(stale(r, code)),
        }
        for r in records
    ]
    own = ["size", "seconds", "peak_mb", "device", "date", "id", "stale"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=own)
