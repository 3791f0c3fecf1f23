"""Disks: planted turns stand where they belong, and the rim agrees with itself."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from equitutor import figures
from equitutor.nero import plot_disk
from equitutor.orbits import Orbit, OrbitResult, evaluate, so2, so3_disk, so3_haar


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def planted(orbit, hit, samples=1):
    """Return a result that is 1 at the elements of the mask and 0 elsewhere."""
    return OrbitResult(hit.double()[:, None].repeat(1, samples), orbit)


def mesh_of(ax):
    (mesh,) = ax.collections
    return mesh


def seen(ax, axis, angle):
    """Return the value a disk shows at an axis and an angle in degrees."""
    mesh = mesh_of(ax)
    corners, table = mesh.get_coordinates(), mesh.get_array()
    table = table.reshape(len(corners) - 1, -1)
    theta, radius = corners[0, :, 0], corners[:, 0, 1]
    axis = (math.radians(axis) - theta[0]) % (2 * math.pi) + theta[0]
    row = min(np.searchsorted(radius, angle, "right") - 1, len(table) - 1)
    return table[row, np.searchsorted(theta, axis, "right") - 1]


def at(orbit, *place):
    return (orbit.params - torch.tensor(place, dtype=torch.float64)).abs().amax(1) < 1e-9


# Disks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_axis", [3, 4, 12])
@pytest.mark.parametrize("angle", [0, 60, 180])
def test_a_planted_turn_shows_at_its_axis_and_angle_and_nowhere_else(n_axis, angle):
    orbit = so3_disk(("xy", "yz"), n_axis, 4)
    axis = 360 / n_axis
    axes = plot_disk(planted(orbit, at(orbit, 1, axis, angle)))
    places = [(k, p.item(), t.item()) for k in (0, 1) for _, p, t in orbit.params[: n_axis * 4]]
    for k, p, t in places:
        wanted = k == 1 and t == angle and abs(p - axis) < 1e-9
        assert seen(axes[k, 0], p, t) == wanted


def test_disks_are_round_and_reach_from_zero_to_half_a_turn():
    orbit = so3_disk(("xy",), 5, 7)
    (ax,) = plot_disk(planted(orbit, at(orbit, 0, 0, 0))).flatten()
    corners = mesh_of(ax).get_coordinates()
    theta, radius = corners[0, :, 0], corners[:, 0, 1]
    assert theta[-1] - theta[0] == pytest.approx(2 * math.pi)
    assert np.diff(theta).max() <= math.radians(3) + 1e-9
    assert (radius[0], radius[-1]) == (0, 180)
    assert ax.get_ylim() == (0, 180)
    assert "degrees" in ax.get_xlabel()


def rim(score, n_axis):
    """Return the values on the rim of a disk, one for each axis, as they are drawn."""
    orbit = so3_disk(("xz",), n_axis, 3)
    ax = plot_disk(OrbitResult(score(orbit)[:, None], orbit))[0, 0]
    values = [seen(ax, 360 * k / n_axis, 180) for k in range(n_axis)]
    plt.close(ax.figure)
    return np.array(values)


@settings(max_examples=10)
@given(st.integers(2, 8), st.integers(0, 1000))
def test_opposite_points_of_the_rim_are_the_same_turn(half, seed):
    weights = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)).double()
    of_turn = lambda orbit: (orbit.extra["matrices"] * weights).sum((1, 2))
    values = rim(of_turn, 2 * half)
    assert np.abs(values - np.roll(values, half)).max() < 1e-12


def test_a_score_of_the_axis_alone_breaks_the_rim():
    of_axis = lambda orbit: orbit.params[:, 1].deg2rad().cos()  # no function of the turn
    values = rim(of_axis, 8)
    assert np.abs(values - np.roll(values, 4)).max() > 1


def test_the_meter_and_the_disk_agree():
    cloud = torch.tensor([[[0.0, 0.0, 1.0]]], dtype=torch.float64)
    orbit = so3_disk(("xy",), 4, 3)
    result = evaluate(lambda p: p[:, 0, 1], cloud, [0], orbit, lambda out, _: out, progress=False)
    (ax,) = plot_disk(result).flatten()
    assert seen(ax, 0, 90) == pytest.approx(-1)  # about +x, z goes to -y
    assert seen(ax, 180, 90) == pytest.approx(1)
    assert seen(ax, 90, 90) == pytest.approx(0)


@pytest.mark.parametrize("planes", [("xy", "xz", "yz"), ("yz",), ("xz", "xy")])
@pytest.mark.parametrize("size", [(3, 2), (12, 7)])
def test_planes_are_named_and_so_are_their_axes(planes, size):
    orbit = so3_disk(planes, *size)
    axes = plot_disk(planted(orbit, at(orbit, 0, 0, 0)))
    for ax, plane in zip(axes[:, 0], planes, strict=True):
        assert ax.get_title() == f"axis in {plane}"
        shown = [text.get_text() for text in ax.get_xticklabels()]
        assert shown == [f"+{plane[0]}", f"+{plane[1]}", f"−{plane[0]}", f"−{plane[1]}"]


def test_models_share_one_scale():
    orbit = so3_disk(("xy", "xz"), 4, 3)
    low, high = torch.rand(24, 2) * 0.1 + 0.2, torch.rand(24, 2) * 0.1 + 0.7
    axes = plot_disk({"a": OrbitResult(low, orbit), "b": OrbitResult(high, orbit)})
    assert axes.shape == (2, 2)
    limits = {mesh_of(ax).get_clim() for ax in axes.flatten()}
    wanted = (low.mean(1).min().item(), high.mean(1).max().item())
    assert limits == {wanted}
    assert [ax.get_title().split("\n")[0] for ax in axes[0]] == ["a", "b"]
    own = plot_disk(OrbitResult(low, orbit), sample=1)
    assert mesh_of(own[0, 0]).get_clim() == (low[:, 1].min().item(), low[:, 1].max().item())


def test_the_haar_mean_is_printed_under_each_disk():
    orbit, haar = so3_disk(("xy",), 4, 3), so3_haar(10)
    result = planted(orbit, at(orbit, 0, 0, 0))
    even = OrbitResult(torch.linspace(0, 1, 20).view(10, 2), haar)
    axes = plot_disk({"a": result, "b": result}, haar={"a": 0.125, "b": even})
    assert [ax.get_xlabel().split("\n")[1] for ax in axes[0]] == [
        "Haar mean 0.125",
        "Haar mean 0.5",
    ]
    assert "Haar" not in plot_disk(result)[0, 0].get_xlabel()
    assert "Haar mean 0.25" in plot_disk(result, haar=0.25)[0, 0].get_xlabel()


def uneven():
    orbit = so3_disk(("xy",), 4, 3)
    params = orbit.params.clone()
    params[3:6, 1] += 5
    return Orbit("uneven", params, orbit.act_x, kind="disk", extra=orbit.extra)


DISK = so3_disk(("xy",), 4, 3)
OTHER = so3_disk(("xz",), 4, 3)
PLANTED = planted(DISK, at(DISK, 0, 0, 0), samples=2)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot_disk(planted(so2(4), torch.ones(4))), "kind 'disk', got 'circle'"),
        (lambda: plot_disk(planted(so3_haar(4), torch.ones(4))), "kind 'disk', got 'points'"),
        (lambda: plot_disk(planted(uneven(), torch.ones(12))), "must come from so3_disk"),
        (lambda: plot_disk(planted(so3_disk(("xy",), 2, 3), torch.ones(6))), "at least 3 axes"),
        (
            lambda: plot_disk({"a": PLANTED, "b": OrbitResult(torch.rand(12, 2), OTHER)}),
            "share their planes",
        ),
        (lambda: plot_disk(PLANTED, sample=2), "sample must index 2"),
        (lambda: plot_disk(PLANTED, limits=(1, 0)), "limits must be"),
        (lambda: plot_disk(PLANTED, haar={"a": 0.5}), "haar must have the names"),
        (lambda: plot_disk({"a": PLANTED, "b": PLANTED}, haar=0.5), "haar must have the names"),
        (lambda: plot_disk(PLANTED, haar="half"), "OrbitResult or a number"),
        (lambda: plot_disk(PLANTED, haar=PLANTED), "kind 'points'"),
        (lambda: plot_disk(PLANTED, axes=figures.grid(1)[1]), "must be polar axes"),
        (lambda: plot_disk(PLANTED, axes=figures.grid(2)[1]), r"\(1, 1\), got \(1, 2\)"),
    ],
)
def test_what_is_no_disk_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
