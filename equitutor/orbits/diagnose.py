"""Name the layer at which a model loses its equivariance."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from equitutor.orbits import batching
from equitutor.orbits.advice import advice
from equitutor.orbits.blame import blame, recovers
from equitutor.orbits.evaluate import _device
from equitutor.orbits.found_actions import (
    Candidate,
    candidates,
    declared,
    declared_irreps,
    moves,
)
from equitutor.orbits.orbit import Action, Orbit
from equitutor.orbits.preflight import check_arguments, check_inputs
from equitutor.orbits.report import Diagnosis, LayerReport
from equitutor.orbits.watching import OWN, Event, Watch, borrowed, cast

NONE_FITS = "unknown: no action fits"
ALL_ACTIONS = 3  # elements at which every action is tried


def diagnose(
    model: nn.Module,
    x: Any,
    orbit: Orbit,
    actions: dict[str, Action] | None = None,
    tolerance: float = 1e-6,
    elements: int = 16,
    samples: int = 4,
    perturb: float = 0.0,
) -> Diagnosis:
    """Returns where along its layers a model stops to transform as its input does.

    Each layer's output is compared at x and at g x. How hidden features should move is declared
    nowhere, so it is looked for: they may stay as they are, move like the image on a coarser grid,
    roll by whole cells that the data choose, have channels or tokens permuted, turn as vectors or
    as the e3nn irreps that a module declares. The action with the smallest error is reported. The
    layer named is the first at which none fits while all fitted before, and after which none fits
    again. The output itself has to move by `orbit.act_y`.

    The model runs in float64 (in its own precision where it cannot), in the mode it is in, and is
    left as it was. Compiled modules are seen from outside only.

    Args:
        model: the module.
        x: batch of inputs; the first `samples` are used. Random ones will do, equal ones will not:
            they have to be finite, and to change along the orbit.
        orbit: the elements. Those of images must move whole pixels.
        actions: functions (feature, i) for layers by name, where none of the guesses is right.
        tolerance: largest error that counts as rounding, relative to a feature's largest entry.
        elements: number of elements to try, spread over the orbit, >= 2.
        samples: number of inputs to try, >= 1.
        perturb: size of a random change of all parameters, relative to their spread. A weight that
            starts at one everywhere can hide a fault until training has moved it: try 0.1.

    Raises ValueError, naming the argument, where one does not fit.

    >>> from equitutor.orbits import shifts
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"), nn.ReLU(),
    ...                     nn.Conv2d(4, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> found = diagnose(net, torch.rand(2, 1, 8, 8), shifts(8, 8))
    >>> found.verdict, found.layer
    ('lost', '2')
    """
    check_arguments(model, orbit, actions, tolerance, elements, samples, perturb)
    x = batching.take(x, 0, min(samples, batching.count(x, "x")))
    x = batching.move(x, _device(model))
    tried = _spread(orbit, elements)
    check_inputs(x, orbit, tried)
    dtype, precision = torch.float64, "float64"
    try:
        with borrowed(model, dtype, perturb):
            Watch(model).run(cast(x, dtype))
    except Exception:  # float32 constants in its code: check it as it is
        dtype, precision, tolerance = None, "its own precision", max(tolerance, 1e-4)
    with borrowed(model, dtype, perturb):
        check = _Check(model, cast(x, dtype), orbit, tried, actions or {}, tolerance)
        check.run()
    count = batching.count(x, "x")
    settings = (
        f"Tried {len(tried)} of {len(orbit)} elements on {count} "
        f"sample{'s' * (count > 1)} in {precision}; rounding: up to {tolerance:.0e}."
    )
    return check.conclude(settings)


def _spread(orbit: Orbit, count: int) -> list[int]:
    """Returns indices: the neighbors of the identity and others, never itself."""
    total = len(orbit)
    if total <= count + 1:
        return [g for g in range(total) if g != orbit.identity]
    draw = torch.randperm(total, generator=torch.Generator().manual_seed(0)).tolist()
    shape = orbit.extra.get("shape")
    first = [1, shape[1], shape[1] + 1] if shape and min(shape) > 1 else [1, 2]
    return [g for g in dict.fromkeys(first + draw) if g != orbit.identity][:count]


class _Check:
    """The runs along the orbit, and for each tensor the errors of all actions."""

    def __init__(self, model, x, orbit, tried, actions, tolerance):
        self.watch, self.x, self.orbit, self.tried = Watch(model), x, orbit, tried
        self.tolerance = tolerance
        self.moves = moves(x, orbit, tried)
        self.samples = batching.count(x, "x")
        pool = {
            str(ir): ir
            for m in model.modules()
            for leaves in (True, False)
            for ir in declared_irreps(m, leaves)
            if ir.dim
        }
        self.guesses = list(candidates(self.moves, orbit, self.samples, list(pool.values())))
        self.given = {name: Candidate("the action given for it", self._error_of(act))
                      for name, act in actions.items()}  # fmt: skip
        self.stated = Candidate("as the orbit states", self._error_of(orbit.act_y))
        self.as_input = Candidate("moves like the input", self._error_of(orbit.act_x))

    def _error_of(self, act: Action):
        def error(a, b, g):
            try:
                wanted = act(a, self.tried[g])
            except Exception:  # the action is for data of another shape
                return None
            fits = isinstance(wanted, Tensor) and wanted.shape == b.shape
            return b - wanted if fits else None

        return error

    def options(self, event: Event, k: int) -> list[Candidate]:
        """Returns the actions to try for tensor k of an event; what is declared stands alone."""
        if event.leaves and event.name in self.given:
            return [self.given[event.name]]
        if self.moves.kind == "points":
            irreps = declared_irreps(event.module, event.leaves)
            if k < len(irreps) and irreps[k].dim == event.tensors[k].shape[-1]:
                return [declared(irreps[k], self.moves)]
        if event.name == OWN and not event.leaves:
            return [Candidate("moves as the orbit does", lambda a, b, g: torch.zeros(1))]
        return [*self.guesses, self.as_input, self.stated]

    def run(self) -> None:
        self.still = self.watch.run(self.x)
        again = {e.key: e for e in self.watch.run(self.x)}
        self.random = {
            e.key for e in self.still if not self._same(e.tensors, again.get(e.key), equal=True)
        }
        self.errors = {
            (e.key, k): dict.fromkeys(self.options(e, k), 0.0)
            for e in self.still
            for k in range(len(e.tensors))
        }
        self._link()
        self.output = 0.0
        self.ran_otherwise: set = set()
        last = self.still[-1]
        if not last.tensors:
            raise ValueError("model must return a floating point tensor, which argmax does not")
        for g, element in enumerate(self.tried):
            moved = {e.key: e for e in self.watch.run(self.orbit.act_x(self.x, element))}
            for event in self.still:
                other = moved.get(event.key)
                if not self._same(event.tensors, other):
                    self.ran_otherwise.add(event.key)
                    continue
                for k, (a, b) in enumerate(zip(event.tensors, other.tensors, strict=True)):
                    if (event.key, k) not in self.linked:
                        self._score(self.errors[event.key, k], a, b, g)
            if last.key not in self.ran_otherwise:
                a, b = last.tensors[0], moved[last.key].tensors[0]
                self.output = max(self.output, _relative(self.stated.error(a, b, g), a))
        for here, origin in self.linked.items():
            self.errors[here] = self.errors[origin]

    def _link(self) -> None:
        """Finds the inputs that are an earlier layer's output: they need no second look."""
        self.linked: dict = {}
        origins: dict[int, tuple] = {}
        for event in self.still:
            for k, (number, a) in enumerate(zip(event.ids, event.tensors, strict=True)):
                here = (event.key, k)
                origin = origins.get(number)
                alone = len(self.errors[here]) == 1  # an action is declared for it
                if origin and not alone and torch.equal(a, origin[1]):
                    self.linked[here] = origin[0]
                elif event.leaves or not alone:
                    origins[number] = (here, a)

    def _same(self, tensors: list[Tensor], other: Event | None, equal: bool = False) -> bool:
        if other is None or [t.shape for t in tensors] != [t.shape for t in other.tensors]:
            return False
        pairs = zip(tensors, other.tensors, strict=True)
        # Twice NaN is the same, and so is twice infinity, whose difference is NaN.
        exact = partial(torch.allclose, rtol=0, atol=0, equal_nan=True)
        return not equal or all(
            exact(a, b) or _relative(b - a, a) <= self.tolerance for a, b in pairs
        )

    def _score(self, errors: dict, a: Tensor, b: Tensor, g: int) -> None:
        """Adds what each action leaves over at element g; after a few, of those that fit only."""
        alive = [c for c, e in errors.items() if e <= self.tolerance]
        for candidate in list(errors) if g < ALL_ACTIONS else alive:
            errors[candidate] = max(errors[candidate], _relative(candidate.error(a, b, g), a))
            if g >= ALL_ACTIONS and errors[candidate] <= self.tolerance:
                break

    def conclude(self, settings: str) -> Diagnosis:
        """Returns the report made of all errors."""
        reports = [self._report(e) for e in self.still]
        verdicts = {e.key: r.verdict for e, r in zip(self.still, reports, strict=True)}

        def done(verdict, where, layer=None, hint="", at=None):
            return Diagnosis(verdict, layer, where, hint, self.output, reports, at, settings)

        noisy = [k for k, r in enumerate(reports) if r.verdict == "not deterministic"]
        lost = [
            k
            for k, r in enumerate(reports)
            if r.verdict == "unknown" and not recovers(self.still, k, verdicts)
        ]
        if noisy:
            name, where = blame(self.still, noisy[0])
            hint = advice(self.still[noisy[0]], self.moves, True)
            text = f"Not deterministic: two runs on the same input differ, first {where}."
            return done("not deterministic", text, name, hint, noisy[0])
        if self.output <= self.tolerance:
            return done("equivariant", "Equivariant: no layer loses it.")
        if lost:
            name, where = blame(self.still, lost[0])
            hint = advice(self.still[lost[0]], self.moves, False)
            return done("lost", f"Equivariance is lost {where}.", name, hint, lost[0])
        return done(
            "other action",
            f"No layer loses it, but the output does not move as the orbit states: "
            f"{reports[-1].action}.",
            hint="state the action of the output, such as output='image', or make it invariant",
        )

    def _report(self, event: Event) -> LayerReport:
        worst, words, verdict = 0.0, [], "constant"
        for k, a in enumerate(event.tensors):
            errors = self.errors[event.key, k]
            best = min(errors.values())
            fitting = [c for c, e in errors.items() if e <= self.tolerance]
            constant = fitting and self.samples > 1 and len(a) == self.samples and _constant(a)
            name = fitting[0].name if fitting else NONE_FITS
            words.append("does not depend on the input" if constant else self._describe(name, a))
            worst = max(worst, best)
            if not fitting:
                verdict = "unknown"
            elif not constant and verdict != "unknown":
                verdict = "fits"
        if event.key in self.ran_otherwise:
            worst, words, verdict = float("inf"), ["its shape depends on the element"], "unknown"
        if event.key in self.random:
            words, verdict = ["differs between two runs"], "not deterministic"
        text = ", ".join(dict.fromkeys(words)) or "no floating point output"
        side = "out" if event.leaves else "in"
        return LayerReport(event.name, type(event.module).__name__, side, text, worst, verdict)

    def _describe(self, name: str, a: Tensor) -> str:
        if self.moves.kind == "image" and name.startswith("moves like the image"):
            side = a.shape[1] if "channels last" in name else a.shape[-2]
            ratio = self.moves.size[0] / side
            return name if ratio == 1 else f"{name}, stride {ratio:g}"
        return name


def _relative(left: Tensor | None, a: Tensor) -> float:
    if left is None:
        return float("inf")
    size, worst = a.abs().max().item(), left.abs().max().item()
    if worst != worst or size != size:  # NaN fits nothing
        return float("inf")
    return worst / size if size else worst


def _constant(a: Tensor) -> bool:
    return torch.allclose(a, a[:1].expand_as(a), rtol=1e-9, atol=0)
