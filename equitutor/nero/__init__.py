"""NERO plots: the picture of what a model does along the orbit of its input.

`heat` draws shifts, `polar` angles, `tiles` finite groups, `disk` rotations in space,
`embedding` a map of the samples of any orbit. `scale` is what they share: several models always
stand on one scale, so that panels compare. `explorer` links these views in a page that needs no
kernel and no network; `payload` and `pictures` are what travels in it.

Source: NERO, Non-Equivariance Revealed on Orbits (Zhao et al. 2023, arXiv 2305.19889).

>>> import torch
>>> from equitutor import nero, orbits
>>> x, y = torch.rand(3, 1, 5, 5), torch.zeros(3, dtype=torch.long)
>>> result = orbits.evaluate(lambda x: x[:, 0, 0], x, y, orbits.so2(8), metric="confidence")
>>> axes = nero.plot_polar({"first row": result})
"""

from equitutor.nero.disk import plot_disk
from equitutor.nero.embedding import Embedding, embed, plot_embedding
from equitutor.nero.explorer import explorer
from equitutor.nero.heat import plot_heat
from equitutor.nero.polar import plot_polar
from equitutor.nero.tiles import plot_tiles

__all__ = [
    "Embedding",
    "embed",
    "explorer",
    "plot_disk",
    "plot_embedding",
    "plot_heat",
    "plot_polar",
    "plot_tiles",
]
