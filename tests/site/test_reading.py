"""What the book's own script and the last touch to its pages do for who reads."""

import re

import pytest
from playwright.sync_api import expect
from test_site import Visit, home, visit  # noqa: F401

WIDE = {"width": 1280, "height": 900}
LESSON = "book/groups-and-orbits"


@pytest.fixture(scope="module")
def lesson(browser, home):  # noqa: F811
    """One lesson, for tests that leave it as they found it."""
    seen = Visit(browser, home, viewport=WIDE, color_scheme="light")
    yield seen.open(LESSON)
    assert seen.outside == []
    seen.context.close()


def test_terms_and_citations_show_their_text_on_hover_and_on_focus(lesson):
    page = lesson
    tip = page.locator(".et-tip")
    for link in (page.locator(".et-term").first, page.locator("a[data-tip]:not(.et-term)").first):
        expect(tip).to_be_hidden()
        link.scroll_into_view_if_needed()
        link.hover()
        expect(tip).to_be_visible()
        assert len(tip.inner_text()) > 20
        tip.hover()  # it may be read with a magnifier
        page.wait_for_timeout(400)
        expect(tip).to_be_visible()
        page.keyboard.press("Escape")
        expect(tip).to_be_hidden()
        page.mouse.move(0, 0)
        link.focus()
        expect(tip).to_be_visible()
        assert link.get_attribute("aria-describedby") == "et-tip"
        link.blur()
        expect(tip).to_be_hidden()


def test_each_term_is_linked_once_a_page_and_leads_to_its_entry(lesson):
    page = lesson
    targets = page.locator(".et-term").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert len(targets) > 5 and len(targets) == len(set(targets))
    assert page.locator(":is(pre, code, h1, h2, a a) .et-term").count() == 0
    page.locator(".et-term").first.click()
    page.wait_for_url("**/book/glossary.html#term-*")
    assert page.evaluate("document.getElementById(location.hash.slice(1)) !== null")
    page.go_back()


def test_a_figure_opens_large_and_closes(lesson):
    page = lesson
    image = page.locator(".bd-article figure img").first
    image.click()
    large = page.locator("dialog.et-zoom[open] img")
    assert large.bounding_box()["height"] > 700
    page.keyboard.press("Escape")
    expect(page.locator("dialog.et-zoom")).to_have_count(0)
    button = page.locator(".et-enlarge").first
    assert button.get_attribute("aria-label").endswith(image.get_attribute("alt"))
    button.focus()
    page.keyboard.press("Enter")
    expect(large).to_be_visible()
    page.keyboard.press("Escape")


def test_drawings_take_their_ink_from_the_theme(lesson):
    page = lesson
    drawing = page.locator(".bd-article figure img[src$='.svg']").first
    drawing.scroll_into_view_if_needed()
    values = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.wait_for_timeout(400)
        assert drawing.evaluate("node => getComputedStyle(node).colorScheme") == theme
        assert drawing.evaluate("node => getComputedStyle(node).filter") == "none"
        values.append(corner_and_ink(drawing))
    page.emulate_media(color_scheme="light")
    (light_paper, light_ink), (dark_paper, dark_ink) = values
    assert light_paper > 240 and light_ink < 60
    assert dark_paper < 40 and dark_ink > 200


def corner_and_ink(element):
    """The brightness of the corner of a picture on the screen, and that farthest from it."""
    import io

    import numpy as np
    from PIL import Image

    shown = Image.open(io.BytesIO(element.screenshot())).convert("L")
    values = np.asarray(shown).astype(int)
    paper = values[2, 2]
    return paper, values.flat[np.abs(values - paper).argmax()]


def test_verdicts_have_a_sign_and_can_be_chosen(visit):  # noqa: F811
    page = visit(viewport=WIDE).open("book/claims")
    rows = page.locator(".et-claims tbody tr")
    total = rows.count()
    signs = set(page.locator(".et-finding > span").all_inner_texts())
    assert {"✓", "✗"} <= signs
    buttons = page.locator(".et-filter button")
    counts = [int(re.search(r"\d+$", text)[0]) for text in buttons.all_inner_texts()]
    assert counts[0] == total == sum(counts[1:])
    for k, count in enumerate(counts):
        buttons.nth(k).click()
        assert page.locator(".et-claims tbody tr:visible").count() == count
        assert buttons.nth(k).get_attribute("aria-pressed") == "true"


def test_a_claim_is_a_card_on_a_phone(visit):  # noqa: F811
    page = visit(viewport={"width": 360, "height": 800}).open("book/claims")
    over = "all => all.filter(e => e.getBoundingClientRect().right > innerWidth).length"
    assert page.locator(".et-claims :is(td, th)").evaluate_all(over) == 0
    label = "e => getComputedStyle(e, '::before').content"
    assert "verdict" in page.locator(".et-claims td").first.evaluate(label)


@pytest.mark.parametrize("name", ["book/claims", "book/evidence/nero", "book/nero"])
def test_tables_name_their_rows_and_themselves(visit, name):  # noqa: F811
    page = visit(viewport=WIDE).open(name)
    tables = page.locator(".bd-article table.table")
    assert tables.count() > 0
    bare = "all => all.filter(t => !t.getAttribute('aria-label') && !t.caption).length"
    assert tables.evaluate_all(bare) == 0
    assert page.locator(".bd-article table.table th[scope='row']").count() > 0
    broken = page.locator(".bd-article td").evaluate_all(
        "all => all.filter(t => /\\de-\\d|(^|[\\s(])-\\d/.test(t.textContent)).length"
    )
    assert broken == 0  # a hyphen in a number, where a line may break


def test_the_ways_on_say_how_the_next_page_begins_and_read_pages_are_marked(visit):  # noqa: F811
    page = visit(viewport=WIDE).open(LESSON)
    own = page.locator(".bd-links li.current > a")
    read = "node => node.classList.contains('et-read')"
    assert not own.evaluate(read)
    way = page.locator(".right-next")
    told = way.locator(".et-opening").inner_text()
    assert len(told) > 20
    way.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('.bd-links .current a.et-read')")
    way.click()
    page.wait_for_url("**/continuous-groups.html")
    assert page.locator("article > section > p").first.inner_text().startswith(told)
    assert page.locator(".bd-links a[href$='groups-and-orbits.html']").first.evaluate(read)
    assert not page.locator(".bd-links li.current > a").evaluate(read)


def test_a_hit_of_the_search_leads_to_the_word(visit):  # noqa: F811
    seen = visit(viewport=WIDE)
    seen.page.goto(f"{seen.home}/search.html?q=stabilizer")
    seen.page.locator("#search-results li a[href*='groups-and-orbits']").first.click()
    seen.page.wait_for_load_state("networkidle")
    seen.page.locator(".highlighted").first.wait_for()
    expect(seen.page.locator(".bd-article .highlighted").first).to_be_in_viewport()


def test_the_bar_of_a_solution_opens_it(lesson):
    assert lesson.locator(".solution > .admonition-title").count() > 3
    assert lesson.locator(".solution > .admonition-title a").count() == 0


def test_a_link_opens_an_explorer_in_its_state(visit):  # noqa: F811
    seen = visit(viewport=WIDE)
    page = seen.open("book/groups-and-orbits")
    figure = page.locator(".et-explorer[aria-label^='The orbit of a shape']")
    assert figure.locator("button").count() == 0  # nothing runs below the fold
    figure.scroll_into_view_if_needed()
    figure.locator("[data-value='C4']").click()
    figure.locator("[data-et='next']").click()
    told = figure.locator("[data-et='where']").inner_text()
    figure.locator(".et-share").click()
    page.wait_for_url("**?explorer=*")
    link = page.url
    again = visit(viewport=WIDE).page
    again.goto(link)
    shown = again.locator(".et-explorer [data-et='where']").first
    expect(shown).to_have_text(told)
    expect(shown).to_be_in_viewport()
    # A state that is none leaves the explorer as it begins.
    broken = visit(viewport=WIDE)
    broken.page.goto(
        re.sub("state=.*", "state=%7B%22group%22%3A%22E8%22%2C%22index%22%3A1e9%7D", link)
    )
    expect(broken.page.locator(".et-explorer [data-et='where']").first).to_have_text(
        "Element 1 of 8:"
    )
    assert broken.said == []
