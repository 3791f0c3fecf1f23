"""The soft-equivariance explorer in a real browser without a network."""

import re
from functools import partial

import pytest
import torch
from conftest import started
from playwright.sync_api import expect

from equitutor.explorers.soft import soft_explorer
from equitutor.methods.soft import (
    O,
    Rep,
    SoftTypedLinear,
    TypedNetwork,
    embed_O2,
    function_error,
    soft_layers,
)

READY = ".et-soft"  # the page is up when this is there
GROUPS = [O(3), embed_O2((0, 1)), embed_O2((1, 2))]
SPACES = Rep(2, 2), Rep(4, 3, 1), Rep(n2=1)


def networks():
    torch.manual_seed(0)
    layer = partial(SoftTypedLinear, groups=GROUPS)
    return {name: TypedNetwork(*SPACES, layer).eval() for name in ("PER", "no penalty")}


def task(n=20):
    x = torch.randn(n, 8, generator=torch.Generator().manual_seed(1))
    return x, torch.randn(n, 9, generator=torch.Generator().manual_seed(2))


def explorer():
    return soft_explorer(networks(), GROUPS, *task(), holds="O(2)_xy")


def text(page, name):
    return page.locator(f'[data-et="{name}"]').first.inner_text()


def number(page, name):
    return float(re.search(r"\d[\d.e+-]*", text(page, name)).group())


def pixels(page, name):
    return page.locator(f'[data-et="{name}"]').first.evaluate("e => e.toDataURL()")


def set_t(page, value):
    page.locator('[data-et="t"]').evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value
    )


def expected(name, group, t):
    """Test error in percent of the variance after moving the weights, by PyTorch."""
    net, (x, y) = networks()[name], task()
    with torch.no_grad():
        for layer in soft_layers(net).values():
            p = layer.projectors[group]
            for value, kept in ((layer.weight, p.weight), (layer.bias, p.bias)):
                value.copy_(kept(value) + t * (value - kept(value)))
        return net, (100 * (net(x) - y).square().mean() / y.var()).item()


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0, 1.5])
def test_numbers_are_those_of_pytorch(show, t):
    page = show(explorer().to_html())
    set_t(page, t)
    assert number(page, "loss") == pytest.approx(expected("PER", 1, t)[1], abs=0.06)
    page.click('[data-et-net="no penalty"]')
    page.click('[data-et-group="O(2)_yz"]')
    assert number(page, "loss") == pytest.approx(expected("no penalty", 2, t)[1], abs=0.06)


def test_the_orbit_error_is_that_of_pytorch(show):
    page = show(explorer().to_html())
    draw = torch.Generator().manual_seed(0)
    GROUPS[0].sample(8, draw)  # the explorer draws for one group after another
    net, x = expected("PER", 1, 1.0)[0], task()[0][:16]
    error = function_error(net, x, GROUPS[1], SPACES[0], SPACES[2], 8, draw)
    assert number(page, "error") == pytest.approx(100 * error, abs=0.06)


def test_at_zero_nothing_is_broken_and_everything_answers(show):
    page = show(explorer().to_html())
    parts = ("loss-plot", "error-plot", "orbit", "weights")
    before = [pixels(page, name) for name in parts]
    set_t(page, 0)
    assert number(page, "error") < 1e-3
    assert text(page, "t-text") == "0.00"
    assert all(a != b for a, b in zip(before, [pixels(page, name) for name in parts], strict=True))
    set_t(page, 1)
    assert number(page, "error") > 1


def test_the_curve_is_completed(show):
    page = show(explorer().to_html())
    expect(page.locator('[data-et="best"]')).to_have_text(re.compile(r"^\d\.\d\d$"), timeout=20_000)
    best = number(page, "best")
    losses = [expected("PER", 1, k / 20)[1] for k in range(31)]
    assert losses[round(best * 20)] == pytest.approx(min(losses), rel=1e-4)


def test_keyboard_alone_is_enough(show):
    page = show(explorer().to_html())
    page.focus('[data-et="t"]')
    page.keyboard.press("ArrowLeft")
    assert text(page, "t-text") == "0.95"
    page.focus('[data-et-group="O(3)"]')
    page.keyboard.press("Enter")
    assert page.locator('[data-et-group="O(3)"]').get_attribute("aria-pressed") == "true"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    expect(page.locator('[data-et="live"]')).to_contain_text("PER, O(3), t = 0.95", timeout=20_000)


@pytest.mark.parametrize("name", ["loss-plot", "error-plot"])
def test_a_click_on_a_chart_sets_t(show, name):
    page = show(explorer().to_html())
    chart = page.locator(f'[data-et="{name}"]')
    box = chart.bounding_box()

    def click(t):  # the axis runs from pixel 78 to 486 of 520
        chart.click(position={"x": box["width"] * (78 + t / 1.5 * 408) / 520, "y": 30})
        return text(page, "t-text")

    assert [click(t) for t in (0.5, 1.2)] == ["0.50", "1.20"]
    assert page.locator('[data-et="t"]').input_value() == "1.2"
    chart.click(position={"x": 2, "y": 30})  # left of the axis
    assert text(page, "t-text") == "0.00"


def test_the_orbit_chart_names_its_axis(show):
    page = show(explorer().to_html())
    assert text(page, "axis").strip() == "about z"
    page.click('[data-et-group="O(2)_yz"]')
    assert text(page, "axis").strip() == "about x"
    page.click('[data-et-group="O(3)"]')
    assert text(page, "axis").strip() == "about z (other axes are not shown)"


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_test_axis_ends_where_errors_are_hopeless(show, scale):
    x, y = task()
    page = show(soft_explorer(networks(), GROUPS, x, y / scale, holds="O(2)_xy").to_html())
    expect(page.locator('[data-et="best"]')).to_have_text(re.compile(r"^\d\.\d\d$"), timeout=20_000)
    with torch.no_grad():
        net = networks()["PER"]
        for layer in soft_layers(net).values():  # t = 1.5, where the error is largest
            p = layer.projectors[1]
            for value, kept in ((layer.weight, p.weight), (layer.bias, p.bias)):
                value.copy_(kept(value) + 1.5 * (value - kept(value)))
        worst = (100 * (net(x) - y / scale).square().mean() / (y / scale).var()).item()
    assert (worst > 120) == (scale > 1)
    assert text(page, "cap") == ("The axis ends at 120 %." if worst > 120 else "")


@pytest.mark.parametrize("width", [340, 560, 900])
def test_fits_every_width(show, width):
    page = show(explorer().to_html())
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_colors_follow_the_theme(show):
    ground = "getComputedStyle(document.querySelector('.et-soft')).backgroundColor"
    page = show(explorer().to_html(), color_scheme="dark")
    dark = page.evaluate(ground)
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    light = page.evaluate(ground)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert dark == page.evaluate(ground) != light


def test_two_on_one_page_are_independent(show):
    one = explorer()
    page = started(show("".join(e._repr_html_() for e in (one, one))))
    expect(page.locator(".et-soft")).to_have_count(2)
    set_t(page.locator(".et-soft").nth(1), 0.5)
    assert page.locator('[data-et="t-text"]').all_inner_texts() == ["1.00", "0.50"]
