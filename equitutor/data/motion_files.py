"""Readers of motion capture: CMU's ASF/AMC files, and DeepMimic's JSON, to one form."""

import json
import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equitutor.data.errors import FormatError
from equitutor.data.words import number

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
_CMU_LENGTH = 0.45  # of an inch, the unit of CMU's files
_CMU_RATE = 120.0
_ANGLES = {"deg": math.pi / 180, ":DEGREES": math.pi / 180, "rad": 1.0, ":RADIANS": 1.0}
_SECTIONS = {":version", ":name", ":documentation", ":units", ":root", ":bonedata", ":hierarchy",
             ":skin"}  # fmt: skip
_ROOT_DOF = ("tx", "ty", "tz", "rx", "ry", "rz")

_MIMIC_JOINTS = (  # name, parent, numbers in a frame
    ("root", -1, 4), ("chest", 0, 4), ("neck", 1, 4),
    ("right_hip", 0, 4), ("right_knee", 3, 1), ("right_ankle", 4, 4),
    ("right_shoulder", 1, 4), ("right_elbow", 6, 1),
    ("left_hip", 0, 4), ("left_knee", 8, 1), ("left_ankle", 9, 4),
    ("left_shoulder", 1, 4), ("left_elbow", 11, 1),
)  # fmt: skip
_MIMIC_PARTS = {"root": "pelvis", "chest": "chest", "neck": "neck"} | {
    f"{side}_{joint}": f"{side} {part}"
    for side in ("left", "right")
    for joint, part in (("shoulder", "upper arm"), ("elbow", "forearm"), ("hip", "thigh"),
                        ("knee", "shin"), ("ankle", "foot"))
}  # fmt: skip
_MIMIC_FOLLOWERS = {"head": "neck"} | {
    f"{side} {part}": after
    for side in ("left", "right")
    for part, after in (("clavicle", "chest"), ("hand", f"{side} forearm"))
}
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
    """Returns the motion of an ASF skeleton and an AMC file.

    A bone's rotation in the world is that of its parent times C M C^-1, where C turns the world's
    axes to the bone's own and M comes from the frame; both turn about x first, then y, then z. What
    a header leaves out is as in CMU's files: degrees, lengths in inches / 0.45, 120 frames a
    second.

    Args:
        skeleton: the ``.asf`` file. frames: the ``.amc`` file. name: for the result.

    Raises:
        FormatError: a bone of the 19 parts is missing, a line is not what it should be, a frame
            leaves out a bone or is out of turn; or what the format allows and is not read here:
            another order of rotations than XYZ, a root that does not start at the origin, bones
            that are moved or stretched.

    Source: J. Lander, "Working with motion capture file formats", Game Developer, 1998.
    """
    bones, angle, length = _read_asf(skeleton)
    if missing := [bone for bone in _CMU_BONES if bone not in bones]:
        raise FormatError(f"{skeleton} has no bone {missing[0]}")
    poses, rate = _read_amc(frames, bones, angle)
    rotations = np.empty((len(poses["root"]), len(_CMU_BONES), 3, 3))
    directions = np.empty((len(_CMU_BONES), 3))
    world: dict[str, np.ndarray] = {}
    for bone in _from_the_root(skeleton, bones):
        data = bones[bone]
        above = world.get(data.parent, np.broadcast_to(np.eye(3), (len(rotations), 3, 3)))
        place = np.empty_like(rotations[:, 0])
        if bone in _CMU_BONES:
            i = _CMU_BONES.index(bone)
            place = rotations[:, i]
            # The root has no direction of its own: up.
            directions[i] = [0, 0, 1] if bone == "root" else _CMU_AXES @ data.direction
        turn = _CMU_AXES @ _euler(angle * data.axis[None])[0]
        angles = np.zeros((len(rotations), 3))
        for column, dof in enumerate(data.dof):
            if dof[0] == "r":
                angles[:, "xyz".index(dof[1])] = poses[bone][:, column]
        place[:] = above @ (turn @ _euler(angles) @ turn.T) if data.dof else above
        world[bone] = place
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    if not ((lengths > 0) & (lengths < np.inf)).all():
        lost = _CMU_BONES[int(np.argmin((lengths > 0) & (lengths < np.inf)))]
        raise FormatError(f"{skeleton} has no direction of the bone {lost}")
    columns = [bones["root"].dof.index(dof) for dof in ("tx", "ty", "tz")]
    root = 0.0254 / length * poses["root"][:, columns] @ _CMU_AXES.T
    return Motion(
        name,
        torch.from_numpy(rotations),
        torch.from_numpy(directions / lengths),
        torch.from_numpy(root).float(),
        rate,
    )


@dataclass
class _Bone:
    direction: np.ndarray
    axis: np.ndarray  # angles in the unit of the file
    dof: tuple[str, ...]
    parent: str = ""


def _read_asf(path: Path) -> tuple[dict[str, _Bone], float, float]:
    """Returns bones by name, root included, radians in a unit of angle, and a unit of length."""
    bones = {"root": _Bone(np.zeros(3), np.zeros(3), _ROOT_DOF)}
    units = {"length": _CMU_LENGTH, "angle": "deg"}
    section, entries, parents = "", None, {}
    try:
        for words in _lines(path):
            word, *rest = words
            if word.startswith(":"):
                section, entries = word.lower(), None
                if section not in _SECTIONS:
                    raise ValueError(f"the section {word} is not known")
            elif section == ":units":
                units[word] = rest[0] if word == "angle" else number(rest[0])
            elif section == ":root":
                _read_root(bones["root"], word, rest)
            elif section == ":bonedata" and word == "begin":
                entries = {}
            elif section == ":bonedata" and entries is None:
                raise ValueError(f"{word!r} stands outside of begin and end")
            elif section == ":bonedata" and word == "end":
                bone = entries.pop("name")[0]
                if bone in bones:
                    raise ValueError(f"it has the bone {bone} twice")
                bones[bone] = _bone(entries)
                entries = None
            elif section == ":bonedata" and not word.startswith("("):  # a line of limits
                if word in entries:
                    raise ValueError(f"a bone has {word} twice")
                entries[word] = rest
            elif section == ":hierarchy" and word not in ("begin", "end"):
                for child in rest:
                    if child in parents or child == "root":
                        raise ValueError(f"the bone {child} has two parents")
                    parents[child] = word
        if units["angle"] not in ("deg", "rad"):
            raise ValueError(f"angles are in {units['angle']!r}, expected deg or rad")
        if not 0 < units["length"] < math.inf:
            raise ValueError(f"the unit of length is {units['length']}, expected a number above 0")
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path} is not a sound ASF skeleton: {error}") from error
    if unknown := ({*parents, *parents.values()} - set(bones)):
        raise FormatError(f"{path} has no data on the bone {sorted(unknown)[0]}")
    for child, parent in parents.items():
        bones[child].parent = parent
    return bones, _ANGLES[units["angle"]], units["length"]


def _read_root(root: _Bone, word: str, rest: list[str]) -> None:
    """Take up one line on the root: the order of its numbers, or what has to be as expected."""
    if word == "order":
        root.dof = tuple(dof.lower() for dof in rest)
        if sorted(root.dof) != sorted(_ROOT_DOF):
            raise ValueError(f"the order of the root is {' '.join(rest)}, expected TX TY TZ RX RY "
                             "RZ in any order")  # fmt: skip
    elif word == "axis":
        _check_order(rest)
    elif word in ("position", "orientation"):
        if [number(one) for one in rest] != [0, 0, 0]:
            raise ValueError(f"the {word} of the root is {' '.join(rest)}, expected 0 0 0")
    else:
        raise ValueError(f"the root has {word!r}, which is not known")


def _bone(entries: dict[str, list[str]]) -> _Bone:
    """Returns the bone of a block of lines."""
    known = {"id", "direction", "length", "axis", "dof", "limits", "bodymass", "cofmass"}
    if unknown := set(entries) - known:
        raise ValueError(f"a bone has {sorted(unknown)[0]!r}, which is not known")
    direction = [number(word) for word in entries.get("direction", ["0"] * 3)]
    *axis, order = entries.get("axis", ["0", "0", "0", "XYZ"])
    _check_order([order])
    dof = tuple(one.lower() for one in entries.get("dof", ()))
    if not set(dof) <= {"rx", "ry", "rz"} or len(set(dof)) < len(dof):
        raise ValueError(f"a bone has dof {' '.join(dof)}, expected some of rx ry rz")
    axis = [number(word) for word in axis]
    if len(direction) != 3 or len(axis) != 3:
        raise ValueError(f"direction and axis of a bone have {len(direction)} and {len(axis)} "
                         "numbers, expected 3")  # fmt: skip
    if not all(map(math.isfinite, direction + axis)):
        raise ValueError("direction or axis of a bone are not finite")
    return _Bone(np.array(direction), np.array(axis), dof)


def _check_order(words: list[str]) -> None:
    """Raise a ValueError unless rotations are about x, y and z in this order.

    Of another order, descriptions of the format do not say whether the three numbers before it
    follow it, nor whether it holds for the numbers of a frame.
    """
    if [word.upper() for word in words] != ["XYZ"]:
        raise ValueError(f"rotations are in the order {' '.join(words)}, expected XYZ")


def _from_the_root(path: Path, bones: dict[str, _Bone]) -> dict[str, None]:
    """Returns the bones of the parts and all above them, each after its parent."""
    order = {"root": None}
    for bone in _CMU_BONES:
        branch = {}
        while bone not in order:
            if bone in branch or not bone:
                raise FormatError(f"{path} has a bone that does not hang on the root: "
                                  f"{next(iter(branch))}")  # fmt: skip
            branch[bone] = None
            bone = bones[bone].parent
        order |= dict.fromkeys(reversed(branch))
    return order


def _read_amc(path: Path, bones: dict[str, _Bone], angle: float):
    """Returns for each bone that moves its numbers (T, dof), in radians, and the rate.

    Args:
        bones: of the skeleton. angle: radians in its unit, for a file that does not name its own.
    """
    found = {bone: array("d") for bone, data in bones.items() if data.dof}
    rate, first, frames, seen = _CMU_RATE, 0, 0, set(found)

    def check_whole() -> None:
        if len(seen) < len(found):
            lost = next(bone for bone in found if bone not in seen)
            raise ValueError(f"no numbers for the bone {lost}")

    try:
        for word, *rest in _lines(path):
            if word.startswith(":"):
                keyword = word.upper()
                if keyword in (":DEGREES", ":RADIANS"):
                    angle = _ANGLES[keyword]
                elif keyword == ":SAMPLES-PER-SECOND" and 0 < number(rest[0]) < math.inf:
                    rate = number(rest[0])
                elif keyword != ":FULLY-SPECIFIED":
                    raise ValueError(f"the header has {' '.join([word, *rest])[:80]}")
            elif not rest and re.fullmatch("[0-9]{1,12}", word):
                check_whole()
                first = first if frames else int(word)
                if int(word) != first + frames:
                    raise ValueError(f"the next one is {word}, expected {first + frames}")
                frames += 1
                seen = set()
            else:
                if len(rest) != len(bones[word].dof) or not rest:
                    raise ValueError(f"{len(rest)} numbers for the bone {word}, expected "
                                     f"{len(bones[word].dof)}")  # fmt: skip
                if word in seen:
                    what = "numbers before any frame" if not frames else "numbers twice"
                    raise ValueError(f"{what} for the bone {word}")
                seen.add(word)
                found[word].extend(map(number, rest))
        check_whole()
    except (IndexError, KeyError, ValueError) as error:
        raise FormatError(
            f"{path}, frame {frames}, is not as its skeleton says: {error}"
        ) from error
    poses = {}
    for bone, values in found.items():
        poses[bone] = np.frombuffer(values).reshape(-1, len(bones[bone].dof))
        poses[bone][:, [dof[0] == "r" for dof in bones[bone].dof]] *= angle
    if not frames or not all(np.isfinite(values).all() for values in poses.values()):
        raise FormatError(f"{path} has no frames, or numbers that are not finite")
    return poses, rate


def _lines(path: Path) -> Iterator[list[str]]:
    """Yield the words of each line that holds any and is no comment."""
    with path.open("r", encoding="latin-1") as stream:
        for line in stream:
            words = line.split()
            if words and not words[0].startswith("#"):
                yield words


def _euler(angles: np.ndarray) -> np.ndarray:
    """Returns Rz Ry Rx, (T, 3, 3), of angles about x, y and z, (T, 3), radians."""
    product = np.tile(np.eye(3), (len(angles), 1, 1))
    for axis, angle in enumerate(angles.T):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.tile(np.eye(3), (len(angles), 1, 1))
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[:, i, i], turn[:, i, j], turn[:, j, i], turn[:, j, j] = c, -s, s, c
        product = turn @ product
    return product


def read_deepmimic(path: Path, name: str = "") -> Motion:
    """Returns the motion of a DeepMimic clip: 43 numbers a frame, after its duration.

    The abdomen turns halfway between pelvis and chest; head and hands follow neck and forearm.

    Args:
        path: the file. name: for the result.

    Raises:
        FormatError: not JSON, no frames, frames of another length, frames that last unlike long
            (but for the last, whose duration has no meaning), or a quaternion of length zero.

    Source: Peng et al., DeepMimic, 2018; https://github.com/xbpeng/DeepMimic.
    """
    try:
        frames = np.array(json.loads(path.read_text(encoding="utf-8"))["Frames"], float)
        if frames.ndim != 2 or frames.shape[1] != 44 or not np.isfinite(frames).all():
            raise ValueError(f"frames of the shape {frames.shape}, expected finite (T, 44)")
        lasting = frames[:-1, 0] if len(frames) > 1 else frames[:, 0]
        if not (lasting > 0).all():
            raise ValueError("no frame lasts" if not lasting.any() else "a frame does not last")
        if lasting.max() > 1.01 * lasting.min():
            raise ValueError(f"frames last {lasting.min():g} to {lasting.max():g} seconds")
        for joint, start, size in _mimic_numbers():
            if size == 4 and not (np.abs(frames[:, start : start + 4]).max(1) > 1e-6).all():
                raise ValueError(f"a quaternion of length zero for the joint {joint}")
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FormatError(f"{path} is not a DeepMimic clip: {error}") from error
    rotations = np.empty((len(frames), len(HUMAN_PARTS), 3, 3))
    world = {part: rotations[:, i] for i, part in enumerate(HUMAN_PARTS)}
    parents = {joint: parent for joint, parent, _ in _MIMIC_JOINTS}
    for joint, start, size in _mimic_numbers():
        values = frames[:, start : start + size]
        # A joint of one number is a hinge about z.
        local = _quaternion(values) if size == 4 else _euler(values * np.array([0.0, 0, 1]))
        local = _MIMIC_AXES @ local @ _MIMIC_AXES.T
        if parents[joint] >= 0:
            local = world[_MIMIC_PARTS[_MIMIC_JOINTS[parents[joint]][0]]] @ local
        world[_MIMIC_PARTS[joint]][:] = local
    world["abdomen"][:] = _halfway(world["pelvis"], world["chest"])
    for part, leader in _MIMIC_FOLLOWERS.items():
        world[part][:] = world[leader]
    up, down, ahead, left = np.eye(3)[1], -np.eye(3)[1], np.eye(3)[0], -np.eye(3)[2]
    directions = np.stack(5 * [up] + [left] + 5 * [down] + [ahead] + [-left] + 5 * [down] + [ahead])
    return Motion(
        name,
        torch.from_numpy(rotations),
        torch.from_numpy(directions @ _MIMIC_AXES.T),
        torch.from_numpy(frames[:, 1:4] @ _MIMIC_AXES.T).float(),
        float(1 / np.median(lasting)),
    )


def _mimic_numbers() -> Iterator[tuple[str, int, int]]:
    """Yield for each joint its name, and the first and the count of its numbers in a frame."""
    start = 4
    for joint, _, size in _MIMIC_JOINTS:
        yield joint, start, size
        start += size


def _quaternion(q: np.ndarray) -> np.ndarray:
    """Returns rotations (T, 3, 3) of quaternions (T, 4), real part first, of any length above 0."""
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return np.stack(rows, 1).reshape(-1, 3, 3)


def _halfway(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the rotations nearest to the mean of two, (T, 3, 3)."""
    u, _, vt = np.linalg.svd(a + b)
    return u @ vt
