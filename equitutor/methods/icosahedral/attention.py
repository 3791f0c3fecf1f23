"""Self-attention between the elements of a group."""

import math

import torch
from torch import Tensor, nn

from equitutor.methods.icosahedral.points import check_count
from equitutor.methods.icosahedral.tables import RotationTables


class GroupAttention(nn.Module):
    """Self-attention whose tokens are the group elements, with a residual path.

    Plain attention commutes with every permutation of its tokens, so it cannot tell how two
    elements lie to each other. A bias for each head, looked up by ``a^-1 b``, tells it, and still
    commutes with the group: turning both by g leaves a^-1 b as it is.

    Args:
        dim: channels, a multiple of heads.
        heads: number of heads.
        tables: the group whose relative rotations get a bias; None for plain attention.

    Raises:
        ValueError: heads does not divide dim.

    Source: Feng et al. 2023 (plain attention over 60 elements); the bias is ours.

    >>> from equitutor.methods.icosahedral import rotation_tables
    >>> GroupAttention(32, 4, rotation_tables())(torch.rand(2, 60, 32)).shape
    torch.Size([2, 60, 32])
    """

    def __init__(self, dim: int, heads: int = 4, tables: RotationTables | None = None):
        super().__init__()
        check_count("dim", dim)
        check_count("heads", heads)
        if dim % heads:
            raise ValueError(f"heads is {heads}; need a divisor of dim, {dim}")
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.bias = None
        if tables is not None:
            # Not zero at the start, so that an untrained net already tells elements apart.
            self.bias = nn.Parameter(torch.randn(heads, len(tables)) / math.sqrt(heads))
            self.register_buffer("relative", tables.relative, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns tokens (..., G, dim) of tokens (..., G, dim).

        Raises:
            ValueError: another dim; with a bias, the number of tokens is not that of the group.
        """
        if x.ndim < 2 or x.shape[-1] != self.out.in_features:
            raise ValueError(f"x has shape {tuple(x.shape)}; need (..., G, {self.out.in_features})")
        if self.bias is not None and x.shape[-2] != self.bias.shape[1]:
            raise ValueError(
                f"x has {x.shape[-2]} tokens; need {self.bias.shape[1]}, one for each element"
            )
        shape = x.shape
        h = self.query_key_value(self.norm(x.reshape(-1, *shape[-2:])))
        q, k, v = h.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = None if self.bias is None else self.bias[:, self.relative]  # (heads, G, G)
        h = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return x + self.out(h.transpose(1, 2).flatten(2)).view(shape)
