"""The command line: each mistake gets one clear sentence and exit code 2."""

import importlib.util

import pytest
from test_chapters import notebook, tiny  # noqa: F401

from equitutor import __main__ as cli


def test_run_executes_and_keeps_a_copy(tiny, capfd):  # noqa: F811
    notebook(tiny / "book/tiny.ipynb", "print('stored')")
    assert cli.main(["run", "tiny"]) == 0
    shown = capfd.readouterr()
    assert "stored" in shown.err
    assert "build/runs/tiny-fast.ipynb" in shown.out


def test_a_failing_chapter_gives_one(tiny, capfd):  # noqa: F811
    notebook(tiny / "book/tiny.ipynb", "1 / 0")
    assert cli.main(["run", "tiny"]) == 1
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert (tiny / "build/runs/tiny-fast.ipynb").exists()
    assert cli.main(["build"]) == 1
    assert "tiny: cell 1 of 1 failed" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "typo"], "no chapter 'typo'; the chapters are: tiny"),
        (["address", "--set", "nowhere"], "must look like https://github.com/owner/repository"),
    ],
)
def test_mistakes_get_a_sentence(tiny, capsys, words, said):  # noqa: F811
    assert cli.main(words) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["typo"],
        ["run", "tiny", "--profile", "slow"],
        ["run", "tiny", "--threads", "0"],
        ["run", "tiny", "--fresh"],
    ],
)
def test_argparse_refuses_with_two(tiny, capsys, words):  # noqa: F811
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_missing_page_stops_the_build(tiny, capsys):  # noqa: F811
    (tiny / "book/index.md").unlink()
    assert cli.main(["build"]) == 2
    assert "_toc.yml names book/index" in capsys.readouterr().err


def test_a_missing_tool_is_named(tiny, capsys, monkeypatch):  # noqa: F811
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jupyter_book" else find(name)
    )
    assert cli.main(["build"]) == 2
    assert "jupyter-book not installed: run pip install -r" in capsys.readouterr().err


def test_data_is_passed_on(monkeypatch):
    from equitutor.data import cli as data

    seen = []
    monkeypatch.setattr(data, "main", lambda argv: seen.append(argv) or 7)
    assert cli.main(["data", "fetch", "mnist"]) == 7
    assert seen == [["fetch", "mnist"]]
