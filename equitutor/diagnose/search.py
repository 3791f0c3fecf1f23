"""Name the layer at which a model loses its equivariance."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from equitutor.diagnose.advice import advice
from equitutor.diagnose.blame import blame, recovers
from equitutor.diagnose.found_actions import (
    Candidate,
    candidates,
    declared,
    declared_irreps,
    moves,
)
from equitutor.diagnose.patching import Patches
from equitutor.diagnose.patching import suspects as behind
from equitutor.diagnose.preflight import check_arguments, check_inputs
from equitutor.diagnose.repairs import measured, suspects
from equitutor.diagnose.report import Diagnosis, LayerReport
from equitutor.diagnose.shares import Scale, off
from equitutor.diagnose.watching import OWN, Event, Watch
from equitutor.orbits import batching, scale
from equitutor.orbits.batching import cast, each_tensor, tensors
from equitutor.orbits.models import device_of, lent, wants_gradients
from equitutor.orbits.orbit import Action, Orbit, round_trip
from equitutor.runtime import coarsest, uncast, widest
from equitutor.runtime import tolerance as rounding_of

NONE_FITS = "unknown: no action fits"
MOVE = "perturb=0.1, which moves all parameters: one that starts at zero hides what is behind it"
ALL_ACTIONS = 3  # elements at which every action is tried
FAINT, FAINT_NOISE = 1e-10, 0.1  # an error that float64 does not make, and what brings it out
SMALL = 1e-2  # an error that float32 could blur
PATCHED = Candidate("moved as it should", lambda a, b, g: torch.zeros(1))
LAYERS_ASKED = 32  # whether the output sees them at all


def diagnose(
    model: nn.Module,
    x: Any,
    orbit: Orbit,
    actions: dict[str, Action] | None = None,
    tolerance: float = 1e-6,
    elements: int = 16,
    samples: int = 4,
    perturb: float = 0.0,
    repairs: bool = False,
) -> Diagnosis:
    """Returns where along its layers a model stops to transform as its input does.

    Each layer's output is compared at x and at g x. How hidden features should move is declared
    nowhere, so it is looked for: they may stay as they are, move like the image on a coarser grid,
    roll by whole cells that the data choose, have channels or tokens permuted, turn as vectors or
    as the e3nn irreps that a module declares. The action with the smallest error is reported. The
    layer named is the first at which none fits while all fitted before, and after which none fits
    again. The output itself has to move by `orbit.act_y`, each tensor of it: wrap a model of which
    you mean one output alone.

    An error is measured against how much a feature varies over the samples. An output that is the
    same for every input, or that does not see what a faulty layer makes, as behind a gate at zero,
    says nothing about equivariance: that is a verdict of its own, and not "equivariant".

    The model runs in float64 (in its own precision where it or the device cannot), in the mode it
    is in, and is left as it was. What `torch.compile` made is run as it was written, so that its
    layers are seen; scripted modules are seen from outside only.

    Args:
        model: the module.
        x: batch of inputs; the first `samples` are used. Random ones will do, equal ones will not:
            they have to be finite, and to change along the orbit. A single one gets a neighbor.
        orbit: the elements. Those of images must move whole pixels.
        actions: functions (feature, i) for layers by name, where none of the guesses is right.
        tolerance: largest error that counts as rounding, relative to the variation of a feature;
            in the model's own precision, at least what that is good for.
        elements: number of elements to try, spread over the orbit, >= 2.
        samples: number of inputs to try, >= 1.
        perturb: size of a random change of all parameters, relative to their spread. A weight that
            starts at one everywhere can hide a fault until training has moved it: try 0.1.
        repairs: also measure, for each of `Diagnosis.suspects`, how much of the model's error goes
            away when this layer alone is repaired, and rank them by it.

    Raises ValueError, naming the argument, where one does not fit.

    >>> from equitutor.orbits import shifts
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"), nn.ReLU(),
    ...                     nn.Conv2d(4, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> found = diagnose(net, torch.rand(2, 1, 8, 8), shifts(8, 8))
    >>> found.verdict, found.layer
    ('lost', '2')
    """
    check_arguments(model, orbit, actions, tolerance, elements, samples, perturb)
    model = getattr(model, "_orig_mod", model)
    if isinstance(model, torch.jit.ScriptModule):  # nothing can watch it from inside
        model = nn.Sequential(model)
    x = batching.take(x, 0, min(samples, batching.count(x, "x")))
    x = batching.move(x, device_of(model))
    tried = _spread(orbit, elements)
    check_inputs(x, orbit, tried)
    count = batching.count(x, "x")
    if count == 1:
        x = scale.with_another(x)
    device = batching.all_tensors(x)[0].device
    dtype, precision = widest(device), "float64"
    stored = coarsest(*batching.tensors(x), *model.parameters())
    lend = partial(lent, model, evaluate=False, noise=perturb)
    if dtype == torch.float64:
        try:
            with lend(dtype=dtype), uncast(device), _uncompiled():
                gradients = _differentiates(model, cast(x, dtype))
        except Exception:  # float32 constants in its code: check it as it is
            dtype = torch.float32
    if dtype != torch.float64:
        dtype, precision = None, "its own precision"
        tolerance = max(tolerance, 4 * rounding_of(stored))
        with lend(), _uncompiled():
            gradients = _differentiates(model, x)
    else:
        made = coarsest(*tensors(orbit.act_x(cast(x, dtype), tried[0])))
        tolerance = max(tolerance, 4 * rounding_of(made)) if made != dtype else tolerance
        orbit = _in_the_precision_given(orbit)
    with lend(dtype=dtype), uncast(device) if dtype else nullcontext(), _uncompiled():
        torch.manual_seed(0)
        watch = Watch(model, gradients)
        check = Check(watch, cast(x, dtype), orbit, tried, actions or {}, tolerance)
        check.run()
        check.listen()
        check.look_on(model, repairs, stored)
    faint = check.faint()
    if faint is not None and dtype and not perturb:
        # More than rounding, and less than the tolerance: a fault behind a gate that starts small?
        with lent(model, evaluate=False, dtype=dtype, noise=FAINT_NOISE), _uncompiled():
            again = Check(watch, cast(x, dtype), orbit, tried, actions or {}, tolerance)
            again.run()
        if again.output > again.tolerance:
            check.unseen = faint
    settings = (
        f"Tried {len(tried)} of {len(orbit)} elements on {count} "
        f"sample{'s' * (count > 1)} in {precision}; rounding: up to {check.tolerance:.0e}"
        f"{'' if check.floor is None else f', the measurement itself: {check.floor:.0e}'}."
    )
    moved = "the parameters were moved already: take other inputs, or look at what is constant"
    return check.conclude(settings, moved if perturb else MOVE)


def _in_the_precision_given(orbit: Orbit) -> Orbit:
    """Returns the orbit with actions whose result has the precision of the input.

    An action may insist on one of its own, as one that goes by way of NumPy.
    """

    def kept(act: Action) -> Action:
        return lambda x, i: cast(act(x, i), next((t.dtype for t in tensors(x)), None))

    back = None if orbit.inv_x is None else kept(orbit.inv_x)
    return replace(orbit, act_x=kept(orbit.act_x), inv_x=back)


def _differentiates(model: nn.Module, x: Any) -> bool:
    """Returns whether a model takes derivatives itself, as a force field does; runs it once."""
    torch.manual_seed(0)
    try:
        Watch(model).stream(x, lambda event: None)
    except RuntimeError as error:
        if not wants_gradients(error):
            raise
        Watch(model, gradients=True).stream(x, lambda event: None)
        return True
    return False


def _uncompiled() -> AbstractContextManager:
    stance = getattr(torch.compiler, "set_stance", None)  # from torch 2.6 on
    compiler = "torch._dynamo" in sys.modules  # it takes seconds to load, and would find nothing
    return stance("force_eager") if stance and compiler else nullcontext()


def _spread(orbit: Orbit, count: int) -> list[int]:
    """Returns indices: the neighbors of the identity and others, never itself."""
    total = len(orbit)
    if total <= count + 1:
        return [g for g in range(total) if g != orbit.identity]
    draw = torch.randperm(total, generator=torch.Generator().manual_seed(0)).tolist()
    shape = orbit.extra.get("shape")
    first = [1, shape[1], shape[1] + 1] if shape and min(shape) > 1 else [1, 2]
    return [g for g in dict.fromkeys(first + draw) if g != orbit.identity][:count]


class Check:
    """The runs along the orbit, and for each tensor the errors of all actions."""

    def __init__(self, watch: Watch, x, orbit, tried, actions, tolerance):
        self.watch, self.x, self.orbit, self.tried = watch, x, orbit, tried
        self.tolerance, self.patches = tolerance, {}
        self.moves = moves(x, orbit, tried)
        self.samples = batching.count(x, "x")
        pool = {
            str(ir): ir
            for m in watch.model.modules()
            for leaves in (True, False)
            for ir in declared_irreps(m, leaves)
            if ir.dim
        }
        self.pool = list(pool.values())
        self.guesses = list(candidates(self.moves, orbit, self.samples, self.pool))
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
        if self.moves.kind == "points" and self.moves.matrices.shape[-1] == 3:
            irreps = declared_irreps(event.module, event.leaves)
            if k < len(irreps) and irreps[k].dim == event.tensors[k].shape[-1]:
                return [declared(irreps[k], self.moves)]
        if event.name == OWN and not event.leaves:
            return [Candidate("moves as the orbit does", lambda a, b, g: torch.zeros(1))]
        return [*self.guesses, self.as_input, self.stated]

    def run(self) -> None:
        self.still = self.watch.run(self.x)
        made = coarsest(*(t for e in self.still for t in e.tensors))
        if torch.finfo(made).eps > torch.finfo(torch.float64).eps:  # it rounds on its way
            self.tolerance = max(self.tolerance, 4 * rounding_of(made))
        still = {e.key: e for e in self.still}
        repeated: set = set()

        def same(event: Event) -> None:
            before = still.get(event.key)
            if before and self._same(before.tensors, event, equal=True):
                repeated.add(event.key)

        self.watch.stream(self.x, same)
        self.random = still.keys() - repeated
        self.scales = {(e.key, k): Scale(a) for e in self.still for k, a in enumerate(e.tensors)}
        self.answer = each_tensor(self.watch.output(self.x), Tensor.clone)
        for part in batching.all_tensors(self.answer):
            batching.check_plain(part, "model(x)")
        if not self.still[-1].tensors:
            found = [f"{t.dtype} {tuple(t.shape)}" for t in batching.all_tensors(self.answer)]
            raise ValueError(
                "model must return a floating point tensor of 16 bits or more with an entry for "
                "each sample, which argmax does not, and a mean over the batch neither, got "
                f"{', '.join(found) or type(self.answer).__name__}"
            )
        self._walk()

    def again(self, patches: Patches, elements: int) -> Check:
        """Returns a check of the same model in which some features move as the patches say."""
        other = copy(self)
        other.patches, other.tried = patches, self.tried[:elements]
        other._walk()
        return other

    def _walk(self) -> None:
        """Compares all features at each element with those of the input as it is."""
        still = {e.key: e for e in self.still}
        self.errors = {
            (e.key, k): dict.fromkeys(self.options(e, k), 0.0)
            for e in self.still
            for k in range(len(e.tensors))
        }
        self._link()
        self.shares: list[float] = []
        self.ran_otherwise: set = set()
        self.ranges = tensors(self.answer)  # over samples, and elements as far as they move
        for g, element in enumerate(self.tried):
            missing = set(still)

            def compare(event: Event, g=g, missing=missing) -> None:
                before = still.get(event.key)
                if before and self._same(before.tensors, event):
                    missing.discard(event.key)
                    self._compare(before, event, g)

            patches = {key: partial(self._patched, still[key], rules, g)
                       for key, rules in self.patches.items()}  # fmt: skip
            there = self.watch.stream(self.orbit.act_x(self.x, element), compare, patches)
            self.shares.append(self.off(there, element))
            self.ranges = self._widened(there)
            self.ran_otherwise |= missing
        self.output = max(self.shares)
        for here, origin in self.linked.items():
            self.errors[here] = self.errors[origin]

    def _patched(self, event: Event, rules: list, g: int, there: list[Tensor]) -> list[Tensor]:
        each = zip(rules, event.tensors, there, strict=True)
        return [t if rule is None else rule.moved(a, g).to(t) for rule, a, t in each]

    def _compare(self, still: Event, moved: Event, g: int) -> None:
        """Scores one event of the pass at element g; nothing of it is kept but numbers."""
        for k, (a, b) in enumerate(zip(still.tensors, moved.tensors, strict=True)):
            if (still.key, k) not in self.linked:
                self._score(still, k, a, b, g)

    def off(self, there: Any, element: int) -> float:
        """Returns how far the output at an element is from what the orbit states, in its scale."""
        return off(self.answer, there, lambda y: self.orbit.act_y(y, element))

    def _widened(self, there: Any) -> list[Tensor]:
        found = tensors(there)
        if [t.shape[1:] for t in found] != [t.shape[1:] for t in self.ranges]:
            return self.ranges
        return [scale.extremes(pair) for pair in zip(self.ranges, found, strict=True)]

    def _link(self) -> None:
        """Finds the inputs that are an earlier layer's output: they need no second look."""
        self.linked: dict = {}
        origins: dict[int, tuple] = {}
        for event in self.still:
            for k, (number, a) in enumerate(zip(event.ids, event.tensors, strict=True)):
                here = (event.key, k)
                origin = origins.get(number)
                alone = len(self.errors[here]) == 1  # an action is declared for it
                if origin and not alone and a is origin[1]:
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
            exact(a, b) or Scale(a).share(b - a) <= self.tolerance for a, b in pairs
        )

    def _score(self, event: Event, k: int, a: Tensor, b: Tensor, g: int) -> None:
        """Adds what actions leave over at element g, and keeps those that fit, or the best one."""
        errors, size = self.errors[event.key, k], self.scales[event.key, k]
        fits = any(e <= self.tolerance for e in errors.values())
        if g >= ALL_ACTIONS and not fits:
            return
        for candidate in errors:
            errors[candidate] = max(errors[candidate], size.share(candidate.error(a, b, g)))
            if g >= ALL_ACTIONS and errors[candidate] <= self.tolerance:
                break
        best = min(errors, key=errors.get)
        for candidate, error in list(errors.items()):
            if error > self.tolerance and candidate is not best:
                del errors[candidate]

    def listen(self) -> None:
        """Finds what the output does not say: how far the meter sees, and what it is blind to."""
        self.floor, self.unseen = None, None
        if self.orbit.inv_x is not None:
            back = round_trip(self.orbit)
            there = (self.watch.output(back.act_x(self.x, g)) for g in self.tried[:ALL_ACTIONS])
            self.floor = max(off(self.answer, y, lambda y: y) for y in there)
        self.silence = silences(self.ranges)
        if self.silence:  # the samples may lie on one orbit: ask about another
            self.silence = silences(self._widened(self.watch.output(scale.with_another(self.x))))
        if self.output > self.tolerance or self.silence:
            return
        lost = [e for e in self.still if e.leaves and e.name != OWN and not self._fits(e)]
        for event in lost[:LAYERS_ASKED]:
            with _shaken(event.module):
                shaken = tensors(self.watch.output(self.x))
            if all(map(torch.equal, shaken, tensors(self.answer))):
                self.unseen = self.still.index(event)
                return

    def faint(self) -> int | None:
        """Returns the first layer that is lost, where the output is off by less than counts."""
        if not FAINT < self.output <= self.tolerance:
            return None
        lost = (k for k, e in enumerate(self.still) if e.leaves and e.name != OWN)
        return next((k for k in lost if not self._fits(self.still[k])), None)

    def look_on(self, model: nn.Module, repairs: bool, own: torch.dtype) -> None:
        """Finds what else is wrong behind the first loss, where images roll or anything else moves.

        Of images that turn only the first loss is known: channels may change their places there.
        """
        self.suspects = []
        rolls = self.moves.kind == "image" and not any(self.moves.turns)
        if self.output > self.tolerance and self.moves.kind != "image" and not self.random:
            self.suspects = behind(self, repairs)
        if self.output > self.tolerance and rolls:
            found = suspects(self.still, self.moves.size, self.moves.rolls, self.tolerance)
            self.suspects = [suspect for suspect, _ in found]
            if repairs:  # a share of an error that is no small one: float32 will do
                wide = coarsest(*batching.tensors(self.x)) == torch.float64 != own
                dtype = torch.float32 if wide and self.output > SMALL else None
                with lent(model, evaluate=False, dtype=dtype):
                    x = cast(self.x, dtype)
                    self.suspects = measured(model, x, self.orbit, self.tried, found)

    def fits(self, event: Event, k: int) -> bool:
        """Returns whether tensor k of an event moves by some rule, if only because of a patch."""
        origin = self.linked.get((event.key, k), (event.key, k))
        patched = origin[0] in self.patches or event.key in self.patches
        return patched or min(self.errors[event.key, k].values()) <= self.tolerance

    def rule(self, event: Event, k: int) -> Candidate | None:
        """Returns by which rule tensor k of an event moves, if it does and the rule is known."""
        key, i = self.linked.get((event.key, k), (event.key, k))
        if key in self.patches and self.patches[key][i] is not None:
            return self.patches[key][i]
        errors = self.errors[event.key, k]
        return next((c for c, e in errors.items() if e <= self.tolerance and c.forces), None)

    def inverse(self, rule: Candidate | None) -> Candidate | None:
        """Returns the rule that moves back what a rule moved, or None where it is not known."""
        if rule is None:
            return None
        if rule is self.as_input or rule is self.stated:
            back = self.orbit.inv_x if rule is self.as_input else self.orbit.inv_y
            return None if back is None else Candidate(rule.name, self._error_of(back))
        back = self.moves
        if back.matrices is not None:
            back = replace(back, matrices=torch.linalg.pinv(back.matrices))
        rules = [*candidates(back, self.orbit, self.samples, self.pool)]
        rules += [declared(ir, back) for ir in self.pool]
        return next((c for c in rules if c.name == rule.name), None)

    def _fits(self, event: Event) -> bool:
        return all(self.fits(event, k) for k in range(len(event.tensors)))

    def lost(self) -> list[int]:
        """Returns the events, by their place, at which no rule fits and after which none does."""
        verdicts = {e.key: self._report(e).verdict for e in self.still}
        return [
            k
            for k, e in enumerate(self.still)
            if verdicts[e.key] == "unknown" and not recovers(self.still, k, verdicts)
        ]

    def conclude(self, settings: str, remedy: str) -> Diagnosis:
        """Returns the report made of all errors."""
        reports = [self._report(e) for e in self.still]

        def done(verdict, where, layer=None, hint="", at=None):
            return Diagnosis(verdict, layer, where, hint, self.output, reports, at, settings,
                             self.floor, self.suspects)  # fmt: skip

        noisy = [k for k, r in enumerate(reports) if r.verdict == "not deterministic"]
        lost = self.lost()
        if noisy:
            name, where = blame(self.still, noisy[0])
            hint = advice(self.still[noisy[0]], self.moves, True)
            text = f"Not deterministic: two runs on the same input differ, first {where}."
            return done("not deterministic", text, name, hint, noisy[0])
        if self.output <= self.tolerance and self.silence:
            return done("says nothing", f"Says nothing: {self.silence}.", hint=remedy)
        if self.unseen is not None:
            name, where = blame(self.still, self.unseen)
            text = f"Says nothing about a loss {where}: the output is (nearly) constant in it."
            return done("says nothing", text, name, remedy, self.unseen)
        if self.output <= self.tolerance:
            return done("equivariant", "Equivariant: no layer loses it.")
        if lost:
            name, where = blame(self.still, lost[0])
            hint = advice(self.still[lost[0]], self.moves, False)
            return done("lost", f"Equivariance is lost {where}.", name, hint, lost[0])
        if self._real_part_fits():
            text = "Equivariance is lost in a tensor of the output that is whole or complex."
            return done("lost", text, OWN)
        return done(
            "other action",
            f"No layer loses it, but the output does not move as the orbit states: "
            f"{reports[-1].action}.",
            hint="state the action of the output, such as output='image', or make it invariant",
        )

    def _real_part_fits(self) -> bool:
        """Returns whether all tensors of the output that are watched move as the orbit states."""
        key, tensors = self.still[-1].key, self.still[-1].tensors
        errors = (self.errors[key, k].get(self.stated, math.inf) for k in range(len(tensors)))
        return all(error <= self.tolerance for error in errors)

    def _report(self, event: Event) -> LayerReport:
        worst, words, verdict = 0.0, [], "constant"
        for k, a in enumerate(event.tensors):
            errors = self.errors[event.key, k]
            best = min(errors.values())
            fitting = [c for c, e in errors.items() if e <= self.tolerance]
            if not fitting and self.fits(event, k):
                fitting = [PATCHED]
            constant = fitting and len(a) == self.samples and self.scales[event.key, k].constant
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


def silences(ranges: list[Tensor]) -> str:
    """Returns why an output says nothing: of several tensors, the first that does not."""
    found = [(k, scale.silence(y)) for k, y in enumerate(ranges)]
    several = f" (tensor {{}} of the {len(ranges)} of the output)" if len(ranges) > 1 else ""
    return next((words + several.format(k) for k, words in found if words), "")


@contextmanager
def _shaken(module: nn.Module) -> Iterator[None]:
    """Context in which a number is added to whatever a module returns."""

    def change(t: Tensor) -> Tensor:
        size = t.abs().nan_to_num(posinf=0).max() if t.numel() else 0.0
        return t + torch.rand(t.shape).to(t) * (1 + size)

    handle = module.register_forward_hook(lambda m, args, output: each_tensor(output, change))
    try:
        yield
    finally:
        handle.remove()
