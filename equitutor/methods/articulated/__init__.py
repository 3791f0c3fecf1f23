"""Fitting an articulated body to a cloud of points (Feng et al., ICCV 2023, arXiv 2304.10528).

`body` is the interface that every body has; `toy`, `anny` and `smpl` make one. `sampling` poses it
at random and samples its surface. `network` is the equivariant network, built on `parts`;
`pointnet`, `tensor_field` and `fitting` are its rivals. `losses` and `metrics` compare.

>>> from equitutor.methods import articulated
>>> body = articulated.toy_body()
>>> articulated.random_scans(body, 2, 50).points.shape
torch.Size([2, 50, 3])
"""

from equitutor.methods.articulated.anny import anny_lite
from equitutor.methods.articulated.body import (
    Body,
    local_to_world,
    posed_joints,
    skin,
    world_to_local,
)
from equitutor.methods.articulated.fitting import Fit, chamfer, fit_body
from equitutor.methods.articulated.losses import fit_loss, fit_terms, use_true_labels
from equitutor.methods.articulated.metrics import fit_metrics, mirror_classes, part_angles
from equitutor.methods.articulated.network import ArtEq, Prediction
from equitutor.methods.articulated.parts import (
    PartLift,
    part_centroids,
    part_vectors,
    pool_parts,
)
from equitutor.methods.articulated.pointnet import PointNet
from equitutor.methods.articulated.sampling import (
    Scans,
    closed_form_translation,
    random_rotations,
    random_scans,
    scan,
    surface_centroid,
)
from equitutor.methods.articulated.smpl import smpl_body
from equitutor.methods.articulated.tensor_field import TensorField, weighted_kabsch
from equitutor.methods.articulated.toy import toy_body

__all__ = [
    "ArtEq",
    "Body",
    "Fit",
    "PartLift",
    "PointNet",
    "Prediction",
    "Scans",
    "TensorField",
    "anny_lite",
    "chamfer",
    "closed_form_translation",
    "fit_body",
    "fit_loss",
    "fit_metrics",
    "fit_terms",
    "local_to_world",
    "mirror_classes",
    "part_angles",
    "part_centroids",
    "part_vectors",
    "pool_parts",
    "posed_joints",
    "random_rotations",
    "random_scans",
    "scan",
    "skin",
    "smpl_body",
    "surface_centroid",
    "toy_body",
    "use_true_labels",
    "weighted_kabsch",
    "world_to_local",
]
