"""How far a fitted body is from the true one. Every part counts, and none is filled in."""

import torch
from torch import Tensor

from equitutor.methods.articulated.body import Body, world_to_local
from equitutor.methods.articulated.losses import check_match
from equitutor.methods.articulated.network import Prediction
from equitutor.methods.articulated.sampling import Scans, closed_form_translation
from equitutor.methods.icosahedral import rotation_angle


@torch.no_grad()
def fit_metrics(prediction: Prediction, scans: Scans, body: Body) -> dict[str, Tensor]:
    """Returns the metrics of each scan by name, each (B,), float.

    - ``v2v``, ``mpjpe``: mean distance of vertices and of joints, cm. The body stands where
      `closed_form_translation` puts it.
    - ``accuracy``: points with the right part, %. ``accuracy_merged``: left and right counted as
      one.
    - ``world``, ``local``: mean angle between the rotations of parts, in the world and relative to
      the parent, degrees. The local one hides an error of the root.

    Args:
        prediction: of a network. scans: the truth. body: that the scans are of.

    Source: Feng et al. 2023, section 4 (V2V, MPJPE, part accuracy).

    >>> from equitutor.methods.articulated import PointNet, random_scans, toy_body
    >>> body = toy_body()
    >>> scans = random_scans(body, 2, 50)
    >>> {name: tuple(v.shape) for name, v in
    ...  fit_metrics(PointNet(6, 3)(scans.points), scans, body).items()}["v2v"]
    (2,)
    """
    check_match(prediction, scans)
    rotations = prediction.rotations
    found_v, found_j = body(prediction.beta, rotations)
    move = closed_form_translation(scans.points, found_v, body.faces)[:, None]
    true_v, true_j = body(scans.beta, scans.rotations)
    true_move = scans.translation[:, None]
    labels = prediction.logits.argmax(-1)
    merged = mirror_classes(body.names).to(labels.device)
    return {
        "v2v": 100 * (found_v + move - true_v - true_move).norm(dim=-1).mean(1),
        "mpjpe": 100 * (found_j + move - true_j - true_move).norm(dim=-1).mean(1),
        "accuracy": 100 * (labels == scans.labels).float().mean(1),
        "accuracy_merged": 100 * (merged[labels] == merged[scans.labels]).float().mean(1),
        "world": part_angles(rotations, scans.rotations).mean(1),
        "local": part_angles(
            world_to_local(rotations, body.parents), world_to_local(scans.rotations, body.parents)
        ).mean(1),
    }


def part_angles(found: Tensor, true: Tensor) -> Tensor:
    """Returns the angle between two rotations of each part, (B, P), degrees.

    >>> part_angles(torch.eye(3)[None, None], torch.eye(3)[None, None])
    tensor([[0.]])
    """
    return rotation_angle(found, true).rad2deg()


def mirror_classes(names: tuple[str, ...]) -> Tensor:
    """Returns a class for each part, (P,), the same for a left part and its right twin.

    >>> mirror_classes(("head", "left hand", "right hand")).tolist()
    [0, 1, 1]
    """
    bare = [name.replace("left ", "").replace("right ", "") for name in names]
    return torch.tensor([bare.index(name) for name in bare])
