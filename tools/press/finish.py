"""The last touch to rendered pages: what the theme and its extensions leave to be mended."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import nbformat

from equitutor.chapters import write_text
from tools.press import tables, terms

# Of MathJax the pages load one file, and that one its fonts, its extensions and its speech. No page
# leads to the list of all proofs.
UNUSED = [
    "_static/mathjax/*.js", "_static/mathjax/output/svg*", "_static/mathjax/adaptors",
    "_static/mathjax/input/mml*", "_static/mathjax/input/asciimath.js", "**/*.map",
    "prf-prf.html",
]  # fmt: skip
USED = "tex-chtml.js"
DONE = "<!-- mended -->\n"  # the end of a page that has been
PLAIN = ".plain.ipynb"  # a notebook without its outputs, beside the one with them
# Lists and overviews are no running text.
WITHOUT_TERMS = {"index", "glossary", "claims", "references", "notation", "genindex", "search"}


def finish(site: Path) -> None:
    """Mend all new pages below a folder, in place, and delete the scripts that none of them loads.

    Args:
        site: folder of the rendered pages.
    """
    words = site / "book/glossary.html"
    known = terms.glossary(words.read_text(encoding="utf-8")) if words.is_file() else {}
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        if page.endswith(DONE):
            continue  # a build of some pages left it as it was
        page = without_labels(without_repeats(page))
        if path.stem not in WITHOUT_TERMS:
            page = terms.linked(page, known, os.path.relpath(words, path.parent))
        if 'class="et-badge"' in page:  # a chapter
            page = with_notebooks(with_minutes(page))
        write_text(path, to_copies(tables.mended(page)) + DONE)
    for path in site.glob("_sources/**/*.ipynb"):
        if not path.name.endswith(PLAIN):
            write_text(path.with_suffix(PLAIN), without_outputs(path.read_text(encoding="utf-8")))
    for pattern in UNUSED:
        for path in [p for p in site.glob(pattern) if p.name != USED]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def without_outputs(text: str) -> str:
    """Returns the text of a notebook without what its cells have printed and drawn.

    Args:
        text: of an `.ipynb` file.
    """
    node = nbformat.reads(text, as_version=4)
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(node)


def with_notebooks(page: str) -> str:
    """Returns a page whose menu of downloads offers the notebook with and without its outputs.

    Args:
        page: HTML of the page.

    >>> menu = '<li><a href="a.ipynb" class="btn-download-source-button"> .ipynb</a></li>'
    >>> with_notebooks(menu).count("</li>")
    2
    """

    def both(match: re.Match) -> str:
        one, file = match[0], match[1]
        run = one.replace(file, file.removesuffix(".ipynb") + PLAIN)
        name = r"(?<![\w\"])\.ipynb(?=\s*<)"
        return re.sub(name, "Notebook", run) + re.sub(name, "Notebook with outputs", one)

    item = r'<li><a href="([^"]*\.ipynb)"[^>]*btn-download-source-button.*?</li>'
    return re.sub(item, both, page, flags=re.DOTALL)


def with_minutes(page: str) -> str:
    """Returns a page that says below the heading of each section how long it takes to read.

    Counted are 200 words a minute and 4 seconds for a line of code that is not folded. Exercises
    and explorers take as long as they take.

    Args:
        page: HTML of the page.

    >>> with_minutes("<article><h2>A</h2>" + 600 * "word " + "<pre>1</pre></article>")[:60]
    '<article><h2>A</h2><p class="et-minutes">about 3 minutes</p>'
    """
    begin, end = page.find("<article"), page.rfind("</article>")
    parts = re.split(r"(<h2>.*?</h2>)", page[begin:end], flags=re.DOTALL)
    for k in range(2, len(parts), 2):
        if "Exercises" in parts[k - 1] or 'class="et-explorer"' in parts[k]:
            continue
        seen = re.sub(r"<(script|style|svg|details)\b.*?</\1>", "", parts[k], flags=re.DOTALL)
        lines = sum(block.count("\n") for block in re.findall(r"<pre.*?</pre>", seen, re.DOTALL))
        words = len(re.sub(r"<pre.*?</pre>|<[^>]+>", " ", seen, flags=re.DOTALL).split())
        minutes = max(1, round(words / 200 + lines * 4 / 60))
        unit = "minute" if minutes == 1 else "minutes"
        parts[k] = f'<p class="et-minutes">about {minutes} {unit}</p>{parts[k]}'
    return page[:begin] + "".join(parts) + page[end:]


def without_labels(page: str) -> str:
    """Returns a page without ids that stand in it many times, and labels that hide what one reads.

    `id="proof-content"` is that of every proof. A fold's label "Toggle hidden content" takes the
    place of its text for who listens, so do those of two buttons. The number of an exercise in the
    bar of its solution would lead away where one means to open it.

    Args:
        page: HTML of the page.

    >>> without_labels('<section id="proof-content"><summary aria-label="Toggle hidden content">')
    '<section><summary>'
    >>> without_labels('<p class="admonition-title">Solution to<a href="#a"> Exercise 2</a></p>')
    '<p class="admonition-title">Solution to Exercise 2</p>'
    """
    page = re.sub(r' id="(?:proof|exercise|solution)-content"', "", page)
    page = page.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    page = re.sub(r'(<p class="admonition-title">Solution to)<a [^>]*>(.*?)</a>', r"\1\2", page)
    page = re.sub(r'(<button class="btn search-button-field[^>]*) aria-label="Search"', r"\1", page)
    page = re.sub(r'(<i class="theme-switch[^>]*?)\s+title="[^"]*"', r"\1", page)
    return page.replace('role="doc-biblioentry"', 'role="listitem"')


def without_repeats(page: str) -> str:
    """Returns a page without the inline scripts that stand in it a second time.

    The theme and Jupyter Book both insert one that declares constants; twice is an error.

    Args:
        page: HTML of the page.

    >>> without_repeats("<script>const a = 1</script><p></p><script>const a = 1</script>")
    '<script>const a = 1</script><p></p>'
    """
    seen = set()

    def first_only(match: re.Match) -> str:
        if match[0].startswith("<script>const ") and match[0] in seen:
            return ""
        seen.add(match[0])
        return match[0]

    return re.sub(r"<script>.*?</script>", first_only, page, flags=re.DOTALL)


def to_copies(page: str) -> str:
    """Returns a page whose ways to Colab lead to the copies that are made for it (`colab/`).

    The theme's button names the source, whose citations and exercises Colab can't read.

    Args:
        page: HTML of the page.

    >>> to_copies("https://colab.research.google.com/github/a/b/blob/main/book/more/c.ipynb")
    'https://colab.research.google.com/github/a/b/blob/main/colab/more/c.ipynb'
    """
    source = r"(colab\.research\.google\.com/github/[\w-]+/[\w.-]+/blob/[\w.-]+)/book/"
    return re.sub(source, r"\1/colab/", page)
