"""Reads a master notebook and judges answers in this process, by the rules of Otter's checks."""

import inspect
import re
from contextlib import suppress
from dataclasses import dataclass, field

import nbformat
import torch
import yaml
from conftest import ROOT

from tools.teach.assignment import to_write


@dataclass
class Question:
    """One question of a master.

    Attributes:
        name: its name.
        points: what it is worth.
        manual: whether a person grades it.
        setup: the cells that everybody runs before it.
        solution: source of the solution.
        checks: points, whether hidden, and source of each check.
    """

    name: str
    points: float
    manual: bool
    setup: str
    solution: str = ""
    checks: list = field(default_factory=list)

    @property
    def starter(self):
        """What students find in the answer cell."""
        return to_write(re.sub(
            r"^( *)# BEGIN SOLUTION.*?# END SOLUTION[^\n]*$", r"\1...", self.solution,
            flags=re.MULTILINE | re.DOTALL,
        ))  # fmt: skip

    def passed(self, answer):
        """Yields for each check whether an answer passes it, and its points."""
        dtype = torch.get_default_dtype()
        env = {"__name__": "__main__"}
        try:
            exec(compile(self.setup, "setup", "exec"), env)
            with suppress(Exception):  # as in a notebook: the checks go on
                exec(compile(answer, self.name, "exec"), env)
            for points, _, text in self.checks:
                yield _passes(text, env), points
        finally:
            torch.set_default_dtype(dtype)

    def full(self, answer):
        """Returns whether an answer gets all points."""
        return all(ok for ok, _ in self.passed(answer))


def _passes(text, env):
    space = {}
    exec(compile(text, "check", "exec"), space)
    check = next(v for k, v in space.items() if k.startswith("test_"))
    names = inspect.signature(check).parameters
    try:
        check(**{n: env if n == "env" else env.get(n) for n in names})
    except Exception:
        return False
    return True


def read(name):
    """Returns the questions of a session's master, in order."""
    setup, questions, part = [], [], "setup"
    parts = {
        "# BEGIN QUESTION": "prompt",
        "# BEGIN SOLUTION": "solution",
        "# BEGIN TESTS": "checks",
        "# END QUESTION": "setup",
    }
    for cell in nbformat.read(ROOT / f"book/teach/{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "raw":
            mark = cell.source.split("\n")[0]
            if mark == "# BEGIN QUESTION":
                config = yaml.safe_load(cell.source)
                manual = config.get("manual", False)
                before = "\n\n".join(setup)
                questions.append(Question(config["name"], config["points"], manual, before))
            part = parts.get(mark, part)
        elif part == "setup" and cell.cell_type == "code":
            setup.append(cell.source)
        elif part == "solution":
            questions[-1].solution += cell.source + "\n\n"
        elif part == "checks":
            config = yaml.safe_load(re.match(r'"""[^\n]*\n(.*?)\n"""', cell.source, re.DOTALL)[1])
            body = re.sub(r'\A""".*?"""[^\n]*\n', "", cell.source, flags=re.DOTALL)
            questions[-1].checks.append((config["points"], config.get("hidden", False), body))
    return questions
