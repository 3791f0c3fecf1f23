"""Layers between typed features: a dense one that knows its distance to symmetry, an exact one,
their sum, and a non-linearity that respects types."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equitutor.methods.soft.groups import MatrixGroup, check_groups
from equitutor.methods.soft.projectors import TypedProjector
from equitutor.methods.soft.representations import Rep, Type


class SoftTypedLinear(nn.Linear):
    """Dense linear layer that can tell how far it is from being equivariant to each of its groups.

    Args:
        rep_in, rep_out: feature spaces.
        groups: candidate groups, at least one, on the same base space as the feature spaces.

    Raises ValueError for no group, or one on another base space.

    Source: Kim et al., ICML 2023 (PER).

    >>> from equitutor.methods.soft import O, embed_O2
    >>> layer = SoftTypedLinear(Rep(2, 1), Rep(0, 2), [O(3), embed_O2((0, 1))])
    >>> layer(torch.randn(4, 5)).shape, layer.distances().shape
    (torch.Size([4, 6]), torch.Size([2]))
    """

    def __init__(self, rep_in: Rep, rep_out: Rep, groups: Sequence[MatrixGroup]):
        groups = check_groups(groups)
        projectors = tuple(TypedProjector(group, rep_in, rep_out) for group in groups)
        super().__init__(rep_in.size, rep_out.size)
        self.rep_in, self.rep_out = rep_in, rep_out
        self.groups, self.projectors = groups, projectors

    def distance(self, g: int, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Returns half the squared distance of weight and bias to the equivariant ones of group g.

        Args:
            g: position in `groups`, 0 ... G - 1.
            weight, bias: stand in for the layer's own; (..., out, in) and (..., out), where leading
                axes are seeds. The result has these axes.
        """
        if type(g) is not int or not 0 <= g < len(self.groups):
            raise ValueError(f"g must be an int in 0 ... {len(self.groups) - 1}, got {g!r}")
        weight = self.weight if weight is None else weight
        bias = self.bias if bias is None else bias
        projector = self.projectors[g]
        of_weight = (weight - projector.weight(weight)).square().sum((-2, -1))
        of_bias = (bias - projector.bias(bias)).square().sum(-1)
        return (of_weight + of_bias) / 2

    def distances(self, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Returns the `distance` to every group: (..., G)."""
        return torch.stack([self.distance(g, weight, bias) for g in range(len(self.groups))], -1)


class ExactTypedLinear(nn.Linear):
    """Linear layer that is exactly equivariant: it projects its weight and bias when it is used.

    Args:
        rep_in, rep_out: feature spaces.
        group: the group, on the same base space.

    Raises ValueError if the group acts on another base space.

    Source: Finzi, Welling, Wilson, ICML 2021 (EMLP).

    >>> from equitutor.methods.soft import O
    >>> layer = ExactTypedLinear(Rep(n1=1), Rep(n1=1), O(3))      # a multiple of the identity
    >>> torch.allclose(layer(torch.eye(3)), layer(torch.eye(3))[0, 0] * torch.eye(3))
    True
    """

    def __init__(self, rep_in: Rep, rep_out: Rep, group: MatrixGroup):
        projector = TypedProjector(group, rep_in, rep_out)
        super().__init__(rep_in.size, rep_out.size)
        self.rep_in, self.rep_out, self.group, self.projector = rep_in, rep_out, group, projector
        with torch.no_grad():
            _keep_size(self.weight, projector)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the features (..., out) of features (..., in)."""
        self.rep_in.check("x", x)
        return F.linear(x, self.projector.weight(self.weight), self.projector.bias(self.bias))


class ResidualTypedLinear(ExactTypedLinear):
    """Exactly equivariant layer plus a dense one that starts small and is to be kept small.

    Args:
        rep_in, rep_out, group: as for `ExactTypedLinear`.
        start: size of the residual weights relative to those of a dense layer, finite and >= 0.

    Source: Finzi, Benton, Wilson, NeurIPS 2021 (residual pathway priors, RPP).

    >>> from equitutor.methods.soft import O
    >>> layer = ResidualTypedLinear(Rep(n1=2), Rep(n1=1), O(3), start=0.0)
    >>> x = torch.randn(5, 6)
    >>> torch.equal(layer(x), ExactTypedLinear.forward(layer, x))
    True
    """

    def __init__(self, rep_in: Rep, rep_out: Rep, group: MatrixGroup, start: float = 1e-3):
        if type(start) not in (int, float) or not 0 <= start < math.inf:
            raise ValueError(f"start must be finite and >= 0, got {start!r}")
        super().__init__(rep_in, rep_out, group)
        self.residual = nn.Linear(rep_in.size, rep_out.size)
        with torch.no_grad():
            for parameter in self.residual.parameters():
                parameter.mul_(start)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the features (..., out) of features (..., in)."""
        return super().forward(x) + self.residual(x)


@torch.no_grad()
def _keep_size(weight: Tensor, projector: TypedProjector) -> None:
    """Scale the rows of each type so that projecting does not shrink the signal at the start."""
    projected = projector.weight(weight)
    for _, _, rows in projector.rep_out.parts():
        left = projected[rows].norm()
        if left > 0:
            weight[rows] *= weight[rows].norm() / left


# Bilinear maps that respect types: output, left, right, what is done to each pair of tensors,
# whether it takes a group that keeps lengths, and which factors are made unit tensors when the
# products shall not depend on scale. For such small tensors a product and a sum take a fraction of
# the time of `einsum`, which makes batches of tiny matrix products.
_PRODUCTS: tuple[tuple[Type, Type, Type, Callable, bool, str], ...] = (
    ((0, 0), (0, 0), (0, 0), lambda a, b: a * b, False, ""),
    ((0, 0), (1, 0), (1, 0), lambda a, b: (a * b).sum(-1), True, "both"),
    ((0, 0), (2, 0), (2, 0), lambda a, b: (a * b).sum((-2, -1)), True, "both"),
    ((0, 0), (0, 1), (1, 0), lambda a, b: (a * b).sum(-1), False, ""),
    ((1, 0), (0, 0), (1, 0), lambda a, b: a[..., None] * b, False, ""),
    ((1, 0), (2, 0), (1, 0), lambda a, b: (a * b[..., None, :]).sum(-1), True, "left"),
    ((1, 0), (1, 1), (1, 0), lambda a, b: (a * b[..., None, :]).sum(-1), False, ""),
    ((2, 0), (0, 0), (2, 0), lambda a, b: a[..., None, None] * b, False, ""),
    ((2, 0), (1, 0), (1, 0), lambda a, b: a[..., None] * b[..., None, :], False, ""),
    ((0, 1), (0, 0), (0, 1), lambda a, b: a[..., None] * b, False, ""),
    ((1, 1), (0, 0), (1, 1), lambda a, b: a[..., None, None] * b, False, ""),
    ((1, 1), (1, 0), (0, 1), lambda a, b: a[..., None] * b[..., None, :], False, ""),
    ((0, 2), (0, 0), (0, 2), lambda a, b: a[..., None, None] * b, False, ""),
    ((0, 2), (0, 1), (0, 1), lambda a, b: a[..., None] * b[..., None, :], False, ""),
)


class GatedQuadratic(nn.Module):
    """Equivariant non-linearity: products of pairs of channels, then a sigmoid gate on each.

    Each channel gets learned multiples of products that have its type (v . v for a scalar, s v for
    a vector, v v^T for a matrix, ...). Scalars then pass SiLU; every other tensor is multiplied by
    the sigmoid of a scalar of its own, its gate, which the layer before has to supply.

    Args:
        rep: features that come out. Those that go in are `rep_in`: `rep` with the gates.
        orthogonal: also use products that need a group which keeps lengths, such as v . v.
        unit: take products of unit tensors where the type would otherwise not fit under scaling;
            equivariant to scaling too, for types without h^-T.
        bypass: add a learned multiple of SiLU of every single number, which respects no type; it
            starts at zero.

    Source: Finzi et al., 2021 (bilinear layer, gates) and 2021b (the bypass); the choice of
    channel pairs, `orthogonal` and `unit` are ours.

    >>> act = GatedQuadratic(Rep(2, 1))
    >>> act.rep_in, act(torch.randn(7, act.rep_in.size)).shape
    (Rep(n0=3, n1=1, n2=0, d=3, n01=0, n11=0, n02=0), torch.Size([7, 5]))
    """

    def __init__(self, rep: Rep, orthogonal: bool = True, unit: bool = False, bypass: bool = False):
        super().__init__()
        if not isinstance(rep, Rep):
            raise ValueError(f"rep must be a Rep, got {rep!r}")
        self.rep, self.rep_in, self.unit = rep, gated(rep), unit
        counts = rep.counts
        self.products = [
            p for p in _PRODUCTS if set(p[:3]) <= set(counts) and (orthogonal or not p[4])
        ]
        self.channels = []  # for each product the runs of channels on its left and on its right
        for out, left, right, *_ in self.products:
            n, m = counts[left], counts[right]
            channel = range(counts[out])
            # The partner moves on by one after each round, so that all pairs come up in time.
            partner = [(c + 1 + c // m) % m for c in channel]
            self.channels.append((_runs([c % n for c in channel]), _runs(partner)))
        size = [counts[product[0]] for product in self.products]
        self.weight = nn.ParameterList([nn.Parameter(0.3 * torch.randn(n)) for n in size])
        self.bypass = nn.Parameter(torch.zeros(rep.size)) if bypass else None

    def forward(self, x: Tensor) -> Tensor:
        """Returns the features (..., rep.size) of features (..., rep_in.size)."""
        tensors = self.rep_in.split(x)
        gates = torch.sigmoid(tensors[0, 0][..., self.rep.n0 :]) if (0, 0) in tensors else None
        if (0, 0) in tensors:
            tensors[0, 0] = tensors[0, 0][..., : self.rep.n0]
        sums = dict(tensors)
        for k, (out, left, right, how, _, unit) in enumerate(self.products):
            runs_left, runs_right = self.channels[k]
            a = _take(tensors[left], runs_left, x.ndim - 1)
            b = _take(tensors[right], runs_right, x.ndim - 1)
            if self.unit and unit:
                a, b = _unit(a, x.ndim), _unit(b, x.ndim) if unit == "both" else b
            product = how(a, b)  # (..., n, d, ..., d)
            sums[out] = sums[out] + product * self.weight[k].view(-1, *[1] * sum(out))
        parts, used = [], 0
        for kind, n, _ in self.rep.parts():
            t = sums[kind]
            if kind == (0, 0):
                t = F.silu(t)
            else:
                gate = gates[..., used : used + n]
                t = t * gate.unflatten(-1, (n, *[1] * sum(kind)))
                used += n
            parts.append(t.flatten(x.ndim - 1))
        y = torch.cat(parts, -1)
        if self.bypass is not None:
            y = y + self.bypass * F.silu(self._without_gates(x))
        return y

    def _without_gates(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., : self.rep.n0], x[..., self.rep_in.n0 :]], -1)


def _runs(index: Sequence[int]) -> list[tuple[int, int]]:
    """Returns the pieces (start, length) of consecutive numbers that an index is made of."""
    runs: list[tuple[int, int]] = []
    for i in index:
        if runs and i == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((i, 1))
    return runs


def _take(t: Tensor, runs: Sequence[tuple[int, int]], axis: int) -> Tensor:
    """Returns t.index_select(axis, index) of an index in runs: pieces are cheaper than a gather."""
    pieces = [t.narrow(axis, start, length) for start, length in runs]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, axis)


def gated(rep: Rep) -> Rep:
    """Returns rep with one more scalar for each tensor that is not a scalar: its gate.

    >>> gated(Rep(4, 2, 1)).n0
    7
    """
    return replace(rep, n0=rep.n0 + sum(n for kind, n in rep.counts.items() if kind != (0, 0)))


def _unit(t: Tensor, first: int) -> Tensor:
    """Returns tensors (..., n, d, ..., d) divided by their lengths; axes from `first` on are d."""
    axes = tuple(range(first, t.ndim))
    least = max(1e-20, torch.finfo(t.dtype).tiny)  # in float16, 1e-20 would be 0
    return t / (t.square().sum(axes, keepdim=True) + least).sqrt()
