"""The orbit explorer and the multiplication tables, in a real browser without a network."""

import re

import pytest
import torch
from conftest import started
from playwright.sync_api import expect

from equitutor import groups
from equitutor.explorers import cayley_explorer, orbit_explorer
from equitutor.explorers.symmetry import SHAPES

READY = ".et-row"  # the page is up when this is there


def part(page, name):
    return page.locator(f'[data-et="{name}"]').first


def choose(page, kind, value):
    page.click(f'[data-et="{kind}"][data-value="{value}"]')


def centers(polygons):
    """The middles of the squares of a picture, (right, up), sorted."""
    found = []
    for points in polygons:
        corners = torch.tensor([[float(v) for v in p.split(",")] for p in points.split()])
        right, down = corners.mean(0).tolist()
        found.append((round(right, 2) + 0.0, round(-down, 2) + 0.0))
    return sorted(found)


def polygons(locator):
    return locator.locator("polygon").evaluate_all("all => all.map(p => p.getAttribute('points'))")


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_tiles_are_what_the_group_does_to_the_shape(show, shape):
    page = show(orbit_explorer().to_html())
    choose(page, "shape", shape)
    cells = torch.tensor(list(SHAPES.values())[shape]).double()
    tiles = page.locator(".et-tile")
    assert tiles.count() == 8
    for k, g in enumerate(groups.dihedral(4).elements):
        wanted = sorted((round(x, 2) + 0.0, round(y, 2) + 0.0) for x, y in (cells @ g.T).tolist())
        assert centers(polygons(tiles.nth(k))) == wanted


def test_orbit_times_stabilizer_is_the_order(show):
    page = show(orbit_explorer().to_html())
    expected = {  # different pictures x elements that leave the shape as it is
        "C4": [(4, 1), (2, 2), (4, 1), (1, 4)],
        "D4": [(8, 1), (4, 2), (4, 2), (1, 8)],
        "shifts": [(49, 1)] * 4,
    }
    for group, rows in expected.items():
        choose(page, "group", group)
        for shape, (distinct, same) in enumerate(rows):
            choose(page, "shape", shape)
            text = part(page, "count").inner_text()
            assert re.match(
                rf"{distinct * same} elements = {distinct} different pictures? × {same}", text
            )


@pytest.mark.parametrize(("group", "same"), [("SO2", [1, 2, 1, 4]), ("SO3", [1, 2, 2, 8])])
def test_infinite_orbits_say_what_stays(show, group, same):
    page = show(orbit_explorer().to_html())
    choose(page, "group", group)
    for shape, n in enumerate(same):
        choose(page, "shape", shape)
        words = "only the identity leaves" if n == 1 else f"{n} elements leave"
        expect(part(page, "count")).to_contain_text(words)


def test_buttons_slider_and_keys_walk_the_orbit(show):
    page = show(orbit_explorer().to_html())
    where, label = part(page, "where"), part(page, "label")
    part(page, "next").click()
    expect(where).to_have_text("Element 2 of 8:")
    expect(label).to_have_text("turn by 90°")
    part(page, "back").click()
    part(page, "back").click()
    expect(where).to_have_text("Element 8 of 8:")
    expect(label).to_have_text("mirror top and bottom, then turn by 270°")
    part(page, "home").click()
    expect(label).to_have_text("identity")
    page.focus('[data-et="view"]')
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    expect(where).to_have_text("Element 2 of 8:")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Home")
    expect(label).to_have_text("identity")
    part(page, "slider").evaluate("e => { e.value = 5; e.dispatchEvent(new Event('input')); }")
    expect(where).to_have_text("Element 6 of 8:")
    page.locator(".et-tile").nth(2).click()
    expect(label).to_have_text("turn by 180°")
    assert page.locator(".et-tile.et-on").count() == 1


@pytest.mark.parametrize("group", ["C4", "D4", "shifts", "SO2", "SO3"])
def test_each_step_changes_the_picture(show, group):
    page = show(orbit_explorer().to_html(), reduced_motion="reduce")
    choose(page, "group", group)
    pictures = set()
    for _ in range(4):
        pictures.add(part(page, "main").inner_html())
        part(page, "next").click()
    assert len(pictures) == 4


def test_shifts_leave_on_one_side_and_come_back_on_the_other(show):
    page = show(orbit_explorer().to_html(), reduced_motion="reduce")
    choose(page, "group", "shifts")
    before = part(page, "main").locator("rect").count()
    page.locator(".et-spot").nth(3 * 7 + 5).click()
    expect(part(page, "label")).to_have_text("down by 3, right by 5")
    boxes = (
        part(page, "main")
        .locator("rect")
        .evaluate_all(
            "all => all.map(r => [Number(r.getAttribute('x')), Number(r.getAttribute('y'))])"
        )
    )
    assert len(boxes) == before
    assert all(-3.5 <= x <= 2.5 and -3.5 <= y <= 2.5 for x, y in boxes)
    wanted = {((x + 5 + 3) % 7 - 3.5, (-y + 3 + 3) % 7 - 3.5) for x, y in SHAPES["letter F"]}
    assert {tuple(box) for box in boxes} == wanted


def test_rotations_of_space_say_angle_and_axis_and_come_home(show):
    page = show(orbit_explorer().to_html(), reduced_motion="reduce")
    choose(page, "group", "SO3")
    label = part(page, "label")
    angles = []
    for _ in range(24):  # the first leg of the walk: one axis, a growing angle
        part(page, "next").click()
        angles.append(int(re.match(r"turn by (\d+)° about the axis", label.inner_text())[1]))
    assert angles == sorted(angles) and angles[-1] > 20
    part(page, "home").click()
    expect(label).to_have_text("identity")


def test_the_dial_is_clickable(show):
    page = show(orbit_explorer().to_html())
    choose(page, "group", "SO2")
    box = page.locator(".et-dial").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 5)
    expect(part(page, "label")).to_have_text("turn by 90°")


def test_play_walks_and_pauses(show):
    page = show(orbit_explorer().to_html())
    choose(page, "group", "SO3")
    part(page, "play").click()
    expect(part(page, "play")).to_have_text("Pause")
    expect(part(page, "where")).not_to_contain_text("Step 1 of")
    part(page, "play").click()
    expect(part(page, "play")).to_have_text("Play")
    stopped = part(page, "where").inner_text()
    page.wait_for_timeout(400)
    assert part(page, "where").inner_text() == stopped


def test_reduced_motion_has_steps_and_no_play(show):
    page = show(orbit_explorer().to_html(), reduced_motion="reduce")
    assert not part(page, "play").is_visible()
    part(page, "next").click()
    expect(part(page, "where")).to_have_text("Element 2 of 8:")


def test_an_explorer_starts_when_it_comes_near_and_keeps_its_height(show):
    html = orbit_explorer().to_html().replace("<h1>", "<div style='height: 3000px'></div><h1>")
    page = show(html, ready=".et-root svg")
    assert page.locator(".et-root button").count() == 0  # far below: its picture
    page.locator(".et-root").scroll_into_view_if_needed()
    page.locator(".et-root button").first.wait_for()
    height = lambda: page.locator(".et-root").bounding_box()["height"]
    most = height()
    for group in ("SO3", "C4", "shifts", "SO2", "D4"):
        choose(page, "group", group)
        page.wait_for_timeout(50)
        assert height() >= most
        most = height()


def test_all_elements_are_one_tab_stop(show):
    page = show(orbit_explorer().to_html())
    choose(page, "group", "shifts")
    stops = page.locator(".et-spot[tabindex='0']")
    assert page.locator(".et-spot").count() == 49 and stops.count() == 1
    stops.focus()
    for key, index in (("ArrowRight", 1), ("ArrowDown", 8), ("ArrowLeft", 7), ("ArrowUp", 0)):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.index") == str(index)


@pytest.mark.parametrize("make", [orbit_explorer, cayley_explorer])
def test_controls_are_large_enough_for_a_finger(show, make):
    page = show(make().to_html())
    sizes = page.locator(".et-root :is(button, input, select, td[data-g]):visible").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect()).map(b => Math.min(b.width, b.height))"
    )
    assert min(sizes) >= 24


# ---------------------------------------------------------------------------------------- tables


def chain(page):
    return [centers(polygons(page.locator(".et-chain svg").nth(i))) for i in range(4)]


def wrong_cells(page, group):
    """The cells whose text or picture is not that of the composed element."""
    found = []
    for g in range(group.order):
        for h in range(group.order):
            cell = page.locator(f'td[data-g="{g}"][data-h="{h}"]')
            cell.click()
            _, _, composed, element = chain(page)
            label = cell.get_attribute("aria-label").split(", is ")[1]
            said = part(page, "says").inner_text()
            if composed != element or f"together {label}" not in said:
                found.append((g, h))
    return found


def test_every_cell_shows_the_composition(show):
    page = show(cayley_explorer().to_html())
    assert wrong_cells(page, groups.dihedral(4)) == []


def test_a_wrong_table_is_seen(show):
    """The broken twin: two entries of the payload change places."""
    explorer = cayley_explorer([groups.cyclic(4)])
    right = "[1,2,3,0]"
    assert right in explorer.payload
    explorer.payload = explorer.payload.replace(right, "[1,3,2,0]")
    page = show(explorer.to_html())
    assert (1, 1) in wrong_cells(page, groups.cyclic(4))


def test_pairs_that_do_not_commute(show):
    page = show(cayley_explorer().to_html())
    group = groups.dihedral(4)
    assert "another element" in part(page, "commute").inner_text()
    before = part(page, "says").inner_text()
    part(page, "swap").click()
    assert part(page, "says").inner_text() != before
    seen = set()
    for _ in range(int((group.mul != group.mul.T).sum())):
        part(page, "next").click()
        cell = page.locator("td.et-on")
        g, h = (int(cell.get_attribute(f"data-{n}")) for n in "gh")
        assert group.mul[g, h] != group.mul[h, g]
        seen.add((g, h))
    assert len(seen) == int((group.mul != group.mul.T).sum())
    choose(page, "group", 0)
    expect(part(page, "next")).to_be_disabled()
    expect(part(page, "next")).to_have_text("Here all pairs commute")


def test_arrow_keys_move_in_the_table(show):
    page = show(cayley_explorer().to_html())
    page.locator('td[data-g="0"][data-h="0"]').click()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    cell = page.locator("td.et-on")
    assert (cell.get_attribute("data-g"), cell.get_attribute("data-h")) == ("7", "2")
    assert page.evaluate("document.activeElement.dataset.g") == "7"


# ------------------------------------------------------------------------------------------ both


@pytest.mark.parametrize("make", [orbit_explorer, cayley_explorer])
@pytest.mark.parametrize("width", [320, 560, 900])
def test_fits_every_width(show, width, make):
    page = show(make().to_html())
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("make", [orbit_explorer, cayley_explorer])
def test_colors_follow_the_theme(show, make):
    ground = "getComputedStyle(document.querySelector('.et-root > div')).backgroundColor"
    page = show(make().to_html(), color_scheme="dark")
    dark = page.evaluate(ground)
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    light = page.evaluate(ground)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert dark == page.evaluate(ground) != light


def test_explorers_on_one_page_are_independent(show):
    made = (orbit_explorer(), cayley_explorer(), orbit_explorer())
    page = started(show("".join(e._repr_html_() for e in made)))
    expect(page.locator(".et-orbits")).to_have_count(2)
    page.locator('[data-et="next"]').nth(0).click()
    where = page.locator('[data-et="where"]').all_inner_texts()
    assert [w.strip() for w in where] == ["Element 2 of 8:", "Element 1 of 8:"]
