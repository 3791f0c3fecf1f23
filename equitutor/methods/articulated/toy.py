"""A creature of six bumpy links, built from numbers alone: no asset, no license, no download."""

import torch
from torch import Tensor

from equitutor.methods.articulated.body import Body

# name, parent, joint, direction of the link, its length and half-widths: no two links alike, no
# link with a mirror symmetry, and the creature has none either.
_LINKS = (
    ("trunk", -1, (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.62, (0.17, 0.11)),
    ("head", 0, (0.0, 0.02, 0.62), (0.1, 0.15, 1.0), 0.27, (0.10, 0.13)),
    ("long arm", 0, (0.14, 0.0, 0.52), (1.0, 0.1, 0.25), 0.55, (0.055, 0.08)),
    ("short arm", 0, (-0.14, 0.0, 0.44), (-1.0, 0.2, -0.15), 0.32, (0.09, 0.06)),
    ("thick leg", 0, (0.09, 0.0, 0.02), (0.15, 0.0, -1.0), 0.48, (0.11, 0.085)),
    ("thin leg", 0, (-0.09, 0.0, 0.02), (-0.2, 0.1, -1.0), 0.66, (0.05, 0.07)),
)


def toy_body(rings: int = 9, around: int = 12) -> Body:
    """Returns a body of six asymmetric bumpy links with one-hot weights and three shape modes.

    The trunk carries a head, two arms and two legs; about a meter and a half tall, z is up. The
    modes are longer limbs, a thicker trunk and a larger head; a coefficient of 1 is one standard
    deviation.

    Args:
        rings: rings of vertices along a link, >= 3.
        around: vertices in a ring, >= 3.

    Raises:
        ValueError: rings or around is not an int >= 3.

    >>> body = toy_body()
    >>> body.n_parts, body.n_shape, len(body.template), len(body.faces)
    (6, 3, 660, 1296)
    """
    for name, value in (("rings", rings), ("around", around)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 3:
            raise ValueError(f"{name} is {value!r}; need an int of at least 3")
    vertices, faces, labels, along = [], [], [], []
    for part, (_, _, joint, direction, length, widths) in enumerate(_LINKS):
        local, triangles = _link(part, length, widths, rings, around)
        faces.append(triangles + sum(map(len, vertices)))
        frame = _frame(torch.tensor(direction, dtype=torch.float64))
        vertices.append(local @ frame.T + torch.tensor(joint, dtype=torch.float64))
        labels.append(torch.full((len(local),), part))
        along.append(local)
    template, label = torch.cat(vertices), torch.cat(labels)
    joints = torch.tensor([link[2] for link in _LINKS], dtype=torch.float64)
    modes, joint_modes = _modes(template, label, joints)
    return Body(
        names=tuple(link[0] for link in _LINKS),
        parents=tuple(link[1] for link in _LINKS),
        template=template,
        shape_modes=modes,
        joints=joints,
        joint_modes=joint_modes,
        weights=torch.nn.functional.one_hot(label, len(_LINKS)).double(),
        faces=torch.cat(faces),
    )


def _link(part: int, length: float, widths: tuple[float, float], rings: int, around: int):
    """Returns vertices (V, 3) and triangles (F, 3) of one link along z, from 0 to its length."""
    t = (torch.arange(rings, dtype=torch.float64) + 0.5) / rings * torch.pi  # pole to pole
    phi = torch.arange(around, dtype=torch.float64) / around * 2 * torch.pi
    t, phi = t[:, None], phi[None]
    bump = 1 + 0.22 * torch.sin(2 * phi + part) * t.sin() + 0.18 * torch.cos(phi - 2 * t + 2 * part)
    bump = bump + 0.12 * torch.sin(3 * t + part)
    x = widths[0] * t.sin() * phi.cos() * bump
    y = widths[1] * t.sin() * phi.sin() * bump
    z = (length / 2 * (1 - t.cos())).expand_as(x)
    poles = torch.tensor([[0, 0, 0], [0, 0, length]], dtype=torch.float64)
    vertices = torch.cat([torch.stack([x, y, z], -1).flatten(0, 1), poles])
    grid = torch.arange(rings * around).view(rings, around)
    a, b = grid[:-1], grid[1:]
    right_a, right_b = a.roll(-1, 1), b.roll(-1, 1)
    quads = [torch.stack([a, right_a, right_b], -1), torch.stack([a, right_b, b], -1)]
    first, last = grid[0], grid[-1]
    bottom = torch.full_like(first, rings * around)
    caps = [
        torch.stack([bottom, first.roll(-1), first], -1),
        torch.stack([bottom + 1, last, last.roll(-1)], -1),
    ]
    return vertices, torch.cat([q.flatten(0, 1) for q in quads] + caps)


def _frame(direction: Tensor) -> Tensor:
    """Returns a rotation whose third column is the direction."""
    z = direction / direction.norm()
    x = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0], dtype=z.dtype), z)
    x = x / x.norm()
    return torch.stack([x, torch.linalg.cross(z, x), z], 1)


def _modes(template: Tensor, label: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Returns modes of vertices (3, V, 3) and of joints (3, P, 3)."""
    offset = template - joints[label]
    longer = 0.12 * offset * (label >= 2)[:, None]
    thicker = torch.zeros_like(template)
    thicker[:, :2] = 0.15 * template[:, :2] * (label == 0)[:, None]
    larger = 0.18 * offset * (label == 1)[:, None]
    moved = torch.zeros(3, len(joints), 3, dtype=template.dtype)
    moved[1, 2:, :2] = 0.15 * joints[2:, :2]  # limbs stay attached to a thicker trunk
    thicker += moved[1, label]
    return torch.stack([longer, thicker, larger]), moved
