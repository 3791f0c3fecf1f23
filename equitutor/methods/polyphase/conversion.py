"""Makes the answer of a trained convolutional network the same for every circular shift."""

import copy
from collections import OrderedDict

import torch
from torch import Tensor, nn

from equitutor.methods.polyphase.anchors import PolyOrder, as_pair, roll_batch, tie_rate
from equitutor.methods.polyphase.averaging import average_kernels


@torch.no_grad()
def make_shift_invariant(
    model: nn.Module, stride: int | tuple[int, int], example: Tensor, average: bool = True
) -> nn.Sequential:
    """Returns a copy of `model` whose logits do not change under circular shifts of its input.

    In front stands an anchor, `order`. Behind it stands the copy, `model`, with circular padding of
    the same amounts in place of zero padding: in Conv2d (numbers or "same"), ZeroPad2d,
    ConstantPad2d of 0, MaxPool2d and AvgPool2d. Then the result is measured on `example`.

    Args:
        model: network from images (B, C, H, W) to logits (B, K). It is not changed.
        stride: period of the anchor, p or (p_h, p_w): a multiple of the network's total stride.
        example: images (B, C, H, W), as the network sees them; `stride` must divide (H, W).
        average: replace each zero-padded convolution by its average over all shifts,
            mean_t T_{-t} conv(T_t x). That is a circular convolution, of all the nearest one: each
            tap of the kernel is multiplied by the share of places at which it lay inside the map.
            With the kernels as they are, small maps deep in a trained network get sums larger than
            any it was trained on. The shares belong to the size of `example`.

    Raises:
        ValueError: an image of `example` is tied, or `stride` does not divide; a kernel that has to
            be averaged is no parameter, or is used on maps of two sizes; the network still moves
            under shifts. Then the first module at fault is named: a convolution or pool that
            shrinks its map, a total stride that does not divide `stride`, other padding or padding
            by a function, interpolation across the border, a pool to more than 1 x 1, a linear
            layer over positions, a position code.

    Nothing is promised about accuracy, about shifts that lose pixels at a border, nor about images
    whose best two polyphase components tie (see `tie_rate`). Measured is this network, in eval
    mode, at this size, up to the square root of the precision of its dtype.

    Source: anchor and circular padding, Ding et al. 2023; averaged kernels, this book.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(),
    ...                     nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    >>> x = torch.rand(2, 1, 16, 16)
    >>> invariant = make_shift_invariant(net, 2, x)
    >>> torch.allclose(invariant(x), invariant(torch.roll(x, (3, 5), (2, 3))), atol=1e-6)
    True
    """
    stride = as_pair(stride, "stride")
    if tie_rate(example, stride):  # refuses, too, what is no batch of images that stride divides
        raise ValueError("example must have one best polyphase component an image, got a tie")
    network = nn.Sequential(
        OrderedDict(order=PolyOrder(stride), model=copy.deepcopy(model).eval())
    ).eval()
    if average:
        average_kernels(network.model, example[:1])
    twins: dict[nn.Module, nn.Module] = {}  # a module that stands in two places has one twin
    for name, module in list(network.named_modules(remove_duplicate=False))[1:]:
        parent, _, child = name.rpartition(".")
        if module not in twins:
            twins[module] = _circular(module)
        setattr(network.get_submodule(parent), child, twins[module])
    _check(network, example, stride)
    network.training = model.training
    for name, module in model.named_modules():
        network.model.get_submodule(name).training = module.training
    return network


def _circular(module: nn.Module) -> nn.Module:
    """Returns `module` with circular borders, changed in place where that is possible."""
    if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
        module.padding_mode = "circular"
    elif isinstance(module, nn.ConstantPad2d) and module.value == 0:
        return nn.CircularPad2d(module.padding)
    elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and module.padding not in (0, (0, 0)):
        p_h, p_w = as_pair(module.padding, "padding")
        module.padding = 0
        return nn.Sequential(nn.CircularPad2d((p_w, p_w, p_h, p_h)), module)
    return module


def _check(network: nn.Sequential, x: Tensor, stride: tuple[int, int]) -> None:
    """Raises ValueError unless `network` ignores shifts and its `model` commutes with `stride`."""
    probe = copy.deepcopy(network.model)
    generator = torch.Generator().manual_seed(0)
    for p in probe.parameters():
        if not p.any():  # a gate or a position code that starts at zero would hide a fault
            p.copy_(torch.randn(p.shape, generator=generator))
    seen: dict[str, Tensor] = {}  # in the order in which the modules finish
    for name, module in probe.named_modules():
        if not isinstance(module, nn.CircularPad2d):  # what it makes is no torus, and need not be
            module.register_forward_hook(lambda _m, _x, y, name=name: seen.update({name: y}))
    try:
        probe(torch.cat([x[:1]] + [x[:1].roll(stride[k], 2 + k) for k in (0, 1)]))
        y = network(x)
    except RuntimeError as error:
        raise ValueError(f"model must run on example with circular borders: {error}") from error
    if not isinstance(y, Tensor) or y.ndim != 2 or len(y) != len(x):
        raise ValueError(f"model must return logits ({len(x)}, K), got {getattr(y, 'shape', y)}")
    if not _commutes(seen[""], x.shape[2:], stride):
        name, fault = next((n, y) for n, y in seen.items() if not _commutes(y, x.shape[2:], stride))
        raise ValueError(
            f"model must commute with circular shifts by stride {stride}, but the "
            f"{type(probe.get_submodule(name)).__name__} {name!r} does not: it makes a map "
            f"{tuple(fault.shape[1:])} of an image {tuple(x.shape[1:])}"
        )
    for _ in range(4):
        dy, dx = (torch.randint(n, (len(x),), generator=generator) for n in x.shape[2:])
        shifted = network(roll_batch(x, dy.to(x.device), dx.to(x.device)))
        if not _close(shifted, y):
            raise ValueError("model must give the same logits under every shift")


def _commutes(y: Tensor, size: torch.Size, stride: tuple[int, int]) -> bool:
    """Whether `y`, for an image and its shifts down and right, is shifted alike or unchanged.

    It may be logits (3, K) or maps with channels first or last; what else there is passes.
    """
    if not isinstance(y, Tensor) or y.ndim not in (2, 4):
        return True
    for axis in (0, 1):
        same = [y[0]]
        for dim in (1 + axis, axis) if y.ndim == 4 else ():
            cells, rest = divmod(stride[axis] * y.shape[1 + dim], size[axis])
            same += [] if rest else [y[0].roll(cells, dim)]
        if not any(_close(y[1 + axis], z) for z in same):
            return False
    return True


def _close(y: Tensor, z: Tensor) -> bool:
    eps, spread = torch.finfo(z.dtype).eps, (z - z.mean()).abs().max()
    return bool((y - z).abs().max() <= eps**0.5 * spread + 64 * eps * z.abs().max())
