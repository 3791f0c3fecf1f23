"""The body and projection explorers in a real browser without a network, against PyTorch."""

import json
import re

import pytest
import torch
from conftest import rounding, settle
from playwright.sync_api import expect

from equitutor.explorers.articulated import articulated_explorer
from equitutor.explorers.fitters import page_fitter, page_group
from equitutor.explorers.host import pack, source
from equitutor.explorers.projection import AMOUNT, projection_explorer
from equitutor.groups import haar_so3
from equitutor.methods.articulated import ArtEq, PointNet, random_scans, toy_body
from equitutor.methods.icosahedral import project_so3, rotation_angle, rotation_tables

READY = ".et-fitter"  # the page is up when this is there
TOY = toy_body()
MODULES = ("points", "layers", "nn", "body", "answers")
SOURCE = "\n".join(source(f"articulated-{name}.js") for name in MODULES) + source("host.js")


def nets(**options):
    torch.manual_seed(0)
    rounded = lambda net: net.half().float().eval()
    options = dict(samples=(24, 12), neighbors=(12, 8), lift_points=40) | options
    return rounded(PointNet(6, 3, width=16)), rounded(ArtEq(TOY.parents, 3, **options))


def explorer(start=10):
    eye = torch.eye(3).expand(6, 3, 3)
    bent = random_scans(TOY, 1, 5, 0.3, generator=torch.Generator().manual_seed(0)).rotations[0]
    bends = [{"name": "long arm", "part": 2, "axis": [0.0, 1.0, 0.0], "low": -60, "high": 60}]
    return articulated_explorer(*nets(), TOY, {"rest": eye, "bent": bent}, bends, 80, start)


def part(page, name):
    return page.locator(f'[data-et="{name}"]').first


def number(page, name):
    return float(re.search(r"[\d.]+", part(page, name).inner_text()).group())


def set_slider(page, name, value):
    part(page, name).evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value
    )
    settle(page)


def picture(page, name):
    return part(page, name).evaluate("e => e.toDataURL()")


@pytest.mark.parametrize(
    "options",
    [{}, {"frame": 3, "radii": (0.2, 0.7), "neighbors": (20, 24)}, {"relative_bias": False},
     {"lift": 0}],
)  # fmt: skip
def test_networks_in_the_page_are_pytorchs(browser, options):
    pointnet, arteq = nets(**options)
    scans = random_scans(TOY, 1, 150, root="random", generator=torch.Generator().manual_seed(3))
    data = {
        "arteq": page_fitter(arteq, TOY.parents),
        "pointnet": page_fitter(pointnet, TOY.parents),
        "group": page_group(rotation_tables()),
        "points": scans.points[0].numpy().reshape(-1),
    }
    script = f"""([payload]) => {{
        {SOURCE}
        const d = unpack(payload);
        const opened = ({{ config, weights }}) => ({{ config, weights: Object.fromEntries(
            Object.entries(weights).map(([k, v]) => [k, half(v)])) }});
        const group = {{ ...d.group, elements: exactElements(d.group.elements), order: 60 }};
        const answers = {{
            arteq: arteqForward(opened(d.arteq), group, d.points),
            pointnet: pointnetForward(opened(d.pointnet), d.points),
        }};
        const lists = (o) => ({{ logits: [...o.logits], matrices: [...o.matrices],
            beta: [...o.beta], weights: [...(o.weights ?? [])],
            rotations: o.labels && Array.from({{ length: 6 }}, (_, p) =>
                [...projectSO3(nine(o.matrices, p))]).flat() }});
        return {{ arteq: lists(answers.arteq), pointnet: lists(answers.pointnet) }};
    }}"""
    page = browser.new_page()
    found = page.evaluate(script, [json.dumps(pack(data))])
    page.close()
    x = scans.points.double()
    with torch.no_grad():
        wanted = {"arteq": arteq.double()(x), "pointnet": pointnet.double()(x)}
    # The kernel points of ArtEq travel as float32, rounded once.
    close = {"arteq": rounding(torch.float32, 1), "pointnet": rounding(torch.float64, pointnet)}
    for name, prediction in wanted.items():
        for key in ("logits", "matrices", "beta", "rotations", "weights"):
            value = getattr(prediction, key)
            if value is not None:
                got = torch.tensor(found[name][key], dtype=torch.float64)
                assert (got - value.flatten()).abs().max() < close[name], (name, key)


def test_projection_and_angles_in_the_page(browser):
    m = torch.randn(40, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turns = haar_so3(40, torch.Generator().manual_seed(1))
    turns = torch.cat([turns, rotation_tables().elements])  # with half turns
    script = f"""([m, r]) => {{
        {SOURCE}
        const each = (list, f) => list.map((v) => f(Float64Array.from(v)));
        return [each(m, (v) => [...projectSO3(v)]), each(r, (v) => rotationVector(v)),
            each(r, (v) => angleBetween(Float64Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1), v))];
    }}"""
    page = browser.new_page()
    args = [m.flatten(1).tolist(), turns.flatten(1).tolist()]
    answers = (torch.tensor(a, dtype=torch.float64) for a in page.evaluate(script, args))
    found, vectors, angles = answers
    page.close()
    assert (found.view(-1, 3, 3) - project_so3(m)).abs().max() < 1e-12
    true = rotation_angle(torch.eye(3).double(), turns)
    assert (angles - true).abs().max() < 1e-12
    x, y, z = vectors.unbind(1)
    o = torch.zeros_like(x)
    again = torch.matrix_exp(torch.stack([o, -z, y, z, o, -x, -y, x, o], 1).view(-1, 3, 3))
    assert (again - turns).abs().max() < 1e-12


def test_turning_moves_the_scan_and_both_answers(show):
    page = show(explorer().to_html())
    before = [picture(page, n) for n in ("pointnet-view", "arteq-view", "ball", "curve")]
    set_slider(page, "angle", 77)
    after = [picture(page, n) for n in ("pointnet-view", "arteq-view", "ball", "curve")]
    assert all(a != b for a, b in zip(before, after, strict=True))
    expect(part(page, "angle-text")).to_have_text("77°")


def test_arteq_answers_alike_at_elements_of_the_group_and_pointnet_does_not(show):
    page = show(explorer(start=0).to_html())
    seen = []
    for _ in range(5):  # five steps of 72 degrees go around
        seen.append([number(page, f"{n}-error") for n in ("arteq", "pointnet")])
        part(page, "snap").click()
        angle = 72 * len(seen) % 360
        expect(part(page, "angle-text")).to_have_text(f"{angle}°")
        settle(page)
    assert part(page, "angle-text").inner_text() == "0°"
    arteq, pointnet = zip(*seen, strict=True)
    assert max(arteq) - min(arteq) < 0.11  # the last digit shown
    assert max(pointnet) - min(pointnet) > 2


def test_bending_a_joint_moves_things_and_home_puts_them_back(show):
    page = show(explorer(start=0).to_html())
    rest = picture(page, "arteq-view")
    set_slider(page, "bend-0", 45)
    assert part(page, "bend-0-text").inner_text() == "45°"
    assert picture(page, "arteq-view") != rest
    part(page, "home").click()
    expect(part(page, "bend-0-text")).to_have_text("0°")
    settle(page)
    assert picture(page, "arteq-view") == rest


def test_poses_axes_and_parts_can_be_chosen(show):
    page = show(explorer().to_html())
    rest, ball = picture(page, "pointnet-view"), picture(page, "ball")
    page.locator(".et-pose").nth(1).click()
    settle(page)
    assert picture(page, "pointnet-view") != rest
    pressed = page.locator(".et-pose").evaluate_all("e => e.map(b => b.ariaPressed)")
    assert pressed == ["false", "true"]
    part(page, "part").select_option("4")
    settle(page)
    assert picture(page, "ball") != ball
    before = picture(page, "arteq-view")
    part(page, "axis").select_option("3")
    settle(page)
    assert picture(page, "arteq-view") != before


def test_networks_run_in_a_worker_and_once_for_each_scene(show):
    page = show(explorer(start=12).to_html())
    assert len(page.workers) == 1
    busy = "document.querySelector('.et-root').ariaBusy"
    expect(part(page, "seen")).to_have_text("60 of 60 turns computed", timeout=60_000)
    part(page, "part").select_option("4")
    assert page.evaluate(busy) == "false"  # the answer is there: only a part of it is shown
    set_slider(page, "angle", 13)
    set_slider(page, "angle", 12)
    assert page.evaluate(busy) == "false"
    part(page, "angle").evaluate("e => { e.value = 14; e.dispatchEvent(new Event('input')); }")
    assert page.evaluate(busy) == "true"  # the twin: a scene that nobody has asked for yet


def test_a_page_that_allows_no_worker_answers_itself(show):
    html = explorer(start=0).to_html()
    page = show(html.replace("new Worker(", "new (class { constructor() { throw 0; } })("))
    assert number(page, "arteq-error") > 0 and not page.workers


def test_curve_fills_and_a_click_jumps(show):
    page = show(explorer().to_html())
    expect(part(page, "seen")).to_have_text("60 of 60 turns computed", timeout=60_000)
    box = part(page, "curve").bounding_box()
    page.mouse.click(box["x"] + 0.55 * box["width"], box["y"] + 0.5 * box["height"])
    wanted = round(360 * (0.55 * 640 - 78) / (640 - 112))
    expect(part(page, "angle-text")).to_have_text(re.compile(f"{wanted - 1}|{wanted}|{wanted + 1}"))


def test_dragging_turns(show):
    page = show(explorer(start=0).to_html())
    box = part(page, "arteq-stage").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 50, steps=3)
    page.mouse.up()
    expect(part(page, "angle-text")).to_have_text("70°")


def test_keyboard_alone_is_enough(show):
    page = show(explorer(start=0).to_html())
    part(page, "pointnet-stage").focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    for key in ("Home", "ArrowRight", "ArrowRight", "Shift+ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    expect(part(page, "angle-text")).to_have_text("42°")
    settle(page)
    expect(part(page, "live")).to_contain_text("PointNet is off by")


@pytest.mark.parametrize("width", [340, 560, 900])
@pytest.mark.parametrize("kind", ["fitter", "svd"])
def test_fits_every_width(show, kind, width):
    made = explorer() if kind == "fitter" else projection_explorer()
    page = show(made.to_html(), ready=f".et-{kind}")
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_colors_follow_the_theme(show):
    ground = "getComputedStyle(document.querySelector('.et-fitter')).backgroundColor"
    page = show(explorer().to_html(), color_scheme="dark")
    dark = page.evaluate(ground)
    drawn = picture(page, "ball")
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    settle(page)
    assert page.evaluate(ground) != dark
    assert picture(page, "ball") != drawn  # canvases are painted anew


def test_shrinking_the_matrix_swings_the_rotations(show):
    page = show(projection_explorer().to_html(), ready=".et-svd")
    spreads = []
    for size in (0, -100, -200):
        set_slider(page, "size", size)
        spreads.append(number(page, "spread"))
    assert spreads[0] < 5 < 30 < spreads[2]
    assert spreads == sorted(spreads)
    # the same numbers from PyTorch
    generator = torch.Generator().manual_seed(4)
    rotation = haar_so3(1, generator)[0]
    noise = torch.randn(60, 3, 3, generator=generator, dtype=torch.float64)
    noise = noise / noise.norm(dim=(1, 2), keepdim=True)
    found = project_so3(0.1 / 3**0.5 * rotation + AMOUNT * noise)
    wanted = rotation_angle(rotation, found).rad2deg().mean()
    assert spreads[1] == pytest.approx(float(wanted), abs=0.06)
