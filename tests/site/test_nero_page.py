"""The NERO explorer in a real browser without a network."""

import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import started
from playwright.sync_api import expect

from equitutor.nero import explorer
from equitutor.orbits import OrbitResult, d4_time, evaluate, shifts, so2, so3_disk

READY = ".et-nero"  # the page is up when this is there
G, N, SIDE = 12, 9, 10


def measured(orbit, metric="confidence", seed=0, n=N):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.rand(n, 1, SIDE, SIDE, generator=generator), torch.arange(n) % 3
    model = lambda x: 4 * x[:, 0, 2 + seed, 2:5]
    return x, y, evaluate(model, x, y, orbit, metric, keep_outputs=True, progress=False)


@pytest.fixture(scope="module")
def circle():
    x, y, first = measured(so2(G))
    results = {
        "one": {"confidence": first, "correct": measured(so2(G), "correct")[2]},
        "two": {s: measured(so2(G), s, seed=1)[2] for s in ("confidence", "correct")},
    }
    made = explorer(results, x, labels=y, classes=["a", "b", "c"], embedding=("pca", "isomap"))
    return SimpleNamespace(made=made, x=x, y=y, results=results)


@pytest.fixture(scope="module")
def planted():
    """Sample k fails at element k, and nowhere else."""
    scores = torch.ones(G, N)
    scores[range(N), range(N)] = 0
    result = OrbitResult(scores, so2(G), meta={"metric": "correct"})
    x = torch.rand(N, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return explorer({"one": result}, x)


def part(page, name):
    return page.locator(f'[data-et="{name}"]').first


def text(page, name):
    return part(page, name).inner_text()


def numbers(page, name, line=0):
    """The numbers of one line of a part; those of the page stem from scores with 3 decimals."""
    words = text(page, name).splitlines()[line]
    return [float(v) for v in re.findall(r"\d\.\d{3}", words)]


def html(page, name):
    return part(page, name).inner_html()


def curves(page, name):
    return part(page, name).locator(".et-nero-curve").evaluate_all(
        "paths => paths.map((p) => p.getAttribute('d'))"
    )  # fmt: skip


def pixels(page, index=0):
    """What the detail canvas holds, as (H, W) in [0, 1]."""
    raw = page.locator(".et-nero-see canvas").nth(index).evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )  # fmt: skip
    return np.asarray(raw).reshape(SIDE, SIDE, 4)[..., 0] / 255


def spot(page, name, x, y, svg=0):
    """Screen position of a point of a drawing, in its own units."""
    box = part(page, name).locator("svg").nth(svg).bounding_box()
    width = part(page, name).locator("svg").nth(svg).evaluate("s => s.viewBox.baseVal.width")
    unit = box["width"] / width
    return box["x"] + x * unit, box["y"] + y * unit


def dot(page, sample, svg=0):
    dots = part(page, "map").locator("svg").nth(svg).locator(".et-nero-spot")
    words = dots.nth(sample).get_attribute("transform")
    return spot(page, "map", *map(float, words[10:-1].split()), svg)


def is_at(page, sample, degrees):
    words = text(page, "where")
    return words.startswith(f"Sample {sample + 1},") and words.endswith(f"at {degrees}°")


def test_a_click_on_a_dot_changes_the_sample_and_its_input(show, circle):
    page = show(circle.made.to_html())
    before = (
        curves(page, "aggregate"), curves(page, "individual"), pixels(page),
        html(page, "facts"), text(page, "where"),
    )  # fmt: skip
    other = 0 if not text(page, "where").startswith("Sample 1,") else 4
    page.mouse.click(*dot(page, other, svg=1))
    assert text(page, "where").startswith(f"Sample {other + 1}, class {'abc'[other % 3]}, at")
    assert curves(page, "aggregate") == before[0]
    assert all(a != b for a, b in zip(curves(page, "individual"), before[1], strict=True))
    assert not np.array_equal(pixels(page), before[2])
    one = circle.results["one"]["confidence"]
    expected = [one.mean()[other], one.spread()[other], one.worst().score[other]]
    assert numbers(page, "facts") == pytest.approx([v.item() for v in expected], abs=1.1e-3)
    assert html(page, "facts") != before[3]


@pytest.mark.parametrize("name", ["aggregate", "individual"])
def test_a_click_on_a_polar_plot_changes_the_element_everywhere(show, circle, name):
    page = show(circle.made.to_html())
    page.mouse.click(*spot(page, name, 100, 40))
    sample = int(text(page, "where").split(",")[0][7:]) - 1
    assert is_at(page, sample, 90)
    hands = page.locator(".et-nero-hand").evaluate_all("e => e.map((p) => p.getAttribute('d'))")
    assert hands == [hands[0]] * 2 and "L100.00 16.00" in hands[0]
    for m, model in enumerate(circle.results.values()):
        assert text(page, f"score-{m}") == f"{model['confidence'].scores[3, sample]:.3f}"
        mean = model["confidence"].aggregate()[3].item()
        assert numbers(page, "set-facts", m)[0] == pytest.approx(mean, abs=1.1e-3)
    assert text(page, "element").strip() == "at 90°"
    expected = so2(G).act_x(circle.x[sample : sample + 1], 3)[0, 0].numpy()
    np.testing.assert_allclose(pixels(page), expected, atol=0.02)
    chances = circle.results["one"]["confidence"].outputs[3, sample].softmax(-1)
    shown = page.locator(".et-nero-row .et-number").all_inner_texts()
    for words, p in zip(shown, chances, strict=True):
        assert abs(int(words.split()[0]) - 100 * p) < 1
    page.mouse.move(*spot(page, name, 100, 40))
    page.mouse.down()
    page.mouse.move(*spot(page, name, 30, 100), steps=4)
    page.mouse.up()
    page.mouse.move(*spot(page, name, 100, 170))
    assert is_at(page, sample, 180)


def test_turned_inputs_are_what_the_model_gets(show, circle):
    page = show(circle.made.to_html())
    part(page, "aggregate").focus()
    sample = int(text(page, "where").split(",")[0][7:]) - 1
    inside = np.hypot(*(np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2)) < SIDE / 2 - 1
    page.keyboard.press("Home")
    for g in range(G):
        expected = so2(G).act_x(circle.x[sample : sample + 1], g)[0, 0].numpy()
        # A browser's bilinear is not PyTorch's to the last bit.
        assert np.abs(pixels(page) - expected)[inside].mean() < 0.03, g
        page.keyboard.press("ArrowRight")


def test_keyboard_reaches_everything(show, circle):
    page = show(circle.made.to_html())
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.dataset.et")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if name is None:
            break
        assert style == "solid", name
        reached.append(name)
    assert reached == ["metric", "truth", "consensus", "label", "rank", "previous", "next",
                       "aggregate", "map", "method", "color", "individual"]  # fmt: skip
    part(page, "individual").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowUp")
    assert text(page, "where").endswith("at 30°")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert text(page, "where").endswith("at 330°")
    assert part(page, "aggregate").get_attribute("aria-valuetext") == "330°"
    part(page, "map").focus()
    seen = set()
    for _ in range(N):
        page.keyboard.press("ArrowRight")
        seen.add(text(page, "where").split(",")[0])
    assert len(seen) == N
    expect(part(page, "live")).to_contain_text("at 330°: one 0.")


def test_every_menu_does_what_it_says(show, circle):
    page = show(circle.made.to_html())
    aggregate = curves(page, "aggregate")
    part(page, "label").select_option(label="b")
    assert curves(page, "aggregate") != aggregate and "3 samples of class b" in text(page, "count")
    page.mouse.click(*spot(page, "aggregate", 180, 100))
    own = circle.results["two"]["confidence"].scores[0, circle.y == 1]
    expected = [own.mean(), *own.quantile(torch.tensor([0.25, 0.75]))]
    assert numbers(page, "set-facts", 1) == pytest.approx([v.item() for v in expected], abs=1.1e-3)
    assert ", class b" in text(page, "where")
    assert page.locator(".et-nero-out").count() == 2 * (N - 3)
    part(page, "next").click()
    assert ", class b" in text(page, "where")
    for name, choice in (("metric", "correct"), ("method", "isomap"), ("color", "spread"),
                         ("color", "label"), ("label", ""), ("rank", "1")):  # fmt: skip
        before = page.locator(".et-nero").inner_html() + text(page, "what")
        part(page, name).select_option(choice)
        if name == "rank":  # shows at the next step
            part(page, "next").click()
        assert page.locator(".et-nero").inner_html() + text(page, "what") != before, name
    assert text(page, "what") == "correct"
    before = curves(page, "individual") + curves(page, "aggregate")
    part(page, "consensus").click()
    assert text(page, "what") == "correct by consensus"
    assert curves(page, "individual") + curves(page, "aggregate") != before
    part(page, "truth").click()
    assert curves(page, "individual") + curves(page, "aggregate") == before


def test_stepping_through_the_worst_finds_planted_failures(show, planted):
    page = show(planted.to_html())
    found = []
    part(page, "map").focus()
    page.keyboard.press("Home")
    for _ in range(N):
        sample, degrees = text(page, "where").split(", at ")
        assert text(page, "score-0") == "0.000"
        found.append((int(sample[7:]) - 1, int(degrees[:-1]) // 30))
        part(page, "next").click()
    assert sorted(found) == [(k, k) for k in range(N)]
    part(page, "previous").click()
    sample, degrees = text(page, "where").split(", at ")
    assert (int(sample[7:]) - 1, int(degrees[:-1]) // 30) == found[-1]
    part(page, "individual").focus()
    page.keyboard.press("ArrowRight")
    assert text(page, "score-0") == "1.000"
    part(page, "next").click()  # back to where this very sample is worst
    assert text(page, "where") == f"{sample}, at {degrees}"


def test_dots_on_one_spot_take_turns(show):
    scores = torch.ones(4, 5)
    scores[1, 4] = 0
    result = OrbitResult(scores, so2(4), meta={"metric": "correct"})
    page = show(explorer(result, torch.rand(5, 1, SIDE, SIDE)).to_html())
    seen = set()
    for _ in range(4):
        page.mouse.click(*dot(page, 0))
        seen.add(text(page, "where").split(",")[0])
    assert seen == {f"Sample {k}" for k in range(1, 5)}


def test_shifts_are_a_map_and_roll_the_input(show):
    orbit = shifts(SIDE, SIDE, 2)
    x, _, result = measured(orbit)
    page = show(explorer({"one": result, "two": measured(orbit, seed=1)[2]}, x).to_html())
    page.mouse.click(*spot(page, "aggregate", 100, 100, svg=1))
    assert text(page, "where").endswith("at no shift")
    sample = int(text(page, "where").split(",")[0][7:]) - 1
    page.mouse.click(*spot(page, "individual", 140, 60))
    assert text(page, "where").endswith("at 2 px right, 2 px up")
    np.testing.assert_allclose(
        pixels(page), x[sample, 0].roll((-2, 2), (0, 1)), atol=1 / 255 + 1e-6
    )
    part(page, "aggregate").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert text(page, "where").endswith("at 2 px left, 2 px up")  # around the torus
    g = [tuple(p) for p in orbit.params.tolist()].index((SIDE - 2, SIDE - 2))
    assert text(page, "score-0") == f"{result.scores[g, sample]:.3f}"


def test_tiles_disks_and_their_inputs(show):
    pairs = torch.rand(4, 2, SIDE, SIDE)
    zero = lambda pair: torch.zeros_like(pair)
    result = evaluate(zero, pairs, pairs, d4_time(), "squared_error", keep_outputs=True)
    page = show(explorer({"zero": result}, pairs).to_html())
    sample = int(text(page, "where").split(",")[0][7:]) - 1
    part(page, "aggregate").focus()
    page.keyboard.press("Home")
    assert "larger is worse" in text(page, "scale")
    for key, g in (("", 0), ("ArrowLeft", 1), ("ArrowDown", 3)):
        if key:
            page.keyboard.press(key)
        moved = d4_time().act_x(pairs, g)[sample, 0].numpy()
        np.testing.assert_allclose(pixels(page), moved, atol=1 / 255 + 1e-6)
    orbit = so3_disk(("xy", "xz"), 8, 4)
    clouds = torch.randn(4, 20, 3)
    scores = torch.rand(len(orbit), 4)
    page = show(explorer(OrbitResult(scores, orbit), clouds).to_html())
    page.mouse.click(*spot(page, "aggregate", 330, 30))
    assert text(page, "where").endswith("180° about the axis at 90° in xz")
    before = html(page, "detail")
    page.keyboard.press("ArrowDown")
    assert text(page, "where").endswith("120° about the axis at 90° in xz")
    assert html(page, "detail") != before


def test_missing_scores_are_hatched(show):
    orbit = shifts(SIDE, SIDE, 5)
    scores = torch.rand(4, 3)
    scores[2, 1] = scores[3] = torch.nan
    page = show(explorer(OrbitResult(scores, orbit), torch.rand(3, 1, SIDE, SIDE)).to_html())
    hatched = lambda name: part(page, name).locator(".et-nero-shapes path").evaluate_all(
        "paths => paths.map((p) => p.getAttribute('fill').startsWith('url'))"
    )  # fmt: skip
    assert hatched("aggregate") == [False, False, False, True]
    page.mouse.click(*dot(page, 1))
    assert hatched("individual") == [False, False, True, True]
    assert page.locator('[data-et="references"]').is_hidden()  # no outputs: nothing to agree on
    around = OrbitResult(torch.rand(8, 3).index_fill(0, torch.tensor([2]), torch.nan), so2(8))
    page = show(explorer(around, torch.rand(3, 1, SIDE, SIDE)).to_html())
    gaps = page.locator(".et-nero-missing").evaluate_all("e => e.map((p) => p.getAttribute('d'))")
    assert gaps[0] == gaps[1] != "" and curves(page, "aggregate")[0].count("M") == 2
    band = page.locator(".et-nero-band").first.get_attribute("d")
    assert band.count("Z") == 8 - 2  # a piece from each angle to the next where both are known
    page.mouse.click(*spot(page, "individual", 100, 30))
    assert text(page, "where").endswith("at 90°") and text(page, "score-0") == "missing"


@pytest.mark.parametrize("width", [360, 900])
def test_all_bars_share_one_scale(show, circle, width):
    x, y, result = measured(so2(G))
    names = ["a", "a television stand", "night stand"]
    page = show(explorer({"one": result, "two": result}, x, labels=y, classes=names).to_html())
    page.set_viewport_size({"width": width, "height": 900})
    tracks = page.locator(".et-nero-bars .et-track").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect()).map(b => [b.left, b.width].map(Math.round))"
    )
    assert len(tracks) == 6 and len(set(map(tuple, tracks))) == 1
    assert tracks[0][1] >= 38


def test_explorers_on_one_page_are_independent(show, circle, planted):
    page = started(show("".join(e._repr_html_() for e in (circle.made, planted, circle.made))))
    for k in range(3):  # the spoken line comes a little later
        expect(page.locator('[data-et="live"]').nth(k)).to_contain_text("Sample")
    states = lambda: page.locator(".et-nero").evaluate_all("e => e.map((x) => x.innerHTML)")
    before = states()
    page.locator('[data-et="next"]').nth(2).click()
    page.locator('[data-et="color"]').nth(2).select_option("spread")
    after = states()
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False]


def test_no_id_occurs_twice(show, circle):
    orbit = shifts(SIDE, SIDE, 5)
    x, _, result = measured(orbit)
    maps = explorer({"one": result, "two": measured(orbit, seed=1)[2]}, x)
    page = started(show("".join(e._repr_html_() for e in (maps, circle.made, maps))))
    ids = page.locator(".et-nero [id]").evaluate_all("e => e.map((x) => x.id)")
    assert len(ids) == len(set(ids)) >= 3


@pytest.mark.parametrize("width", [340, 560, 900])
def test_fits_every_width(show, circle, width):
    page = show(circle.made.to_html())
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_colors_follow_the_theme(show, circle):
    ground = "getComputedStyle(document.querySelector('.et-nero')).backgroundColor"
    page = show(circle.made.to_html(), color_scheme="dark")
    dark = page.evaluate(ground)
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert page.evaluate(ground) != dark


def test_clicks_at_full_size(show):
    """Prints how long a click takes; a clock is no test."""
    orbit = so2(72)
    outputs = torch.randn(72, 200, 10)
    y = torch.arange(200) % 10
    scores = outputs.softmax(-1)[:, torch.arange(200), y]
    result = OrbitResult(scores, orbit, outputs=outputs, meta={"metric": "confidence"})
    start = time.perf_counter()
    made = explorer({"one": result, "two": result}, torch.rand(200, 1, 16, 16), labels=y)
    page = show(made.to_html())
    print(f"\n{len(made.to_html())} bytes; shown after {time.perf_counter() - start:.1f} s")
    timed = """(e, act) => { const start = performance.now(); act === 'next' ? e.click()
        : e.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
        document.body.getBoundingClientRect(); return performance.now() - start; }"""
    for name, act in (("next", "next"), ("map", "key"), ("aggregate", "key")):
        before = text(page, "where")
        times = sorted(part(page, name).evaluate(timed, act) for _ in range(11))
        print(f"{name}: median {times[5]:.1f} ms, slowest {times[-1]:.1f} ms")
        assert text(page, "where") != before
