"""Pages on paper: articles without bars, with all folds open, printed to PDF by Chromium.

Where the site has an explorer, paper has its picture. Links go to a place on the same paper, or to
the public address of the book.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from posixpath import normpath
from urllib.parse import urlsplit

from equitutor.chapters import BookError, write_text

BOOK = "_pdf/book.pdf"  # below the site; the other pages lie beside it by their names
NO_CHROMIUM = "a PDF needs a Chromium: install one, or name it in EQUITUTOR_CHROMIUM"
_ARTICLE = re.compile(r"<article\b.*?</article>", re.DOTALL)
_SCRIPT = re.compile(r"<script\b([^>]*)>.*?</script>", re.DOTALL)
_ADDRESS = re.compile(r'\b(href|src)="([^"]*)"')
_PRINT = re.compile(r'<li>\s*<button onclick="window\.print\(\)".*?</button>\s*</li>', re.DOTALL)
_ITEM = (
    '<li><a href="{}" class="btn btn-sm btn-download-pdf-button dropdown-item">'
    '<span class="btn__icon-container"><i class="fas fa-file-pdf"></i></span>'
    '<span class="btn__text-container">{}</span></a></li>'
)


def chromium() -> str | None:
    """Returns the path of a Chromium to drive, or None.

    It is the one named in the environment variable EQUITUTOR_CHROMIUM, else that of the system,
    else the one that came with Playwright.
    """
    chosen = os.environ.get("EQUITUTOR_CHROMIUM")
    if chosen:
        return chosen
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        own = driver.chromium.executable_path
    return own if Path(own).exists() else None


def paper(site: Path, names: Sequence[str]) -> str:
    """Returns some pages as one page for the root of the site: their articles, one after another.

    Args:
        site: folder of the rendered pages.
        names: of the pages below it, such as "book/nero".
    """
    texts = {name: (site / f"{name}.html").read_text(encoding="utf-8") for name in names}
    first = texts[names[0]]
    head = first[first.index("<head") : first.index("</head>")]
    head = _SCRIPT.sub(lambda s: s[0] if "MathJax" in s[0] or "mathjax" in s[1] else "", head)
    articles = [_article(_ARTICLE.search(text)[0], name, texts) for name, text in texts.items()]
    return (
        f'<!doctype html><html lang="en" data-theme="light">{_at_root(head, names[0])}</head>'
        f'<body class="et-paper"><main id="main-content">{"".join(articles)}</main></body></html>'
    )


def _article(text: str, name: str, names: Sequence[str]) -> str:
    """Returns an article for the paper: folds open, no scripts, anchors that name their page."""
    text = _SCRIPT.sub("", text)
    text = re.sub(r"<details\b(?![^>]*\bopen\b)", "<details open", text)
    text = re.sub(r'\bid="([^"]*)"', rf'id="{name}--\1"', text)
    text = re.sub(r'(aria-\w+by|for)="([^"]*)"', rf'\1="{name}--\2"', text)
    return _at_root(text, name, names).replace("<article", f'<article id="{name}"', 1)


def _at_root(text: str, name: str, names: Sequence[str] = ()) -> str:
    """Returns HTML of a page whose addresses are those seen from the root of the site."""
    folder = PurePosixPath(name).parent

    def address(match: re.Match) -> str:
        parts = urlsplit(match[2])
        if parts.scheme or parts.netloc:
            return match[0]
        path = normpath((folder / parts.path).as_posix()) if parts.path else f"{name}.html"
        page = path.removesuffix(".html")
        if page in names:
            return f'{match[1]}="#{page}{"--" if parts.fragment else ""}{parts.fragment}"'
        rest = f"?{parts.query}" * bool(parts.query) + f"#{parts.fragment}" * bool(parts.fragment)
        return f'{match[1]}="{path}{rest}"'

    return _ADDRESS.sub(address, text)


def print_all(site: Path, names: Sequence[str]) -> None:
    """Write a PDF of each page and one of all, and offer them in the pages' menus.

    Args:
        site: folder of the rendered pages.
        names: of the pages below it, in the order of the book.

    Raises:
        BookError: there is no Chromium.
    """
    from playwright.sync_api import sync_playwright

    browser_path = chromium()
    if browser_path is None:
        raise BookError(NO_CHROMIUM)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        offer_pdfs(browser, site, names)
        browser.close()


def offer_pdfs(browser, site: Path, names: Sequence[str]) -> None:
    """Does what `print_all` does, with a browser that runs.

    Args:
        browser: a running Chromium of Playwright.
        site: folder of the rendered pages.
        names: of the pages below it, in the order of the book.
    """
    for name in names:
        print_pdf(browser, site, [name], site / f"_pdf/{name}.pdf")
    print_pdf(browser, site, names, site / BOOK)
    for name in names:
        path = site / f"{name}.html"
        up = "../" * name.count("/")
        items = _ITEM.format(f"{up}_pdf/{name}.pdf", "PDF")
        items += _ITEM.format(f"{up}{BOOK}", "PDF of the whole book")
        write_text(path, _PRINT.sub(items, path.read_text(encoding="utf-8")))


def print_pdf(browser, site: Path, names: Sequence[str], target: Path) -> None:
    """Write some pages as one PDF of A4, with an outline; page numbers come from book.css.

    Args:
        browser: a running Chromium of Playwright.
        site: folder of the rendered pages.
        names: of the pages below it.
        target: file to write; its folder is made when missing.
    """
    source = site / "paper.html"
    source.write_text(paper(site, names), encoding="utf-8")
    page = browser.new_page()
    page.set_default_timeout(600_000)
    try:
        page.goto(source.as_uri())
        page.evaluate("() => window.MathJax?.startup?.promise")
        # What a link leaves the paper by, its reader may not have: the public site has it.
        page.evaluate("""() => {
          const home = document.querySelector("link[rel=canonical]")?.href.replace(/book\\/.*/, "");
          for (const link of home ? document.querySelectorAll("article a[href]") : [])
            if (link.protocol === "file:" && !link.getAttribute("href").startsWith("#"))
              link.href = home + link.getAttribute("href");
        }""")
        target.parent.mkdir(parents=True, exist_ok=True)
        page.pdf(
            path=target,
            format="A4",
            print_background=True,
            outline=True,
            tagged=True,
        )
    finally:
        page.close()
        source.unlink()
