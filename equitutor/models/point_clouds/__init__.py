"""Classifiers of point clouds under rotations: PointNet, and two that have the symmetry built in.

All map clouds (B, N, 3) to logits (B, classes), and none depends on the order of the points or on
where the cloud stands. `PointNet` depends on its pose. `MomentNet` sees invariant numbers only.
`TensorFieldNet` carries vectors and tensors that turn with the cloud, and reads off their lengths.
"""

from equitutor.models.point_clouds.basis import Gaussians, harmonics
from equitutor.models.point_clouds.moments import MomentNet
from equitutor.models.point_clouds.pointnet import PointNet, rotate_haar, rotate_z
from equitutor.models.point_clouds.tensor_field import TensorFieldLayer, TensorFieldNet

__all__ = [
    "Gaussians",
    "MomentNet",
    "PointNet",
    "TensorFieldLayer",
    "TensorFieldNet",
    "harmonics",
    "rotate_haar",
    "rotate_z",
]
