"""A hash of what a computation depends on: the values it holds and the code it runs."""

import dataclasses
import functools
import hashlib
import types
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["fingerprint"]


def fingerprint(*things: Any) -> str:
    """Returns 64 hexadecimal digits that change when a value or a function among `things` does.

    Tensors and arrays count with shape, dtype and every number; modules with their weights and
    the code of their `forward`; functions with their code, their default values, and what they
    hold from around them; objects with their attributes. Names of variables do not count.

    It serves to tell runs apart on one machine: the code is Python's bytecode, so another version
    of Python gives other digits.

    >>> squared, doubled = lambda x: x * x, lambda x: x + x
    >>> fingerprint(squared) == fingerprint(lambda y: y * y), fingerprint(squared) == \\
    ...     fingerprint(doubled)
    (True, False)
    """
    digest = hashlib.sha256()
    _feed(digest, things, set())
    return digest.hexdigest()


def _feed(digest, thing: Any, seen: set[int]) -> None:
    """Adds `thing` to the digest; `seen` holds the ids of what is being added, to end circles."""
    if thing is None or isinstance(thing, bool | int | float | complex | str | bytes):
        digest.update(f"{type(thing).__name__} {thing!r};".encode())
        return
    if isinstance(thing, Tensor):
        digest.update(f"tensor {thing.dtype} {tuple(thing.shape)};".encode())
        thing = thing.detach().cpu().contiguous().flatten()
        digest.update(thing.view(torch.uint8).numpy() if thing.numel() else b"")
        return
    if isinstance(thing, np.ndarray) and thing.dtype != object:
        digest.update(f"array {thing.dtype} {thing.shape};".encode())
        digest.update(np.ascontiguousarray(thing).view(np.uint8).data)
        return
    if id(thing) in seen:
        return
    seen = seen | {id(thing)}
    digest.update(f"{type(thing).__qualname__};".encode())
    for part in _parts(thing):
        _feed(digest, part, seen)


def _parts(thing: Any) -> list:
    """Returns what an object consists of, as far as it decides what the object does."""
    if isinstance(thing, types.FunctionType):
        held = [cell.cell_contents for cell in thing.__closure__ or () if _filled(cell)]
        return [thing.__code__, thing.__defaults__, thing.__kwdefaults__, held, _globals(thing)]
    if isinstance(thing, types.CodeType):
        return [thing.co_code, thing.co_names, list(thing.co_consts)]
    if isinstance(thing, types.MethodType):
        return [thing.__func__, thing.__self__]
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, nn.Module):
        forwards = [type(module).forward for module in thing.modules() if _own(type(module))]
        return [repr(thing), thing.state_dict(), forwards]
    if isinstance(thing, torch.Generator):
        return [thing.get_state()]
    if isinstance(thing, Mapping):
        return [part for item in thing.items() for part in item]
    if isinstance(thing, Set):
        return sorted(map(repr, thing))
    if isinstance(thing, Sequence):
        return list(thing)
    if isinstance(thing, type | types.ModuleType | types.BuiltinFunctionType):
        return [f"{getattr(thing, '__module__', '')}.{thing.__name__}"]
    if dataclasses.is_dataclass(thing):
        fields = [getattr(thing, field.name) for field in dataclasses.fields(thing)]
        return [type(thing).__module__, fields, _call(thing)]
    return [type(thing).__module__, getattr(thing, "__dict__", None) or repr(thing), _call(thing)]


def _call(thing: Any):
    """Returns the `__call__` of an object's class, where it is written in Python."""
    method = vars(type(thing)).get("__call__")
    return method if isinstance(method, types.FunctionType) else None


def _globals(function: types.FunctionType) -> list:
    """Returns the values and functions of its own module that a function names."""
    found = [function.__globals__.get(name) for name in function.__code__.co_names]
    return [v for v in found if isinstance(v, int | float | str | tuple | Tensor) or _near(v)]


def _near(value: Any) -> bool:
    return isinstance(value, types.FunctionType) and _own(value)


def _own(thing: Any) -> bool:
    """Returns whether a class or function is not PyTorch's."""
    return not (thing.__module__ or "").startswith("torch")


def _filled(cell) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True
