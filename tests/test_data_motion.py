"""Motion capture and a depth scan: real files where they are at hand, small and broken ones."""

import json
import math

import pytest
import torch
from conftest import needs_data
from hypothesis import assume, given
from hypothesis import strategies as st

from equitutor.data import (
    ACROBATIC,
    EVERYDAY,
    HUMAN_PARTS,
    FormatError,
    Motion,
    motion,
    retarget,
)
from equitutor.data.motion_files import read_cmu, read_deepmimic
from equitutor.groups import haar_so3
from equitutor.methods.articulated import anny_lite
from equitutor.rotations import smallest_rotation

INDEX = {part: i for i, part in enumerate(HUMAN_PARTS)}
UP = torch.tensor([0.0, 0, 1]).double()
AHEAD = torch.tensor([0.0, -1, 0]).double()


def pointing(rotations, directions, part):
    """Return where a part points in each frame, (T, 3)."""
    i = INDEX[part]
    return torch.nn.functional.normalize(rotations[:, i] @ directions[i].double(), dim=1)


def is_rotation(r):
    eye = torch.eye(3, dtype=r.dtype)
    return (r @ r.mT - eye).abs().max() < 1e-5 and (torch.linalg.det(r) - 1).abs().max() < 1e-5


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=needs_data(f"mocap_{name.split('/')[0]}"))
        for name in EVERYDAY + ACROBATIC
    ],
)
def test_real_clips(name):
    clip = motion(name)
    t = len(clip)
    assert clip.rotations.shape == (t, 19, 3, 3)
    assert clip.root.shape == (t, 3)
    assert is_rotation(clip.rotations)
    torch.testing.assert_close(clip.directions.norm(dim=1), torch.ones(19).double())
    assert 20 < clip.rate < 121
    body = anny_lite()
    rotations = retarget(clip, body.names, body.directions)
    assert is_rotation(rotations)
    for side in ("left", "right"):  # knees and elbows bend one way
        for part in ("upper arm", "forearm", "thigh", "shin"):
            a = pointing(rotations, body.directions, f"{side} {part}")
            b = pointing(clip.rotations, clip.directions, f"{side} {part}")
            assert (a - b).abs().max() < 1e-6
    # frames follow one another without a jump, but for a hand that flips in the climbing clip
    step = (rotations[1:] - rotations[:-1]).square().sum((-2, -1)).sqrt()
    assert (step > 60 / clip.rate).double().mean() < 2e-4
    if name in EVERYDAY:
        assert (pointing(clip.rotations, clip.directions, "chest") @ UP).min() > 0.5
        for side in ("left", "right"):
            assert (pointing(rotations, body.directions, f"{side} thigh") @ UP).mean() < -0.6
            assert (pointing(rotations, body.directions, f"{side} foot") @ AHEAD).mean() > 0.3
    elif name == "deepmimic/cartwheel":
        assert (pointing(clip.rotations, clip.directions, "chest") @ UP).min() < -0.5


@needs_data("mocap_deepmimic")
def test_a_walk_swings_its_legs_in_turn():
    body = anny_lite()
    r = retarget(motion("deepmimic/walk"), body.names, body.directions)
    left = pointing(r, body.directions, "left thigh") @ AHEAD
    right = pointing(r, body.directions, "right thigh") @ AHEAD
    assert float(torch.corrcoef(torch.stack([left, right]))[0, 1]) < -0.5
    # a knee bends backward: the shin points behind the thigh
    for side in ("left", "right"):
        shin = pointing(r, body.directions, f"{side} shin") @ AHEAD
        thigh = pointing(r, body.directions, f"{side} thigh") @ AHEAD
        assert (shin - thigh).mean() < -0.1


@given(seed=st.integers(0, 9999))
def test_retargeting_points_parts_where_the_clip_points_them(seed):
    g = torch.Generator().manual_seed(seed)
    rest = torch.nn.functional.normalize(torch.randn(19, 3, generator=g).double(), dim=1)
    own = torch.randn(19, 3, generator=g).double()
    unit = torch.nn.functional.normalize(own, dim=1)
    assume((unit * rest).sum(1).min() > -0.95)  # between opposite ones any axis would do
    rotations = haar_so3(2 * 19, g).view(2, 19, 3, 3)
    clip = Motion("some", rotations, rest, torch.zeros(2, 3), 30.0)
    laid = retarget(clip, HUMAN_PARTS, own)
    assert is_rotation(laid)
    for part in HUMAN_PARTS[5:]:
        a, b = pointing(laid, own, part), pointing(rotations, rest, part)
        assert (a - b).abs().max() < 1e-9
    assert torch.equal(laid[:, :5], rotations[:, :5])  # the torso is kept
    # turning the whole clip turns the result
    turn = haar_so3(1, g)[0]
    moved = retarget(Motion("some", turn @ rotations, rest, clip.root, 30.0), HUMAN_PARTS, own)
    assert (moved - turn @ laid).abs().max() < 1e-12


def test_smallest_rotation_of_opposite_and_equal_vectors():
    a = torch.nn.functional.normalize(torch.randn(5, 3).double(), dim=1)
    assert (smallest_rotation(a, a) - torch.eye(3).double()).abs().max() < 1e-12
    assert smallest_rotation(a, -a).isfinite().all()


def still_clip(frames=2, **changes):
    row = [1 / 30, 0, 0.9, 0] + 3 * [1, 0, 0, 0]
    for _ in range(2):
        row += [1, 0, 0, 0, 0.0, 1, 0, 0, 0, 1, 0, 0, 0, 0.0]
    for i, value in changes.items():
        row[int(i[1:])] = value
    return {"Loop": "none", "Frames": frames * [row]}


def test_deepmimic_by_hand(tmp_path):
    path = tmp_path / "clip.txt"
    path.write_text(json.dumps(still_clip()))
    clip = read_deepmimic(path)
    assert (clip.rotations - torch.eye(3).double()).abs().max() < 1e-12
    assert clip.rate == pytest.approx(30)
    assert torch.allclose(clip.directions[INDEX["left thigh"]], -UP)
    assert torch.allclose(clip.directions[INDEX["right foot"]], AHEAD)
    assert torch.allclose(clip.root[0], torch.tensor([0.0, 0, 0.9]))
    # number 20 is the right knee: a hinge by -90 degrees takes the shin behind
    path.write_text(json.dumps(still_clip(n20=-math.pi / 2)))
    bent = read_deepmimic(path)
    assert torch.allclose(pointing(bent.rotations, bent.directions, "right shin")[0], -AHEAD)
    assert torch.allclose(pointing(bent.rotations, bent.directions, "right thigh")[0], -UP)
    assert torch.allclose(pointing(bent.rotations, bent.directions, "left shin")[0], -UP)
    # the chest turned by a quarter takes arms and head along, and the abdomen halfway
    half = math.sqrt(0.5)
    path.write_text(json.dumps(still_clip(n8=half, n10=half)))
    turned = read_deepmimic(path).rotations[0]
    assert torch.allclose(turned[INDEX["head"]], turned[INDEX["chest"]])
    assert torch.allclose(turned[INDEX["abdomen"]] @ turned[INDEX["abdomen"]],
                          turned[INDEX["chest"]], atol=1e-9)  # fmt: skip
    assert torch.allclose(turned[INDEX["pelvis"]], torch.eye(3).double())


BONES = (
    "lowerback", "thorax", "lowerneck", "head", "lclavicle", "lhumerus", "lradius", "lhand",
    "rclavicle", "rhumerus", "rradius", "rhand", "lfemur", "ltibia", "lfoot", "rfemur", "rtibia",
    "rfoot",
)  # fmt: skip


FRAME = "root 1 2 3 0 90 0\nlfemur 90\n"


def write_cmu(folder, bones=BONES, frame=FRAME, change=(), header=":FULLY-SPECIFIED\n:DEGREES"):
    """Write a skeleton and one frame, with parts of the skeleton's text replaced."""
    lines = [":units", "length 0.45", ":root", "order TX TY TZ RX RY RZ", ":bonedata"]
    for bone in bones:
        lines += ["begin", f"name {bone}", "direction 0 -1 0", "length 5", "axis 0 0 20 XYZ"]
        lines += ["dof rx"] if bone == "lfemur" else []
        lines += ["end"]
    parents = dict.fromkeys(bones, "root") | {"ltibia": "lfemur", "lfoot": "ltibia"}
    lines += [":hierarchy", "begin"]
    # children first, to see that the order in the file does not matter
    lines += [f"{parents[b]} {b}" for b in reversed(bones)] + ["end"]
    text = "\n".join(lines)
    for old, new in change:
        assert old in text
        text = text.replace(old, new)
    (folder / "a.asf").write_text(text)
    (folder / "a.amc").write_text(f"#!OML:ASF\n{header}\n1\n{frame}")
    return folder / "a.asf", folder / "a.amc"


def test_cmu_by_hand(tmp_path):
    clip = read_cmu(*write_cmu(tmp_path))
    assert len(clip) == 1
    # root: a quarter about y (up there), which is z here
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]).double()
    assert torch.allclose(clip.rotations[0, INDEX["pelvis"]], quarter, atol=1e-12)
    assert torch.allclose(clip.root[0], 0.0254 / 0.45 * torch.tensor([1.0, -3.0, 2.0]), atol=1e-6)
    # the thigh: parent times C M C^-1, with C a turn by 20 degrees about z
    c, s = math.cos(math.radians(20)), math.sin(math.radians(20))
    axis = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]]).double()
    about_x = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]).double()
    about_y = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]).double()
    b = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]).double()
    want = b @ (about_y @ axis @ about_x @ axis.T) @ b.T
    for part in ("left thigh", "left shin", "left foot"):
        assert torch.allclose(clip.rotations[0, INDEX[part]], want, atol=1e-12)
    assert torch.allclose(clip.rotations[0, INDEX["right thigh"]], quarter, atol=1e-12)


def quiet(clip):
    """Return what two readings of one motion have in common."""
    return clip.rotations, clip.directions, clip.root.double(), torch.tensor(clip.rate).double()


SIDE = math.radians(20)


@pytest.mark.parametrize(
    "other",
    [
        dict(header=":DEGREES\n:FULLY-SPECIFIED\n:SAMPLES-PER-SECOND 120"),
        dict(header="", change=[("length 0.45", "")]),  # what CMU's files say in all cases
        dict(header=":RADIANS", frame=f"root 1 2 3 0 {math.pi / 2} 0\nlfemur {math.pi / 2}\n"),
        # radians in the skeleton; the frames name their own unit, or take that of the skeleton
        dict(change=[("length 0.45", "angle rad"), ("axis 0 0 20", f"axis 0 0 {SIDE}")]),
        dict(
            change=[("length 0.45", "angle rad"), ("axis 0 0 20", f"axis 0 0 {SIDE}")],
            header="", frame=f"root 1 2 3 0 {math.pi / 2} 0\nlfemur {math.pi / 2}\n",
        ),
        # units after what they are units of
        dict(change=[("length 0.45", ""), (":hierarchy", ":units\nlength 0.45\n:hierarchy")]),
        dict(change=[("length 0.45", "length 0.9")], frame="root 2 4 6 0 90 0\nlfemur 90\n"),
        dict(change=[("order TX TY TZ RX RY RZ", "order RZ RY TY RX TZ TX")],
             frame="lfemur 90\nroot 0 90 2 0 3 1\n"),
        dict(change=[("order TX", "axis xyz\nposition 0 0 0\norientation 0 0 0\norder tx")]),
        # a bone's name is not its first line
        dict(change=[(f"name {b}\ndirection 0 -1 0\nlength 5\n",
                      f"direction 0 -2 0\nlength 5\nname {b}\n") for b in BONES]),
        dict(change=[("dof rx", "dof RX\nlimits (0 1)")]),
    ],
)  # fmt: skip
def test_headers_are_obeyed(tmp_path, other):
    plain = quiet(read_cmu(*write_cmu(tmp_path)))
    found = quiet(read_cmu(*write_cmu(tmp_path, **other)))
    for a, b in zip(plain, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (dict(change=[("axis 0 0 20 XYZ", "axis 10 20 30 ZYX")]), "order ZYX, expected XYZ"),
        (dict(change=[("axis 0 0 20 XYZ", "axis 10 20 30")]), "order 30, expected XYZ"),
        (dict(change=[("order TX", "axis ZYX\norder TX")]), "order ZYX, expected XYZ"),
        (dict(change=[("order TX", "position 1 0 0\norder TX")]), "position of the root is 1 0"),
        (dict(change=[("order TX", "orientation 0 9 0\norder TX")]), "the orientation of the root"),
        (dict(change=[("order TX TY TZ", "order TX TY TY")]), "order of the root is TX TY TY"),
        (dict(change=[("order TX", "rotorder 1\norder TX")]), "the root has 'rotorder'"),
        (dict(change=[("length 0.45", "angle turns")]), "'turns', expected deg or rad"),
        (dict(change=[("length 0.45", "length 0")]), "the unit of length is 0"),
        (dict(change=[("length 0.45", "length 1_0")]), "could not convert"),
        (dict(change=[("dof rx", "dof rx tx")]), "dof rx tx, expected some of rx ry rz"),
        (dict(change=[("dof rx", "dof l")]), "dof l, expected"),
        (dict(change=[("dof rx", "dof rx rx")]), "dof rx rx, expected"),
        (dict(change=[("dof rx", "dof rx\nstiffness 3")]), "a bone has 'stiffness'"),
        (dict(change=[("dof rx\nend", "dof rx\nend\nend")]), "'end' stands outside of begin"),
        (dict(change=[(":bonedata", ":bonedata\ndof rx")]), "'dof' stands outside of begin"),
        (dict(change=[("name head", "name thorax")]), "has the bone thorax twice"),
        (dict(change=[("name head\ndirection 0 -1 0", "name head")]), "direction of the bone head"),
        (dict(change=[("name head\ndirection 0 -1 0", "name head\ndirection 0 -1")]), "2 and 3"),
        (dict(change=[("direction 0 -1 0", "direction 0 inf 0")]), "not finite"),
        (dict(change=[(":bonedata", ":motors\n:bonedata")]), "the section :motors"),
        (dict(change=[("lfemur ltibia", "lfemur ltibia\nroot ltibia")]), "ltibia has two parents"),
        (dict(change=[("lfemur ltibia", "lfemur ltibia\nltibia root")]), "root has two parents"),
        (dict(change=[("root lfemur", "ltibia lfemur")]), "does not hang on the root: lfemur"),
        (dict(change=[("root head", "")]), "does not hang on the root: head"),
        (dict(header=":GRADIANS"), "the header has :GRADIANS"),
        (dict(header=":SAMPLES-PER-SECOND 0"), "the header has :SAMPLES-PER-SECOND 0"),
        (dict(frame="root 1 2 3 0 90 0\n"), "no numbers for the bone lfemur"),
        (dict(frame=f"{FRAME}2\nlfemur 90\n3\n{FRAME}"), "frame 2, .*no numbers for the bone root"),
        (dict(frame=f"{FRAME}3\n{FRAME}"), "the next one is 3, expected 2"),
        (dict(frame=f"{FRAME}1\n{FRAME}"), "the next one is 1, expected 2"),
        (dict(frame=FRAME + "lfemur 90\n"), "numbers twice for the bone lfemur"),
        (dict(frame=FRAME + "head\n"), "0 numbers for the bone head"),
        (dict(header="lfemur 90"), "numbers before any frame for the bone lfemur"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_by_name(tmp_path, other, message):
    with pytest.raises(FormatError, match=message):
        read_cmu(*write_cmu(tmp_path, **other))


def test_another_unit_of_length_and_rate(tmp_path):
    plain = read_cmu(*write_cmu(tmp_path))
    changed = read_cmu(*write_cmu(tmp_path, change=[("length 0.45", "length 1.0")],
                                  header=":SAMPLES-PER-SECOND 60"))  # fmt: skip
    torch.testing.assert_close(changed.root, 0.45 * plain.root)
    assert changed.rate == 60


def test_broken_motion_files(tmp_path):
    cases = [
        (dict(frame=""), "no numbers for the bone root"),
        (dict(frame="root 1 2 3 0 90\n"), "5 numbers for the bone root"),
        (dict(frame="tail 1\n"), "tail"),
        (dict(frame="lfemur much\n"), "frame 1"),
        (dict(frame="root 1 2 3 0 90 0\nlfemur nan\n"), "not finite"),
        (dict(bones=BONES[:-1]), "no bone rfoot"),
    ]
    for changes, message in cases:
        with pytest.raises(FormatError, match=message):
            read_cmu(*write_cmu(tmp_path, **changes))
    skeleton, frames = write_cmu(tmp_path)
    frames.write_text(":DEGREES\n")
    with pytest.raises(FormatError, match="no frames"):
        read_cmu(skeleton, frames)
    skeleton.write_text(":bonedata\ndirection 1 2\n")
    with pytest.raises(FormatError, match="not a sound ASF"):
        read_cmu(skeleton, frames)
    skeleton.write_text(":hierarchy\nroot ghost\n")
    with pytest.raises(FormatError, match="no data on the bone ghost"):
        read_cmu(skeleton, frames)
    path = tmp_path / "clip.txt"
    two_rates = still_clip(frames=3)
    two_rates["Frames"][1] = [0.05, *two_rates["Frames"][1][1:]]
    for text, message in (
        ("{", "not a DeepMimic clip"),
        ("[]", "not a DeepMimic clip"),
        ('{"Frames": [[1, 2]]}', r"shape \(1, 2\)"),
        (json.dumps(still_clip(n0=0.0)), "no frame lasts"),
        (json.dumps(still_clip(n4=0.0)), "a quaternion of length zero for the joint root"),
        (json.dumps(two_rates), "frames last 0.0333333 to 0.05 seconds"),
        ("[" * 100_000, "not a DeepMimic clip"),
        ('{"Frames": [[1' + 400 * "0" + "]]}", "not a DeepMimic clip"),
        (json.dumps(still_clip(n5=float("nan"))), "not a DeepMimic clip"),
    ):
        path.write_text(text)
        with pytest.raises(FormatError, match=message):
            read_deepmimic(path)


def test_bad_arguments():
    clip = Motion("a", torch.eye(3).double().expand(1, 19, 3, 3), torch.ones(19, 3).double(),
                  torch.zeros(1, 3), 30.0)  # fmt: skip
    cases = [
        (lambda: motion("cmu/99_99"), "name is 'cmu/99_99', but has to be 'cmu/02_01'"),
        (lambda: retarget(clip, ["tail"], torch.ones(1, 3)), "parts has 'tail'"),
        (lambda: retarget(clip, ["head"], torch.ones(2, 3)), r"directions has the shape \(2, 3\)"),
        (lambda: retarget(clip, ["head"], torch.zeros(1, 3)), "a row without length"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
