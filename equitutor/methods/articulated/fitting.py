"""Fitting a body to points by optimization: the slow rival that needs no training."""

from typing import NamedTuple

import torch
from torch import Tensor

from equitutor.methods.articulated.body import Body, local_to_world
from equitutor.methods.articulated.network import Prediction
from equitutor.methods.icosahedral.points import check_count, check_points
from equitutor.rotations import rotation_near_identity


class Fit(NamedTuple):
    """What the optimization found.

    Attributes:
        beta: (B, K). rotations: in the world, (B, P, 3, 3). translation: of the root, (B, 3).
        distance: Chamfer distance of each body, meters, (B,).
        labels: part of the nearest surface point, for each point, (B, N).
        starts: Chamfer distance of each start, (starts, B).
    """

    beta: Tensor
    rotations: Tensor
    translation: Tensor
    distance: Tensor
    labels: Tensor
    starts: Tensor

    def prediction(self, n_parts: int) -> Prediction:
        """Returns the fit in the form that `fit_metrics` reads."""
        logits = torch.nn.functional.one_hot(self.labels, n_parts).to(self.beta)
        return Prediction(logits, self.rotations, self.beta)


def chamfer(a: Tensor, b: Tensor) -> Tensor:
    """Returns the Chamfer distance of clouds (B, N, 3) and (B, M, 3): (B,), in their unit.

    The mean of both mean distances to the nearest point of the other cloud.

    >>> chamfer(torch.zeros(1, 2, 3), torch.ones(1, 1, 3))
    tensor([1.7321])
    """
    if len(a) != len(b) or 0 in a.shape or 0 in b.shape:
        raise ValueError(f"b has shape {tuple(b.shape)}, a {tuple(a.shape)}; need (B, N, 3) twice")
    middle = a.detach().mean((0, 1))  # near the origin cdist's matrix product does no harm
    apart = torch.cdist(a - middle, b - middle)
    return (apart.amin(2).mean(1) + apart.amin(1).mean(1)) / 2


def fit_body(
    body: Body,
    points: Tensor,
    steps: int = 150,
    starts: Tensor | None = None,
    rate: float = 0.05,
    prior: float = 0.001,
    vertices: int = 400,
) -> Fit:
    """Returns the body that Adam finds on the Chamfer distance, the best of several starts.

    Shape, joint angles, root rotation and translation are free. All starts of all bodies run as
    one batch.

    Args:
        body: the body.
        points: (B, N, 3), meters.
        steps: of Adam, >= 1.
        starts: root rotations to start from, (S, 3, 3); the identity if None.
        rate: learning rate.
        prior: weight of the mean squared beta and of joint angles, so that hidden limbs stay calm.
        vertices: of the body that are compared, at most.

    Raises:
        ValueError: points are not a finite (B, N, 3) tensor, starts are not (S, 3, 3), or steps is
            not an int >= 1.

    Source: the optimization stage of IP-Net, Bhatnagar et al., ECCV 2020, reduced to its core.

    >>> from equitutor.methods.articulated import random_scans, toy_body
    >>> fit_body(toy_body(), random_scans(toy_body(), 2, 60).points, steps=3).distance.shape
    torch.Size([2])
    """
    check_points("points", points)
    if not points.isfinite().all():
        raise ValueError("points holds nan or infinity; need finite coordinates")
    check_count("steps", steps)
    check_count("vertices", vertices)
    if starts is None:
        starts = torch.eye(3)[None]
    if starts.ndim != 3 or starts.shape[1:] != (3, 3) or not len(starts):
        raise ValueError(f"starts has shape {tuple(starts.shape)}; need (S, 3, 3), S >= 1")
    b, s = len(points), len(starts)
    points = points.detach()
    middle = points.mean(1, keepdim=True)
    cloud = (points - middle).repeat(s, 1, 1)  # (S B, N, 3), starts outermost
    start = starts.to(points).repeat_interleave(b, 0)
    chosen = torch.arange(0, len(body.template), max(1, -(-len(body.template) // vertices)))
    chosen = chosen.to(points.device)

    beta = points.new_zeros(s * b, body.n_shape, requires_grad=True)
    turn = points.new_zeros(s * b, body.n_parts, 3, requires_grad=True)
    move = points.new_zeros(s * b, 1, 3, requires_grad=True)
    adam = torch.optim.Adam([beta, turn, move], rate)
    rest = body.template.mean(0)

    def pose() -> tuple[Tensor, Tensor, Tensor]:
        local = rotation_near_identity(turn)
        root = (start @ local[:, 0])[:, None]
        world = local_to_world(torch.cat([root, local[:, 1:]], 1), body.parents)
        placed, _ = body(beta, world)
        # So that a start is about its own middle and not about the root joint.
        shift = move - (start @ (rest - body.joints[0]))[:, None] - body.joints[0]
        return placed + shift, world, shift

    with torch.enable_grad():
        for _ in range(steps):
            adam.zero_grad()
            surface, _, _ = pose()
            calm = beta.square().mean(1) + turn[:, 1:].square().sum(-1).mean(1)
            (chamfer(cloud, surface[:, chosen]) + prior * calm).sum().backward()
            adam.step()
    with torch.no_grad():
        surface, world, shift = pose()
        distance = chamfer(cloud, surface[:, chosen]).view(s, b)
        best = distance.argmin(0) * b + torch.arange(b, device=points.device)
        near = torch.cdist(cloud[best], surface[best]).argmin(2)
    return Fit(
        beta.detach()[best],
        world[best],
        (shift[best] + middle)[:, 0],
        distance.amin(0),
        body.labels[near],
        distance,
    )
