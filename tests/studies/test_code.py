"""Which code ages a record: what a run reaches, and nothing else."""

import ast
import types

import pytest

from equitutor.studies import code, records
from equitutor.studies.code import code_of, code_of_text

STUDY = '''
"""A study."""

import shop.parts as parts
from shop import wheel
from shop.sub import axle as spindle
from . import tools
import shop.far.away

try:
    from shop.maybe import fast
except ImportError:
    fast = None

SCALE = 2.0
UNUSED = 3.0
TABLE = {"a": 1}
TABLE["b"] = 2
OTHERS = {}
OTHERS["c"] = 3


def run(config, checkpoint):
    """Doc."""
    from shop.late import late

    helper(config)
    late(wheel(), spindle(), TABLE)
    parts.screw()
    shop.far.away.deep()
    return fast and tools.hammer(SCALE)


def helper(config):
    return config  # a comment


def unused():
    return lost()


SEEDS = [0, 1]
CLAIMS = ["text"] + [lambda checkpoint: config for config in SEEDS]
STUDY = (run, SEEDS, CLAIMS)
if __name__ == "__main__":
    unused()
'''

FILES = {
    "__init__.py": "from shop.wheels import wheel\nfrom .never import never\n",
    "study.py": STUDY,
    "wheels.py": "SPOKES = 8\n\ndef wheel():\n    return rim\n\ndef rim(): return 1\n\n"
    "def car(): return 2\n",
    "never.py": "def never(): pass\n",
    "parts.py": "def screw(): return 1\n\ndef nail(): return 2\n",
    "tools.py": "from shop import grip as held\nclass Grip:\n    size = held.SIZE\n\n"
    "def hammer(x): return Grip\n",
    "grip.py": "SIZE = 3\n",
    "maybe.py": "def fast(): return True\n",
    "late.py": "from shop.sub import *\n\ndef late(*a): return star()\n",
    "sub/__init__.py": "from .inner import axle\nfrom ._star import star\nfrom shop import wheel\n",
    "sub/inner.py": "from shop.sub import wheel\n\ndef axle(): return wheel\n",
    "sub/_star.py": "def star(): return 1\n",
    "far/__init__.py": "",
    "far/away.py": "def deep(): return 1\n",
}


class Shop:
    def __init__(self, root):
        self.root = root
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name, text):
        path = self.root / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        code._parsed.cache_clear()

    def edit(self, name, old, new):
        text = (self.root / "shop" / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def all_hashes(self, name="shop.study", file="shop/study.py"):
        module = types.ModuleType(name)
        module.__file__ = str(self.root / file)
        return code_of(module)

    def hashes(self, *study):
        return {name: h for name, h in self.all_hashes(*study).items() if name != code.ANYWHERE}


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def changed(before, after):
    return {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)}


def test_what_a_run_reaches(shop):
    """Through re-exports, circles, stars, aliases, attributes, try, and imports in functions."""
    assert set(shop.hashes()) == {
        "shop.far.away", "shop.grip", "shop.late", "shop.maybe", "shop.parts", "shop.study",
        "shop.sub._star", "shop.sub.inner", "shop.tools", "shop.wheels",
    }  # fmt: skip


AGES = {
    "a function": ("wheels.py", "return rim", "return rim()", "shop.wheels"),
    "what it names": ("wheels.py", "rim(): return 1", "rim(): return 2", "shop.wheels"),
    "a constant of a module": ("wheels.py", "SPOKES = 8", "SPOKES = 9", "shop.wheels"),
    "behind a package": ("sub/inner.py", "return wheel", "return wheel()", "shop.sub.inner"),
    "behind a star": ("sub/_star.py", "return 1", "return 2", "shop.sub._star"),
    "by attribute": ("parts.py", "screw(): return 1", "screw(): return 5", "shop.parts"),
    "by attributes": ("far/away.py", "return 1", "return 5", "shop.far.away"),
    "imported in a function": ("late.py", "return star()", "return [star()]", "shop.late"),
    "imported in a try": ("maybe.py", "True", "False", "shop.maybe"),
    "a class, used by a class": ("grip.py", "3", "4", "shop.grip"),
    "of the study, a function": ("study.py", "return config", "return dict(config)", "shop.study"),
    "of the study, a constant": ("study.py", "SCALE = 2.0", "SCALE = 2", "shop.study"),
    "of the study, an entry": ("study.py", 'TABLE["b"] = 2', 'TABLE["b"] = 7', "shop.study"),
    "a default": ("tools.py", "hammer(x)", "hammer(x=1)", "shop.tools"),
    "a decorator": ("parts.py", "def screw", "@print\ndef screw", "shop.parts"),
    "a statement on import": ("grip.py", "SIZE = 3", "SIZE = 3\nprint(SIZE)", "shop.grip"),
}

AGES_NOT = {
    "a comment": ("wheels.py", "SPOKES = 8", "SPOKES = 8  # a comment"),
    "a docstring": ("study.py", '"""Doc."""', '"""Other."""'),
    "no docstring": ("study.py", '    """Doc."""\n', ""),
    "a docstring of a module": ("study.py", '"""A study."""', '"""The study."""'),
    "layout": ("wheels.py", "def rim(): return 1", "def rim(\n):\n\n    return (1)"),
    "a function that nothing reaches": ("wheels.py", "car(): return 2", "car(): return 3"),
    "another attribute": ("parts.py", "nail(): return 2", "nail(): return 3"),
    "the grid": ("study.py", "SEEDS = [0, 1]", "SEEDS = [0, 1, 2]"),
    "a claim": ("study.py", '["text"] +', '["other text"] +'),
    "a constant that nobody uses": ("study.py", "UNUSED = 3.0", "UNUSED = 4.0"),
    "an entry of what nobody uses": ("study.py", 'OTHERS["c"] = 3', 'OTHERS["c"] = 4'),
    "what a program of its own does": ("study.py", "    unused()\n", "    print()\n"),
    "a module that nothing reaches": ("never.py", "pass", "return 3"),
    "an export": ("parts.py", "def screw", "__all__ = ['screw']\n\n\ndef screw"),
    "the order of imports": ("__init__.py", "from .never import never\n", "import os\n"),
}


@pytest.mark.parametrize(("file", "old", "new", "module"), AGES.values(), ids=AGES)
def test_what_changes_the_hash_of_one_module(shop, file, old, new, module):
    before = shop.all_hashes()
    shop.edit(file, old, new)
    assert changed(before, shop.all_hashes()) == {module, code.ANYWHERE}


@pytest.mark.parametrize(("file", "old", "new"), AGES_NOT.values(), ids=AGES_NOT)
def test_what_changes_no_hash(shop, file, old, new):
    before = shop.all_hashes()
    shop.edit(file, old, new)
    assert shop.all_hashes() == before


def test_a_name_that_comes_from_elsewhere_now_changes_the_hash(shop):
    before = shop.hashes()
    shop.write("other.py", "def wheel(): return 0\n")
    shop.edit("__init__.py", "from shop.wheels", "from shop.other")
    assert changed(before, shop.hashes()) >= {"shop.other", "shop.wheels"}


def test_moved_code_is_the_same_code(shop):
    """Also where an import inside a function moves with it; a changed word on the way counts."""
    before = shop.all_hashes()
    shop.write("axles.py", "def axle(): return wheel\n\nfrom shop import wheel\n")
    shop.write("sub/inner.py", "from shop.axles import axle\n")
    shop.edit("late.py", "from shop.sub import *\n\ndef late(*a): ",
              "def late(*a):\n    from shop.sub._star import star\n    ")  # fmt: skip
    after = shop.all_hashes()
    assert {"shop.axles", "shop.sub.inner"} <= changed(before, after)
    assert after[code.ANYWHERE] == before[code.ANYWHERE]
    assert not records.stale({"code": before, "data": {}}, after)
    shop.edit("axles.py", "return wheel", "return [wheel]")
    assert records.stale({"code": before, "data": {}}, shop.all_hashes())


def test_a_lone_module_reaches_those_beside_it(shop):
    (shop.root / "lone.py").write_text(
        "import numpy, near\n\ndef run(c, k): return near.f(numpy)\n"
    )
    (shop.root / "near.py").write_text("def f(x): return x\n\ndef g(x): return x\n")
    before = shop.hashes("lone", "lone.py")
    assert set(before) == {"lone", "near"}
    (shop.root / "near.py").write_text("def f(x): return x + 1\n")
    code._parsed.cache_clear()
    assert changed(before, shop.hashes("lone", "lone.py")) == {"near"}


def test_pages_and_carriers_do_not_count(shop, monkeypatch):
    """In this package; a program, which may show them, does depend on them."""
    root = shop.root / "equitutor"
    for name in ("methods.py", "figures.py", "nero/logo.py", "data/reads.py", "data/images.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("def f(): return 1\n")
    imports = (
        "from equitutor import figures, methods\nfrom equitutor.nero.logo import f as l\n"
        "from equitutor.data import images, reads\n"
    )
    use = "figures.f(), methods.f(), l(), images.f(), reads.f()\n"
    monkeypatch.setattr(code, "_HOME", shop.root)
    shop.write("study.py", f"{imports}def run(c, k): return {use}")
    assert set(shop.hashes()) == {"shop.study", "equitutor.methods", "equitutor.data.images"}
    assert set(code_of_text(imports + use)) == {
        code.ANYWHERE, "<text>", "equitutor.figures", "equitutor.methods", "equitutor.nero.logo",
        "equitutor.data.images", "equitutor.data.reads",
    }  # fmt: skip


def test_an_edited_file_is_read_again(shop):
    before = shop.hashes()
    path = shop.root / "shop/grip.py"
    path.write_text("SIZE = 4444\n")
    assert changed(before, shop.hashes()) == {"shop.grip"}


def test_a_study_must_define_its_start(shop):
    shop.edit("study.py", "def run(", "def walk(")
    with pytest.raises(ValueError, match=r"start must be defined in shop\.study, got 'run'"):
        shop.hashes()


def _hash(node):
    return code._digest([code._words(node)])


def test_other_versions_of_python_give_the_same_hash():
    """Versions differ in fields that are empty for old code, such as type_params since 3.12."""
    node = ast.parse("def f(x, *, y=None):\n    return f'{x!r}' + u'é' if x else None").body[0]
    before = _hash(node)
    assert before == "43d6efd85bad1658"  # the same under each Python that runs these tests
    for field, empty in (("type_params", []), ("type_comment", None), ("invented", None)):
        node._fields = (*node._fields, field)
        setattr(node, field, empty)
        assert _hash(node) == before
    node.invented = ["something"]
    assert _hash(node) != before


def test_texts_in_an_f_string_may_come_in_pieces():
    """As they do in some releases of Python 3.12."""
    whole = ast.parse("f'a{x}b{y}'").body[0]
    before = _hash(ast.Return(whole.value))
    pieces = [ast.Constant("a"), ast.Constant(""), *whole.value.values[1:], ast.Constant("")]
    assert _hash(ast.Return(ast.JoinedStr(pieces))) == before
    assert _hash(ast.Return(ast.JoinedStr(pieces[1:]))) != before
