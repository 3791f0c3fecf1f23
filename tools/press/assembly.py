"""Puts the book's sources together: chapters with outputs, badges, claims, the front page."""

from __future__ import annotations

import filecmp
import html
import re
import shutil
from pathlib import Path

import nbformat

from equitutor.chapters import page_name, pages, write_text
from tools.press import ledger
from tools.press.drawings import drawn
from tools.press.executed import Record, load
from tools.press.handout import without_solutions
from tools.press.rooms import rooms_markdown


def merge_outputs(
    source: nbformat.NotebookNode, executed: nbformat.NotebookNode
) -> nbformat.NotebookNode:
    """Returns ``source`` with the outputs of ``executed``, code cells paired in order.

    Args:
        source: the notebook as it is now; changed in place.
        executed: an executed notebook with the same code cells.

    Raises:
        ValueError: the two have different numbers of code cells.
    """
    new = [cell for cell in source.cells if cell.cell_type == "code"]
    old = [cell for cell in executed.cells if cell.cell_type == "code"]
    if len(new) != len(old):
        raise ValueError(f"executed: {len(old)} code cells, the source has {len(new)}")
    for cell, ran in zip(new, old, strict=True):
        cell.outputs = [kept for output in ran.outputs if (kept := without_kernel(output))]
        cell.execution_count = ran.execution_count
    return source


def without_kernel(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """Returns an output without its widget, which is dead in a page; None where nothing is left.

    A progress bar is such a widget, and its state would make a page heavier by its history.

    Args:
        output: of a cell; changed in place.

    >>> bar = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "HBox(...)"}
    >>> without_kernel(nbformat.v4.new_output("display_data", data=bar)) is None
    True
    """
    data = output.get("data", {})
    if data.pop("application/vnd.jupyter.widget-view+json", None) is None:
        return output
    return output if data.keys() - {"text/plain"} else None


def named_fold(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Returns a cell, in place, whose bar says what the folded code does.

    Args:
        cell: of code; one that is not folded stays as it is.

    >>> made = nbformat.v4.new_code_cell("1", id="ends-figure", metadata={"tags": ["hide-input"]})
    >>> named_fold(made).metadata.mystnb
    {'code_prompt_show': 'Code: ends figure', 'code_prompt_hide': 'Code: ends figure'}
    """
    if "hide-input" in cell.metadata.get("tags", ()):
        told = cell.metadata.setdefault("mystnb", nbformat.NotebookNode())
        caption = told.get("figure", {}).get("caption", "")
        first = re.split(r"(?<=[.:?!])\s", caption, maxsplit=1)[0].rstrip(".:")
        # A bar is one line, and shows no formulas and no roles.
        short = 0 < len(first) <= 60 and not re.search(r"[${`*\\]", first)
        text = f"Code of the figure: {first}" if short else f"Code: {cell.id.replace('-', ' ')}"
        told["code_prompt_show"] = told["code_prompt_hide"] = text
    return cell


def assemble(root: Path, solutions: bool = True) -> None:
    """Write ``build/src``: the book's sources with outputs, badges, claims and explorer filled in.

    Args:
        root: folder of the book; each chapter has been executed.
        solutions: whether the solutions of the exercises stay in.
    """
    target = root / "build/src.new"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy2(root / name, target)
    ignored = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
    shutil.copytree(root / "book", target / "book", ignore=ignored)
    for page in pages(root):
        place = target / page.relative_to(root)
        if page.suffix == ".ipynb":
            name = page_name(root, page)
            executed, record = load(root, name)
            node = merge_outputs(nbformat.read(page, as_version=4), executed)
            node = node if solutions else without_solutions(node)
            line = badge(record, ledger.load(root, name))
            for cell in node.cells:
                if cell.cell_type == "markdown":
                    cell.source = cell.source.replace("<!-- badge -->", line)
                else:
                    drawn(named_fold(cell))
            write_text(place, nbformat.writes(node))
        else:
            write_text(place, fill(page.read_text(encoding="utf-8"), root))
    replace_changed(target, root / "build/src")


def replace_changed(new: Path, old: Path) -> None:
    """Make a folder equal to a new one, which is used up; files of equal content stay untouched.

    Sphinx goes by the time of a file.

    Args:
        new: folder with the content.
        old: folder that gets it.
    """
    if old.is_dir():
        for path in [p for p in new.rglob("*") if p.is_file()]:
            before = old / path.relative_to(new)
            if before.is_file() and filecmp.cmp(path, before, shallow=False):
                before.replace(path)
        shutil.rmtree(old)
    new.replace(old)


def badge(record: Record, full: dict | None) -> str:
    """Returns one line of HTML: what the chapter costs, as measured here and in the full run.

    Args:
        record: the execution in the fast profile.
        full: the recorded full run, as its results file holds it, or None.

    >>> badge(Record("", 74.2, 812.0, 2), None)
    '<p class="et-badge"><span><b>fast</b> 74 s, 0.8 GB, 2 CPU cores</span></p>'
    """
    cores = "1 CPU core" if record.cores == 1 else f"{record.cores} CPU cores"
    parts = [("fast", f"{record.seconds:.0f} s", record.peak_mb, cores)]
    if full and full.get("seconds") and full.get("peak_mb"):
        minutes = f"{full['seconds'] / 60:.0f} min"
        parts.append(
            ("recorded run", minutes, full["peak_mb"], html.escape(full["environment"]["device"]))
        )
    spans = "".join(
        f"<span><b>{name}</b> {time}, {peak / 1000:.1f} GB, {where}</span>"
        for name, time, peak, where in parts
    )
    return f'<p class="et-badge">{spans}</p>'


def fill(text: str, root: Path) -> str:
    """Returns a page's markdown with its comments ``claims``, ``hero`` and ``rooms`` filled in.

    Args:
        text: markdown source of the page.
        root: folder of the book.
    """
    if "<!-- claims -->" in text:
        text = text.replace("<!-- claims -->", claims(root))
    if "<!-- rooms -->" in text:
        text = text.replace("<!-- rooms -->", rooms_markdown(root))
    if "<!-- hero -->" in text:
        from equitutor.explorers import hero_html

        block = hero_html()
        text = text.replace("<!-- hero -->", f"`````{{raw}} html\n{block}\n`````" if block else "")
    return text


def title(notebook: Path) -> str:
    """Returns the title of a chapter: its first markdown heading, else the file's name.

    Args:
        notebook: the chapter's ``.ipynb`` file.
    """
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            return cell.source.splitlines()[0][2:].strip()
    return notebook.stem


def claims(root: Path) -> str:
    """Returns the tables of all claims as markdown, from the studies that have records.

    A chapter without such a study is judged from the results of its recorded run, if it has one.

    Args:
        root: folder of the book.
    """
    from equitutor.studies import STUDIES, find
    from equitutor.studies import pages as study_pages

    behind: dict[str, list[str]] = {}
    for study in STUDIES:
        behind.setdefault(find(study)[0].lesson or study, []).append(study)
    parts = []
    for page in pages(root):
        if page.suffix != ".ipynb":
            continue
        name = page_name(root, page)
        # Until a study is complete, what an earlier run of the chapter found stays beside it.
        found = ledger.load(root, name)
        old = None if found is None else ledger.claims_markdown(found)
        if name in behind:
            body = "\n\n".join(map(study_pages.claims_markdown, behind[name]))
            link = f"Lesson {{doc}}`{name}`, evidence {{doc}}`evidence/{name}`."
            if old is not None:
                body += (
                    "\n\nThis study is not complete. What an earlier run of the chapter found, "
                    f"with trainings and rules of its own:\n\n{old}"
                )
        elif old is not None:
            link, body = f"From the chapter {{doc}}`{name}`.", old
        else:
            continue  # a page that tests no paper's claim
        parts.append(f"## {title(page)}\n\n{link}\n\n{body}")
    return "\n\n".join(parts) or "No chapter tests a claim yet."
