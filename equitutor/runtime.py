"""Seed, device, precision, profile and versions: what a run has to say about itself.

Three functions decide for the whole package what a precision is good for. `working` is the dtype to
compute in: float32 or better. `widest` is float64, where the device has it. `tolerance` is the
error that counts as rounding.

>>> import torch
>>> from equitutor import runtime
>>> runtime.working(torch.bfloat16), runtime.widest("cpu")
(torch.float32, torch.float64)
"""

import os
import platform
import random
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

PROFILES = ("fast", "full")
_UNSET = object()


def seed(n: int = 0) -> torch.Generator:
    """Returns a generator seeded with `n`, after seeding Python, NumPy and PyTorch with it.

    Args:
        n: integer in 0 ... 2**32 - 1.

    Raises:
        ValueError: `n` lies outside this range.

    >>> a = torch.rand(2, generator=seed(3)); b = torch.rand(2)
    >>> torch.equal(a, b)
    True
    """
    if not isinstance(n, int) or isinstance(n, bool) or not 0 <= n < 2**32:
        raise ValueError(f"n must be an int in 0 ... 2**32 - 1, got {n!r}")
    random.seed(n)
    np.random.seed(n)
    torch.manual_seed(n)
    return torch.Generator().manual_seed(n)


def device() -> torch.device:
    """Returns the fastest device at hand: cuda, else mps, else cpu.

    >>> device().type in ("cuda", "mps", "cpu")
    True
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def widest(device: torch.device | str = "cpu") -> torch.dtype:
    """Returns float64, or float32 where the device has nothing wider, as with Apple's MPS.

    It asks the device each time: that takes microseconds, and no list of devices can go stale.

    >>> widest()
    torch.float64
    """
    try:
        torch.empty((), dtype=torch.float64, device=device)
    except Exception:  # each backend has an error of its own for it
        return torch.float32
    return torch.float64


def working(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype to compute in for floating point values stored as `dtype`: >= float32.

    >>> working(torch.float16), working(torch.float64)
    (torch.float32, torch.float64)
    """
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def coarsest(*values: Tensor | torch.dtype) -> torch.dtype:
    """Returns the least precise floating point dtype among tensors and dtypes.

    An autocast that is switched on counts, for float32 values on its device. Integers and truth
    values are exact and do not count; with nothing else the answer is float64.

    >>> coarsest(torch.zeros(1), torch.float16, torch.arange(3))
    torch.float16
    """
    found = [torch.float64]
    for value in values:
        dtype = value.dtype if isinstance(value, Tensor) else value
        if dtype.is_complex:
            dtype = dtype.to_real()
        if dtype.is_floating_point:
            found.append(dtype)
        if isinstance(value, Tensor) and dtype == torch.float32 and _autocast(value.device):
            found.append(torch.get_autocast_dtype(value.device.type))
    return max(found, key=lambda dtype: torch.finfo(dtype).eps)


def tolerance(dtype: torch.dtype) -> float:
    """Returns the error, relative to how much a result varies, that counts as rounding.

    eps^(2/3): 4e-11 in float64, 2e-5 in float32, 1e-2 in float16, 4e-2 in bfloat16. A long
    computation loses more digits than one step, and has more of them to lose in a wide dtype.

    >>> f"{tolerance(torch.float32):.0e}"
    '2e-05'
    """
    return torch.finfo(dtype).eps ** (2 / 3)


def rounding(dtype: torch.dtype) -> float:
    """Returns the error, relative to the size of a result, that rounding alone may make of it.

    eps^(5/6): some hundred steps of float64, a dozen of float32, two or three of float16. In
    contrast to `tolerance` it grows with an offset of the result, as rounding does.

    >>> f"{rounding(torch.float32):.0e}"
    '2e-06'
    """
    return torch.finfo(dtype).eps ** (5 / 6)


def uncast(device: torch.device) -> AbstractContextManager:
    """Returns a context in which autocast, where it is on, does not round what is computed.

    >>> with torch.autocast("cpu", torch.bfloat16), uncast(torch.device("cpu")):
    ...     (torch.rand(2, 2) @ torch.rand(2, 2)).dtype
    torch.float32
    """
    return torch.autocast(device.type, enabled=False) if _autocast(device) else nullcontext()


def _autocast(device: torch.device) -> bool:
    try:
        return torch.is_autocast_enabled(device.type)
    except RuntimeError:  # a device without autocast, as "meta"
        return False


def profile() -> Literal["fast", "full"]:
    """Returns "fast" or "full", from the environment variable EQUITUTOR_PROFILE (default "fast").

    Raises ValueError for any other value of the variable.

    >>> profile() in PROFILES
    True
    """
    value = os.environ.get("EQUITUTOR_PROFILE", "fast")
    if value not in PROFILES:
        raise ValueError(f"EQUITUTOR_PROFILE must be one of {PROFILES}, got {value!r}")
    return value


def pick(*, fast: Any, full: Any, cpu: Any = _UNSET) -> Any:
    """Returns `fast` or `full`, by the profile.

    Args:
        fast: value for a laptop in about 90 seconds.
        full: value for the recorded run.
        cpu: value for a full run on a machine without an accelerator; `full` where not given.

    >>> pick(fast=30, full=3000) in (30, 3000)
    True
    """
    if profile() == "fast":
        return fast
    return full if cpu is _UNSET or device().type != "cpu" else cpu


def device_name() -> str:
    """Returns the name of the device, as a results file and a badge give it.

    >>> isinstance(device_name(), str)
    True
    """
    if device().type == "cuda":
        return torch.cuda.get_device_name()
    cores = os.cpu_count()
    return f"{device().type} ({platform.machine()}, {cores} cores)"


def report() -> None:
    """Prints profile, device and versions, so that every bug report contains them.

    >>> report()  # doctest: +ELLIPSIS
    profile ... · device ... · torch ...
    """
    import equitutor

    parts = [
        f"profile {profile()}",
        f"device {device_name()}",
        f"torch {torch.__version__}",
        f"numpy {np.__version__}",
        f"equitutor {equitutor.__version__}",
        f"Python {platform.python_version()}",
    ]
    print(" · ".join(parts))
