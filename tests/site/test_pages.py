"""Every page of the book, opened once: as it comes, with all folds open, in the dark, on a phone.

A page is opened once for all tests of this module, since opening costs more than looking. So each
test sets what it needs, and none expects a page that nobody has touched.
"""

import re
from importlib.resources import files

import pytest
from test_site import NAMES, Visit, home, served, visit  # noqa: F401

WIDE = {"width": 1280, "height": 900}
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RULES = {
    "preload": False,  # no rule here asks for the style sheets, which it would fetch once more
    "resultTypes": ["violations"],
    "rules": {  # off by default; contrast is judged apart
        "label-content-name-mismatch": {"enabled": True},
        "target-size": {"enabled": True},
        "color-contrast": {"enabled": False},
    },
}
# Text of one ink and size on one ground has one contrast: the first of each kind stands for all.
KINDS = """() => {
  const grounds = new WeakMap();
  const ground = (e) => {
    if (!e) return "";
    if (!grounds.has(e)) {
      const { backgroundColor, backgroundImage, opacity, filter, position } = getComputedStyle(e);
      const plain = /, 0\\)$/.test(backgroundColor) && backgroundImage === "none";
      const own = plain && opacity === "1" && filter === "none" ? ""
        : [backgroundColor, backgroundImage, opacity, filter, ""].join();
      // What lies above other things may have another ground than its parents.
      const over = /absolute|fixed|sticky/.test(position) ? `${Math.random()} ` : "";
      grounds.set(e, ground(e.parentElement) + own + over);
    }
    return grounds.get(e);
  };
  const kinds = new Map(), texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || node.closest("script, style, mjx-container")) continue;
    const { width, height } = node.getBoundingClientRect();
    const seen = node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    if (width < 2 || height < 2 || !seen) continue;
    const { color, fontSize, fontWeight, textShadow } = getComputedStyle(node);
    const kind = [color, fontSize, fontWeight, textShadow, ground(node)].join();
    if (!kinds.has(kind)) kinds.set(kind, node);
  }
  return axe.run({ include: [...kinds.values()] },
    { runOnly: ["color-contrast"], resultTypes: ["violations"], preload: false });
}"""

# Moves each control of an explorer. One that shows the state it leads to does nothing, so it is
# tried again behind each of the others. Returns those that never changed words or pixels.
DEAD = """async (figure) => {
  const root = figure.querySelector(".et-root"), own = "button, select, input";
  const look = () => {
    const copy = root.cloneNode(true);
    for (const control of copy.querySelectorAll(own)) control.remove();
    return copy.innerHTML + [...root.querySelectorAll("canvas")].map((c) => c.toDataURL());
  };
  const settled = async (before) => {
    const end = Date.now() + 400;
    while (Date.now() < end || root.ariaBusy === "true" || root.querySelector("[aria-busy=true]")) {
      await new Promise((next) => setTimeout(next, 30));
      if (look() !== before) return true;
    }
    return look() !== before;
  };
  const say = (control, ...names) => {
    for (const name of names) control.dispatchEvent(new Event(name, { bubbles: true }));
  };
  const moves = {
    range: (c) => {
      c.value = c.value === c.max ? c.min : c.max;
      say(c, "input", "change");
    },
    "select-one": (c) => {
      c.selectedIndex = (c.selectedIndex + 1) % c.length;
      say(c, "input", "change");
    },
  };
  const press = (c) => {
    for (const key of ["Home", "ArrowRight", "ArrowDown"])
      c.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  };
  const controls = () => [...root.querySelectorAll(`${own}, [tabindex="0"]`)].filter((c) =>
    !c.disabled && c.checkVisibility()
      && (c.parentElement.children.length < 13 || [...c.parentElement.children].indexOf(c) < 3));
  const name = (c) =>
    `${c.tagName.toLowerCase()} ${c.dataset.et ?? c.ariaLabel ?? c.textContent.trim()}`;
  const move = async (c) => {
    const before = look();
    (moves[c.type] ?? (c.matches(own) ? (c) => c.click() : press))(c);
    return settled(before);
  };
  const dead = [];
  for (let k = 0; k < controls().length; k++) {
    const key = name(controls()[k]), same = () => controls().find((c) => name(c) === key);
    let moved = controls()[k].ariaPressed !== "true" && await move(controls()[k]);
    for (let other = 0; !moved && other < controls().length; other++) {
      if (other === k) continue;
      await move(controls()[other]);
      moved = same() && await move(same());
    }
    if (!moved) dead.push(key);
  }
  return dead;
}"""


def grave(found):
    """What of axe's findings is serious or critical: rule -> the first places."""
    return {
        one["id"]: [str(node["target"][0]) for node in one["nodes"][:4]]
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    }


def contrast(page):
    """Kinds of text that are too pale for their ground."""
    page.evaluate("window.axe || 0") or page.evaluate(AXE)
    return grave(page.evaluate(KINDS))


def faults(page):
    """What axe finds serious or critical: rule -> the first places."""
    page.evaluate(AXE)
    return grave(page.evaluate("(o) => axe.run(document, o)", RULES)) | contrast(page)


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


def themed(page, theme):
    """The page in "light" or "dark", as a reader's system asks for it, once it has faded."""
    page.emulate_media(color_scheme=theme)
    page.wait_for_function("(t) => document.documentElement.dataset.theme === t", arg=theme)
    page.wait_for_timeout(300)
    return page


def brightness(page, selector, what):
    color = page.locator(selector).first.evaluate(f"node => getComputedStyle(node).{what}")
    return sum(float(number) for number in re.findall(r"[\d.]+", color)[:3]) / 3


def incomplete(page):
    """What a page lacks: formulas that are not set, images without a file or words for them."""
    return page.evaluate("""() => {
      const all = (q) => [...document.querySelectorAll(q)];
      const images = all("main img").map((i) => [i, (i.getAttribute("alt") ?? "").trim()]);
      const texts = images.map(([, alt]) => alt);
      const bad = /^(figure|image|picture|plot) of|\\.(png|svg)$|[\\\\/]\\w+[\\\\/]/i;
      return [
        ...all("main .math:not(:has(mjx-container))").map((e) => `not set: ${e.textContent}`),
        ...all("mjx-merror").map((e) => `formula: ${e.textContent}`),
        ...images.filter(([i]) => i.complete && !i.naturalWidth).map(([i]) => `broken: ${i.src}`),
        ...images.filter(([i]) => i.naturalWidth && i.closest("figure")
          && Math.abs(i.height / i.width * i.naturalWidth / i.naturalHeight - 1) > 0.03)
          .map(([i]) => `squeezed: ${i.width} x ${i.height}, ${i.src}`),
        ...all("main .cell_output figure:not(:has(.et-enlarge)) img:not(.et-explorer img)")
          .map((i) => `not to enlarge: ${i.src}`),
        ...images.filter(([, alt]) => !alt || bad.test(alt))
          .map(([i, alt]) => `alt "${alt}": ${i.src}`),
        ...texts.filter((alt, k) => alt && texts.indexOf(alt) < k).map((alt) => `twice: ${alt}`),
      ].map((line) => line.slice(0, 120));
    }""")


def still(seen):
    """What a visit asked for elsewhere, what failed, what the console said: no line of any."""
    return seen.outside + seen.failed + seen.said


@pytest.fixture(scope="module", params=NAMES)
def seen(request, browser, home):  # noqa: F811
    one = Visit(browser, home, viewport=WIDE, color_scheme="light")
    one.open(request.param)
    yield one
    one.context.close()


def test_page_is_whole_and_asks_nobody_else(seen):
    assert still(seen) == []
    assert seen.page.locator("main h1").count() >= 1
    assert incomplete(seen.page) == []


def test_nothing_keeps_a_reader_out(seen):
    page = themed(opened(seen.page), "light")
    assert brightness(page, "body", "backgroundColor") > 230
    assert brightness(page, "main h1", "color") < 80
    assert faults(page) == {}
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))
    assert still(seen) == []  # no explorer failed


def test_page_follows_the_color_scheme(seen):
    page = themed(opened(seen.page), "dark")
    assert brightness(page, "body", "backgroundColor") < 60
    assert brightness(page, "main h1", "color") > 180
    assert contrast(page) == {}


def test_what_scrolls_in_its_box_is_a_tab_stop_and_no_other_formula_is(seen):
    page = opened(seen.page)
    wide = page.evaluate(
        "[...document.querySelectorAll('.bd-article pre, .bd-article mjx-container[display]')]"
        ".map((box) => [box.scrollWidth > box.clientWidth + 1, box.tabIndex === 0])"
    )
    assert all(reached or not scrolls for scrolls, reached in wide)
    assert page.locator("mjx-container:not([display])[tabindex='0']").count() == 0


@pytest.mark.parametrize("width", [640, 360], ids=["zoom 200 %", "phone"])
def test_page_fits_a_narrow_window(seen, width):
    page = opened(seen.page)
    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_function("(w) => innerWidth === w", arg=width)
    over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    page.set_viewport_size(WIDE)
    assert over <= 0


def test_every_control_of_an_explorer_changes_it(seen):
    page = opened(seen.page)
    page.emulate_media(reduced_motion="reduce", color_scheme="light")  # nothing moves by itself
    for explorer in page.locator(".et-explorer").all():
        explorer.scroll_into_view_if_needed()
        assert explorer.evaluate(DEAD) == [], explorer.get_attribute("aria-label")
    assert still(seen) == []


# The twins: each fault is seen --------------------------------------------------------------------


@pytest.fixture
def twin(browser, tmp_path):
    """Opens a page of its own with some HTML in it."""
    visits = []

    def show(html):
        text = f"<!doctype html><html lang='en'><title>x</title><main><h1>x</h1>{html}</main>"
        (tmp_path / "twin.html").write_text(text)
        visits.append(Visit(browser, address))
        visits[-1].open("twin")
        return visits[-1]

    with served(tmp_path) as address:
        yield show
        for one in visits:
            one.context.close()


@pytest.mark.parametrize(
    "fault, rule",
    [
        ("<img src='data:image/png;base64,AAAA'>", "image-alt"),
        ("<button><i class='icon'></i></button>", "button-name"),
        ("<p>dark</p><p style='background: #fff; color: #bbb'>pale</p>", "color-contrast"),
        ("<p>dark</p><div style='background: #222'><p>on dark</p></div>", "color-contrast"),
        ("<p>a</p><p hidden>b</p><p style='opacity: 0.3'>pale</p>", "color-contrast"),
        ("<button aria-label='Other'>Words</button>", "label-content-name-mismatch"),
        ("<div role='list'><p>x</p></div>", "aria-required-children"),
        ("<pre style='overflow: auto; width: 4em'>a very long line of code</pre>",
         "scrollable-region-focusable"),
        ("<button style='all: unset; font-size: 8px'>a</button>"
         "<button style='all: unset; font-size: 8px'>b</button>", "target-size"),
    ],
)  # fmt: skip
def test_a_fault_is_seen(twin, fault, rule):
    assert set(faults(twin(fault).page)) == {rule}


@pytest.mark.parametrize(
    "fault, told",
    [
        ("<span class='math'>x^2</span>", "not set: x^2"),
        ("<mjx-merror>no such macro</mjx-merror>", "formula: no such macro"),
        ("<img src='missing.png' alt='A dot'>", "broken: "),
        ("<img src='data:image/svg+xml,<svg xmlns=\"http://www.w3.org/2000/svg\"/>' alt=' '>",
         'alt ""'),
        ("<figure><img src='data:image/svg+xml,<svg xmlns=\"http://www.w3.org/2000/svg\" "
         "width=\"40\" height=\"10\"/>' alt='A line' style='width: 20px; height: 10px'></figure>",
         "squeezed: 20 x 10"),
        ("<div class='cell_output'><figure><img src='a.png' alt='A'></figure></div>",
         "not to enlarge: "),
        ("<img src='a.png' alt='_images/dot.png'>", 'alt "_images/dot.png"'),
        ("<img src='a.png' alt='Figure of a dot'>", 'alt "Figure of a dot"'),
        ("<img src='a.png' alt='A dot'><img src='b.png' alt='A dot'>", "twice: A dot"),
    ],
)  # fmt: skip
def test_what_a_page_lacks_is_told(twin, fault, told):
    assert any(line.startswith(told) for line in incomplete(twin(fault).page))


def test_a_request_elsewhere_a_missing_file_and_an_error_are_noticed(twin):
    seen = twin(
        "<script src='https://example.org/x.js'></script><img src='missing.png'>"
        "<script>undefined.x</script>"
    )
    assert seen.outside == ["https://example.org/x.js"]
    assert any("missing.png: 404" in line for line in seen.failed)
    assert any("undefined" in line for line in seen.said)


def test_a_dead_control_is_seen(twin):
    page = twin("""<div class="et-explorer"><div class="et-root">
      <input type="range" data-et="live" min="0" max="9" value="3">
      <input type="range" data-et="dead" min="0" max="9" value="3"><output>3</output>
      <button type="button" data-et="press">Press</button><button type="button">Nothing</button>
      <button type="button" data-et="home">Home</button>
      <select data-et="choose"><option>a</option><option>b</option></select>
      <canvas width="4" height="4" tabindex="0" data-et="keys"></canvas></div></div>""").page
    page.evaluate("""() => {
      const part = (n) => document.querySelector(`[data-et=${n}]`);
      const told = document.querySelector("output");
      part("live").oninput = ({ target }) => (told.value = target.value);
      part("press").onclick = () => setTimeout(() => (told.value += "!"), 200);
      part("home").onclick = () => (told.value = "3");
      let pressed = 0;
      part("keys").onkeydown = ({ target }) => {
        target.width = 4; // clears it
        target.getContext("2d").fillRect(0, 0, ++pressed % 4, 4);
      };
    }""")
    dead = page.locator(".et-explorer").evaluate(DEAD)
    assert dead == ["input dead", "button Nothing", "select choose"]
