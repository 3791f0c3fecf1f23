"""Generated particle images: flows without divergence, particles that drift, a camera.

Positions are (x, y) in pixels from the center of the image, x to the right and y DOWN, as the
channels of a flow. The flow is that of the middle of the interval: particles are drawn where
they are half an interval before and half an interval after. Only then is reversing time, frames
swapped and flow negated, an exact symmetry of the data.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import torch

from equitutor.checks import check_choice, check_count
from equitutor.data.flow import FlowPairs

STEPS = 4  # Runge-Kutta steps in half an interval

# A field maps positions (..., 2) to velocities (..., 2) in pixels per interval.
Field = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Particles:
    """Particles at the middle of the interval.

    Args:
        position: float64 ``(M, 2)``, x and y in pixels from the center of the image.
        diameter: ``(M,)`` pixels; at that diameter the brightness has fallen to exp(-2).
        brightness: ``(M,)``, of the particle's center, in [0, 1].
    """

    position: np.ndarray
    diameter: np.ndarray
    brightness: np.ndarray


def drift(position: np.ndarray, field: Field, time: float) -> np.ndarray:
    """Returns where the particles are after ``time``, by the midpoint rule.

    Negating ``time`` does the same, to the last bit, as negating the field.

    Args:
        position: ``(..., 2)`` pixels.
        field: velocity in pixels per interval, of a position.
        time: in intervals; negative for the past.

    Example:
        >>> drift(np.zeros((1, 2)), lambda p: np.ones_like(p), -0.5)
        array([[-0.5, -0.5]])
    """
    step = time / STEPS
    for _ in range(STEPS):
        position = position + step * field(position + step / 2 * field(position))
    return position


def image_pair(particles: Particles, field: Field, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns two frames of drifting particles, and the flow between them.

    Args:
        particles: at the middle of the interval.
        field: velocity in pixels per interval, of a position.
        size: height and width in pixels.

    Returns:
        frames ``(2, size, size)`` in [0, 1], and flow ``(2, size, size)``: how far, to the right
        and down, the particle goes from the first frame to the second that is at this pixel's
        center in the middle.

    Source: M. Raffel et al., Particle Image Velocimetry, 3rd edition, section 4.12 (synthetic
    particle images: Gaussian spots).

    Example:
        >>> one = Particles(np.zeros((1, 2)), np.array([2.0]), np.array([1.0]))
        >>> frames, flow = image_pair(one, lambda p: np.ones_like(p), 5)
        >>> frames.shape, flow[:, 2, 2]
        ((2, 5, 5), array([1., 1.]))
    """
    axis = np.arange(size) - (size - 1) / 2
    grid = np.stack(np.meshgrid(axis, axis), -1)  # (H, W, 2), x first
    frames = [
        _photograph(drift(particles.position, field, t), particles, axis) for t in (-0.5, 0.5)
    ]
    flow = drift(grid, field, 0.5) - drift(grid, field, -0.5)
    return np.stack(frames), flow.transpose(2, 0, 1)


def _photograph(position: np.ndarray, particles: Particles, axis: np.ndarray) -> np.ndarray:
    """Returns the image ``(H, W)`` of Gaussian spots; it saturates at 1, as a camera does."""
    offset = axis - position[:, :, None]  # (M, 2, S)
    spots = np.exp(-8 * (offset / particles.diameter[:, None, None]) ** 2)
    return np.minimum((spots[:, 1] * particles.brightness[:, None]).T @ spots[:, 0], 1)


def particle_pairs(
    n: int,
    size: int = 64,
    seed: int = 0,
    fields: tuple[str, ...] = (
        "uniform",
        "shear",
        "vortex",
        "taylor_green",
        "stagnation",
        "fourier",
    ),
    max_shift: float = 3.0,
) -> FlowPairs:
    """Returns generated particle images with their flow, the kinds in turn. No download.

    The largest displacement in a pair is between a third of ``max_shift`` and ``max_shift``. All
    kinds but ``"rightward"`` are as likely in each of the 16 poses of the square and of time:
    the average over such a set is flat over the orbit, whatever the model.

    Args:
        n: number of pairs; the first pairs do not depend on it.
        size: height and width in pixels, at least 16.
        seed: other pairs for another seed.
        fields: kinds of flow, a choice of: ``"uniform"``; ``"shear"``; ``"vortex"`` (Rankine's);
            ``"taylor_green"`` (a lattice of vortices); ``"stagnation"`` (a saddle);
            ``"fourier"`` (random waves); ``"rightward"`` (a stream to the right with weak random
            waves, for training on one direction only).
        max_shift: pixels, above 0.

    Raises:
        ValueError: an argument is out of range, or a kind is not known.

    Example:
        >>> pairs = particle_pairs(4, size=32, fields=("shear", "vortex"))
        >>> pairs.frames.shape, pairs.y
        (torch.Size([4, 2, 32, 32]), tensor([0, 1, 0, 1]))
    """
    check_count("n", n)
    check_count("size", size, 16)
    check_count("seed", seed, 0)
    if isinstance(fields, str) or not isinstance(fields, Collection):
        raise ValueError(f"fields is {fields!r}, but has to be a tuple of kinds")
    fields = tuple(fields)
    for kind in fields:
        check_choice("fields", kind, FIELDS)
    if not fields or len(set(fields)) < len(fields):
        raise ValueError(f"fields is {fields}, but has to name at least one kind, and none twice")
    number = isinstance(max_shift, int | float) and not isinstance(max_shift, bool)
    if not number or not 0 < max_shift < size:
        raise ValueError(f"max_shift is {max_shift!r}, but has to be above 0 and below {size}")
    rng = np.random.default_rng(seed)
    pairs = []
    for i in range(n):
        field = random_field(fields[i % len(fields)], size, max_shift, rng)
        pairs.append(image_pair(random_particles(size, max_shift, rng), field, size))
    frames, flow = (torch.from_numpy(np.stack(part)).float() for part in zip(*pairs, strict=True))
    kinds = torch.arange(n) % len(fields)
    return FlowPairs(frames, flow, kinds, "particle_pairs", fields, "Generated; free of rights.")


def random_particles(size: int, max_shift: float, rng: np.random.Generator) -> Particles:
    """Returns particles, 1 in 20 pixels, also beyond the edge, from where they may drift in."""
    edge = size / 2 + max_shift + 3
    m = round(0.05 * (2 * edge) ** 2)
    return Particles(
        rng.uniform(-edge, edge, (m, 2)), rng.uniform(1.6, 2.6, m), rng.uniform(0.5, 1, m)
    )


def random_field(kind: str, size: int, max_shift: float, rng: np.random.Generator) -> Field:
    """Returns a random field of a kind of `FIELDS`, scaled to a random largest velocity.

    Args:
        kind: as for `particle_pairs`.
        size: height and width of the image in pixels.
        max_shift: pixels; the largest velocity in the image is at least a third of it.
        rng: source of chance.
    """
    shape = FIELDS[kind](size, rng)
    axis = np.arange(size) - (size - 1) / 2
    speed = np.linalg.norm(shape(np.stack(np.meshgrid(axis, axis), -1)), axis=-1)
    scale = max_shift * rng.uniform(1 / 3, 1) / speed.max()
    return lambda p: scale * shape(p)


def _direction(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _across(p: np.ndarray) -> np.ndarray:
    """Returns the vectors turned by 90 degrees."""
    return np.stack([-p[..., 1], p[..., 0]], -1)


def _uniform(size: int, rng: np.random.Generator) -> Field:
    direction = _direction(rng)
    return lambda p: np.broadcast_to(direction, p.shape)


def _shear(size: int, rng: np.random.Generator) -> Field:
    direction = _direction(rng)
    return lambda p: (p @ _across(direction))[..., None] * direction


def _vortex(size: int, rng: np.random.Generator) -> Field:
    """Rankine's vortex: it turns like a disk inside its core, speed falls as 1 / r outside."""
    center, core = rng.uniform(-size / 4, size / 4, 2), size * rng.uniform(0.1, 0.25)
    sign = rng.choice([-1, 1])

    def field(p):
        square = ((p - center) ** 2).sum(-1, keepdims=True)
        return sign * _across(p - center) / np.maximum(square, core**2)

    return field


def _taylor_green(size: int, rng: np.random.Generator) -> Field:
    """Vortices of alternating sense on a square lattice, along the axes."""
    wave = 2 * np.pi / (size * rng.uniform(0.5, 1))
    phase = rng.uniform(0, 2 * np.pi, 2)

    def field(p):
        x, y = np.moveaxis(wave * p + phase, -1, 0)
        return np.stack([np.sin(x) * np.cos(y), -np.cos(x) * np.sin(y)], -1)

    return field


def _stagnation(size: int, rng: np.random.Generator) -> Field:
    """A saddle: flow in along one line and out along the line across it."""
    center, (a, b) = rng.uniform(-size / 6, size / 6, 2), _direction(rng)
    matrix = np.array([[a, b], [b, -a]])  # without trace, so without divergence
    return lambda p: (p - center) @ matrix


def _fourier(size: int, rng: np.random.Generator) -> Field:
    """Eight random waves of at most 3 periods over the image; long waves are stronger."""
    waves = 2 * np.pi / size * rng.uniform(-2, 2, (8, 2))
    strength = rng.normal(size=8) / (1 + (waves**2).sum(-1) * (size / np.pi / 2) ** 2)
    phase = rng.uniform(0, 2 * np.pi, 8)
    amplitudes = strength[:, None] * _across(waves)  # across the wave: no divergence
    return lambda p: np.sin(p @ waves.T + phase) @ amplitudes


def _rightward(size: int, rng: np.random.Generator) -> Field:
    waves = random_field("fourier", size, 0.3, rng)
    return lambda p: waves(p) + np.array([1.0, 0.0])


FIELDS: dict[str, Callable[[int, np.random.Generator], Field]] = {
    "uniform": _uniform,
    "shear": _shear,
    "vortex": _vortex,
    "taylor_green": _taylor_green,
    "stagnation": _stagnation,
    "fourier": _fourier,
    "rightward": _rightward,
}
