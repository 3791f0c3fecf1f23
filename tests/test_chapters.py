"""Which chapters there are, when they run again, and what the builder makes of them."""

import json

import nbformat
import pytest
from conftest import ROOT

from equitutor import chapters, provenance
from equitutor.press import address, assembly, executed, execution, logo

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


# ----------------------------------------------------------------------------------- provenance


def test_closure_follows_imports_through_the_package(tmp_path):
    path = notebook(tmp_path / "n.ipynb", "from equitutor import ledger")
    names = {p.relative_to(provenance.PACKAGE).as_posix() for p in provenance.closure(path)}
    assert {"__init__.py", "ledger.py", "runtime.py", "chapters.py"} <= names
    assert "logo.py" not in names
    assert "data/cache.py" not in names


def test_closure_sees_imports_inside_functions_and_leaves_out_what_it_should(tmp_path):
    path = notebook(tmp_path / "n.ipynb", "def f():\n    import equitutor.data.cache")
    names = [p.name for p in provenance.closure(path)]
    assert "cache.py" in names
    assert "cache.py" not in [p.name for p in provenance.closure(path, without=("equitutor.data",))]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's shape: pack/__init__.py, pack/a.py importing pack/b.py."""
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "a.py").write_text("from pack.b import f\n")
    (folder / "b.py").write_text('def f(x):\n    """Doc."""\n    return f"{x} a"\n')
    monkeypatch.setattr(provenance, "PACKAGE", folder)
    return folder


def test_hash_ignores_comments_docstrings_and_layout(package, tmp_path):
    path = notebook(tmp_path / "n.ipynb", ("markdown", "text"), "from pack import a\nx = 1")
    before = provenance.code_hash(path)
    (package / "b.py").write_text('# why\n\n\ndef f( x ):\n  """Other."""\n\n  return f"{x} a"\n')
    notebook(path, ("markdown", "other"), "from pack import a  # why\n\nx  =  1\n# end")
    assert provenance.code_hash(path) == before


@pytest.mark.parametrize(
    "change",
    [
        'def f(x):\n    return f"{x}  a"\n',
        'def f(x):\n    return f"{x} b"\n',
        'def f(y):\n    return f"{y} a"\n',
        'def f(x):\n    if x:\n        return f"{x} a"\n',
    ],
)
def test_hash_sees_a_change_in_a_module_two_imports_away(package, tmp_path, change):
    path = notebook(tmp_path / "n.ipynb", "from pack import a")
    before = provenance.code_hash(path)
    (package / "b.py").write_text(change)
    assert provenance.code_hash(path) != before


def test_hash_sees_cells_and_their_borders(tmp_path):
    seen = {
        provenance.code_hash(notebook(tmp_path / "n.ipynb", *cells))
        for cells in [("x = 1\ny = 2",), ("x = 1", "y = 2"), ("x = 1", "y = 3"), ("%time x = 1",)]
    }
    assert len(seen) == 4


def test_hash_understands_magics_and_refuses_what_is_no_notebook(tmp_path):
    path = notebook(tmp_path / "n.ipynb", "if True:\n    %pip install x", "%%html\n<b>", "!ls")
    assert len(provenance.code_hash(path)) == 64
    (tmp_path / "no.ipynb").write_text("{}")
    with pytest.raises(ValueError, match=r"no\.ipynb is not a Jupyter notebook"):
        provenance.code_hash(tmp_path / "no.ipynb")


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


@pytest.mark.parametrize("extra", ["constraints.txt", "book/results/tiny.json"])
def test_what_a_chapter_reads_makes_it_stale(tiny, extra):
    path = tiny / "book/tiny.ipynb"
    before = executed.cache_key(tiny, path)
    chapters.write_text(tiny / extra, "{}")
    assert executed.cache_key(tiny, path) != before
    with_extra = executed.cache_key(tiny, path)
    chapters.write_text(tiny / "book/checkpoints/tiny-net.safetensors", "weights")
    assert executed.cache_key(tiny, path) != with_extra


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
    notebook(tiny / "book/tiny.ipynb", ("markdown", "# T"), "ledger.record('tiny', {})")
    text = assembly.fill("<!-- claims -->", tiny)
    assert text.startswith("## T\n")
    assert "No run of this chapter is recorded yet." in text


# ---------------------------------------------------------------------------- address and logo


@pytest.fixture
def addressed(tiny):
    notebook(tiny / "book/tiny.ipynb", '%pip install "tiny @ git+https://github.com/one/tiny"')
    for name in ("README.md", "CITATION.cff", "pyproject.toml"):
        (tiny / name).write_text("see https://github.com/one/tiny, not github.com/one/tinybox\n")
    badge = "https://colab.research.google.com/github/one/tiny/blob/main/book/tiny.ipynb\n"
    (tiny / "README.md").write_text((tiny / "README.md").read_text() + badge)
    return tiny


def test_one_command_changes_the_address_everywhere(addressed):
    assert address.disagreements(addressed) == []
    changed = address.set_address(addressed, "https://github.com/you/fork")
    assert len(changed) == 5
    assert address.address(addressed) == "https://github.com/you/fork"
    assert address.disagreements(addressed) == []
    readme = (addressed / "README.md").read_text()
    assert "google.com/github/you/fork/blob" in readme
    assert "github.com/one/tinybox" in readme


def test_places_that_disagree_are_named(addressed):
    (addressed / "pyproject.toml").write_text("nothing")
    notebook(addressed / "book/tiny.ipynb", '%pip install "git+https://github.com/bad/place"')
    found = "\n".join(address.disagreements(addressed))
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
