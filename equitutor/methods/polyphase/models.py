"""A ViT and a two-stage Twins whose logits do not change under circular shifts."""

from math import lcm

import torch
from torch import Tensor, nn

from equitutor.methods.polyphase.anchors import PolyOrder, as_pair, check_divides
from equitutor.methods.polyphase.layers import (
    Block,
    CircularPEG,
    GlobalAttention,
    PolyPatchEmbed,
    SubsampledAttention,
    WindowAttention,
    order_tokens,
)

POSITIONS = ("circular", "zeros", "absolute", "none")


class Absolute(nn.Module):
    """Adds one learned vector to each slot of the token map: the ViT's usual position code."""

    def __init__(self, grid: tuple[int, int], dim: int):
        super().__init__()
        self.code = nn.Parameter(torch.empty(1, *grid, dim))  # (1, h, w, D)
        nn.init.trunc_normal_(self.code, std=0.2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns tokens (B, h, w, D) with their slot's vector added."""
        if tokens.shape[1:3] != self.code.shape[1:3]:
            raise ValueError(
                f"tokens must form the grid {tuple(self.code.shape[1:3])} that the position code "
                f"was made for, got {tuple(tokens.shape[1:3])}"
            )
        return tokens + self.code


def position_code(position: str, grid: tuple[int, int], dim: int) -> nn.Module:
    """Returns the position code named `position`, one of `POSITIONS`, for a grid of tokens.

    >>> position_code("none", (6, 6), 8)
    Identity()
    """
    if position not in POSITIONS:
        raise ValueError(f"position must be one of {POSITIONS}, got {position!r}")
    if position == "absolute":
        return Absolute(grid, dim)
    return CircularPEG(dim, position) if position in ("circular", "zeros") else nn.Identity()


class PolyViT(nn.Module):
    """A vision transformer, exactly invariant under circular shifts of its input.

    Args:
        size: height and width of the images in pixels, s or (h, w).
        patch: side of a patch, p or (p_h, p_w); must divide `size`.
        channels, classes: channels of the images, number of logits.
        dim, depth, heads, mlp_ratio: length of a token, blocks, heads, hidden MLP width / dim.
        poly: True for anchor and circular position code; False for the plain twin, with neither
            anchor nor circular code but absolute positions.
        anchored, position: override the two halves of `poly` one by one; `position` is
            "circular", "zeros" (a zero-padded convolution), "absolute" or "none".
        pool: "mean" over the tokens, or "cls" for a class token.
        power, filtered: the anchor's score, as in `phase_scores`.

    `forward` maps images (B, C, H, W) to logits (B, classes).

    Source: Ding et al. 2023 (ViT-poly); mean pooling and the size are ours.

    >>> model = PolyViT(24, patch=4).eval()
    >>> x = torch.rand(2, 1, 24, 24)
    >>> y = torch.roll(x, (5, -3), (2, 3))
    >>> torch.allclose(model(x), model(y), atol=1e-5)
    True
    """

    def __init__(
        self,
        size,
        patch=4,
        channels=1,
        classes=10,
        dim=48,
        depth=2,
        heads=4,
        mlp_ratio=2,
        poly=True,
        anchored=None,
        position=None,
        pool="mean",
        power=2,
        filtered=False,
    ):
        super().__init__()
        size, patch = as_pair(size, "size"), as_pair(patch, "patch")
        check_divides(size, patch, "patch")
        if pool not in ("mean", "cls"):
            raise ValueError(f"pool must be 'mean' or 'cls', got {pool!r}")
        anchored = poly if anchored is None else anchored
        position = ("circular" if poly else "absolute") if position is None else position
        grid = (size[0] // patch[0], size[1] // patch[1])
        self.embed = PolyPatchEmbed(patch, channels, dim, anchored, power, filtered)
        self.position = position_code(position, grid, dim)
        self.cls = nn.Parameter(torch.zeros(1, 1, 1, dim)) if pool == "cls" else None
        self.blocks = nn.Sequential(
            *(Block(dim, GlobalAttention(dim, heads), mlp_ratio) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the token map (B, D, h, w) and the anchors (dy, dx) in pixels, (B,) each."""
        tokens, dy, dx = self.embed(x, return_anchor=True)
        tokens = self.blocks(self.position(tokens))  # (B, h, w, D)
        return self.norm(tokens).permute(0, 3, 1, 2), dy, dx

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (B, classes) of images (B, C, H, W)."""
        tokens = self.position(self.embed(x))
        if self.cls is None:
            return self.head(self.norm(self.blocks(tokens)).mean((1, 2)))
        tokens = tokens.flatten(1, 2).unsqueeze(1)  # (B, 1, N, D): attention needs no grid
        tokens = torch.cat([self.cls.expand(len(x), -1, -1, -1), tokens], 2)
        return self.head(self.norm(self.blocks(tokens))[:, 0, 0])


class Stage(nn.Module):
    """Pairs of window and subsampled attention on one token map, behind one anchor or many.

    One anchor with the least common multiple of all periods serves the whole stage, because every
    layer in it commutes with rolls by that multiple. With `each` there is one anchor in front of
    every grid operation instead, as in the paper.
    """

    def __init__(self, dim, heads, depth, window, ratio, merge, mlp_ratio, anchored, each, position,
                 power, grid):  # fmt: skip
        super().__init__()
        window, ratio = as_pair(window, "window"), as_pair(ratio, "ratio")
        for period, name in ((window, "window"), (ratio, "ratio")):
            check_divides(grid, period, name)
        self.position = position_code(position, grid, dim)
        self.blocks = nn.ModuleList()
        orders, periods = [], []
        for _ in range(depth):
            self.blocks.append(Block(dim, WindowAttention(dim, heads, window), mlp_ratio))
            self.blocks.append(Block(dim, SubsampledAttention(dim, heads, ratio), mlp_ratio))
            periods += [window, ratio]
        if anchored and each:
            orders = [PolyOrder(p, power) for p in periods]
        elif anchored:
            # It divides the map, because each of the three does.
            period = tuple(lcm(window[k], ratio[k], merge) for k in (0, 1))
            orders = [PolyOrder(period, power)] + [None] * (len(periods) - 1)
        else:
            orders = [None] * len(periods)
        # A ModuleList cannot hold None, and the anchors have no parameters.
        self.orders = orders

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the map (B, h, w, D) and the sum of the anchors it was moved by, in tokens."""
        dy = dx = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
        for i, (order, block) in enumerate(zip(self.orders, self.blocks, strict=True)):
            if order is not None:
                tokens, down, right = order_tokens(order, tokens)
                dy, dx = dy + down, dx + right
            tokens = block(tokens)
            if i == 0:
                tokens = self.position(tokens)
        return tokens, dy, dx


class PolyTwins(nn.Module):
    """A two-stage Twins transformer, exactly invariant under circular shifts of its input.

    Each stage alternates window attention with attention to a subsampled map; between the stages
    2 x 2 tokens merge to one.

    Args:
        size, patch, channels, classes, mlp_ratio: as in `PolyViT`.
        dims, depths, heads: for each stage, length of a token, attention pairs, heads.
        window, ratio: window side and key/value reduction, in tokens, the same in both stages.
        poly: True for anchors and circular position code, False for the plain twin with neither
            anchors nor circular padding (its position code is zero-padded, as in Twins).
        each: one anchor in front of every grid operation instead of one for each stage.
        power: score of the anchors on token maps. The paper's 2 ties on freshly normalized tokens,
            whose Euclidean norms are all the same; the default 4 does not.

    Raises ValueError where a period does not divide its map.

    Source: Twins-SVT (Chu et al. 2021), Ding et al. 2023 (Twins-poly); one anchor a stage and the
    power are ours.

    >>> model = PolyTwins(24, patch=2, window=3, ratio=2).eval()
    >>> x = torch.rand(2, 1, 24, 24)
    >>> torch.allclose(model(x), model(torch.roll(x, (5, -3), (2, 3))), atol=1e-5)
    True
    """

    MERGE = 2

    def __init__(
        self,
        size,
        patch=2,
        channels=1,
        classes=10,
        dims=(32, 64),
        depths=(1, 1),
        heads=(2, 4),
        window=3,
        ratio=2,
        mlp_ratio=2,
        poly=True,
        each=False,
        power=4,
    ):
        super().__init__()
        size, patch = as_pair(size, "size"), as_pair(patch, "patch")
        check_divides(size, patch, "patch")
        for value, name in ((dims, "dims"), (depths, "depths"), (heads, "heads")):
            if len(value) != 2:
                raise ValueError(f"{name} must have one entry for each of 2 stages, got {value!r}")
        if min(depths) < 1:
            raise ValueError(f"depths must be >= 1 in both stages, got {depths!r}")
        self.patch = patch
        grid = (size[0] // patch[0], size[1] // patch[1])
        check_divides(grid, (self.MERGE, self.MERGE), "merge")
        coarse = (grid[0] // self.MERGE, grid[1] // self.MERGE)
        position = "circular" if poly else "zeros"
        shared = {"mlp_ratio": mlp_ratio, "anchored": poly, "each": each, "position": position,
                  "power": power}  # fmt: skip
        self.embed = PolyPatchEmbed(patch, channels, dims[0], anchored=poly)
        self.norm_embed = nn.LayerNorm(dims[0])  # as in Twins: this is what makes power 2 tie
        self.stage1 = Stage(dims[0], heads[0], depths[0], window, ratio, self.MERGE, grid=grid,
                            **shared)  # fmt: skip
        self.merge_order = PolyOrder(self.MERGE, power) if poly and each else None
        self.merge = nn.Conv2d(dims[0], dims[1], self.MERGE, stride=self.MERGE)
        self.norm_merge = nn.LayerNorm(dims[1])
        self.stage2 = Stage(dims[1], heads[1], depths[1], window, ratio, 1, grid=coarse, **shared)
        self.norm = nn.LayerNorm(dims[1])
        self.head = nn.Linear(dims[1], classes)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the last map (B, D, h, w) and the summed anchors (dy, dx) in pixels, (B,) each.

        A token of the second stage is 2 * patch pixels wide, so anchors found there count 2 * patch
        pixels each. Rolling the up-sampled map by the sum undoes all anchors at once.
        """
        p_h, p_w = self.patch
        tokens, dy, dx = self.embed(x, return_anchor=True)
        tokens, down, right = self.stage1(self.norm_embed(tokens))
        dy, dx = dy + p_h * down, dx + p_w * right
        if self.merge_order is not None:
            tokens, down, right = order_tokens(self.merge_order, tokens)
            dy, dx = dy + p_h * down, dx + p_w * right
        tokens = self.merge(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        tokens, down, right = self.stage2(self.norm_merge(tokens))
        dy, dx = dy + self.MERGE * p_h * down, dx + self.MERGE * p_w * right
        return self.norm(tokens).permute(0, 3, 1, 2), dy, dx

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (B, classes) of images (B, C, H, W)."""
        tokens, _, _ = self.features(x)
        return self.head(tokens.mean((2, 3)))
