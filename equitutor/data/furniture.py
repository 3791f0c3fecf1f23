"""Generated furniture: eight classes of bodies put together from boxes and cylinders.

All stand upright, z up, and face -y: the canonical pose that the orbit of rotations starts from.
"""

import math

import torch
from torch import Tensor

from equitutor.checks import check_count
from equitutor.data.clouds import Clouds, center_and_scale, sample_surface

SIDES = 16  # a cylinder's walls
NOISE = 0.01  # standard deviation, in radii of the cloud

Mesh = tuple[Tensor, Tensor]  # vertices (V, 3), faces (F, 3)


def furniture(n: int, points: int = 128, seed: int = 0) -> Clouds:
    """Returns clouds of points on furniture of random proportions, the classes in turn.

    The classes: bed, chair, dresser, lamp, monitor, sofa, table, toilet. No download.

    Args:
        n: number of clouds; the first clouds do not depend on it.
        points: number of points of a cloud.
        seed: other furniture for another seed.

    Raises:
        ValueError: an argument is not an int in range.

    Example:
        >>> clouds = furniture(16)
        >>> clouds.x.shape, clouds.classes[clouds.y[3]]
        (torch.Size([16, 128, 3]), 'lamp')
    """
    check_count("n", n)
    check_count("points", points, 2)
    check_count("seed", seed, 0)
    generator = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    builders = list(BUILDERS.values())
    clouds = []
    for i in range(n):
        mesh = _union(builders[i % len(builders)](draw))
        clean = center_and_scale(sample_surface(*mesh, points, generator))
        clouds.append(clean + NOISE * torch.randn(points, 3, generator=generator))
    x = center_and_scale(torch.stack(clouds))  # again: the noise moved both
    return Clouds(x, torch.arange(n) % len(builders), "furniture", tuple(BUILDERS))


def box(x: float, y: float, z: float, width: float, depth: float, height: float) -> Mesh:
    """Returns a box: ``x, y`` the middle of its bottom, ``z`` the bottom's height."""
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)  # (8, 3), z runs fastest
    corners = corners - torch.tensor([0.5, 0.5, 0.0])
    vertices = corners * torch.tensor([width, depth, height]) + torch.tensor([x, y, z])
    sides = [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]
    return vertices, torch.tensor([t for a, b, c, d in sides for t in ((a, b, c), (a, c, d))])


def cylinder(
    x: float, y: float, z: float, radius: float, height: float, top: float | None = None
) -> Mesh:
    """Returns an upright cylinder, or a cone cut off where it has the radius ``top``."""
    angle = torch.arange(SIDES) * (2 * math.pi / SIDES)
    ring = torch.stack([angle.cos(), angle.sin(), torch.zeros(SIDES)], 1)  # (SIDES, 3)
    rise = torch.tensor([0.0, 0.0, height])
    top = radius if top is None else top
    # Lower ring, upper ring, the middle below, the middle above.
    parts = [ring * radius, ring * top + rise, torch.zeros(1, 3), rise[None]]
    faces = []
    for i in range(SIDES):
        j = (i + 1) % SIDES
        low, high = (i, j), (SIDES + i, SIDES + j)
        faces += [(*low, high[0]), (low[1], *high), (*low, 2 * SIDES), (*high, 2 * SIDES + 1)]
    return torch.cat(parts) + torch.tensor([x, y, z]), torch.tensor(faces)


def _union(meshes: list[Mesh]) -> Mesh:
    """Returns the meshes as one; where they overlap, both surfaces stay."""
    starts = torch.tensor([0, *(len(vertices) for vertices, _ in meshes)]).cumsum(0)
    faces = [faces + start for (_, faces), start in zip(meshes, starts[:-1], strict=True)]
    return torch.cat([vertices for vertices, _ in meshes]), torch.cat(faces)


def _legs(width: float, depth: float, height: float, thick: float) -> list[Mesh]:
    """Returns four legs under the corners of a top of ``width`` x ``depth``."""
    x, y = (width - thick) / 2, (depth - thick) / 2
    return [box(a * x, b * y, 0, thick, thick, height) for a in (-1, 1) for b in (-1, 1)]


def _bed(draw) -> list[Mesh]:
    width, depth, height = draw(0.9, 1.8), draw(1.9, 2.2), draw(0.3, 0.55)
    head = box(0, depth / 2, 0, width, 0.08, height + draw(0.3, 0.7))
    pillow = box(0, depth / 2 - 0.3, height, width * 0.7, 0.35, 0.12)
    return [box(0, 0, 0.12, width, depth, height - 0.12), head, pillow]


def _chair(draw) -> list[Mesh]:
    width, depth, seat = draw(0.4, 0.55), draw(0.4, 0.55), draw(0.4, 0.5)
    back = box(0, depth / 2 - 0.025, seat, width, 0.05, draw(0.4, 0.65))
    return [box(0, 0, seat, width, depth, 0.05), back, *_legs(width, depth, seat, 0.05)]


def _dresser(draw) -> list[Mesh]:
    width, depth, height = draw(0.8, 1.4), draw(0.4, 0.55), draw(0.8, 1.3)
    drawers = round(draw(2.5, 4.5))
    rise = height / drawers
    fronts = [
        box(0, -depth / 2 - 0.04, (i + 0.15) * rise, width * 0.85, 0.08, 0.7 * rise)
        for i in range(drawers)
    ]
    return [box(0, 0, 0, width, depth, height), *fronts]


def _lamp(draw) -> list[Mesh]:
    height, wide = draw(1.2, 1.7), draw(0.22, 0.35)
    shade = cylinder(0, 0, height - 0.35, wide, 0.35, top=wide * draw(0.4, 0.8))
    return [cylinder(0, 0, 0, draw(0.15, 0.25), 0.05), cylinder(0, 0, 0, 0.04, height), shade]


def _monitor(draw) -> list[Mesh]:
    width, height, neck = draw(0.5, 0.8), draw(0.3, 0.45), draw(0.1, 0.2)
    screen = box(0, 0, neck, width, 0.05, height)
    stand = box(0, 0.06, 0, 0.06, 0.04, neck + height / 2)
    return [screen, stand, box(0, 0.05, 0, width * draw(0.3, 0.5), 0.22, 0.03)]


def _sofa(draw) -> list[Mesh]:
    width, depth, seat = draw(1.5, 2.3), draw(0.8, 1.0), draw(0.35, 0.45)
    arm, rise = draw(0.15, 0.25), draw(0.15, 0.3)
    arms = [box(side * (width - arm) / 2, 0, 0, arm, depth, seat + rise) for side in (-1, 1)]
    back = box(0, depth / 2 - 0.1, 0, width, 0.2, seat + draw(0.35, 0.55))
    return [box(0, 0, 0.05, width, depth, seat - 0.05), back, *arms]


def _table(draw) -> list[Mesh]:
    width, depth, height = draw(1.0, 1.9), draw(0.7, 1.0), draw(0.65, 0.8)
    return [box(0, 0, height, width, depth, 0.05), *_legs(width, depth, height, draw(0.05, 0.1))]


def _toilet(draw) -> list[Mesh]:
    radius, seat = draw(0.18, 0.24), draw(0.36, 0.46)
    bowl = cylinder(0, 0, 0, radius * draw(0.5, 0.75), seat, top=radius)
    tank = box(0, radius + 0.1, 0.3, 2.2 * radius, 0.2, seat + draw(0.0, 0.15))
    return [bowl, cylinder(0, 0, seat, radius * 1.08, 0.04), tank]


BUILDERS = {
    "bed": _bed,
    "chair": _chair,
    "dresser": _dresser,
    "lamp": _lamp,
    "monitor": _monitor,
    "sofa": _sofa,
    "table": _table,
    "toilet": _toilet,
}
