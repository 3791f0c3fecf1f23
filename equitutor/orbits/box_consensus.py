"""The box that a detector would give if its answers along an orbit of windows agreed."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from equitutor.orbits import metrics
from equitutor.orbits.box_counts import window_of
from equitutor.orbits.boxes import iou
from equitutor.orbits.evaluate import scored
from equitutor.orbits.result import OrbitResult
from equitutor.runtime import widest, working

EDGE = 0.5  # pixels by which a box may stand over the border of a window that holds it


class BoxConsensus(NamedTuple):
    """What the detections along an orbit agree on, for each scene.

    Attributes:
        boxes: (N, 4) in pixels of the scene; NaN where nothing was detected.
        labels: int64 (N,), the class with the largest weight of votes; -1 where there is none.
        confidence: (N,), mean over the windows that hold the box; no detection counts as 0.
        coverage: (N,), the share of these windows with a detection of it; NaN where there is none.
        held: (N,), the share of the orbit whose window holds the box.
    """

    boxes: Tensor
    labels: Tensor
    confidence: Tensor
    coverage: Tensor
    held: Tensor

    @property
    def targets(self) -> Tensor:
        """Pseudo-labels (N, 1, 5) to score against, class -1 where there is no consensus."""
        box = self.boxes.nan_to_num(0)
        return torch.cat([box, self.labels[:, None].to(box)], 1)[:, None]


def box_consensus(result: OrbitResult, least: float = 0.5) -> BoxConsensus:
    """Returns the consensus of detections along an orbit of windows.

    All detections are brought back to the scene. Around each, most weighty first, those form a
    cluster that overlap it with an IoU of `least`; the one with the largest weight wins. Windows
    that do not hold the whole box are left out, since they could not have seen it. The box is the
    mean of the cluster's, weighted by confidence; the class is voted for with the same weights.
    Boxes of different objects are never averaged, nor are class indices.

    Args:
        result: from `evaluate` with `box_windows` and keep_outputs=True, detections (G, N, K, 6).
        least: least IoU with the box in the middle of a cluster, in (0, 1].

    Raises ValueError where the result holds no detections of windows, or least is out of range.

    Source: consensus of NERO (Zhao et al. 2023); clusters as in weighted boxes fusion (Solovyev et
    al. 2021).

    >>> from equitutor.orbits import box_windows, evaluate
    >>> def seen(x):  # finds the bright square of 4 x 4 pixels; class 3, confidence 0.8
    ...     p = torch.stack([image[0].nonzero()[0].flip(0) for image in x]).float()
    ...     return torch.cat([p, p + 4, torch.tensor([[0.8, 3.0]]).expand(len(x), 2)], 1)[:, None]
    >>> x = torch.zeros(1, 1, 16, 16)
    >>> x[..., 6:10, 6:10] = 1
    >>> target = torch.tensor([[[6.0, 6, 10, 10, 3]]])
    >>> zero = lambda found, target: torch.zeros(len(found))
    >>> result = evaluate(seen, x, target, box_windows(16, 8, 2), zero, keep_outputs=True)
    >>> agreed = box_consensus(result)
    >>> agreed.boxes.tolist(), agreed.labels.tolist(), agreed.coverage.tolist()
    ([[6.0, 6.0, 10.0, 10.0]], [3], [1.0])
    """
    size = window_of(result)
    if not 0 < least <= 1:
        raise ValueError(f"least must be in (0, 1], got {least!r}")
    orbit, found = result.orbit, result.outputs
    view = torch.tensor([[0.0, 0.0, size, size]])
    views = torch.cat([orbit.inv_y(view, g) for g in range(len(orbit))])  # (G, 4), in the scene
    back = torch.stack([orbit.inv_y(found[g], g) for g in range(len(orbit))])
    exact = widest(back.device)
    weights = orbit.weights_in(exact, back.device)
    rows = [_agree(back[:, n].to(exact), views.to(back.device, exact), weights, least)
            for n in range(found.shape[1])]  # fmt: skip
    boxes, labels, *numbers = zip(*rows, strict=True)
    return BoxConsensus(
        torch.stack(boxes).to(working(found.dtype)),
        torch.tensor(labels),
        *map(torch.tensor, numbers),
    )


def _agree(rows: Tensor, views: Tensor, weights: Tensor, least: float) -> tuple:
    """Returns box, label, confidence, coverage, held of one scene, from rows (G, K, 6) in it."""
    boxes, label = rows[..., :4], rows[..., 5].long()
    sure = rows[..., 4].nan_to_num(0) * weights[:, None]  # (G, K)
    flat, weight = boxes.flatten(0, 1), sure.flatten()
    if not (weight > 0).any():
        return torch.full((4,), torch.nan), -1, 0.0, float("nan"), 0.0
    center, best = None, -1.0
    left = weight.clone()
    while (left > 0).any():  # clusters, most weighty detection first
        seed = flat[left.argmax()]
        members = iou(flat, seed) >= least
        members[left.argmax()] = True
        total = weight[members].sum().item()
        if total > best:
            center, best = seed, total
        left[members] = 0
    for _ in range(2):  # once more around the mean
        holds = _holds(views, center)  # (G,)
        members = (iou(boxes, center) >= least) & holds[:, None] & (sure > 0)
        if not members.any():
            break
        share = sure * members
        center = (boxes * share[..., None]).sum((0, 1)) / share.sum()
    holds = _holds(views, center)
    members = (iou(boxes, center) >= least) & (sure > 0) & holds[:, None]
    held = weights[holds].sum().item()
    if not members.any():  # no window that holds it has seen it
        return (
            center,
            int(label.flatten()[weight.argmax()]),
            0.0,
            0.0 if held else float("nan"),
            held,
        )
    votes = torch.zeros(int(label.max()) + 1, dtype=sure.dtype)
    votes.index_add_(0, label[members], sure[members])
    coverage = weights[members.any(1)].sum().item() / held
    confidence = (rows[..., 4] * members).amax(1).mul(weights).sum().item() / held
    return center, int(votes.argmax()), confidence, coverage, held


def _holds(views: Tensor, box: Tensor) -> Tensor:
    """Returns which windows (G, 4) hold the whole box (4,)."""
    return ((views[:, :2] <= box[:2] + EDGE) & (views[:, 2:] >= box[2:] - EDGE)).all(1)


def rescore(
    result: OrbitResult,
    y: Tensor,
    metric: str | metrics.Metric,
    higher_is_better: bool | None = None,
) -> OrbitResult:
    """Returns the scores of the kept outputs by another metric or target, without the model.

    So a consensus becomes the reference: ``rescore(result, box_consensus(result).targets, ...)``.
    NaN scores are kept as missing and counted in `OrbitResult.coverage`.

    Args:
        result: from `evaluate(..., keep_outputs=True)`.
        y: targets (N, ...) of the samples as they are.
        metric: as in `evaluate`.
        higher_is_better: as in `evaluate`.

    Raises ValueError where no outputs were kept, or a shape does not fit.

    >>> from equitutor.orbits import evaluate, shifts
    >>> x, y = torch.eye(4).view(4, 1, 1, 4), torch.arange(4)
    >>> result = evaluate(lambda x: x[:, 0, 0], x, y, shifts(1, 4), keep_outputs=True)
    >>> torch.equal(rescore(result, y, "correct").scores, result.scores)
    True
    """
    if not isinstance(result.outputs, Tensor):
        raise ValueError(
            f"result must hold tensor outputs: call evaluate(..., keep_outputs=True), got "
            f"{type(result.outputs).__name__}"
        )
    score = metrics.named(metric)
    n = result.scores.shape[1]
    if len(y) != n:
        raise ValueError(f"y must have {n} targets, got {len(y)}")
    rows = [
        scored(score, outputs, result.orbit.act_y(y, g), result.orbit, range(g, g + 1), 0, n)
        for g, outputs in enumerate(result.outputs)
    ]
    if higher_is_better is None:
        higher_is_better = score not in metrics.SMALLER_IS_BETTER
    meta = {**result.meta, "metric": metrics.name_of(metric), "function": score}
    return replace(result, scores=torch.cat(rows), higher_is_better=higher_is_better, meta=meta,
                   floor=None)  # fmt: skip
