"""The rendered NERO pages in a real browser without a network: their explorers."""

import re

import pytest

CONTROLS = ["metric", "truth", "consensus", "label", "rank", "previous", "next",
            "aggregate", "map", "method", "color", "individual"]  # fmt: skip


@pytest.fixture
def opened(browser, site):
    """Opens a page by its name, offline; any request to another host fails the test."""
    asked, context = [], browser.new_context(viewport={"width": 1280, "height": 1400})
    context.set_offline(True)
    context.set_default_timeout(120_000)  # for a starved machine

    def visit(name):
        page = context.new_page()
        page.on("request", lambda r: asked.append(r.url) if r.url[:4] == "http" else 0)
        page.goto((site / f"book/{name}.html").as_uri())
        # It starts when it comes near the screen.
        page.locator(".et-explorer").first.scroll_into_view_if_needed()
        page.wait_for_selector(".et-nero")
        return page

    yield visit
    context.close()
    assert not asked


@pytest.fixture
def page(opened):
    """The lesson: digits that turn."""
    return opened("nero")


@pytest.fixture
def deeper(opened):
    """The page that goes deeper: clouds that tumble."""
    return opened("more/nero")


class View:
    """One explorer of the page."""

    def __init__(self, page):
        self.page, self.root = page, page.locator(".et-nero")

    def part(self, name):
        return self.root.locator(f'[data-et="{name}"]').first

    def text(self, name):
        return self.part(name).inner_text()

    def html(self, *names):
        return [self.part(name).inner_html() for name in names]

    def state(self):
        return self.root.inner_html()

    def detail(self):
        """What the view of one input shows: its drawings, and its canvases as pixels."""
        shown = (
            self.part("detail").locator("canvas").evaluate_all("e => e.map((c) => c.toDataURL())")
        )
        return [self.part("detail").inner_html(), *shown]

    def click(self, name, x, y):
        """Clicks a point of a drawing, in its own units."""
        svg = self.part(name).locator("svg").first
        svg.scroll_into_view_if_needed()
        box = svg.bounding_box()
        width = float(svg.get_attribute("viewBox").split()[2])
        self.page.mouse.click(
            box["x"] + x * box["width"] / width, box["y"] + y * box["width"] / width
        )

    def click_dot(self, k):
        dot = self.part("map").locator("circle").nth(k)
        dot.scroll_into_view_if_needed()
        box = dot.bounding_box()
        self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_one_explorer_a_page_that_steps_on(page, deeper):
    for one in (page, deeper):
        assert one.locator(".et-nero").count() == 1
        view = View(one)
        before = view.state()
        view.part("next").click()
        one.wait_for_timeout(400)
        assert view.state() != before


def test_a_click_in_the_map_changes_sample_and_detail(page):
    digits = View(page)
    seen = digits.text("where").split(",")[0]
    before = (*digits.html("individual"), digits.detail())
    for k in range(100):  # some dot that is another sample
        digits.click_dot(k)
        if digits.text("where").split(",")[0] != seen:
            break
    after = (*digits.html("individual"), digits.detail())
    assert digits.text("where").split(",")[0] != seen
    assert [a != b for a, b in zip(before, after, strict=True)] == [True, True]


def test_a_click_in_the_polar_plot_changes_the_element_everywhere(page):
    digits = View(page)
    digits.click("aggregate", 100, 40)  # upwards
    up = digits.text("where"), digits.html("aggregate", "individual"), digits.detail()
    digits.click("individual", 40, 100)  # to the left
    left = digits.text("where"), digits.html("aggregate", "individual"), digits.detail()
    assert up[0].endswith("at 90°") and left[0].endswith("at 180°")
    assert all(a != b for a, b in zip(up[1], left[1], strict=True)) and up[2] != left[2]
    for name in ("aggregate", "individual"):
        assert digits.part(name).get_attribute("aria-valuetext") == "180°"


def test_a_disk_turns_the_cloud(deeper):
    clouds = View(deeper)
    clouds.part("aggregate").focus()
    deeper.keyboard.press("Home")
    before = clouds.text("where"), clouds.detail()
    for key in ("ArrowUp", "ArrowRight", "ArrowUp"):
        deeper.keyboard.press(key)
    assert clouds.text("where") != before[0] and clouds.detail() != before[1]
    assert re.search(r"\d+° about the axis at \d+° in (xy|xz|yz)", clouds.text("where"))


@pytest.mark.parametrize("name", ["nero", "more/nero"])
def test_everything_is_reached_by_keyboard(opened, name):
    page = opened(name)
    wanted = [c for c in CONTROLS if name == "nero" or c not in ("metric", "method")]
    View(page).part(wanted[0]).focus()
    reached = []
    for _ in CONTROLS:
        part, inside = page.evaluate(
            "() => [document.activeElement.dataset.et ?? '', "
            "document.querySelector('.et-nero').contains(document.activeElement)]"
        )
        if not inside:
            break
        reached.append(part)
        page.keyboard.press("Tab")
    assert reached == wanted


def test_consensus_and_class_filter_redraw(page):
    digits = View(page)
    before = digits.html("aggregate")
    digits.part("consensus").click()
    by_vote = digits.html("aggregate")
    digits.part("label").select_option(label="6")
    assert before != by_vote != digits.html("aggregate")
    assert "of class 6" in digits.text("count")


@pytest.mark.parametrize("name", ["nero", "more/nero"])
def test_an_explorer_takes_at_most_one_megabyte(site, name):
    html = (site / f"book/{name}.html").read_text(encoding="utf-8")
    (part,) = re.findall(r'<div class="et-explorer".*?</script>\s*</div>', html, re.DOTALL)
    assert len(part.encode()) < 1_000_000
