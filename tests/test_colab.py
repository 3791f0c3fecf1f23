"""The copies for Colab say what the book says, in plain Markdown."""

import re

import nbformat
import pytest
from conftest import ROOT

from equitutor.chapters import chapters
from tools.colab import Book, copy_for_colab, differing, read_book, write_copies

BOOK = read_book(ROOT)
LEFT = re.compile(r"^:::|\{[\w:-]+\}`|^\([\w-]+\)=$|\\SO\b|<!--|^:label:", re.MULTILINE)


def markdown(text, **metadata):
    return nbformat.v4.new_markdown_cell(text, metadata=metadata)


def copied(*cells, name="nero"):
    node = nbformat.v4.new_notebook(cells=list(cells))
    return copy_for_colab(node, name, BOOK).cells


def plain(text):
    (cell,) = copied(markdown(text))
    return cell.source


def test_the_committed_copies_are_those_of_today():
    assert differing(ROOT) == [], "run `python -m tools.colab`"


@pytest.mark.parametrize("name", chapters(ROOT))
def test_a_copy_is_plain_and_runs_the_same_code(name):
    source = nbformat.read(chapters(ROOT)[name], as_version=4)
    copy = copy_for_colab(source, name, BOOK)
    nbformat.validate(copy)
    texts = [c.source for c in copy.cells if c.cell_type == "markdown"]
    assert [found for text in texts for found in LEFT.findall(text)] == []
    code = [c.source for c in source.cells if c.cell_type == "code"]
    copied_code = [c.source for c in copy.cells if c.cell_type == "code"]
    without_titles = [re.sub(r"\A# @title [^\n]*\n", "", source) for source in copied_code]
    assert without_titles == code
    assert not any(c.outputs for c in copy.cells if c.cell_type == "code")
    assert texts[0].count(f"/book/{name}.html)") == 1  # the way back, on top
    assert len({c.id for c in copy.cells}) == len(copy.cells)


def test_citations_are_links():
    assert plain("Seen {cite:p}`zhao2023nero,ding2023reviving`.") == (
        "Seen ([Zhao et al., 2023](https://arxiv.org/abs/2305.19889); "
        "[Ding et al., 2023](https://arxiv.org/abs/2306.07470))."
    )
    assert plain("{cite:t}`zhao2023nero`") == (
        "[Zhao et al. (2023)](https://arxiv.org/abs/2305.19889)"
    )


def test_pages_open_where_they_can_be_read():
    colab = "https://colab.research.google.com/github/equitutor/equitutor/blob/main/colab/"
    assert plain("{doc}`here <polyphase-vit>`") == f"[here]({colab}polyphase-vit.ipynb)"
    there = "[Glossary](https://github.com/equitutor/equitutor/blob/main/book/glossary.md)"
    assert plain("{doc}`glossary`") == there
    (cell,) = copied(markdown("{doc}`up <../nero>`"), name="evidence/polyphase-vit")
    assert cell.source == f"[up]({colab}nero.ipynb)"


def test_exercises_and_theorems_are_counted_and_found():
    cells = copied(
        markdown(":::{exercise} First\n:label: a\nWhy?\n:::"),
        markdown(
            "Text.\n\n:::{exercise} Second\n:label: b\nSee {ref}`a`.\n:::\n\n"
            ":::{solution-start} b\n:class: dropdown\n:::\n\nBecause."
        ),
        nbformat.v4.new_code_cell("1 + 1"),
        markdown(":::{solution-end}\n:::\n\n:::{prf:theorem} Named\n:label: t\nTrue.\n:::"),
        markdown("By {prf:ref}`t`."),
    )
    first, second, code, theorem, last = cells
    assert first.source == "### Exercise 1. First\n\nWhy?"
    assert second.source == (
        "Text.\n\n### Exercise 2. Second\n\nSee Exercise 1.\n\n"
        "<details><summary>Solution of Exercise 2, in words</summary>\n\nBecause.\n\n</details>"
    )
    assert code.source == "# @title Solution of Exercise 2\n1 + 1"
    assert code.metadata.cellView == "form"
    assert theorem.source == "**Theorem 1 (Named).** True."
    assert last.source == "By Theorem 1."


def test_folded_code_says_what_it_is_and_captions_stand_below():
    figure = nbformat.v4.new_code_cell(
        "plot()",
        metadata={"tags": ["hide-input"],
                  "mystnb": {"figure": {"caption": "It *turns*. See {cite:p}`zhao2023nero`."}}},
    )  # fmt: skip
    code, caption = copied(figure)
    assert code.source == "# @title Figure 1: It turns\nplot()"
    assert caption.source.startswith("*Figure 1.* It *turns*. See ([Zhao et al., 2023](")


def test_formulas_need_no_macros_of_ours():
    assert plain(r"$\SO{3}$, $\SO2$ and $\R^n$, not $\Rightarrow$") == (
        r"${\mathrm{SO}(3)}$, ${\mathrm{SO}(2)}$ and ${\mathbb{R}}^n$, not $\Rightarrow$"
    )


def test_admonitions_are_quotes():
    text = ":::{admonition} Mind\n:class: warning\nOne.\n\nTwo.\n:::"
    assert plain(text) == "> **Mind**\n>\n> One.\n>\n> Two."


@pytest.mark.parametrize("text, named", [
    ("{download}`x`", "role"), (":::{figure} x\n:::", "directive"), (":::{exercise} x", "closed"),
    ("{cite:p}`nobody1900`", "nobody1900"), ("{ref}`nowhere`", "nowhere"),
    (":::{exercise} x\n:label: a\n:::\n\n:::{solution-start} a\n:::", "no end"),
])  # fmt: skip
def test_what_has_no_plain_form_is_named(text, named):
    with pytest.raises(ValueError, match=named):
        copied(markdown(text))


def test_a_changed_lesson_or_copy_is_found(tmp_path):
    made = {}
    write_copies(ROOT, made.__setitem__)
    for name in ("book", "_toc.yml", "_config.yml"):
        (tmp_path / name).symlink_to(ROOT / name)
    for path, text in made.items():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
    assert differing(tmp_path) == []
    (tmp_path / "colab/nero.ipynb").write_text("{}")
    (tmp_path / "colab/gone.ipynb").write_text("{}")
    (tmp_path / "colab/arteq.ipynb").unlink()
    assert differing(tmp_path) == ["colab/arteq.ipynb", "colab/gone.ipynb", "colab/nero.ipynb"]


def test_the_book_knows_its_labels():
    assert isinstance(BOOK, Book)
    page, what = BOOK.labels["ex-unique"]
    assert (page, what) == ("polyphase-vit", "Exercise 1")
