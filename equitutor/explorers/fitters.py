"""Small trained networks that fit bodies: on disk in half precision, and as numbers for a page."""

import base64
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from equitutor.explorers.checkpoints import read_checkpoint, write_checkpoint
from equitutor.methods.articulated import ArtEq, Body, PointNet
from equitutor.methods.icosahedral import RotationTables

KINDS = {"ArtEq": ArtEq, "PointNet": PointNet}


def save_fitter(model: nn.Module, path: str | Path, **config) -> Path:
    """Returns the path of a safetensors file with the weights of `model` in half precision.

    Args:
        model: an ArtEq or a PointNet, on any device.
        path: file to write, at most 2 MB.
        config: the keyword arguments that `model` was made with, as JSON can hold them.

    Raises:
        ValueError: `model` is of another kind, `config` does not rebuild it, or the file is too
            big.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> net = PointNet(6, 3, width=8)
    >>> path = save_fitter(net, Path(folder.name, "a"), n_parts=6, n_shape=3, width=8)
    >>> load_fitter(path)(torch.rand(2, 30, 3)).logits.shape
    torch.Size([2, 30, 6])
    >>> folder.cleanup()
    """
    kind = type(model).__name__
    if kind not in KINDS:
        raise ValueError(f"model is a {kind}; need one of {', '.join(KINDS)}")
    state = {k: v.detach().cpu().half().contiguous() for k, v in model.state_dict().items()}
    try:
        KINDS[kind](**config).load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"config {config!r} does not rebuild the model: {error}") from error
    return write_checkpoint(path, state, "model", kind=kind, config=json.dumps(config))


def load_fitter(path: str | Path) -> nn.Module:
    """Returns the network that `save_fitter` wrote to `path`, in float32 and eval mode.

    Its weights are the saved halves, exactly, so the page and PyTorch compute with the same.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or was not written by `save_fitter`.
    """

    def build(state: dict[str, Tensor], about: dict) -> nn.Module:
        model = KINDS[about["kind"]](**json.loads(about["config"]))
        model.load_state_dict(state)
        return model

    return read_checkpoint(path, "save_fitter", build)


def halves(value) -> str:
    """Returns an array as base64 of little-endian float16.

    >>> halves(np.ones(1))
    'ADw='
    """
    return base64.b64encode(np.ascontiguousarray(value, dtype="<f2").tobytes()).decode("ascii")


def shorts(value) -> str:
    """Returns an array of integers in 0 ... 65535 as base64 of little-endian uint16.

    Raises ValueError for a number out of range.

    >>> shorts(np.array([1]))
    'AQA='
    """
    value = np.asarray(value)
    if value.size and not 0 <= value.min() <= value.max() < 65536:
        raise ValueError(f"value runs from {value.min()} to {value.max()}; need 0 to 65535")
    return base64.b64encode(np.ascontiguousarray(value, dtype="<u2").tobytes()).decode("ascii")


def page_fitter(model: nn.Module, parents: tuple[int, ...], name: str = "model") -> dict:
    """Returns what `articulated-nn.js` needs of a network: {"config", "weights"}.

    Args:
        model: an ArtEq without parent conditioning and with channel norms, or a PointNet.
        parents: of the body's parts.
        name: what errors call the network.

    Raises:
        TypeError: `model` is of another kind.
        ValueError: it uses a part that the page cannot compute.

    >>> page_fitter(PointNet(2, 1, width=8), (-1, 0))["config"]
    {'parents': [-1, 0]}
    """
    if not isinstance(model, ArtEq | PointNet):
        raise TypeError(f"{name} must be an ArtEq or a PointNet, got {type(model).__name__}")
    config: dict = {"parents": list(parents)}
    if isinstance(model, ArtEq):
        needed = {
            "parent_conditioning=False": not model.parent_conditioning,
            "norm='channel'": isinstance(model.stage1.norm1, nn.LayerNorm),
            "invariants=True": model.invariants,
            "vectors=True": model.vectors,
        }
        for wish, holds in needed.items():
            if not holds:
                raise ValueError(f"{name} is made otherwise; the page needs {wish}")
        config |= {
            "samples": list(model.samples),
            "neighbors": list(model.neighbors),
            "radii": [model.stage1.inter.radius, model.stage2.inter.radius],
            "heads": model.attention.heads,
            "liftPoints": model.lift_points,
        }
    state = model.state_dict()
    return {"config": config, "weights": {key: halves(v.cpu().numpy()) for key, v in state.items()}}


def page_group(tables: RotationTables) -> dict:
    """Returns the tables of a group as `articulated-nn.js` reads them.

    >>> from equitutor.methods.icosahedral import rotation_tables
    >>> len(page_group(rotation_tables())["relative"])
    3600
    """
    return {
        "elements": tables.elements.numpy().reshape(-1),
        "kernel": tables.kernel.numpy().reshape(-1),
        "where": tables.turned.argsort(1).flatten().tolist(),
        "sources": tables.mul[:, tables.neighbors].flatten().tolist(),
        "relative": tables.relative.flatten().tolist(),
    }


def page_body(body: Body, corners: torch.Tensor, mix: torch.Tensor, owners: int = 4) -> dict:
    """Returns a body of mean shape, and points on it, as `articulated-body.js` reads them.

    Args:
        body: the body.
        corners: vertices of the face that each point lies on, (N, 3), int64.
        mix: barycentric coordinates there, (N, 3).
        owners: parts that a vertex may follow, at most; the strongest are kept.

    >>> from equitutor.methods.articulated import toy_body
    >>> body = toy_body()
    >>> page_body(body, body.faces[:5], torch.ones(5, 3) / 3, owners=1)["parents"]
    [-1, 0, 0, 0, 0, 0]
    """
    share, part = body.weights.topk(owners, dim=1)
    share = share / share.sum(1, keepdim=True)
    reach = (body.template - body.joints[0]).norm(dim=1).max()
    return {
        "parents": list(body.parents),
        "vertices": body.template.numpy().reshape(-1),
        "joints": body.joints.numpy().reshape(-1),
        "faces": shorts(body.faces.numpy().reshape(-1)),
        "owners": shorts(part.numpy().reshape(-1)),
        "shares": share.numpy().reshape(-1),
        "corners": shorts(corners.numpy().reshape(-1)),
        "mix": mix.numpy().reshape(-1),
        "reach": float(reach),
    }
