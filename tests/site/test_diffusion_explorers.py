"""The two explorers of denoisers in a real browser without a network."""

import re

import pytest
import torch
from conftest import settle
from playwright.sync_api import expect

from equitutor.explorers.denoisers import rounded
from equitutor.explorers.diffusion import dial_explorer, equivariance_explorer
from equitutor.methods.alias_free import band_limit, disc_mask, eq_psnr, ideal_rotate, ideal_shift
from equitutor.methods.diffusion import Diffusion, RotationPlan, UNet, realized_angles

READY = ".et-diff"  # the page is up when this is there
SIDE, STEPS = 16, 6
CHAIN = Diffusion("cosine", 1000, predict="velocity")
SETTINGS = {
    "max-pool": dict(resampler="maxpool_bilinear"),
    "around": dict(resampler="kaiser", act_factor=2, padding="circular"),
}


def nets():
    found = {}
    for name, options in SETTINGS.items():
        torch.manual_seed(0)
        found[name] = UNet(width=4, time_dim=8, **options)
    return found


def noise(seed, n=2):
    return torch.randn((n, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))


def moving():
    return equivariance_explorer(nets(), noise(0).clamp(-1, 1), CHAIN).to_html()


def dial():
    return dial_explorer(nets(), noise(1), CHAIN, steps=STEPS, angle=60).to_html()


def part(page, name):
    return page.locator(f'[data-et="{name}"]').first


def number(words):
    return float(re.search(r"[−-]?\d[\d.]*", words).group().replace("−", "-"))


def set_slider(page, name, value):
    part(page, name).evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value
    )
    settle(page)


def pixels(page, name):
    return part(page, name).evaluate("e => e.toDataURL()")


def decibels(page, k):
    """What the page says of network k, once it has said it."""
    expect(part(page, f"dB-{k}")).to_have_text(re.compile(r"dB|exact"), timeout=20_000)
    words = part(page, f"dB-{k}").inner_text()
    return float("inf") if "exact" in words else number(words)


def expected(name, move, mask=None, t=500):
    x = noise(0).clamp(-1, 1)
    x = band_limit(
        CHAIN.add_noise(x, t, torch.randn(x.shape, generator=torch.Generator().manual_seed(5))), 0.8
    )[:1]
    net = rounded(nets()[name])
    f = lambda x: CHAIN.estimate(x, t, CHAIN.noise_in(net, x, torch.tensor([t])), 1.5)
    with torch.no_grad():
        return eq_psnr(f, move, x, mask)


def test_the_page_says_what_the_package_measures(show):
    page = show(moving())
    third = lambda x: ideal_shift(x, (0.21, 0.37))
    for k, name in enumerate(SETTINGS):
        assert decibels(page, k) == pytest.approx(expected(name, third), abs=0.1)
    part(page, "preset-2").click()  # 30 degrees
    settle(page)
    turn = lambda x: ideal_rotate(x, 30)
    for k, name in enumerate(SETTINGS):
        assert decibels(page, k) == pytest.approx(expected(name, turn, disc_mask(SIDE)), abs=0.1)


def test_only_the_torus_follows_four_pixels_exactly(show):
    page = show(moving())
    decibels(page, 1)
    part(page, "preset-1").click()
    settle(page)
    assert decibels(page, 1) > 100
    assert decibels(page, 0) < 60


def test_every_control_changes_what_it_should(show):
    page = show(moving())
    pictures = lambda: [pixels(page, name) for name in ("input", "first", "then", "gap")]
    for change in (
        lambda: set_slider(page, "dx", 2.5),
        lambda: set_slider(page, "dy", -1.25),
        lambda: set_slider(page, "angle", 45),
        lambda: part(page, "level").select_option("2"),
        lambda: page.locator(".et-thumb").nth(1).click(),
    ):
        before = pictures()
        change()
        settle(page)
        assert all(a != b for a, b in zip(before, pictures(), strict=True))
    before = pictures()
    part(page, "network").select_option("1")
    settle(page)
    changed = [a != b for a, b in zip(before, pictures(), strict=True)]
    assert changed == [False, True, True, True]
    part(page, "preset-4").click()
    settle(page)
    assert pixels(page, "first") == pixels(page, "then")
    expect(part(page, "dB-1")).to_have_text(re.compile("exact"))


def test_the_keyboard_moves_and_is_told(show):
    page = show(moving())
    part(page, "angle").focus()
    page.keyboard.press("ArrowRight")
    assert part(page, "angle-text").inner_text().strip() == "+1"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    expect(part(page, "live")).to_have_text(re.compile("max-pool: .* dB"))


def test_the_dial_realizes_what_the_package_does(show):
    page = show(dial())
    start = noise(1)[:1]
    for k, (name, net) in enumerate(nets().items()):
        part(page, "network").select_option(str(k))
        settle(page)
        draw = lambda plan, net=net: CHAIN.sample(
            rounded(net), start.shape, STEPS, rotate=plan, start=start
        )
        angle, alike = realized_angles(draw(None), draw(RotationPlan(60)))
        sign = "−" if angle < 0 else "+"
        expect(part(page, "realized")).to_have_text(f"{sign}{abs(angle.item()):.0f}°")
        expect(part(page, "alike")).to_have_text(f"{alike.item():.2f}".replace("-0.00", "0.00"))
        assert name in part(page, "network").inner_text()


def test_rotating_the_finished_image_realizes_the_angle(show):
    page = show(dial())
    part(page, "process").select_option("3")
    settle(page)
    set_slider(page, "angle", -75)
    expect(part(page, "realized")).to_have_text("−75°")
    assert float(part(page, "alike").inner_text()) > 0.99
    set_slider(page, "angle", 0)
    expect(part(page, "realized")).to_have_text("+0°")
    assert pixels(page, "still") == pixels(page, "made")


def test_the_scrubber_walks_from_noise_to_the_image(show):
    page = show(dial())
    seen = set()
    for step in range(STEPS + 1):
        set_slider(page, "step", step)
        seen.add(pixels(page, "now"))
    assert len(seen) == STEPS + 1
    assert part(page, "when").inner_text() == "finished"
    set_slider(page, "step", 0)
    assert part(page, "when").inner_text() == "pure noise"


def test_the_dial_turns_by_keyboard_and_by_hand(show):
    page = show(dial())
    dial_part = part(page, "dial")
    dial_part.focus()
    for key, angle in (
        ("Home", "−180"),
        ("ArrowRight", "−175"),
        ("End", "+180"),
        ("ArrowLeft", "+175"),
    ):
        page.keyboard.press(key)
        expect(part(page, "asked")).to_have_text(f"{angle}°")
    assert dial_part.get_attribute("aria-valuenow") == "175"
    assert dial_part.get_attribute("aria-valuetext") == "asked 175 degrees"
    box = dial_part.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(middle[0], middle[1] - 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(middle[0] - 0.3 * box["width"], middle[1], steps=4)
    page.mouse.up()
    expect(part(page, "asked")).to_have_text("+90°")  # counter-clockwise is positive


@pytest.mark.parametrize("make", [moving, dial])
def test_fits_every_width_and_theme(show, make):
    page = show(make(), color_scheme="dark")
    ground = "getComputedStyle(document.querySelector('.et-diff')).backgroundColor"
    dark = page.evaluate(ground)
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert page.evaluate(ground) != dark
    for width in (340, 560, 900):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("make", [moving, dial])
def test_a_failing_module_leaves_the_picture(show, make):
    html = make().replace("root.innerHTML =", "throw Error('broken'); root.innerHTML =", 1)
    page = show(html, ready=".et-root p")
    assert "could not start (Error: broken)" in page.locator(".et-root").inner_text()
    assert page.locator(".et-root img").get_attribute("alt")
