"""What usually helps, by the kind of layer at which equivariance was lost."""

from __future__ import annotations

from torch import nn

CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
POOL = (nn.MaxPool2d, nn.AvgPool2d, nn.MaxPool3d, nn.AvgPool3d, nn.LPPool2d, nn.FractionalMaxPool2d)


ACTIVATIONS = tuple(
    kind
    for kind in vars(nn.modules.activation).values()
    if isinstance(kind, type) and issubclass(kind, nn.Module)
    if kind not in (nn.Module, nn.MultiheadAttention)
)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


def _pair(value) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def advice(event, moves, random: bool) -> str:
    """Returns a remedy for the layer of an `Event`, or "" where none is known.

    Args:
        event: the event at which nothing fits any more.
        moves: what the orbit does to the input.
        random: whether the finding is that two runs differ.

    >>> from types import SimpleNamespace as N
    >>> event = N(module=nn.MaxPool2d(2), leaves=True)
    >>> advice(event, N(kind="image", rolls=((0, 1),), turns=(0,)), False)
    'a stride keeps every k-th pixel by its place: use no stride, anchor the grid, or filter first'
    """
    module = event.module
    if random:
        if module.training:  # dropout, a norm that counts, or something of one's own
            return "call model.eval() before you test; what differs then needs a seed"
        return "seed it, take the noise out, or forget what was kept from the call before"
    if not event.leaves:
        return "look at what is added, concatenated or cut by place there: positions, coordinates"
    turning = moves.kind == "image" and any(moves.turns)
    if "conv" in type(module).__name__.lower() and turning:
        return "turn the filter for each orientation; check its center, the stride and the size"
    if isinstance(module, (*CONV, *POOL)) and max(_pair(module.stride or 1)) > 1:
        return "a stride keeps every k-th pixel by its place: use no stride, anchor the grid, or filter first"  # noqa: E501
    if (
        isinstance(module, CONV)
        and any(_pair(module.padding))
        and module.padding_mode != "circular"
    ):
        return f"padding_mode={module.padding_mode!r} shows the border: use 'circular'"
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1:
        return "its weight has an entry for each pixel: normalize channels, or drop the weight"
    if isinstance(module, nn.Upsample):
        return "resampling sees the border and the grid: whole factors with 'nearest', or a filter"
    if moves.kind == "points" and isinstance(module, ACTIVATIONS):
        return "act on scalars and lengths only; turn vectors by a gate or a norm"
    if moves.kind == "points" and isinstance(module, NORMS):
        return "normalize scalars, and vectors by their lengths alone"
    if moves.kind == "points" and isinstance(module, (nn.Linear, *CONV)):
        return (
            "one weight for each irrep, so that components of a vector are not mixed (as "
            "e3nn.o3.Linear), or hand it lengths, distances and dot products only"
        )
    if isinstance(module, nn.Linear):
        return "it has a weight for each place: pool over the orbit first"
    return ""


def cause(event) -> str:
    """Returns what the layer of an `Event` does to features that turn or move, in words.

    >>> from types import SimpleNamespace as N
    >>> cause(N(module=nn.Tanh(), leaves=True))
    'acts on each component by itself'
    """
    module = event.module
    if not event.leaves:
        return "is given what does not move along"
    if isinstance(module, ACTIVATIONS):
        return "acts on each component by itself"
    if isinstance(module, NORMS):
        return "normalizes each component by itself"
    if isinstance(module, (nn.Linear, *CONV)):
        return "mixes components by weights of their own"
    return "does not move along with its input"
