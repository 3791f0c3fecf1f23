"""Batches of anything: tensors, arrays, lists, and tuples, dicts, dataclasses and objects of these.

Whatever the type of a container, what comes back has the same. Parts that are no batches (None,
numbers, names, tensors without axes) belong to all samples and are handed on as they are.
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equitutor.runtime import widest


def count(data: Any, name: str) -> int:
    """Returns the number of samples in `data`: the common length of its parts.

    Raises ValueError, naming the argument, for an empty batch or parts of unequal length.

    >>> count((torch.zeros(3, 2), ["a", "b", "c"], None), "x")
    3
    """
    parts = _parts(data)
    if parts is not None:
        sizes = {count(part, name) for part in parts if not _shared(part)}
        if len(sizes) > 1:
            raise ValueError(f"{name} must have parts of equal length, got {sorted(sizes)}")
        if sizes:
            return sizes.pop()
    if isinstance(data, Tensor) and data.is_nested:
        check_plain(data, name)
    stream = isinstance(data, torch.utils.data.Dataset | torch.utils.data.DataLoader)
    if _shared(data) or parts is not None or stream or not hasattr(data, "__len__"):
        way = ": hand over its tensors" if stream else ""
        raise ValueError(f"{name} must be a batch of samples, got {type(data).__name__}{way}")
    if len(data) == 0:
        raise ValueError(f"{name} must hold at least one sample, got none")
    return len(data)


def take(data: Any, start: int, stop: int) -> Any:
    """Returns samples `start` ... `stop` - 1 of a batch, as a batch of the same structure.

    Raises ValueError for a tensor that cannot be cut, as a sparse or nested one.

    >>> take({"a": [1, 2, 3], "unit": "cm"}, 1, 3)
    {'a': [2, 3], 'unit': 'cm'}
    """

    def cut(part):
        if _shared(part):
            return part
        check_plain(part, "a batch")
        return part[start:stop]

    return _map(cut, data)


def check_plain(part: Any, name: str) -> None:
    """Raises ValueError for a tensor that PyTorch keeps in a way of its own, with a way out.

    >>> check_plain(torch.eye(2).to_sparse(), "x")
    Traceback (most recent call last):
    ValueError: x must be a dense tensor, got a sparse one (torch.sparse_coo): use x.to_dense()
    """
    if not isinstance(part, Tensor):
        return
    if part.is_nested:
        raise ValueError(f"{name} must have samples of one size, got a nested tensor: pad it")
    if part.layout != torch.strided:
        raise ValueError(f"{name} must be a dense tensor, got a sparse one ({part.layout}): use "
                         "x.to_dense()")  # fmt: skip


def join(batches: list, axis: int = 0) -> Any:
    """Returns the batches behind one another, as one batch.

    Args:
        batches: batches of one structure.
        axis: 0, or 1 for what `stack` made, (G, N, ...): the samples behind one another.

    Raises ValueError where a part that belongs to all samples differs between the batches.

    >>> join([(torch.zeros(1),), (torch.ones(2),)])
    (tensor([0., 1., 1.]),)
    """
    if len(batches) == 1:
        return batches[0]

    def of_lists(lists):
        chained = lambda parts: [sample for part in parts for sample in part]
        return [chained(row) for row in zip(*lists, strict=True)] if axis else chained(lists)

    return _merge(batches, partial(torch.cat, dim=axis), partial(np.concatenate, axis=axis),
                  of_lists)  # fmt: skip


def stack(batches: list) -> Any:
    """Returns batches of equal length with a new axis in front: (N, ...) each gives (G, N, ...).

    >>> stack([torch.zeros(2), torch.ones(2)]).shape
    torch.Size([2, 2])
    """
    return _merge(batches, torch.stack, np.stack, list)


def move(data: Any, device: torch.device | str | None) -> Any:
    """Returns the batch with its tensors on `device`; None leaves them where they are.

    >>> move([torch.zeros(1), "text"], "cpu")
    [tensor([0.]), 'text']
    """
    if device is None:
        return data

    def there(part):
        if isinstance(part, list):
            return [move(sample, device) for sample in part]
        return part.to(device, non_blocking=True) if isinstance(part, Tensor) else part

    return _map(there, data)


def all_tensors(data: Any) -> list[Tensor]:
    """Returns the tensors in nested containers and lists, in order.

    >>> len(all_tensors((torch.zeros(2), {"a": [torch.ones(1), 3]}, torch.arange(4))))
    3
    """
    if isinstance(data, Tensor):
        return [data]
    parts = data if isinstance(data, list) else _parts(data)
    return [t for part in parts or () for t in all_tensors(part)]


def tensors(data: Any) -> list[Tensor]:
    """Returns the floating point tensors with at least one axis and one entry, in order.

    Only those that PyTorch computes with: none that is sparse, nested, or of 8 bits.

    >>> len(tensors((torch.zeros(2), {"a": [torch.ones(1), 3]}, torch.arange(4))))
    2
    """
    return list(filter(is_feature, all_tensors(data)))


def is_feature(t: Tensor) -> bool:
    """Returns whether a tensor is one of those that `tensors` finds.

    >>> is_feature(torch.zeros(1)), is_feature(torch.zeros(())), is_feature(torch.arange(3))
    (True, False, False)
    """
    plain = t.is_floating_point() and t.dtype.itemsize > 1 and not t.is_nested
    return plain and t.layout == torch.strided and t.ndim > 0 and t.numel() > 0


def numbers(data: Any) -> list[Tensor]:
    """Returns all tensors of an output with an axis, as real numbers of a wide enough dtype.

    Complex ones get an axis of real and imaginary parts; whole numbers, truth values and numbers of
    8 bits become float64 (float32 where the device has nothing wider).

    >>> [t.dtype for t in numbers((torch.zeros(2), torch.arange(2), torch.ones(2) + 1j))]
    [torch.float32, torch.float64, torch.float32]
    """

    def real(t: Tensor) -> Tensor:
        t = torch.view_as_real(t.resolve_conj()) if t.is_complex() else t
        return t if t.is_floating_point() and t.dtype.itemsize > 1 else t.to(widest(t.device))

    return [real(t) for t in all_tensors(data) if t.ndim and t.numel()]


def own(data: Any, kinds: type | tuple = (Tensor, np.ndarray)) -> Any:
    """Returns the data with a copy of each tensor and array, or of those of some kind.

    A model may write its next answer into the memory of the last one, as CUDA graphs do.

    >>> a = torch.zeros(1)
    >>> own([a])[0] is a
    False
    """

    def copied(part):
        if isinstance(part, list):
            return [own(sample, kinds) for sample in part]
        if not isinstance(part, kinds):
            return part
        return part.clone() if isinstance(part, Tensor) else part.copy()

    return _map(copied, data)


def parts_of(y: Any, n: int) -> Any:
    """Returns an output for n inputs, a tuple in place of a list of tensors with n rows each.

    A list is a batch, one entry a sample, but some models return several outputs in one.

    >>> parts_of([torch.zeros(2), torch.ones(2)], 2)
    (tensor([0., 0.]), tensor([1., 1.]))
    """
    several = isinstance(y, list) and y and all(isinstance(t, Tensor) and t.ndim for t in y)
    return tuple(y) if several and {len(t) for t in y} == {n} else y


def each_tensor(
    data: Any,
    change: Callable[[Tensor], Tensor],
    which: Callable[[Tensor], bool] = Tensor.is_floating_point,
) -> Any:
    """Returns the data with each floating point tensor changed, or each of those that are meant.

    >>> each_tensor((torch.zeros(1), [3, torch.zeros(1)]), torch.exp)
    (tensor([1.]), [3, tensor([1.])])
    """

    def changed(part):
        if isinstance(part, list):
            return [each_tensor(sample, change, which) for sample in part]
        return change(part) if isinstance(part, Tensor) and which(part) else part

    return _map(changed, data)


def apart(data: Any, other: Any) -> Any:
    """Returns the data with a copy of each tensor that shares its memory with one of `other`.

    >>> x = torch.zeros(2)
    >>> apart((x[:1], torch.ones(1)), x)[0].data_ptr() == x.data_ptr()
    False
    """

    def memory(tensor: Tensor) -> int | None:
        try:
            return tensor.untyped_storage().data_ptr()
        except RuntimeError:  # a sparse tensor, or one that wraps others: copied in any case
            return None

    taken = {None, *(memory(t) for t in all_tensors(other))}
    return each_tensor(data, Tensor.clone, lambda t: memory(t) in taken)


def as_tensors(data: Any) -> Any:
    """Returns the data with a tensor for each array, of NumPy or of a library such as JAX.

    >>> as_tensors({"a": np.ones(1), "b": "name"})
    {'a': tensor([1.], dtype=torch.float64), 'b': 'name'}
    """

    def made(part):
        if isinstance(part, list):
            return [as_tensors(sample) for sample in part]
        if isinstance(part, Tensor | np.generic) or not hasattr(part, "__array__"):
            return part
        array = np.asarray(part)
        return torch.tensor(array) if array.dtype.kind in "biufc" else part

    return _map(made, data)


def cast(data: Any, dtype: torch.dtype | None) -> Any:
    """Returns the data with its floating point tensors in another dtype; None changes nothing.

    >>> cast((torch.zeros(1), 3), torch.float64)
    (tensor([0.], dtype=torch.float64), 3)
    """
    return data if dtype is None else each_tensor(data, lambda t: t.to(dtype))


def _parts(data: Any) -> list | None:
    """Returns what a container holds, or None for anything that is none (a list is a batch)."""
    if isinstance(data, Mapping):
        return list(data.values())
    if isinstance(data, tuple):
        return list(data)
    names = _names(data)
    return [getattr(data, name) for name in names] if names else None


def _names(data: Any) -> list[str]:
    """Returns the fields of a dataclass, or the tensors that another object wraps, by name."""
    if isinstance(data, type | Tensor):
        return []
    if is_dataclass(data):
        return [f.name for f in fields(data)]
    if hasattr(data, "__len__"):
        return []
    return [name for name, v in getattr(data, "__dict__", {}).items() if isinstance(v, Tensor)]


def _rebuild(data: Any, parts: list) -> Any:
    """Returns a container of the type of `data` that holds other parts."""
    if isinstance(data, tuple):
        make = getattr(type(data), "_make", type(data))  # a NamedTuple takes its fields one by one
        return make(parts)
    new = copy(data)  # no __init__: it could refuse, or compute the parts anew
    if isinstance(data, Mapping):
        for key, part in zip(data, parts, strict=True):
            new[key] = part
    else:
        for name, part in zip(_names(data), parts, strict=True):
            object.__setattr__(new, name, part)  # a frozen one, too: it is a copy
    return new


def _shared(part: Any) -> bool:
    """Returns whether something belongs to all samples, as None, a number or a name does."""
    if isinstance(part, Tensor | np.ndarray):
        return part.ndim == 0
    if part is None or isinstance(part, str | bytes | bool | int | float | complex | np.generic):
        return True
    parts = _parts(part)
    return parts is not None and all(map(_shared, parts))


def _map(function: Callable, data: Any) -> Any:
    parts = _parts(data)
    if parts is None:
        return function(data)
    return _rebuild(data, [_map(function, part) for part in parts])


def _merge(batches: list, of_tensors: Callable, of_arrays: Callable, of_lists: Callable) -> Any:
    first = batches[0]
    if _parts(first) is not None:
        columns = zip(*map(_parts, batches), strict=True)
        merged = [_merge(list(c), of_tensors, of_arrays, of_lists) for c in columns]
        return _rebuild(first, merged)
    if _shared(first):
        if not all(_same(first, other) for other in batches):
            raise ValueError(
                f"batches must agree on what is no batch itself, got {first!r} and another "
                f"{type(first).__name__}: give one for each sample"
            )
        return first
    if isinstance(first, Tensor):
        return of_tensors(batches)
    if hasattr(first, "__array__"):  # of NumPy, or of a library such as JAX
        return of_arrays([np.asarray(batch) for batch in batches])
    return of_lists(batches)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        both = isinstance(a, Tensor) and isinstance(b, Tensor)
        return a is b or (both and torch.equal(a, b))
    return a is b or bool(a == b) or (a != a and b != b)
