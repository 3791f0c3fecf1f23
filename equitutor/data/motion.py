"""Captured motion: CMU's ASF/AMC files and DeepMimic's JSON, on one skeleton of 19 parts.

Both become the same thing: rotations of parts in the world, relative to a rest pose, with z up,
the person facing -y and the left hand at +x. `retarget` lays them on a body whose rest pose is
another one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from equitutor.checks import check_choice
from equitutor.data.cache import fetch
from equitutor.data.motion_files import HUMAN_PARTS, Motion, read_cmu, read_deepmimic
from equitutor.rotations import smallest_rotation

EVERYDAY = (
    "cmu/02_01", "cmu/02_02", "cmu/02_03",
    "deepmimic/walk", "deepmimic/run", "deepmimic/jog", "deepmimic/stealthy_walk",
)  # fmt: skip
ACROBATIC = (
    "cmu/01_08", "cmu/02_04",
    "deepmimic/cartwheel", "deepmimic/crawl", "deepmimic/dance_a", "deepmimic/getup_faceup",
    "deepmimic/jump", "deepmimic/kick", "deepmimic/spin",
)  # fmt: skip


def motion(name: str) -> Motion:
    """Returns a clip of CMU's or DeepMimic's motion capture.

    Args:
        name: one of ``EVERYDAY`` or ``ACROBATIC``.

    Raises:
        ValueError: another name.
        DataError: the files can't be had or are broken.

    Source: http://mocap.cs.cmu.edu; Peng et al., DeepMimic, ACM Trans. Graphics 37(4), 2018.

    Example:
        >>> len(motion("deepmimic/walk"))  # doctest: +SKIP
        39
    """
    check_choice("name", name, EVERYDAY + ACROBATIC)
    source, clip = name.split("/")
    if source == "deepmimic":
        return read_deepmimic(fetch(f"mocap_deepmimic/humanoid3d_{clip}.txt"), name)
    subject = clip.split("_")[0]
    folder = f"mocap_cmu/{subject}"
    return read_cmu(fetch(f"{folder}/{subject}.asf"), fetch(f"{folder}/{clip}.amc"), name)


def retarget(clip: Motion, parts: Sequence[str], directions: Tensor) -> Tensor:
    """Returns the clip on a body with another rest pose: rotations ``(T, P, 3, 3)``, float64.

    Each part first turns, by the smallest rotation, from where it points on the body at rest to
    where it points in the clip's rest pose, and then as in the clip. So parts point where they do
    in the clip; the twist about their own axis is only as alike as the two rest poses are. The
    torso keeps its rotation as it is.

    Args:
        clip: the motion.
        parts: names of the body's parts, each one of `HUMAN_PARTS`.
        directions: where they point at rest, ``(P, 3)``, z up and facing -y, any length above 0.

    Raises:
        ValueError: a part has another name, or directions have another shape or no length.

    Example:
        >>> eye = torch.eye(3, dtype=torch.float64).expand(1, 19, 3, 3)
        >>> down = torch.tensor([0.0, 0, -1]).double().expand(19, 3)
        >>> clip = Motion("still", eye, down, torch.zeros(1, 3), 30.0)
        >>> turned = retarget(clip, ["left thigh"], torch.tensor([[1.0, 0, 0]]))
        >>> turned[0, 0] @ torch.tensor([1.0, 0, 0]).double()
        tensor([ 0.,  0., -1.], dtype=torch.float64)
    """
    if unknown := [part for part in parts if part not in HUMAN_PARTS]:
        raise ValueError(f"parts has {unknown[0]!r}, but has to name some of {HUMAN_PARTS}")
    if directions.shape != (len(parts), 3) or not (directions.norm(dim=1) > 0).all():
        raise ValueError(
            f"directions has the shape {tuple(directions.shape)} or a row without length, but has "
            f"to be ({len(parts)}, 3)"
        )
    index = [HUMAN_PARTS.index(part) for part in parts]
    own = torch.nn.functional.normalize(directions.double().cpu(), dim=1)
    turn = smallest_rotation(own, clip.directions[index])
    for i, part in enumerate(parts):
        if not part.startswith(("left", "right")):
            turn[i] = torch.eye(3, dtype=torch.float64)
    return clip.rotations[:, index] @ turn
