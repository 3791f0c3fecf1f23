"""Generated furniture: normal form, canonical pose, and bodies that are what they are called."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equitutor.data import furniture, sample_surface
from equitutor.data.furniture import BUILDERS, NOISE, box, cylinder


def area(mesh):
    vertices, faces = mesh
    a, b, c = vertices[faces].unbind(1)
    return torch.linalg.cross(b - a, c - a).norm(dim=1).sum() / 2


sides = st.floats(0.1, 3)


@settings(max_examples=100)
@given(width=sides, depth=sides, height=sides, x=st.floats(-2, 2))
def test_box(width, depth, height, x):
    vertices, faces = mesh = box(x, 1, 2, width, depth, height)
    surface = 2 * (width * depth + width * height + depth * height)
    torch.testing.assert_close(area(mesh), torch.tensor(surface), rtol=1e-4, atol=1e-5)
    low = torch.tensor([x - width / 2, 1 - depth / 2, 2])
    size = torch.tensor([width, depth, height])
    torch.testing.assert_close(vertices.amin(0), low)
    torch.testing.assert_close(vertices.amax(0), low + size)
    # Whatever is sampled lies on a side: a box of other triangles would have some inside.
    points = sample_surface(vertices, faces, 50, torch.Generator())
    depth_inside = torch.minimum(points - low, low + size - points).amin(1)
    assert depth_inside.abs().max() < 1e-5


@settings(max_examples=100)
@given(radius=sides, height=sides, taper=st.floats(0.2, 1))
def test_cylinder(radius, height, taper):
    top = radius * taper
    mesh = cylinder(0, 0, 1, radius, height, top)
    slant = math.hypot(height, radius - top)
    surface = math.pi * (radius**2 + top**2 + (radius + top) * slant)
    torch.testing.assert_close(area(mesh), torch.tensor(surface), rtol=0.05, atol=0)
    points = sample_surface(*mesh, 100, torch.Generator())
    z = (points[:, 2] - 1) / height
    assert -1e-5 < z.min() < 0.3
    assert 0.7 < z.max() < 1 + 1e-5
    assert (points[:, :2].norm(dim=1) <= radius + (top - radius) * z + 1e-4).all()


def test_clouds():
    clouds = furniture(43, points=128, seed=3)
    assert clouds.x.shape == (43, 128, 3)
    assert clouds.x.dtype == torch.float32
    assert clouds.y.tolist() == [i % 8 for i in range(43)]
    assert clouds.classes == (
        "bed", "chair", "dresser", "lamp", "monitor", "sofa", "table", "toilet",
    )  # fmt: skip
    assert clouds.x.mean(1).abs().max() < 1e-6
    torch.testing.assert_close(clouds.x.norm(dim=-1).amax(1), torch.ones(43))


def test_seeds_and_counts():
    few, more = furniture(3, seed=4), furniture(20, seed=4)
    assert torch.equal(few.x, more.x[:3])
    assert not torch.equal(furniture(3, seed=5).x, few.x)
    # Every piece has its own proportions.
    extent = (more.x.amax(1) - more.x.amin(1))[more.y == 0]
    assert extent.std(0).min() > 0.01


def test_canonical_pose():
    """All stand upright and face -y: what has a back has it at +y, and above."""
    clouds = furniture(80, points=1000)
    for kind in ("chair", "sofa", "toilet", "bed"):
        x = clouds.x[clouds.y == clouds.classes.index(kind)]
        for cloud in x:
            highest = cloud[cloud[:, 2] > cloud[:, 2].amax() - 0.1]
            assert highest[:, 1].mean() > 0.1
            assert cloud[:, 0].mean().abs() < 0.05  # left and right are alike
    table, lamp = (clouds.x[clouds.y == clouds.classes.index(k)] for k in ("table", "lamp"))
    assert (table[..., 2].median(1).values > 0).all()  # most of a table is its top
    wide, _, tall = (lamp.amax(1) - lamp.amin(1)).unbind(1)
    assert (tall > 1.5 * wide).all()


def test_noise_is_of_the_size_it_says():
    """The screen of a monitor is a plane but for the noise."""
    monitors = furniture(40, points=2000).x[4::8]
    for cloud in monitors:
        top = cloud[cloud[:, 2] > 0.25]  # the upper part of the screen: two planes
        front = top[top[:, 1] < top[:, 1].median()]
        residual = front[:, 1] - front[:, 1].median()
        spread = residual.abs().median() / 0.6745  # of a normal distribution, from its median
        assert 0.5 * NOISE < spread < 2 * NOISE


def test_classes_can_be_told_apart_from_simple_features():
    """Else the chapter's task would be noise: nearest class mean of sorted heights and radii."""

    def features(clouds):
        z = clouds.x[..., 2].sort(1).values
        r = clouds.x[..., :2].norm(dim=-1).sort(1).values
        return torch.cat([z, r], 1)

    train, test = furniture(160), furniture(80, seed=1)
    means = torch.stack([features(train)[train.y == k].mean(0) for k in range(len(BUILDERS))])
    guess = torch.cdist(features(test), means).argmin(1)
    assert (guess == test.y).double().mean() > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n is 0, but has to be an int of at least 1"),
        ({"n": 1, "points": 1}, "points is 1, but has to be an int of at least 2"),
        ({"n": 1, "seed": None}, "seed is None, but has to be an int of at least 0"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        furniture(**arguments)
