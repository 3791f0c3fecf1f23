"""An edit renders what it changes: nothing, one page, or the whole book, never a stale page."""

import pytest

from equitutor.chapters import BookError
from tools.press import assembly, rendering

CONFIG = """title: tiny
only_build_toc_files: true
html: {baseurl: https://one.github.io/tiny/}
sphinx:
  extra_extensions: [sphinx_sitemap]
  config: {sitemap_url_scheme: "{link}"}
"""
TOC = "format: jb-book\nroot: book/index\nchapters:\n- file: book/one\n- file: book/two\n"


@pytest.fixture
def book(tmp_path):
    """Function that renders a book of three pages after edits: page -> text, None takes it out."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "constraints.txt").write_text("")
    for name in ("index", "one", "two"):
        (tmp_path / f"book/{name}.md").write_text(f"# Page {name}\n\nA word.\n\nMore.\n")

    def render(**edits):
        for name, text in edits.items():
            path = tmp_path / f"book/{name}.md"
            if text is None:
                path.unlink()
                toc = (tmp_path / "_toc.yml").read_text()
                (tmp_path / "_toc.yml").write_text(toc.replace(f"- file: book/{name}\n", ""))
            else:
                path.write_text(text)
        assembly.assemble(tmp_path)
        rendering.render(tmp_path, rendering.fingerprint(tmp_path, True))
        pages = (tmp_path / "build/site/_build/html").rglob("*")
        return {p.name: p.read_text() for p in pages if p.suffix in {".html", ".xml"}}

    render.root = tmp_path
    return render


def test_an_edit_renders_what_it_changes(book, monkeypatch):
    first = book()
    assert rendering.rendered(book.root, rendering.fingerprint(book.root, True))
    written, finish = [], rendering.finish
    monkeypatch.setattr(rendering, "finish", lambda site: (_times(site, written), finish(site)))

    words = book(one="# Page one\n\nA word.\n\nOther words.\n")
    assert "Other words." in words["one.html"]
    assert words["two.html"] == first["two.html"]
    assert words["sitemap.xml"].count("<loc>") == first["sitemap.xml"].count("<loc>") >= 3

    title = book(one="# Page uno\n\nA beginning.\n\nOther words.\n")
    assert "Page uno" in title["two.html"]  # its list of pages, and the way back to page one
    assert "A beginning." in title["two.html"]  # which tells how that begins

    gone = book(two=None)
    assert "two.html" not in gone
    assert not any("Page two" in text for text in gone.values())
    of_two = [times["two.html"] for times in written if "two.html" in times]
    assert len(of_two) == 2 and of_two[0] < of_two[1]  # words: left alone; title: new; then gone
    assert not rendering.rendered(book.root, rendering.fingerprint(book.root, False))


def _times(site, written):
    written.append({path.name: path.stat().st_mtime_ns for path in site.rglob("*.html")})


def test_what_was_wrong_is_said_again(book):
    """A page that Sphinx warned about once must not pass the next time because it is unchanged."""
    book()
    for _ in range(2):
        with pytest.raises(BookError, match="code"):
            book(one="# Page one\n\n{ref}`nowhere`\n")
    assert rendering.rendered(book.root, rendering.fingerprint(book.root, True)) is None
