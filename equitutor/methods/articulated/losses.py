"""What the networks are trained on."""

import torch
from torch import Tensor, nn

from equitutor.methods.articulated.body import Body
from equitutor.methods.articulated.network import Prediction
from equitutor.methods.articulated.sampling import Scans
from equitutor.methods.icosahedral import matrix_loss, project_so3


def fit_terms(prediction: Prediction, scans: Scans, body: Body | None = None) -> dict[str, Tensor]:
    """Returns the terms of the loss by name, each a scalar, averaged over all batch elements.

    "parts" is the cross entropy of the labels, "pose" the mean of |M - R|^2, "shape" that of the
    squared error of beta, "canonical" that of predicted rest positions, if there are any. With a
    body also "vertices" and "joints", mean squared distances in square meters: they need the
    projection to SO(3), whose gradient explodes where M is near zero, so add them late.

    Args:
        prediction: of a network. scans: the truth. body: to compare surfaces, or None.

    Source: Feng et al. 2023, section 3.4, with M for R.

    >>> from equitutor.methods.articulated import PointNet, random_scans, toy_body
    >>> body = toy_body()
    >>> scans = random_scans(body, 2, 50)
    >>> sorted(fit_terms(PointNet(6, 3)(scans.points), scans, body))
    ['joints', 'parts', 'pose', 'shape', 'vertices']
    """
    check_match(prediction, scans)
    terms = {
        "parts": nn.functional.cross_entropy(prediction.logits.mT, scans.labels),
        "pose": matrix_loss(prediction.matrices, scans.rotations),
        "shape": (prediction.beta - scans.beta).square().mean(),
    }
    if prediction.canonical is not None:
        apart = prediction.canonical - scans.canonical
        terms["canonical"] = apart.square().sum(-1).mean()
    if body is not None:
        found = body(prediction.beta, project_so3(prediction.matrices))
        with torch.no_grad():
            true = body(scans.beta, scans.rotations)
        for name, a, b in zip(("vertices", "joints"), found, true, strict=True):
            terms[name] = (a - b).square().sum(-1).mean()
    return terms


def check_match(prediction: Prediction, scans: Scans) -> None:
    """Returns nothing; raises ValueError unless a prediction is of as many scans and points."""
    found, want = tuple(prediction.logits.shape[:2]), tuple(scans.points.shape[:2])
    if found != want or len(prediction.matrices) != want[0]:
        raise ValueError(f"prediction is of {found} clouds and points; need {want}, as scans has")


def fit_loss(
    prediction: Prediction,
    scans: Scans,
    body: Body | None = None,
    parts: float = 1.0,
    pose: float = 1.0,
    shape: float = 0.1,
    canonical: float = 10.0,
    vertices: float = 10.0,
    joints: float = 10.0,
) -> Tensor:
    """Returns the weighted sum of `fit_terms`, a scalar.

    Args:
        prediction, scans, body: as for `fit_terms`.
        parts, pose, shape, canonical, vertices, joints: weights of the terms.

    >>> from equitutor.methods.articulated import PointNet, random_scans, toy_body
    >>> scans = random_scans(toy_body(), 2, 50)
    >>> fit_loss(PointNet(6, 3)(scans.points), scans).ndim
    0
    """
    factor = dict(
        parts=parts, pose=pose, shape=shape, canonical=canonical, vertices=vertices, joints=joints
    )
    return sum(factor[name] * term for name, term in fit_terms(prediction, scans, body).items())


def use_true_labels(step: int, steps: int, until: float = 0.7) -> bool:
    """Returns whether this step pools with the true labels: every other one of the first part.

    True labels to the end leave the pose head helpless with predicted ones; a sudden switch makes
    the loss jump. Alternating does neither.

    Args:
        step: from 0. steps: of the whole training. until: share of it that alternates.

    >>> [use_true_labels(step, 10) for step in range(10)]
    [True, False, True, False, True, False, True, False, False, False]
    """
    if not (0 <= step < steps):
        raise ValueError(f"step is {step} of {steps} steps; need 0 or more, and fewer than steps")
    return step < until * steps and step % 2 == 0
