"""The ArtEq network: which part each point is of, one rotation for each part, and the shape."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from equitutor.methods.articulated.body import check_tree
from equitutor.methods.articulated.parts import (
    PartLift,
    part_centroids,
    part_vectors,
    parts_of,
    pool_parts,
)
from equitutor.methods.icosahedral import (
    ExactConstants,
    GroupAttention,
    RotationTables,
    SeparableBlock,
    farthest_points,
    interpolation,
    nearest,
    point_invariants,
    project_so3,
    rotation_tables,
    take,
    weighted_rotation_mean,
)
from equitutor.methods.icosahedral.points import check_count, check_points


class Prediction(NamedTuple):
    """What a network says about a cloud.

    Attributes:
        logits: scores of parts for each point, (B, N, P).
        matrices: M for each part, (B, P, 3, 3), near its rotation in the world.
        beta: shape coefficients, (B, K).
        weights: of the group elements in M, (B, P, G); None for networks without a group.
        canonical: where each point lies on the body at rest, (B, N, 3); None for most networks.
    """

    logits: Tensor
    matrices: Tensor
    beta: Tensor
    weights: Tensor | None = None
    canonical: Tensor | None = None

    @property
    def rotations(self) -> Tensor:
        """The rotations nearest to M, (B, P, 3, 3)."""
        return project_so3(self.matrices)


def mlp(*sizes: int) -> nn.Sequential:
    """Returns linear layers of these sizes with leaky rectifiers between them.

    >>> len(mlp(3, 8, 2))
    3
    """
    layers = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers[:-1])


class ArtEq(ExactConstants):
    """Network for bodies that commutes with the rotations of a finite group, and translations.

    Points are labeled from invariants, features are pooled for each part, attention over the
    group makes one real weight for each element, and M = sum_a w_a R_a. For g in the group,
    M(g x) = g M(x), while labels and shape stay: exactly, whatever the parameters. For other
    rotations it has to be learned.

    Args:
        parents: the tree of parts, -1 for the root.
        n_shape: number of shape coefficients.
        tables: the group; 60 rotations if None.
        channels: of the two stages.
        radii: of the two stages, meters.
        samples: centers of the two stages, the second among the first.
        neighbors: that a center looks at, in the two stages.
        dim, heads: width and heads of the attention over the group.
        lift: width of `PartLift`, 0 for none; exact under rotations of a single part.
        lift_points: points that it sees, at most.
        vectors: let parts see where the others lie (`part_vectors`).
        parent_conditioning: let parts see the features of their parent, as in the paper.
        relative_bias: let attention see how group elements lie to each other.
        norm: "channel" or "points", see `SeparableBlock`.
        invariants: give points their exact invariants as features; else the constant 1.
        frame: vectors of the whole body that tell points where they are in it (`frame_of`), 0
            for none.

    Raises:
        ValueError: a number out of range.

    Source: Feng et al. 2023; lift, vectors, bias, part embedding, invariants and frame are ours.

    >>> from equitutor.methods.articulated import toy_body
    >>> net = ArtEq(toy_body().parents, n_shape=3)
    >>> out = net(torch.rand(2, 100, 3))
    >>> out.logits.shape, out.matrices.shape, out.beta.shape
    (torch.Size([2, 100, 6]), torch.Size([2, 6, 3, 3]), torch.Size([2, 3]))
    """

    def __init__(
        self,
        parents: tuple[int, ...],
        n_shape: int,
        tables: RotationTables | None = None,
        channels: tuple[int, int] = (8, 12),
        radii: tuple[float, float] = (0.16, 0.35),
        samples: tuple[int, int] = (72, 36),
        neighbors: tuple[int, int] = (24, 16),
        dim: int = 32,
        heads: int = 4,
        lift: int = 16,
        lift_points: int = 112,
        vectors: bool = True,
        parent_conditioning: bool = False,
        relative_bias: bool = True,
        norm: str = "channel",
        invariants: bool = True,
        frame: int = 0,
    ):
        super().__init__()
        check_count("n_shape", n_shape)
        check_count("frame", frame, 0)
        check_count("lift", lift, 0)
        check_count("lift_points", lift_points)
        check_tree(parents)
        pairs = {"channels": channels, "samples": samples, "neighbors": neighbors}
        for name, pair in (pairs | {"radii": radii}).items():
            if len(pair) != 2:
                raise ValueError(f"{name} is {pair!r}; need two, one for each stage")
            for value in pair if name in pairs else ():
                check_count(name, value)
        if samples[1] > samples[0]:
            raise ValueError(f"samples is {samples}; need no more in the second stage")
        tables = rotation_tables() if tables is None else tables
        p, c1, c2 = len(parents), *channels
        self.parents = tuple(parents)
        self.samples, self.neighbors, self.lift_points = samples, neighbors, lift_points
        self.invariants, self.vectors = invariants, vectors
        self.parent_conditioning = parent_conditioning
        self.add_constant("elements", tables.elements)
        seen = 10 if invariants else 1
        self.stage1 = SeparableBlock(tables, seen, c1, radii[0], norm)
        self.stage2 = SeparableBlock(tables, c1, c2, radii[1], norm)
        c = c1 + c2
        self.frame = nn.Linear(c, 3 * frame, bias=False) if frame else None
        self.local = mlp(2 * c + seen + 2 * frame, 64, 64)
        self.segment = mlp(128, 64, p)
        self.lift = PartLift(tables, lift) if lift else None
        self.embedding = nn.Parameter(0.1 * torch.randn(p, 1, dim))
        token = c * (1 + parent_conditioning) + 2 * lift + 9 * vectors
        self.token = mlp(token, dim, dim)
        self.attention = GroupAttention(dim, heads, tables if relative_bias else None)
        self.weight = mlp(dim, dim, 1)
        self.shape = mlp(p * (c + 2), 64, n_shape)

    def forward(self, points: Tensor, labels: Tensor | None = None) -> Prediction:
        """Returns the prediction for clouds.

        Args:
            points: (B, N, 3), meters.
            labels: true parts (B, N), int64, to pool with instead of the predicted ones; for
                some steps of training only.

        Raises:
            ValueError: points are not a non-empty (B, N, 3) tensor, or labels do not fit.
            RuntimeError: a label names no part.
        """
        check_points("points", points)
        x = points - points.mean(1, keepdim=True)
        features, picked, seen = self.encode(x)
        logits = self.classify(x, features, picked, seen)
        p = len(self.parents)
        if labels is None:
            labels = logits.detach().argmax(-1)
            parts = logits.detach().softmax(-1)  # the pose has no say in the labels
        else:
            parts = parts_of(labels, x, p)
        pooled = pool_parts(features, take(parts, picked))  # (B, P, G, C)
        centroids = part_centroids(x, parts)
        weights = self.weigh(x, labels, pooled, centroids)
        matrices = weighted_rotation_mean(weights, self.elements)
        beta = self.shape(self.sizes(x, parts, pooled, centroids).flatten(1))
        return Prediction(logits, matrices, beta, weights)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns features (B, S, G, C) of centers, their indices (B, S), invariants (B, N, I)."""
        if self.invariants:
            seen = point_invariants(x)
            # Lengths of a few centimeters next to ratios near 1: bring them to one size.
            lengths = seen.new_tensor([3.0] + 3 * [10.0, 1.0, 1.0])
            seen = seen * lengths
        else:
            seen = x.new_ones(*x.shape[:2], 1)
        first, second = (min(s, x.shape[1]) for s in self.samples)
        picked = farthest_points(x, first)
        centers = take(x, picked)
        near = nearest(x, centers, self.neighbors[0])
        h1 = self.stage1(x, picked, near, seen)
        # The first farthest points are farthest points of fewer: no second search is needed.
        inner = torch.arange(second, device=x.device).expand(len(x), second)
        near = nearest(centers, centers[:, :second], self.neighbors[1])
        h2 = self.stage2(centers, inner, near, h1)
        index, mix = interpolation(centers, centers[:, :second])
        spread = (take(h2, index) * mix[..., None, None]).sum(2)
        return torch.cat([h1, spread], -1), picked, seen

    def classify(self, x: Tensor, features: Tensor, picked: Tensor, seen: Tensor) -> Tensor:
        """Returns scores of parts (B, N, P), from what no rotation of the group changes."""
        invariant = torch.cat([features.mean(2), features.amax(2)], -1)  # (B, S, 2C)
        index, mix = interpolation(x, take(x, picked))
        at_points = (take(invariant, index) * mix[..., None]).sum(2)
        known = [at_points, seen]
        if self.frame is not None:
            known.append(x @ self.frame_of(features).mT)
        h = self.local(torch.cat(known, -1))
        body = h.amax(1, keepdim=True).expand_as(h)  # what kind of cloud is this?
        return self.segment(torch.cat([h, body], -1))

    def frame_of(self, features: Tensor) -> Tensor:
        """Returns vectors (B, 2F, 3) of features (B, S, G, C) that turn with the cloud.

        F vectors v = sum_a R_a u(a), where u(a) is linear in the features, and the cross product
        of each with the next. The products x . v are coordinates of a point in the body that no
        common rotation changes; those with a cross product tell left from right.
        """
        seen = self.frame(features.mean(1)).unflatten(-1, (-1, 3))  # (B, G, F, 3)
        v = torch.einsum("gij,bgfj->bfi", self.elements, seen)
        v = v * (v.square().sum(-1, keepdim=True) + 0.01).rsqrt()
        return 3 * torch.cat([v, torch.linalg.cross(v, v.roll(-1, 1))], 1)

    def weigh(self, x: Tensor, labels: Tensor, pooled: Tensor, centroids: Tensor) -> Tensor:
        """Returns a real weight for each part and group element, (B, P, G)."""
        tokens = [pooled]
        if self.parent_conditioning:
            tokens.append(pooled[:, [max(q, 0) for q in self.parents]])
        if self.lift is not None:
            few = slice(None, None, max(1, -(-x.shape[1] // self.lift_points)))
            tokens.append(self.lift(x[:, few], labels[:, few], len(self.parents)))
        if self.vectors:
            tokens.append(4 * part_vectors(centroids, self.parents, self.elements))
        h = self.token(torch.cat(tokens, -1)) + self.embedding
        return self.weight(self.attention(h))[..., 0]

    def sizes(self, x: Tensor, parts: Tensor, pooled: Tensor, centroids: Tensor) -> Tensor:
        """Returns invariants of each part, (B, P, C + 2): mean features, spread, bone length."""
        square = torch.cdist(x, centroids, compute_mode="donot_use_mm_for_euclid_dist").square()
        spread = (parts * square).sum(1) / parts.sum(1).clamp(min=1e-6)
        bone = centroids - centroids[:, [max(q, 0) for q in self.parents]]
        lengths = torch.stack([spread, bone.square().sum(-1)], -1) + 1e-8
        return torch.cat([pooled.mean(2), 4 * lengths.sqrt()], -1)
