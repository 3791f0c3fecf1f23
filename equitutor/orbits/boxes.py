"""Detections along an orbit of windows: what happens to boxes, and their scores.

Targets are (N, M, 5), rows ``x1, y1, x2, y2, class`` in pixels, class -1 where there is no object;
detections (N, K, 6), rows ``x1, y1, x2, y2, confidence, class``. Both move with the window.
"""

from dataclasses import replace

import torch
from torch import Tensor

from equitutor.checks import check_count
from equitutor.orbits.metrics import Metric
from equitutor.orbits.orbit import Orbit
from equitutor.orbits.windows import windows
from equitutor.runtime import working

SCORES = ("confidence", "iou", "confidence x iou", "hit")


def box_windows(canvas: int, size: int, reach: int, step: int = 1) -> Orbit:
    """Returns `windows` for detectors: targets (N, M, 5) and detections (N, K, 6) move.

    Args and errors are those of `windows`.

    >>> orbit = box_windows(16, 8, reach=4)
    >>> target = torch.tensor([[[6.0, 6, 10, 10, 3]]])  # in the middle of the scene, class 3
    >>> orbit.act_y(target, 0).tolist()  # seen by the window at its top left
    [[[6.0, 6.0, 10.0, 10.0, 3.0]]]
    >>> orbit.act_y(target, orbit.identity).tolist()
    [[[2.0, 2.0, 6.0, 6.0, 3.0]]]
    """
    orbit = windows(canvas, size, reach, step)

    def along(action):
        def act(rows: Tensor, i: int) -> Tensor:
            if rows.ndim not in (2, 3) or rows.shape[-1] < 4:
                raise ValueError(
                    f"boxes must be (N, 4 or more) or (N, K, 4 or more), got {tuple(rows.shape)}"
                )
            return torch.cat([action(rows[..., :4], i), rows[..., 4:]], -1)

        return act

    return replace(
        orbit, act_y=along(orbit.act_y), inv_y=along(orbit.inv_y), extra={"window": size}
    )


def area(boxes: Tensor) -> Tensor:
    """Returns the areas (...,) of boxes (..., 4); 0 where a side is negative.

    Those of half precision are float32: 300 x 300 pixels are no number of float16.

    >>> area(torch.tensor([[0.0, 0, 2, 3], [2.0, 0, 0, 3]])).tolist()
    [6.0, 0.0]
    """
    boxes = boxes.to(working(boxes.dtype)) if boxes.is_floating_point() else boxes
    return (boxes[..., 2:4] - boxes[..., :2]).clamp(min=0).prod(-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Returns intersection over union (...,) of boxes (..., 4), broadcast; 0 if both are empty.

    >>> iou(torch.tensor([0.0, 0, 2, 2]), torch.tensor([[1.0, 0, 3, 2], [5.0, 5, 6, 6]])).tolist()
    [0.3333333432674408, 0.0]
    """
    for name, boxes in (("a", a), ("b", b)):
        if boxes.shape[-1:] != (4,):
            raise ValueError(f"{name} must be boxes (..., 4), got {tuple(boxes.shape)}")
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = area(torch.cat([low, high], -1))
    union = area(a) + area(b) - shared
    share = torch.where(union > 0, shared / union.where(union > 0, 1.0), union * 0)
    return share.to(torch.promote_types(a.dtype, b.dtype)) if a.is_floating_point() else share


def in_window(targets: Tensor, size: int, visible: float = 0.5) -> Tensor:
    """Returns targets (N, M, 5) clipped to a window, class -1 where too little is to be seen.

    Args:
        targets: rows in pixels of the window.
        size: side of the window in pixels.
        visible: the share of its area that has to be inside, in (0, 1].

    Raises ValueError where an argument does not fit.

    >>> in_window(torch.tensor([[[-1.0, 0, 3, 4, 7], [-3.0, 0, 1, 4, 7]]]), 8)[..., [0, 4]].tolist()
    [[[0.0, 7.0], [0.0, -1.0]]]
    """
    check_targets(targets)
    check_count("size", size)
    if not 0 < visible <= 1:
        raise ValueError(f"visible must be in (0, 1], got {visible!r}")
    seen = targets[..., :4].clamp(0, size)
    whole = area(targets)
    gone = ~(area(seen) >= visible * whole) | (whole <= 0) | (targets[..., 4] < 0)
    label = targets[..., 4].masked_fill(gone, -1)
    return torch.cat([seen, label[..., None]], -1)


def box_score(kind: str, size: int, visible: float = 0.5, hit: float = 0.5) -> Metric:
    """Returns a metric of detections (N, K, 6) for the first target of each scene, (N, M, 5).

    Its value is that of the best detection of the target's class: with K = 1, of the most
    confident one. 0 where no detection has that class, or overlaps; NaN where the target is not
    (enough) in the window: pass ``missing="count"`` to `evaluate`.

    Args:
        kind: "confidence", of a detection that overlaps the target at all; "iou"; "confidence x
            iou"; "hit", 1 where IoU is at least `hit`.
        size: side of the window in pixels; targets and detections are clipped to it.
        visible: the share of the target's area that has to be inside, in (0, 1].
        hit: the least IoU of a hit, in (0, 1].

    Raises ValueError where an argument does not fit; the metric, where a shape does not.

    Source: scores of the detection case of NERO (Zhao et al. 2023).

    >>> found = torch.tensor([[[0.0, 0, 4, 4, 0.9, 2]]]).expand(3, -1, -1)
    >>> target = torch.tensor([[0.0, 0, 4, 8, 2], [0.0, 0, 4, 8, 1], [-4.0, 0, 1, 8, 2]])[:, None]
    >>> [round(v, 2) for v in box_score("confidence x iou", 8)(found, target).tolist()]
    [0.45, 0.0, nan]
    """
    if kind not in SCORES:
        raise ValueError(f"kind must be one of {SCORES}, got {kind!r}")
    if not 0 < hit <= 1:
        raise ValueError(f"hit must be in (0, 1], got {hit!r}")
    in_window(torch.zeros(1, 1, 5), size, visible)  # refuse bad arguments here, not later

    def score(found: Tensor, targets: Tensor) -> Tensor:
        check_found(found)
        target = in_window(targets, size, visible)[:, :1]  # (N, 1, 5)
        overlap = iou(found[..., :4].clamp(0, size), target[..., :4])  # (N, K)
        sure = found[..., 4]
        value = {
            "confidence": sure * (overlap > 0),
            "iou": overlap,
            "confidence x iou": sure * overlap,
            "hit": (overlap >= hit).to(overlap),
        }[kind]
        best = (value * (found[..., 5] == target[..., 4])).amax(1)
        return best.masked_fill(target[:, 0, 4] < 0, torch.nan)

    score.__name__ = kind
    return score


def check_found(found: Tensor) -> None:
    if not isinstance(found, Tensor) or found.ndim != 3 or found.shape[2] != 6 or not found.numel():
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"detections must be (N, K, 6) with K >= 1, got {shape}")


def check_targets(targets: Tensor, n: int | None = None) -> None:
    if (
        not isinstance(targets, Tensor) or targets.ndim != 3 or targets.shape[2] != 5
        or not targets.numel() or n not in (None, len(targets))
    ):  # fmt: skip
        shape = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
        wanted = "N" if n is None else n
        raise ValueError(f"targets must be ({wanted}, M, 5) with M >= 1, got {shape}")
