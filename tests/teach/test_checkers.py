"""The checks of the assignments: right answers in any style pass, the nearest mistakes do not."""

import importlib.util
from pathlib import Path

import pytest
from conftest import ROOT
from masters import read

from equitutor.chapters import BookError
from tools.teach.assignment import sessions

NAMES = list(sessions(ROOT))


def answers(name):
    path = Path(__file__).parent / f"answers/{name.replace('-', '_')}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def checked(name):
    return [question for question in read(name) if not question.manual]


@pytest.mark.parametrize("name", NAMES)
def test_right_answers_get_all_points(name):
    right = answers(name).RIGHT
    for question in checked(name):
        assert len(right[question.name]) >= 2
        for number, answer in enumerate([question.solution, *right[question.name]]):
            failed = [k for k, (ok, _) in enumerate(question.passed(answer), 1) if not ok]
            assert not failed, f"{question.name}, answer {number}: checks {failed} refuse it"


@pytest.mark.parametrize("name", NAMES)
def test_the_nearest_mistakes_lose_points(name):
    wrong = answers(name).WRONG
    for question in checked(name):
        assert len(wrong[question.name]) >= 3
        for old, new in wrong[question.name]:
            assert old in question.solution, f"{question.name} has no {old!r}"
            answer = question.solution.replace(old, new)
            assert not question.full(answer), f"{question.name}: {new!r} passed all checks"


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_answer_gets_nothing_and_points_add_up(name):
    questions = read(name)
    assert any(question.manual for question in questions)
    for question in questions:
        assert question.manual or sum(p for p, _, _ in question.checks) == question.points
        assert sum(p for ok, p in question.passed(question.starter) if ok) == 0
    hidden = [h for question in questions for _, h, _ in question.checks]
    assert 0 < sum(hidden) < len(hidden)  # some help, and something that nobody has seen


def test_a_master_without_a_lesson_is_refused(tmp_path):
    (tmp_path / "book/teach").mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (tmp_path / "book/index.md").write_text("# A book\n")
    (tmp_path / "book/teach/typo.ipynb").write_text("{}")
    with pytest.raises(BookError, match="typo"):
        sessions(tmp_path)
