"""A device that is not the CPU, for machines that have none: its tensors refuse those of the CPU.

Numbers are computed on the CPU. What is checked is where tensors are said to be: an operation on
tensors of two devices fails, as it does on a GPU.
"""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

from equitutor import runtime

AWAY = torch.device("lazy")  # a name that PyTorch knows and no machine has
aten = torch.ops.aten
# These take indices from the CPU, on a GPU as well.
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default,
           aten._index_put_impl_.default}  # fmt: skip
COPIES = {aten._to_copy.default, aten.copy_.default, aten._copy_from.default}


class Away(Tensor):
    """A tensor that says it is on the device `AWAY`; its numbers are those of a CPU tensor."""

    @staticmethod
    def __new__(cls, real):
        return Tensor._make_wrapper_subclass(
            cls, real.size(), strides=real.stride(), storage_offset=real.storage_offset(),
            dtype=real.dtype, device=AWAY,
        )  # fmt: skip

    def __init__(self, real):
        self.real_one = real

    def __repr__(self):
        return f"Away({self.real_one!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return dispatch(func, types, args, kwargs or {})


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return dispatch(func, types, args, kwargs or {})


class _FromNumbers(TorchFunctionMode):
    """What becomes a tensor from numbers, lists of indices too, is no operation of its own."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and _is_away(kwargs.get("device")):
            return func(*args, **kwargs | {"device": "cpu"}).to(AWAY)
        if func is Tensor.new_tensor and isinstance(args[0], Away):
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype} | kwargs).to(AWAY)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], Away):
            x, index, *value = args
            parts = index if isinstance(index, tuple) else (index,)
            parts = tuple(torch.tensor(i) if isinstance(i, list) else i for i in parts)
            return func(x, parts, *value)
        return func(*args, **kwargs)


@contextmanager
def elsewhere():
    """Context in which the device `AWAY` is there, and is the one that `runtime.device` finds."""
    autocast = torch.autocast
    known = lambda kind, *args, **options: (
        nullcontext() if _is_away(kind) else autocast(kind, *args, **options)
    )
    with pytest.MonkeyPatch.context() as patch, _FromNumbers(), _Operations():
        patch.setattr(runtime, "device", lambda: AWAY)
        patch.setattr(torch, "autocast", known)  # which knows GPUs, and not this one
        yield AWAY


def _is_away(device):
    return device is not None and torch.device(device).type == AWAY.type


def dispatch(func, types, args, kwargs):
    """Returns the result of an operation, computed on the CPU, where its inputs say they are."""
    flat = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
    away = [t for t in flat if isinstance(t, Away)]
    wanted = kwargs.get("device")
    if wanted is not None:
        to_away = torch.device(wanted).type == AWAY.type
        kwargs = kwargs | {"device": torch.device("cpu") if to_away else wanted}
    else:
        to_away = bool(away)
    if func not in COPIES:
        here = [t for t in flat if not isinstance(t, Away) and t.ndim]
        if func in INDEXED:
            here = [] if isinstance(args[0], Away) else here
            if away and not isinstance(args[0], Away):
                raise RuntimeError(f"{func}: indices on {AWAY} for a tensor on the CPU")
        if away and here:
            raise RuntimeError(
                f"{func}: tensors on {AWAY} and on the CPU, {[t.shape for t in flat]}"
            )
        if kwargs.get("generator") is not None and to_away:
            raise RuntimeError(f"{func}: a generator of the CPU for a tensor on {AWAY}")
    real = lambda t: t.real_one if isinstance(t, Away) else t
    out = func(*tree_map(real, args), **tree_map(real, kwargs))
    if func in (aten._local_scalar_dense.default, aten.equal.default):
        return out
    if func is aten.copy_.default or func is aten._copy_from.default:
        return args[0]
    wrap = lambda t: Away(t) if isinstance(t, Tensor) and to_away else t
    wrapped = tree_map(wrap, out)
    if not away:
        return wrapped
    return return_and_correct_aliasing(func, args, kwargs, wrapped)
