"""One assignment: from its master notebook to what students, instructors and the grader get.

A master, ``book/teach/<session>.ipynb``, is in the format of Otter Assign: raw cells mark
questions, solutions and tests. What all masters share (configuration, setup cell) stands here.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_raw_cell

from equitutor.chapters import BookError, pages, write_text
from tools.colab import Book, copy_for_colab

CONFIG = {
    "check_all_cell": True,
    "export_cell": False,  # one notebook is handed in, as it is
    "tests": {"ok_format": False, "files": True},
    "generate": {
        "pdf": False,
        "filtering": False,
        "show_stdout": False,
        "show_hidden": False,
        "print_summary": False,
        "seed": 0,
    },
    "python_version": "3.11",  # the grader's own; Otter would take the newest
    "requirements": "requirements.txt",
    "overwrite_requirements": True,
    "solutions_pdf": False,
    "run_tests": True,  # the solution gets all points, or nothing is built
}
SETUP = """# @title Setup: run this first
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

needed = {needed}
otter_parts = {parts}
for packages, how in ((needed, []), (otter_parts, ["--no-deps"])):
    missing = [what for name, what in packages.items() if importlib.util.find_spec(name) is None]
    if missing:  # what is there stays as it is
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", *how, *missing], check=True)

import otter

checks = {{
{checks}}}
checks_folder = Path(tempfile.mkdtemp())
for question, text in checks.items():
    (checks_folder / f"{{question}}.py").write_text(text, encoding="utf-8")
grader = otter.Notebook(tests_dir=str(checks_folder))"""
# What a check loads of Otter. All that Otter asks for would replace the ipywidgets of Colab.
OTTER_PARTS = {
    "otter": "otter-grader",
    "dill": "dill",
    "fica": "fica",
    "frontmatter": "python-frontmatter",
    "ipylab": "ipylab",
    "wrapt": "wrapt",
}
# What these parts load, in any version.
OTTER_LOADS = {
    "ipywidgets": "ipywidgets",
    "jinja2": "jinja2",
    "nbconvert": "nbconvert",
    "pandas": "pandas",
    "requests": "requests",
    "yaml": "pyyaml",
}
YOURS = 'raise NotImplementedError("this is for you to write")'
HAND_IN = """## Hand in

Restart the kernel and run all cells from the top. Then save the notebook, download it, and hand \
in this one file. It is graded with more checks than you see here."""


def sessions(root: Path) -> dict[str, Path]:
    """Returns the masters by the name of their lesson, in the order of the book.

    Args:
        root: folder of the book.

    Raises:
        BookError: a master's lesson is not in the book.
    """
    masters = {path.stem: path for path in (root / "book/teach").glob("*.ipynb")}
    order = [page.stem for page in pages(root) if page.parent == root / "book"]
    if strangers := sorted(masters.keys() - set(order)):
        raise BookError(f"book/teach has {', '.join(strangers)}, the book has no such lesson")
    return {name: masters[name] for name in order if name in masters}


def needed(root: Path, url: str, master: NotebookNode) -> dict[str, str]:
    """Returns what an assignment needs: the name of each module, and what pip installs for it.

    Args:
        root: folder of the book.
        url: public address of the book.
        master: one that does not touch the package of the book is spared it, and git with it.
    """
    code = "".join(cell.source for cell in master.cells if cell.cell_type == "code")
    own = {"equitutor": f"equitutor @ git+{url}"} if "equitutor" in code else {"torch": "torch"}
    pins = (root / "constraints.txt").read_text(encoding="utf-8")
    parts = {
        module: re.search(rf"^{name}==\S+$", pins, re.MULTILINE)[0]
        for module, name in OTTER_PARTS.items()
    }
    return {**own, **OTTER_LOADS, **parts}


def make_assignment(root: Path, name: str, book: Book, out: Path) -> None:
    """Write the student's and the instructor's notebook and the autograder of one session.

    Args:
        root: folder of the book.
        name: name of the session.
        book: the book around it, as `tools.colab.read_book` returns it.
        out: folder that gets ``student/``, ``instructor/``, ``autograder/``, ``autograder.zip``.

    Raises:
        BookError: the master's own solution does not get all points, or a line of a solution
            would stand in what students get.
    """
    from otter.assign import main as assign

    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        node = nbformat.read(root / f"book/teach/{name}.ipynb", as_version=4)
        installs = needed(root, book.url, node)
        config = yaml.safe_dump(CONFIG | {"name": f"equitutor-{name}"})
        node.cells.insert(0, new_raw_cell(f"# ASSIGNMENT CONFIG\n{config}"))
        write_text(work / f"{name}.ipynb", nbformat.writes(node))
        write_text(
            work / "requirements.txt",
            "\n".join([next(iter(installs.values())), installs["otter"], "ipykernel", ""]),
        )
        try:
            assign(str(work / f"{name}.ipynb"), str(work / "dist"), no_pdfs=True)
        except Exception as error:  # whatever Otter raises, it is about this master
            raise BookError(f"book/teach/{name}.ipynb: {error}") from error
        made, archive = work / "dist", next((work / "dist/autograder").glob("*.zip"))
        shutil.rmtree(out, ignore_errors=True)
        for role, source in {"student": "student", "instructor": "autograder"}.items():
            notebook = nbformat.read(made / source / f"{name}.ipynb", as_version=4)
            checks = _tests(made / "student/tests") if role == "student" else _archived(archive)
            text = nbformat.writes(alone(notebook, checks, installs, name, book)) + "\n"
            if role == "student" and (found := leaks(node, text)):
                raise BookError(f"{name}: students would see {found[0]!r}")
            write_text(out / role / f"{name}.ipynb", text)
        shutil.copyfile(archive, out / "autograder.zip")
        with zipfile.ZipFile(archive) as content:
            content.extractall(out / "autograder")


def _tests(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))}


def _archived(archive: Path) -> dict[str, str]:
    with zipfile.ZipFile(archive) as content:
        names = sorted(n for n in content.namelist() if re.fullmatch(r"tests/\w+\.py", n))
        return {Path(n).stem: content.read(n).decode() for n in names}


def alone(
    node: NotebookNode, checks: dict[str, str], installs: dict[str, str], name: str, book: Book
) -> NotebookNode:
    """Returns a notebook that runs without any other file: plain Markdown, its checks inside.

    Args:
        node: a notebook of Otter Assign, with an init cell; not changed.
        checks: the text of the test file of each question.
        installs: what it needs, as `needed` returns it.
        name: name of the session.
        book: the book around it.
    """
    cells = []
    for cell in node.cells:
        cell.source = re.sub(r"<!-- (BEGIN|END) QUESTION -->", "", cell.source).strip()
        if cell.source:
            cell.id = f"{name}-{len(cells)}"
            cells.append(cell)
    for cell in cells:
        if cell.cell_type == "code" and "otter_answer_cell" in cell.metadata.get("tags", []):
            cell.source = to_write(cell.source)
    kept = {cell.id: dict(cell.metadata) for cell in cells}
    plain = nbformat.v4.new_notebook(cells=cells, metadata=dict(node.metadata))
    made = copy_for_colab(plain, f"teach/{name}", book)
    for cell in made.cells:
        cell.metadata |= kept.get(cell.id, {})
        if cell.cell_type == "code" and cell.source.startswith("# Initialize Otter"):
            said = {q: text.replace(" hidden=False,", "") for q, text in checks.items()}
            written = "".join(f"    {q!r}: {_quoted(text)},\n" for q, text in said.items())
            sets = {True: "", False: ""}
            for module, what in installs.items():
                sets[module in OTTER_PARTS] += f"    {module!r}: {what!r},\n"
            needs, parts = f"{{\n{sets[False]}}}", f"{{\n{sets[True]}}}"
            cell.source = SETUP.format(needed=needs, parts=parts, checks=written)
            cell.metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}
    made.cells.append(nbformat.v4.new_markdown_cell(HAND_IN, id=f"{name}-hand-in"))
    made.metadata.pop("accelerator", None)  # a CPU will do
    made.metadata["otter"] = {"assignment_name": f"equitutor-{name}"}
    return made


def to_write(source: str) -> str:
    """Returns an answer cell whose dots say what they wait for when a check comes by.

    >>> print(to_write("def twice(x):\\n    ..."))
    def twice(x):
        raise NotImplementedError("this is for you to write")
    """
    return re.sub(r"^( +)\.\.\.$", rf"\1{YOURS}", source, flags=re.MULTILINE)


def _quoted(text: str) -> str:
    return repr(text) if "'''" in text or text.endswith(("'", "\\")) else f"r'''{text}'''"


def leaks(master: NotebookNode, text: str) -> list[str]:
    """Returns the lines of solutions and hidden tests that stand in a student's notebook.

    Args:
        master: the master notebook; a line that it shows to students elsewhere is none.
        text: the notebook as a file; its metadata is searched, too.
    """
    secret, shown = set(), set()
    for part, hidden in _parts(master):
        lines = {line.strip() for text in (part, _rewritten(part)) for line in text.splitlines()}
        (secret if hidden else shown).update(line for line in lines if len(line) > 12)
    there = {line.strip() for words in _strings(json.loads(text)) for line in words.splitlines()}
    return sorted((secret - shown) & there)


def _rewritten(source: str) -> str:
    """Returns a check as Otter writes it down, without comments; "" for what is no code."""
    try:
        return ast.unparse(ast.parse(source))
    except SyntaxError:
        return ""


def _strings(value: object) -> Iterator[str]:
    """Returns all words of a notebook's file: sources, outputs, metadata, names."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        lines = "".join(v for v in value if isinstance(v, str))  # how notebooks write a source
        yield lines
        for part in value:
            yield from _strings(part)


def _parts(master: NotebookNode) -> list[tuple[str, bool]]:
    """Returns pieces of a master, and whether students must not see them."""
    parts, solution = [], False
    for cell in master.cells:
        if cell.cell_type == "raw":
            mark = cell.source.split("\n")[0]
            solution = mark == "# BEGIN SOLUTION" or (solution and mark != "# END SOLUTION")
        elif "hidden: true" in cell.source:
            parts.append((cell.source, True))
        elif not solution:
            parts.append((cell.source, False))
        elif cell.cell_type == "markdown":
            parts.append((cell.source, True))
        else:
            pieces = re.split(r"^ *# (BEGIN|END) SOLUTION.*$", cell.source, flags=re.MULTILINE)
            inside = False
            for piece in pieces:
                if piece in ("BEGIN", "END"):
                    inside = piece == "BEGIN"
                    continue
                for line in piece.splitlines():
                    parts.append((line.split("# SOLUTION")[0], inside or "# SOLUTION" in line))
    return parts
