"""Networks for images that turn: group convolutions over C_n, and steerable features with e3nn.

`GroupCNN(n)` shares every filter over n orientations; with n = 1 it is the plain CNN of the same
size. `SteerableCNN` carries scalars, vectors and tensors instead of copies.

Source: group convolutions (Cohen and Welling 2016); steerable features of the plane (Weiler and
Cesa 2019), here as the planar case of tensor field networks (Thomas et al. 2018).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equitutor import actions
from equitutor.checks import check_count, check_input


def turns(n: int, size: int) -> Tensor:
    """Returns matrices (n, size², size²) that turn a filter by multiples of 360/n degrees.

    Right angles permute the entries exactly. Angles between them sample the filter anew, inside
    its inscribed disk only, so that no corner is cut off at one angle and not at another.

    Args:
        n: number of orientations: 1, 2 or a multiple of 4.
        size: side of the filter in pixels, odd.

    >>> quarter = turns(4, 3)[1] @ torch.arange(9.0)
    >>> torch.equal(quarter.view(3, 3), torch.rot90(torch.arange(9.0).view(3, 3)))
    True
    """
    check_count("n", n, 1)
    check_count("size", size, 1)
    if n > 2 and n % 4:
        raise ValueError(f"n must be 1, 2 or a multiple of 4, got {n}")
    if size % 2 == 0:
        raise ValueError(f"size must be odd, so that a filter has a center, got {size}")
    basis = torch.eye(size * size).view(-1, 1, size, size)  # one filter for each entry
    if n > 4:
        basis = basis * inside_disk(size)
    every = max(1, n // 4) if n >= 4 else 1  # orientations from one right angle to the next
    right = {1: 0, 2: 2}.get(n, 1)  # quarter turns from one such orientation to the next
    turned = []
    for j in range(n):
        angle = 360 / n * (j % every)
        between = actions.rotate_images(basis, angle, "bicubic") if angle else basis
        turned.append(torch.rot90(between, right * (j // every), (-2, -1)))
    if n > 4:
        turned = [t * inside_disk(size) for t in turned]
    return torch.stack(turned).flatten(2).transpose(1, 2)  # (n, to, from)


def inside_disk(size: int) -> Tensor:
    """Returns 1.0 where a pixel's center lies in the inscribed disk of a filter, (size, size).

    >>> inside_disk(3).sum().item(), inside_disk(5).sum().item()
    (9.0, 21.0)
    """
    r = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    radius = max(size / 2, math.sqrt(2) * (size == 3))  # the corners of 3 x 3 carry too much
    return (r[:, None] ** 2 + r**2 <= radius**2 + 1e-9).float()


class GroupConv(nn.Module):
    """Convolution over the plane and over n orientations, (B, C, m, H, W) -> (B, D, n, H, W).

    Output orientation j sees the input with the filter turned by j steps, and the orientations of
    the input counted from j on: it is the same detector, turned. From images (m = 1), it lifts.

    Args:
        n: orientations of the output: 1, 2 or a multiple of 4.
        channels_in, channels_out: fields C and D.
        size: side of the filter, odd; the image keeps its size.
        lifting: whether the input is an image without orientations, m = 1.

    Raises ValueError where an argument or the input's shape does not fit.

    >>> conv = GroupConv(4, 1, 2, lifting=True)
    >>> conv(torch.rand(3, 1, 1, 8, 8)).shape
    torch.Size([3, 2, 4, 8, 8])
    """

    def __init__(self, n: int, channels_in: int, channels_out: int, size: int = 3, lifting=False):
        super().__init__()
        check_count("channels_in", channels_in, 1)
        check_count("channels_out", channels_out, 1)
        self.register_buffer("turns", turns(n, size), persistent=False)
        self.n, self.size, self.lifting = n, size, lifting
        depth = 1 if lifting else n
        bound = 1 / math.sqrt(channels_in * depth * size * size)
        self.weight = nn.Parameter(
            torch.empty(channels_out, channels_in, depth, size * size).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.empty(channels_out).uniform_(-bound, bound))

    def filters(self) -> Tensor:
        """Returns the filters of all orientations as those of a plain convolution."""
        turned = torch.einsum("jqp,dcip->djciq", self.turns, self.weight)  # (D, n, C, m, size²)
        if not self.lifting:
            turned = torch.stack([turned[:, j].roll(j, 2) for j in range(self.n)], 1)
        return turned.flatten(2, 3).flatten(0, 1).unflatten(-1, (self.size, self.size))

    def forward(self, x: Tensor) -> Tensor:
        depth = 1 if self.lifting else self.n
        wanted = f"(B, {self.weight.shape[1]}, {depth}, H, W)"
        fits = getattr(x, "shape", ())[1:3] == (self.weight.shape[1], depth) and x.ndim == 5
        check_input("x", x, wanted, fits, self.weight)
        bias = self.bias.repeat_interleave(self.n)  # one for all orientations of a field
        y = F.conv2d(x.flatten(1, 2), self.filters(), bias, padding=self.size // 2)
        return y.unflatten(1, (-1, self.n))

    def extra_repr(self) -> str:
        d, c = self.weight.shape[:2]
        return f"{c} -> {d} fields of {self.n} orientations, size {self.size}"


class GroupCNN(nn.Module):
    """Classifier of gray images over C_n, invariant under turns by 360/n degrees.

    Exactly so at right angles, on square images whose side is a multiple of 4; at the angles
    between them as well as resampling allows. `GroupCNN(1)` is the plain CNN. All have about the
    same number of parameters: n times the orientations, 1/n of the pairs of fields.

    Args:
        n: 1, 2 or a multiple of 4.
        classes: number of logits.
        width: fields of the first layer at n = 1; further layers have 2 and 3 times as many.
        size: side of the filters, odd.

    Inputs are images (B, 1, H, W); returns logits (B, classes).

    >>> GroupCNN(4)(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self, n: int = 1, classes: int = 10, width: int = 16, size: int = 5):
        super().__init__()
        check_count("classes", classes, 2)
        check_count("width", width, 1)
        check_count("n", n, 1)
        fields = [max(1, round(k * width / math.sqrt(n))) for k in (1, 2, 3)]
        self.layers = nn.ModuleList(
            GroupConv(n, c, d, size, lifting=k == 0)
            for k, (c, d) in enumerate(zip([1, *fields], fields, strict=False))
        )
        self.norms = nn.ModuleList(nn.BatchNorm3d(d) for d in fields)  # over orientations, too
        self.head = nn.Linear(fields[-1], classes)

    def features(self, x: Tensor) -> Tensor:
        """Returns the last map, (B, D, n, H / 4, W / 4), which turns and shifts with the image."""
        _check_images(x, 4, self.head.weight)
        y = x[:, :, None]  # (B, 1, 1, H, W)
        for k, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            y = norm(layer(y)).relu()
            if k < 2:
                y = F.avg_pool3d(y, (1, 2, 2))  # (B, D, n, H / 2, W / 2)
        return y

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).amax(2).mean((2, 3)))  # orientation, then place


class CNN(GroupCNN):
    """The plain CNN: `GroupCNN` with one orientation.

    >>> CNN()(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self, classes: int = 10, width: int = 16, size: int = 5):
        super().__init__(1, classes, width, size)


class SteerableCNN(nn.Module):
    """Classifier of gray images whose features are scalars, vectors and tensors, with e3nn.

    A filter is spherical harmonics of the offset times a learned function of its length, so it
    has no preferred direction. The image lies in a plane of space; features are irreps of O(3),
    of which turns of the plane leave the components m = 0 unchanged: these are read out at the
    end. Exact at right angles up to rounding, at all others as well as the pixel grid allows.

    Args:
        classes: number of logits.
        irreps: features of the hidden layers, scalars first.
        size: side of the filters, odd. radii: functions of the length.

    Inputs are images (B, 1, H, W); returns logits (B, classes).

    >>> SteerableCNN()(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self, classes: int = 10, irreps: str = "12x0e + 6x1o + 3x1e + 4x2e",
                 size: int = 5, radii: int = 3):  # fmt: skip
        super().__init__()
        from e3nn import o3
        from e3nn.nn import Gate

        check_count("classes", classes, 2)
        irreps = o3.Irreps(irreps)
        scalars = o3.Irreps([(m, ir) for m, ir in irreps if ir.l == 0])
        others = o3.Irreps([(m, ir) for m, ir in irreps if ir.l > 0])
        gates = o3.Irreps([(others.num_irreps, "0e")])
        self.gate = Gate(scalars, [torch.nn.functional.silu] * len(scalars),
                         gates, [torch.sigmoid], others)  # fmt: skip
        hidden, to_gate = self.gate.irreps_out, self.gate.irreps_in
        self.layers = nn.ModuleList(
            SteerableConv(i, to_gate, size, radii) for i in (o3.Irreps("1x0e"), hidden, hidden)
        )
        axis, start = [], 0
        for m, ir in hidden:  # e3nn's polar axis is y, and m = 0 is the middle component
            axis += [start + k * ir.dim + ir.l for k in range(m)]
            start += m * ir.dim
        self.register_buffer("axis", torch.tensor(axis), persistent=False)
        self.norm = nn.BatchNorm1d(len(axis))
        self.head = nn.Sequential(nn.Linear(len(axis), 48), nn.ReLU(), nn.Linear(48, classes))

    def forward(self, x: Tensor) -> Tensor:
        _check_images(x, 4, self.head[0].weight)
        y = x
        for k, layer in enumerate(self.layers):
            y = self.gate(layer(y).movedim(1, -1)).movedim(-1, 1)  # irreps stand last in e3nn
            if k < 2:
                y = F.avg_pool2d(y, 2)
        return self.head(self.norm(y[:, self.axis].mean((2, 3))))


class SteerableConv(nn.Module):
    """Planar convolution between irreps of O(3), (B, in, H, W) -> (B, out, H, W).

    Args:
        irreps_in, irreps_out: e3nn irreps of the channels.
        size: side of the filter, odd; only its inscribed disk is used.
        radii: number of radial functions, Gaussians from the center to the rim.

    >>> SteerableConv("1x0e", "2x0e + 1x1o")(torch.rand(1, 1, 8, 8)).shape
    torch.Size([1, 5, 8, 8])
    """

    def __init__(self, irreps_in, irreps_out, size: int = 5, radii: int = 3):
        super().__init__()
        from e3nn import o3

        check_count("size", size, 3)
        check_count("radii", radii, 1)
        if size % 2 == 0:
            raise ValueError(f"size must be odd, so that a filter has a center, got {size}")
        r = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
        down, right = torch.meshgrid(r, r, indexing="ij")
        # Turns of the plane are turns about y. Seen from +y, z to x is counter-clockwise.
        offset = torch.stack([-down, torch.zeros_like(r).expand(size, size), right], -1).flatten(
            0, 1
        )
        length = offset.norm(dim=1)
        harmonics = o3.Irreps("0e + 1o + 2e")
        y = o3.spherical_harmonics(harmonics, offset, normalize=True, normalization="component")
        centers = torch.linspace(0, size // 2, radii, dtype=torch.float64)
        radial = torch.exp(-((length[:, None] - centers) ** 2) * 2)  # (size², radii)
        radial = radial * inside_disk(size).flatten()[:, None]
        self.product = o3.FullyConnectedTensorProduct(
            irreps_in, harmonics, irreps_out, shared_weights=False, internal_weights=False
        )
        self.register_buffer("harmonics", y.float(), persistent=False)
        self.register_buffer("radial", radial.float(), persistent=False)
        # e3nn expects weights of unit size; stored ten times smaller, they learn at the usual rate.
        self.weight = nn.Parameter(torch.randn(radii, self.product.weight_numel) / 10)
        self.scale = 10 / math.sqrt(radial.square().sum().item())
        self.size = size

    def filters(self) -> Tensor:
        """Returns the filters as those of a plain convolution, (out, in, size, size)."""
        width = self.product.irreps_in1.dim
        unit = torch.eye(width).to(self.weight).repeat(len(self.radial), 1)
        weight = (self.radial @ self.weight * self.scale).repeat_interleave(width, 0)
        out = self.product(unit, self.harmonics.repeat_interleave(width, 0), weight)
        return out.view(self.size, self.size, width, -1).permute(3, 2, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        width = self.product.irreps_in1.dim
        fits = getattr(x, "shape", ())[1:2] == (width,) and x.ndim == 4
        check_input("x", x, f"(B, {width}, H, W)", fits, self.weight)
        return F.conv2d(x, self.filters(), padding=self.size // 2)


def _check_images(x: Tensor, multiple: int, weight: Tensor) -> None:
    wanted = f"gray images (B, 1, H, W) with sides that are multiples of {multiple}"
    shape = getattr(x, "shape", ())
    fits = len(shape) == 4 and shape[1] == 1 and not (shape[2] % multiple or shape[3] % multiple)
    check_input("x", x, wanted, fits, weight)
