"""What holds for the repository as a whole."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT

from equitutor.chapters import chapters
from equitutor.press import address

SOURCES = [
    path
    for folder in ("equitutor", "tests", "book", ".ci")
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


LAYOUT = """
_config.yml _toc.yml requirements.txt pyproject.toml constraints.txt Makefile README.md LICENSE
LICENSE-TEXT CITATION.cff CONTRIBUTING.md CHANGELOG.md .ci/run book/index.md book/claims.md
book/notation.md book/troubleshooting.md book/references.bib book/_assets equitutor/runtime
equitutor/groups equitutor/data equitutor/actions equitutor/orbits equitutor/methods
equitutor/training equitutor/ledger equitutor/nero equitutor/figures tests/notebooks tests/site
"""


@pytest.mark.parametrize("name", LAYOUT.split())
def test_the_layout_is_there(name):
    assert (ROOT / name).exists() or (ROOT / f"{name}.py").exists()


def test_there_is_no_top_level_static_folder():
    # Sphinx would put every script below it, and below all other static folders, on every page.
    assert not (ROOT / "_static").exists()


@pytest.mark.parametrize("notebook", chapters(ROOT).values(), ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(notebook):
    ids = set()
    for cell in json.loads(read(notebook))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        ids.add(cell["id"])
    assert len(ids) == len(json.loads(read(notebook))["cells"])
    assert "widgets" not in json.loads(read(notebook))["metadata"]


@pytest.mark.parametrize("notebook", chapters(ROOT).values(), ids=lambda path: path.stem)
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


def test_modules_are_short():
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in (ROOT / "equitutor").rglob("*.py")
        if (lines := len(read(path).splitlines())) > 330
    }
    assert long == {}


IMPORT_ALL = """
import importlib, os, pkgutil, random, sys, warnings
import matplotlib, numpy, torch
import nbclient, nbformat, psutil, requests  # what the tools of the book stand on

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
