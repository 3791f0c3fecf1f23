"""The same job with exact SO(3) equivariance: spherical tensors (e3nn), and a Kabsch head."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from equitutor.methods.articulated.network import Prediction, mlp
from equitutor.methods.articulated.parts import part_centroids, parts_of
from equitutor.methods.icosahedral import (
    farthest_points,
    interpolation,
    nearest,
    point_invariants,
    take,
)
from equitutor.methods.icosahedral.points import check_count, check_points


def weighted_kabsch(points: Tensor, canonical: Tensor, weights: Tensor) -> Tensor:
    """Returns for each part the linear map M with points = M canonical + t, (B, P, 3, 3).

    Weighted least squares with a little ridge. For points that moved rigidly M is the rotation, up
    to the ridge; M(g x) = g M(x) for every rotation g, as long as canonical and weights do not
    change. `project_so3(M)` is a rotation. A part without points gets zeros.

    Args:
        points: (B, N, 3). canonical: where each point is at rest, (B, N, 3).
        weights: of points in parts, >= 0, (B, N, P).

    Raises:
        ValueError: the shapes do not fit.

    Source: Kabsch 1976, with the covariance of the canonical points divided out.

    >>> rest = torch.randn(1, 50, 3)
    >>> turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    >>> weighted_kabsch(rest @ turn.T + 5, rest, torch.ones(1, 50, 1))[0, 0].round().int()
    tensor([[ 0, -1,  0],
            [ 1,  0,  0],
            [ 0,  0,  1]], dtype=torch.int32)
    """
    if (
        points.shape != canonical.shape
        or weights.ndim != 3
        or weights.shape[:2] != points.shape[:2]
    ):
        raise ValueError(
            f"canonical has shape {tuple(canonical.shape)} and weights {tuple(weights.shape)}; "
            f"need those of points, {tuple(points.shape)}, and (B, N, P)"
        )
    share = weights / weights.sum(1, keepdim=True).clamp(min=1e-6)
    x = points - points.mean(1, keepdim=True)
    x = x[:, :, None] - part_centroids(x, weights)[:, None]  # (B, N, P, 3)
    q = canonical[:, :, None] - part_centroids(canonical, weights)[:, None]
    cross = torch.einsum("bnp,bnpi,bnpj->bpij", share, x, q)
    own = torch.einsum("bnp,bnpi,bnpj->bpij", share, q, q)
    ridge = 1e-3 * own.diagonal(dim1=-2, dim2=-1).sum(-1) + 1e-8
    eye = torch.eye(3, dtype=own.dtype, device=own.device)
    return torch.linalg.solve(own + ridge[..., None, None] * eye, cross, left=False)


class TensorField(nn.Module):
    """Network for bodies whose features turn with every rotation: M(g x) = g M(x) for all g.

    Centers pass messages to near centers: a tensor product of their features with spherical
    harmonics of the direction, weighted by a network of the distance. All features are even under
    inversion, so mirror images can be told apart, as left and right must be.

    Args:
        n_parts: number of parts.
        n_shape: number of shape coefficients.
        width: scalars; half as many vectors, a quarter as many tensors of degree 2.
        layers: of messages, >= 1.
        head: "vectors", each part pools three vectors, the columns of M; or "kabsch", points say
            from invariants where they are at rest, and a weighted Kabsch fit turns that into M.
        samples: centers. neighbors: of a center. radius: unit of the distance, meters.

    Raises:
        ValueError: a number out of range, or another head.
        ImportError: e3nn is not installed.

    Source: Thomas et al., Tensor field networks, 2018; built on e3nn, Geiger and Smidt, 2022.

    >>> out = TensorField(6, 3)(torch.rand(2, 100, 3))
    >>> out.logits.shape, out.matrices.shape, out.beta.shape
    (torch.Size([2, 100, 6]), torch.Size([2, 6, 3, 3]), torch.Size([2, 3]))
    """

    def __init__(
        self,
        n_parts: int,
        n_shape: int,
        width: int = 16,
        layers: int = 2,
        head: str = "vectors",
        samples: int = 72,
        neighbors: int = 12,
        radius: float = 0.25,
    ):
        super().__init__()
        for name, value in (("n_parts", n_parts), ("n_shape", n_shape), ("layers", layers),
                            ("samples", samples), ("neighbors", neighbors)):  # fmt: skip
            check_count(name, value)
        check_count("width", width, 4)
        if not 0 < radius < float("inf"):
            raise ValueError(f"radius is {radius!r}; need a finite number above 0")
        if head not in ("vectors", "kabsch"):
            raise ValueError(f"head is {head!r}; need 'vectors' or 'kabsch'")
        from e3nn import o3

        self.n_parts, self.head = n_parts, head
        self.samples, self.neighbors, self.radius = samples, neighbors, radius
        inner = o3.Irreps(f"{width}x0e + {width // 2}x1e + {width // 4}x2e")
        sizes = [o3.Irreps("10x0e")] + layers * [inner]
        self.layers = nn.ModuleList(Message(a, b, radius) for a, b in pairwise(sizes))
        self.norms = o3.Irreps(inner)
        seen = inner.num_irreps + 10
        self.local = mlp(seen, 64, 64)
        self.segment = mlp(128, 64, n_parts)
        self.shape = mlp(64, 64, n_shape)
        if head == "kabsch":
            self.rest = mlp(128, 64, 3)
        else:
            self.vectors = o3.Linear(inner, o3.Irreps(f"{3 * n_parts}x1e"))

    def forward(self, points: Tensor, labels: Tensor | None = None) -> Prediction:
        """Returns the prediction for clouds (B, N, 3).

        Args:
            points: (B, N, 3), meters.
            labels: true parts (B, N) to pool with instead of the predicted ones.

        Raises:
            ValueError: points are not a non-empty (B, N, 3) tensor.
        """
        check_points("points", points)
        x = points - points.mean(1, keepdim=True)
        seen = point_invariants(x) * x.new_tensor([3.0] + 3 * [10.0, 1.0, 1.0])
        picked = farthest_points(x, min(self.samples, x.shape[1]))
        centers = take(x, picked)
        near = nearest(centers, centers, self.neighbors)
        features = take(seen, picked)
        for layer in self.layers:
            features = layer(centers, near, features)
        index, mix = interpolation(x, centers)
        at_points = (take(invariant_norms(features, self.norms), index) * mix[..., None]).sum(2)
        h = self.local(torch.cat([at_points, seen], -1))
        whole = h.amax(1)
        both = torch.cat([h, whole[:, None].expand_as(h)], -1)
        logits = self.segment(both)
        parts = logits.detach().softmax(-1)
        if labels is not None:
            parts = parts_of(labels, x, self.n_parts)
        beta = self.shape(whole)
        if self.head == "kabsch":
            rest = self.rest(both)
            return Prediction(logits, weighted_kabsch(x, rest, parts), beta, canonical=rest)
        share = take(parts, picked)  # (B, S, P)
        share = share / share.sum(1, keepdim=True).clamp(min=1e-6)
        columns = self.vectors(features).unflatten(
            -1, (self.n_parts, 3, 3)
        )  # (B, S, P, column, xyz)
        return Prediction(logits, torch.einsum("bsp,bspci->bpic", share, columns), beta)


class Message(nn.Module):
    """One layer of messages between centers: features (B, S, in) -> (B, S, out).

    Args:
        inputs, outputs: irreps, all of even parity.
        radius: unit of the distance.

    >>> from e3nn import o3
    >>> layer = Message(o3.Irreps("4x0e"), o3.Irreps("4x0e + 2x1e"), 0.3)
    >>> x = torch.rand(1, 20, 3)
    >>> layer(x, nearest(x, x, 5), torch.rand(1, 20, 4)).shape
    torch.Size([1, 20, 10])
    """

    def __init__(self, inputs, outputs, radius: float):
        super().__init__()
        from e3nn import o3
        from e3nn.nn import Gate

        self.radius = radius
        scalars = o3.Irreps([(n, ir) for n, ir in outputs if ir.l == 0])
        tensors = o3.Irreps([(n, ir) for n, ir in outputs if ir.l > 0])
        gates = o3.Irreps(f"{tensors.num_irreps}x0e")
        self.gate = Gate(scalars, [nn.functional.silu], gates, [torch.sigmoid], tensors)
        # Declared even: then products of vectors may be vectors again, and chirality is seen.
        self.harmonics = o3.SphericalHarmonics(
            "0e + 1e + 2e", normalize=True, normalization="component", irreps_in="1e"
        )
        self.product = o3.FullyConnectedTensorProduct(
            inputs, self.harmonics.irreps_out, self.gate.irreps_in, shared_weights=False
        )
        self.radial = mlp(8, 32, self.product.weight_numel)
        self.own = o3.Linear(inputs, self.gate.irreps_in)

    def forward(self, centers: Tensor, near: Tensor, features: Tensor) -> Tensor:
        """Returns features of centers (B, S, 3) from those of their neighbors near (B, S, k)."""
        edge = take(centers, near) - centers[:, :, None]  # (B, S, k, 3)
        length = (edge.square().sum(-1, keepdim=True) + 1e-12).sqrt()
        waves = torch.arange(8, device=edge.device) / 3.5
        basis = (-2 * (length / self.radius * 2 - waves).square()).exp()  # bumps up to a radius
        direction = self.harmonics(edge / length.clamp(min=1e-6))
        # A point has no direction to itself: only degree 0 may speak there.
        direction = torch.cat([direction[..., :1], direction[..., 1:] * (length > 1e-5)], -1)
        message = self.product(take(features, near), direction, self.radial(basis))
        return self.gate(self.own(features) + message.mean(2))


def invariant_norms(features: Tensor, irreps) -> Tensor:
    """Returns the scalars of features (..., dim) and the lengths of all others, (..., n).

    >>> from e3nn import o3
    >>> invariant_norms(torch.tensor([2.0, 3.0, 0.0, 4.0]), o3.Irreps("1x0e + 1x1e"))
    tensor([2., 5.])
    """
    found, start = [], 0
    for n, ir in irreps:
        part = features[..., start : start + n * ir.dim]
        start += n * ir.dim
        if ir.l > 0:
            part = (part.unflatten(-1, (n, ir.dim)).square().sum(-1) + 1e-12).sqrt()
        found.append(part)
    return torch.cat(found, -1)
