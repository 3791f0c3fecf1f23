"""Readers of motion capture: CMU's ASF/AMC files, and DeepMimic's JSON, to one form."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import FormatError

_ARM_AND_LEG = ("clavicle", "upper arm", "forearm", "hand", "thigh", "shin", "foot")
HUMAN_PARTS = (
    "pelvis", "abdomen", "chest", "neck", "head",
    *(f"left {part}" for part in _ARM_AND_LEG), *(f"right {part}" for part in _ARM_AND_LEG),
)  # fmt: skip

_CMU_SIDE = ("clavicle", "humerus", "radius", "hand", "femur", "tibia", "foot")
_CMU_BONES = (
    "root", "lowerback", "thorax", "lowerneck", "head",
    *(f"l{bone}" for bone in _CMU_SIDE), *(f"r{bone}" for bone in _CMU_SIDE),
)  # fmt: skip
# y is up, z ahead and x left there; rows are the new axes.
_CMU_AXES = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
_CMU_METERS = 0.0254 / 0.45

_MIMIC_JOINTS = (  # name, parent, numbers in a frame
    ("root", -1, 4), ("chest", 0, 4), ("neck", 1, 4),
    ("right_hip", 0, 4), ("right_knee", 3, 1), ("right_ankle", 4, 4),
    ("right_shoulder", 1, 4), ("right_elbow", 6, 1),
    ("left_hip", 0, 4), ("left_knee", 8, 1), ("left_ankle", 9, 4),
    ("left_shoulder", 1, 4), ("left_elbow", 11, 1),
)  # fmt: skip
_MIMIC_SIDE = ("chest", "shoulder", "elbow", "elbow", "hip", "knee", "ankle")
# y is up, x ahead and z right there.
_MIMIC_AXES = np.array([[0.0, 0, -1], [-1, 0, 0], [0, 1, 0]])


@dataclass(frozen=True, eq=False)
class Motion:
    """A clip of captured motion.

    Args:
        name: as in `EVERYDAY` and `ACROBATIC`.
        rotations: of the 19 `HUMAN_PARTS` in the world, relative to rest, ``(T, 19, 3, 3)``.
        directions: where each part points at rest, unit vectors ``(19, 3)``.
        root: place of the pelvis, ``(T, 3)``, meters.
        rate: frames a second.
    """

    name: str
    rotations: Tensor = field(repr=False)
    directions: Tensor = field(repr=False)
    root: Tensor = field(repr=False)
    rate: float

    def __len__(self) -> int:
        return len(self.rotations)


def read_cmu(skeleton: Path, frames: Path, name: str = "") -> Motion:
    """Return the motion of an ASF skeleton and an AMC file, 120 frames a second.

    A bone's rotation in the world is that of its parent times C M C^-1, where C turns the world's
    axes to the bone's own and M comes from the frame.

    Args:
        skeleton: the ``.asf`` file. frames: the ``.amc`` file. name: for the result.

    Raises:
        FormatError: a bone of the 19 parts is missing, or a line is not what it should be.

    Source: J. Lander, "Working with motion capture file formats", Game Developer, 1998.
    """
    bones, parents = _read_asf(skeleton)
    poses = _read_amc(frames, bones)
    # A bone comes after its parent here, whatever the order in the file.
    order = ["root"]
    for bone in order:
        order += [child for child, parent in parents.items() if parent == bone]
    count = len(poses["root"])
    world = {"root": np.tile(np.eye(3), (count, 1, 1))}
    for bone in order:
        axis = _euler(bones[bone].axis[None])[0]
        local = axis @ _euler(poses[bone][:, :3]) @ axis.T
        world[bone] = world.get(parents.get(bone), world["root"]) @ local
    if missing := [bone for bone in _CMU_BONES if bone not in world]:
        raise FormatError(f"{skeleton} has no bone {missing[0]}")
    rotations = np.stack([world[bone] for bone in _CMU_BONES], 1)
    up = np.array([0.0, 1, 0])  # the root has no direction of its own
    directions = np.stack([bones[b].direction if b != "root" else up for b in _CMU_BONES])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    root = _CMU_METERS * poses["root"][:, 3:] @ _CMU_AXES.T
    return _motion(name, rotations, directions, root, _CMU_AXES, 120.0)


@dataclass
class _Bone:
    direction: np.ndarray
    axis: np.ndarray
    dof: tuple[str, ...]


def _read_asf(path: Path) -> tuple[dict[str, _Bone], dict[str, str]]:
    """Return the bones by name, root included, and the parent of each."""
    bones = {"root": _Bone(np.zeros(3), np.zeros(3), ("tx", "ty", "tz", "rx", "ry", "rz"))}
    parents: dict[str, str] = {}
    section, name = "", ""
    try:
        for line in path.read_text(encoding="latin-1").splitlines():
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if words[0].startswith(":"):
                section = words[0]
            elif section == ":root" and words[0] == "order":
                bones["root"].dof = tuple(word.lower() for word in words[1:])
            elif section == ":bonedata" and words[0] == "name":
                name = words[1]
                bones[name] = _Bone(np.zeros(3), np.zeros(3), ())
            elif section == ":bonedata" and words[0] in ("direction", "axis"):
                setattr(bones[name], words[0], np.array(words[1:4], float))
            elif section == ":bonedata" and words[0] == "dof":
                bones[name].dof = tuple(words[1:])
            elif section == ":hierarchy" and words[0] not in ("begin", "end"):
                parents |= dict.fromkeys(words[1:], words[0])
    except (IndexError, KeyError, ValueError) as error:
        raise FormatError(f"{path} is not a sound ASF skeleton: {error}") from error
    if unknown := ({*parents, *parents.values()} - set(bones)):
        raise FormatError(f"{path} has no data on the bone {sorted(unknown)[0]}")
    return bones, parents


def _read_amc(path: Path, bones: dict[str, _Bone]) -> dict[str, np.ndarray]:
    """Return for each bone rx, ry, rz (degrees), tx, ty, tz of every frame, (T, 6)."""
    found: dict[str, list[list[float]]] = {bone: [] for bone in bones}
    frames = 0
    try:
        for line in path.read_text(encoding="latin-1").splitlines():
            words = line.split()
            if not words or words[0][0] in "#:":
                continue
            if words[0].isdigit():
                frames += 1
                for values in found.values():
                    values.append([0.0] * 6)
                continue
            if len(words) != 1 + len(bones[words[0]].dof):
                raise ValueError(f"{len(words) - 1} numbers for the bone {words[0]}")
            for dof, word in zip(bones[words[0]].dof, words[1:], strict=True):
                found[words[0]][-1][("rx", "ry", "rz", "tx", "ty", "tz").index(dof)] = float(word)
    except (IndexError, KeyError, ValueError) as error:
        raise FormatError(
            f"{path}, frame {frames}, is not as its skeleton says: {error}"
        ) from error
    poses = {bone: np.array(values).reshape(frames, 6) for bone, values in found.items()}
    if not frames or not all(np.isfinite(values).all() for values in poses.values()):
        raise FormatError(f"{path} has no frames, or numbers that are not finite")
    return poses


def _euler(degrees: np.ndarray) -> np.ndarray:
    """Return Rz Ry Rx, (T, 3, 3), of angles about x, y and z, (T, 3)."""
    product = np.tile(np.eye(3), (len(degrees), 1, 1))
    for axis, angle in enumerate(np.radians(degrees).T):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.tile(np.eye(3), (len(degrees), 1, 1))
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[:, i, i], turn[:, i, j], turn[:, j, i], turn[:, j, j] = c, -s, s, c
        product = turn @ product
    return product


def read_deepmimic(path: Path, name: str = "") -> Motion:
    """Return the motion of a DeepMimic clip: 43 numbers a frame, after its duration.

    The abdomen turns halfway between pelvis and chest; head and hands follow neck and forearm.

    Args:
        path: the file. name: for the result.

    Raises:
        FormatError: not JSON, no frames, or frames of another length.

    Source: Peng et al., DeepMimic, 2018; https://github.com/xbpeng/DeepMimic.
    """
    try:
        frames = np.array(json.loads(path.read_text(encoding="utf-8"))["Frames"], float)
        if frames.ndim != 2 or frames.shape[1] != 44 or not np.isfinite(frames).all():
            raise ValueError(f"frames of the shape {frames.shape}, expected (T, 44)")
        if not (frames[:, 0] > 0).any():
            raise ValueError("no frame lasts")
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path} is not a DeepMimic clip: {error}") from error
    world: dict[str, np.ndarray] = {}
    start = 4
    for joint, parent, size in _MIMIC_JOINTS:
        values = frames[:, start : start + size]
        start += size
        if size == 4:
            local = _quaternion(values)
        else:  # a hinge about z
            local = _euler(np.degrees(values) * np.array([0.0, 0, 1]))
        world[joint] = local if parent < 0 else world[_MIMIC_JOINTS[parent][0]] @ local
    half = _halfway(world["root"], world["chest"])
    parts = [world["root"], half, world["chest"], world["neck"], world["neck"]]
    for side in ("left_", "right_"):
        parts += [world[j if j == "chest" else side + j] for j in _MIMIC_SIDE]
    up, down, ahead, left = np.eye(3)[1], -np.eye(3)[1], np.eye(3)[0], -np.eye(3)[2]
    directions = np.stack(5 * [up] + [left] + 5 * [down] + [ahead] + [-left] + 5 * [down] + [ahead])
    rate = 1 / np.median(frames[frames[:, 0] > 0, 0])
    root = frames[:, 1:4] @ _MIMIC_AXES.T
    return _motion(name, np.stack(parts, 1), directions, root, _MIMIC_AXES, float(rate))


def _quaternion(q: np.ndarray) -> np.ndarray:
    """Return rotations (T, 3, 3) of quaternions (T, 4), real part first, of any length above 0."""
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return np.stack(rows, 1).reshape(-1, 3, 3)


def _halfway(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the rotations nearest to the mean of two, (T, 3, 3)."""
    u, _, vt = np.linalg.svd(a + b)
    return u @ vt


def _motion(name, rotations, directions, root, axes, rate) -> Motion:
    """Return the motion with all tensors in the book's axes."""
    return Motion(
        name,
        torch.from_numpy(axes @ rotations @ axes.T),
        torch.from_numpy(directions @ axes.T),
        torch.from_numpy(root).float(),
        rate,
    )
