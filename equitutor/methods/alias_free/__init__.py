"""Alias-free resampling (Anjum, arXiv 2411.09174; Karras et al., arXiv 2106.12423).

`filters` designs low-pass filters, `matrices` turns one into resampling along an axis, `resampling`
into modules for maps, `activations` wraps a nonlinearity with it, `measures` moves maps ideally and
says how well a network follows.

>>> import torch
>>> from equitutor.methods import alias_free
>>> alias_free.AliasFreeDown(boundary="circular")(torch.ones(1, 1, 8, 8)).shape
torch.Size([1, 1, 4, 4])
"""

from equitutor.methods.alias_free.activations import FilteredAct
from equitutor.methods.alias_free.filters import (
    gain,
    jinc_lowpass,
    kaiser_beta,
    kaiser_lowpass,
    paper_kernel,
    polyphase_sums,
)
from equitutor.methods.alias_free.matrices import border_index, ideal_matrix, resample_matrix
from equitutor.methods.alias_free.measures import (
    band_limit,
    disc_mask,
    eq_psnr,
    ideal_rotate,
    ideal_shift,
    relative_error,
)
from equitutor.methods.alias_free.resampling import AliasFreeDown, AliasFreeUp, separable_terms

__all__ = [
    "AliasFreeDown",
    "AliasFreeUp",
    "FilteredAct",
    "band_limit",
    "border_index",
    "disc_mask",
    "eq_psnr",
    "gain",
    "ideal_matrix",
    "ideal_rotate",
    "ideal_shift",
    "jinc_lowpass",
    "kaiser_beta",
    "kaiser_lowpass",
    "paper_kernel",
    "polyphase_sums",
    "relative_error",
    "resample_matrix",
    "separable_terms",
]
