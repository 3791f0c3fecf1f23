"""The command ``python -m equitutor data``."""

import hashlib

import pytest

from equitutor.data import SETS, DataSet, File
from equitutor.data.cli import main

BODY = b"some data"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A set "toy" of two files without an address, an empty data folder and an empty cache."""
    checksum = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
    files = tuple(File(name, 1_500_000, checksum, ()) for name in ("a.bin", "b.bin"))
    monkeypatch.setitem(SETS, "toy", DataSet("Toy", "Free as air.", "", files))
    for name in ("data", "cache"):
        (tmp_path / name / "toy").mkdir(parents=True)
        monkeypatch.setenv(f"EQUITUTOR_{name.upper()}", str(tmp_path / name))
    return tmp_path / "data" / "toy", tmp_path / "cache" / "toy"


def line_of(output, name):
    return next(line for line in output.splitlines() if line.startswith(name + " "))


@pytest.mark.parametrize(
    ("in_data", "in_cache", "found"),
    [
        ([], [], "-"),
        (["a.bin", "b.bin"], [], "EQUITUTOR_DATA"),
        ([], ["a.bin", "b.bin"], "cache"),
        ([], ["b.bin"], "cache, 1 of 2 files"),
        (["a.bin"], ["b.bin"], "EQUITUTOR_DATA + cache"),
    ],
)
def test_list(folders, capsys, in_data, in_cache, found):
    for folder, names in zip(folders, (in_data, in_cache), strict=True):
        for name in names:
            (folder / name).write_bytes(BODY)
    assert main([]) == 0
    output = capsys.readouterr().out
    header, row = output.splitlines()[0], line_of(output, "toy")
    column = header.index("found in")
    assert row[column:].startswith(f"{found}  ")
    assert row[header.index("license") :] == "Free as air."
    assert "3.0 MB  " in row[:column]
    assert "170.5 MB  " in line_of(output, "cifar10")[:column]
    assert str(folders[0].parent) in output
    assert str(folders[1].parent) in output


def test_list_without_a_data_folder(folders, capsys, monkeypatch):
    monkeypatch.delenv("EQUITUTOR_DATA")
    assert main([]) == 0
    assert "EQUITUTOR_DATA: not set" in capsys.readouterr().out


def test_list_with_a_missing_data_folder(folders, capsys, monkeypatch):
    monkeypatch.setenv("EQUITUTOR_DATA", "/nowhere")
    assert main([]) == 1
    assert "EQUITUTOR_DATA is '/nowhere', which is not a folder" in capsys.readouterr().err


def test_fetch(folders, capsys):
    for folder, name in zip(folders, ("a.bin", "b.bin"), strict=True):
        (folder / name).write_bytes(BODY)
    assert main(["fetch", "toy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [str(folders[0] / "a.bin"), str(folders[1] / "b.bin")]


def test_fetch_fails_in_one_line(folders, capsys):
    assert main(["fetch", "toy"]) == 1
    error = capsys.readouterr().err
    assert "toy/a.bin is not on this machine and has no public address" in error
    assert error.count("\n") == 1


def test_path(folders, capsys):
    for folder, name in zip(folders, ("a.bin", "b.bin"), strict=True):
        (folder / name).write_bytes(BODY)
    assert main(["path", "toy"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(folder) for folder in folders]


def test_path_of_an_absent_set(folders, capsys):
    assert main(["path", "toy"]) == 1
    assert "toy is not on this machine: python -m equitutor data fetch toy" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("command", ["fetch", "path"])
def test_unknown_set(folders, capsys, command):
    assert main([command, "toy", "imagenet"]) == 2
    streams = capsys.readouterr()
    assert streams.err == f"unknown data set 'imagenet'; known: {', '.join(SETS)}\n"
    assert streams.out == ""  # nothing is done by halves


@pytest.mark.parametrize("argv", [["fetch"], ["path"], ["burn", "mnist"], ["--nothing"]])
def test_wrong_usage(capsys, argv):
    assert main(argv) == 2
    assert "usage: python -m equitutor data" in capsys.readouterr().err


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "fetch" in capsys.readouterr().out
