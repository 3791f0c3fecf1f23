"""Pages on paper: whole, without bars, and led to from the menu of each page."""

import re
import shutil

import pytest
from test_site import Links

from tools.press import paper

PAGES = ["book/groups-and-orbits", "book/evidence/polyphase-vit"]
# Text that is in the page and cannot be seen on paper.
UNSEEN = """() => {
  const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    const apart = "script, style, mjx-container, svg, .headerlink, summary .collapsed";
    if (!texts.currentNode.data.trim() || node.closest(apart)) continue;
    const { width, right } = node.getBoundingClientRect();
    let cut = !node.checkVisibility() || width < 1 || right > innerWidth + 1;
    for (let e = node; e; e = e.parentElement)
      cut ||= getComputedStyle(e).overflowX !== "visible" && e.scrollWidth > e.clientWidth + 1;
    if (cut)
      found.push(texts.currentNode.data.trim().slice(0, 60));
  }
  return found;
}"""


@pytest.fixture
def printed(browser, site, tmp_path):
    """Function that opens HTML of the site's root as it is printed on A4."""
    pages = []

    def show(html):
        source = tmp_path / "paper.html"
        source.write_text(html.replace('="_', f'="{site.as_uri()}/_'), encoding="utf-8")
        page = browser.new_page(viewport={"width": 794, "height": 1123})  # A4
        pages.append(page)
        page.emulate_media(media="print")
        page.goto(source.as_uri())
        page.evaluate("() => window.MathJax?.startup?.promise")
        return page

    yield show
    for page in pages:
        page.close()


def test_nothing_of_a_page_is_lost_on_paper_and_no_bar_is_left(printed, site):
    page = printed(paper.paper(site, PAGES))
    assert page.evaluate(UNSEEN) == []
    assert page.locator("nav, aside, header, footer, .bd-sidebar, button:visible").count() == 0
    assert page.locator("article h1").count() == len(PAGES)
    assert page.locator(".solution .cell").count() > 3
    assert page.locator(".math:not(:has(mjx-container))").count() == 0
    explorers = page.locator(".et-explorer")
    assert explorers.count() == explorers.locator(":is(img, [role='img'])").count() == 2
    broken = "all => all.filter(i => !i.complete || !i.naturalWidth).length"
    assert page.locator("img").evaluate_all(broken) == 0


def test_folded_and_cut_text_is_noticed(printed):
    html = "<details><summary>a</summary><p>folded</p></details><p hidden>hidden</p>"
    html += "<pre style='overflow: hidden; width: 4em'><span>much too long</span></pre>"
    html += "<p style='white-space: nowrap; width: 900px'>wide</p><p>seen</p>"
    assert printed(html).evaluate(UNSEEN) == ["folded", "hidden", "much too long", "wide"]


def test_links_stay_on_the_paper_where_they_can(site):
    text = paper.paper(site, [*PAGES, "book/polyphase-vit"])
    links = Links(text)
    inside = [link[1:] for link in links.links if link.startswith("#")]
    assert len(inside) > 20 and set(inside) <= links.anchors
    assert any("--" in link for link in inside)
    assert "book/polyphase-vit" in inside  # the evidence names its lesson
    rest = [link for link in links.links if not re.match("#|https?:|mailto:", link)]
    assert all((site / link.split("#")[0].split("?")[0]).exists() for link in rest)
    assert text.count("<article") == 3


def test_a_pdf_is_made_and_every_menu_leads_to_it(browser, site, tmp_path):
    for name in ("_static", "_images"):
        (tmp_path / name).symlink_to(site / name)
    names = ["book/cluster", "book/references"]
    (tmp_path / "book").mkdir()
    for name in names:
        shutil.copy(site / f"{name}.html", tmp_path / f"{name}.html")
    paper.offer_pdfs(browser, tmp_path, names)
    for name in names:
        page = tmp_path / f"{name}.html"
        files = [link for link in Links(page.read_text()).links if link.endswith(".pdf")]
        assert files == [f"../_pdf/{name}.pdf", "../_pdf/book.pdf"]
        assert all((page.parent / file).read_bytes().startswith(b"%PDF-") for file in files)
        assert "window.print()" not in page.read_text()
    sizes = [(tmp_path / f"_pdf/{name}.pdf").stat().st_size for name in [*names, "book"][:2]]
    assert (tmp_path / paper.BOOK).stat().st_size > max(sizes)
    assert not (tmp_path / "paper.html").exists()
