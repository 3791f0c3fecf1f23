"""Clouds of points in space: read from files, or sampled from the surface of a body."""

import zipfile
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import torch
from torch import Tensor

from equitutor.checks import check_choice, check_count
from equitutor.data.cache import fetch, fetch_all
from equitutor.data.errors import FormatError
from equitutor.data.solids import read_off, read_pcd, read_voxels


@dataclass(frozen=True, eq=False)
class Clouds:
    """Clouds of points with labels.

    Args:
        x: float32 ``(N, P, 3)``; each cloud is centered and reaches to the unit sphere.
        y: int64 ``(N,)``, indices into ``classes``.
        name: the data set.
        classes: a name for each class.
    """

    x: Tensor = field(repr=False)
    y: Tensor = field(repr=False)
    name: str
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.x)


def center_and_scale(points: Tensor) -> Tensor:
    """Returns the clouds moved to their center of mass and scaled to a radius of 1.

    Args:
        points: ``(..., P, 3)``, floating point, P >= 1.

    Raises:
        ValueError: another shape, or all points of a cloud are the same.

    Example:
        >>> center_and_scale(torch.tensor([[0.0, 0, 0], [4.0, 0, 0]]))
        tensor([[-1.,  0.,  0.],
                [ 1.,  0.,  0.]])
    """
    if not isinstance(points, Tensor) or not points.is_floating_point():
        raise ValueError(f"points is {getattr(points, 'dtype', type(points))}, but has to be a "
                         "floating point tensor")  # fmt: skip
    if points.ndim < 2 or points.shape[-1] != 3 or not points.shape[-2]:
        raise ValueError(f"points has the shape {tuple(points.shape)}, but has to be (..., P, 3)")
    centered = points - points.mean(-2, keepdim=True)
    radius = centered.norm(dim=-1).amax(-1)[..., None, None]
    if not (radius > 0).all():
        raise ValueError("points has a cloud whose points are all the same: it has no radius")
    return centered / radius


def sample_surface(vertices: Tensor, faces: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Returns points of the surface of a mesh, ``(n, 3)``, all parts of it equally likely.

    Args:
        vertices: ``(V, 3)``, floating point.
        faces: int64 ``(F, 3)``, the corners of triangles, indices into ``vertices``.
        n: number of points.
        generator: source of chance; same state, same points.

    Raises:
        ValueError: a shape does not fit, or the mesh has no area.

    Source: R. Osada et al., Shape distributions, ACM Trans. Graphics 21(4), 2002, section 4.1.

    Example:
        >>> flat = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [0.0, 1, 0]])
        >>> points = sample_surface(flat, torch.tensor([[0, 1, 2]]), 100, torch.Generator())
        >>> points[:, 2].unique()
        tensor([0.])
    """
    check_count("n", n)
    for name, value in (("vertices", vertices), ("faces", faces)):
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} is {type(value).__name__}, but has to be a tensor")
        if value.ndim != 2 or value.shape[1] != 3:
            raise ValueError(f"{name} has the shape {tuple(value.shape)}, but has to be (..., 3)")
    if not isinstance(generator, torch.Generator):  # None would draw from the global state
        raise ValueError(f"generator is {generator!r}, but has to be a torch.Generator")
    if not vertices.is_floating_point() or faces.dtype != torch.int64:
        raise ValueError(
            f"vertices and faces are {vertices.dtype} and {faces.dtype}, but have to be floating "
            "point and int64"
        )
    if len(faces) and not 0 <= faces.min() <= faces.max() < len(vertices):
        raise ValueError(f"faces names vertices {faces.min().item()} to {faces.max().item()}, but "
                         f"there are {len(vertices)}")  # fmt: skip
    a, b, c = vertices[faces].unbind(1)  # (F, 3) each
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1)  # twice the area, in fact
    if not area.sum() > 0:
        raise ValueError(f"faces has {len(faces)} triangles without any area: nothing to sample")
    chosen = torch.multinomial(area, n, replacement=True, generator=generator)
    u, v = torch.rand(2, n, 1, generator=generator, dtype=vertices.dtype)
    u = u.sqrt()  # the triangle is wider away from the corner a
    return a[chosen] * (1 - u) + b[chosen] * (u * (1 - v)) + c[chosen] * (u * v)


def pcl_shapes(split: str) -> Clouds:
    """Returns scanned models of animals and of a person, 3400 points each.

    Args:
        split: ``"train"`` (cat, horse, lioness, michael, wolf) or ``"test"`` (all but the wolf,
            in another pose each).

    Raises:
        ValueError: another split.
        DataError: the files can't be had or are broken.

    Source: Point Cloud Library, tutorial on implicit shape models.

    Example:
        >>> pcl_shapes("train").x.shape  # doctest: +SKIP
        torch.Size([5, 3400, 3])
    """
    check_choice("split", split, ("train", "test"))
    paths = fetch_all("pcl_shapes", "ism_")
    classes = tuple(sorted({name[:-4].split("_")[2] for name in paths}))
    found = [name for name in (f"ism_{split}_{kind}.pcd" for kind in classes) if name in paths]
    points = [read_pcd(paths[name]) for name in found]
    if len({len(cloud) for cloud in points}) != 1:
        raise FormatError(f"pcl_shapes has clouds of {[len(cloud) for cloud in points]} points")
    y = torch.tensor([classes.index(name[:-4].split("_")[2]) for name in found])
    x = center_and_scale(torch.from_numpy(np.stack(points))).float()
    return Clouds(x, y, "pcl_shapes", classes)


def geometric_shapes(points: int = 1024, seed: int = 0, solid_only: bool = True) -> Clouds:
    """Returns one cloud of each geometric shape, sampled from its mesh.

    The published training and test meshes are the same: only poses and points can be held out,
    so there is no split here.

    Args:
        points: number of points of a cloud.
        seed: other points for another seed.
        solid_only: leave out the eight flat shapes, whose names begin with ``2d_``.

    Raises:
        ValueError: points or seed is not an int in range.
        DataError: the files can't be had or are broken.

    Source: https://github.com/Yannick-S/geometric_shapes.

    Example:
        >>> geometric_shapes().x.shape  # doctest: +SKIP
        torch.Size([32, 1024, 3])
    """
    check_count("points", points)
    check_count("seed", seed, 0)
    path = fetch("geometric_shapes/raw.zip")
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if "/train/" in name)
            meshes = {
                PurePosixPath(name).stem: read_off(zipfile.Path(archive, name))
                for name in names
                if name.endswith(".off") and not (solid_only and "/2d_" in name)
            }
    except FormatError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        raise FormatError(f"{path} is not a whole zip archive: {error}") from error
    classes = tuple(meshes)
    return Clouds(
        _sampled(meshes.values(), points, seed),
        torch.arange(len(classes)),
        "geometric_shapes",
        classes,
    )


def _sampled(meshes, points: int, seed: int) -> Tensor:
    """Returns one normalized cloud ``(N, points, 3)`` for each mesh (vertices, faces)."""
    generator = torch.Generator().manual_seed(seed)
    clouds = [
        sample_surface(torch.from_numpy(vertices), torch.from_numpy(faces), points, generator)
        for vertices, faces in meshes
    ]
    return center_and_scale(torch.stack(clouds)).float()


def modelnet10_voxels(split: str, points: int = 512, seed: int = 0) -> Clouds:
    """Returns chairs and monitors of ModelNet10, as points in the surface voxels of 32^3 grids.

    A surface voxel is filled and has an empty one on at least one of its six sides. Points are
    drawn at random from the surface voxels, and at random inside the voxel. The grids come from
    the published training meshes only; every fifth is set aside here as test. The empty grid at
    the head of each file is left out.

    Args:
        split: ``"train"`` (712 chairs, 372 monitors) or ``"test"`` (177 and 93).
        points: number of points of a cloud.
        seed: other points for another seed.

    Raises:
        ValueError: another split, or points or seed is not an int in range.
        DataError: the files can't be had or are broken.

    Source: Z. Wu et al., 3D ShapeNets, CVPR 2015; voxels by S. Tambe.

    Example:
        >>> modelnet10_voxels("test").x.shape  # doctest: +SKIP
        torch.Size([270, 512, 3])
    """
    check_choice("split", split, ("train", "test"))
    check_count("points", points)
    check_count("seed", seed, 0)
    classes = ("chair", "monitor")
    rng = np.random.default_rng(seed)
    clouds, labels = [], []
    for label, kind in enumerate(classes):
        grids = read_voxels(fetch(f"modelnet10_voxels/{kind}.npy.gz"))
        grids = grids[grids.any(axis=(1, 2, 3))]
        in_test = np.arange(len(grids)) % 5 == 4
        for grid in grids[in_test if split == "test" else ~in_test]:
            voxels = np.argwhere(surface(grid))  # (V, 3)
            chosen = voxels[rng.integers(len(voxels), size=points)]
            clouds.append(chosen + rng.random((points, 3)))
            labels.append(label)
    x = center_and_scale(torch.from_numpy(np.stack(clouds))).float()
    return Clouds(x, torch.tensor(labels), "modelnet10_voxels", classes)


def surface(grid: np.ndarray) -> np.ndarray:
    """Returns which voxels are filled and have an empty one on one of their six sides.

    Args:
        grid: bool ``(D, H, W)``; beyond its border all is empty.

    Example:
        >>> int(surface(np.ones((4, 4, 4), bool)).sum())  # all but the 2 x 2 x 2 inside
        56
    """
    inside = np.pad(grid, 1)
    for axis in range(3):
        padded = np.pad(grid, 1)
        inside &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return grid & ~inside[1:-1, 1:-1, 1:-1]
