"""A handout keeps every exercise and holds no solution."""

import re

import nbformat
import pytest
from conftest import ROOT
from test_chapters import notebook, tiny  # noqa: F401

from equitutor import __main__ as cli
from equitutor.chapters import chapters
from tools.colab import read_book
from tools.press import assembly, executed, execution
from tools.press.handout import handout, without_solutions
from tools.teach.assignment import sessions
from tools.teach.handouts import YOUR_TURN, lesson_handout, with_gaps

GATE = ":::{{solution-{}}} ex-a\n:::".format
CELL = nbformat.v4.new_markdown_cell


def text(node):
    return "\n".join(cell.source for cell in node.cells if cell.cell_type == "markdown")


def labels(node):
    return re.findall(r"{exercise}[^\n]*\n:label: (\S+)", text(node))


def lines(node):
    """Returns the long lines outside of the solutions, and those that stand only in a solution.

    Found another way than by the press: in the text of all cells, one after another.
    """
    full = "\n".join(cell.source for cell in node.cells)
    pattern = r"\{solution-start\}.*?\{solution-end\}"
    outside = set(re.sub(pattern, "", full, flags=re.DOTALL).splitlines())
    inside = set("\n".join(re.findall(pattern, full, re.DOTALL)).splitlines()) - outside
    return [{line for line in group if len(line) > 20} for group in (outside, inside)]


@pytest.mark.parametrize("name", [name for name in chapters(ROOT) if "/" not in name])
def test_a_handout_keeps_the_exercises_and_drops_the_solutions(name, tmp_path):
    source = nbformat.read(ROOT / f"book/{name}.ipynb", as_version=4)
    made = nbformat.read(handout(ROOT, name, tmp_path), as_version=4)
    nbformat.validate(made)
    assert labels(made) == labels(source) and len(labels(made)) >= 5
    outside, inside = lines(source)
    left = set("\n".join(cell.source for cell in made.cells).splitlines())
    assert len(inside) > 30 and not inside & left
    assert outside <= left
    assert "solution-" not in text(made)
    fences = re.findall(r"^:{3,}(.*)$", text(made), re.MULTILINE)
    assert 2 * sum(bool(rest.strip()) for rest in fences) == len(fences) >= 10
    assert list(tmp_path.iterdir()) == [tmp_path / f"{name}.ipynb"]


@pytest.mark.parametrize(
    "texts",
    [
        [GATE("start"), "Because."],
        ["Because.", GATE("end")],
        [GATE("start"), GATE("start"), GATE("end")],
        [GATE("start") + "\n\nBecause.\n\n" + GATE("end") + "\n\n" + GATE("end")],
    ],
)
def test_gates_that_do_not_match_are_refused(texts):
    with pytest.raises(ValueError, match="solution"):
        without_solutions(nbformat.v4.new_notebook(cells=list(map(CELL, texts))))


def test_a_solution_inside_one_cell_goes_and_what_is_around_it_stays():
    around = f"Why?\n\n{GATE('start')}\n\nBecause.\n\n{GATE('end')}\n\nNext."
    made = without_solutions(nbformat.v4.new_notebook(cells=[CELL(around), CELL("As it is. ")]))
    assert [cell.source for cell in made.cells] == ["Why?\n\nNext.", "As it is. "]


def test_pages_can_be_put_together_without_solutions(tiny):  # noqa: F811
    solved = [("markdown", GATE("start")), "answer = 42", ("markdown", GATE("end"))]
    name = notebook(tiny / "book/tiny.ipynb", "x = 1", *solved)
    cells = nbformat.read(name, as_version=4)
    for kept, there in ((True, True), (False, False)):
        executed.keep(tiny, "tiny", "key", execution.Execution(cells, 1.0, 1.0))
        assembly.assemble(tiny, solutions=kept)
        assert ("answer = 42" in (tiny / "build/src/book/tiny.ipynb").read_text()) is there


def test_the_command(tiny, capsys):  # noqa: F811
    notebook(tiny / "book/tiny.ipynb", "x = 1")
    before = (tiny / "book/tiny.ipynb").read_bytes()
    assert cli.main(["handout", "tiny"]) == 0
    assert capsys.readouterr().out.strip() == str(tiny / "build/handouts/tiny.ipynb")
    for words, said in [
        (["typo"], "no chapter 'typo'"),
        (["tiny", "--out", str(tiny / "book")], "choose another folder"),
        (["tiny", "--out", str(tiny / "book/tiny.ipynb")], "can't be written"),
    ]:
        assert cli.main(["handout", *words]) == 2
        assert said in capsys.readouterr().err
    assert (tiny / "book/tiny.ipynb").read_bytes() == before


@pytest.mark.parametrize("name", sessions(ROOT))
def test_a_lesson_to_work_through_is_plain_and_keeps_its_checks(name):
    source = nbformat.read(ROOT / f"book/{name}.ipynb", as_version=4)
    made = lesson_handout(ROOT, name, read_book(ROOT))
    assert not re.search(r"^:::|\{[\w:-]+\}`", text(made), re.MULTILINE)
    full = {c.id: c for c in source.cells if c.cell_type == "code"}
    for cell in made.cells:
        if cell.id not in full or cell.cell_type != "code":
            continue
        gap = "gap" in full[cell.id].metadata.get("tags", [])
        assert (YOUR_TURN in cell.source) is gap
        kept = [line for line in full[cell.id].source.splitlines() if line.startswith("assert")]
        assert all(line in cell.source for line in kept)


def test_a_gap_leaves_the_head_and_what_stands_around():
    code = "def f(\n    x,\n    y=2,\n):\n    # how\n    z = x\n    return z\n\n\na = 1\n\n\n"
    code += 'def g(x):\n    """Says."""\n    # how\n    return x\n\n\nassert a'
    made = with_gaps(code)
    assert "how" not in made and "return" not in made and made.count(YOUR_TURN) == 2
    assert '"""Says."""' in made and "y=2" in made and made.endswith("assert a")
    compile(made, "made", "exec")
