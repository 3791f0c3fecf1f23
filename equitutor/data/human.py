"""A real person, seen from one side by a depth camera."""

import numpy as np
import torch
from torch import Tensor

from .arguments import check_count
from .cache import fetch
from .solids import read_pcd


def human_scan(points: int = 2048, seed: int = 0, nearer: float = 1.0) -> Tensor:
    """Return head and shoulders of a person, seen by a depth camera: ``(points, 3)``, float32.

    Meters, z is up. The camera sees the front only, and the frame's border cuts the person. The
    person faces -y, as the bodies of this book do; the mean of the points is the origin.

    Args:
        points: number of points, drawn at random from those of the person.
        seed: other points for another seed.
        nearer: what is farther from the camera than this, in meters, is background.

    Raises:
        ValueError: points or seed is not an int in range, or nothing is that near.
        DataError: the file can't be had or is broken.

    Source: Point Cloud Library, tutorial on template alignment.

    Example:
        >>> human_scan().shape  # doctest: +SKIP
        torch.Size([2048, 3])
    """
    check_count("points", points)
    check_count("seed", seed, 0)
    cloud = read_pcd(fetch("human_scan/person.pcd"))
    person = cloud[cloud[:, 2] < nearer]
    if not len(person):
        raise ValueError(f"nearer is {nearer!r}, but the nearest point is at {cloud[:, 2].min()}")
    rng = np.random.default_rng(seed)
    chosen = person[rng.choice(len(person), points, replace=points > len(person))]
    # The camera looks along z, and y points down; the person looks back at it.
    x, y, z = (chosen - chosen.mean(0)).T
    return torch.from_numpy(np.stack([x, z, -y], 1)).float()
