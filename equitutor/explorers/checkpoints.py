"""Small trained networks on disk: safetensors, with what is needed to build the network again."""

import json
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from equitutor.files import replacing

MAX_BYTES = 2_000_000  # a checkpoint that lives in the repository


def write_checkpoint(path: str | Path, state: dict[str, Tensor], name: str, **about: str) -> Path:
    """Returns `path` after writing the tensors and the words `about` them to it.

    Raises ValueError, which calls the network `name`, where it takes more than MAX_BYTES, and
    OSError where the folder is missing or full.
    """
    content = save({key: value.contiguous() for key, value in state.items()}, metadata=about)
    if len(content) > MAX_BYTES:
        raise ValueError(
            f"{name} takes {len(content)} bytes as a checkpoint; need at most {MAX_BYTES}"
        )
    with replacing(path) as file:
        file.write(content)
    return Path(path)


def read_checkpoint(
    path: str | Path, writer: str, build: Callable[[dict[str, Tensor], dict], nn.Module]
) -> nn.Module:
    """Returns what `build(state, about)` makes of a file of `write_checkpoint`, in eval mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or was not written by `writer`, or does not fit `build`.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return build(state, about).eval()
    except (SafetensorError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(f"path {path} is not a checkpoint of {writer}: {error!r}") from error
