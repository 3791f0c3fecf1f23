"""A hash of what a computation depends on: the values it holds and the code it runs.

>>> from equitutor.fingerprint import fingerprint
>>> fingerprint([1, 2]) == fingerprint([1, 2]), fingerprint(1) == fingerprint(2)
(True, False)
"""

import dataclasses
import functools
import hashlib
import inspect
import os
import sys
import types
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["fingerprint"]

Memo = dict[int, tuple[Any, bytes]]


def fingerprint(*things: Any) -> str:
    """Returns 64 hexadecimal digits that change when a value or a function among `things` does.

    Tensors and arrays count with shape, dtype and every number; modules with their weights, their
    settings and the code of their `forward`; functions with their code, their default values, and
    what they hold from around them; objects with their attributes and the methods in use. Names
    of variables do not count. What nobody can look into, such as a running generator, equals
    nothing, not even itself.

    It serves to tell runs apart on one machine: the code is Python's bytecode, so another version
    of Python gives other digits.

    >>> squared, doubled = lambda x: x * x, lambda x: x + x
    >>> fingerprint(squared) == fingerprint(lambda y: y * y), fingerprint(squared) == \\
    ...     fingerprint(doubled)
    (True, False)
    """
    return _digest(things, {}).hex()


def _digest(thing: Any, memo: Memo) -> bytes:
    """Returns the hash of one thing; `memo` holds those that are known, or begun: id -> hash."""
    if thing is None or isinstance(thing, bool | int | float | complex | str | bytes):
        return _hash(f"{type(thing).__name__} {thing!r}")
    if isinstance(thing, Tensor):
        dense = thing.detach().to_dense() if thing.layout != torch.strided else thing.detach()
        flat = dense.cpu().resolve_conj().resolve_neg().contiguous().flatten()
        numbers = flat.view(torch.uint8).numpy() if flat.numel() else b""
        return _hash(f"tensor {thing.dtype} {tuple(thing.shape)}", numbers)
    if isinstance(thing, np.ndarray) and not thing.dtype.hasobject:
        numbers = np.ascontiguousarray(thing).tobytes()
        return _hash(f"array {thing.dtype} {thing.shape}", numbers)
    if id(thing) in memo:
        return memo[id(thing)][1]
    memo[id(thing)] = thing, b"a circle"
    kind = f"{type(thing).__module__}.{type(thing).__qualname__}"
    if isinstance(thing, Mapping):
        pairs = [_digest(k, memo) + _digest(v, memo) for k, v in thing.items()]
        found = _hash(kind, *sorted(pairs))
    elif isinstance(thing, Set):
        found = _hash(kind, *sorted(_digest(part, memo) for part in thing))
    else:
        found = _hash(kind, *[_digest(part, memo) for part in _parts(thing)])
    memo[id(thing)] = thing, found  # the thing is kept, so that no other gets its id
    return found


def _hash(kind: str, *parts: Any) -> bytes:
    digest = hashlib.sha256(kind.encode("utf-8", "surrogatepass"))
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _parts(thing: Any) -> Sequence[Any]:
    """Returns what an object consists of, as far as it decides what the object does."""
    if isinstance(thing, types.FunctionType):
        held = [cell.cell_contents for cell in thing.__closure__ or () if _filled(cell)]
        return [thing.__code__, thing.__defaults__, thing.__kwdefaults__, held, _globals(thing)]
    if isinstance(thing, types.CodeType):
        shape = [thing.co_argcount, thing.co_posonlyargcount, thing.co_kwonlyargcount]
        jumps = thing.co_exceptiontable
        return [*shape, thing.co_flags, thing.co_code, jumps, thing.co_names, *thing.co_consts]
    if isinstance(thing, types.MethodType):
        return [thing.__func__, thing.__self__, _methods(thing.__self__, thing.__name__)]
    if isinstance(thing, types.BuiltinFunctionType):
        return [thing.__name__, thing.__self__]  # its module, or the object that it belongs to
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, torch.jit.ScriptModule):
        return [thing.code, dict(thing.named_parameters()), dict(thing.named_buffers())]
    if isinstance(thing, nn.Module):
        parts = [[_settings(part), _methods(part, "forward")] for part in thing.modules()]
        return [repr(thing), dict(thing.named_parameters()), dict(thing.named_buffers()), parts]
    if isinstance(thing, torch.Generator):
        return [thing.get_state()]
    if isinstance(thing, np.ndarray):  # of objects
        return [thing.shape, thing.tolist()]
    if isinstance(thing, type | types.ModuleType):
        return [getattr(thing, "__module__", ""), thing.__name__]
    if isinstance(thing, Sequence) and not isinstance(thing, range):
        return [part for part in thing]  # noqa: C416 - e3nn's irreps forbid `len`, so `list`
    if isinstance(thing, os.PathLike):
        return [os.fspath(thing)]
    if dataclasses.is_dataclass(thing):
        fields = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
        return [fields, _methods(thing, "__call__")]
    state = object.__getstate__(thing)  # attributes and slots
    if state is None and not hasattr(thing, "__dict__"):  # not written in Python
        state = repr(thing)
        state = os.urandom(16) if " at 0x" in state else state
    return [state, _methods(thing, "__call__")]


def _settings(module: nn.Module) -> dict[str, Any]:
    """Returns the attributes of a module that are neither weights nor PyTorch's own."""
    private = vars(nn.Module())  # `training` among them: it changes on the way
    return {name: value for name, value in vars(module).items() if name not in private}


def _methods(thing: Any, start: str) -> dict[str, types.FunctionType]:
    """Returns a method and those that it names, as far as they are not a library's."""
    cls = thing if isinstance(thing, type) else type(thing)
    found, waiting = {}, [start]
    while waiting:
        name = waiting.pop()
        method = inspect.getattr_static(cls, name, None)
        method = method.fget if isinstance(method, property) else method
        method = getattr(method, "__func__", method)
        if name not in found and isinstance(method, types.FunctionType) and _own(method):
            found[name] = method
            waiting += _names(method.__code__)
    return found


DATA = (bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset, Tensor,
        np.ndarray, nn.Module, functools.partial)  # fmt: skip


def _globals(function: types.FunctionType) -> list:
    """Returns the data and functions that a function names, of its module and of others."""
    names = _names(function.__code__)
    found = [function.__globals__.get(name) for name in names]
    for module in [m for m in found if isinstance(m, types.ModuleType)]:
        found += [vars(module).get(name) for name in names if name in vars(module)]
    return [
        value for value in found
        if isinstance(value, DATA) or (isinstance(value, types.FunctionType) and _own(value))
    ]  # fmt: skip


def _names(code: types.CodeType) -> list[str]:
    """Returns the globals and attributes that code names, also in functions inside of it."""
    inner = [name for c in code.co_consts if isinstance(c, types.CodeType) for name in _names(c)]
    return list(dict.fromkeys([*code.co_names, *inner]))


def _own(function: types.FunctionType) -> bool:
    """Returns whether a function is this package's or the user's, not that of a library."""
    top = (function.__module__ or "").split(".")[0]
    installed = {"site-packages", "dist-packages"} & {*Path(function.__code__.co_filename).parts}
    return top == "equitutor" or not (installed or top in sys.stdlib_module_names)


def _filled(cell) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True
