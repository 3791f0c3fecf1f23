"""Data for the chapters: real sets, found on this machine or fetched, checked and parsed; and
sets that are generated, for a machine without a network."""

from .cache import fetch, fetch_all, locate
from .clouds import (
    Clouds,
    center_and_scale,
    geometric_shapes,
    modelnet10_sample,
    modelnet10_voxels,
    pcl_shapes,
    sample_surface,
)
from .detection import Detections, blood_cells
from .errors import ChecksumError, DataError, DownloadError, FormatError
from .flow import FlowPairs, flow_pairs
from .furniture import furniture
from .images import Images, cifar10, digits, mnist, on_canvas
from .particles import Particles, image_pair, particle_pairs
from .registry import SETS, DataSet, File
from .scenes import Scenes, scenes, window
from .solids import read_off, read_pcd

__all__ = [
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
    "Particles",
    "Scenes",
    "blood_cells",
    "center_and_scale",
    "cifar10",
    "digits",
    "fetch",
    "fetch_all",
    "flow_pairs",
    "furniture",
    "geometric_shapes",
    "image_pair",
    "locate",
    "mnist",
    "modelnet10_sample",
    "modelnet10_voxels",
    "on_canvas",
    "particle_pairs",
    "pcl_shapes",
    "read_off",
    "read_pcd",
    "sample_surface",
    "scenes",
    "window",
]
