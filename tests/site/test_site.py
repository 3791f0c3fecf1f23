"""The built site in a headless browser, with every other host blocked."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import cache, partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from conftest import ROOT

from equitutor.chapters import pages

CHAPTER = "book/arteq"  # has wide figures and wide formulas
NAMES = [page.relative_to(ROOT).with_suffix("").as_posix() for page in pages(ROOT)]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(folder):
    """The address of a plain file server for the folder, while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def home(site):
    """The address of the built site."""
    with served(site) as address:
        yield address


class Visit:
    """One page, opened: what it asked for, what failed, what it said."""

    def __init__(self, browser, home, **options):
        self.home = home
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(120_000)  # for a starved machine
        self.page = self.context.new_page()
        self.outside, self.failed, self.said = [], [], []
        self.context.route("**/*", self._gate)
        self.page.on("requestfailed", lambda r: self.failed.append(f"{r.url}: {r.failure}"))
        self.page.on("response", self._response)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda e: self.said.append(str(e)))

    def _gate(self, route):
        if route.request.url.startswith((self.home, "data:", "blob:")):
            route.continue_()
        else:
            self.outside.append(route.request.url)
            route.abort()

    def _response(self, response):
        if response.status >= 400:
            self.failed.append(f"{response.url}: {response.status}")

    def _console(self, message):
        if message.type in {"error", "warning"}:
            self.said.append(message.text)

    def open(self, name):
        self.page.goto(f"{self.home}/{name}.html", wait_until="load")
        self.page.wait_for_load_state("networkidle")
        self.page.evaluate("() => window.MathJax?.startup?.promise")
        return self.page


@pytest.fixture
def visit(browser, home):
    """Open pages with the given browser options; closed when the test ends."""
    opened = []

    def start(**options):
        opened.append(Visit(browser, home, **options))
        return opened[-1]

    yield start
    for one in opened:
        one.context.close()


class Links(HTMLParser):
    """The links and anchors of one page, and the addresses of its scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors, self.loaded = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        have = dict(attrs)
        self.anchors.update(have[key] for key in ("id", "name") if have.get(key))
        if tag == "a" and have.get("href"):
            self.links.append(have["href"])
        if tag in {"script", "img", "iframe"} and have.get("src"):
            self.loaded.append(have["src"])
        if tag == "link" and have.get("rel") in {"stylesheet", "preload", "icon"}:
            self.loaded.append(have["href"])


@cache
def links_of(path):
    """The links of a file, read once for all tests."""
    return Links(path.read_text(encoding="utf-8"))


def dead_links(site, names):
    """The links inside of the site that lead to no file, or to no place in it."""
    files = [site / f"{name}.html" for name in names]
    read = {path: links_of(path) for path in files}
    dead = []
    for path, links in read.items():
        for link in links.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                dead.append(f"{path.name}: {link}")
                continue
            anchors = read[target].anchors if target in read else {unquote(parts.fragment)}
            if parts.fragment and unquote(parts.fragment) not in anchors:
                dead.append(f"{path.name}: {link}")
    return dead


def test_every_internal_link_and_anchor_leads_somewhere(site, tmp_path):
    assert dead_links(site, NAMES) == []
    links = ("#there", "twin.html#there", "#gone", "twin.html#gone", "gone.html", "//a.org/#gone")
    html = '<p id="there">' + "".join(f'<a href="{link}">x</a>' for link in links)
    (tmp_path / "twin.html").write_text(html)
    assert dead_links(tmp_path, ["twin"]) == [f"twin.html: {link}" for link in links[2:5]]


def to_themselves(site, names):
    """The links in the text of a page that lead to the top of the same page."""
    found = []
    for name in names:
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        article = re.search("<article.*?</article>", text, re.DOTALL)[0]
        leaf = name.rsplit("/", 1)[-1]
        found += [
            f"{name}: {link}" for link in Links(article).links if link in ("#", f"{leaf}.html")
        ]
    return found


def test_no_page_sends_its_readers_to_where_they_are(site, tmp_path):
    assert to_themselves(site, NAMES) == []
    links = ("twin.html", "twin.html#there", "../twin.html")
    html = "".join(f'<a href="{link}">x</a>' for link in links)
    (tmp_path / "twin.html").write_text(f"<article>{html}</article>")
    assert to_themselves(tmp_path, ["twin"]) == ["twin: twin.html"]


def overweight(site):
    """What is heavier than a reader should have to load, in bytes."""
    size = lambda path: path.stat().st_size if path.is_file() else 0
    heavy = {p.name: n for p in site.rglob("*.html") if (n := size(p)) > 1_500_000}
    if (whole := sum(map(size, site.rglob("*")))) > 30_000_000:
        heavy["the site"] = whole
    for page in site.glob("book/*.html"):
        links = links_of(page).loaded
        scripts = {urlsplit(link).path for link in links if ".js" in link}  # some are preloaded
        # The index of the search is no script to run.
        own = [page.parent / s for s in scripts if not s.endswith("searchindex.js")]
        if (total := sum(map(size, own))) > 1_500_000:
            heavy[f"scripts of {page.name}"] = total
    return heavy


def test_pages_and_site_are_light(site, tmp_path):
    assert overweight(site) == {}
    (tmp_path / "book").mkdir()
    (tmp_path / "book/large.html").write_text("x" * 1_600_000)
    (tmp_path / "book/small.html").write_text("<script src='../a.js'></script>")
    (tmp_path / "a.js").write_text("x" * 30_000_000)
    assert set(overweight(tmp_path)) == {"large.html", "the site", "scripts of small.html"}


def test_nothing_is_loaded_from_another_host(site):
    loaded = {
        f"{path.name}: {address[:80]}"
        for path in site.rglob("*.html")
        for address in links_of(path).loaded
        if urlsplit(address).scheme in {"http", "https"} or address.startswith("//")
    }
    assert loaded == set()


def test_chapters_have_a_badge_and_a_way_to_colab(site):
    for page in pages(ROOT):
        text = (site / page.relative_to(ROOT)).with_suffix(".html").read_text(encoding="utf-8")
        assert "<!-- badge -->" not in text
        assert "<!-- hero -->" not in text
        assert "<!-- claims -->" not in text
        if page.suffix == ".ipynb":
            assert 'class="et-badge"' in text
            copies = re.findall(r"colab\.research[^\"]*/blob/main/([^\"]*)", text)
            own = f"colab/{page.relative_to(ROOT / 'book').as_posix()}"
            assert own in copies
            assert all((ROOT / copy).is_file() for copy in copies)


def test_pages_say_what_they_are_to_machines(site):
    for name in NAMES:
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        for wanted in ("citation_title", "citation_author", "og:title", "og:image", "canonical"):
            assert re.search(rf'<(meta|link)[^>]*"{wanted}"', text), (name, wanted)
        assert f"{name}.html" in (site / "sitemap.xml").read_text(encoding="utf-8")


def test_every_page_names_the_feed_of_changes(site):
    items = ElementTree.parse(site / "changelog.xml").findall("channel/item")
    entries = re.findall(r"^- ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(items) == len(entries) == len({item.findtext("guid") for item in items})
    assert all(len(item.findtext("title")) > 3 for item in items)
    for name in NAMES:
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        (link,) = re.findall(
            r'<link rel="alternate" type="application/rss\+xml"[^>]*href="(.*?)"', text
        )
        assert ((site / name).parent / link).resolve() == (site / "changelog.xml").resolve()


def test_one_menu_offers_each_form_of_a_page(site):
    import nbformat

    item = r'href="([^"]*/_sources/[^"]*)"[^>]*dropdown-item.*?btn__text-container">([^<]*)<'
    for page in pages(ROOT):
        html = (site / page.relative_to(ROOT)).with_suffix(".html")
        text = html.read_text(encoding="utf-8")
        menu = {name: html.parent / file for file, name in re.findall(item, text, re.DOTALL)}
        if page.suffix == ".md":
            assert list(menu) == ["Markdown"]
            assert "{raw} html" not in menu["Markdown"].read_text(encoding="utf-8")
            continue
        solved = 'class="solution' in text
        assert len(menu) == 3 + solved
        nodes = {k: nbformat.read(f, 4) for k, f in menu.items() if f.suffix == ".ipynb"}
        outputs = {k: sum(len(c.get("outputs", ())) for c in n.cells) for k, n in nodes.items()}
        assert outputs.pop("Notebook with outputs") > 0 == sum(outputs.values())
        assert "<script" not in menu["Notebook with outputs"].read_text(encoding="utf-8")
        words = menu["Markdown"].read_text(encoding="utf-8")
        assert words.startswith("# ") and "```python\n" in words
        assert ("{solution-start}" in menu["Notebook"].read_text(encoding="utf-8")) == solved
        if solved:
            handout = menu["Notebook without solutions"].read_text(encoding="utf-8")
            assert "{exercise}" in handout and "{solution-start}" not in handout


def test_the_root_leads_to_the_index(visit, home):
    page = visit().open("index")
    page.wait_for_url(f"{home}/{NAMES[0]}.html")
    assert page.locator("main h1").first.inner_text().startswith("Equitutor")


def test_a_phone_scrolls_wide_figures_and_formulas_by_keyboard_too(visit):
    page = visit(viewport={"width": 380, "height": 800}).open(CHAPTER)
    for kind in (".et-wide", "mjx-container[display='true']"):
        boxes = page.locator(f".bd-article {kind}")
        wide = boxes.evaluate_all("all => all.findIndex(e => e.scrollWidth > e.clientWidth + 20)")
        assert wide >= 0
        boxes.nth(wide).focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("() => document.activeElement.scrollLeft > 0")
    narrow = visit(viewport={"width": 1280, "height": 800}).open(CHAPTER)
    assert narrow.locator(".bd-article .et-wide").count() > 0
    assert narrow.locator(".bd-article .et-wide[tabindex]").count() == 0  # there it all fits


def test_search_finds_a_word_offline(visit):
    seen = visit()
    seen.page.goto(f"{seen.home}/search.html?q=equivariant")
    seen.page.locator("#search-results li").first.wait_for()
    assert seen.outside == []
