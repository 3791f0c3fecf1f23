"""Names the layer where equivariance is lost, the cause, and what a repair gains.

`search` follows the layers and finds the first that does not move as its input does; `report` is
what it returns. `zoo` holds networks of other people to try it on.

>>> import torch
>>> from equitutor import diagnose, orbits
>>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU())
>>> diagnose.diagnose(network, torch.rand(2, 1, 8, 8), orbits.shifts(8, 8, output="image")).layer
'0'
"""

from equitutor.diagnose.report import Diagnosis, LayerReport
from equitutor.diagnose.search import diagnose

__all__ = ["Diagnosis", "LayerReport", "diagnose"]
