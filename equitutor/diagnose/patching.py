"""What else is wrong behind the first loss: each faulty layer is made to move as it should.

Behind the first layer that loses equivariance nothing moves as it should any more. So that layer's
output at the moved input is replaced by its output at the input, moved (activation patching), and
the next one that loses it comes to light. The same patch of one layer alone says what its repair
would gain. It needs a rule by which the output should move: that of the features before it of the
same shape, or the one under which what follows is in order longest.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from equitutor.diagnose.advice import advice, cause
from equitutor.diagnose.blame import blame
from equitutor.diagnose.found_actions import Candidate
from equitutor.diagnose.repairs import Suspect, swapped
from equitutor.diagnose.watching import OWN, Event, with_tensors
from equitutor.orbits.batching import tensors
from equitutor.orbits.scale import extremes, silence

if TYPE_CHECKING:
    from equitutor.diagnose.search import Check

MOST = 8  # layers that are looked for
FEW = 3  # elements at which a patch is tried

Patches = dict[tuple, list[Candidate | None]]  # key of an event -> the rule of each of its tensors


def suspects(check: Check, repairs: bool) -> list[Suspect]:
    """Returns the layers that lose equivariance by themselves, those behind the first one, too.

    Args:
        check: of the model as it is, with a loss.
        repairs: also measure what patching each alone gains, and put the largest gain first.
    """
    found: dict[str, tuple[Suspect, Turned | None]] = {}
    patches: Patches = {}
    now = check.again({}, FEW)
    while (k := next(iter(now.lost()), None)) is not None and len(patches) < MOST:
        event = check.still[k]
        name, _ = blame(check.still, k)
        error = max(min(now.errors[event.key, j].values()) for j in range(len(event.tensors)))
        kind = type(check.watch.model if name == OWN else check.watch.model.get_submodule(name))
        suspect = Suspect(name, kind.__name__, cause(event), advice(event, check.moves, False),
                          error)  # fmt: skip
        rules = _rule(check, now, k, patches)
        if name not in found:
            found[name] = suspect, None if rules is None else _twin(check, now, event, rules)
        if rules is None:  # nothing can be said of what follows
            break
        patches[event.key] = rules
        now = check.again(patches, FEW)
    if not repairs:
        return [suspect for suspect, _ in found.values()]
    ranked = [replace(s, gain=_gain(check, twin)) for s, twin in found.values()]
    return sorted(ranked, key=lambda s: -float("inf") if s.gain is None else s.gain, reverse=True)


class Turned(nn.Module):
    """The equivariant twin of a layer, at one element: brings its input back, and moves its output.

    Args:
        layer: f. back: the rules that move its input tensors back. there: those of its output.

    >>> import torch
    >>> turned = Turned(nn.Linear(2, 2), [Candidate("flip", lambda a, b, g: b - a.flip(-1))],
    ...                 [Candidate("flip", lambda a, b, g: b - a.flip(-1))])
    >>> x = torch.rand(1, 2)
    >>> torch.equal(turned(x.flip(-1)), turned.layer(x).flip(-1))
    True
    """

    def __init__(self, layer: nn.Module, back: list[Candidate], there: list[Candidate]):
        super().__init__()
        self.layer, self.back, self.there, self.element = layer, back, there, 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = self._moved((args, kwargs), self.back)
        return self._moved(self.layer(*args, **kwargs), self.there)

    def _moved(self, data: Any, rules: list[Candidate]) -> Any:
        new = [rule.moved(t, self.element) for t, rule in zip(tensors(data), rules, strict=True)]
        return with_tensors(data, new)


def _twin(check: Check, now: Check, event: Event, rules: list[Candidate | None]) -> Turned | None:
    """Returns the twin of the layer that made an event; None where a rule is not known."""
    if not event.leaves or event.name == OWN:
        return None
    before = next(e for e in check.still if e.key == (event.name, event.call, False))
    back = [check.inverse(now.rule(before, k)) for k in range(len(before.tensors))]
    there = [rule or now.rule(event, k) for k, rule in enumerate(rules)]
    return None if None in back or None in there else Turned(event.module, back, there)


def _gain(check: Check, twin: Turned | None) -> float | None:
    """Returns the share of the model's error that goes away when a layer's twin stands for it."""
    if twin is None:
        return None
    model = check.watch.model
    name = next(n for n, m in model.named_modules() if m is twin.layer)
    errors, ranges = [], tensors(check.answer)
    with suppress(Exception), swapped(model, name, twin):  # it may not fit there
        for g, element in enumerate(check.tried[:FEW]):
            twin.element = g
            there = check.watch.output(check.orbit.act_x(check.x, element))
            errors.append(check.off(there, element))
            ranges = [extremes(pair) for pair in zip(ranges, tensors(there), strict=True)]
    if len(errors) < len(check.tried[:FEW]) or any(map(silence, ranges)):
        return None
    before = _mean(check.again({}, FEW).shares)
    return 1 - _mean(errors) / before if before else None


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else math.inf


def _rule(check: Check, now: Check, k: int, patches: Patches) -> list[Candidate | None] | None:
    """Returns the rules by which the tensors of event k should move; None where none is known."""
    event = check.still[k]
    wrong = [j for j in range(len(event.tensors)) if not now.fits(event, j)]
    alike = _moves_alike(check, now, k, wrong[0])
    options = [alike] if alike else [c for c in check.options(event, wrong[0]) if c.forces]
    best, reached = None, (0, 0.0)
    for option in options:
        rules = [option if j in wrong else None for j in range(len(event.tensors))]
        if any(option.moved(event.tensors[j], 0) is None for j in wrong):
            continue
        trial = check.again(patches | {event.key: rules}, FEW)
        after = trial.lost()
        reach = (after[0] if after else len(check.still), -_mean(trial.shares))
        if best is None or reach > reached:
            best, reached = rules, reach
    return best


def _moves_alike(check: Check, now: Check, k: int, j: int) -> Candidate | None:
    """Returns how the last feature before event k that has the shape of its tensor j moves."""
    event = check.still[k]
    alike = (
        now.rule(other, i)
        for other in reversed(check.still[:k])
        for i, t in enumerate(other.tensors)
        if t.shape == event.tensors[j].shape
    )
    return next((rule for rule in alike if rule is not None), None)
