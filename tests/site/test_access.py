"""Every page read by axe-core, in light and dark, with all folds open and all explorers running."""

from importlib.resources import files

import pytest
from test_site import NAMES, Visit, home, served, visit  # noqa: F401

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
# Names that differ from the words one reads, off by default.
RULES = {"rules": {"label-content-name-mismatch": {"enabled": True}}, "resultTypes": ["violations"]}


def faults(page, **options):
    """What axe finds serious or critical: rule, impact, and the first places."""
    page.evaluate(AXE)
    found = page.evaluate("(o) => axe.run(document, o)", {**RULES, **options})["violations"]
    return {
        one["id"]: [str(node["target"][0]) for node in one["nodes"][:4]]
        for one in found
        if one["impact"] in ("serious", "critical")
    }


def opened(page):
    """The page with each fold open and each explorer started."""
    page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    page.evaluate(
        "for (const b of [...document.querySelectorAll('.toggle-button-hidden')]) b.click()"
    )
    for explorer in page.locator(".et-explorer").all():
        explorer.scroll_into_view_if_needed()
        explorer.locator(".et-root:not([aria-busy='true']) :is(button, input)").first.wait_for()
    return page


@pytest.mark.parametrize("name", NAMES)
def test_nothing_keeps_a_reader_out(visit, name):  # noqa: F811
    page = opened(visit(viewport={"width": 1280, "height": 900}, color_scheme="light").open(name))
    assert faults(page) == {}
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_timeout(300)  # the theme fades
    assert faults(page, runOnly=["color-contrast"]) == {}
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))


def test_what_is_out_of_sight_has_no_tab_stop_of_its_own(visit):  # noqa: F811
    """Formulas that fit are no tab stops; wide code in an opened solution is one."""
    page = opened(visit(viewport={"width": 1280, "height": 900}).open("book/groups-and-orbits"))
    wide = page.evaluate(
        "[...document.querySelectorAll('.bd-article pre, .bd-article mjx-container[display]')]"
        ".map((box) => [box.scrollWidth > box.clientWidth + 1, box.tabIndex === 0])"
    )
    assert any(scrolls for scrolls, _ in wide)
    assert all(reached or not scrolls for scrolls, reached in wide)
    assert page.locator("mjx-container:not([display])[tabindex='0']").count() == 0


@pytest.mark.parametrize(
    "fault, rule",
    [
        ("<img src='data:image/png;base64,AAAA'>", "image-alt"),
        ("<button><i class='icon'></i></button>", "button-name"),
        ("<p style='background: #fff; color: #bbb'>pale</p>", "color-contrast"),
        ("<button aria-label='Other'>Words</button>", "label-content-name-mismatch"),
        ("<div role='list'><p>x</p></div>", "aria-required-children"),
        ("<pre style='overflow: auto; width: 4em'>a very long line of code</pre>",
         "scrollable-region-focusable"),
    ],
)  # fmt: skip
def test_a_fault_is_seen(browser, tmp_path, fault, rule):
    page = f"<html lang='en'><title>x</title><main><h1>x</h1>{fault}</main>"
    (tmp_path / "twin.html").write_text(page)
    with served(tmp_path) as address:
        seen = Visit(browser, address)
        assert set(faults(seen.open("twin"))) == {rule}
        seen.context.close()
