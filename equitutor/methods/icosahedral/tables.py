"""A rotation group as tables: products, inverses, neighbors, and a kernel that it permutes."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from equitutor.groups import FiniteGroup, icosahedral, octahedral, tetrahedral
from equitutor.rotations import rotation_angle

_GROUPS = {"icosahedral": icosahedral, "octahedral": octahedral, "tetrahedral": tetrahedral}


@dataclass(frozen=True, eq=False, repr=False)
class RotationTables:
    """What the layers look up in a finite group of G rotations.

    Attributes:
        name: name of the group.
        elements: rotations R_a, (G, 3, 3), float64.
        mul, inv: products (G, G) and inverses (G,): ``R[mul[a, b]] = R[a] @ R[b]``.
        relative: ``relative[a, b] = mul[inv[a], b]``, (G, G): how b looks from a. Turning both by
            the same g does not change it.
        neighbors: the identity and the n rotations by the smallest angle, (1 + n,).
        kernel: the origin and the unit axes of those n rotations, (1 + n, 3), float64.
        turned: ``R_a kernel[m] = kernel[turned[a, m]]``, (G, 1 + n).

    The group permutes its own kernel: the axis of a b a^-1 is R_a times the axis of b.
    """

    name: str
    elements: Tensor
    mul: Tensor
    inv: Tensor
    relative: Tensor
    neighbors: Tensor
    kernel: Tensor
    turned: Tensor

    def __len__(self) -> int:
        return len(self.elements)

    def __repr__(self) -> str:
        return f"RotationTables({self.name!r}, order {len(self)}, kernel {len(self.kernel)})"

    @classmethod
    def of(cls, group: FiniteGroup) -> "RotationTables":
        """Returns the tables of a group of at least two rotations of space.

        Raises:
            ValueError: the group is trivial, does not act on space, or holds a reflection.
        """
        if group.dimension != 3 or group.order < 2 or (torch.linalg.det(group.elements) < 0).any():
            raise ValueError(f"group is {group!r}; need two or more rotations of space")
        mul, inv = group.mul, group.inv
        angle = rotation_angle(group.elements[group.identity], group.elements)
        angle[group.identity] = torch.inf
        near = (angle < angle.min() + 1e-6).nonzero().flatten()
        neighbors = torch.cat([torch.tensor([group.identity]), near])
        skew = group.elements[near] - group.elements[near].mT
        axes = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], 1)
        if (axes.norm(dim=1) < 1e-6).any():
            raise ValueError(f"group is {group!r}; need a smallest angle below 180 degrees")
        axes = axes / axes.norm(dim=1, keepdim=True)
        position = torch.full((group.order,), -1)
        position[neighbors] = torch.arange(len(neighbors))
        conjugate = mul[mul[:, neighbors], inv[:, None]]  # a b a^-1, (G, 1 + n)
        return cls(
            name=group.name,
            elements=group.elements,
            mul=mul,
            inv=inv,
            relative=mul[inv],
            neighbors=neighbors,
            kernel=torch.cat([torch.zeros(1, 3, dtype=torch.float64), axes]),
            turned=position[conjugate],
        )


@lru_cache(maxsize=8)
def rotation_tables(name: str = "icosahedral") -> RotationTables:
    """Returns the tables of a named group: 60, 24 or 12 rotations.

    Args:
        name: "icosahedral", "octahedral" or "tetrahedral".

    Raises:
        ValueError: another name.

    Source: Feng et al. 2023 (60 elements, 13 neighbors); the invariant kernel is ours.

    >>> rotation_tables()
    RotationTables('I', order 60, kernel 13)
    >>> rotation_tables("octahedral"), rotation_tables("tetrahedral")
    (RotationTables('O', order 24, kernel 7), RotationTables('T', order 12, kernel 9))
    """
    if name not in _GROUPS:
        raise ValueError(f"name is {name!r}; need one of {', '.join(map(repr, _GROUPS))}")
    return RotationTables.of(_GROUPS[name]())
