"""Generated particle images: what the flows obey, and the 16 symmetries of the generator."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equitutor import actions, groups
from equitutor.data import Particles, image_pair, particle_pairs
from equitutor.data.particles import FIELDS, drift, random_field, random_particles

kinds = st.sampled_from(sorted(FIELDS))
seeds = st.integers(0, 10_000)


def chance(seed, kind, size):
    rng = np.random.default_rng(seed)
    return random_field(kind, size, 3.0, rng), random_particles(size, 3.0, rng)


def both(data):
    frames, flow = data
    return torch.from_numpy(frames)[None], torch.from_numpy(flow)[None]


@given(kind=kinds, seed=seeds, size=st.integers(16, 33))
def test_swapping_frames_is_negating_the_field_to_the_last_bit(kind, seed, size):
    field, particles = chance(seed, kind, size)
    frames, flow = both(image_pair(particles, field, size))
    found_frames, found_flow = both(image_pair(particles, lambda p: -field(p), size))
    assert torch.equal(found_frames, frames.flip(1))
    assert torch.equal(found_flow, -flow)


def test_a_flow_of_the_first_frame_is_not_symmetric_in_time():
    """The broken twin: particles drift from where they are, by a whole interval."""
    field, _ = chance(3, "vortex", 32)
    axis = np.arange(32) - 15.5
    grid = np.stack(np.meshgrid(axis, axis), -1)
    forward = drift(grid, field, 1) - grid
    backward = drift(grid, lambda p: -field(p), 1) - grid
    assert np.abs(forward + backward).max() > 0.05


def matrix_of(g):
    """The element's matrix for positions with y down."""
    turn = np.diag([1.0, -1.0])
    return turn @ groups.dihedral(4).elements[g].numpy() @ turn


def moved(particles, matrix):
    return Particles(particles.position @ matrix.T, particles.diameter, particles.brightness)


@given(kind=kinds, seed=seeds, size=st.integers(16, 33), g=st.integers(0, 7))
def test_the_square_acts_on_the_data_as_on_particles_and_field(kind, seed, size, g):
    field, particles = chance(seed, kind, size)
    matrix = matrix_of(g)
    frames, flow = both(image_pair(particles, field, size))
    found_frames, found_flow = both(
        image_pair(moved(particles, matrix), lambda p: field(p @ matrix) @ matrix.T, size)
    )
    torch.testing.assert_close(
        found_frames, actions.transform_scalar(frames, g), atol=1e-12, rtol=0
    )
    torch.testing.assert_close(found_flow, actions.transform_flow(flow, g), atol=1e-12, rtol=0)


@pytest.mark.parametrize("g", range(1, 8))
def test_vectors_that_do_not_turn_break_the_square(g):
    """The broken twin: the particles move, but the field's vectors keep their direction."""
    field, particles = chance(0, "rightward", 32)
    matrix = matrix_of(g)
    _, flow = both(image_pair(particles, field, 32))
    _, found = both(image_pair(moved(particles, matrix), lambda p: field(p @ matrix), 32))
    assert (found - actions.transform_flow(flow, g)).abs().max() > 0.1


def divergence(field, points, h=1e-4):
    return sum(
        (field(points + h * e)[:, i] - field(points - h * e)[:, i]) / (2 * h)
        for i, e in enumerate(np.eye(2))
    )


@given(kind=kinds, seed=seeds)
def test_no_field_has_a_source(kind, seed):
    field, _ = chance(seed, kind, 64)
    points = np.random.default_rng(seed + 1).uniform(-32, 32, (50, 2))
    # The median, since at the rim of a vortex's core the speed has a kink.
    assert np.median(np.abs(divergence(field, points))) < 1e-7


def test_the_test_for_sources_finds_one():
    points = np.random.default_rng(0).uniform(-32, 32, (50, 2))
    assert np.median(np.abs(divergence(lambda p: 0.01 * p, points))) > 0.01


@given(kind=kinds, seed=seeds, size=st.integers(16, 48), max_shift=st.floats(0.5, 5))
def test_the_largest_velocity_is_as_asked(kind, seed, size, max_shift):
    field = random_field(kind, size, max_shift, np.random.default_rng(seed))
    axis = np.arange(size) - (size - 1) / 2
    speed = np.linalg.norm(field(np.stack(np.meshgrid(axis, axis), -1)), axis=-1)
    assert max_shift / 3 - 1e-9 <= speed.max() <= max_shift + 1e-9


def turn(p):
    """A quarter of a radian an interval, about the center."""
    return 0.25 * np.stack([-p[..., 1], p[..., 0]], -1)


def test_the_flow_is_how_far_a_particle_goes():
    """One particle at a pixel's center at the middle of the interval, seen in both frames."""
    one = Particles(np.array([[12.0, -9.0]]), np.array([3.0]), np.array([0.9]))
    frames, flow = image_pair(one, turn, 41)
    axis = np.arange(41) - 20.0
    centers = [
        np.array([(frame.sum(0) * axis).sum(), (frame.sum(1) * axis).sum()]) / frame.sum()
        for frame in frames
    ]
    found = flow[:, 20 - 9, 20 + 12]
    np.testing.assert_allclose(centers[1] - centers[0], found, atol=1e-3)
    # A chord of the circle: a little shorter than the velocity at the middle, the broken twin.
    assert np.linalg.norm(found) == pytest.approx(2 * 15 * np.sin(0.125), abs=1e-3)
    assert np.linalg.norm(turn(one.position)) > 2 * 15 * np.sin(0.125) + 5e-3
    assert frames.max() <= 0.9


def test_a_vortex_keeps_its_particles_at_their_distance():
    rng = np.random.default_rng(0)
    points = rng.uniform(-20, 20, (200, 2))

    radius = [np.linalg.norm(drift(points, turn, t), axis=1) for t in (0, 0.5)]
    np.testing.assert_allclose(radius[0], radius[1], rtol=1e-5)
    np.testing.assert_allclose(drift(drift(points, turn, 0.5), turn, -0.5), points, atol=1e-3)


def test_pairs():
    pairs = particle_pairs(13, size=32, seed=4)
    assert pairs.frames.shape == pairs.flow.shape == (13, 2, 32, 32)
    assert pairs.frames.dtype == pairs.flow.dtype == torch.float32
    assert pairs.frames.min() >= 0
    assert pairs.frames.max() <= 1
    assert pairs.y.tolist() == [*range(6), *range(6), 0]
    assert pairs.classes == tuple(FIELDS)[:6]
    assert pairs.flow.norm(dim=1).amax() <= 3.1
    assert (pairs.frames > 0.3).float().mean() > 0.05  # particles everywhere, also at the edge
    edge = torch.cat([pairs.frames[..., 0], pairs.frames[..., -1], pairs.frames[..., -1, :]], -1)
    assert (edge > 0.3).float().mean() > 0.05


def test_seeds_and_counts():
    few_pairs, more = (particle_pairs(n, size=16, seed=4) for n in (3, 8))
    assert torch.equal(few_pairs.frames, more.frames[:3])
    assert torch.equal(few_pairs.flow, more.flow[:3])
    assert not torch.equal(particle_pairs(3, size=16, seed=5).frames, few_pairs.frames)


def test_rightward_goes_right_and_the_others_everywhere():
    right = particle_pairs(40, size=16, fields=("rightward",)).flow.mean((2, 3))
    assert (right[:, 0] > 3 * right[:, 1].abs()).all()
    other = particle_pairs(40, size=16, fields=("uniform",)).flow.mean((2, 3))
    assert 8 <= (other[:, 0] > 0).sum() <= 32
    assert 8 <= (other[:, 1] > 0).sum() <= 32


def test_the_global_chance_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    particle_pairs(1, size=16)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n is 0, but has to be an int of at least 1"),
        ({"n": 2.0}, "n is 2.0"),
        ({"size": 15}, "size is 15, but has to be an int of at least 16"),
        ({"seed": -1}, "seed is -1, but has to be an int of at least 0"),
        ({"fields": ("swirl",)}, "fields is 'swirl', but has to be 'uniform', 'shear'"),
        ({"fields": ()}, "has to name at least one kind"),
        ({"fields": ("shear", "shear")}, "none twice"),
        ({"fields": "shear"}, r"fields is 'shear', but has to be a tuple of kinds"),
        ({"max_shift": 0}, "max_shift is 0, but has to be above 0 and below 16"),
        ({"max_shift": 16}, "max_shift is 16"),
        ({"max_shift": float("nan")}, "max_shift is nan"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        particle_pairs(**({"n": 1, "size": 16} | arguments))
