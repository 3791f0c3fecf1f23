"""Polyphase anchoring: shift-equivariant vision transformers (Ding et al., arXiv 2306.07470).

`anchors` chooses the origin of a grid from the data, `layers` puts that choice in front of every
operation that lays a fixed grid over its input, `models` stacks the layers to a ViT and a Twins,
`conversion` takes a trained convolutional network instead, `measures` says how often a prediction
survives a shift.

>>> import torch
>>> from equitutor.methods import polyphase
>>> network, x = polyphase.PolyViT(24, patch=4).eval(), torch.rand(2, 1, 24, 24)
>>> torch.allclose(network(x), network(x.roll((5, -3), (2, 3))), atol=1e-5)
True
"""

from equitutor.methods.polyphase.anchors import (
    PolyOrder,
    anchor,
    phase_scores,
    roll_batch,
    score_gap,
    tie_rate,
    undo_roll,
)
from equitutor.methods.polyphase.conversion import make_shift_invariant
from equitutor.methods.polyphase.layers import (
    CircularPEG,
    PolyPatchEmbed,
    SubsampledAttention,
    WindowAttention,
)
from equitutor.methods.polyphase.measures import consistency
from equitutor.methods.polyphase.models import PolyTwins, PolyViT

__all__ = [
    "CircularPEG",
    "PolyOrder",
    "PolyPatchEmbed",
    "PolyTwins",
    "PolyViT",
    "SubsampledAttention",
    "WindowAttention",
    "anchor",
    "consistency",
    "make_shift_invariant",
    "phase_scores",
    "roll_batch",
    "score_gap",
    "tie_rate",
    "undo_roll",
]
