"""Small diffusion networks on disk and in a page: checkpoints, and weights for `js/unet.js`."""

import base64
import copy
import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from equitutor.explorers.checkpoints import read_checkpoint, write_checkpoint
from equitutor.methods.alias_free import AliasFreeDown, AliasFreeUp, FilteredAct
from equitutor.methods.diffusion import UNet

__all__ = ["load_denoiser", "page_denoiser", "rounded", "save_denoiser"]


def rounded(model: UNet) -> UNet:
    """Returns a copy with plain weights, rounded to half precision, in eval mode on the CPU.

    Kernels made by a parametrization, such as radial ones, become ordinary weights.

    Raises TypeError where `model` is not a UNet.

    >>> net = rounded(UNet(width=2, time_dim=4))
    >>> all(torch.equal(p, p.half().float()) for p in net.parameters())
    True
    """
    if not isinstance(model, UNet):
        raise TypeError(f"model must be a UNet, got {type(model).__name__}")
    model = copy.deepcopy(model).cpu().float().eval()
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d) and parametrize.is_parametrized(module):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, _plain(module))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    return model.requires_grad_(False)


def _plain(layer: nn.Conv2d) -> nn.Conv2d:
    """Returns an ordinary convolution with the weights that a parametrized one uses."""
    plain = nn.Conv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
        layer.dilation, layer.groups, layer.bias is not None, layer.padding_mode,
    )  # fmt: skip
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
        if layer.bias is not None:
            plain.bias.copy_(layer.bias)
    return plain.eval()


def save_denoiser(model: UNet, path: str | Path, **config) -> Path:
    """Returns the path of a safetensors file with the weights of `model`, in half precision.

    Args:
        model: a UNet; radial kernels are stored as what they have become.
        path: file to write, at most 2 MB.
        config: the keyword arguments that `model` was made with.

    Raises:
        TypeError: `model` is not a UNet.
        ValueError: `config` does not make a network with these weights, or the file is too big.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name, "net.safetensors")
    >>> load_denoiser(save_denoiser(UNet(width=2), path, width=2))(
    ...     torch.zeros(1, 1, 8, 8), torch.tensor([0])).shape
    torch.Size([1, 1, 8, 8])
    >>> folder.cleanup()
    """
    state = rounded(model).state_dict()
    try:
        UNet(**config).load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"config {config!r} does not rebuild the model: {error}") from error
    halves = {name: value.half() for name, value in state.items()}
    return write_checkpoint(path, halves, "model", config=json.dumps(config))


def load_denoiser(path: str | Path) -> UNet:
    """Returns the UNet that `save_denoiser` wrote to `path`, on the CPU and in eval mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or was not written by `save_denoiser`.

    >>> load_denoiser("no-such-file.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: ...
    """

    def build(state: dict[str, Tensor], about: dict) -> UNet:
        model = UNet(**json.loads(about["config"]))
        model.load_state_dict({name: value.float() for name, value in state.items()})
        return model.requires_grad_(False)

    return read_checkpoint(path, "save_denoiser", build)


def page_denoiser(model: UNet, side: int) -> dict:
    """Returns what `unetForward` in `js/unet.js` needs of a network: {"config", "weights"}.

    The weights are those of `rounded(model)`, as base64 of 16-bit numbers.

    Args:
        model: a UNet of one channel without attention, with zero or circular padding, plain or
            doubled activations, and any resampler but the paper's kernel.
        side: of its images in pixels.

    Raises:
        TypeError: `model` is not a UNet.
        ValueError: it uses a part that the page can't compute.

    >>> page_denoiser(UNet(width=2), 8)["config"]["levels"]
    2
    """
    plain = rounded(model)
    if plain.channels != 1 or any(isinstance(m, nn.MultiheadAttention) for m in plain.modules()):
        raise ValueError("model must have one channel and no attention for the page")
    padding = plain.enter.first.padding_mode
    if padding not in ("zeros", "circular"):
        raise ValueError(f"model must pad with zeros or around, got {padding!r}")
    if type(side) is not int or side < 1 or side % 2**plain.levels:
        raise ValueError(f"side must be a multiple of {2**plain.levels}, got {side!r}")
    sizes = [side // 2**k for k in range(plain.levels + 1)]
    act = {}
    layer = plain.enter.act
    if not isinstance(layer, nn.GELU):
        if not isinstance(layer, FilteredAct) or layer.up.factor != 2:
            raise ValueError("model must have plain activations, or filtered ones of factor 2")
        act = {n: {"up": _terms(layer.up, n), "down": _terms(layer.down, 2 * n)} for n in sizes}
    pool = isinstance(plain.down, nn.MaxPool2d)
    config = {
        "side": side,
        "levels": plain.levels,
        "time_dim": plain.time_dim,
        "circular": padding == "circular",
        "down": {} if pool else {str(n): _terms(plain.down, n) for n in sizes[:-1]},
        "up": {str(n): _terms(plain.up, n) for n in sizes[1:]},
        "act": {str(n): value for n, value in act.items()},
    }
    weights = {}
    for name, value in plain.state_dict().items():
        numbers = value.numpy().astype("<f2")
        weights[name] = base64.b64encode(numbers.tobytes()).decode("ascii")
    return {"config": config, "weights": weights}


def _terms(module: nn.Module, n: int) -> list[dict]:
    """Returns the matrices of a resampler for maps of side n: a sum over left x right."""
    if isinstance(module, AliasFreeUp | AliasFreeDown):
        matrices = module.matrices(n)
        weights = torch.ones(1) if module.terms is None else module.terms[1]
        pairs = [(w * a, a.mT) for w, a in zip(weights, matrices, strict=True)]
    elif isinstance(module, nn.AvgPool2d | nn.Upsample):
        # These keep constants, so a single row of ones shows the matrix of the other axis.
        rows = torch.eye(n).view(n, 1, n, 1).expand(-1, -1, -1, n)
        matrix = module(rows)[:, 0, :, 0].mT
        pairs = [(matrix, matrix.mT)]
    else:
        raise ValueError(f"the page can't resample with {type(module).__name__}")
    return [
        {"left": left.contiguous().numpy(), "right": right.contiguous().numpy()}
        for left, right in pairs
    ]
