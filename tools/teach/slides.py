"""Slides of a lesson, made from its executed notebook: reveal.js, formulas and figures, no network.

What becomes a slide follows from the cells: the title and each section (with its formulas and
lists), each figure with its caption, each short piece of code that is shown on the page. All prose
becomes speaker notes (key S). The tag ``slide`` forces a cell of code onto a slide, ``no-slide``
keeps one away.
"""

import importlib.util
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from equitutor.chapters import write_text
from tools.colab import Book, copy_for_colab

MOST = 25  # slides; beyond, the longest pieces of code are left out
LINES = 18  # of code that can be read from the last row
SHORT = 110  # letters; a sentence that leads to a list or a formula
WIDGET = "application/vnd.jupyter.widget-view+json"
SKIPPED = re.compile(r"Exercises|Further reading|Claims, and|Summary$")
HERE = Path(__file__).parent


@dataclass
class Slide:
    """One slide: what it shows, and what the speaker says."""

    cells: list[NotebookNode]
    notes: list[str]
    code: int = 0  # lines of code; 0 for a slide without

    def cells_out(self) -> list[NotebookNode]:
        """The cells as nbconvert wants them: the slide itself, then its notes."""
        for number, cell in enumerate(self.cells):
            cell.metadata["slideshow"] = {"slide_type": "-" if number else "slide"}
        if not self.notes:
            return self.cells
        note = new_markdown_cell("\n\n".join(self.notes))
        note.metadata["slideshow"] = {"slide_type": "notes"}
        return [*self.cells, note]


def deck(executed: NotebookNode, name: str, book: Book) -> NotebookNode:
    """Returns a lesson as a notebook of slides.

    Args:
        executed: the executed notebook of the lesson; not changed.
        name: name of the lesson.
        book: the book around it.
    """
    outputs = {cell.id: cell for cell in executed.cells if cell.cell_type == "code"}
    slides, pending, section, skipping = [], "", "", False
    for cell in copy_for_colab(executed, name, book).cells:
        source = outputs.get(cell.id)
        tags = source.metadata.get("tags", []) if source else []
        if cell.cell_type == "markdown" and cell.id.removesuffix("-caption") in outputs:
            continue  # a caption: it stands on the slide of its figure
        if cell.cell_type == "markdown":
            for part in re.split(r"(?m)^(?=#{1,3} )", cell.source):
                head = re.match(r"#{1,3} (.*)", part)
                if head:
                    skipping, section = bool(SKIPPED.match(head[1])), head[1]
                if skipping or not part.strip():
                    continue
                body = _shown(part)
                if head and body.count("\n\n") == 0:
                    pending = head[1]  # a heading alone waits for what comes next
                elif body:
                    title = "" if head else f"## {section}\n\n"
                    slides.append(Slide([new_markdown_cell(title + body)], []))
                    pending = ""
                if slides:
                    slides[-1].notes.append(part.strip())
        elif not skipping and "no-slide" not in tags:
            made = _of_code(source, tags, pending, section)
            if made:
                slides.append(made)
                pending = ""
    cells = [cell for slide in _fewer(slides) for cell in slide.cells_out()]
    metadata = {k: v for k, v in executed.metadata.items() if k != "widgets"}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def _shown(text: str) -> str:
    """Returns what of a section stands on the slide: heading, displayed formulas, lists, tables.

    >>> print(_shown("# Turns\\n\\nMany words. You can\\n\\n- turn,\\n- mirror."))
    # Turns
    <BLANKLINE>
    You can
    <BLANKLINE>
    - turn,
    - mirror.
    """
    kept, before = [], ""
    for block in re.split(r"\n\s*\n", text.strip()):
        if re.match(r"#|\$\$|[-*] |1\. |\||\*\*(Theorem|Proposition|Lemma|Rule)", block):
            if re.match(r"\$\$|[-*] |1\. ", block):
                kept.append(_lead(before))
            kept.append(block)
            before = ""
        else:
            before = block
    return "\n\n".join(part for part in kept if part)


def _lead(paragraph: str) -> str:
    """Returns the short sentence that goes on in the formula or the list below it, or ""."""
    last = re.split(r"(?<=[.?!)])\s+(?=[A-Z*$(])", paragraph)[-1]
    return last if len(last) < SHORT and not re.search(r"[.?!)]$", last) else ""


def _of_code(cell: NotebookNode, tags: list[str], pending: str, section: str) -> Slide | None:
    """Returns the slide of a cell of code: its figure with the caption, or its code and output."""
    about = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")
    caption = re.sub(r"\{[\w:]+\}`([^`<]*)[^`]*`", r"\1", about)
    pictures = [o for o in cell.outputs if {"image/png", "text/html"} & o.get("data", {}).keys()]
    copy = nbformat.from_dict(cell)
    copy.outputs = [o for o in copy.outputs if WIDGET not in o.get("data", {})]  # a bar of progress
    lines = cell.source.count("\n") + 1
    if pictures and ("hide-input" in tags or "figure" in tags or "remove-input" in tags):
        first, _, rest = caption.partition(". ")
        title = pending or first.rstrip(".")
        below = rest if not pending else caption
        copy.outputs, copy.metadata["tags"] = pictures, ["no-input"]
        head = new_markdown_cell(f"## {title}" if title else "")
        foot = [new_markdown_cell(f"*{below.strip()}*")] if below.strip() else []
        return Slide([head, copy, *foot], [])
    if "slide" in tags or (not tags and lines <= LINES):
        return Slide([new_markdown_cell(f"## {section}"), copy], [], code=lines)
    return None


def _fewer(slides: list[Slide]) -> list[Slide]:
    """Returns at most `MOST` slides: the longest code goes first, its notes to the one before."""
    slides = list(slides)
    while len(slides) > MOST:
        rank = [(bool(s.code), s.code, -k) for k, s in enumerate(slides)]
        place = rank.index(max(rank[1:]), 1)
        slides[place - 1].notes += slides.pop(place).notes
    return slides


def write_deck(node: NotebookNode, title: str, target: Path) -> None:
    """Write the slides as one page that needs the folder ``vendor`` beside its own folder.

    Args:
        node: a notebook of slides.
        title: what the browser calls the page.
        target: the HTML file.
    """
    from nbconvert import SlidesExporter
    from traitlets.config import Config

    removed = {"enabled": True, "remove_input_tags": {"no-input"}}
    # A projector shows pictures; the drawings beside them are made for the themes of a page.
    kinds = ["text/html", "text/markdown", "image/png", "text/latex", "text/plain"]
    exporter = SlidesExporter(
        template_name="equitutor",
        extra_template_basedirs=[str(HERE / "templates")],
        reveal_url_prefix="../vendor/reveal",
        reveal_theme="equitutor",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        config=Config(
            TagRemovePreprocessor=removed, NbConvertBase={"display_data_priority": kinds}
        ),
    )
    page, _ = exporter.from_notebook_node(node, {"metadata": {"name": title}})
    write_text(target, page)


def vendor(folder: Path) -> None:
    """Copy what the slides load into a folder: reveal.js and MathJax.

    Args:
        folder: the folder ``vendor``; what is in it is replaced.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "reveal", folder / "reveal")
    mathjax = Path(importlib.util.find_spec("sphinx-mathjax-offline").submodule_search_locations[0])
    shutil.copytree(mathjax / "static/mathjax", folder / "mathjax")
