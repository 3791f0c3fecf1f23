"""Which chapters there are, when they run again, and what the builder makes of them."""

import json
from types import SimpleNamespace

import nbformat
import pytest
from conftest import ROOT

from equitutor import chapters, studies
from equitutor.studies import code
from tools.press import address, assembly, executed, execution, logo

CONFIG = "title: tiny\nrepository:\n  url: https://github.com/one/tiny\n"
TOC = "format: jb-book\nroot: book/index\nparts:\n- chapters:\n  - file: book/tiny\n"


def notebook(path, *cells):
    """Write a notebook; a cell is its code, or a pair (markdown or code, text)."""
    made = []
    for i, cell in enumerate(cells):
        kind, text = cell if isinstance(cell, tuple) else ("code", cell)
        make = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        made.append(make(text, id=f"cell-{i}"))
    node = nbformat.v4.new_notebook(cells=made)
    node.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(node, path)
    return path


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A book with an index and one chapter, the working directory."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "book/index.md").write_text("# Tiny\n")
    notebook(tmp_path / "book/tiny.ipynb", ("markdown", "# T\n\n<!-- badge -->"), "print(6 * 7)")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ------------------------------------------------------------------------------ the list of pages


def test_pages_and_chapters_come_from_the_toc(tiny):
    assert [page.name for page in chapters.pages(tiny)] == ["index.md", "tiny.ipynb"]
    assert list(chapters.chapters(tiny)) == ["tiny"]


def test_a_missing_page_is_named(tiny):
    (tiny / "book/tiny.ipynb").unlink()
    with pytest.raises(chapters.BookError, match=r"book/tiny.*no book/tiny\.ipynb"):
        chapters.pages(tiny)


def test_an_unknown_chapter_lists_the_known_ones(tiny):
    with pytest.raises(chapters.BookError, match=r"'typo'.*tiny"):
        chapters.chapter(tiny, "typo")


def test_root_is_found_from_below_and_refused_outside(tiny, tmp_path_factory):
    assert chapters.find_root(tiny / "book") == tiny
    with pytest.raises(chapters.BookError, match=r"_toc\.yml"):
        chapters.find_root(tmp_path_factory.mktemp("elsewhere"))


def test_write_text_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    chapters.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        chapters.write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# ------------------------------------------------------------------------------ execute and cache


def test_a_chapter_runs_once_and_keeps_its_outputs_when_only_words_change(tiny, capfd):
    assert executed.execute_changed(tiny) == ["tiny"]
    assert executed.execute_changed(tiny) == []
    path = tiny / "book/tiny.ipynb"
    notebook(path, ("markdown", "# Other words\n\n<!-- badge -->"), "print(6 * 7)  # a comment")
    assert executed.execute_changed(tiny) == []
    assembly.assemble(tiny)
    built = nbformat.read(tiny / "build/src/book/tiny.ipynb", as_version=4)
    assert built.cells[0].source.startswith("# Other words")
    assert 'class="et-badge"' in built.cells[0].source
    assert built.cells[1].source.endswith("# a comment")
    assert built.cells[1].outputs[0].text == "42\n"
    assert "42" in capfd.readouterr().err  # progress is shown
    assert "<!-- badge -->" in path.read_text()  # the source is as it was

    notebook(path, "print(6 * 8)")
    assert executed.execute_changed(tiny) == ["tiny"]


@pytest.mark.parametrize(
    "extra",
    [
        "constraints.txt",
        "book/results/tiny.json",
        "book/results/tiny.jsonl",
        "book/checkpoints/tiny-net.safetensors",
    ],
)
def test_what_a_chapter_reads_makes_it_stale(tiny, extra):
    path = tiny / "book/tiny.ipynb"
    before = executed.cache_key(tiny, path)
    chapters.write_text(tiny / extra, "{}")
    there = executed.cache_key(tiny, path)
    chapters.write_text(tiny / extra, "{1}")
    assert len({before, there, executed.cache_key(tiny, path)}) == 3


@pytest.mark.parametrize("extra", ["book/results/tiny.lock", "book/results/other.jsonl", "x.txt"])
def test_what_a_chapter_does_not_read_does_not(tiny, extra):
    before = executed.cache_key(tiny, tiny / "book/tiny.ipynb")
    chapters.write_text(tiny / extra, "{}")
    assert executed.cache_key(tiny, tiny / "book/tiny.ipynb") == before


PROGRAM = "from equitutor import pack\n%time x = pack.f(1)"


@pytest.fixture
def packed(tiny, monkeypatch):
    """A chapter that uses a package equitutor with two modules of one function each."""
    root = tiny / "lib"
    for name in ("f", "g"):
        text = f'from equitutor.more import {name}1\ndef {name}(x):\n    """Doc."""\n    return x\n'
        chapters.write_text(root / "equitutor/pack" / f"{name}.py", text)
    chapters.write_text(root / "equitutor/__init__.py", "")
    chapters.write_text(root / "equitutor/pack/__init__.py", "from .f import f\nfrom .g import g\n")
    monkeypatch.setattr(code, "_HOME", root)
    monkeypatch.setattr(executed.equitutor, "__file__", str(root / "equitutor/__init__.py"))
    notebook(tiny / "book/tiny.ipynb", PROGRAM, ("markdown", "text"))

    def key():
        code._parsed.cache_clear()
        return executed.cache_key(tiny, tiny / "book/tiny.ipynb")

    return root / "equitutor/pack", tiny / "book/tiny.ipynb", key


def test_the_key_changes_with_cells_and_reached_modules(packed):
    pack, path, key = packed
    keys = [key()]
    notebook(path, PROGRAM, "y = 2")
    keys.append(key())
    node = nbformat.read(path, as_version=4)
    node.cells[1].metadata["tags"] = ["raises-exception"]
    nbformat.write(node, path)
    keys.append(key())
    text = (pack / "f.py").read_text()
    (pack / "f.py").write_text(text.replace("return x", "return -x"))
    keys.append(key())
    assert len(set(keys)) == 4


def test_the_key_stays_with_words_tags_and_what_is_not_reached(packed):
    pack, path, key = packed
    before = key()
    notebook(path, PROGRAM + "  # why", ("markdown", "other text"))
    node = nbformat.read(path, as_version=4)
    node.cells[0].metadata["tags"] = ["hide-input"]
    nbformat.write(node, path)
    text = (pack / "f.py").read_text()
    (pack / "f.py").write_text("# why\n" + text.replace("Doc.", "Other."))
    (pack / "g.py").write_text("def g(x):\n    return -x\n")
    assert key() == before


def test_a_page_with_records_ages_with_the_code_of_the_studies(tiny, monkeypatch):
    path = notebook(tiny / "book/tiny.ipynb", "from equitutor.studies import load\nload('x')")
    before = executed.cache_key(tiny, path)
    monkeypatch.setattr(executed, "code_of", lambda *_: {"equitutor.training": "other"})
    assert executed.cache_key(tiny, path) != before


@pytest.mark.parametrize(
    ("shown", "of_nero_boxes", "of_arteq"),
    [("'nero-boxes'", True, False), ("f'nero-{data}'", True, False), ("name", True, True)],
)
def test_a_page_ages_with_the_records_that_it_may_read(tiny, shown, of_nero_boxes, of_arteq):
    program = f"from equitutor.studies import load\nload({shown}, size='cpu')"
    path = notebook(tiny / "book/tiny.ipynb", program)
    before, aged = executed.cache_key(tiny, path), []
    for study in ("nero-boxes", "arteq"):
        chapters.write_text(tiny / f"book/results/{study}.jsonl", "{}")
        aged.append(executed.cache_key(tiny, path) != before)
        (tiny / f"book/results/{study}.jsonl").unlink()
    assert aged == [of_nero_boxes, of_arteq]


def test_a_failing_cell_is_shown_and_never_cached(tiny):
    notebook(tiny / "book/tiny.ipynb", "x = 1", "raise KeyError('the cause')")
    with pytest.raises(execution.ChapterFailed, match=r"tiny: cell 2 of 2 failed") as caught:
        executed.execute_changed(tiny)
    assert "raise KeyError('the cause')" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert executed.load(tiny, "tiny") is None
    assert "the cause" in (tiny / "build/logs/tiny.log").read_text()


def test_a_warning_fails_and_a_progress_bar_does_not(tiny):
    path = tiny / "book/tiny.ipynb"
    notebook(path, "import warnings\nwarnings.warn('careful')")
    with pytest.raises(execution.ChapterFailed, match=r"(?s)cell 1 of 1 warns.*careful"):
        executed.execute_changed(tiny)
    notebook(path, "import sys\nprint('50 %', file=sys.stderr)\nprint('done')")
    executed.execute_changed(tiny)
    (output,) = executed.load(tiny, "tiny")[0].cells[0].outputs
    assert output.text == "done\n"


def test_a_hanging_cell_is_stopped(tiny):
    notebook(tiny / "book/tiny.ipynb", "import time\ntime.sleep(60)")
    with pytest.raises(execution.ChapterFailed, match="timed out"):
        execution.execute(
            tiny / "book/tiny.ipynb", profile="fast", log=tiny / "log", timeout=1, echo=False
        )


def test_the_kernel_gets_profile_threads_folder_and_its_memory_is_seen(tiny):
    code = "import os\nx = bytearray(300_000_000)\nfor i in range(0, len(x), 4096): x[i] = 1\n"
    code += "print(os.environ['EQUITUTOR_PROFILE'], os.environ['OMP_NUM_THREADS'], os.getcwd())\n"
    code += "import time; time.sleep(0.4)"
    path = notebook(tiny / "book/tiny.ipynb", code)
    done = execution.execute(
        path, profile="full", log=tiny / "log", threads=2, echo=False, save=tiny / "copy.ipynb"
    )
    assert done.notebook.cells[0].outputs[0].text == f"full 2 {tiny / 'book'}\n"
    assert 300 < done.peak_mb < 2000
    assert nbformat.read(tiny / "copy.ipynb", as_version=4).cells[0].outputs


def test_two_stale_chapters_run_beside_each_other(tiny):
    (tiny / "_toc.yml").write_text(TOC + "  - file: book/other\n")
    notebook(tiny / "book/other.ipynb", "raise ValueError('other is broken')")
    with pytest.raises(execution.ChapterFailed, match="other is broken"):
        executed.execute_changed(tiny)
    assert executed.load(tiny, "tiny") is not None
    assert executed.load(tiny, "other") is None


def test_a_broken_cache_counts_as_none(tiny):
    chapters.write_text(tiny / "build/executed/tiny.ipynb", "{}")
    chapters.write_text(tiny / "build/executed/tiny.json", json.dumps({"other": 1}))
    assert executed.load(tiny, "tiny") is None


def test_merge_refuses_other_cells(tiny):
    one = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    with pytest.raises(ValueError, match="0 code cells, the source has 1"):
        assembly.merge_outputs(one, nbformat.v4.new_notebook())


def test_badge_shows_the_full_run_when_there_is_one():
    record = executed.Record("", 80.4, 900.0, 1)
    full = {"seconds": 1230.0, "peak_mb": 3100.0, "environment": {"device": "GPU <x>"}}
    assert "80 s, 0.9 GB, 1 CPU core<" in assembly.badge(record, None)
    assert "20 min, 3.1 GB, GPU &lt;x&gt;" in assembly.badge(record, full)


def test_claims_leave_out_a_chapter_that_records_none(tiny):
    assert assembly.fill("<!-- claims -->", tiny) == "No chapter tests a claim yet."


def test_claims_say_when_nothing_was_run(tiny):
    notebook(tiny / "book/tiny.ipynb", ("markdown", "# T"), "1")
    assert assembly.fill("<!-- claims -->", tiny) == "No chapter tests a claim yet."


def test_claims_of_an_earlier_run_stay_beside_the_study(tiny, monkeypatch):
    notebook(tiny / "book/tiny.ipynb", ("markdown", "# T"), "1")
    monkeypatch.setattr(studies, "STUDIES", {"tiny-study": "toy"})
    monkeypatch.setattr(studies, "find", lambda name: (SimpleNamespace(lesson="tiny"), None))
    monkeypatch.setattr(studies.pages, "claims_markdown", lambda name: f"FROM {name}")
    monkeypatch.setattr("tools.press.ledger.claims_markdown", lambda found: found)
    for earlier, word in (("EARLIER", "EARLIER"), (None, "FROM tiny-study")):
        monkeypatch.setattr("tools.press.ledger.load", lambda root, name, found=earlier: found)
        text = assembly.fill("<!-- claims -->", tiny)
        assert "FROM tiny-study" in text
        assert text.endswith(word)


# ---------------------------------------------------------------------------- address and logo


@pytest.fixture
def addressed(tiny):
    notebook(tiny / "book/tiny.ipynb", '%pip install "tiny @ git+https://github.com/one/tiny"')
    for name in ("README.md", "CITATION.cff", "pyproject.toml"):
        (tiny / name).write_text("see https://github.com/one/tiny, not github.com/one/tinybox\n")
    badge = "https://colab.research.google.com/github/one/tiny/blob/main/book/tiny.ipynb\n"
    (tiny / "README.md").write_text((tiny / "README.md").read_text() + badge)
    pages = "https://one.github.io/tiny/"
    where = f"html: {{baseurl: {pages}}}\nsphinx:\n  notfound_urls_prefix: /tiny/\n"
    (tiny / "_config.yml").write_text((tiny / "_config.yml").read_text() + where)
    (tiny / "colab").mkdir()
    (tiny / "colab/tiny.ipynb").write_text(f"{badge} {pages}book/tiny.html")
    return tiny


def test_one_command_changes_the_address_everywhere(addressed):
    assert address.disagreements(addressed) == []
    changed = address.set_address(addressed, "https://github.com/you/fork")
    assert len(changed) == 6
    config = (addressed / "_config.yml").read_text()
    assert "https://you.github.io/fork/" in config
    assert "prefix: /fork/" in config
    copy = (addressed / "colab/tiny.ipynb").read_text()
    assert "tiny/" not in copy
    assert "github/you/fork/blob" in copy
    assert address.address(addressed) == "https://github.com/you/fork"
    assert address.disagreements(addressed) == []
    readme = (addressed / "README.md").read_text()
    assert "google.com/github/you/fork/blob" in readme
    assert "github.com/one/tinybox" in readme


def test_places_that_disagree_are_named(addressed):
    (addressed / "pyproject.toml").write_text("nothing")
    notebook(addressed / "book/tiny.ipynb", '%pip install "git+https://github.com/bad/place"')
    config = (addressed / "_config.yml").read_text()
    (addressed / "_config.yml").write_text(config.replace("one.github.io", "two.github.io"))
    found = "\n".join(address.disagreements(addressed))
    assert "baseurl in _config.yml is https://two.github.io/tiny/" in found
    assert "pyproject.toml does not name https://github.com/one/tiny" in found
    assert "tiny.ipynb installs from https://github.com/bad/place" in found


@pytest.mark.parametrize("url", ["example.org/x", "https://github.com/one", "https://x.org/a/b"])
def test_an_address_colab_cannot_open_is_refused(addressed, url):
    with pytest.raises(chapters.BookError, match=r"https://github\.com/owner/repository"):
        address.set_address(addressed, url)


def test_the_committed_logo_is_what_the_code_draws(tmp_path):
    logo.main(tmp_path)
    for name in ("logo.svg", "favicon.svg"):
        drawn = (tmp_path / "book/_assets" / name).read_text()
        assert drawn == (ROOT / "book/_assets" / name).read_text()
    with pytest.raises(ValueError, match="n: must be"):
        logo.svg(1)
