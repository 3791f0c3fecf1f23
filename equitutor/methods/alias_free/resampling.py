"""Alias-free change of rate for maps: one operator U and its transpose, without a parameter.

A separable filter turns a small map x into U x U^T: two matrix products. For a large map most of
U is zero, and a depthwise convolution along each axis is cheaper. A circular filter, which is not
separable, is a short sum of separable ones.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equitutor.checks import check_maps
from equitutor.methods.alias_free.filters import kaiser_lowpass
from equitutor.methods.alias_free.matrices import (
    BOUNDARIES,
    border_index,
    ideal_matrix,
    resample_matrix,
)

__all__ = ["AliasFreeDown", "AliasFreeUp", "separable_terms"]

# Coarse samples on an axis up to which full matrices beat convolutions (measured on one CPU core
# with 12 taps: 2x to 5x faster at 16 ... 64 samples, 1.2x at 128).
DENSE_UP_TO = 128
# Coarse pixels of a map up to which one matrix for both axes is faster still (18x at 4 x 4, where
# a batch of tiny products is all overhead; even at 7 x 7 for one term, at 12 x 12 for several).
WHOLE_UP_TO = {True: 36, False: 144}
KEPT = 32  # matrices that a module keeps: images of many sizes must not fill the memory


def separable_terms(h: Tensor, tolerance: float = 1e-9) -> tuple[Tensor, Tensor]:
    """Returns filters q (R, L) and weights w (R,) with h = sum_r w_r q_r q_r^T, float64.

    Args:
        h: symmetric filter (L, L), or (L,), which is one term already.
        tolerance: terms below this share of the largest are left out.

    Raises:
        ValueError: `h` has another shape, odd length, is not symmetric, not finite or all zero.

    >>> from equitutor.methods.alias_free.filters import jinc_lowpass
    >>> q, w = separable_terms(jinc_lowpass(8))
    >>> torch.allclose(torch.einsum("r,ri,rj->ij", w, q, q), jinc_lowpass(8)), len(w) <= 4
    (True, True)
    """
    h = h.detach().double().cpu()
    if h.ndim not in (1, 2) or h.shape[0] != h.shape[-1] or len(h) % 2 or not len(h):
        raise ValueError(f"filter must be (L,) or (L, L) with even L, got shape {tuple(h.shape)}")
    if not h.isfinite().all() or not h.any() or not torch.allclose(h, h.flip(0)):
        raise ValueError("filter must be finite, not all zero, and symmetric about its center")
    if h.ndim == 1:
        return h[None], h.new_ones(1)
    if not torch.allclose(h, h.T):
        raise ValueError("a filter (L, L) must equal its transpose")
    weights, vectors = torch.linalg.eigh(h)
    keep = weights.abs() > tolerance * weights.abs().max()
    q = vectors.T[keep]
    return (q + q.flip(1)) / 2, weights[keep]  # even to the last bit: the grid must not move


class _Resampler(nn.Module, ABC):
    """What up and down share: the filter, and its matrices for the sizes met so far.

    Matrices are made in float64 and kept for the last `KEPT` sizes, dtypes and devices they were
    asked for, so they follow the maps. They are no buffers: a state_dict knows nothing of them.
    """

    def __init__(self, filter: Tensor | str | None = None, boundary: str = "zero", factor: int = 2):
        super().__init__()
        if boundary not in BOUNDARIES:
            raise ValueError(f"boundary must be one of {', '.join(BOUNDARIES)}, got {boundary!r}")
        if type(factor) is not int or factor not in (2, 4):
            raise ValueError(f"factor must be 2 or 4, got {factor!r}")
        if isinstance(filter, str) and (filter != "ideal" or boundary != "circular"):
            raise ValueError(
                "filter must be None, a tensor, or 'ideal' with boundary 'circular', "
                f"got {filter!r} with {boundary!r}"
            )
        self.boundary, self.factor = boundary, factor
        self.terms = None  # of the ideal filter, which has no taps
        if not isinstance(filter, str):
            self.terms = separable_terms(kaiser_lowpass() if filter is None else filter)
        self._cache: dict[tuple, Tensor] = {}

    def __getstate__(self):
        return {**self.__dict__, "_cache": {}}  # copies and pickles stay small

    @property
    def separable(self) -> bool:
        return self.terms is None or len(self.terms[1]) == 1

    @abstractmethod
    def matrices(self, n: int) -> Tensor:
        """Returns the operator along an axis of `n` samples, one term of the filter at a time.

        Float64 (R, factor * n, n) for up, (R, n / factor, n) for down. A filter of several terms
        has the matrices of factor 2, to be applied repeatedly for factor 4.
        """

    def _doubling(self, n: int) -> Tensor:
        if self.terms is None:
            return ideal_matrix(n)[None]
        return torch.stack([resample_matrix(n, q, self.boundary) for q in self.terms[0]])

    def _ups(self, n: int) -> Tensor:
        matrix = self._doubling(n)
        return self._doubling(2 * n) @ matrix if self.factor == 4 and self.separable else matrix

    def _cached(self, n: int, left: bool, x: Tensor) -> Tensor:
        """Returns `matrices(n)` as `x` is: times the weights for the left side of a map."""

        def make() -> Tensor:
            matrix = self.matrices(n)
            if left and self.terms is not None:
                matrix = self.terms[1].view(-1, 1, 1) * matrix
            return matrix if left else matrix.mT.contiguous()

        return self._keep((n, left), make, x)

    def _keep(self, size: tuple, make: Callable[[], Tensor], x: Tensor) -> Tensor:
        """Returns the matrix of that size as `x` is, made only if it is not kept."""
        key = (*size, x.dtype, x.device)
        if key not in self._cache:
            if len(self._cache) == KEPT:
                del self._cache[next(iter(self._cache))]  # the oldest
            self._cache[key] = make().to(x)
        return self._cache[key]

    def _dense(self, x: Tensor) -> Tensor:
        """Returns the result of two products: one of all rows at once, one for each map."""
        (b, c, height, width), y = x.shape, None
        rights = self._cached(width, False, x)
        for left, right in zip(self._cached(height, True, x), rights, strict=True):
            rows = (x.reshape(-1, width) @ right).view(b * c, height, -1)
            left = left.expand(b * c, -1, -1)
            y = torch.bmm(left, rows) if y is None else torch.baddbmm(y, left, rows)
        return y.view(b, c, *y.shape[1:])

    def _whole(self, x: Tensor) -> Tensor:
        """Returns the result of one product with the Kronecker product of both axes."""
        height, width = x.shape[-2:]

        def make() -> Tensor:
            axes = (self.matrices(n).contiguous() for n in (height, width))
            pairs = zip(*axes, strict=True)
            weights = torch.ones(1) if self.terms is None else self.terms[1]
            both = sum(w * torch.kron(*pair) for w, pair in zip(weights, pairs, strict=True))
            return both.mT.contiguous()

        y = x.reshape(-1, height * width) @ self._keep(("whole", height, width), make, x)
        ratio = y.shape[1] / (height * width)  # 4 or 16, or one over these
        side = ratio**0.5
        return y.reshape(*x.shape[:2], round(side * height), round(side * width))

    def _run(self, x: Tensor, coarse: tuple[int, int]) -> Tensor:
        """Returns the result in the dtype of `x`, computed in float32 or float64."""
        dense = self.terms is None or max(coarse) <= DENSE_UP_TO
        whole = coarse[0] * coarse[1] <= WHOLE_UP_TO[self.separable]
        steps = 1 if dense and self.separable else self.factor // 2
        # 8 bits of a filter are no filter.
        known = torch.amp.is_autocast_available(x.device.type)
        with torch.autocast(x.device.type, enabled=False) if known else nullcontext():
            y = x if x.dtype == torch.float64 else x.float()
            for _ in range(steps):
                y = self._whole(y) if whole else self._dense(y) if dense else self._depthwise(y)
        return y.to(x.dtype)

    def _kernels(self, x: Tensor):
        """Yields, for each term, kernels (C, 1, L, 1) and (C, 1, 1, L), the first with weight."""
        channels = x.shape[1]
        for q, weight in zip(*self.terms, strict=True):
            rows, columns = (2 * weight * q).to(x), (2 * q).to(x)
            yield (
                rows.view(1, 1, -1, 1).expand(channels, -1, -1, -1),
                columns.view(1, 1, 1, -1).expand(channels, -1, -1, -1),
            )

    def extra_repr(self) -> str:
        name = "ideal" if self.terms is None else f"{self.terms[0].shape[1]} taps"
        return f"{name}, boundary={self.boundary}, factor={self.factor}"


class AliasFreeUp(_Resampler):
    """Maps (B, C, H, W) to (B, C, factor H, factor W) without images of the spectrum.

    y = U x U^T, with the gain 2 per axis that makes up for the inserted zeros: a constant stays
    that constant. Commutes with quarter turns and mirrors about the center of the image.

    Args:
        filter: (L,) separable, (L, L) symmetric (then a sum of separable terms), L even; "ideal"
            for the periodic sinc with the Nyquist bin zeroed; None for `kaiser_lowpass()`.
        boundary: "zero", "circular" or "reflect", as in `border_index`.
        factor: 2 or 4.

    Raises:
        ValueError: an argument outside these; `forward` for what is not floating maps.

    Source: Anjum 2024 (arXiv 2411.09174) for the place of it; the operator: sampling theory.

    >>> AliasFreeUp(boundary="circular")(torch.ones(1, 1, 4, 6)).round(decimals=5).unique()
    tensor([1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Returns maps (B, C, factor H, factor W)."""
        check_maps(x)
        return self._run(x, x.shape[-2:])

    def matrices(self, n: int) -> Tensor:
        """Returns U of each separable term, float64 (R, factor * n, n)."""
        return self._ups(n)

    def _depthwise(self, x: Tensor) -> Tensor:
        taps = self.terms[0].shape[1]
        margin = (taps + 2) // 4  # coarse samples that a fine one sees beyond its own
        cut = taps // 2 - 1 + 2 * margin
        x = pad(x, margin, self.boundary)
        total = 0
        for rows, columns in self._kernels(x):
            y = F.conv_transpose2d(x, rows, None, (2, 1), (cut, 0), groups=x.shape[1])
            total = total + F.conv_transpose2d(
                y, columns, None, (1, 2), (0, cut), groups=x.shape[1]
            )
        return total


class AliasFreeDown(_Resampler):
    """Maps (B, C, H, W) to (B, C, H / factor, W / factor) after removing what would fold.

    y = D x D^T with D = U^T / factor, the transpose of `AliasFreeUp` with the same arguments.

    Args:
        filter, boundary, factor: as in `AliasFreeUp`.

    Raises:
        ValueError: as there, or H or W that the factor does not divide.

    Source: as `AliasFreeUp`.

    >>> x = torch.rand(1, 1, 8, 8)
    >>> up, down = AliasFreeUp("ideal", "circular"), AliasFreeDown("ideal", "circular")
    >>> once = down(x)
    >>> torch.allclose(down(up(down(up(once)))), down(up(once)), atol=1e-6)
    True
    """

    def forward(self, x: Tensor) -> Tensor:
        """Returns maps (B, C, H / factor, W / factor)."""
        check_maps(x)
        height, width = x.shape[-2:]
        if height % self.factor or width % self.factor:
            raise ValueError(f"factor {self.factor} must divide the map, got {height} x {width}")
        return self._run(x, (height // self.factor, width // self.factor))

    def matrices(self, n: int) -> Tensor:
        """Returns D = U^T / factor of each separable term, float64 (R, n / factor, n)."""
        factor = self.factor if self.separable else 2
        if type(n) is not int or n < 1 or n % factor:
            raise ValueError(f"n must be a positive int that {factor} divides, got {n!r}")
        return self._ups(n // factor).mT / factor

    def _depthwise(self, x: Tensor) -> Tensor:
        x = pad(x, self.terms[0].shape[1] // 2 - 1, self.boundary)
        total = 0
        for rows, columns in self._kernels(x):
            y = F.conv2d(x, rows / 2, None, (2, 1), groups=x.shape[1])
            total = total + F.conv2d(y, columns / 2, None, (1, 2), groups=x.shape[1])
        return total


def pad(x: Tensor, margin: int, boundary: str) -> Tensor:
    """Returns the maps with `margin` samples more on each side, by the rule of `border_index`.

    >>> pad(torch.tensor([[[[1.0, 2.0]]]]), 1, "reflect")[0, 0].tolist()
    [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]
    """
    if boundary == "zero":
        return F.pad(x, [margin] * 4)
    for axis in (-2, -1):
        n = x.shape[axis]
        reach = torch.arange(-margin, n + margin, device=x.device)
        x = x.index_select(axis, border_index(reach, n, boundary))
    return x
