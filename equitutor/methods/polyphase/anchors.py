"""Choose the origin of a grid from the data, by a rule that moves with the data.

A grid operation with period p = (p_h, p_w) splits a map into p_h * p_w polyphase components. The
anchor is the component with the largest score. For a unique maximum and every shift t

    anchor(T_t x) = (anchor(x) + t) mod p,

so that T_{-anchor(x)} x moves by whole cells of the grid when x moves by anything.
"""

from math import inf

import torch
from torch import Tensor, nn

from equitutor import runtime
from equitutor.actions import roll_images as roll_batch

__all__ = [
    "PolyOrder",
    "anchor",
    "as_pair",
    "check_divides",
    "phase_scores",
    "roll_batch",
    "score_gap",
    "tie_rate",
    "undo_roll",
]

PIECE = 1 << 18  # numbers of an image batch that are scored at a time on a CPU: 1 MB of float32

# A fixed kernel without any mirror or point symmetry: it tells apart components that are mirror
# images of one another, which every score of single pixels has to call equal.
ASYMMETRIC_KERNEL = ((0.31, -0.82, 0.47), (1.09, 0.23, -0.64), (-0.38, 0.71, 0.12))


def as_pair(value: int | tuple[int, int], name: str) -> tuple[int, int]:
    """Returns `value` as two positive integers (height, width).

    Raises ValueError, naming the argument, for anything else.

    >>> as_pair(4, "stride")
    (4, 4)
    """
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    whole = all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in pair)
    if len(pair) != 2 or not whole:
        raise ValueError(f"{name} must be a positive int or two of them, got {value!r}")
    return pair


def check_divides(size: tuple[int, int], period: tuple[int, int], name: str) -> None:
    """Returns nothing; raises ValueError unless `period` divides `size` in both directions.

    Padding to a multiple would change the torus and break the law of the anchor, so it is refused.

    >>> check_divides((24, 32), (4, 8), "stride")
    """
    if size[0] % period[0] or size[1] % period[1]:
        raise ValueError(
            f"{name} must divide the map: got {name} {period} for a map of {size[0]} x {size[1]}"
        )


def check_power(power: float) -> None:
    """Returns nothing; raises ValueError unless `power` is a positive, finite number.

    >>> check_power(4)
    """
    if not 0 < power < inf:
        raise ValueError(f"power must be positive and finite, got {power!r}")


def phase_scores(
    x: Tensor, stride: int | tuple[int, int], power: float = 2, filtered: bool = False
) -> Tensor:
    """Returns the score of each polyphase component, (B, p_h, p_w), without gradient.

    s_i(x) = sum_m sum_c |x_c(i + p m)|^power: it looks at values only, so a shift permutes it.

    Args:
        x: real or integer maps (B, C, H, W).
        stride: period of the grid, p or (p_h, p_w); must divide (H, W).
        power: exponent, > 0. 2 is the paper's score; take 4 behind a LayerNorm, where every token
            has the same Euclidean norm and the paper's score ties.
        filtered: score the positive part of a fixed asymmetric circular 3 x 3 filter of `x`
            instead. Costs a convolution and separates components that are mirror images.

    The scores are float64; float32 on a device that has no float64.

    Raises:
        ValueError: `x` is not four-dimensional, empty or complex, `stride` does not divide,
            `power` is not positive and finite.

    In float32 |x|^power must neither overflow nor vanish: for power 4 keep the largest |x| between
    1e-6 and 1e6. `score_gap` refuses scores that overflowed and shows those that tie.

    Source: Ding et al. 2023 (power 2); Lp and filtered scores: this book.

    >>> row = torch.tensor([[[[1.0, 3.0, 1.0, 3.0]]]])
    >>> phase_scores(row, (1, 2))
    tensor([[[ 2., 18.]]], dtype=torch.float64)
    """
    sums, unit = _sums(x, stride, power, filtered)
    return sums if unit is None else sums * unit.view(-1, 1, 1)


def _sums(x: Tensor, stride, power: float, filtered: bool) -> tuple[Tensor, Tensor | None]:
    """Returns the scores (B, p_h, p_w), whole multiples of a unit (B,) where that is not None.

    The energies of a shifted image are the same numbers in another order. Summed in float32 that
    order would show. In float64 it does not. Where there is no float64, whole numbers are summed.
    """
    p_h, p_w = as_pair(stride, "stride")
    if x.ndim != 4 or x.numel() == 0:
        raise ValueError(f"x must be a non-empty (B, C, H, W) tensor, got shape {tuple(x.shape)}")
    if x.is_complex():
        raise ValueError(f"x must be real or integer, got dtype {x.dtype}")
    check_power(power)
    b, _, h, w = x.shape
    check_divides((h, w), (p_h, p_w), "stride")
    x = x.detach()
    if not x.is_floating_point() or x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()  # squares of half-precision values overflow or tie
    # Images by the piece: what is computed from one piece stays in the processor's cache.
    piece = max(1, PIECE // x[0].numel()) if x.device.type == "cpu" else b
    energy = torch.cat([_energy(part, power, filtered) for part in x.split(piece)])  # (B, H, W)
    exact, unit = runtime.widest(x.device) == torch.float64, None
    if not exact:
        energy, unit = _whole(energy, cells=h * w // (p_h * p_w))
    cells = energy.view(b, h // p_h, p_h, w // p_w, p_w)
    # One axis at a time: several times faster than both at once.
    return cells.sum(1, dtype=torch.float64 if exact else torch.int64).sum(2), unit


def _energy(x: Tensor, power: float, filtered: bool) -> Tensor:
    """Returns sum_c |x_c|^power of maps (B, C, H, W), or of their filtered maps: (B, H, W)."""
    if filtered:
        x = _asymmetric(x)
    if power == 2:
        return x.square().sum(1)
    return x.square().square().sum(1) if power == 4 else x.abs().pow(power).sum(1)


def _whole(energy: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Returns energies (B, H, W) as int64 multiples of a unit (B,), of which `cells` may be added.

    The unit is a power of two that leaves room for the sum. What is not finite has no whole
    number: such an image gets ones, in units of infinity.
    """
    peak = energy.amax((1, 2))  # (B,)
    room = 62 - cells.bit_length()  # bits that the largest energy may take
    unit = torch.exp2((peak.log2().ceil() - room).clamp(min=-126))  # (B,)
    sound = peak.isfinite()
    whole = (energy / unit.view(-1, 1, 1)).round().to(torch.int64)
    return torch.where(sound.view(-1, 1, 1), whole, 1), torch.where(sound, unit, peak)


def _asymmetric(x: Tensor) -> Tensor:
    kernel = x.new_tensor(ASYMMETRIC_KERNEL).expand(x.shape[1], 1, 3, 3)
    rows = torch.cat([x[:, :, -1:], x, x[:, :, :1]], 2)
    torus = torch.cat([rows[..., -1:], rows, rows[..., :1]], 3)  # (B, C, H + 2, W + 2)
    with torch.autocast(x.device.type, enabled=False):  # in bfloat16 the scores would tie
        return nn.functional.conv2d(torus, kernel, groups=x.shape[1]).relu()


def anchor(
    x: Tensor, stride: int | tuple[int, int], power: float = 2, filtered: bool = False
) -> tuple[Tensor, Tensor]:
    """Returns the winning component as two int64 tensors (B,), its row and its column offset.

    Arguments and errors are those of `phase_scores`. The first of several equal scores wins.
    Obeys anchor(T_t x) = (anchor(x) + t) mod p wherever the largest score is unique.

    >>> x = torch.zeros(1, 1, 4, 4); x[0, 0, 1, 2] = 1.0
    >>> anchor(x, 4)
    (tensor([1]), tensor([2]))
    """
    scores, _ = _sums(x, stride, power, filtered)
    index = scores.flatten(1).argmax(1)  # (B,)
    p_w = scores.shape[2]
    return torch.div(index, p_w, rounding_mode="floor"), index % p_w


def undo_roll(y: Tensor, dy: Tensor, dx: Tensor) -> Tensor:
    """Returns `y` (B, C, H, W) moved back by the anchors (dy, dx) that its input was moved by.

    With P(x) = T_{-a(x)} x and any F that commutes with whole-cell shifts, undo_roll(F(P(x)), a(x))
    commutes with every shift: dense outputs need this step, pooled ones do not.

    Args:
        y: maps (B, C, H, W), at the resolution in which the anchors count.
        dy, dx: int64 (B,), as `anchor` or `PolyOrder` returned them.

    >>> x = torch.arange(16.0).view(1, 1, 4, 4)
    >>> dy, dx = anchor(x, 2)
    >>> torch.equal(undo_roll(roll_batch(x, -dy, -dx), dy, dx), x)
    True
    """
    return roll_batch(y, dy, dx)


def score_gap(
    x: Tensor, stride: int | tuple[int, int], power: float = 2, filtered: bool = False
) -> Tensor:
    """Returns how far the best score lies above the second, (best - second) / best, (B,).

    Zero means a tie: the anchor is then decided by the order of the components, not by the image.
    Below about 1e-6 rounding in the layers before may decide it. Arguments as in `phase_scores`.

    Raises ValueError where a score is not finite: `x` is not, or its powers overflow.

    >>> score_gap(torch.tensor([[[[1.0, 2.0, 2.0, 1.0]]]]), (1, 2))
    tensor([0.], dtype=torch.float64)
    """
    scores, unit = _sums(x, stride, power, filtered)
    if not (scores if unit is None else unit).isfinite().all():
        raise ValueError(f"x must have finite scores, but |x|^{power:g} holds NaN or infinity")
    scores, wide = scores.flatten(1), runtime.widest(x.device)
    if scores.shape[1] == 1:
        return torch.ones(len(scores), dtype=wide, device=x.device)  # it has no rival
    best, second = scores.topk(2, dim=1).values.unbind(1)
    return (best - second).to(wide) / best.to(wide).clamp_min(torch.finfo(wide).tiny)


def tie_rate(
    x: Tensor,
    stride: int | tuple[int, int],
    power: float = 2,
    filtered: bool = False,
    tolerance: float = 1e-12,
) -> float:
    """Returns the share of the images whose two best components tie, in [0, 1].

    Args:
        x, stride, power, filtered: as in `phase_scores`.
        tolerance: largest relative gap that counts as a tie, >= 0.

    A tie is harmful only where the two components differ; ties of a constant image do no harm but
    are counted, too.

    >>> tie_rate(torch.tensor([[[[1.0, 2.0, 2.0, 1.0]]], [[[1.0, 2.0, 3.0, 1.0]]]]), (1, 2))
    0.5
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be >= 0, got {tolerance!r}")
    return (score_gap(x, stride, power, filtered) <= tolerance).sum().item() / len(x)


class PolyOrder(nn.Module):
    """Rolls each map so that its winning polyphase component stands at the corner of the grid.

    P(x) = T_{-anchor(x)} x. A shift of `x` by t moves P(x) by whole cells only. Gradients flow
    through the roll; the choice itself is piecewise constant and has none.

    Args:
        stride, power, filtered: as in `phase_scores`.

    Source: Ding et al. 2023, polyphase anchoring.

    >>> order = PolyOrder(2)
    >>> x = torch.rand(3, 1, 6, 8)
    >>> torch.equal(order(order(x)), order(x))
    True
    """

    def __init__(self, stride: int | tuple[int, int], power: float = 2, filtered: bool = False):
        super().__init__()
        self.stride = as_pair(stride, "stride")
        check_power(power)
        self.power, self.filtered = power, filtered

    def anchor(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the anchors (dy, dx) of `x`, int64 (B,) each."""
        return anchor(x, self.stride, self.power, self.filtered)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the anchored maps, shape and dtype of `x` (B, C, H, W)."""
        dy, dx = self.anchor(x)
        return roll_batch(x, -dy, -dx)

    def extra_repr(self) -> str:
        return f"stride={self.stride}, power={self.power}, filtered={self.filtered}"
