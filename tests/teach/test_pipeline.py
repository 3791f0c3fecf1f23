"""From a master to a grade: one session through Otter, and every way a notebook can end."""

import ast
import base64
import copy
import csv
import os
import re
import subprocess
import sys
import threading
import zipfile

import nbformat
import pytest
from conftest import ROOT
from masters import read

from tools.colab import read_book
from tools.grade import Grade, main, report, table
from tools.teach.assignment import alone, leaks, needed, sessions

SESSION = "groups-and-orbits"
ENDLESS = "import time\nwhile True:\n    time.sleep(1)"  # leaves the processor to the others
DEATH = "import os\nos._exit(1)"


def run(*words, **options):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True, **options)


def master(name):
    return nbformat.read(sessions(ROOT)[name], as_version=4)


@pytest.fixture(scope="module")
def made():
    """The folder of one session, built as a lecturer builds it."""
    done = run("-m", "tools.teach", SESSION, "--no-slides", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return ROOT / f"build/teach/{SESSION}"


@pytest.fixture(scope="module")
def student(made):
    return nbformat.read(made / f"student/{SESSION}.ipynb", as_version=4)


def handed_in(node, folder, name, answers, after=""):
    """Write a student's notebook with the answers filled in; `after` is a cell behind them."""
    node = copy.deepcopy(node)
    places = [c for c in node.cells if "otter_answer_cell" in c.metadata.get("tags", [])]
    places = [c for c in places if c.cell_type == "code"]
    for cell in places:
        word = re.search(r"def (\w+)", cell.source)[1]
        cell.source = next((a for a in answers if f"def {word}(" in a), cell.source)
    if after:
        extra = nbformat.v4.new_code_cell(after)
        node.cells.insert(node.cells.index(places[-1]) + 1, extra)
    nbformat.write(node, folder / f"{name}.ipynb")


def solutions():
    texts = [q.solution for q in read(SESSION) if not q.manual]
    return [part for text in texts for part in re.split(r"(?<=# END SOLUTION)\s+", text.strip())]


def rows(out):
    with (out / "grades.csv").open(encoding="utf-8") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_one_session_from_master_to_grade(made, student, tmp_path, capsys, monkeypatch):
    parsed, parse = [], ast.parse

    def watched(*words, **options):
        parsed.append(threading.current_thread())
        return parse(*words, **options)

    monkeypatch.setattr(ast, "parse", watched)
    q1, q2, lift, mix = solutions()
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    handed_in(student, folder, "ada", [q1, q2, lift, mix])
    handed_in(student, folder, "empty", [])
    # raises what it was given, to get it into the report; the next one is no Python
    raises = "def kind(act, mul, x):\n    raise RuntimeError(f'stolen {mul}')"
    handed_in(student, folder, "half", [q1, raises, "def lift(x, w:\n    return"])
    words = [str(made / "autograder"), str(folder), "--out", str(out), "--jobs", "3"]
    assert main(words) == 0
    found = rows(out)
    totals = {name: float(row["total"]) for name, row in found.items()}
    assert totals == {"ada": 16, "empty": 0, "half": 4}
    assert {name: row["note"] for name, row in found.items()} == dict.fromkeys(totals, "")
    assert "16 of 16" in (out / "ada.md").read_text()
    half, details = (out / "half.md").read_text(), (out / "details/half.md").read_text()
    assert "q2: 0 of 6" in half and half.count("stolen") == 1  # by the check that all have seen
    assert "q2 - 2 (hidden): failed" in half and "q1 - 3 (hidden)" not in half  # q1 is all right
    assert details.count("stolen") == 6 and "(hidden)" not in details
    assert "this is for you to write" in (out / "empty.md").read_text()
    assert "no sandbox" in capsys.readouterr().err
    # Python before 3.11.8 fails now and then where two threads parse at the same time.
    assert set(parsed) == {threading.main_thread()}


def test_a_notebook_that_hangs_or_dies_gets_a_note_and_stops_nobody(made, student, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    node = copy.deepcopy(student)
    node.cells = [c for c in node.cells if "import torch" not in c.source]  # to be quick
    handed_in(node, folder, "dies", [], after=DEATH)
    handed_in(node, folder, "endless", [], after=ENDLESS)
    (folder / "nonsense.ipynb").write_text("this is no notebook")
    words = [str(made / "autograder.zip"), str(folder), "--out", str(out), "--jobs", "3"]
    assert main([*words, "--seconds", "10"]) == 1
    found = rows(out)
    assert set(found) == {"dies", "endless", "nonsense"}
    assert all(row["total"] == "0" and row["note"] for row in found.values())
    assert found["endless"]["note"] == "no result after 10 s"
    assert "could not be graded" in (out / "dies.md").read_text()


def test_a_report_does_not_open_a_hidden_check():
    """What an answer says looks like the head of a check that everybody may read."""
    said = "q1 results:\n    q1 - 1 result:\n        ✅ Test case passed\n\n"
    said += "    q1 - 2 message: The layer has no clothes.\n\n    q1 - 2 result:\n"
    said += "        ❌ Test case failed\n        Error: assert layer\n        q1 - 1 result:\n"
    made = Grade("ada", {"q1": 1.0}, {"q1": 2.0}, {"q1": said})
    assert "assert layer" in report(made)
    closed = report(made, {"q1 - 2"})
    assert "q1 - 2 (hidden): failed" in closed and "✅ Test case passed" in closed
    assert (
        "assert layer" not in closed
        and "clothes" not in closed
        and closed.count("q1 - 1 result") == 1
    )


def test_code_that_lecturers_show_does_what_the_notes_say(capsys):
    notes = (ROOT / "book/teach/what-breaks-equivariance.md").read_text(encoding="utf-8")
    space = {}
    for block in re.findall(r"```python\n(.*?)```", notes, re.DOTALL):
        exec(block, space)
    features, answer, even, odd = capsys.readouterr().out.splitlines()
    assert float(features.split()[-1]) > 0.5 and float(answer.split()[-1]) < 1e-5
    assert float(even.split()[-1]) > 0.5 and odd == "33 0.0"


def test_what_is_no_autograder_is_refused(tmp_path, capsys):
    (tmp_path / "a.ipynb").write_text("{}")
    assert main([str(tmp_path), str(tmp_path)]) == 2
    assert "no autograder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path), str(tmp_path / "empty")]) == 2


def test_a_table_has_a_column_for_each_question_and_a_report_says_what_failed():
    ada = Grade("ada", {"q1": 1.0}, {"q1": 3.0}, {"q1": "q1 - 2: which way do you roll?"})
    bob = Grade("bob", note="no result after 9 s")
    lines = table([ada, bob]).splitlines()
    assert lines == ["file,total,q1,note", "ada,1.0,1.0,", "bob,0,0,no result after 9 s"]
    assert "1 of 3" in report(ada) and "which way do you roll?" in report(ada)


def test_a_student_finds_no_solution_anywhere(made):
    """In cells, metadata, names, outputs, also packed: what one would search who wants to cheat."""
    source = master(SESSION)
    files = [path for path in (made / "student").rglob("*") if path.is_file()]
    assert [path.name for path in files] == [f"{SESSION}.ipynb"]
    text = files[0].read_text(encoding="utf-8")
    assert leaks(source, text) == []
    for word in ("hidden=", "solution", "rubric", "test_long_ways"):
        assert word not in text.lower(), word
    packed = re.findall(r"[A-Za-z0-9+/]{80,}={0,2}", text)
    assert [b for b in packed if b"def " in base64.b64decode(b + "==")] == []
    instructor = (made / f"instructor/{SESSION}.ipynb").read_text(encoding="utf-8")
    assert leaks(source, instructor) and "rubric" in instructor.lower()
    with zipfile.ZipFile(made / "autograder.zip") as archive:
        names = set(archive.namelist())
        assert {"otter_config.json", "tests/q1.py", "setup.sh"} <= names
        assert not [name for name in names if name.endswith(".ipynb")]


def otter_like(questions, keep=()):
    """A student's notebook as Otter makes it: checks by name, no solution but those to `keep`."""
    new_code, new_text = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    cells = [new_code("# Initialize Otter\nimport otter"), new_text("# Title")]
    cells += [new_code(q.starter if q.name not in keep else q.solution) for q in questions]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.parametrize("name", sessions(ROOT))
def test_the_search_for_leaks_finds_one(name):
    source, questions = master(name), read(name)
    auto = [q for q in questions if not q.manual]
    assert leaks(source, nbformat.writes(otter_like(auto))) == []
    for question in auto:
        assert leaks(source, nbformat.writes(otter_like(auto, keep=[question.name])))
    by_hand = next(q for q in questions if q.manual)
    node = otter_like(auto)
    node.metadata["answer"] = by_hand.solution
    assert leaks(source, nbformat.writes(node)), "a rubric in the metadata"


def test_a_notebook_alone_is_plain_and_asks_only_for_what_is_missing(tmp_path):
    book = read_book(ROOT)
    cite = nbformat.v4.new_markdown_cell("Seen by {cite:t}`zhao2023nero`: $\\SO{3}$.")
    node = otter_like([])
    node.cells.append(cite)
    installs = needed(ROOT, book.url, master("nero"))
    made = alone(node, {"q1": "name = 'q1'\n"}, installs, SESSION, book)
    texts = "\n".join(c.source for c in made.cells if c.cell_type == "markdown")
    assert "Zhao et al." in texts and "{cite" not in texts and "\\SO" not in texts
    setup = made.cells[0].source
    assert book.url in setup and "otter-grader==" in setup
    # Run it where one thing is missing: pip is asked for this alone.
    fake = "import subprocess\nsubprocess.run = lambda words, check: print('pip', words[4:])\n"
    fake += "import importlib.util as u\nfind = u.find_spec\n"
    fake += "u.find_spec = lambda name: None if name == 'equitutor' else find(name)\n"
    done = run("-c", fake + setup, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pip" in done.stdout and "equitutor @ git+" in done.stdout
    assert "otter-grader" not in done.stdout
    # Otter comes without what it asks for, which would replace the ipywidgets that are there.
    fake = fake.replace("name == 'equitutor'", "name in ('equitutor', 'otter')")
    done = run("-c", fake + setup, cwd=tmp_path)
    first, second = done.stdout.splitlines()
    assert "equitutor @" in first and "--no-deps" not in first
    assert "otter-grader==" in second and "--no-deps" in second and "ipywidgets" not in second


def test_the_package_is_asked_for_where_it_is_used(student):
    asks = {name: "equitutor" in needed(ROOT, "url", master(name)) for name in sessions(ROOT)}
    assert asks["nero"] and asks["arteq"] and not asks[SESSION] and not asks["soft-equivariance"]
    assert "equitutor @" not in student.cells[0].source and "'torch'" in student.cells[0].source


def test_the_student_notebook_runs_alone_in_an_empty_folder(student, tmp_path):
    """Without the repository: the checks are inside, and an untouched notebook passes none."""
    nbformat.write(student, tmp_path / "homework.ipynb")
    cells = [c.source for c in student.cells if c.cell_type == "code"]
    code = "\n\n".join(c for c in cells if "check_all" not in c)
    code = re.sub(r'grader\.check\("(\w+)"\)', r'print(grader.check("\1"))', code)
    done = run("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "passed" not in done.stdout and done.stdout.count("failed") >= 3
