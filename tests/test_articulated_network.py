"""ArtEq at random parameters: what is exact, what is not, and that nothing odd breaks it."""

import pytest
import torch
from conftest import rounding
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from equitutor.groups import haar_so3
from equitutor.methods.articulated import (
    ArtEq,
    PartLift,
    PointNet,
    Prediction,
    TensorField,
    fit_loss,
    fit_terms,
    part_centroids,
    part_vectors,
    pool_parts,
    random_scans,
    toy_body,
    use_true_labels,
    weighted_kabsch,
)
from equitutor.methods.icosahedral import points as point_module
from equitutor.methods.icosahedral import project_so3, rotation_angle, rotation_tables

BODY = toy_body()
TABLES = rotation_tables()
MOVE = torch.tensor([1.0, -2.0, 3.0])


def scans(n=2, points=120, root="random", seed=0):
    return random_scans(BODY, n, points, root=root, generator=torch.Generator().manual_seed(seed))


def build(dtype=torch.float64, seed=0, **settings):
    torch.manual_seed(seed)
    return ArtEq(BODY.parents, BODY.n_shape, **settings).to(dtype).eval()


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


@torch.no_grad()
def errors(net, x, elements):
    """Return the worst errors over the elements: M relative, R, logits and shape absolute."""
    out = net(x)
    worst = [0.0] * 4
    for g in elements.to(x):
        moved = net(x @ g.T)
        found = (
            relative(moved.matrices, g @ out.matrices),
            float((moved.rotations - g @ out.rotations).abs().max()),
            float((moved.logits - out.logits).abs().max()),
            float((moved.beta - out.beta).abs().max()),
        )
        worst = [max(a, b) for a, b in zip(worst, found, strict=True)]
    return worst


SETTINGS = [
    {},
    {"lift": 0, "vectors": False, "norm": "points", "invariants": False, "relative_bias": False},
    {"parent_conditioning": True},
    {"frame": 3, "radii": (0.16, 0.8), "neighbors": (24, 48)},
    {"tables": rotation_tables("octahedral")},
    {"tables": rotation_tables("tetrahedral"), "dim": 16, "heads": 2},
]


@pytest.mark.parametrize("kind", SETTINGS)
def test_exact_for_the_whole_group_in_double(kind):
    net = build(**kind)
    tables = kind.get("tables", TABLES)
    matrix, rotation, logits, beta = errors(net, scans().points.double(), tables.elements)
    assert matrix < 1e-12
    assert rotation < 1e-8  # the projection multiplies errors of a small M
    assert logits < 1e-13
    assert beta < 1e-13


def test_exact_for_all_sixty_in_single():
    net = build(torch.float32)
    matrix, _, logits, beta = errors(net, scans().points, TABLES.elements)
    assert max(matrix, logits, beta) < rounding(torch.float32, net)


@settings(max_examples=6)
@given(g=st.integers(0, 59), seed=st.integers(0, 99))
def test_frame_turns_with_the_cloud_and_sees_mirrors(g, seed):
    net = build(seed=seed, frame=3)
    x = scans(seed=seed).points.double()
    x = x - x.mean(1, keepdim=True)
    r = TABLES.elements[g]
    with torch.no_grad():
        v = net.frame_of(net.encode(x)[0])
        turned = net.frame_of(net.encode(x @ r.T)[0])
    assert v.shape == (2, 6, 3)
    assert relative(turned, v @ r.T) < 1e-10
    # the last three are cross products: they make the frame one of rotations, not of reflections
    assert relative(torch.linalg.cross(v[:, :3], v[:, [1, 2, 0]]) / 3, v[:, 3:]) < 1e-12
    wrong = torch.linalg.cross(-v[:, :3], -v[:, [1, 2, 0]]) / 3
    assert relative(wrong, -v[:, 3:]) > 1


def test_off_the_grid_an_untrained_net_is_far_off():
    matrix, *_ = errors(build(), scans().points.double(), haar_so3(5, seeded(1)))
    assert matrix > 0.1
    # and a larger group is not at home in a smaller one's net
    net = build(tables=rotation_tables("tetrahedral"), dim=16)
    matrix, *_ = errors(net, scans().points.double(), TABLES.elements)
    assert matrix > 0.1


def test_a_reflection_is_noticed():
    x = scans().points.double()
    net = build()
    mirror = torch.diag(torch.tensor([-1.0, 1, 1], dtype=x.dtype))
    with torch.no_grad():
        out, seen = net(x), net(x @ mirror)
    assert (out.logits - seen.logits).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_translation(dtype):
    x = scans().points.to(dtype)
    net = build(dtype)
    far = MOVE.abs().max().item()  # a point's digits are lost where it is far from the origin
    tolerance = rounding(dtype, net, far)
    with torch.no_grad():
        out, moved = net(x), net(x + MOVE.to(dtype))
    assert relative(moved.matrices, out.matrices) < tolerance
    assert relative(moved.logits, out.logits) < tolerance
    assert relative(moved.beta, out.beta) < tolerance


class PerAnchor(nn.Module):
    """Broken norm: each group element has statistics of its own."""

    def __init__(self, channels):
        super().__init__()
        self.mean = torch.randn(60, channels)

    def forward(self, f):
        return f - self.mean.to(f)


def test_broken_twins_fail_the_tight_test(monkeypatch):
    x = scans(points=200).points
    broken = build()
    broken.stage1.norm1 = PerAnchor(8)
    matrix, _, logits, _ = errors(broken, x.double(), TABLES.elements[:10])
    assert matrix > 1e-3
    assert logits > 1e-4

    # The shortcut for distances, in single precision and away from the origin. Centering hides
    # the offset from the network, so the twin does without.
    def shortcut(a, b):
        return torch.cdist(a + 50, b + 50, compute_mode="use_mm_for_euclid_dist")

    net = build(torch.float32)
    monkeypatch.setattr(point_module, "distances", shortcut)
    matrix, _, logits, _ = errors(net, x, TABLES.elements[:10])
    assert max(matrix, logits) > rounding(torch.float32, net)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lift_is_exact_for_one_part_alone_even_where_parts_touch(dtype):
    tolerance = rounding(dtype, 2)
    torch.manual_seed(0)
    lift = PartLift(TABLES, 8).to(dtype)
    s = scans(1, 200)
    x, joint = s.points.to(dtype), BODY.joints[2].to(dtype)
    part = s.labels == 2
    with torch.no_grad():
        out = lift(x, s.labels, 6)
        for g in (1, 23, 59):
            turned = torch.where(
                part[..., None], (x - joint) @ TABLES.elements[g].to(dtype).T + joint, x
            )
            moved = lift(turned, s.labels, 6)
            expected = out[:, 2][:, TABLES.mul[TABLES.inv[g]]]
            assert relative(moved[:, 2], expected) < tolerance
            others = [0, 1, 3, 4, 5]
            assert torch.equal(moved[:, others], out[:, others])
            assert (moved[:, 2] - out[:, 2]).abs().max() > 0.01


def test_vectors_between_parts_are_exact_for_a_common_rotation_only():
    c = torch.randn(1, 6, 3, generator=seeded(0), dtype=torch.float64)
    g = 7
    vectors = part_vectors(c, BODY.parents, TABLES.elements)
    turned = part_vectors(c @ TABLES.elements[g].T, BODY.parents, TABLES.elements)
    permuted = vectors[:, :, TABLES.mul[TABLES.inv[g]]]
    assert (turned - permuted).abs().max() < 1e-13
    alone = c.clone()
    alone[:, 2] = alone[:, 2] @ TABLES.elements[g].T
    moved = part_vectors(alone, BODY.parents, TABLES.elements)
    assert (moved[:, 2] - permuted[:, 2]).abs().max() > 0.1


def test_pooling_leaves_empty_parts_at_zero():
    weights = torch.zeros(1, 5, 3)
    weights[..., 1] = 1
    x, f = torch.randn(1, 5, 3), torch.randn(1, 5, 60, 2)
    assert part_centroids(x, weights)[:, [0, 2]].abs().max() == 0
    torch.testing.assert_close(part_centroids(x, weights)[:, 1], x.mean(1))
    assert pool_parts(f, weights)[:, [0, 2]].abs().max() == 0
    torch.testing.assert_close(pool_parts(f, weights)[:, 1], f.mean(1))


def test_pose_loss_reaches_every_element_of_a_batch():
    s = scans(5)
    net = build(torch.float32)
    points = s.points.clone().requires_grad_()
    out = net(points, s.labels)
    whole = fit_terms(out, s)["pose"]
    # what the paper's own code does: the first element of the batch only
    one = Prediction(*(None if v is None else v[:1] for v in out))
    first = fit_terms(one, s[:1])["pose"]
    for loss, reached in ((whole, 5), (first, 1)):
        (gradient,) = torch.autograd.grad(loss, points, retain_graph=True)
        assert (gradient.flatten(1).norm(dim=1) > 1e-7).sum() == reached


@pytest.mark.parametrize("network", ["arteq", "pointnet"])
def test_gradients_are_finite_at_the_start(network):
    torch.manual_seed(0)
    net = build(torch.float32) if network == "arteq" else PointNet(6, 3)
    s = scans(3)
    fit_loss(net(s.points), s).backward()
    for name, value in net.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
        # Equal weights on all rotations add up to no matrix: that bias gets rounding alone.
        if name not in ("lift.first.bias", "weight.2.bias"):
            assert value.grad.abs().max() > 0, name


def test_uniform_weights_give_no_nan():
    net = build(torch.float32)
    nn.init.zeros_(net.weight[-1].weight)
    nn.init.constant_(net.weight[-1].bias, 1 / 60)
    s = scans(2)
    out = net(s.points)
    assert out.matrices.abs().max() < rounding(torch.float32, 1)
    assert out.rotations.isfinite().all()
    fit_loss(out, s).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_labels_get_no_gradient_from_the_pose():
    net = build(torch.float32)
    s = scans(2)
    fit_terms(net(s.points), s)["pose"].backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in net.segment.parameters())


NETWORKS = {
    "arteq": lambda: ArtEq(BODY.parents, 3),
    "pointnet": lambda: PointNet(6, 3),
    "vectors": lambda: TensorField(6, 3, layers=1, width=4),
    "kabsch": lambda: TensorField(6, 3, layers=1, width=4, head="kabsch"),
}


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=6)
@given(n=st.integers(1, 9), copies=st.integers(1, 3), part=st.integers(0, 5))
def test_few_points_repeated_points_and_empty_parts(name, n, copies, part):
    torch.manual_seed(n)
    net = NETWORKS[name]()
    x = torch.randn(2, n, 3).repeat(1, copies, 1)
    labels = torch.full((2, n * copies), part)  # all other parts are empty
    for out in (net(x), net(x, labels)):
        assert all(v.isfinite().all() for v in out if v is not None)
        assert out.rotations.isfinite().all()
        sum(v.square().sum() for v in out if v is not None).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("head", ["vectors", "kabsch"])
def test_tensor_field_is_exact_for_every_rotation(head):
    torch.manual_seed(0)
    net = TensorField(6, 3, width=8, layers=2, head=head).double().eval()
    x = scans(1, 60).points.double()
    turns = haar_so3(4, seeded(0))
    # e3nn computes Clebsch-Gordan coefficients in single precision
    matrix, _, logits, beta = errors(net, x, turns)
    assert matrix < 1e-5
    assert max(logits, beta) < 1e-5
    with torch.no_grad():
        out, moved = net(x), net(x + MOVE)
        mirrored = net(x * torch.tensor([-1.0, 1, 1]))
    assert relative(moved.matrices, out.matrices) < 1e-9
    assert (mirrored.logits - out.logits).abs().max() > 1e-5  # left and right can be told apart
    # the twin without symmetry, measured the same way
    matrix, *_ = errors(PointNet(6, 3).double(), x, turns)
    assert matrix > 0.1


@settings(max_examples=6)
@given(seed=st.integers(0, 999))
def test_kabsch_finds_each_part(seed):
    s = scans(2, 300, seed=seed)
    one_hot = nn.functional.one_hot(s.labels, 6).double()
    m = weighted_kabsch(s.points.double() + MOVE, s.canonical.double(), one_hot)
    assert (project_so3(m) - s.rotations.double()).abs().max() < 1e-4
    reversed_ = weighted_kabsch(s.canonical.double(), s.points.double(), one_hot)
    assert (project_so3(reversed_) - s.rotations.double()).abs().max() > 0.1


def test_true_labels_alternate_and_then_stop():
    used = [use_true_labels(step, 100) for step in range(100)]
    assert sum(used) == 35
    assert not any(used[70:])


@pytest.mark.parametrize("start", ["perfect", "identity", "zero"])
@pytest.mark.parametrize("canonical", [False, True])
def test_terms_of_the_loss_have_finite_gradients_at_the_exact_point(start, canonical):
    """A perfect prediction, and the rest pose: where lengths and angles are zero."""
    s = scans(2, 80)
    logits = 50 * (nn.functional.one_hot(s.labels, 6).float() - 0.5)
    eye = torch.eye(3).expand_as(s.rotations)
    matrices = {"perfect": s.rotations, "identity": eye, "zero": 0 * eye}[start]
    beta = s.beta if start == "perfect" else torch.zeros_like(s.beta)
    inputs = [t.detach().clone().requires_grad_() for t in (logits, matrices, beta, s.canonical)]
    out = Prediction(*inputs[:3], canonical=inputs[3] if canonical else None)
    terms = fit_terms(out, s, BODY)
    assert set(terms) == {"parts", "pose", "shape", "vertices", "joints"} | (
        {"canonical"} if canonical else set()
    )
    for name, term in terms.items():
        grads = torch.autograd.grad(term, inputs, retain_graph=True, allow_unused=True)
        assert all(g.isfinite().all() for g in grads if g is not None), name
        if start == "perfect":  # the least value: nothing is to change
            assert all(g.abs().max() < 1e-5 for g in grads if g is not None), name
    angle = rotation_angle(out.rotations, s.rotations).sum()
    (grad,) = torch.autograd.grad(angle, inputs[1])
    assert grad.isfinite().all()
    if start == "identity":  # the angle tells the way, so the projection passed it on
        assert grad.abs().max() > 0.1


def test_what_names_no_part_is_refused():
    x, labels = torch.rand(1, 20, 3), torch.zeros(1, 20, dtype=torch.long)
    for bad in (labels - 1, labels + 6):
        for net in (ArtEq(BODY.parents, 3, lift=0), TensorField(6, 3)):
            with pytest.raises(RuntimeError, match="out of bounds"):
                net(x, bad)


def test_one_cloud_that_is_not_finite_spoils_no_other():
    x = torch.rand(2, 60, 3)
    net = ArtEq(BODY.parents, 3).eval()
    alone = net(x)
    x[1, 7, 0] = torch.nan
    out = net(x)
    assert out.matrices[1].isnan().any()
    torch.testing.assert_close(out.matrices[0], alone.matrices[0])


def test_bad_input():
    x = torch.rand(1, 20, 3)
    labels = torch.zeros(1, 20, dtype=torch.long)
    net = ArtEq(BODY.parents, 3)
    cases = [
        (lambda: net(x[0]), r"points is \(20, 3\); need a tensor of shape \(B, N, 3\)"),
        (
            lambda: net(x, labels[:, :5]),
            r"labels has shape \(1, 5\) and dtype torch.int64; need \(1, 20\)",
        ),
        (lambda: net(x, labels > 0), "dtype torch.bool; need"),
        (lambda: ArtEq((-1, 5), 3), r"parents is \(-1, 5\); need -1 and then"),
        (lambda: ArtEq(BODY.parents, 3, lift=-1), "lift is -1; need an int of at least 0"),
        (lambda: ArtEq(BODY.parents, 3, lift_points=0), "lift_points is 0"),
        (lambda: ArtEq(BODY.parents, 3, radii=(0.1,)), r"radii is \(0.1,\); need two"),
        (lambda: part_centroids(x, torch.rand(1, 5, 6)), r"weights has shape \(1, 5, 6\)"),
        # one row of weights would be used for both clouds
        (lambda: pool_parts(torch.rand(2, 20, 60, 1), torch.rand(1, 20, 6)), "weights has shape"),
        (lambda: part_vectors(x, BODY.parents, TABLES.elements), r"need \(B, 6, 3"),
        (lambda: TensorField(6, 3, radius=0.0), "radius is 0.0"),
        (lambda: weighted_kabsch(x, x, x[..., 0]), r"weights \(1, 20\)"),
        (lambda: fit_terms(net(x), scans(2, 20)), r"of \(1, 20\) clouds and points; need \(2, 20"),
        (lambda: use_true_labels(5, 5), "step is 5 of 5 steps"),
        (lambda: ArtEq(BODY.parents, 0), "n_shape is 0"),
        (lambda: ArtEq(BODY.parents, 3, frame=-1), "frame is -1; need an int of at least 0"),
        (lambda: ArtEq(BODY.parents, 3, samples=(10, 20)), r"samples is \(10, 20\)"),
        (lambda: ArtEq(BODY.parents, 3, channels=(8, True)), "channels is True"),
        (lambda: PartLift(TABLES, 4)(x, labels[:, :5], 6), "labels has shape"),
        (lambda: PointNet(6, 3)(x[..., :2]), "points is"),
        (lambda: PointNet(0, 3), "n_parts is 0"),
        (lambda: TensorField(6, 3, head="svd"), "head is 'svd'; need 'vectors' or 'kabsch'"),
        (lambda: TensorField(6, 3, width=2), "width is 2; need an int of at least 4"),
        (lambda: weighted_kabsch(x, x[:, :5], x), r"canonical has shape \(1, 5, 3\)"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def seeded(n):
    return torch.Generator().manual_seed(n)
