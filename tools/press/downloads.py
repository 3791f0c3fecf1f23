"""What a page can be taken home as: one menu, and the files that it leads to."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import nbformat

from equitutor.chapters import write_text
from tools.press.handout import without_solutions

# Ending beside a page's source below `_sources` -> what the menu calls it, in its order.
NOTEBOOK = {
    ".plain.ipynb": "Notebook",
    ".ipynb": "Notebook with outputs",
    ".handout.ipynb": "Notebook without solutions",
    ".md": "Markdown",
}
TEXT = {".md": "Markdown"}
_ITEM = re.compile(
    r'<li><a href="([^"]*_sources/[^"]*)"[^>]*btn-download-source-button.*?</li>', re.S
)
_PRINT = re.compile(r'(btn-download-pdf-button.*?<span class="btn__text-container">)\.pdf', re.S)
_SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
_RAW = re.compile(r"^(`{3,})\{raw\} html\n.*?\n\1$", re.MULTILINE | re.DOTALL)


def write_sources(site: Path) -> None:
    """Write what the menus lead to beside the sources that Sphinx has copied.

    Args:
        site: folder of the rendered pages.
    """
    made = tuple(ending for ending in NOTEBOOK if ending != ".ipynb")
    for path in [p for p in site.glob("_sources/**/*") if p.suffix in {".ipynb", ".md"}]:
        if path.suffix == ".md":  # that of a page, or one made here
            if not path.with_suffix(".ipynb").exists():
                write_text(path, _RAW.sub("", path.read_text(encoding="utf-8")))
        elif not path.name.endswith(made):
            for ending, text in copies(path.read_text(encoding="utf-8")).items():
                write_text(path.with_suffix(ending), text)


def copies(text: str) -> dict[str, str]:
    """Returns the forms of a notebook, by their endings.

    Args:
        text: of an executed `.ipynb` file.

    >>> cell = nbformat.v4.new_code_cell("1", id="a", outputs=[nbformat.v4.new_output("stream")])
    >>> made = copies(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])))
    >>> list(made), made[".md"]
    (['.ipynb', '.plain.ipynb', '.md'], '```python\\n1\\n```\\n')
    """
    node = nbformat.reads(text, as_version=4)
    found = {".ipynb": _light(node)}
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    found[".plain.ipynb"] = nbformat.writes(node)
    parts = [
        f"```python\n{c.source}\n```" if c.cell_type == "code" else c.source for c in node.cells
    ]
    found[".md"] = "\n\n".join(parts) + "\n"
    if "{solution-start}" in found[".md"]:
        found[".handout.ipynb"] = nbformat.writes(without_solutions(node))
    return found


def _light(node: nbformat.NotebookNode) -> str:
    """Returns a notebook as text, without layout, and without the scripts of its explorers.

    Jupyter runs no script of a notebook that came from elsewhere: until one runs the cell, one sees
    the picture in its place.
    """
    node = copy.deepcopy(node)
    for output in (o for c in node.cells for o in c.get("outputs", ()) if "data" in o):
        if "text/html" in output.data:
            output.data["text/html"] = _SCRIPT.sub("", output.data["text/html"])
    return json.dumps(node, ensure_ascii=False, separators=(",", ":"))


def with_menu(page: str) -> str:
    """Returns a page whose menu of downloads offers each form of its source.

    Args:
        page: HTML of the page.

    >>> item = '<li><a href="_sources/a.ipynb" class="btn-download-source-button">.ipynb</a></li>'
    >>> with_menu(item).count("</li>"), with_menu(item.replace(".ipynb", ".md")).count("</li>")
    (3, 1)
    """

    def all_forms(match: re.Match) -> str:
        item, file = match[0], match[1]
        stem, ending = file.rsplit(".", 1)
        forms = dict(NOTEBOOK if ending == "ipynb" else TEXT)
        if 'class="solution' not in page:
            forms.pop(".handout.ipynb", None)
        name = rf"(?<![\w\"/])\.{ending}(?=\s*<)"
        return "".join(
            re.sub(name, words, item.replace(file, stem + form)) for form, words in forms.items()
        )

    return _PRINT.sub(r"\1Print, or save as PDF", _ITEM.sub(all_forms, page))
