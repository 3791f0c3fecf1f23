"""Finite groups with their tables, and uniform samples of SO(3)."""

from equitutor.groups.finite import FiniteGroup
from equitutor.groups.named import (
    cyclic,
    dihedral,
    direct_product,
    haar_so3,
    icosahedral,
    octahedral,
    tetrahedral,
)

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
