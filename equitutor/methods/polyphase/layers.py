"""The parts of a vision transformer that lay a fixed grid over a moving signal, and their remedy.

Token maps are (B, h, w, D): one row of D numbers for each token, on a grid of h x w tokens.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from equitutor.methods.polyphase.anchors import PolyOrder, as_pair, check_divides, roll_batch


def order_tokens(order: PolyOrder, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the anchored token map (B, h, w, D) and the anchors it was moved by, (B,) each.

    >>> tokens, dy, dx = order_tokens(PolyOrder(2, power=4), torch.rand(5, 4, 6, 8))
    >>> tokens.shape, dy.shape
    (torch.Size([5, 4, 6, 8]), torch.Size([5]))
    """
    maps = tokens.permute(0, 3, 1, 2)  # (B, D, h, w), a view
    dy, dx = order.anchor(maps)
    return roll_batch(maps, -dy, -dx).permute(0, 2, 3, 1), dy, dx


class PolyPatchEmbed(nn.Module):
    """Cuts an image into patches, from an origin that the image itself chooses.

    Args:
        patch: side of a patch in pixels, p or (p_h, p_w).
        channels: channels C of the image.
        dim: length D of a token.
        anchored: False gives the plain embedding, with the same parameters.
        power, filtered: the anchor's score, as in `phase_scores`.

    `forward` takes (B, C, H, W) and returns tokens (B, H / p_h, W / p_w, D).

    >>> PolyPatchEmbed(4, 3, 8)(torch.rand(2, 3, 16, 24)).shape
    torch.Size([2, 4, 6, 8])
    """

    def __init__(self, patch, channels, dim, anchored=True, power=2, filtered=False):
        super().__init__()
        self.patch = as_pair(patch, "patch")
        self.order = PolyOrder(self.patch, power, filtered) if anchored else None
        self.project = nn.Conv2d(channels, dim, self.patch, stride=self.patch)

    def forward(self, x: Tensor, return_anchor: bool = False):
        """Returns the tokens; with `return_anchor` also the anchors (dy, dx), in pixels."""
        if x.ndim != 4:
            raise ValueError(f"x must be images (B, C, H, W), got shape {tuple(x.shape)}")
        check_divides(x.shape[-2:], self.patch, "patch")
        if self.order is None:
            dy = dx = torch.zeros(len(x), dtype=torch.long, device=x.device)
        else:
            dy, dx = self.order.anchor(x)
            x = roll_batch(x, -dy, -dx)
        tokens = self.project(x).permute(0, 2, 3, 1)  # (B, h, w, D)
        return (tokens, dy, dx) if return_anchor else tokens


class CircularPEG(nn.Module):
    """Adds to each token what a depth-wise 3 x 3 convolution sees around it.

    The convolution tells tokens where they stand relative to one another. With circular padding
    it commutes with every roll of the map; with zero padding it sees the border.

    Args:
        dim: length D of a token.
        padding_mode: "circular", or "zeros" for the counter-example.

    `forward` maps (B, h, w, D) to the same shape.

    Source: conditional position encoding (Chu et al. 2023), circular as in Ding et al. 2023.

    >>> CircularPEG(8)(torch.rand(2, 4, 6, 8)).shape
    torch.Size([2, 4, 6, 8])
    """

    def __init__(self, dim: int, padding_mode: str = "circular"):
        super().__init__()
        if padding_mode not in ("circular", "zeros"):
            raise ValueError(f"padding_mode must be 'circular' or 'zeros', got {padding_mode!r}")
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, padding_mode=padding_mode)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns tokens (B, h, w, D) with their neighbourhood added."""
        return tokens + self.conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Attention(nn.Module):
    """Multi-head attention of one set of tokens to another, without any position.

    Args:
        dim: length D of a token.
        heads: number of heads; must divide `dim`.

    >>> Attention(8, 2)(torch.rand(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"heads must divide dim, got heads {heads} for dim {dim}")
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns, for queries `x` (B, N, D), what they gather from `context` (B, M, D) or `x`."""
        context = x if context is None else context
        q = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, D')
        k, v = self.key_value(context).unflatten(-1, (2, self.heads, -1)).unbind(2)
        y = scaled_dot_product_attention(q, k.transpose(1, 2), v.transpose(1, 2))
        return self.out(y.transpose(1, 2).flatten(2))  # (B, N, D)


class GlobalAttention(Attention):
    """Attention among all tokens of a map (B, h, w, D). Commutes with every permutation."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the attended map (B, h, w, D)."""
        return super().forward(tokens.flatten(1, 2)).view(tokens.shape)


class WindowAttention(Attention):
    """Attention inside windows of a fixed grid. Commutes with shifts by whole windows only.

    Args:
        dim, heads: as in `Attention`.
        window: side of a window in tokens, w or (w_h, w_w); must divide the map.

    >>> WindowAttention(8, 2, window=3)(torch.rand(2, 6, 9, 8)).shape
    torch.Size([2, 6, 9, 8])
    """

    def __init__(self, dim: int, heads: int, window):
        super().__init__(dim, heads)
        self.window = as_pair(window, "window")

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the attended map (B, h, w, D)."""
        check_divides(tokens.shape[1:3], self.window, "window")
        b, h, w, d = tokens.shape
        w_h, w_w = self.window
        cells = tokens.view(b, h // w_h, w_h, w // w_w, w_w, d).transpose(2, 3)
        y = super().forward(cells.reshape(-1, w_h * w_w, d))  # (B * windows, w_h * w_w, D)
        return y.view(b, h // w_h, w // w_w, w_h, w_w, d).transpose(2, 3).reshape(b, h, w, d)


class SubsampledAttention(Attention):
    """Attention of all tokens to a coarser map: keys and values by a strided convolution.

    Args:
        dim, heads: as in `Attention`.
        ratio: reduction of the key and value map, r or (r_h, r_w); must divide the map.

    >>> SubsampledAttention(8, 2, ratio=2)(torch.rand(2, 6, 4, 8)).shape
    torch.Size([2, 6, 4, 8])
    """

    def __init__(self, dim: int, heads: int, ratio):
        super().__init__(dim, heads)
        self.ratio = as_pair(ratio, "ratio")
        self.reduce = nn.Conv2d(dim, dim, self.ratio, stride=self.ratio)
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the attended map (B, h, w, D)."""
        check_divides(tokens.shape[1:3], self.ratio, "ratio")
        coarse = self.reduce(tokens.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)  # (B, M, D)
        return super().forward(tokens.flatten(1, 2), self.norm(coarse)).view(tokens.shape)


class Block(nn.Module):
    """A transformer block, x + attention(norm(x)), then x + mlp(norm(x)), on maps (B, h, w, D).

    Args:
        dim: length D of a token.
        attention: module from maps to maps.
        mlp_ratio: hidden width of the MLP divided by `dim`.

    >>> Block(8, GlobalAttention(8, 2))(torch.rand(2, 3, 3, 8)).shape
    torch.Size([2, 3, 3, 8])
    """

    def __init__(self, dim: int, attention: nn.Module, mlp_ratio: float = 2):
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.norm1, self.attention = nn.LayerNorm(dim), attention
        self.norm2 = nn.LayerNorm(dim)
        # The tanh form of GELU, so that a page without PyTorch can compute the same numbers.
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the map (B, h, w, D) after attention and MLP."""
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))
