"""What holds for the repository as a whole."""

import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import tomllib

import nbformat
import pytest
from conftest import ROOT
from pybtex.database import parse_file

import equitutor
from equitutor.chapters import chapters
from tools.press import address, references
from tools.unused import unused

SOURCES = [
    path
    for folder in ("equitutor", "tools", "tests", "book", ".ci")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.is_file() and "__pycache__" not in path.parts
]
TEXTS = [
    path
    for path in SOURCES + [path for path in ROOT.iterdir() if path.is_file()]
    if path.suffix not in {".pyc", ".safetensors", ".npz", ".png"}
    and path.name not in {".coverage", ".git"}
]


def read(path):
    return path.read_text(encoding="utf-8")


def test_there_is_no_top_level_static_folder():
    # Sphinx would put every script below it, and below all other static folders, on every page.
    assert not (ROOT / "_static").exists()


@pytest.mark.parametrize("notebook", chapters(ROOT).values(), ids=list(chapters(ROOT)))
def test_notebooks_are_committed_without_outputs(notebook):
    ids = set()
    for cell in json.loads(read(notebook))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        ids.add(cell["id"])
    assert len(ids) == len(json.loads(read(notebook))["cells"])
    assert "widgets" not in json.loads(read(notebook))["metadata"]


@pytest.mark.parametrize("notebook", chapters(ROOT).values(), ids=list(chapters(ROOT)))
def test_figures_of_notebooks_have_alt_text(notebook):
    for cell in json.loads(read(notebook))["cells"]:
        figure = cell["metadata"].get("mystnb", {})
        if "figure" in figure:
            assert figure.get("image", {}).get("alt"), "".join(cell["source"])[:200]


def test_no_page_or_script_is_told_to_load_from_another_host():
    pattern = re.compile(
        r"""(<(script|link|img|iframe)[^>]*(src|href)\s*=\s*["']?(https?:)?//"""
        r"""|@import\s+(url\()?["']?https?:|\bfetch\(["']https?:|\bimport\(?["']https?:)""",
        re.IGNORECASE,
    )
    kinds = {".md", ".ipynb", ".js", ".css", ".svg", ".html", ".yml"}
    found = [path.name for path in TEXTS if path.suffix in kinds and pattern.search(read(path))]
    assert found == []
    assert pattern.search("<script src='https://example.org/x.js'>")


def test_no_file_names_a_private_place():
    # Built from pieces, so that this file does not name them itself.
    private = ["/".join(["", "work", ""]), "/".join(["", "root", ""]), "_".join(["extra", "index"])]
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in TEXTS
        for word in private
        if word in read(path)
    ]
    assert found == []


def test_the_public_address_is_the_same_everywhere():
    assert address.disagreements(ROOT) == []


def test_no_two_references_have_the_same_label():
    entries = parse_file(str(ROOT / "book/references.bib")).entries.values()
    labels = [entry.label for entry in references.AuthorYear().format_entries(entries)]
    assert len(set(labels)) == len(labels) > 50
    assert {"Anjum, 2024", "Cohen and Welling, 2016", "Zhao et al., 2023"} <= set(labels)


def test_the_advice_names_the_version_of_pytorch_that_will_be_installed():
    pinned = re.search(r"^torch==\S+", read(ROOT / "constraints.txt"), re.MULTILINE)[0]
    assert f"`{pinned}`" in read(ROOT / "README.md")
    assert f"`{pinned}`" in read(ROOT / "book/troubleshooting.md")


def test_the_plan_of_the_course_names_sections_that_are_there():
    rows = re.findall(r"^\| \d \| {doc}`([\w-]+)`(.*)$", read(ROOT / "book/index.md"), re.MULTILINE)
    assert len(rows) == 8
    for chapter, rest in rows:
        cells = json.loads(read(ROOT / f"book/{chapter}.ipynb"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
        sections = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        for name in re.findall(r'"([^"]+)"', rest):
            assert any(section.startswith(name) for section in sections), (chapter, name)
        for label in re.findall(r"{ref}`(ex-[\w-]+)`", rest):
            assert f":label: {label}\n" in text, (chapter, label)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files_that_exist(name):
    links = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", read(ROOT / name))
    targets = [a or b for a, b in links if not (a or b).startswith("http")]
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_example_of_the_readme_runs(capsys):
    examples = re.findall(r"```python\n(.*?)```", read(ROOT / "README.md"), re.DOTALL)
    exec(compile("\n".join(examples), "README.md", "exec"), {})
    size, _, report = capsys.readouterr().out.partition("\n")
    assert size == "torch.Size([64, 6])"
    assert "Equivariance is lost" in report


def requirements():
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    lines = [*project["dependencies"], *read(ROOT / "requirements.txt").splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "-e"))]


def test_every_dependency_is_explained_and_pinned_for_ci():
    explained = read(ROOT / "CONTRIBUTING.md")
    normal = re.sub("[-_.]+", "-", read(ROOT / "constraints.txt").lower())
    for line in requirements():
        name = re.match(r"[\w-]+", line)[0]
        assert f"- `{name}`: " in explained, name
        assert re.search(rf"^{re.sub('[-_.]+', '-', name.lower())}==", normal, re.MULTILINE), name


def test_dependencies_have_lower_bounds_only():
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    assert project["requires-python"] == ">=3.11"
    for line in project["dependencies"]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+", line)
    assert "+cpu" not in read(ROOT / "constraints.txt")


def test_every_exported_function_has_an_example():
    found, without = 0, []
    for module in pkgutil.walk_packages(equitutor.__path__, "equitutor."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        for name in getattr(loaded, "__all__", ()):
            thing = getattr(loaded, name)
            if inspect.isfunction(thing):
                found += 1
                if ">>> " not in (thing.__doc__ or ""):
                    without.append(f"{module.name}.{name}")
    assert without == []
    assert found


# Only tests name these, but each is part of a class that records depend on: they go when its
# studies run anew.
HELD = """
FiniteGroup.element_orders FiniteGroup.conjugacy_classes
Diffusion.ddim_step Diffusion.ddpm_step
"""


def test_nothing_in_the_package_is_there_for_tests_alone():
    found = [f"{module}: {name}" for module, name in unused() if name not in HELD.split()]
    assert found == []


def test_what_nothing_uses_is_found(tmp_path):
    (tmp_path / "book").mkdir()
    package = tmp_path / "equitutor"
    package.mkdir()
    (tmp_path / "README.md").write_text("Call `offered()`; do not forget the calm.\n")
    (package / "__init__.py").write_text("from equitutor.a import calm, offered, shown\n")
    (package / "a.py").write_text(
        "import torch\n"
        "def offered(): return _own()\n"
        "def shown(): pass\n"
        "def told(): pass\n"
        "def calm(n): return calm(n - 1)\n"
        "def _own(): return Kept().used\n"
        "class Kept:\n"
        "    def used(self): pass\n"
        "    def idle(self): return self.idle()\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x): return x\n"
        "class Odd(Kept):\n"
        "    def strange(self): pass\n"
    )
    cells = [nbformat.v4.new_code_cell("%matplotlib inline\nshown(Net())"),
             nbformat.v4.new_markdown_cell("Then `a.told(...)`.")]  # fmt: skip
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "book/page.ipynb")
    assert list(unused(tmp_path)) == [
        ("equitutor.a", "calm"),
        ("equitutor.a", "Kept.idle"),
        ("equitutor.a", "Odd.strange"),
        ("equitutor.a", "Odd"),
    ]


# Bold, but no term: stress, the names of variants in a table, and words with their plain meaning.
NO_TERMS = """
all; two; sixty; enough; not needed; and future; centers; centered; jittered; coordinates; network;
to the right; random element; confidence × iou; disk; sphere; world; local; parts; up; c4 mean;
turned; convolutions; pair the runs; one shift a batch; for each image; worst of shifts;
one anchor a stage is enough; nearest equivariant one; generate, then rotate the finished image
"""


def plain(term):
    """Returns a term in lower case and without the ending of its plural."""
    return re.sub(r"(?<=[^s])s$", "", " ".join(term.lower().split()).replace("matrices", "matrix"))


def explained():
    """Returns the terms of glossary and notation: heads of entries, and stressed words."""
    glossary, notation = read(ROOT / "book/glossary.md"), read(ROOT / "book/notation.md")
    entries = re.findall(r"```{glossary}\n(.*?)```", glossary, re.DOTALL)
    heads = [line for entry in entries for line in entry.splitlines() if line[:1].strip()]
    heads += re.findall(r"^(.+)\n: ", notation, re.MULTILINE)
    heads += re.findall(r"^\| ([a-z ]+) \|", notation, re.MULTILINE)
    stressed = re.findall(r"\*{1,2}([^*\n]+?)\*{1,2}", "\n".join([*entries, notation]))
    return {plain(term) for term in [*heads, *stressed]}


def bold(notebook):
    """Returns the bold terms of a chapter; sentences, numbers and heads of paragraphs are none."""
    cells = json.loads(read(notebook))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    text = re.sub(r"^\*\*[^*]+\*\*", "", text, flags=re.MULTILINE)
    terms = re.findall(r"\*\*([^*]+)\*\*", text)
    return {term for term in terms if term[-1] not in ".:?!" and not term.isdigit()}


@pytest.mark.parametrize("notebook", chapters(ROOT).values(), ids=list(chapters(ROOT)))
def test_every_bold_term_is_in_the_glossary_or_in_the_notation(notebook):
    known = explained() | {plain(word) for word in re.split(r"[;\n]", NO_TERMS)}
    assert {"orbit", "equivariance error", "coverage", "codimension", "drift"} <= known
    missing = {
        term
        for term in map(plain, bold(notebook))
        if not any(term == word or word.startswith(f"{term} ") for word in known)
    }
    assert missing == set()


IMPORT_ALL = """
import importlib, os, pkgutil, random, sys, warnings
import matplotlib, numpy, torch

def state():
    return (
        torch.initial_seed(), torch.get_default_dtype(), torch.get_num_threads(),
        torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(),
        random.getstate(), numpy.random.get_state()[1].tolist(), numpy.geterr(),
        dict(matplotlib.rcParams), list(warnings.filters), dict(os.environ), os.getcwd(),
    )

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import matplotlib.pyplot, scipy, torch._dynamo  # libraries may set things up, once
before = state()
import equitutor
heavy = {"sklearn", "e3nn", "ipywidgets", "anywidget"} & set(sys.modules)
for module in pkgutil.walk_packages(equitutor.__path__, "equitutor."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert not heavy
after = state()
for i, (a, b) in enumerate(zip(before, after, strict=True)):
    assert a == b, f"entry {i} of the state changed: {a} -> {b}"
heavy = {"sklearn", "e3nn", "ipywidgets", "anywidget"} & set(sys.modules)
assert not heavy, f"imported without need: {heavy}"
"""


def test_importing_any_module_changes_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_alone_imports_nothing_heavy():
    code = "import sys, equitutor; print({'torch', 'numpy', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
