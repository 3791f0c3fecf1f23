"""The polyphase explorer in a real browser without a network."""

import re

import pytest
import torch
from conftest import started
from playwright.sync_api import expect

from equitutor.explorers import polyphase_explorer
from equitutor.methods.polyphase import PolyViT

READY = ".et-poly"  # the page is up when this is there
SIDE = 16


def explorer(seed=0, compact=False):
    torch.manual_seed(seed)
    nets = [PolyViT(SIDE, dim=16, heads=2, poly=poly) for poly in (False, True)]
    for net in nets:
        net.requires_grad_(False).head.weight.mul_(8)  # random networks hardly decide otherwise
    return polyphase_explorer(
        *nets, torch.rand(3, 1, SIDE, SIDE), torch.tensor([0, 1, 2]), compact=compact
    )


def text(page, name):
    return page.locator(f'[data-et="{name}"]').first.inner_text()


def shift(page):
    return [int(text(page, f"where-{n}").replace("−", "-")) for n in ("dy", "dx")]


def set_slider(page, name, value):
    page.locator(f'[data-et="{name}"]').first.evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value
    )


def pixels(page, name):
    return page.locator(f'[data-et="{name}"]').first.evaluate("e => e.toDataURL()")


def wait_for(page, name, words, timeout=20_000):
    """Waits until a part's text matches. (wait_for_function needs the eval that pages forbid.)"""
    expect(page.locator(f'[data-et="{name}"]').first).to_have_text(
        re.compile(words), timeout=timeout
    )


def wait_until_seen(page):
    wait_for(page, "seen", f"^{SIDE**2} of {SIDE**2}$")


def number(words):
    return float(re.search(r"\d[\d.e+-]*", words).group())


def test_slider_changes_everything_it_should(show):
    page = show(explorer().to_html())
    page.click('[data-et="home"]')
    parts = lambda: (
        pixels(page, "shifted"),
        text(page, "phases"),
        page.locator('[data-et="plain-bars"]').inner_text(),
        page.locator('[data-et="anchored-bars"]').inner_text(),
    )
    before = parts()
    set_slider(page, "dx", 1)
    after = parts()
    assert shift(page) == [0, 1]
    assert [a != b for a, b in zip(before, after, strict=True)] == [True, True, True, False]
    assert sorted(before[1].split()) == sorted(after[1].split())  # scores are permuted
    set_slider(page, "dx", 4)  # a whole patch: the same phase wins
    assert text(page, "phases") == before[1] and pixels(page, "shifted") != before[0]


def test_over_all_shifts_anchored_stays_and_plain_does_not(show):
    page = show(explorer().to_html())
    wait_until_seen(page)
    assert number(text(page, "anchored-worst")) < 1e-4
    assert number(text(page, "plain-worst")) > 1e-1
    assert text(page, "anchored-share") in ("0.0 %", "100.0 %")


def test_click_on_the_map_jumps(show):
    page = show(explorer().to_html())
    box = page.locator('[data-et="plain-map"]').bounding_box()
    cell = box["width"] / SIDE
    page.mouse.click(box["x"] + 11.5 * cell, box["y"] + 3.5 * cell)
    assert shift(page) == [3 - SIDE // 2, 11 - SIDE // 2]


def test_dragging_moves_the_image(show):
    page = show(explorer().to_html())
    page.click('[data-et="home"]')
    box = page.locator('[data-et="drag"]').bounding_box()
    cell = box["width"] / SIDE
    x, y = box["x"] + 5 * cell, box["y"] + 5 * cell
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 3 * cell, y - 2 * cell, steps=4)
    page.mouse.up()
    page.mouse.move(x, y)
    assert shift(page) == [-2, 3]


def test_keyboard_alone_is_enough(show):
    page = show(explorer().to_html())
    page.click('[data-et="home"]')
    page.focus('[data-et="drag"]')
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Shift+ArrowUp"):
        page.keyboard.press(key)
    assert shift(page) == [-3, 2]
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Home")
    assert shift(page) == [0, 0]
    wait_for(page, "live", "plain: ")


def test_thumbnails_choose_the_image(show):
    page = show(explorer().to_html())
    before = pixels(page, "shifted")
    page.locator(".et-thumb").nth(2).click()
    assert pixels(page, "shifted") != before
    pressed = page.locator(".et-thumb").evaluate_all("e => e.map(b => b.ariaPressed)")
    assert pressed == ["false", "false", "true"]


def test_fool_button_finds_a_wrong_answer(show):
    page = show(explorer().to_html())
    page.click('[data-et="home"]')
    page.click('[data-et="fool"]')
    wait_for(page, "where-dy", r"[+−][^0]")
    assert "✗ wrong" in text(page, "plain-verdict")


def test_play_walks_and_pauses(show):
    page = show(explorer().to_html())
    page.click('[data-et="home"]')
    page.click('[data-et="play"]')
    assert "Pause" in text(page, "play")
    expect(page.locator('[data-et="where-dy"]').first).not_to_have_text(re.compile(r"\+0"))
    page.click('[data-et="play"]')
    expect(page.locator('[data-et="play"]')).to_contain_text("Play")
    stopped = shift(page)
    page.wait_for_timeout(500)
    assert shift(page) == stopped  # it has paused, wherever a slow machine let it get to
    assert stopped != [0, 0]


def test_reduced_motion_steps_instead(show):
    page = show(explorer().to_html(), reduced_motion="reduce")
    page.click('[data-et="home"]')
    assert "step" in text(page, "play")
    page.click('[data-et="play"]')
    assert shift(page) == [1, 1]


def test_explorers_on_one_page_are_independent(show):
    one, two = explorer(), explorer(seed=1)
    page = started(show("".join(e._repr_html_() for e in (one, two, one))))
    expect(page.locator(".et-poly")).to_have_count(3)
    states = lambda: page.locator('[data-et="where-dx"]').all_inner_texts()
    before = states()
    set_slider(page.locator(".et-poly").nth(1), "dx", 5)
    after = states()
    assert after[1].strip() == "+5" and (after[0], after[2]) == (before[0], before[2])


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("width", [340, 560, 900])
def test_fits_every_width(show, width, compact):
    page = show(explorer(compact=compact).to_html())
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_colors_follow_the_theme(show):
    ground = "getComputedStyle(document.querySelector('.et-poly')).backgroundColor"
    page = show(explorer(compact=True).to_html(), color_scheme="dark")
    dark = page.evaluate(ground)
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    light = page.evaluate(ground)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert dark == page.evaluate(ground) != light


def test_a_failing_module_leaves_the_picture(show):
    html = (
        explorer()
        .to_html()
        .replace("root.innerHTML = markup", "throw Error('broken'); root.innerHTML = markup", 1)
    )
    page = show(html, ready=".et-root p")
    assert "could not start (Error: broken)" in page.locator(".et-root").inner_text()
    assert page.locator(".et-root img").get_attribute("alt").startswith("An image of class")
