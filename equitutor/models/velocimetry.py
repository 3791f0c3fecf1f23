"""Particle image velocimetry: from two photographs of particles to the field of displacements.

All estimators map frame pairs (B, 2, H, W) to flow fields (B, 2, H, W) in pixels, channel 0 to the
right and channel 1 DOWN. The field is that of the middle of the interval. Two symmetries act on it:
D4 moves pixels and turns vectors; time reversal swaps the frames and negates the field. An
estimator can have them by construction (`cross_correlation`), by averaging (`GroupAverage`), or not
at all (`CostVolumeNet`).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equitutor import actions, groups
from equitutor.checks import check_count, check_input
from equitutor.runtime import rounding, widest

_TIE = 1e-9  # correlations closer than this count as equal; in float32, those closer than rounding


def cross_correlation(
    frames: Tensor, window: int = 20, reach: int = 4, step: int = 4, chunk: int = 32
) -> Tensor:
    """Returns the flow at which two frames correlate best around each point, (B, 2, H, W).

    Both frames move by half of a shift each, in opposite directions, under a smooth window that
    stays. So the answer belongs to the middle of the interval, and swapping the frames negates it.
    Window centers stand symmetrically about the center of the image; a logarithmic parabola
    through three points refines the peak; equal peaks are averaged; the field is interpolated
    linearly between centers. Every step commutes with D4, and with time reversal.

    Args:
        frames: pairs (B, 2, H, W), floating point, the earlier frame first.
        window: width in pixels of the window, cos^2 along each axis, >= 4.
        reach: largest shift in pixels along each axis that is tried, >= 1, below both sides.
        step: pixels between window centers, >= 1.
        chunk: pairs worked on at a time; bounds the memory, does not change the result.

    Raises ValueError where frames are no finite pairs or a size is out of range.

    Source: Raffel et al., Particle Image Velocimetry, 3rd edition, chapter 5 (correlation, Gaussian
    fit of the peak); the window centered in time follows Wereley and Meinhart (2001).

    >>> frames = torch.rand(1, 1, 24, 28)
    >>> pair = torch.cat([frames[..., 2:26], frames[..., :24]], 1)  # moves to the right by 2
    >>> [round(v) for v in cross_correlation(pair)[0, :, 12, 12].tolist()]
    [2, 0]
    """
    _check_frames(frames)
    if not frames.isfinite().all():
        raise ValueError("frames must be finite, got NaN or infinity")
    for name, value, least in (("window", window, 4), ("reach", reach, 1), ("step", step, 1),
                               ("chunk", chunk, 1)):  # fmt: skip
        check_count(name, value, least)
    height, width = frames.shape[-2:]
    if reach >= min(height, width):
        raise ValueError(f"reach must be below the sides {(height, width)}, got {reach!r}")
    exact = frames.to(widest(frames.device))
    centers = [_centers(side, step).to(exact) for side in (height, width)]
    parts = [_peak(_correlations(part, centers, window, reach)) for part in exact.split(chunk)]
    coarse = torch.cat(parts)  # (B, 2, n, m)
    rows, columns = (
        _linear(side, c) for side, c in zip((height, width), centers, strict=True)
    )  # (H, n), (W, m)
    return (rows @ coarse @ columns.T).to(frames.dtype)


def _centers(side: int, step: int) -> Tensor:
    """Returns window centers along an axis: as many as fit, symmetric about the middle."""
    n = (side - 1) // step + 1
    middle = (side - 1) / 2
    return middle + step * (torch.arange(n, dtype=torch.float32) - (n - 1) / 2)  # exact: halves


def _correlations(frames: Tensor, centers: list[Tensor], window: int, reach: int) -> Tensor:
    """Returns normalized correlations (B, n, m, S, S), shifts down and right in the last two."""
    shifts = range(-reach, reach + 1)
    sides = frames.shape[-2:]
    rows, columns = (
        [_Axis(side, s, c, window) for s in shifts] for side, c in zip(sides, centers, strict=True)
    )
    table = []
    for row in rows:
        for column in columns:
            a = frames[:, 0, row.first, column.first]
            b = frames[:, 1, row.second, column.second]
            values = torch.stack([a, b, a * a, b * b, a * b], 1)  # (B, 5, h, w)
            mean = row.weight @ values @ column.weight.T  # (B, 5, n, m)
            mean_a, mean_b, aa, bb, ab = mean.unbind(1)
            variance = (aa - mean_a**2).clamp(min=0) * (bb - mean_b**2).clamp(min=0)
            # The root has no derivative at 0, that is, in a window of one gray.
            deviation = variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt()
            table.append((ab - mean_a * mean_b) / (deviation + 1e-7))
    return torch.stack(table, -1).unflatten(-1, (len(rows), len(columns)))


class _Axis:
    """Along one axis: the pixels of either frame that a shift pairs, and the weight of each pair.

    A pair of pixels x and x + shift lies at x + shift / 2, and is weighted by where that is.
    """

    def __init__(self, side: int, shift: int, centers: Tensor, window: int):
        start, stop = max(0, -shift), side - max(0, shift)
        self.first, self.second = slice(start, stop), slice(start + shift, stop + shift)
        middle = torch.arange(start, stop, device=centers.device) + shift / 2
        distance = (middle - centers[:, None]).abs() / window  # (n, h)
        weight = (math.pi * distance).cos().square() * (distance < 0.5) + 1e-12
        self.weight = weight / weight.sum(1, keepdim=True)


def _peak(table: Tensor) -> Tensor:
    """Returns the best shifts (B, 2, n, m), right and down, of correlations (B, n, m, S, S)."""
    reach = table.shape[-1] // 2
    shift = torch.arange(-reach, reach + 1, dtype=table.dtype, device=table.device)
    log = table.clamp(min=1e-3).log()
    right, down = _refine(log), _refine(log.mT).mT
    tie = max(_TIE, rounding(table.dtype))
    best = (table >= table.amax((-2, -1), keepdim=True) - tie).to(table.dtype)
    best = best / best.sum((-2, -1), keepdim=True)
    return torch.stack(
        [((shift + right) * best).sum((-2, -1)), ((shift[:, None] + down) * best).sum((-2, -1))], 1
    )


def _refine(log: Tensor) -> Tensor:
    """Returns the top of the parabola through each point and its two neighbors in the last axis."""
    left, right = log.roll(1, -1), log.roll(-1, -1)
    left[..., 0], right[..., -1] = log[..., 0], log[..., -1]
    bend = 2 * log - left - right
    top = (right - left) / (2 * bend.clamp(min=1e-12))
    return top.clamp(-0.5, 0.5) * (bend > 1e-12)


def _linear(side: int, centers: Tensor) -> Tensor:
    """Returns the matrix (side, n) that interpolates from the centers, constant beyond the last."""
    pixel = torch.arange(side).to(centers)[:, None]
    step = centers[1] - centers[0] if len(centers) > 1 else 1.0
    inside = pixel.clamp(centers[0], centers[-1])
    return (1 - (inside - centers).abs() / step).clamp(min=0)


class CostVolumeNet(nn.Module):
    """A small network that reads off the flow from products of shifted frames.

    The frames, made mean 0 and variance 1 together, are multiplied at each of (2 reach + 1)^2
    shifts and averaged over 4 x 4 pixels: the cost volume, scaled in each cell to mean square 1
    over the shifts. Three convolutions turn it into a flow at a quarter of the resolution, bounded
    by a tanh to reach + 1 along each axis, and enlarged linearly. Nothing in it knows about D4,
    and the shifts are those of the second frame, so that time is not symmetric either.

    Args:
        reach: largest shift in pixels along each axis, >= 1; flows beyond it can't be seen.
        width: channels of the hidden layers, >= 1.

    Source: the cost volume of optical flow networks (PWC-Net, Sun et al. 2018; LiteFlowNet, Hui et
    al. 2018), here at one level.

    >>> net = CostVolumeNet()
    >>> net(torch.rand(2, 2, 32, 32)).shape
    torch.Size([2, 2, 32, 32])
    >>> sum(p.numel() for p in net.parameters())
    45840
    """

    stride = 4

    def __init__(self, reach: int = 4, width: int = 41):
        super().__init__()
        check_count("reach", reach)
        check_count("width", width)
        self.reach = reach
        self.layers = nn.Sequential(
            nn.Conv2d((2 * reach + 1) ** 2, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, 2, 3, padding=1),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Returns the flow (B, 2, H, W) of pairs (B, 2, H, W); sides are multiples of 4."""
        volume = self.cost_volume(frames)  # (B, S^2, H / 4, W / 4)
        volume = volume / (_rms(volume, (1,)) + 0.1)
        limit = self.reach + 1  # what can't be seen is not to be guessed
        coarse = limit * torch.tanh(self.layers(volume) / limit)  # (B, 2, H / 4, W / 4)
        return F.interpolate(coarse, scale_factor=self.stride, mode="bilinear", align_corners=False)

    def cost_volume(self, frames: Tensor) -> Tensor:
        """Returns the products at each shift, averaged over 4 x 4 pixels, (B, S^2, H/4, W/4)."""
        _check_frames(frames)
        check_input("frames", frames, "(B, 2, H, W)", True, self.layers[0].weight)
        if frames.shape[2] % self.stride or frames.shape[3] % self.stride:
            raise ValueError(
                f"frames must have sides that are multiples of {self.stride}, got "
                f"{tuple(frames.shape)}"
            )
        frames = frames - frames.mean((1, 2, 3), keepdim=True)
        frames = frames / (_rms(frames, (1, 2, 3)) + 1e-6)
        first, r = frames[:, 0], self.reach
        second = F.pad(frames[:, 1], (r, r, r, r))
        height, width = first.shape[1:]
        products = [
            F.avg_pool2d(first * second[:, y : y + height, x : x + width], self.stride)
            for y in range(2 * r + 1)
            for x in range(2 * r + 1)
        ]
        return torch.stack(products, 1)


def _rms(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Returns the root of the mean square over axes, which are kept, with the derivative 0 at 0."""
    return x.square().mean(axes, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny).sqrt()


class GroupAverage(nn.Module):
    """The average of a model over the 16 elements of D4 x time reversal: exactly equivariant.

    For each element g the frames are moved by g, the model is asked, and its field is moved back by
    g^-1, vectors included. The mean of the 16 fields commutes with the group, for any model. It
    costs 16 evaluations.

    Args:
        model: module or callable from pairs (B, 2, H, W), square, to fields (B, 2, H, W).

    Raises ValueError where `model` can't be called, or returns another shape.

    Source: group averaging (Reynolds operator); for networks, Yarotsky (2022).

    >>> average = GroupAverage(CostVolumeNet().double())
    >>> pair = torch.rand(1, 2, 16, 16, dtype=torch.float64)
    >>> torch.allclose(average(pair.flip(1)), -average(pair))
    True
    """

    def __init__(self, model):
        super().__init__()
        if not callable(model):
            raise ValueError(f"model must be callable, got {type(model).__name__}")
        self.model = model
        self.inverses = groups.dihedral(4).inv.tolist()

    def forward(self, frames: Tensor) -> Tensor:
        """Returns the averaged flow (B, 2, H, W)."""
        _check_frames(frames)
        total = 0.0
        for g, inverse in enumerate(self.inverses):
            moved = actions.transform_scalar(frames, g)
            for pair, sign in ((moved, 1), (moved.flip(1), -1)):
                flow = self.model(pair)
                if getattr(flow, "shape", None) != frames.shape or not isinstance(flow, Tensor):
                    found = tuple(flow.shape) if isinstance(flow, Tensor) else type(flow)
                    raise ValueError(f"model must return flows {tuple(frames.shape)}, got {found}")
                # The order of the sum changes with g, and float32 would show it.
                back = actions.transform_flow(flow, inverse)
                total = total + sign * back.to(widest(back.device))
        return (total / (2 * len(self.inverses))).to(frames.dtype)


def rmse(flow: Tensor, truth: Tensor) -> Tensor:
    """Returns the root of the mean squared length of flow - truth of each sample, (B,), in pixels.

    >>> flow = torch.tensor([[3.0, 0.0], [4.0, 0.0]]).view(1, 2, 1, 2)  # 5 at one pixel of two
    >>> round(rmse(flow, torch.zeros(1, 2, 1, 2)).item() ** 2, 4)
    12.5
    """
    _check_flows(flow, truth)
    off = flow - truth
    return torch.linalg.vector_norm(off, dim=(1, 2, 3)) / math.sqrt(off[0, 0].numel())


def _check_frames(frames: Tensor) -> None:
    if (
        not isinstance(frames, Tensor) or frames.ndim != 4 or frames.shape[1] != 2
        or 0 in frames.shape or not frames.is_floating_point()
    ):  # fmt: skip
        found = (
            f"{frames.dtype} {tuple(frames.shape)}" if isinstance(frames, Tensor) else type(frames)
        )
        raise ValueError(f"frames must be floating point pairs (B, 2, H, W), got {found}")


def _check_flows(flow: Tensor, truth: Tensor) -> None:
    pair = (flow, truth)
    shapes = [tuple(f.shape) if isinstance(f, Tensor) else type(f).__name__ for f in pair]
    if not all(isinstance(f, Tensor) and f.is_floating_point() for f in pair):
        raise ValueError(f"flow and truth must be floating point tensors, got {shapes}")
    if flow.ndim != 4 or flow.shape[1] != 2 or flow.shape != truth.shape or 0 in flow.shape[2:]:
        raise ValueError(f"flow and truth must both be (B, 2, H, W), got {shapes}")
