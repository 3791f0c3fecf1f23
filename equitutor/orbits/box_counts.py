"""What a result has to hold so that detections along an orbit of windows can be read from it."""

from torch import Tensor

from equitutor.orbits.boxes import check_found
from equitutor.orbits.result import OrbitResult

RULES = ("voc", "coco")  # nothing reads it; records of nero-boxes name it until their next run


def window_of(result: OrbitResult) -> int:
    """Returns the side of the window; ValueError where a result holds no detections of windows."""
    if "window" not in result.orbit.extra:
        raise ValueError(f"result must be of box_windows, got the orbit {result.orbit.name!r}")
    if not isinstance(result.outputs, Tensor) or result.outputs.ndim != 4:
        raise ValueError(
            "result must hold detections (G, N, K, 6): evaluate(..., keep_outputs=True)"
        )
    check_found(result.outputs[0])
    return result.orbit.extra["window"]
