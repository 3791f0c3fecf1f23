"""The last touch to rendered pages: what the theme and its extensions leave to be mended."""

from __future__ import annotations

import os
import re
import shutil
from html import escape
from pathlib import Path

from equitutor.chapters import write_text
from tools.press import downloads, feed, tables, terms

# Of MathJax the pages load one file, and that one its fonts, its extensions and its speech: that of
# the formulas of an English book. No page leads to the list of all proofs.
UNUSED = [
    "_static/mathjax/*.js", "_static/mathjax/output/svg*", "_static/mathjax/output/chtml.js",
    "_static/mathjax/output/chtml/fonts/*.js", "_static/mathjax/adaptors",
    "_static/mathjax/input/*.js", "_static/mathjax/input/mml*",
    "_static/mathjax/input/tex/extensions/all-packages.js", "_static/mathjax/sre/mathmaps/*",
    "_static/vendor/fontawesome/webfonts/*.ttf", "_static/locales", "**/*.map", "prf-prf.html",
]  # fmt: skip
USED = {"tex-chtml.js", "base.json", "en.json"}
_NEWS = '<link rel="alternate" type="application/rss+xml" title="Changes" href="{}" /></head>'
ICONS = "_static/scripts/fontawesome.js"
DONE = "<!-- mended -->\n"  # the end of a page that has been
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
        page = without_frames(without_labels(without_repeats(page)))
        if path.stem not in WITHOUT_TERMS:
            page = terms.linked(page, known, os.path.relpath(words, path.parent))
        page = with_openings(page, path)
        if 'class="et-badge"' in page:  # a chapter
            page = with_minutes(page)
        page = downloads.with_menu(to_copies(tables.mended(page)))
        if (news := site / feed.NAME).is_file():
            page = page.replace("</head>", _NEWS.format(os.path.relpath(news, path.parent)), 1)
        write_text(path, page + DONE)
    downloads.write_sources(site)
    for pattern in UNUSED:
        for path in [p for p in site.glob(pattern) if p.name not in USED]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if (icons := site / ICONS).is_file():
        texts = [p.read_text(encoding="utf-8") for p in site.rglob("*.html")]
        texts += [p.read_text(encoding="utf-8") for p in site.glob("_static/**/*.js") if p != icons]
        used = {name for text in texts for name in re.findall(r"\bfa-([a-z0-9-]+)", text)}
        write_text(icons, with_icons(icons.read_text(encoding="utf-8"), used))


def with_icons(script: str, used: set[str]) -> str:
    """Returns Font Awesome's script without the icons that no page shows: 1.4 of its 1.5 MB.

    Args:
        script: a list of drawings by name, `name:[width, height, [other names], code, path],`.
        used: names of the icons to keep.

    >>> script = 'a={bars:[4,5,["navicon"],"f0c9","M0 9"],"turn-up":[3,5,[],"f3bf","M3 1"]}'
    >>> with_icons(script, {"navicon"})
    'a={bars:[4,5,["navicon"],"f0c9","M0 9"],}'
    """

    def kept(icon: re.Match) -> str:
        names = {icon[1].strip('"'), *re.findall(r'"([^"]+)"', icon[2])}
        return icon[0] if names & used else ""

    path = r'(?:"[^"]*"|\["[^"]*"(?:,"[^"]*")*\])'
    return re.sub(
        rf'("[a-z0-9-]+"|\b\w+):\[\d+,\d+,\[([^\]]*)\],"[0-9a-f]*",{path}\],?', kept, script
    )


def with_openings(page: str, path: Path) -> str:
    """Returns a page whose ways to the previous and the next one say how those begin.

    Args:
        page: HTML of the page.
        path: its file; the others lie where it says.
    """

    def told(match: re.Match) -> str:
        other = path.parent / match[2]
        words = opening(other.read_text(encoding="utf-8")) if other.is_file() else ""
        return match[1] + match[3] + (f'<p class="et-opening">{escape(words)}</p>' if words else "")

    title = r'.*?<p class="prev-next-title">.*?</p>'
    way = rf'(<a class="(?:left-prev|right-next)"\s+href="([^"]*)")({title})'
    return re.sub(way, told, page, flags=re.DOTALL)


def opening(page: str) -> str:
    """Returns the first sentences of a page, up to 110 characters; "" where it has a formula there.

    Args:
        page: HTML of the page.

    >>> opening("<h1>A</h1><p>Turn a <em>4</em>. You still read a 4. " + "So " * 40 + "</p>")
    'Turn a 4. You still read a 4.'
    """
    first = re.search(r"<h1>.*?</h1>\s*<p>(.*?)</p>", page, re.DOTALL)
    if first is None or 'class="math' in first[1]:
        return ""
    one, *more = re.split(r"(?<=[.?!]) ", " ".join(tables.plain(first[1]).split()))
    for sentence in more:
        if len(one) + len(sentence) >= 110:
            break
        one += f" {sentence}"
    return one


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


def without_frames(page: str) -> str:
    """Returns a page whose figures of a given width keep their shape where that is too wide.

    Sphinx adds a height, which stays when the page is narrower, and a link to the bare file, which
    takes the place of the large view (book.js).

    Args:
        page: HTML of the page.

    >>> figure = '<img src="a.png" style="width: 814px; height: 258px;" />'
    >>> without_frames(f'<a class="reference internal image-reference" href="a.png">{figure}</a>')
    '<img src="a.png" style="width: 814px;" />'
    """
    page = re.sub(r'(<img[^>]*style="width: \d+px;) height: \d+px;', r"\1", page)
    return re.sub(r'<a class="[^"]*image-reference"[^>]*>\s*(<img[^>]*>)\s*</a>', r"\1", page)


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
