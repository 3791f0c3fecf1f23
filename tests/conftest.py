"""What several test files share: missing data, missing browsers, and how much rounding is allowed.

Another processor sums in another order. So what is claimed to be exact is computed in float64, on
both sides, and results are held to `rounding`, not to what one machine happened to give.
"""

import os
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# A busy machine is no failure.
# For a night: pytest --hypothesis-profile=nightly tests/test_data_fuzz.py
settings.register_profile("book", deadline=None, max_examples=25)
settings.register_profile("nightly", deadline=None, max_examples=10_000)
settings.load_profile("book")


def missing(reason: str) -> None:
    """Skip the running test with ``reason``; where CI=true a missing thing is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must not skip: {reason}")
    pytest.skip(reason)


def data_missing(name: str) -> str | None:
    """Return why the data set ``name`` is not at hand, or None when it is."""
    folder = os.environ.get("EQUITUTOR_DATA")
    if not folder:
        return f"needs the data set {name}: set EQUITUTOR_DATA to the folder that holds it"
    if not (Path(folder) / name).is_dir():
        return f"needs the data set {name}: EQUITUTOR_DATA={folder} has no folder {name}"
    return None


def needs_data(name: str):
    """Return a mark: the test runs only with the data set ``name`` (fails without, if CI=true)."""
    return pytest.mark.needs_data(name)


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_data(name): the test reads a real data set")


def pytest_runtest_setup(item):
    for mark in item.iter_markers("needs_data"):
        reason = data_missing(mark.args[0])
        if reason:
            missing(reason)


def rounding(dtype: torch.dtype, depth: int | torch.nn.Module, size: float = 1.0) -> float:
    """Return how far two right results in `dtype` may lie apart, on any processors.

    A sum of n numbers rounds n times, a random walk of sqrt(n) steps of eps: 32 steps for sums of
    1,000 numbers, the longest in our layers. `depth` such sums in a row add up.

    Args:
        depth: number of sums in a row; of a network, its layers with parameters are counted.
        size: of the largest number on the way, where that is not about 1.
    """
    if isinstance(depth, torch.nn.Module):
        layers = (dict(m.named_parameters(recurse=False)) for m in depth.modules())
        depth = sum(map(bool, layers))
    return 32 * depth * size * torch.finfo(dtype).eps


@pytest.fixture(scope="session")
def site():
    """The folder of the built pages, built once for all workers of this test run."""
    from equitutor import __main__ as cli

    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"process {os.getpid()}")
    stamp = ROOT / "build/site.run"
    stamp.parent.mkdir(exist_ok=True)
    with FileLock(stamp.with_suffix(".lock")):
        if not stamp.exists() or stamp.read_text() != run:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(ROOT)
                assert cli.main(["build"]) == 0
            stamp.write_text(run)
    return ROOT / "build/site/_build/html"


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium, started once for the whole session."""
    from playwright.sync_api import sync_playwright

    from tools.press.paper import chromium

    path = chromium()
    if path is None:
        missing(
            "needs a Chromium: install it (`playwright install chromium` or your system's "
            "package) or name one in EQUITUTOR_CHROMIUM"
        )
    with sync_playwright() as driver:
        running = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield running
        running.close()


@pytest.fixture(scope="session")
def offline(browser):
    """A context of the browser without a network, for the pages of all tests."""
    context = browser.new_context(viewport={"width": 900, "height": 1400})
    context.set_offline(True)
    yield context
    context.close()


@pytest.fixture
def show(offline, tmp_path, request):
    """Opens HTML from disk, offline, waits for READY of the module; fails on errors, requests."""
    troubles, pages = [], []

    def open_page(html, ready=None, **options):
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        page = offline.new_page()
        pages.append(page)
        if options:
            page.emulate_media(**options)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda note: troubles.append(note.text) if note.type == "error" else 0)
        page.on("request", lambda r: troubles.append(r.url) if r.url[:4] == "http" else 0)
        page.goto(path.as_uri())
        page.wait_for_selector(ready or request.module.READY)
        settle(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not troubles


def settle(page):
    """Waits until the explorer of a page has painted, and its worker answered, what was asked."""
    page.evaluate("() => new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f)))")
    page.wait_for_selector('.et-root:not([aria-busy="true"])', timeout=60_000)


def started(page):
    """Returns the page with all its explorers up: each starts when it comes near the screen."""
    for figure in page.locator(".et-explorer").all():
        figure.scroll_into_view_if_needed()
        figure.locator(".et-root > div:not([role='img'])").wait_for()
    return page
