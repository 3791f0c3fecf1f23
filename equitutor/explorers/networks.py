"""Small trained networks on disk and in a page: checkpoints, and weights for `js/nn.js`."""

import json
from pathlib import Path

from torch import Tensor

from equitutor.explorers.checkpoints import read_checkpoint, write_checkpoint
from equitutor.methods.polyphase import PolyViT


def save_network(model: PolyViT, path: str | Path, **config) -> Path:
    """Returns the path of a safetensors file with the weights of `model` and how to rebuild it.

    Args:
        model: a PolyViT, on any device.
        path: file to write, at most 2 MB.
        config: the keyword arguments that `model` was made with, `size` among them.

    Raises:
        ValueError: `config` does not make a network with these weights, or the file is too big.

    >>> import torch
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = save_network(PolyViT(size=8), Path(folder.name, "net.safetensors"), size=8)
    >>> load_network(path)(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    >>> folder.cleanup()
    """
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    try:
        PolyViT(**config).load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"config {config!r} does not rebuild the model: {error}") from error
    return write_checkpoint(path, state, "model", config=json.dumps(config))


def load_network(path: str | Path) -> PolyViT:
    """Returns the PolyViT that `save_network` wrote to `path`, on the CPU and in eval mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or was not written by `save_network`.

    >>> load_network("no-such-file.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: ...
    """

    def build(state: dict[str, Tensor], about: dict) -> PolyViT:
        model = PolyViT(**json.loads(about["config"]))
        model.load_state_dict(state)
        return model

    return read_checkpoint(path, "save_network", build)


def page_network(model: PolyViT, size: tuple[int, int], name: str = "model") -> dict:
    """Returns what `vitForward` in `js/nn.js` needs of a network: {"config", "weights"}.

    Args:
        model: a PolyViT with mean pooling and an unfiltered score.
        size: height and width of its images in pixels.
        name: what errors call the network.

    Raises:
        TypeError: `model` is not a PolyViT.
        ValueError: it uses a part that the page cannot compute.

    >>> page_network(PolyViT(8, poly=False), (8, 8))["config"]["position"]
    'absolute'
    """
    if not isinstance(model, PolyViT):
        raise TypeError(f"{name} must be a PolyViT, got {type(model).__name__}")
    order = model.embed.order
    if model.cls is not None:
        raise ValueError(f"{name} pools by a class token; the page needs pool='mean'")
    if order is not None and order.filtered:
        raise ValueError(f"{name} has a filtered score; the page needs filtered=False")
    state = model.state_dict()
    if "position.code" in state:
        position = "absolute"
    else:
        conv = getattr(model.position, "conv", None)
        position = "none" if conv is None else conv.padding_mode
    config = {
        "size": list(size),
        "patch": list(model.embed.patch),
        "channels": model.embed.project.in_channels,
        "depth": len(model.blocks),
        "heads": model.blocks[0].attention.heads if len(model.blocks) else 1,
        "position": position,
        "anchored": order is not None,
        "power": order.power if order else 2,
    }
    weights = {key: value.detach().float().cpu().numpy() for key, value in state.items()}
    return {"config": config, "weights": weights}
