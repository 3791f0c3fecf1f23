"""Seed, device, profile and versions: the four things a run has to say about itself."""

import os
import platform
import random
import sys
from typing import Any, Literal

import numpy as np
import torch

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


def widest_float(device: torch.device | str) -> torch.dtype:
    """Returns float64, or float32 on a device that has no float64: Apple's MPS.

    >>> widest_float("cpu"), widest_float("mps")
    (torch.float64, torch.float32)
    """
    return torch.float32 if torch.device(device).type == "mps" else torch.float64


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


def live() -> bool:
    """Returns whether a reader with a running kernel is there to move widgets.

    False outside a notebook, and where EQUITUTOR_STATIC is set: the builder of the static pages
    sets it, because a widget that needs Python would be dead there.

    >>> live()
    False
    """
    if os.environ.get("EQUITUTOR_STATIC"):
        return False
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")
