"""Records: what a run wrote is what is read, whole, and nothing else is."""

import json
import multiprocessing
import os
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laboratory import lab  # noqa: F401

from equitutor.studies import __main__ as cli
from equitutor.studies import load, records

FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def record(number=0, **changes):
    made = {
        "study": "toy",
        "size": "smoke",
        "config": {"mode": "fit", "x": 0.25, "seed": number, "steps": 60},
        "metrics": {"error": 0.1 + number, "taken": 60.0},
        "seconds": 1.5,
        "peak_mb": 200,
        "device": "cpu",
        "versions": {"torch": "2"},
        "date": "2026-01-31",
        "data": {},
        "code": {},
    }
    return records.seal(made | changes)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "toy.jsonl"
    for number in range(3):
        records.append(path, record(number))
    return path


def test_what_is_appended_is_read_and_a_second_run_takes_the_place_of_the_first(file):
    assert list(records.read(file)) == [record(k) for k in range(3)]
    again = record(1, seconds=9.0)
    records.append(file, again)
    assert list(records.read(file)) == [record(0), record(2), again]
    assert {p.suffix for p in file.parent.iterdir()} <= {".jsonl", ".lock"}
    records.append(file, record(1, size="cpu"))  # another size is another run
    assert len(list(records.read(file))) == 4


def swap(line):
    """The same fields in another order."""
    fields = json.loads(line)
    return json.dumps(dict(reversed(fields.items())), separators=(",", ":"))


ALTERED = {
    "a number": lambda line: line.replace('"error":1.1', '"error":0.1'),
    "a mean of ours": lambda line: line.replace('"seconds":1.5', '"mean":2,"seconds":1.5'),
    "the size": lambda line: line.replace("smoke", "paper"),
    "the seal": lambda line: line.replace('"id":"', '"id":"0'),
    "cut": lambda line: line[:-20],
    "cut to nothing": lambda line: "",
    "one sign": lambda line: line[:-1],
    "a field less": lambda line: line.replace('"device":"cpu",', ""),
    "a key twice": lambda line: line.replace('"size":', '"size":"paper","size":'),
    "another order": swap,
    "spaces": lambda line: line.replace(",", ", "),
    "garbage behind": lambda line: line + "x",
    "a space behind": lambda line: line + " ",
    "a line in a line": lambda line: line + line,
    "the same number": lambda line: line.replace('"peak_mb":200', '"peak_mb":2e2'),
    "no record": lambda line: "[1, 2]",
    "not UTF-8": lambda line: line.replace("toy", "t\udcffy"),
    "too deep": lambda line: "[" * 100_000,
    "another study": lambda line: records.canonical(record(1, study="other")),
    "a run again": lambda line: records.canonical(record(0)),
}


@pytest.mark.parametrize("change", ALTERED.values(), ids=ALTERED)
def test_an_altered_line_is_refused_with_its_number_and_left_alone(file, change, capsys):
    lines = file.read_text().splitlines()
    changed = change(lines[1])
    assert changed != lines[1]
    text = "\n".join([lines[0], changed, lines[2], ""])
    file.write_text(text, encoding="utf-8", errors="surrogateescape")
    before = file.read_bytes()
    for look in (
        lambda: list(records.read(file)),
        lambda: load("toy", results=file.parent),
        lambda: records.append(file, record(7)),
    ):
        with pytest.raises(records.AlteredRecord, match=r"toy\.jsonl, line 2"):
            look()
    for command in (["show", "toy"], ["run", "toy"]):
        assert cli.main([*command, "--results", str(file.parent)]) == 2
        told = capsys.readouterr()
        assert "line 2" in told.err
        assert not told.out
    assert file.read_bytes() == before
    assert not list(file.parent.glob(".toy*"))


@settings(max_examples=60)
@given(st.data())
def test_no_single_byte_can_be_changed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("r") / "toy.jsonl"
    good = (records.canonical(record(0)) + "\n").encode()
    where = data.draw(st.integers(0, len(good) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != good[where]))
    path.write_bytes(good[:where] + bytes([byte]) + good[where + 1 :])
    with pytest.raises(records.AlteredRecord, match="line 1"):
        list(records.read(path))


def test_a_file_from_another_system_is_read(file):
    """Git may turn ends of lines; an editor may drop the last one. That alters no record."""
    text = file.read_text()
    file.write_bytes(text.replace("\n", "\r\n").encode())
    assert len(list(records.read(file))) == 3
    file.write_text(text[:-1])
    assert len(list(records.read(file))) == 3


@pytest.mark.parametrize("change", [{"more": 1}, {"id": "x"}])
def test_only_a_whole_record_is_sealed(change):
    whole = {key: value for key, value in record().items() if key != "id"}
    with pytest.raises(ValueError, match="must have the fields"):
        records.seal(whole | change)
    with pytest.raises(ValueError, match="must have the fields"):
        records.seal({k: v for k, v in whole.items() if k != "code"})
    with pytest.raises(ValueError, match="JSON"):
        records.seal(whole | {"seconds": float("nan")})


def start(function, *args):
    """Starts a process that needs to import nothing."""
    process = multiprocessing.get_context("fork").Process(target=function, args=args)
    process.start()
    return process


def append_twelve(path, first, go):
    go.wait()
    for number in range(first, first + 12):
        records.append(path, record(number))


@FORKS
def test_processes_that_append_at_once_lose_nothing_and_readers_see_whole_lines(tmp_path):
    path, go = tmp_path / "toy.jsonl", multiprocessing.get_context("fork").Event()
    writers = [start(append_twelve, path, 100 * k, go) for k in range(8)]
    go.set()
    counts = []
    while any(w.is_alive() for w in writers):
        counts.append(len(list(records.read(path))))  # raises for half a line
        time.sleep(0.01)
    assert [w.exitcode for w in writers] == [0] * 8
    assert counts == sorted(counts)
    found = {r["config"]["seed"] for r in records.read(path)}
    assert found == {100 * k + i for k in range(8) for i in range(12)}


@pytest.mark.parametrize("crash", ["fsync", "replace"])
def test_a_crash_while_appending_leaves_the_old_file(file, monkeypatch, crash):
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, crash, full)
        with pytest.raises(OSError, match="No space"):
            records.append(file, record(7))
    assert file.read_bytes() == before
    assert not list(file.parent.glob(".toy*"))
    records.append(file, record(7))  # and the lock is free
    assert len(list(records.read(file))) == 4


def append_and_die(path):
    os.fsync = lambda _: os.kill(os.getpid(), 9)
    records.append(path, record(7))


@FORKS
def test_a_killed_writer_leaves_the_old_file_and_no_lock(file):
    before = file.read_bytes()
    process = start(append_and_die, file)
    process.join()
    assert process.exitcode == -9
    assert file.read_bytes() == before
    done = threading.Thread(target=records.append, args=(file, record(8)), daemon=True)
    done.start()
    done.join(20)
    assert not done.is_alive()
    assert len(list(records.read(file))) == 4


def test_load_gives_todays_grid_and_all_columns(lab):  # noqa: F811
    lab.results.mkdir()
    old = record(1, config={"mode": "fit", "x": 99.0, "seed": 0, "steps": 60})
    older = record(2, metrics={"error": 2.0})  # from before there was another metric
    lab.path.write_text("".join(f"{records.canonical(r)}\n" for r in (record(0), old, older)))
    runs = load("toy", results=lab.results)
    assert runs["seed"].tolist() == [0, 2]
    assert runs["taken"].isna().tolist() == [False, True]
    assert {"x", "mode", "stale", "id", "seconds", "peak_mb", "device", "date"} <= {*runs.columns}
    assert load("toy", size="cpu", results=lab.results).empty
    assert cli.main(lab.words("show")) == 0  # "not tested", and no traceback
