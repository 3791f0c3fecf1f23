"""The last touch to rendered pages: what the theme and its extensions leave to be mended."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from equitutor.chapters import write_text

# Of MathJax the pages load one file, and that one its fonts, its extensions and its speech.
UNUSED = [
    "_static/mathjax/*.js", "_static/mathjax/output/svg*", "_static/mathjax/adaptors",
    "_static/mathjax/input/mml*", "_static/mathjax/input/asciimath.js", "**/*.map",
]  # fmt: skip
USED = "tex-chtml.js"


def finish(site: Path) -> None:
    """Mend all pages below a folder, in place, and delete the scripts that none of them loads.

    Args:
        site: folder of the rendered pages.
    """
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        write_text(path, to_copies(without_labels(without_repeats(page))))
    for pattern in UNUSED:
        for path in [p for p in site.glob(pattern) if p.name != USED]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def without_labels(page: str) -> str:
    """Returns a page without ids that stand in it many times, and labels that hide what one reads.

    `id="proof-content"` is that of every proof. A fold's label "Toggle hidden content" takes the
    place of its text for who listens.

    Args:
        page: HTML of the page.

    >>> without_labels('<section id="proof-content"><summary aria-label="Toggle hidden content">')
    '<section><summary>'
    """
    page = re.sub(r' id="(?:proof|exercise|solution)-content"', "", page)
    return page.replace('<summary aria-label="Toggle hidden content">', "<summary>")


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
