"""Two later ways to be nearly symmetric, built here from the ideas in their abstracts."""

import torch
from torch import Tensor, nn

from equitutor.checks import check_count, check_number
from equitutor.groups import FiniteGroup
from equitutor.methods.soft.groups import MatrixGroup
from equitutor.methods.soft.layers import ExactTypedLinear
from equitutor.methods.soft.projectors import map_blocks
from equitutor.methods.soft.representations import (
    Rep,
    Type,
    rank,
    tensor_derivative,
    tensor_power,
)


def soft_projector(group: MatrixGroup, a: int | Type, b: int | Type, softness: float) -> Tensor:
    """Returns the projector (D, D) onto the maps a -> b that break a group only a little, float64.

    Kept are the right singular vectors of the constraint whose singular value is at most
    `softness` times that of the worst. So a kept W breaks no generator by more than that:
    the norm of B W - W A over all generators is at most softness * worst * |W|.

    Args:
        group: the group that both types belong to.
        a, b: types of input and output, 0, 1, 2 or a pair (p, q).
        softness: 0 keeps the equivariant maps, 1 all.

    Raises ValueError for a softness outside of [0, 1].

    Source: the idea of Rahman et al., 2026 (arXiv 2603.26657), from its abstract.

    >>> from equitutor.methods.soft import SO
    >>> [round(soft_projector(SO(3), 1, 1, s).trace().item()) for s in (0, 0.6, 1)]
    [1, 4, 9]
    """
    check_number(softness, "softness", 0)
    if softness > 1:
        raise ValueError(f"softness must be in [0, 1], got {softness!r}")
    a, b = rank(a), rank(b)
    into = torch.cat([tensor_derivative(group.lie, a), tensor_power(group.discrete, a)])
    out = torch.cat([tensor_derivative(group.lie, b), tensor_power(group.discrete, b)])
    eye_in, eye_out = (torch.eye(m.shape[-1]).to(m) for m in (into, out))
    rows = [
        torch.kron(B, eye_in) - torch.kron(eye_out, A.T.contiguous())
        for A, B in zip(into, out, strict=True)
    ]
    _, size, basis = torch.linalg.svd(torch.cat(rows), full_matrices=False)
    kept = basis[size <= softness * size.max() + 1e-9]
    return kept.T @ kept


class SoftProjectedLinear(ExactTypedLinear):
    """Linear layer whose weight lies in the space of `soft_projector`: exact at 0, dense at 1.

    Args:
        rep_in, rep_out: feature spaces.
        group: the group, on the same base space.
        softness: in [0, 1].

    The projectors are buffers, so layers of different softness can be stacked.

    >>> from equitutor.methods.soft import O
    >>> layer = SoftProjectedLinear(Rep(n1=1), Rep(n1=1), O(3), softness=0.0)
    >>> torch.allclose(layer(torch.eye(3)), layer(torch.eye(3))[0, 0] * torch.eye(3), atol=1e-6)
    True
    """

    def __init__(self, rep_in: Rep, rep_out: Rep, group: MatrixGroup, softness: float):
        super().__init__(rep_in, rep_out, group)
        for a in {(0, 0), *rep_in.counts}:
            for b in rep_out.counts:
                block = soft_projector(group, a, b, softness).to(self.weight.dtype)
                self.register_buffer(self._name(a, b), block)

    @staticmethod
    def _name(a: Type, b: Type) -> str:
        return "kept_" + "".join(map(str, (*a, *b)))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the features (..., out) of features (..., in)."""
        self.rep_in.check("x", x)
        block = lambda a, b: getattr(self, self._name(a, b))
        one = Rep(1, d=self.rep_in.d)
        weight = map_blocks(self.weight, self.rep_in, self.rep_out, block)
        bias = map_blocks(self.bias[:, None], one, self.rep_out, block).squeeze(-1)
        return nn.functional.linear(x, weight, bias)


class LatentNetwork(nn.Module):
    """Plain network whose latent numbers are `copies` functions on a finite group.

    To ask that the latent turns by the regular representation, penalize the squared distance of
    `encoder(g x)` from `turn(encoder(x), g)`: symmetry without a parameter more.

    Args:
        n_in, n_out: sizes of input and output. width: of the first layer.
        group: the finite group. copies: of its regular representation in the latent.

    Source: the idea of arXiv 2506.08244 (2025), from its abstract.

    >>> from equitutor.groups import cyclic
    >>> LatentNetwork(2, 1, 8, cyclic(4), copies=3)(torch.zeros(5, 2)).shape
    torch.Size([5, 1])
    """

    def __init__(self, n_in: int, n_out: int, width: int, group: FiniteGroup, copies: int):
        super().__init__()
        check_count("copies", copies)
        latent = copies * group.order
        self.encoder = nn.Sequential(
            nn.Linear(n_in, width), nn.SiLU(), nn.Linear(width, latent), nn.SiLU()
        )
        self.decoder = nn.Linear(latent, n_out)
        # An element h of g x reads what h did of x at g^-1 h: a permutation for each g.
        self.register_buffer("moves", torch.as_tensor(group.mul)[torch.as_tensor(group.inv)])

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs (..., n_out) of inputs (..., n_in)."""
        return self.decoder(self.encoder(x))

    def turn(self, latent: Tensor, g: int) -> Tensor:
        """Returns latent numbers (..., copies * order), moved by element g of the group."""
        return latent.unflatten(-1, (-1, self.moves.shape[-1]))[..., self.moves[g]].flatten(-2)
