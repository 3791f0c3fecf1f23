"""Names the layer where equivariance is lost, the cause, and what a repair gains.

`search` follows the layers and finds the first that does not move as its input does; `report` is
what it returns. `zoo` holds networks of other people to try it on.
"""

from equitutor.diagnose.report import Diagnosis, LayerReport
from equitutor.diagnose.search import diagnose

__all__ = ["Diagnosis", "LayerReport", "diagnose"]
