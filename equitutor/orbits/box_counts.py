"""Precision, recall and average precision of detections, by a rule of matching that has a name."""

import torch
from torch import Tensor

from equitutor.orbits.boxes import check_found, check_targets, iou
from equitutor.orbits.result import OrbitResult
from equitutor.runtime import widest

RULES = ("voc", "coco")


def match(found: Tensor, targets: Tensor, least: float = 0.5, rule: str = "coco") -> Tensor:
    """Returns which detections (N, K, 6) find an object of targets (N, M, 5), booleans (N, K).

    An object is found once; a second box on it is a false alarm.

    Args:
        found, targets: boxes by their edges, as in `equitutor.orbits.boxes`. VOC counts whole
            pixels, both ends included: an object of its files is (xmin - 1, ymin - 1, xmax, ymax).
        least: least IoU of a match.
        rule: "voc", that of the VOC devkit: from the most confident on, a detection stands for
            that object of its class that it overlaps most, whether that is free or not. "coco",
            that of COCO: for the one it overlaps most among those that are still free.

    Source: Everingham et al. 2010; Lin et al. 2014.

    >>> found = torch.tensor([[[0.0, 0, 4, 4, 0.9, 0], [0.0, 0, 4, 4, 0.8, 0]]])
    >>> match(found, torch.tensor([[[0.0, 0, 4, 4, 0]]])).tolist()
    [[True, False]]
    >>> two = torch.tensor([[[0.0, 0, 4, 4, 0], [0.0, 1, 4, 5, 0]]])
    >>> match(found, two, rule="voc").tolist(), match(found, two, rule="coco").tolist()
    ([[True, False]], [[True, True]])
    """
    check_found(found)
    check_targets(targets, len(found))
    if rule not in RULES:
        raise ValueError(f"rule must be one of {RULES}, got {rule!r}")
    overlap = iou(found[:, :, None, :4], targets[:, None, :, :4])  # (N, K, M)
    fits = (found[:, :, None, 5] == targets[:, None, :, 4]) & (targets[:, None, :, 4] >= 0)
    overlap = torch.where(fits & (overlap >= least), overlap, -1.0)
    hits = torch.zeros(found.shape[:2], dtype=torch.bool, device=found.device)
    order = found[..., 4].argsort(dim=1, descending=True, stable=True)
    scene = torch.arange(len(found), device=found.device)
    taken = torch.zeros_like(overlap[:, 0], dtype=torch.bool)  # (N, M)
    for k in order.T:
        own = overlap[scene, k]
        value, which = (own if rule == "voc" else own.masked_fill(taken, -1.0)).max(1)
        hits[scene, k] = (value > 0) & ~taken[scene, which]
        taken[scene[hits[scene, k]], which[hits[scene, k]]] = True
    return hits


def detection_counts(
    found: Tensor,
    targets: Tensor,
    least: float = 0.5,
    threshold: float = 0.3,
    rule: str = "voc",
) -> dict[str, float]:
    """Returns precision, recall, F1 and average precision of detections over all scenes.

    The denominator of recall is the number of objects in `targets`. Precision without a detection,
    and recall without an object, are NaN. Average precision is the area under precision over
    recall, precision made falling, of each class; then the mean over the classes that occur.

    Args:
        found: (N, K, 6); rows of confidence 0 count as no detection.
        targets: (N, M, 5).
        least: IoU of a match. threshold: least confidence for precision, recall and F1.
        rule: "voc" or "coco", which object a detection stands for, as in `match`. Average
            precision is over all points under both; that of COCO itself takes 101 points.

    Raises ValueError where a shape or number does not fit.

    Source: Pascal VOC challenge (Everingham et al. 2010), the devkit of 2010 and after.

    >>> found = torch.tensor([[[0.0, 0, 4, 4, 0.9, 0]]])
    >>> targets = torch.tensor([[[0.0, 0, 4, 4, 0], [8.0, 8, 9, 9, 0], [0.0, 0, 0, 0, -1]]])
    >>> detection_counts(found, targets)["recall"]
    0.5
    """
    for name, value in (("least", least), ("threshold", threshold)):
        if not 0 < value <= 1:
            raise ValueError(f"{name} must be in (0, 1], got {value!r}")
    hits = match(found, targets, least, rule).flatten()
    sure, kind = found[..., 4].flatten(), found[..., 5].flatten()
    objects = targets[..., 4].flatten()
    objects = objects[objects >= 0]
    told = sure >= threshold
    share = lambda part, whole: part / whole if whole else float("nan")
    precision = share(int((hits & told).sum()), int(told.sum()))
    recall = share(int((hits & told).sum()), len(objects))
    both = share(2 * int((hits & told).sum()), int(told.sum()) + len(objects))  # their F1
    areas = []
    for label in objects.unique():
        mine = (kind == label) & (sure > 0)
        order = sure[mine].argsort(dim=0, descending=True, stable=True)
        right = hits[mine][order].to(widest(found.device))
        total = int((objects == label).sum())
        made = right.cumsum(0) / torch.arange(1, len(right) + 1, device=right.device)
        falling = made.flip(0).cummax(0).values.flip(0) if len(made) else made
        areas.append((falling * right).sum().item() / total)
    return {
        "precision": precision,
        "recall": recall,
        "f1": both,
        "average precision": share(sum(areas), len(areas)),
    }


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
