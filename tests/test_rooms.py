"""How the package is built: imports point down only, nowhere in a circle, through few rooms."""

import ast
import importlib
import re
from graphlib import CycleError, TopologicalSorter

import pytest
from conftest import ROOT

from tools.press.rooms import ORDER, rooms_markdown, section

# From the ground up. What a room imports, wherever in a module, stands before it in this list.
ROOMS = """
files figures checks runtime rotations groups chapters fingerprint actions methods models data
training orbits diagnose explorers nero studies __main__
""".split()  # noqa: SIM905
# `orbits.diagnose` is loaded from the room above once somebody asks for it.
DOORS = {("equitutor.orbits", "equitutor.diagnose")}


def imports(root):
    """Returns module -> the modules of the package that it imports, wherever it does."""
    found = {}
    for path in sorted((root / "equitutor").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: set(targets(name, path, found)) for name, path in found.items()}


def targets(name, path, known):
    for node in walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                parts = parts[: len(parts) - node.level + (path.name == "__init__.py")]
                base = ".".join([*parts, *filter(None, [base])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield from [whole] if whole in known else [base] if base in known else []


def walk(node):
    """Yields all nodes but those below `if TYPE_CHECKING`: an annotation needs no arrow."""
    if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        yield node
        for child in ast.iter_child_nodes(node):
            yield from walk(child)


def room(module):
    return module.split(".")[1] if "." in module else ""


def upward(arrows, rooms):
    """Returns the pairs of modules of which the first imports one that stands above it."""
    height = {name: k for k, name in enumerate(["", *rooms])}
    return [
        (here, there)
        for here, all_of_it in arrows.items()
        for there in sorted(all_of_it)
        if room(here) != room(there) and height[room(there)] > height[room(here)]
    ]


def test_imports_point_down_only():
    arrows = imports(ROOT)
    assert {room(module) for module in arrows} == {"", *ROOMS}
    assert set(upward(arrows, ROOMS)) == DOORS


def test_no_modules_import_each_other_in_a_circle():
    arrows = {here: {there for there in all_of_it if (here, there) not in DOORS}
              for here, all_of_it in imports(ROOT).items()}  # fmt: skip
    assert list(TopologicalSorter(arrows).static_order())


def test_there_are_few_rooms():
    assert len(list((ROOT / "equitutor").glob("*/__init__.py"))) <= 9


def test_an_arrow_that_points_up_and_a_circle_are_found(tmp_path):
    for name, text in {
        "__init__": "", "low/__init__": "", "low/a": "from . import b\n",
        "low/b": "from equitutor.low.a import x\n", "low/c": "import equitutor.high\n",
        "high": "def f():\n    from .low import c\n",
    }.items():  # fmt: skip
        path = tmp_path / f"equitutor/{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    arrows = imports(tmp_path)
    assert upward(arrows, ["low", "high"]) == [("equitutor.low.c", "equitutor.high")]
    assert upward(arrows, ["high", "low"]) == [("equitutor.high", "equitutor.low.c")]
    with pytest.raises(CycleError):
        list(TopologicalSorter({n: arrows[n] for n in arrows if n[-1] in "ab"}).static_order())


def test_the_page_of_the_package_shows_every_room_and_only_names_that_are_there():
    assert {*ORDER} == {*ROOMS} - {"__main__"}
    parts = re.split(r"^#+ `(.*)`$", rooms_markdown(ROOT), flags=re.MULTILINE)[1:]
    assert len(parts) > 2 * len(ORDER)
    for module, text in zip(parts[::2], parts[1::2], strict=True):
        loaded = importlib.import_module(f"equitutor.{module.removeprefix('equitutor.')}")
        listed = text.split("```")[0].strip().splitlines()[1:]
        names = re.findall(r"`(\w+)`", "".join(listed))
        assert [name for name in names if not hasattr(loaded, name)] == []


@pytest.mark.parametrize("text", ["", '"""Words"""', '"""A sentence."""', '"""Words\n\n>>> 1\n"""'])
def test_a_room_without_a_sentence_or_an_example_is_refused(tmp_path, text):
    path = tmp_path / "room.py"
    path.write_text(text)
    with pytest.raises(ValueError, match="one sentence"):
        section(path)
    path.write_text('"""A room.\n\n>>> 1 + 1\n2\n"""')
    assert section(path) == "A room.\n\n```python\n1 + 1  # 2\n```"
