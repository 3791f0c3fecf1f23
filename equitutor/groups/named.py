"""The groups the book uses by name, and uniform samples of SO(3)."""

import math

import torch
from torch import Tensor

from equitutor.groups.finite import FiniteGroup, check_integer, kind_of


def cyclic(n: int) -> FiniteGroup:
    """Return the n rotations of the plane; element k turns counter-clockwise by 2 pi k / n.

    Raises TypeError if n is not an int, ValueError if it is below 1.

    >>> cyclic(4).elements[1].tolist()
    [[0.0, -1.0], [1.0, 0.0]]
    """
    rotations = _plane_rotations(check_integer("n", n))
    k = torch.arange(n)
    return FiniteGroup(f"C{n}", rotations, (k[:, None] + k) % n, -k % n, 0)


def dihedral(n: int) -> FiniteGroup:
    """Return the 2n symmetries of a regular n-gon: n rotations as in cyclic, then n reflections.

    Element n + k is the reflection y -> -y followed by rotation k.
    Raises TypeError if n is not an int, ValueError if it is below 1.

    >>> dihedral(4).elements[4].tolist()
    [[1.0, 0.0], [0.0, -1.0]]
    """
    rotations = _plane_rotations(check_integer("n", n))
    reflections = rotations * torch.tensor([1.0, -1.0], dtype=torch.float64)  # R @ diag(1, -1)
    turn, flip = torch.arange(2 * n) % n, torch.arange(2 * n) // n
    sign = 1 - 2 * flip  # past a reflection, a rotation turns the other way
    mul = (turn[:, None] + sign[:, None] * turn) % n + n * (flip[:, None] ^ flip)
    inv = (-sign * turn) % n + n * flip
    return FiniteGroup(f"D{n}", torch.cat([rotations, reflections]) + 0.0, mul, inv, 0)


def tetrahedral() -> FiniteGroup:
    """Return the 12 rotations of a tetrahedron, with entries exactly 0 or +-1.

    >>> tetrahedral().order
    12
    """
    return _exact("T", [_CYCLE, torch.diag(_vector(-1, -1, 1))], [0, 1])


def octahedral() -> FiniteGroup:
    """Return the 24 rotations of an octahedron or cube, with entries exactly 0 or +-1.

    >>> octahedral().order
    24
    """
    quarter = torch.stack([_vector(0, -1, 0), _vector(1, 0, 0), _vector(0, 0, 1)])
    return _exact("O", [_CYCLE, quarter], [0, 1])


def icosahedral() -> FiniteGroup:
    """Return the 60 rotations of an icosahedron with vertices (0, +-1, +-golden ratio), cycled.

    Every entry is 0, +-1/2, +-1, +-phi/2 or +-1/(2 phi), each always the same float64. The 12
    rotations of tetrahedral are among them.

    >>> sorted(len(c) for c in icosahedral().conjugacy_classes())
    [1, 12, 12, 15, 20]
    """
    golden = (1 + math.sqrt(5)) / 2
    axis = torch.nn.functional.normalize(_vector(0, 1, golden), dim=0) * math.sin(math.pi / 5)
    fifth = _matrix_of_quaternion(torch.cat([_vector(math.cos(math.pi / 5)), axis]))
    return _exact("I", [_CYCLE, fifth], [0, 0.5, 1, golden / 2, (golden - 1) / 2])


def direct_product(a: FiniteGroup, b: FiniteGroup) -> FiniteGroup:
    """Return the group of pairs, as block-diagonal matrices; pair (i, j) has index i * |b| + j.

    Raises TypeError if a or b is not a FiniteGroup.

    >>> direct_product(cyclic(2), cyclic(3)).element_orders.tolist()
    [1, 3, 3, 2, 6, 6]
    """
    for argument, group in (("a", a), ("b", b)):
        if not isinstance(group, FiniteGroup):
            raise TypeError(f"{argument} is {kind_of(group)}; need a FiniteGroup")
    n = b.order
    elements = torch.zeros(a.order, n, *(2 * [a.dimension + b.dimension]), dtype=torch.float64)
    elements[..., : a.dimension, : a.dimension] = a.elements[:, None]
    elements[..., a.dimension :, a.dimension :] = b.elements
    mul = a.mul[:, None, :, None] * n + b.mul[:, None, :]  # (|a|, |b|, |a|, |b|)
    inv = a.inv[:, None] * n + b.inv
    return FiniteGroup(
        f"{a.name} x {b.name}",
        elements.flatten(0, 1),
        mul.reshape(a.order * n, a.order * n),
        inv.flatten(),
        a.identity * n + b.identity,
    )


def haar_so3(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Return n rotations drawn uniformly from SO(3): (n, 3, 3), float64.

    Uniform random unit quaternions, which cover SO(3) evenly; see Shoemake, "Uniform random
    rotations" (1992). Raises TypeError if n is not an int, ValueError if it is below 1.

    Args:
        n: number of rotations.
        generator: source of randomness; the default is torch's global one.

    >>> haar_so3(5, torch.Generator().manual_seed(0)).shape
    torch.Size([5, 3, 3])
    """
    device = generator.device if generator is not None else None
    normal = torch.randn(
        check_integer("n", n), 4, dtype=torch.float64, generator=generator, device=device
    )
    return _matrix_of_quaternion(torch.nn.functional.normalize(normal, dim=1))


def _exact(name: str, generators: list[Tensor], magnitudes: list[float]) -> FiniteGroup:
    """Return the generated group with each entry replaced by the nearest +- magnitude."""
    group = FiniteGroup.from_generators(name, torch.stack(generators))
    values = _vector(*magnitudes)
    nearest = (group.elements.abs()[..., None] - values).abs().argmin(-1)
    elements = group.elements.sign() * values[nearest] + 0.0  # + 0.0 turns -0.0 into 0.0
    return FiniteGroup(name, elements, group.mul, group.inv, group.identity)


def _plane_rotations(n: int) -> Tensor:
    """Return counter-clockwise rotations by 2 pi k / n, (n, 2, 2), exact at quarter turns."""
    quarter, rest = 4 * torch.arange(n) // n, 4 * torch.arange(n) % n
    angle = rest.double() * (math.pi / 2) / n
    c, s = angle.cos(), angle.sin()
    cos = torch.stack([c, -s, -c, s]).gather(0, quarter[None])[0]
    sin = torch.stack([s, c, -s, -c]).gather(0, quarter[None])[0]
    return torch.stack([cos, -sin, sin, cos], -1).view(n, 2, 2) + 0.0


def _matrix_of_quaternion(q: Tensor) -> Tensor:
    """Return the rotations (..., 3, 3) of unit quaternions (..., 4), real part first."""
    w, v = q[..., :1, None], q[..., 1:]
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    cross = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))
    return torch.eye(3, dtype=q.dtype, device=q.device) + 2 * (w * cross + cross @ cross)


def _vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


_CYCLE = torch.eye(3, dtype=torch.float64).roll(1, 0)  # x -> y -> z -> x
