"""Training data without data: random poses and shapes of a body, and points of its surface."""

from typing import NamedTuple

import torch
from torch import Tensor

from equitutor.groups import haar_so3
from equitutor.methods.articulated.body import Body, local_to_world
from equitutor.rotations import rotation_of


class Scans(NamedTuple):
    """Points of posed bodies, with everything that a network may have to find.

    Attributes:
        points: (B, N, 3), meters.
        labels: the part of each point, (B, N), int64.
        canonical: where each point lies on the body at rest, (B, N, 3).
        rotations: of each part in the world, (B, P, 3, 3).
        beta: shape coefficients, (B, K).
        translation: of the root joint from its place at rest, (B, 3).
    """

    points: Tensor
    labels: Tensor
    canonical: Tensor
    rotations: Tensor
    beta: Tensor
    translation: Tensor

    def to(self, *args, **kwargs) -> "Scans":
        """Returns the scans on a device, or with numbers of a dtype; labels stay integers."""
        return Scans(
            *(
                v.to(*args, **kwargs) if v.is_floating_point() else v.to(_device(args, kwargs, v))
                for v in self
            )
        )

    def __getitem__(self, index):
        """Returns a field by its number, or the scans that a slice or a tensor picks."""
        if isinstance(index, int):
            return tuple.__getitem__(self, index)
        return Scans(*(v[index] for v in tuple(self)))

    def turned(self, g: Tensor) -> "Scans":
        """Returns the scans turned about the world's origin: points -> g points, R -> g R.

        Args:
            g: one rotation (3, 3), or one for each scan (B, 3, 3).
        """
        if g.shape not in ((3, 3), (len(self.points), 3, 3)):
            raise ValueError(f"g has shape {tuple(g.shape)}; need (3, 3), or one for each scan")
        g = g.to(self.points).expand(len(self.points), 3, 3)
        return self._replace(
            points=self.points @ g.mT,
            rotations=g[:, None] @ self.rotations,
            translation=(g @ self.translation[..., None])[..., 0],
        )


def _device(args, kwargs, value: Tensor):
    found = [a for a in (*args, *kwargs.values()) if isinstance(a, torch.device | str)]
    return found[0] if found else value.device


def random_rotations(
    body: Body, n: int, sigma: float, root: str = "upright",
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """Returns random poses of a body: rotations in the world, (n, P, 3, 3).

    Every part turns against its parent by a Gaussian axis-angle vector.

    Args:
        body: the body.
        n: number of poses.
        sigma: standard deviation of each component of the vector, radians, >= 0.
        root: "upright", the root is turned by its Gaussian vector only; or "random", by a uniform
            random rotation on top of it.
        generator: source of randomness; the default is torch's global one.

    Raises:
        ValueError: sigma is not a number >= 0, or root is another word.

    >>> from equitutor.methods.articulated import toy_body
    >>> random_rotations(toy_body(), 2, sigma=0.0)[1, 3].diagonal()
    tensor([1., 1., 1.])
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n is {n!r}; need an int of at least 1")
    if not (isinstance(sigma, int | float) and 0 <= sigma < torch.inf):
        raise ValueError(f"sigma is {sigma!r}; need a finite number of at least 0")
    if root not in ("upright", "random"):
        raise ValueError(f"root is {root!r}; need 'upright' or 'random'")
    vector = sigma * torch.randn(n, body.n_parts, 3, generator=generator, dtype=torch.float64)
    world = local_to_world(rotation_of(vector), body.parents)
    if root == "random":
        world = haar_so3(n, generator)[:, None] @ world
    return world.to(body.template)


def scan(
    body: Body, beta: Tensor, rotations: Tensor, n: int,
    generator: torch.Generator | None = None, noise: float = 0.0,
    translation: Tensor | None = None,
) -> Scans:  # fmt: skip
    """Returns points sampled from the surface of posed bodies, evenly by the area at rest.

    Args:
        body: the body.
        beta: shape coefficients (B, K).
        rotations: of each part in the world, (B, P, 3, 3).
        n: points for each body, >= 1.
        generator: source of randomness; the default is torch's global one.
        noise: standard deviation of noise on each coordinate, meters.
        translation: of the root joint, (B, 3); zero if None.

    Raises:
        ValueError: n is not an int >= 1, or a shape does not fit.

    Source: Osada et al., "Shape distributions", 2002 (uniform points in a triangle).

    >>> from equitutor.methods.articulated import toy_body
    >>> body = toy_body()
    >>> scan(body, torch.zeros(2, 3), random_rotations(body, 2, 0.2), 100).points.shape
    torch.Size([2, 100, 3])
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n is {n!r}; need an int of at least 1")
    if not (isinstance(noise, int | float) and 0 <= noise < torch.inf):
        raise ValueError(f"noise is {noise!r}; need a finite number of at least 0")
    posed, _ = body(beta, rotations)  # checks the shapes
    b = len(beta)
    corner, mix = _surface_points(body, (b, n), generator)
    rows = torch.arange(b, device=corner.device)[:, None, None]
    vertices, _ = body.rest(beta)
    points = (mix[..., None] * posed[rows, corner]).sum(2)
    canonical = (mix[..., None] * vertices[rows, corner]).sum(2)
    labels = (mix[..., None] * body.weights[corner]).sum(2).argmax(-1)
    if translation is None:
        translation = points.new_zeros(b, 3)
    points = points + translation[:, None]
    if noise:
        jitter = torch.randn(b, n, 3, generator=generator, dtype=torch.float64)
        points = points + noise * jitter.to(points)
    return Scans(points, labels, canonical, rotations, beta, translation)


def random_scans(
    body: Body, batch: int, n: int, sigma: float = 0.25, root: str = "upright",
    generator: torch.Generator | None = None, noise: float = 0.0,
) -> Scans:  # fmt: skip
    """Returns scans of bodies with random shapes (standard normal beta) and random poses.

    Args:
        body, n, generator, noise: as for `scan`. sigma, root: as for `random_rotations`.
        batch: number of bodies.

    >>> from equitutor.methods.articulated import toy_body
    >>> random_scans(toy_body(), 4, 50).labels.shape
    torch.Size([4, 50])
    """
    rotations = random_rotations(body, batch, sigma, root, generator)
    beta = torch.randn(batch, body.n_shape, generator=generator, dtype=torch.float64)
    return scan(body, beta.to(rotations), rotations, n, generator, noise)


def _surface_points(body: Body, shape: tuple[int, int], generator):
    """Returns corners (B, n, 3) and barycentric coordinates (B, n, 3) of random surface points."""
    a, b, c = body.template[body.faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1).double().cpu()
    count = shape[0] * shape[1]
    face = torch.multinomial(area, count, replacement=True, generator=generator).view(shape)
    u, v = torch.rand(2, *shape, generator=generator, dtype=torch.float64)
    u = u.sqrt()  # a triangle is wider away from its first corner
    mix = torch.stack([1 - u, u * (1 - v), u * v], -1)
    return body.faces[face.to(body.faces.device)], mix.to(body.template)


def surface_centroid(vertices: Tensor, faces: Tensor) -> Tensor:
    """Returns the centroid of a surface, weighted by area, (B, 3).

    Args:
        vertices: (B, V, 3). faces: (F, 3).

    >>> square = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]]])
    >>> surface_centroid(square, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    tensor([[1., 1., 0.]])
    """
    a, b, c = vertices[:, faces].unbind(2)  # (B, F, 3) each
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1, keepdim=True)
    return (area * (a + b + c) / 3).sum(1) / area.sum(1).clamp(min=1e-12)


def closed_form_translation(points: Tensor, vertices: Tensor, faces: Tensor) -> Tensor:
    """Returns where a posed body has to go: mean of the points less the surface's centroid, (B, 3).

    It needs points that cover the surface evenly; a partial view shifts it.

    Args:
        points: (B, N, 3). vertices: of the posed body, (B, V, 3). faces: (F, 3).

    Source: ours; the paper leaves translation out.

    >>> square = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]]])
    >>> closed_form_translation(square + 5, square, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    tensor([[5., 5., 5.]])
    """
    if len(points) != len(vertices):
        raise ValueError(f"vertices has {len(vertices)} bodies; need {len(points)}, as points has")
    return points.mean(1) - surface_centroid(vertices, faces)
