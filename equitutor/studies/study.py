"""What a study is: runs on a grid, at sizes with names, and claims with rules made beforehand."""

import importlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

from equitutor.training import Checkpoint

__all__ = ["SIZES", "STUDIES", "Claim", "Estimate", "Rule", "Study", "find", "grid"]

# The studies of the book: name -> module. Any other module that defines STUDY goes by its name.
STUDIES = {
    "arteq": "equitutor.studies.articulated",
    "polyphase-vit": "equitutor.studies.polyphase",
    "pretrained-cnn": "equitutor.studies.pretrained",
    "soft-equivariance": "equitutor.studies.soft",
    "soft-strengths": "equitutor.studies.soft_strengths",
    "soft-walks": "equitutor.studies.soft_walks",
    "soft-cosines": "equitutor.studies.soft_cosines",
    "nero": "equitutor.studies.nero",
    "nero-boxes": "equitutor.studies.nero_boxes",
    "nero-flows": "equitutor.studies.nero_flows",
    "nero-clouds": "equitutor.studies.nero_clouds",
    "alias-free-diffusion": "equitutor.studies.alias_free",
}

# smoke: seconds. cpu: hours of two cores. gpu: minutes of one data-center GPU. paper: the paper's.
SIZES = ("smoke", "cpu", "gpu", "paper")

Config = dict[str, Any]
Metrics = dict[str, float]

# Columns that a table of records has of its own.
RESERVED = ("size", "seconds", "peak_mb", "device", "date", "stale", "id")


@dataclass(frozen=True)
class Estimate:
    """A mean over runs and its 95 % interval (Student's t).

    Args:
        values: one number a run. mean: their mean.
        low, high: ends of the interval; infinite for a single run, which tells nothing of others.
    """

    values: tuple[float, ...]
    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Rule:
    """How a verdict follows from an estimate, in words and in code.

    Args:
        words: the rule as a page shows it.
        judge: function from an `Estimate` to one of `verdicts`.
        verdicts: what `judge` may return.
    """

    words: str
    judge: Callable[[Estimate], str]
    verdicts: tuple[str, ...] = ("holds", "does not hold", "undecided")


@dataclass(frozen=True)
class Claim:
    """A claim, what it is measured by, and the reason for each verdict, written before the run.

    Args:
        text: the claim in one sentence.
        paper: the paper's figure and setting.
        measure: function from the table of runs of one size to an `Estimate`; None: not tested.
        rule: the rule that turns the estimate into a verdict.
        reasons: verdict -> one or two sentences for the page. Complete: one for each verdict that
            the rule can give, or only "not tested".
        unit: unit of the estimate.
    """

    text: str
    paper: str
    measure: Callable[[Any], Estimate] | None
    rule: Rule | None
    reasons: Mapping[str, str]
    unit: str = ""

    def __post_init__(self):
        if (self.measure is None) != (self.rule is None):
            raise ValueError(f"measure and rule go together, {self.text!r} has only one of them")
        wanted = set(self.rule.verdicts if self.rule and self.measure else ["not tested"])
        if set(self.reasons) != wanted:
            raise ValueError(
                f"reasons must have a sentence for each of {sorted(wanted)}, for the claim "
                f"{self.text!r} there are {sorted(self.reasons)}"
            )


@dataclass(frozen=True)
class Study:
    """The laboratory of one paper.

    Args:
        name: its name; records go to `book/results/<name>.jsonl`.
        run: function (configuration, checkpoint) -> metrics, name -> finite float. It depends on
            its configuration alone: what it needs to know stands in there.
        sizes: name -> configurations, each from plain values (text, numbers, yes/no, None). A text
            in place of configurations says what that size is and why nobody runs it here.
        units: metric -> unit, "" for a pure number; every metric that `run` returns.
        claims: what is claimed.
        lesson: name of the lesson that it stands behind; default its own name.
    """

    name: str
    run: Callable[[Config, Checkpoint], Metrics] = field(repr=False)
    sizes: Mapping[str, Sequence[Config] | str] = field(repr=False)
    units: Mapping[str, str] = field(repr=False)
    claims: Sequence[Claim] = field(default=(), repr=False)
    lesson: str = ""

    def __post_init__(self):
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name must be letters, digits, - and _, got {self.name!r}")
        if taken := {*RESERVED} & {*self.units}:
            raise ValueError(f"units must not use the names {sorted(taken)}")
        for size in self.sizes:
            if size not in SIZES:
                raise ValueError(f"sizes must be among {SIZES}, got {size!r}")
            for config in self.planned(size):
                _check_config(config, {*RESERVED, *self.units})
            twice = [t for t, n in Counter(map(canonical, self.planned(size))).items() if n > 1]
            if twice:
                raise ValueError(f"configurations must differ, {twice[0]} stands twice in {size}")

    @cached_property
    def texts(self) -> dict[str, frozenset[str]]:
        """The configurations of each size as text: which records belong to today's grid."""
        return {size: frozenset(map(canonical, self.planned(size))) for size in self.sizes}

    def planned(self, size: str) -> Sequence[Config]:
        """Returns the configurations of a size, none where nobody runs it here.

        Raises ValueError where there is no such size.
        """
        if size not in self.sizes:
            raise ValueError(f"size must be one of {tuple(self.sizes)}, got {size!r}")
        configs = self.sizes[size]
        return () if isinstance(configs, str) else configs

    def configs(self, size: str, only: Mapping[str, Sequence[str]] | None = None) -> list[Config]:
        """Returns the configurations of a size, those alone that agree with `only`.

        Args:
            size: name of a size.
            only: key -> values as text, such as {"network": ["plain"], "seed": ["0,1"]}.

        Raises:
            ValueError: no such size, nobody runs it here, or `only` names an unknown key or
                leaves nothing.
        """
        configs = self.planned(size)
        if isinstance(self.sizes[size], str):
            raise ValueError(f"size {size!r} cannot be run here: {self.sizes[size]}")
        for key, texts in (only or {}).items():
            there = {str(c[key]): c[key] for c in configs if key in c}
            if not there:
                raise ValueError(f"only {key}=... fits no run of {self.name}, size {size}")
            wanted = [value for text in texts for value in _values(text, there, key)]
            configs = [c for c in configs if key in c and str(c[key]) in wanted]
        return list(configs)


def _values(text: str, there: Mapping[str, Any], key: str) -> Iterator[str]:
    """Yields the values in "a,b"; commas that belong to a value stay in it."""
    parts = text.split(",")
    while parts:
        for count in range(len(parts), 0, -1):
            word = ",".join(parts[:count]).strip()
            found = [name for name, value in there.items() if _means(word, name, value)]
            if found:
                yield from found
                parts = parts[count:]
                break
        else:
            raise ValueError(f"only {key}={parts[0]!r} fits no run, {key} has {list(there)}")


def _means(word: str, name: str, value: Any) -> bool:
    try:
        return word == name or (type(value) in (int, float) and float(word) == value)
    except ValueError:
        return False


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # it becomes the name of a file, anywhere


def _check_config(config: Config, taken: set[str]) -> None:
    """Raises ValueError where a configuration would not come back from a record as it went in."""
    for key, value in config.items():
        if not isinstance(key, str) or key in taken:
            raise ValueError(
                f"configurations must use other names than {sorted(taken)}, not {key!r}"
            )
        finite = not isinstance(value, float) or math.isfinite(value)
        if not isinstance(value, str | int | float | None) or not finite:
            raise ValueError(
                f"configurations must hold text, finite numbers, yes/no or None, "
                f"got {key}={value!r} ({type(value).__name__})"
            )


def grid(**axes) -> list[Config]:
    """Returns all combinations of the values: one configuration each, the last axis fastest.

    Args:
        axes: name -> list of values, or one value that all share.

    >>> grid(network=["plain", "anchored"], seed=[0, 1], steps=100)[1]
    {'network': 'plain', 'seed': 1, 'steps': 100}
    """
    values = [axis if isinstance(axis, list) else [axis] for axis in axes.values()]
    return [dict(zip(axes, combination, strict=True)) for combination in itertools.product(*values)]


def find(name: str) -> tuple[Study, ModuleType]:
    """Returns a study and its module, by its name in the book or by the name of its module.

    Raises ValueError where there is no such study.

    >>> find("polyphase-vit")[0].name
    'polyphase-vit'
    """
    where = STUDIES.get(name, name)
    try:
        module = importlib.import_module(where) if re.fullmatch(r"\w+(\.\w+)*", where) else None
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise  # it is there; something that it needs is not
        module = None
    if module is None:
        raise ValueError(f"study must be one of {', '.join(STUDIES)}, or a module, got {name!r}")
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise ValueError(f"study must be a module that defines STUDY, got {name!r}")
    return study, module


def canonical(value: Any) -> str:
    """Returns the one JSON text of plain values: keys sorted, no spaces, no NaN.

    >>> canonical({"b": 1, "a": [True, None]})
    '{"a":[true,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def check_metrics(study: Study, metrics: Any) -> Metrics:
    """Returns the metrics as floats; raises ValueError where they are not what was declared."""
    if not isinstance(metrics, Mapping) or set(metrics) != set(study.units):
        found = sorted(map(str, metrics)) if isinstance(metrics, Mapping) else repr(metrics)
        raise ValueError(f"run must return the metrics {sorted(study.units)}, got {found}")
    try:
        values = {name: float(value) for name, value in metrics.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"run must return numbers, got {metrics}") from error
    bad = {name: value for name, value in values.items() if not math.isfinite(value)}
    if bad:
        raise ValueError(f"run must return finite metrics, got {bad}")
    return values
