"""What the tests of the laboratory share: a folder, a log, and records to compare."""

import importlib
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from equitutor.studies import engine, records

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def canonical(value):
    return json.dumps(value, sort_keys=True)


class Lab:
    """A folder with results and checkpoints, and the log of what was executed."""

    def __init__(self, folder, study="toy"):
        self.folder, self.study = folder, study
        self.results, self.checkpoints = folder / "results", folder / "checkpoints"
        self.path = self.results / f"{study}.jsonl"
        self.log = folder / "log"

    def run(self, size="smoke", only=None, executor=None, every=60.0):
        """Runs in this process, one after another, or in the executor given."""
        with ThreadPoolExecutor(1) as threads:
            return engine.run(self.study, size, only, executor or threads, self.results,
                              self.checkpoints, every, progress=False)  # fmt: skip

    def words(self, command, *more):
        folders = ["--results", self.results]
        folders += ["--checkpoints", self.checkpoints] if command == "run" else []
        return [command, self.study, *map(str, [*more, *folders])]

    def lines(self, kind):
        """Returns the lines of the log that begin with a word, without it."""
        text = self.log.read_text() if self.log.exists() else ""
        return [line.split(" ", 1)[1] for line in text.splitlines() if line.split()[0] == kind]

    def records(self):
        return list(records.read(self.path))

    def facts(self):
        """Returns what must not depend on how and where a grid was run."""
        found = self.records()
        facts = {canonical(r["config"]): (r["metrics"], r["data"], r["code"]) for r in found}
        assert len(facts) == len(found)
        return facts


def environment(lab, sleep=0.0):
    """Returns the environment of a process that runs the toy study."""
    paths = [str(HERE), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "TOY_LOG": str(lab.log),
                         "TOY_SLEEP": str(sleep), "OMP_NUM_THREADS": "1"}  # fmt: skip


@pytest.fixture
def lab(tmp_path, monkeypatch):
    made = Lab(tmp_path)
    for name, value in environment(made).items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def own_lab(tmp_path, monkeypatch):
    """A lab with a copy of the toy study, toy_copy.py, that can be edited and loaded again."""
    for name in ("toy.py", "toy_helper.py"):
        text = (HERE / name).read_text().replace("toy_helper", "copy_helper")
        (tmp_path / name.replace("toy_", "copy_").replace("toy.", "toy_copy.")).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    made = Lab(tmp_path, "toy_copy")
    made.path = made.results / "toy.jsonl"
    monkeypatch.setenv("TOY_LOG", str(made.log))
    yield made
    forget()


def edit(lab, name, old, new):
    """Changes a text in a module of the lab's own study, as a new process would load it."""
    path = lab.folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    shutil.rmtree(lab.folder / "__pycache__", ignore_errors=True)
    forget()


def forget():
    for name in ("toy_copy", "copy_helper"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    engine._code_here.cache_clear()
