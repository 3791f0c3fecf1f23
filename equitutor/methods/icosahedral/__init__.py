"""Networks on points that commute with the 60 rotations of an icosahedron, in plain PyTorch.

A feature lives on (point, group element): ``f(x, a)``, shape (B, S, G, C). A rotation g of the
group moves the points and permutes the elements: ``(L_g f)(x, a) = f(g^-1 x, g^-1 a)``. `tables`
holds the group, `points` picks centers and neighbors, `convolution` mixes points and group
elements, and `attention` mixes group elements. `weighted_rotation_mean` turns weights on the group
into one rotation.

Sources: Feng et al., "Generalizing Neural Human Fitting to Unseen Poses with Articulated SE(3)
Equivariance", ICCV 2023 (arXiv 2304.10528); Chen et al., "Equivariant Point Network for 3D Point
Cloud Analysis", CVPR 2021 (arXiv 2103.14147).

>>> from equitutor.methods import icosahedral
>>> len(icosahedral.rotation_tables().elements)
60
"""

from equitutor.methods.icosahedral.attention import GroupAttention
from equitutor.methods.icosahedral.constants import ExactConstants
from equitutor.methods.icosahedral.convolution import (
    InterConv,
    IntraConv,
    PointGroupNorm,
    SeparableBlock,
)
from equitutor.methods.icosahedral.points import (
    farthest_points,
    interpolation,
    nearest,
    point_invariants,
    take,
)
from equitutor.methods.icosahedral.tables import RotationTables, rotation_tables
from equitutor.rotations import (
    matrix_loss,
    project_so3,
    rotation_angle,
    weighted_rotation_mean,
)

__all__ = [
    "ExactConstants",
    "GroupAttention",
    "InterConv",
    "IntraConv",
    "PointGroupNorm",
    "RotationTables",
    "SeparableBlock",
    "farthest_points",
    "interpolation",
    "matrix_loss",
    "nearest",
    "point_invariants",
    "project_so3",
    "rotation_angle",
    "rotation_tables",
    "take",
    "weighted_rotation_mean",
]
