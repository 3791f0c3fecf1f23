"""The meter: what a model does along the orbit of its input.

`orbit` describes an orbit and `elements` makes the usual ones. `metrics` scores one prediction at a
time, `evaluate` measures a model over all elements and samples, `equivariance` turns the
measurement into an assertion. `consensus` asks what the model's answers would be if it agreed with
itself. `diagnose`, from the room above, names the layer at which a model stops to transform as its
input does.

Five lines on a model of your own:

>>> import torch
>>> from equitutor import orbits
>>> x, y = torch.rand(6, 1, 8, 8), torch.zeros(6, dtype=torch.long)
>>> model = lambda x: torch.stack([x.mean((1, 2, 3)), x[:, 0, 0, 0]], 1)
>>> result = orbits.evaluate(model, x, y, orbits.shifts(8, 8), metric="confidence")
>>> result.scores.shape
torch.Size([64, 6])
"""

from typing import TYPE_CHECKING, Any

from equitutor.orbits.box_consensus import BoxConsensus, box_consensus, rescore
from equitutor.orbits.box_counts import detection_counts
from equitutor.orbits.boxes import box_score, box_windows, in_window, iou
from equitutor.orbits.consensus import consensus, variance_decomposition
from equitutor.orbits.elements import d4_time, finite, shifts, so2, so3_disk, so3_haar
from equitutor.orbits.equivariance import assert_equivariant, equivariance_error
from equitutor.orbits.evaluate import evaluate, merge
from equitutor.orbits.orbit import Orbit, round_trip
from equitutor.orbits.result import OrbitResult
from equitutor.orbits.windows import windows

if TYPE_CHECKING:
    from equitutor.diagnose import diagnose

__all__ = [
    "BoxConsensus",
    "Orbit",
    "OrbitResult",
    "assert_equivariant",
    "box_consensus",
    "box_score",
    "box_windows",
    "consensus",
    "d4_time",
    "detection_counts",
    "diagnose",
    "equivariance_error",
    "evaluate",
    "finite",
    "in_window",
    "iou",
    "merge",
    "rescore",
    "round_trip",
    "shifts",
    "so2",
    "so3_disk",
    "so3_haar",
    "variance_decomposition",
    "windows",
]


def __getattr__(name: str) -> Any:
    """Returns `diagnose`, which stands on this room: it is loaded once it is asked for."""
    if name == "diagnose":
        from equitutor.diagnose import diagnose

        return diagnose
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
