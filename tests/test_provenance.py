"""Staleness: what must change the hash of a recorded result, and what must not."""

import nbformat
import pytest

from equitutor import provenance

SHARED = """
from equitutor.other import helper as renamed

LIMIT = 3


def used(x):
    return inner(x) + LIMIT


def inner(x):
    return renamed(x)


def unused(x):
    return 1
"""
OTHER = """
def helper(x):
    return x
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    package = tmp_path / "equitutor"
    package.mkdir()
    monkeypatch.setattr(provenance, "PACKAGE", package)
    (package / "__init__.py").write_text("")
    (package / "shared.py").write_text(SHARED)
    (package / "other.py").write_text(OTHER)
    notebook = tmp_path / "chapter.ipynb"
    cells = [
        nbformat.v4.new_code_cell("from equitutor import shared"),
        nbformat.v4.new_code_cell("result = shared.used(1)"),
        nbformat.v4.new_code_cell("draw(result)", metadata={"tags": ["figure"]}),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)

    def change(name, old, new):
        path = notebook if name == "chapter" else package / f"{name}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return lambda: provenance.reached_hash(notebook, skip=("figure",)), change


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("shared", "inner(x) + LIMIT", "inner(x) - LIMIT"),  # a function that a cell calls
        ("shared", "LIMIT = 3", "LIMIT = 4"),  # a constant it reads
        ("shared", "return renamed(x)", "return renamed(-x)"),  # one call further
        ("other", "return x", "return 2 * x"),  # behind a renamed import
        ("shared", "other import helper as", "other import healer as"),  # the import itself
        ("chapter", "shared.used(1)", "shared.used(2)"),  # the cell
        ("shared", "def used(x)", "@cached\ndef used(x)"),  # a decorator
    ],
)
def test_a_change_that_can_matter_ages_a_result(book, name, old, new):
    digest, change = book
    before = digest()
    change(name, old, new)
    assert digest() != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("shared", "return 1", "return 2"),  # a function no cell names
        ("shared", "def unused(x)", "def another(y):\n    return y\n\n\ndef unused(x)"),
        ("shared", "LIMIT = 3", "LIMIT = 3  # why three"),
        ("chapter", "draw(result)", "draw(result, color)"),  # a cell that only draws
    ],
)
def test_a_change_that_cannot_matter_ages_none(book, name, old, new):
    digest, change = book
    before = digest()
    change(name, old, new)
    assert digest() == before


def test_a_name_that_stands_in_a_string_is_reached(book):
    digest, change = book
    change("chapter", "shared.used(1)", "getattr(shared, 'unused')(1)")
    before = digest()
    change("shared", "return 1", "return 2")
    assert digest() != before
