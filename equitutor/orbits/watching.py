"""Watch every layer of a model at work, and leave the model as it was found."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

OWN = "(the model itself)"


@dataclass
class Event:
    """The tensors that entered or left one call of one module."""

    name: str  # of the module, as `named_modules` gives it
    call: int  # how often it was called before
    leaves: bool  # True: outputs, False: inputs
    module: nn.Module = field(repr=False)
    tensors: list[Tensor] = field(repr=False)
    ids: list[int] = field(repr=False)
    parents: tuple[tuple[str, int], ...] = ()  # the calls this one happened in, outermost first

    @property
    def key(self) -> tuple[str, int, bool]:
        return self.name, self.call, self.leaves


def tensors(data: Any) -> list[Tensor]:
    """Returns the floating point tensors in nested tuples, lists and dicts, in order.

    >>> len(tensors((torch.zeros(2), {"a": [torch.ones(1), 3]}, torch.arange(4))))
    2
    """
    if isinstance(data, Tensor):
        return [data] if data.is_floating_point() and data.ndim > 0 and data.numel() else []
    if isinstance(data, dict):
        data = list(data.values())
    return [t for part in data for t in tensors(part)] if isinstance(data, tuple | list) else []


def each_tensor(data: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Returns the data with each floating point tensor changed.

    >>> each_tensor((torch.zeros(1), 3), torch.exp)
    (tensor([1.]), 3)
    """
    if isinstance(data, Tensor):
        return change(data) if data.is_floating_point() else data
    if isinstance(data, dict):
        return {key: each_tensor(part, change) for key, part in data.items()}
    if isinstance(data, tuple | list):
        return type(data)(each_tensor(part, change) for part in data)
    return data


def cast(data: Any, dtype: torch.dtype | None) -> Any:
    """Returns the data with its floating point tensors in another dtype; None changes nothing.

    >>> cast((torch.zeros(1), 3), torch.float64)
    (tensor([0.], dtype=torch.float64), 3)
    """
    return data if dtype is None else each_tensor(data, lambda t: t.to(dtype))


def watched(model: nn.Module) -> dict[str, nn.Module]:
    """Returns the modules to watch by name; compiled code is watched from outside only.

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

    def __init__(self, model: nn.Module):
        self.model = model

    def run(self, x: Any) -> list[Event]:
        """Returns the events of one forward pass; no hook stays behind, whatever happens."""
        events: list[Event] = []
        calls: dict[str, int] = {}
        open_calls: list[tuple[str, int]] = []
        keep: list[Any] = []  # alive until the end, so that no id is given twice

        def note(name, module, data, leaves, call):
            found = tensors(data)
            keep.append(found)
            copies = [t.detach().clone() for t in found]  # a later layer may write in place
            ids = [id(t) for t in found]
            events.append(Event(name, call, leaves, module, copies, ids, tuple(open_calls)))

        def enter(name, module):
            def hook(_, args, kwargs):
                call = calls[name] = calls.get(name, -1) + 1
                note(name, module, (args, kwargs), False, call)
                open_calls.append((name, call))

            return hook

        def leave(name, module):
            def hook(_, args, kwargs, output):
                _, call = open_calls.pop()
                note(name, module, output, True, call)

            return hook

        handles = []
        try:
            for name, module in watched(self.model).items():
                handles.append(
                    module.register_forward_pre_hook(enter(name, module), with_kwargs=True)
                )
                handles.append(module.register_forward_hook(leave(name, module), with_kwargs=True))
            with torch.no_grad():
                self.model(each_tensor(x, Tensor.clone))  # it may write into it
        finally:
            for handle in handles:
                handle.remove()
        return events


@contextmanager
def borrowed(model: nn.Module, dtype: torch.dtype | None, noise: float = 0.0) -> Iterator[None]:
    """Context in which a model computes in another dtype, and after which it is as it was.

    Parameters, buffers, training flags, the default dtype and all random states come back, also
    after an error. The parameters' own memory is not written to.

    Args:
        model: the module.
        dtype: of its floating point parameters and buffers in the context; None keeps them.
        noise: standard deviation of a number added to each parameter, relative to their spread.

    >>> layer = nn.Linear(1, 1)
    >>> with borrowed(layer, torch.float64):
    ...     layer.weight.dtype
    torch.float64
    >>> layer.weight.dtype
    torch.float32
    """
    parameters = [(p, p.data) for p in model.parameters()]
    buffers = [(m, k, b) for m in model.modules() for k, b in m._buffers.items() if b is not None]
    flags = [(m, m.training) for m in model.modules()]
    default = torch.get_default_dtype()
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(enabled=True):
        try:
            draw = torch.Generator().manual_seed(0)
            for p, data in parameters:
                p.data = cast(data.clone(), dtype)
                if noise and p.is_floating_point():
                    size = data.std().item() if data.numel() > 1 else 0.0
                    step = torch.randn(data.shape, generator=draw, dtype=torch.float64)
                    p.data += (noise * (size or 1.0) * step).to(p.data)
            for m, k, b in buffers:  # a shared buffer is copied twice, which does no harm
                m._buffers[k] = cast(b.clone(), dtype)
            if dtype is not None:
                torch.set_default_dtype(dtype)
            torch.manual_seed(0)
            yield
        finally:
            torch.set_default_dtype(default)
            for p, data in parameters:
                p.data = data
            for m, k, b in buffers:
                m._buffers[k] = b
            for m, flag in flags:
                m.training = flag
            random.setstate(python)
            np.random.set_state(numpy)
