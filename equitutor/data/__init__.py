"""Data for the chapters: real sets, found on this machine or fetched, checked and parsed; and
sets that are generated, for a machine without a network.

>>> from equitutor import data
>>> data.digits("test").x.shape[1:]
torch.Size([1, 24, 24])
"""

from equitutor.data.cache import fetch, fetch_all, locate
from equitutor.data.centered import centered
from equitutor.data.clouds import (
    Clouds,
    center_and_scale,
    geometric_shapes,
    modelnet10_voxels,
    pcl_shapes,
    sample_surface,
)
from equitutor.data.detection import Detections, blood_cells
from equitutor.data.errors import ChecksumError, DataError, DownloadError, FormatError
from equitutor.data.flow import FlowPairs, flow_pairs
from equitutor.data.furniture import furniture
from equitutor.data.images import (
    Images,
    cifar10,
    cifar10_jpeg,
    digits,
    handful,
    hundred,
    mnist,
    on_canvas,
)
from equitutor.data.mnist_m import mnist_m
from equitutor.data.motion import ACROBATIC, EVERYDAY, HUMAN_PARTS, Motion, motion, retarget
from equitutor.data.particles import Particles, image_pair, particle_pairs
from equitutor.data.registry import SETS, DataSet, File
from equitutor.data.scenes import Scenes, scenes, window
from equitutor.data.solids import read_off, read_pcd
from equitutor.data.symmetric_tasks import (
    Regression,
    cossim,
    cossim_target,
    inertia,
    inertia_target,
)
from equitutor.data.trajectories import (
    Trajectories,
    constant_velocity,
    displacement_errors,
    past_and_future,
    street,
    trajectories,
)

__all__ = [
    "ACROBATIC",
    "EVERYDAY",
    "HUMAN_PARTS",
    "SETS",
    "ChecksumError",
    "Clouds",
    "DataError",
    "DataSet",
    "Detections",
    "DownloadError",
    "File",
    "FlowPairs",
    "FormatError",
    "Images",
    "Motion",
    "Particles",
    "Regression",
    "Scenes",
    "Trajectories",
    "blood_cells",
    "center_and_scale",
    "centered",
    "cifar10",
    "cifar10_jpeg",
    "constant_velocity",
    "cossim",
    "cossim_target",
    "digits",
    "displacement_errors",
    "fetch",
    "fetch_all",
    "flow_pairs",
    "furniture",
    "geometric_shapes",
    "handful",
    "hundred",
    "image_pair",
    "inertia",
    "inertia_target",
    "locate",
    "mnist",
    "mnist_m",
    "modelnet10_voxels",
    "motion",
    "on_canvas",
    "particle_pairs",
    "past_and_future",
    "pcl_shapes",
    "read_off",
    "read_pcd",
    "retarget",
    "sample_surface",
    "scenes",
    "street",
    "trajectories",
    "window",
]
