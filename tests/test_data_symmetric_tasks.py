"""The generated tasks: which symmetries hold exactly, and which are broken by how much."""

import math

import pytest
import torch
from torch.testing import assert_close

from equitutor.data import cossim, cossim_target, inertia, inertia_target
from equitutor.methods.soft import SO, O, Rep, embed_O2, function_error, reflection, scaling

KEEPS = {"x": embed_O2((1, 2)), "y": embed_O2((0, 2)), "z": embed_O2((0, 1))}
MASSES, TENSOR = Rep(4, 4), Rep(n2=1)
TRIPLE, SCALAR = Rep(n1=3), Rep(1)


def double(task):
    return task.x[:50].double()


def error_of_inertia(axis, eps, group):
    f = lambda x: inertia_target(x, axis, eps)
    draw = torch.Generator().manual_seed(0)
    return function_error(f, double(inertia(50, 4)), group, MASSES, TENSOR, generator=draw)


@pytest.mark.parametrize("axis", KEEPS)
def test_inertia_keeps_what_it_says(axis):
    for eps in (0.0, 0.1, 1.0, -1.0):
        assert error_of_inertia(axis, eps, KEEPS[axis]) < 1e-12
        for other in KEEPS.keys() - axis:
            broken = error_of_inertia(axis, eps, KEEPS[other])
            assert (broken < 1e-12) == (eps == 0)
    assert error_of_inertia(axis, 0.0, O(3)) < 1e-12


def test_the_dial_is_one():
    errors = [error_of_inertia("z", eps, KEEPS["x"]) for eps in (0.0, 0.1, 0.3, 1.0)]
    assert errors == sorted(errors)
    assert errors[3] > 2 * errors[2] > 4 * errors[1] > 0


def test_inertia_of_a_single_mass_and_of_many():
    x = torch.tensor([2.0, 0.0, 3.0, 0.0])  # 2 kg at (0, 3, 0)
    assert_close(inertia_target(x, eps=0.0).view(3, 3), torch.diag(torch.tensor([18.0, 0, 18])))
    bent = inertia_target(x, "x", 0.5).view(3, 3)
    assert_close(bent, torch.diag(torch.tensor([27.0, 0, 18])))
    task = inertia(100, masses=5, axis="y", eps=-1.0)
    assert (task.x[:, :5] > 0).all()
    assert (task.y.view(-1, 3, 3)[:, :, 1].abs() < 1e-5).all()  # the column is erased
    assert (task.y.view(-1, 3, 3)[:, 1, 0].abs() > 1e-3).any()  # and not the row
    m, r = task.x[:, :5], task.x[:, 5:].unflatten(1, (5, 3))
    each = [inertia_target(torch.cat([m[:, k, None], r[:, k]], 1), "y", -1.0) for k in range(5)]
    assert_close(sum(each), task.y)


def error_of_cosines(keeps, group):
    f = lambda x: cossim_target(x, keeps, 0.3)
    draw = torch.Generator().manual_seed(0)
    return function_error(f, double(cossim(50)), group, TRIPLE, SCALAR, generator=draw)


def test_cosines_keep_what_they_say():
    assert error_of_cosines("rotation", SO(3)) < 1e-12
    assert error_of_cosines("rotation", reflection(0)) < 1e-12
    assert error_of_cosines("rotation", scaling(3)) > 0.01
    assert error_of_cosines("scale", scaling(3)) < 1e-12
    assert error_of_cosines("scale", SO(3)) > 0.01
    plain = lambda x: cossim_target(x, "scale", 0.0)
    for group in (SO(3), scaling(3)):
        assert function_error(plain, double(cossim(50)), group, TRIPLE, SCALAR) < 1e-12


def test_cosines_of_known_vectors():
    same = torch.tensor([1.0, 0, 0, 2, 0, 0, 3, 0, 0])
    assert_close(cossim_target(same, "rotation", 0.0), torch.ones(1))
    assert_close(cossim_target(same, "rotation", 0.5), torch.zeros(1))
    assert_close(cossim_target(same, "scale", 1.0), torch.tensor([0.8]))
    assert cossim_target(torch.zeros(9), "scale").isfinite()


def test_targets_of_views_of_nothing_and_of_other_dtypes():
    for target, width in ((inertia_target, 12), (cossim_target, 9)):
        x = torch.randn(width, 5, generator=torch.Generator().manual_seed(0)).T
        assert_close(target(x), target(x.contiguous()))
        assert_close(target(x[2]), target(x)[2])
        assert_close(target(x.double()).float(), target(x))
        assert target(x[:0]).shape == (0, target(x).shape[1])
        assert target(x, eps=10**3).dtype == torch.float32


@pytest.mark.parametrize("make", [inertia, cossim])
def test_generated_data(make):
    task = make(500, seed=3)
    assert len(task) == 500
    assert task.x.dtype == task.y.dtype == torch.float32
    assert task.x.isfinite().all()
    assert task.y.isfinite().all()
    assert torch.equal(task.x, make(500, seed=3).x)
    assert not torch.equal(task.x, make(500, seed=4).x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inertia(0), "n is 0"),
        (lambda: inertia(5, masses=True), "masses is True"),
        (lambda: inertia(5, axis="w"), "axis is 'w', but has to be 'x', 'y' or 'z'"),
        (lambda: inertia(5, eps=math.nan), "eps is nan"),
        (lambda: inertia(5, eps=True), "eps is True"),
        (lambda: inertia(5, seed=-1), "seed is -1"),
        (lambda: inertia(5, seed=2**64), "seed is 18446744073709551616, but has to be below"),
        (lambda: inertia(5, eps="much"), "eps is 'much', but has to be a finite number"),
        (lambda: inertia(5, eps=None), "eps is None"),
        (lambda: inertia(5, eps=torch.ones(2)), "eps is tensor"),
        (lambda: inertia_target([1.0] * 4), "x is list, but has to be a tensor"),
        (lambda: inertia_target(torch.ones(4).int()), "x is torch.int32"),
        (lambda: cossim_target(torch.ones(9).long()), "x is torch.int64, but has to be"),
        (lambda: inertia_target(torch.zeros(2, 6)), r"x has the shape \(2, 6\)"),
        (lambda: cossim(5, keeps="so3"), "keeps is 'so3'"),
        (lambda: cossim(5, eps=math.inf), "eps is inf"),
        (lambda: cossim_target(torch.zeros(8)), r"x has the shape \(8,\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
