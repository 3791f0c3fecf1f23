"""Watch every layer of a model at work."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from equitutor.orbits.batching import each_tensor, is_feature, tensors

OWN = "(the model itself)"
Patch = Callable[[list[Tensor]], list[Tensor]]


@dataclass
class Event:
    """The tensors that entered or left one call of one module."""

    name: str  # of the module, as `named_modules` gives it
    call: int  # how often it was called before
    leaves: bool  # True: outputs, False: inputs
    module: nn.Module = field(repr=False)
    tensors: list[Tensor] = field(repr=False)
    ids: list[int] = field(repr=False)  # numbers of the tensors, equal for one and the same
    parents: tuple[tuple[str, int], ...] = ()  # the calls this one happened in, outermost first

    @property
    def key(self) -> tuple[str, int, bool]:
        return self.name, self.call, self.leaves


def watched(model: nn.Module) -> dict[str, nn.Module]:
    """Returns the modules to watch by name; scripted code is watched from outside only.

    >>> list(watched(nn.Sequential(nn.Linear(2, 2))))
    ['(the model itself)', '0']
    """
    found, closed = {}, ()
    for name, module in model.named_modules():
        if closed and name.startswith(closed):
            continue
        if isinstance(module, torch.jit.ScriptModule | torch.fx.GraphModule) and name:
            closed += (f"{name}.",)
            continue
        found[name or OWN] = module
    return found


class Watch:
    """Records, in the order of execution, what goes into and comes out of every module.

    >>> watch = Watch(nn.Sequential(nn.Linear(2, 3)))
    >>> [(e.name, e.leaves) for e in watch.run(torch.zeros(1, 2))]
    [('(the model itself)', False), ('0', False), ('0', True), ('(the model itself)', True)]
    """

    def __init__(self, model: nn.Module, gradients: bool = False):
        self.model, self.gradients = model, gradients  # one may differentiate by itself

    def run(self, x: Any) -> list[Event]:
        """Returns the events of one forward pass. A tensor that several share is held once."""
        events: list[Event] = []
        held: dict[int, list[Tensor]] = {}

        def keep(event: Event) -> None:
            for k, (number, t) in enumerate(zip(event.ids, event.tensors, strict=True)):
                copies = held.setdefault(number, [])
                same = [c for c in copies[-1:] if torch.equal(c, t)]  # else written to since then
                if not same:
                    copies.append(t.clone())
                event.tensors[k] = copies[-1]
            events.append(event)

        self.stream(x, keep)
        return events

    def stream(
        self, x: Any, see: Callable[[Event], None], patches: dict[tuple, Patch] | None = None
    ) -> Any:
        """Returns the model's output, and shows each event of the pass while it happens.

        The tensors of such an event are the model's own: whoever wants to keep them copies them,
        for a later layer may write into them. No hook stays behind, whatever happens.

        Args:
            x: the input.
            see: called with each event.
            patches: key of an event -> function of its tensors, which returns those that the model
                goes on with in their place. The event itself shows what was there before.
        """
        patches = patches or {}
        calls: dict[str, int] = {}
        open_calls: list[tuple[str, int]] = []
        known: dict[int, tuple[weakref.ref, int]] = {}  # an id is given again once a tensor is gone
        numbers = itertools.count()

        def number(t: Tensor) -> int:
            if id(t) not in known or known[id(t)][0]() is not t:
                known[id(t)] = weakref.ref(t), next(numbers)
            return known[id(t)][1]

        def note(name, module, data, leaves, call):
            found = tensors(data)
            ids, plain = [number(t) for t in found], [t.detach() for t in found]
            see(Event(name, call, leaves, module, plain, ids, tuple(open_calls)))
            patch = patches.get((name, call, leaves))
            return data if patch is None else with_tensors(data, patch(plain))

        def enter(name, module):
            def hook(_, args, kwargs):
                call = calls[name] = calls.get(name, -1) + 1
                data = note(name, module, (args, kwargs), False, call)
                open_calls.append((name, call))
                return data

            return hook

        def leave(name, module):
            def hook(_, args, kwargs, output):
                _, call = open_calls.pop()
                return note(name, module, output, True, call)

            return hook

        handles = []
        try:
            for name, module in watched(self.model).items():
                handles.append(
                    module.register_forward_pre_hook(enter(name, module), with_kwargs=True)
                )
                handles.append(module.register_forward_hook(leave(name, module), with_kwargs=True))
            return self.output(x)
        finally:
            for handle in handles:
                handle.remove()

    def output(self, x: Any) -> Any:
        """Returns the model's output, with nobody watching."""
        with torch.set_grad_enabled(self.gradients):
            y = self.model(each_tensor(x, Tensor.clone))  # it may write into it
        return each_tensor(y, Tensor.detach, lambda t: t.requires_grad)


def with_tensors(data: Any, new: list[Tensor]) -> Any:
    """Returns the data with other tensors in place of those that `tensors` finds."""
    left = iter(new)
    return each_tensor(data, lambda t: next(left), is_feature)
