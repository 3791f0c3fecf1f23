"""Names the layer where equivariance is lost, the cause, and what a repair gains.

`search` follows the layers and finds the first that does not move as its input does; `report` is
what it returns. `zoo` holds networks of other people to try it on.

>>> import torch
>>> from equitutor import diagnose, orbits
>>> network, x = torch.nn.Conv2d(1, 4, 3, padding=1), torch.rand(2, 1, 8, 8)
>>> found = diagnose.diagnose(network, x, orbits.shifts(8, 8, output="image"))
>>> found.verdict, found.layer
('lost', '(the model itself)')
"""

from equitutor.diagnose.report import Diagnosis, LayerReport
from equitutor.diagnose.search import diagnose

__all__ = ["Diagnosis", "LayerReport", "diagnose"]
