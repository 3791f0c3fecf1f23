"""Slides: what becomes one, what is said with it, and that none is too high for the screen."""

import re

import nbformat
import pytest
from conftest import ROOT

from equitutor.explorers.host import Explorer
from tools.colab import read_book
from tools.teach import slides
from tools.teach.assignment import sessions
from tools.teach.notes import appendix
from tools.teach.slides import deck, vendor, write_deck

BOOK = read_book(ROOT)
CODE, TEXT = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
PIXEL += "rkJggg=="


def figure(caption):
    picture = nbformat.v4.new_output("display_data", data={"image/png": PIXEL})
    about = {"tags": ["hide-input"], "mystnb": {"figure": {"caption": caption}}}
    return CODE("draw()", outputs=[picture], metadata=about)


def lesson(*cells):
    return deck(nbformat.v4.new_notebook(cells=list(cells)), "nero", BOOK)


def text_of(node):
    """Returns all HTML that the cells of a notebook put out."""
    outputs = [out for cell in node.cells for out in cell.get("outputs", [])]
    return "".join(out.get("data", {}).get("text/html", "") for out in outputs)


def parts(node):
    """Returns for each slide what it shows and what is said with it."""
    found = []
    for cell in node.cells:
        kind = cell.metadata["slideshow"]["slide_type"]
        if kind == "slide":
            found.append(["", ""])
        found[-1][kind == "notes"] += cell.source + "\n"
    return found


def test_headings_formulas_lists_are_shown_and_prose_is_said():
    text = "## Turns\n\nA long explanation.\n\n$$\na = b\n$$\n\n- one\n- two"
    ((shown, said),) = parts(lesson(TEXT(text)))
    assert "## Turns" in shown and "a = b" in shown and "- two" in shown
    assert "A long explanation" not in shown and "A long explanation" in said


def test_a_short_sentence_leads_to_its_list_and_training_leaves_no_trace():
    data = {slides.WIDGET: {"model_id": "b"}, "text/plain": " 16%|#6  | 40/250"}
    bar = nbformat.v4.new_output("display_data", data=data)
    said = nbformat.v4.new_output("stream", name="stdout", text="97% right")
    words = "far too long, " * 9
    text = f"# Turns\n\nA paragraph.\n\nYou can\n\n- turn\n\n{words}\n\n- two"
    text += "\n\nThen one. With\n\n$$\na\n$$"
    node = lesson(TEXT(text), CODE("train()", outputs=[bar, said]))
    first, second = parts(node)
    assert first[0].strip() == "# Turns\n\nYou can\n\n- turn\n\n- two\n\nWith\n\n$$\na\n$$"
    assert "train()" in second[0]
    assert [o.text for c in node.cells for o in c.get("outputs", [])] == ["97% right"]


def test_a_figure_takes_the_heading_before_it_and_shows_no_code():
    node = lesson(TEXT("## Turns\n\nOnly words."), figure("A dot. It is small."))
    ((shown, _),) = parts(node)
    assert "## Turns" in shown and "It is small" in shown
    drawn = next(cell for cell in node.cells if cell.cell_type == "code")
    assert drawn.outputs and "no-input" in drawn.metadata["tags"]


def test_tags_decide_and_exercises_stay_out():
    long = "\n".join(f"x{k} = {k}" for k in range(40))
    cells = [
        TEXT("## Turns\n\n- a list"),
        CODE("short = 1"),
        CODE("away = 1", metadata={"tags": ["no-slide"]}),
        CODE(long),
        CODE(long + "\nforced = 1", metadata={"tags": ["slide"]}),
        TEXT("## Exercises\n\n- none of this"),
        CODE("secret = 1"),
    ]
    text = "\n".join(shown for shown, _ in parts(lesson(*cells)))
    assert "short = 1" in text and "forced = 1" in text
    assert not re.search(r"away|secret|none of this", text) and text.count("x39 = 39") == 1


def test_a_long_deck_gives_up_its_longest_code():
    cells = [TEXT("## Turns\n\n- a list")]
    cells += [CODE("\n".join(["y = 1"] * (n % 17 + 1))) for n in range(34)]
    made = parts(lesson(*cells))
    assert len(made) == slides.MOST
    assert max(shown.count("y = 1") for shown, _ in made) < 17


def test_notes_name_the_slides_and_what_makes_wait():
    begin, end = "2026-11-29T00:52:26.002846Z", "2026-11-29T00:52:35.502846Z"
    times = {"execution": {"iopub.execute_input": begin, "shell.execute_reply": end}}
    cells = [
        TEXT("# All\n\n- a list"),
        CODE("quick = 1"),
        TEXT("## Train\n\nNow."),
        CODE("train()"),
    ]
    cells[3].metadata |= times
    executed = nbformat.v4.new_notebook(cells=cells)
    text = appendix(executed, lesson(*cells))
    assert "1. All\n" in text and "3. Train\n" in text and "| Train | 10 |" in text
    assert "| All" not in text
    cells[3].metadata.pop("execution")
    assert "Nowhere" in appendix(executed, lesson(*cells))


@pytest.fixture(scope="module")
def vendored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decks")
    vendor(folder / "vendor")
    return folder


def opened(browser, folder, node):
    write_deck(node, "A deck", folder / "deck/slides.html")
    context = browser.new_context(viewport={"width": 1200, "height": 750})
    context.set_offline(True)
    page, troubles = context.new_page(), []
    page.set_default_timeout(120_000)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("requestfailed", lambda request: troubles.append(request.url))
    page.on("request", lambda r: troubles.append(r.url) if r.url.startswith("http") else None)
    page.goto((folder / "deck/slides.html").as_uri())
    page.wait_for_selector("body[data-ready=yes]")
    return page, troubles


TOO_LARGE = """() => {
  const slide = Reveal.getCurrentSlide();
  const wide = [...slide.querySelectorAll("pre, table, img, mjx-container, .et-explorer")].some(
    (e) => e.getBoundingClientRect().right > slide.getBoundingClientRect().right
      || e.getBoundingClientRect().right > e.parentElement.getBoundingClientRect().right + 2
      || e.scrollWidth > e.clientWidth + 2 && e.clientWidth);
  return wide || slide.scrollHeight > 750;
}"""


def too_large(page):
    """Returns the numbers of the slides that do not fit, going through all of them."""
    found = []
    page.evaluate("Reveal.slide(0)")
    for number in range(page.evaluate("Reveal.getTotalSlides()")):
        if page.evaluate(TOO_LARGE):
            found.append(number + 1)
        page.evaluate("Reveal.next()")
    return found


def test_slides_need_no_network_and_shrink_until_they_fit(browser, vendored):
    rows = "\n".join(f"- a line with $x_{{{k}}}$" for k in range(24))
    page, troubles = opened(
        browser, vendored, lesson(TEXT(f"# High\n\n{rows}"), TEXT("## Low\n\n$$\na\n$$"))
    )
    assert troubles == [] and too_large(page) == []
    assert page.evaluate("document.querySelectorAll('mjx-container').length") >= 25
    page, _ = opened(browser, vendored, lesson(TEXT("# Far too high\n\n" + rows * 5)))
    assert too_large(page) == [1]  # a limit, or the check could not fail


# Its height grows with its width, as that of panels with pictures does; a click counts.
PANEL = """function mount(root) {
  root.innerHTML = `<button style="aspect-ratio: 3 / 4; width: 100%">0</button>`;
  root.firstChild.onclick = ({ target }) => { target.textContent = +target.textContent + 1; };
}"""


def explored(panel):
    """A lesson with an explorer."""
    shown = Explorer(panel, {}, "Panel", fallback="<svg></svg>", alt="A panel", height=2000)
    html = nbformat.v4.new_output("display_data", data={"text/html": shown._repr_html_()})
    cell = CODE("draw()", outputs=[html], metadata={"tags": ["hide-input"]})
    return lesson(TEXT("## Try it\n\nWords."), cell)


def test_an_explorer_fills_its_slide_and_works(browser, vendored):
    page, troubles = opened(browser, vendored, explored(PANEL))
    assert troubles == [] and too_large(page) == []
    box = page.locator(".et-root button").bounding_box()
    assert 500 < box["height"] < 750 and 0 < box["x"] < 600 - box["width"] / 4  # in the middle
    page.click(".et-root button")
    assert page.inner_text(".et-root button") == "1"
    page.evaluate("document.querySelector('.et-explorer').style.width = ''")  # zoom alone
    assert too_large(page) == [1]


def test_a_flat_explorer_is_no_wider_than_its_slide(browser, vendored):
    page, _ = opened(
        browser, vendored, explored(PANEL.replace("aspect-ratio: 3 / 4", "height: 9em"))
    )
    assert too_large(page) == []
    room = page.evaluate("document.querySelector('.et-explorer').parentElement.clientWidth")
    page.evaluate(f"document.querySelector('.et-explorer').style.width = '{room}px'")
    assert too_large(page) == [1]


@pytest.mark.parametrize("name", sessions(ROOT))
def test_no_slide_of_a_lesson_overflows(name, browser, site, vendored):
    from tools.press.executed import load

    executed, _ = load(ROOT, name)  # made by the build of the pages
    node = deck(executed, name, BOOK)
    page, troubles = opened(browser, vendored, node)
    assert troubles == [] and too_large(page) == []
    assert 15 <= page.evaluate("Reveal.getTotalSlides()") <= slides.MOST
    found = page.evaluate(
        "[...document.querySelectorAll('.et-explorer')].map((e) => +e.style.zoom)"
    )
    assert len(found) == text_of(node).count('class="et-explorer"')
    assert min(found, default=1) > 0.7  # its words can be read
    assert page.evaluate("document.querySelectorAll('aside.notes').length") >= 5
