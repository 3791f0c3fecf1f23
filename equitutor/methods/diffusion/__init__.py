"""Diffusion models with a resampler of choice (Anjum, arXiv 2411.09174).

`resamplers` are the pairs that change the rate, `unet` the one network they go into, `process` the
chain of noise and its reverse, `rotation` turns images on the way, `radial` gives a network kernels
without a direction, `fidelity` compares generated with real images.

>>> import torch
>>> from equitutor.methods import diffusion
>>> network = diffusion.UNet("kaiser", width=8)
>>> network(torch.rand(2, 1, 16, 16), torch.tensor([0, 500])).shape
torch.Size([2, 1, 16, 16])
"""

from equitutor.methods.diffusion.fidelity import (
    FeatureNet,
    bootstrap_interval,
    fid,
    kid,
)
from equitutor.methods.diffusion.process import Diffusion
from equitutor.methods.diffusion.radial import RadialKernel, radial_convolutions
from equitutor.methods.diffusion.resamplers import (
    RESAMPLERS,
    KernelDown,
    KernelUp,
    filtered,
    resampling_pair,
)
from equitutor.methods.diffusion.rotation import (
    RotationPlan,
    border_level,
    conjugated,
    group_averaged,
    realized_angles,
)
from equitutor.methods.diffusion.unet import UNet, time_code

__all__ = [
    "RESAMPLERS",
    "Diffusion",
    "FeatureNet",
    "KernelDown",
    "KernelUp",
    "RadialKernel",
    "RotationPlan",
    "UNet",
    "bootstrap_interval",
    "border_level",
    "conjugated",
    "fid",
    "filtered",
    "group_averaged",
    "kid",
    "radial_convolutions",
    "realized_angles",
    "resampling_pair",
    "time_code",
]
