"""Finite groups with their tables, and uniform samples of SO(3).

>>> from equitutor import groups
>>> turns = groups.cyclic(4)
>>> turns.mul[1].tolist(), turns.inv.tolist()
([1, 2, 3, 0], [0, 3, 2, 1])
"""

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "FiniteGroup",
    "cyclic",
    "dihedral",
    "direct_product",
    "haar_so3",
    "icosahedral",
    "octahedral",
    "tetrahedral",
]

_SAME = 1e-6  # two matrices nearer than this are taken for one element
_PRECISE = 1e-9  # what rounding in float64 may amount to; anything larger is a wrong table


@dataclass(frozen=True, eq=False, repr=False)
class FiniteGroup:
    """A finite group of orthogonal matrices, checked when it is made.

    Attributes:
        name: what to call it in figures and messages.
        elements: distinct orthogonal matrices (n, d, d), float64.
        mul: multiplication table (n, n), int64: ``elements[mul[i, j]]`` is
            ``elements[i] @ elements[j]``. Associativity follows from that of matrices.
        inv: index of each inverse (n,), int64.
        identity: index of the identity.

    Raises:
        TypeError: a tensor has the wrong dtype, or identity is not an int.
        ValueError: a shape does not fit, a matrix is not orthogonal or occurs twice, or a table
            does not agree with the matrices.

    >>> flips = torch.tensor([[[1.0]], [[-1.0]]], dtype=torch.float64)
    >>> FiniteGroup("S2", flips, torch.tensor([[0, 1], [1, 0]]), torch.tensor([0, 1]), 0)
    FiniteGroup('S2', order 2, dimension 1)
    """

    name: str
    elements: Tensor
    mul: Tensor
    inv: Tensor
    identity: int

    def __post_init__(self) -> None:
        _check_matrices("elements", self.elements)
        n = len(self.elements)
        for field, shape in (("mul", (n, n)), ("inv", (n,))):
            table = getattr(self, field)
            if not isinstance(table, Tensor) or table.dtype != torch.int64:
                raise TypeError(f"{field} is {kind_of(table)}; need an int64 tensor")
            if table.shape != shape:
                raise ValueError(f"{field} has shape {tuple(table.shape)}; need {shape}")
            if table.min() < 0 or table.max() >= n:
                raise ValueError(f"{field} has entries outside 0..{n - 1}; need element indices")
        check_integer("identity", self.identity, minimum=0)
        if self.identity >= n:
            raise ValueError(f"identity is {self.identity}; need an index below {n}")
        flat = self.elements.flatten(1)
        apart = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
        if n > 1 and apart.fill_diagonal_(math.inf).min() < _SAME:
            i, j = divmod(int(apart.argmin()), n)
            raise ValueError(f"elements {i} and {j} are equal; need distinct matrices")
        one = torch.eye(self.elements.shape[-1], dtype=torch.float64)
        if (self.elements[self.identity] - one).abs().max() > _PRECISE:
            raise ValueError(f"identity is {self.identity}, which is not the identity matrix")
        for i, element in enumerate(self.elements):  # by rows, to keep the memory small
            error = (self.elements[self.mul[i]] - element @ self.elements).abs().amax((1, 2))
            if error.max() > _PRECISE:
                j = int(error.argmax())
                raise ValueError(
                    f"mul[{i}, {j}] is {int(self.mul[i, j])}, but elements[{i}] @ elements[{j}] "
                    "is another matrix; need a closed set and its multiplication table"
                )
        wrong = self.mul[torch.arange(n), self.inv] != self.identity
        if wrong.any():
            i = int(wrong.nonzero()[0])
            raise ValueError(f"inv[{i}] is {int(self.inv[i])}, which is not the inverse of {i}")

    def __repr__(self) -> str:
        return f"FiniteGroup({self.name!r}, order {self.order}, dimension {self.dimension})"

    def __len__(self) -> int:
        return self.order

    @classmethod
    def from_generators(cls, name: str, generators: Tensor, max_order: int = 1000) -> "FiniteGroup":
        """Returns the group that the matrices generate, identity first, then by word length.

        Args:
            name: name of the group.
            generators: orthogonal matrices (k, d, d), float64, k >= 1.
            max_order: how many elements there may be.

        Raises:
            TypeError: generators are not a float64 tensor, or max_order is not an int.
            ValueError: a generator is not orthogonal, or the matrices generate more than
                max_order elements.

        >>> quarter = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]], dtype=torch.float64)
        >>> FiniteGroup.from_generators("C4", quarter).order
        4
        """
        check_integer("max_order", max_order)
        _check_matrices("generators", generators)
        elements = torch.eye(generators.shape[-1], dtype=torch.float64)[None]
        done = 0
        while done < len(elements):  # breadth first: multiply every element by every generator
            for product in elements[done] @ generators:
                nearest = (elements - product).abs().amax((1, 2)).min()
                if nearest > _SAME:
                    elements = torch.cat([elements, product[None]])
                elif nearest > _PRECISE:
                    raise ValueError(
                        f"generators of {name!r} give two elements that differ by "
                        f"{float(nearest):.1e}; need a finite group in float64 precision"
                    )
            if len(elements) > max_order:
                raise ValueError(
                    f"generators of {name!r} give more than max_order={max_order} elements; "
                    "need a finite group or a larger max_order"
                )
            done += 1
        flat = elements.flatten(1)
        # Among orthogonal matrices trace(A^T B) is largest where A = B: no tolerance is needed.
        mul = torch.stack([((g @ elements).flatten(1) @ flat.T).argmax(1) for g in elements])
        inv = (elements.transpose(1, 2).flatten(1) @ flat.T).argmax(1)
        return cls(name, elements, mul, inv, 0)

    @property
    def order(self) -> int:
        """The number of elements."""
        return len(self.elements)

    @property
    def dimension(self) -> int:
        """The size d of the matrices."""
        return self.elements.shape[-1]

    @property
    def is_abelian(self) -> bool:
        """Whether all elements commute.

        >>> from equitutor.groups import cyclic, dihedral
        >>> cyclic(5).is_abelian, dihedral(3).is_abelian
        (True, False)
        """
        return torch.equal(self.mul, self.mul.T)

    @property
    def element_orders(self) -> Tensor:
        """The least k >= 1 with g**k = identity for each g: (n,), int64.

        >>> from equitutor.groups import cyclic, dihedral
        >>> cyclic(4).element_orders.tolist()
        [1, 4, 2, 4]
        """
        own = torch.arange(self.order)
        orders, power = torch.ones_like(own), own
        while (unfinished := power != self.identity).any():
            orders += unfinished
            power = torch.where(unfinished, self.mul[power, own], power)
        return orders

    def conjugacy_classes(self) -> list[list[int]]:
        """Returns the classes {g h g^-1} as sorted lists of indices, ordered by first member.

        >>> from equitutor.groups import cyclic, dihedral
        >>> dihedral(3).conjugacy_classes()
        [[0], [1, 2], [3, 4, 5]]
        """
        conjugates = self.mul[self.mul, self.inv[:, None]]  # [g, h] is g h g^-1
        return [torch.unique(conjugates[:, int(h)]).tolist() for h in conjugates.amin(0).unique()]

    def subgroup(self, indices: Iterable[int], name: str | None = None) -> "FiniteGroup":
        """Returns the subgroup of the elements at indices, in the order given.

        Args:
            indices: distinct element indices, in any order; the identity must be among them.
            name: its name; the default says where it comes from.

        Raises:
            TypeError: an index is not an int.
            ValueError: an index is out of range or occurs twice, or the set is not closed.

        >>> from equitutor.groups import cyclic, dihedral
        >>> dihedral(4).subgroup([0, 2]).element_orders.tolist()
        [1, 2]
        """
        chosen = [check_integer("indices", i, minimum=0) for i in indices]
        if not chosen or len(set(chosen)) < len(chosen) or max(chosen) >= self.order:
            raise ValueError(f"indices are {chosen}; need distinct ones below {self.order}")
        position = torch.full((self.order,), -1)
        position[chosen] = torch.arange(len(chosen))
        mul = position[self.mul[chosen][:, chosen]]
        if mul.min() < 0:
            i, j = (chosen[int(k)] for k in (mul < 0).nonzero()[0])
            raise ValueError(
                f"indices {chosen} are not closed: {i} times {j} is {int(self.mul[i, j])}"
            )
        # A finite set closed under products holds the identity and all inverses.
        name = f"{self.name} subgroup of order {len(chosen)}" if name is None else name
        identity = int(position[self.identity])
        return FiniteGroup(name, self.elements[chosen], mul, position[self.inv[chosen]], identity)

    def regular(self) -> Tensor:
        """Returns the regular representation (n, n, n), float64: matrix g sends e_h to e_gh.

        >>> from equitutor.groups import cyclic, dihedral
        >>> cyclic(3).regular()[1].tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
        """
        return torch.nn.functional.one_hot(self.mul, self.order).double().transpose(1, 2)


def check_integer(name: str, value, minimum: int = 1) -> int:
    """Returns value as an int; TypeError unless it is one, ValueError below the minimum."""
    if isinstance(value, bool):
        raise TypeError(f"{name} is {value}; need an int")
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; need an int") from None
    if value < minimum:
        raise ValueError(f"{name} is {value}; need at least {minimum}")
    return value


def _check_matrices(name: str, matrices) -> None:
    if not isinstance(matrices, Tensor) or matrices.dtype != torch.float64:
        raise TypeError(f"{name} is {kind_of(matrices)}; need a float64 tensor")
    shape = tuple(matrices.shape)
    if matrices.ndim != 3 or 0 in shape or shape[1] != shape[2]:
        raise ValueError(f"{name} has shape {shape}; need (n, d, d) with n, d >= 1")
    gram = matrices @ matrices.transpose(1, 2) - torch.eye(shape[1], dtype=torch.float64)
    error = gram.abs().amax((1, 2))
    if not (error < _PRECISE).all():  # also catches nan
        i = int(error.nan_to_num(math.inf).argmax())
        raise ValueError(f"{name}[{i}] is not orthogonal; need matrices with A A^T = 1 in float64")


def kind_of(value) -> str:
    """Returns what an argument is, for messages."""
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype}"
    return f"of type {type(value).__name__}"


def cyclic(n: int) -> FiniteGroup:
    """Returns the n rotations of the plane; element k turns counter-clockwise by 2 pi k / n.

    Raises TypeError if n is not an int, ValueError if it is below 1.

    >>> cyclic(4).elements[1].tolist()
    [[0.0, -1.0], [1.0, 0.0]]
    """
    rotations = _plane_rotations(check_integer("n", n))
    k = torch.arange(n)
    return FiniteGroup(f"C{n}", rotations, (k[:, None] + k) % n, -k % n, 0)


def dihedral(n: int) -> FiniteGroup:
    """Returns the 2n symmetries of a regular n-gon: n rotations as in cyclic, then n reflections.

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
    """Returns the 12 rotations of a tetrahedron, with entries exactly 0 or +-1.

    >>> tetrahedral().order
    12
    """
    return _exact("T", [_CYCLE, torch.diag(_vector(-1, -1, 1))], [0, 1])


def octahedral() -> FiniteGroup:
    """Returns the 24 rotations of an octahedron or cube, with entries exactly 0 or +-1.

    >>> octahedral().order
    24
    """
    quarter = torch.stack([_vector(0, -1, 0), _vector(1, 0, 0), _vector(0, 0, 1)])
    return _exact("O", [_CYCLE, quarter], [0, 1])


def icosahedral() -> FiniteGroup:
    """Returns the 60 rotations of an icosahedron with vertices (0, +-1, +-golden ratio), cycled.

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
    """Returns the group of pairs, as block-diagonal matrices; pair (i, j) has index i * |b| + j.

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
    """Returns n rotations drawn uniformly from SO(3): (n, 3, 3), float64.

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
    """Returns the generated group with each entry replaced by the nearest +- magnitude."""
    group = FiniteGroup.from_generators(name, torch.stack(generators))
    values = _vector(*magnitudes)
    nearest = (group.elements.abs()[..., None] - values).abs().argmin(-1)
    elements = group.elements.sign() * values[nearest] + 0.0  # + 0.0 turns -0.0 into 0.0
    return FiniteGroup(name, elements, group.mul, group.inv, group.identity)


def _plane_rotations(n: int) -> Tensor:
    """Returns counter-clockwise rotations by 2 pi k / n, (n, 2, 2), exact at quarter turns."""
    quarter, rest = 4 * torch.arange(n) // n, 4 * torch.arange(n) % n
    angle = rest.double() * (math.pi / 2) / n
    c, s = angle.cos(), angle.sin()
    cos = torch.stack([c, -s, -c, s]).gather(0, quarter[None])[0]
    sin = torch.stack([s, c, -s, -c]).gather(0, quarter[None])[0]
    return torch.stack([cos, -sin, sin, cos], -1).view(n, 2, 2) + 0.0


def _matrix_of_quaternion(q: Tensor) -> Tensor:
    """Returns the rotations (..., 3, 3) of unit quaternions (..., 4), real part first."""
    w, v = q[..., :1, None], q[..., 1:]
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    cross = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))
    return torch.eye(3, dtype=q.dtype, device=q.device) + 2 * (w * cross + cross @ cross)


def _vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


_CYCLE = torch.eye(3, dtype=torch.float64).roll(1, 0)  # x -> y -> z -> x
