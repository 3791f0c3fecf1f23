"""Put a model into another state, wherever it hides, and leave it as it was found."""

from __future__ import annotations

import random
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from functools import lru_cache, partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import is_lazy

from equitutor.orbits.batching import cast, each_tensor

_MOST = 20_000  # objects looked at: a model may stand beside a data set
_PLAIN = (Tensor, np.ndarray, np.generic, str, bytes, int, float, complex, type(None), range)
_SIMPLE = (type(None), bool, int, float, complex, str, list, dict)
_LIBRARIES = {"torch", "numpy", "scipy", "sklearn", "matplotlib", "functools", "builtins"}


def modules_of(model: Any) -> list[nn.Module]:
    """Returns the modules that a callable computes with, each with its submodules, outermost first.

    A module is looked for behind functions and lambdas (in their closures, defaults, and the
    globals that their code names), `functools.partial`, bound methods, decorators and
    `torch.compile`, in the attributes of objects, dataclasses and modules, in containers, and
    behind weak references.

    >>> net = nn.Sequential(nn.Linear(2, 2))
    >>> [type(m).__name__ for m in modules_of(lambda x: net(x))]
    ['Sequential', 'Linear']
    """
    return _search(model)[0]


def _search(model: Any) -> tuple[list[nn.Module], bool]:
    """Returns the modules behind a callable, and whether some code on the way is compiled."""
    found: dict[int, nn.Module] = {}
    seen: dict[int, Any] = {}  # keeps what it has seen alive, so that no id is used twice
    queue, compiled = deque([model]), False
    while queue and len(seen) < _MOST:
        thing = queue.popleft()
        if id(thing) in seen or isinstance(thing, _PLAIN):
            continue
        seen[id(thing)] = thing
        compiled |= "_torchdynamo_orig_callable" in getattr(thing, "__dict__", {})
        if isinstance(thing, nn.Module):
            found[id(thing)] = thing
            queue.extendleft(thing.children())
        with suppress(Exception):  # an object may be odd: it holds no model then
            queue += _behind(thing)
    every = list(found.values())
    return list({id(m): m for root in _roots(every) for m in root.modules()}.values()), compiled


def _roots(modules: list[nn.Module]) -> list[nn.Module]:
    inner = {id(child) for m in modules for child in m.children() if child is not m}
    return [m for m in modules if id(m) not in inner] or modules  # all, where they form a circle


def _behind(thing: Any) -> list:
    """Returns the objects that one object leads to."""
    if isinstance(thing, partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, FunctionType):
        cells = []
        for cell in thing.__closure__ or ():
            with suppress(ValueError):  # still empty
                cells.append(cell.cell_contents)
        more = [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
        return [*cells, *more, *vars(thing).values(), *_globals(thing)]
    if isinstance(thing, weakref.ref):
        return [thing()]
    if isinstance(thing, dict):
        return list(thing.values())
    for kind in (list, tuple, set, frozenset):
        if isinstance(thing, kind):
            return list(kind.__iter__(thing))
    if isinstance(thing, type | ModuleType | CodeType):
        return []
    slots, kinds = _of_class(type(thing))
    held = [*getattr(thing, "__dict__", {}).values(), *(getattr(thing, s, None) for s in slots)]
    for kind in kinds:  # its methods may name a module, and a class may hold one
        held += [getattr(v, "__func__", getattr(v, "fget", v)) for v in vars(kind).values()]
    return held


@lru_cache(maxsize=1000)
def _of_class(kind: type) -> tuple[list[str], list[type]]:
    """Returns the slots of a class, and those of its bases and itself that no library made."""
    slots: list[str] = []
    for one in kind.__mro__:
        names = vars(one).get("__slots__", ())
        slots += [s for s in ([names] if isinstance(names, str) else names) if s[:2] != "__"]
    return slots, [one for one in kind.__mro__ if not _of_library(one.__module__)]


def _of_library(name: str) -> bool:
    return name.split(".")[0] in _LIBRARIES


def _globals(function: FunctionType) -> list:
    """Returns the globals that the code of a function names; none for that of a library."""
    space = function.__globals__
    if _of_library(str(space.get("__name__"))):
        return []
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]
    found = [space[name] for name in names if name in space]
    modules = [m for m in found if isinstance(m, ModuleType) and not _of_library(m.__name__)]
    return found + [vars(m)[name] for m in modules for name in names if name in vars(m)]


def device_of(model: Any) -> torch.device | None:
    """Returns the device of the first parameter or buffer behind a callable; None without one.

    >>> device_of(nn.Linear(2, 2)), device_of(len)
    (device(type='cpu'), None)
    """
    held = (t for m in modules_of(model) for t in [*m._parameters.values(), *m._buffers.values()])
    return next((t.device for t in held if t is not None), None)


def answer(model: Callable[[Any], Any], x: Any) -> Any:
    """Returns model(x) without gradients.

    A model that differentiates by itself, as a force field its energy, may do so.

    >>> answer(lambda x: torch.autograd.grad(x.requires_grad_().square().sum(), x)[0],
    ...        torch.ones(2))
    tensor([2., 2.])
    """
    try:
        with torch.no_grad():
            return model(x)
    except RuntimeError as error:
        if not wants_gradients(error):
            raise
    with torch.enable_grad():
        return each_tensor(model(x), Tensor.detach, lambda t: t.requires_grad)


def wants_gradients(error: Exception) -> bool:
    """Returns whether an error says that a model differentiates where nothing can be.

    >>> wants_gradients(RuntimeError("planned"))
    False
    """
    return isinstance(error, RuntimeError) and "does not require grad" in str(error)


@contextmanager
def lent(
    model: Callable,
    evaluate: bool = True,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    noise: float = 0.0,
) -> Iterator[None]:
    """Context in which a model is in another state, and after which it is as it was found.

    Parameters, buffers, attributes that are tensors, numbers, words, lists or dicts, the mode of
    each submodule, the default dtype and all random states come back, also after an error; memory
    that was written to gets back its values. Modules are found as `modules_of` does. In eval mode,
    one that it did not find is put into eval mode when it is first called.

    Args:
        model: module or callable.
        evaluate: call `.eval()`; otherwise each submodule stays in the mode it is in.
        device: to compute on; None leaves the model where it is.
        dtype: of floating point parameters and buffers; None keeps them.
        noise: standard deviation of a number added to each parameter, relative to their spread.

    >>> model = nn.Dropout().train()
    >>> with lent(model):
    ...     model.training
    False
    >>> model.training
    True
    """
    kept = _Kept()
    modules, compiled = _search(model)
    default = torch.get_default_dtype()
    python, numpy = random.getstate(), np.random.get_state()
    hook = None
    with torch.random.fork_rng(enabled=True):
        try:
            kept.add(modules)
            if evaluate:
                kept.to_eval(modules)
                if not compiled:  # compiled code would trace the hook
                    hook = register_module_forward_pre_hook(kept.on_call)
            if device is not None:
                for root in _roots(modules):
                    root.to(device)
            if dtype is not None or noise:
                _change(modules, dtype, noise)
            if dtype is not None:
                torch.set_default_dtype(dtype)
            yield
        finally:
            if hook is not None:
                hook.remove()
            torch.set_default_dtype(default)
            kept.put_back()
            random.setstate(python)
            np.random.set_state(numpy)


def _set_mode(module: nn.Module, training: bool) -> None:
    with suppress(NotImplementedError, AttributeError, RuntimeError):  # exported or frozen: no mode
        module.train(training)


def _change(modules: list[nn.Module], dtype: torch.dtype | None, noise: float) -> None:
    """Casts parameters and buffers to a dtype, and moves the parameters by noise."""
    draw = torch.Generator().manual_seed(0)
    parameters = {id(p): p for m in modules for p in m._parameters.values() if p is not None}
    if any(map(is_lazy, parameters.values())):
        raise ValueError("model must know its sizes, got lazy parameters: run it once before")
    for p in parameters.values():
        data = p.data
        p.data = cast(data.clone(), dtype)
        if noise and p.is_floating_point():
            size = data.float().std().item() if data.numel() > 1 else 0.0
            step = torch.randn(data.shape, generator=draw)
            p.data += (noise * (size or 1.0) * step).to(p.data)
    for m in modules:
        for key, b in m._buffers.items():
            if b is not None and not is_lazy(b):
                m._buffers[key] = cast(b, dtype)
    if noise:  # layers that keep in eval mode what they computed from their parameters
        for root in _roots(modules):
            modes = [(m, m.training) for m in root.modules()]
            _set_mode(root, True)
            _set_modes(modes)


def _set_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    """Brings modules, outer ones first, back to their modes, by their own `.train()`."""
    for m, training in modes:
        if m.training != training:
            _set_mode(m, training)
    for m, training in modes:  # where `.train()` has a mind of its own
        m.training = training


def _rewound(source: Any) -> Callable[[], None] | None:
    """Returns what brings a source of chance that a module holds back to its state of now."""
    if isinstance(source, torch.Generator):
        return partial(source.set_state, source.get_state())
    if isinstance(source, random.Random):
        return partial(source.setstate, source.getstate())
    if isinstance(source, np.random.Generator):
        return partial(setattr, source.bit_generator, "state", source.bit_generator.state)
    if isinstance(source, np.random.RandomState):
        return partial(source.set_state, source.get_state())
    return None


class _Kept:
    """What modules were like: modes, parameters, and all tensors with a copy of their values."""

    def __init__(self):
        self.known: set[int] = set()
        self.modes: list[tuple[nn.Module, bool]] = []
        self.data: list[tuple[nn.Parameter, Tensor]] = []
        self.entries: list[tuple[dict, dict]] = []
        self.loose: list[tuple[dict, dict, set | None]] = []
        self.lists: list[tuple[list | dict, list | dict]] = []
        self.values: dict[int, tuple[Tensor, Tensor]] = {}
        self.random: list[Callable[[], None]] = []

    def add(self, modules: list[nn.Module]) -> None:
        for m in modules:
            if id(m) in self.known:
                continue
            self.known.add(id(m))
            if hasattr(m, "training"):  # a frozen one has no mode
                self.modes.append((m, m.training))
            held = (p for p in m._parameters.values() if p is not None and not is_lazy(p))
            self.data += [(p, p.data) for p in held]
            lazy = any(is_lazy(p) for p in m._parameters.values() if p is not None)
            kinds = Tensor if lazy else (Tensor, *_SIMPLE)  # a lazy one may find its sizes
            loose = {key: v for key, v in vars(m).items() if isinstance(v, kinds)}
            if not isinstance(m, torch.jit.ScriptModule):  # whose entries nobody can change
                self.entries += [(d, dict(d)) for d in (m._parameters, m._buffers)]
                self.loose.append((vars(m), loose, None if lazy else set(vars(m))))
                self.lists += [(v, copy(v)) for key, v in vars(m).items()
                               if type(v) in (list, dict) and key[0] != "_"]  # fmt: skip
            self.random += filter(None, map(_rewound, vars(m).values()))
            loose = {key: v for key, v in loose.items() if isinstance(v, Tensor)}
            for t in [*m._buffers.values(), *loose.values()]:
                if t is not None and not is_lazy(t):
                    self.values[id(t)] = (t, t.detach().clone())

    def to_eval(self, modules: list[nn.Module]) -> None:
        for root in _roots(modules):
            _set_mode(root, False)

    def on_call(self, module: nn.Module, _) -> None:
        if id(module) not in self.known:
            self.add(list(module.modules()))
            _set_mode(module, False)

    def put_back(self) -> None:
        for p, data in self.data:
            p.data = data
        _set_modes(self.modes)
        for rewind in self.random:
            rewind()
        for now, before in self.entries:
            now.clear()
            now.update(before)
        for now, before, names in self.loose:
            now.update(before)
            for key in set(now) - (names or set(now)):  # what a forward kept
                if isinstance(now[key], (Tensor, *_SIMPLE)):
                    del now[key]
        for now, before in self.lists:
            now.clear()
            now.extend(before) if isinstance(now, list) else now.update(before)
        with torch.no_grad():
            for t, values in self.values.values():
                if not torch.equal(t, values):
                    t.copy_(values)
