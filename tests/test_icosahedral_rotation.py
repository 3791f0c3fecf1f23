"""Weights on a group to one rotation: identities, projection, its gradient, and the angle."""

import math

import pytest
import torch
from conftest import rounding
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from equitutor.groups import haar_so3
from equitutor.methods.icosahedral import (
    matrix_loss,
    project_so3,
    rotation_angle,
    rotation_tables,
    weighted_rotation_mean,
)

TABLES = rotation_tables()
seeds = st.integers(0, 10_000)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turns(n, seed=0):
    return haar_so3(n, torch.Generator().manual_seed(seed))


def test_elements_sum_to_zero_and_reach_every_rotation():
    elements = TABLES.elements
    assert elements.sum(0).abs().max() < 1e-13
    r = turns(50)
    weights = 3 / 60 * torch.einsum("nij,aij->na", r, elements)
    assert (weighted_rotation_mean(weights, elements) - r).abs().max() < 1e-14
    weights = weights.float()
    assert (weighted_rotation_mean(weights, elements.float()) - r).abs().max() < rounding(
        torch.float32, 1
    )


@given(seed=seeds)
def test_mean_and_projection_commute_with_the_group(seed):
    weights = normal(3, 60, seed=seed)
    m = weighted_rotation_mean(weights, TABLES.elements)
    for g in range(60):
        moved = weights[:, TABLES.mul[TABLES.inv[g]]]
        turned = weighted_rotation_mean(moved, TABLES.elements)
        assert (turned - TABLES.elements[g] @ m).abs().max() < 1e-12
    wrong = weighted_rotation_mean(weights[:, TABLES.mul[7]], TABLES.elements)
    assert (wrong - TABLES.elements[7] @ m).abs().max() > 1e-3  # g instead of g^-1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_projection(dtype):
    tolerance = rounding(dtype, 3)
    m, g = normal(200, 3, 3).to(dtype), turns(200).to(dtype)
    r = project_so3(m)
    assert (r @ r.mT - torch.eye(3, dtype=dtype)).abs().max() < tolerance
    assert (torch.linalg.det(r) - 1).abs().max() < tolerance
    assert (torch.linalg.det(m) < 0).any()  # both signs were there
    well = torch.linalg.svdvals(m)[:, 1:] @ torch.tensor([1.0, -1], dtype=dtype) > 0.05
    commuted = (project_so3(g @ m) - g @ r).abs().amax((1, 2))
    assert commuted[well].max() < 50 * tolerance
    # nearest: no other rotation is closer
    others = turns(500, 1).to(dtype)
    best = (m[:, None] - r[:, None]).square().sum((-2, -1))
    assert ((m[:, None] - others).square().sum((-2, -1)) >= best - tolerance).all()


def test_without_the_sign_a_reflection_comes_out():
    u, _, vt = torch.linalg.svd(torch.diag(torch.tensor([3.0, 2, -1])))
    assert torch.linalg.det(u @ vt) < 0
    assert torch.linalg.det(project_so3(torch.diag(torch.tensor([3.0, 2, -1])))) == 1


def test_gradient_explodes_through_the_projection_and_not_through_the_loss_on_m():
    target = turns(64)
    norms = {}
    for size in (1.0, 1e-3, 1e-6):
        m = (size * normal(64, 3, 3)).requires_grad_()
        (through,) = torch.autograd.grad((project_so3(m) - target).square().sum(), m)
        (direct,) = torch.autograd.grad((m - target).square().sum(), m)
        norms[size] = through.flatten(1).norm(dim=1).median(), direct.flatten(1).norm(dim=1).max()
    assert norms[1e-6][0] > 1e5 * norms[1.0][0]  # grows like 1 / |M|
    assert norms[1e-6][1] < 10


def through(project, m, weight):
    """Return the gradient of sum(weight * project(m))."""
    m = m.detach().clone().requires_grad_()
    return torch.autograd.grad((weight * project(m)).sum(), m)[0]


def by_svd(m):
    """The same map, with the derivative that PyTorch gives the SVD."""
    u, _, vt = torch.linalg.svd(m)
    sign = torch.linalg.det(u @ vt).sign()
    return (u * torch.stack([0 * sign + 1, 0 * sign + 1, sign], -1)[..., None, :]) @ vt


@pytest.mark.parametrize(
    "m",
    [
        torch.eye(3, dtype=torch.float64)[None],
        turns(10),
        normal(20, 3, 3),  # of both signs
        # of determinant < 0, with two equal singular values but no sum that is zero
        turns(5) @ torch.diag(torch.tensor([2.0, 2, -0.5], dtype=torch.float64)),
        turns(5) @ torch.diag(torch.tensor([2.0, 1, 1e-3], dtype=torch.float64)),
    ],
)
def test_the_gradient_of_the_projection_is_right(m):
    m = m.detach().requires_grad_()
    assert torch.autograd.gradcheck(project_so3, m)
    assert torch.autograd.gradcheck(torch.vmap(project_so3), m)
    if (m.detach().det() > 0.1).all():
        assert torch.autograd.gradgradcheck(project_so3, m)


def test_the_gradient_at_a_rotation_is_half_the_antisymmetric_part():
    eye = torch.eye(3).requires_grad_()
    project_so3(eye).sum().backward()
    assert eye.grad.isfinite().all()
    r, weight = turns(200).float(), normal(200, 3, 3).float()
    found = through(project_so3, r, weight)
    inner = r.mT @ weight
    assert_close(found, r @ (inner - inner.mT) / 2, atol=1e-5, rtol=1e-5)
    near = through(project_so3, r + 1e-6 * normal(200, 3, 3, seed=1).float(), weight)
    assert_close(near, found, atol=2e-5, rtol=1e-4)
    bad = through(by_svd, r, weight)  # divides by s_i^2 - s_j^2, which is 0 at every rotation
    assert not (bad - found).abs().max() < 0.1


def test_the_projection_agrees_with_the_svd_where_that_has_a_gradient():
    m, weight = normal(50, 3, 3), normal(50, 3, 3, seed=1)
    assert_close(through(project_so3, m, weight), through(by_svd, m, weight))
    assert_close(project_so3(m), by_svd(m))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "m",
    [torch.zeros(3, 3), -torch.eye(3), torch.diag(torch.tensor([1.0, 1, -1])),
     torch.diag(torch.tensor([1.0, 0, 0])), torch.eye(3) * 1e-30, torch.eye(3) * 1e-42],
)  # fmt: skip
def test_where_no_rotation_is_nearest_the_gradient_is_finite(dtype, m):
    found = through(project_so3, m.to(dtype), normal(3, 3).to(dtype))
    assert found.isfinite().all()


def test_a_matrix_that_is_not_finite_spoils_no_other():
    m = torch.stack([torch.eye(3), torch.eye(3) / 0, torch.eye(3)]).requires_grad_()
    r = project_so3(m)
    assert r[1].isnan().all()
    assert_close(r[::2], torch.eye(3).expand(2, 3, 3))
    r[::2].sum().backward()
    assert m.grad.isfinite().all()


def test_uniform_weights_give_no_nan():
    weights = torch.full((4, 60), 1 / 60, requires_grad=True)
    m = weighted_rotation_mean(weights, TABLES.elements)
    assert m.abs().max() < rounding(torch.float32, 1)
    assert project_so3(m).isfinite().all()
    matrix_loss(m, turns(4).float()).backward()
    assert weights.grad.isfinite().all()
    assert (weights.grad.abs().amax(1) > 1e-3).all()


@given(seed=seeds, angle=st.floats(1e-6, math.pi - 1e-6))
def test_angle_is_accurate_everywhere(seed, angle):
    axis = torch.nn.functional.normalize(normal(3, seed=seed), dim=0)
    x, y, z = axis
    cross = torch.stack([0 * x, -z, y, z, 0 * x, -x, -y, x, 0 * x]).view(3, 3)
    turn = torch.matrix_exp(angle * cross)
    a = turns(1, seed)[0]
    assert float(rotation_angle(a, a @ turn)) == pytest.approx(angle, rel=1e-6, abs=1e-12)
    assert float(rotation_angle(a.float(), (a @ turn).float())) == pytest.approx(
        angle, abs=rounding(torch.float32, 1)
    )


def test_arccos_has_the_floor_that_atan2_has_not():
    tiny = torch.matrix_exp(torch.tensor([[0.0, -1e-4, 0], [1e-4, 0, 0], [0, 0, 0]]))
    arccos = ((tiny.trace() - 1) / 2).clamp(-1, 1).arccos()
    assert abs(float(arccos) - 1e-4) > 1e-5
    assert float(rotation_angle(torch.eye(3), tiny)) == pytest.approx(1e-4, rel=1e-3)


def test_matrix_loss_reaches_every_element_and_counts_present_parts():
    m = torch.zeros(3, 5, 3, 3, requires_grad=True)
    r = turns(15).float().view(3, 5, 3, 3)
    matrix_loss(m, r).backward()
    assert (m.grad.flatten(2).norm(dim=2) > 0.01).all()
    present = torch.zeros(3, 5, dtype=torch.bool)
    assert matrix_loss(m, r, present) == 0
    present[1, 2] = True
    assert float(matrix_loss(m, r, present).detach()) == pytest.approx(3, rel=1e-6)


def test_bad_input():
    eye = torch.eye(3)
    cases = [
        (lambda: weighted_rotation_mean(torch.rand(59), TABLES.elements), r"need \(..., 60\)"),
        (lambda: weighted_rotation_mean(torch.rand(60), eye), r"elements has shape \(3, 3\)"),
        (lambda: project_so3(torch.rand(3, 4)), r"matrix has shape \(3, 4\); need \(..., 3, 3\)"),
        (lambda: matrix_loss(eye, eye[None]), r"rotation has shape \(1, 3, 3\)"),
        (lambda: matrix_loss(eye[None], eye[None], torch.ones(2)), r"present has shape \(2,\)"),
        (lambda: project_so3(eye.long()), "dtype torch.int64; need floating-point"),
        (lambda: weighted_rotation_mean(torch.ones(60).long(), TABLES.elements), "floating point"),
        (
            lambda: matrix_loss(eye[None], eye[None], torch.tensor([5])),
            "need \\(1,\\), one each, bool",
        ),
        (lambda: rotation_angle(eye, eye[0]), r"b has shape \(3,\)"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
