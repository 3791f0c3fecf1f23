"""The circular convolution nearest to a zero-padded one: its average over all circular shifts.

Let Z be a zero-padded convolution on maps of height n and T_t the circular shift by t. The average

    A = mean_t T_{-t} Z T_t

commutes with shifts, and no circular convolution is nearer to Z (in the Frobenius norm of their
matrices). Its taps are those of Z, each times the share of the places at which it lay inside the
map: 1 - |offset| / n for a stride of 1, and the product of both axes for images.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@torch.no_grad()
def average_kernels(model: nn.Module, x: Tensor) -> None:
    """Multiplies each tap of the 2-D kernels of `model`, in place, by its share of places inside.

    Padding has to be made circular afterwards. `model` runs once; put it into eval mode first.

    Args:
        model: network with zero padding, in its convolutions or in front of them.
        x: images (B, C, H, W); the shares belong to their size.

    Raises:
        ValueError: one kernel serves maps of two sizes, or is no parameter of `model`.

    >>> conv = nn.Conv2d(1, 1, 3, padding=1)
    >>> _ = nn.init.ones_(conv.weight)
    >>> average_kernels(conv, torch.rand(1, 1, 4, 4))
    >>> conv.weight.data[0, 0] * 16
    tensor([[ 9., 12.,  9.],
            [12., 16., 12.],
            [ 9., 12.,  9.]])
    """
    with _Shares() as noted:
        model(x)
    own = set(model.parameters())
    for kernel, share in noted.shares.items():
        if (share < 1).any():
            if kernel not in own:
                raise ValueError("model must have its padded kernels as parameters, one is not")
            kernel.mul_(share.to(kernel))


class _Shares(TorchFunctionMode):
    """Notes the share of places at which each tap of a kernel lies inside the map, (k_h, k_w).

    It listens to functions, because one module may pad what another one convolves.
    """

    def __init__(self):
        super().__init__()
        self.shares: dict[Tensor, Tensor] = {}
        self.padded: dict[Tensor, tuple[Tensor, list[int]]] = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is F.pad:
            call = dict(zip(("input", "pad", "mode", "value"), args, strict=False), **kwargs or {})
            if call.get("mode", "constant") == "constant" and not call.get("value"):
                self.padded[out] = call["input"], [*call["pad"], 0, 0][:4]
        elif func is F.conv2d:
            names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
            call = dict(zip(names, args, strict=False), **kwargs or {})
            share = self._share(out, **call)
            if not torch.equal(share, self.shares.setdefault(call["weight"], share)):
                raise ValueError("model must use each kernel on maps of one size, one serves two")
        return out

    def _share(self, out, input, weight, stride=1, padding=0, dilation=1, **_):
        input, (left, _, top, _) = self.padded.get(input, (input, [0, 0, 0, 0]))
        inside = []
        for axis, first in ((0, top), (1, left)):
            step, gap = (v if isinstance(v, int) else v[axis] for v in (stride, dilation))
            size, taps, places = (t.shape[2 + axis] for t in (input, weight, out))
            if padding == "same":
                first += gap * (taps - 1) // 2
            elif padding != "valid":
                first += padding if isinstance(padding, int) else padding[axis]
            at = torch.arange(places)[:, None] * step + torch.arange(taps) * gap - first
            inside.append(((at >= 0) & (at < size)).double().mean(0))
        return inside[0][:, None] * inside[1]
