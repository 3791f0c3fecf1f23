"""diagnose names the planted layer, is silent on clean models, and leaves no trace."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from equitutor import actions, groups, orbits
from equitutor.diagnose.found_actions import Moves, candidates, moves
from equitutor.diagnose.matching import best_roll, match
from equitutor.methods import polyphase
from equitutor.models.group_cnn import GroupCNN, SteerableCNN
from equitutor.orbits import diagnose, shifts, so3_haar

quick = settings(deadline=None, max_examples=15)
SIZE = 12


def images(n=3, c=1, size=SIZE, seed=0):
    return torch.rand(n, c, size, size, generator=torch.Generator().manual_seed(seed))


def points(n=3, k=6, seed=0):
    return torch.randn(n, k, 3, generator=torch.Generator().manual_seed(seed))


def quarter_turns():
    return orbits.finite(groups.cyclic(4), lambda x, i: torch.rot90(x, i, (-2, -1)))


def square_group():
    return orbits.finite(groups.dihedral(4), actions.transform_scalar)


def conv(a, b, **options):
    return nn.Conv2d(a, b, 3, padding=1, **{"padding_mode": "circular"} | options)


def cnn(**replaced):
    """Return a clean circular CNN; named layers can be replaced, added ones go after `act1`."""
    layers = {"conv1": conv(1, 6), "act1": nn.ReLU(), "extra": nn.Identity(), "conv2": conv(6, 8),
              "act2": nn.ReLU(), "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(),
              "head": nn.Linear(8, 4)} | replaced  # fmt: skip
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    return model.eval()


# e3nn --------------------------------------------------------------------------------------


class PointNet(nn.Module):
    """An SE(3)-invariant network of e3nn; `fault` plants a mistake into it."""

    def __init__(self, fault=None):
        super().__init__()
        from e3nn import o3
        from e3nn.nn import Gate

        self.sh = o3.Irreps("0e + 1o + 2e")
        self.harmonics = o3.SphericalHarmonics(self.sh, True, normalization="component")
        self.gate = Gate("8x0e", [torch.tanh], "8x0e", [torch.sigmoid], "4x1o + 4x2e")
        product = dict(shared_weights=False, internal_weights=False)
        self.lift = o3.Linear(self.sh, self.gate.irreps_in)
        hidden = self.gate.irreps_out
        self.mix = (
            nn.Linear(hidden.dim, hidden.dim) if fault == "mix" else o3.Linear(hidden, hidden)
        )
        self.relu = nn.ReLU() if fault == "relu" else nn.Identity()
        self.product = o3.FullyConnectedTensorProduct(hidden, self.sh, "8x0e + 4x1o", **product)
        self.radial = nn.Sequential(
            nn.Linear(1, 8), nn.SiLU(), nn.Linear(8, self.product.weight_numel)
        )
        self.head = o3.Linear("8x0e + 4x1o", "5x0e")

    def forward(self, x):  # (B, N, 3)
        edge = x[:, :, None] - x[:, None]  # (B, N, N, 3)
        far = edge.norm(dim=-1, keepdim=True)
        y = self.harmonics(edge)
        h = self.gate(self.lift(y * torch.exp(-far)).sum(2))  # (B, N, hidden)
        h = self.relu(self.mix(h))
        wide = h[:, None].expand(-1, x.shape[1], -1, -1)
        m = self.product(wide, y, self.radial(far)).sum(2)
        return self.head(m).sum(1)


# Clean models ------------------------------------------------------------------------------


class Residual(nn.Module):
    """Two branches, with a faulty one on demand."""

    def __init__(self, padding_mode="circular"):
        super().__init__()
        self.slow = conv(1, 4, padding_mode=padding_mode)
        self.short = nn.Conv2d(1, 4, 1)
        self.after = conv(4, 4)

    def forward(self, x):
        return self.after(self.slow(x) + self.short(x)).mean((2, 3))


class Anchored(nn.Module):
    """Max-pooling behind an anchor: data-dependent rolls, then tokens and a transposed layout."""

    def __init__(self):
        super().__init__()
        self.order, self.pool = polyphase.PolyOrder(2), nn.MaxPool2d(2)
        self.norm, self.mix = nn.LayerNorm(5), nn.Conv1d(5, 7, 1)
        self.project = nn.Conv2d(1, 5, 1)

    def forward(self, x):
        tokens = self.norm(self.pool(self.order(self.project(x))).flatten(2).mT)  # (B, N, 5)
        return self.mix(tokens.mT).amax(2)


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = conv(1, 4), conv(4, 1)

    def forward(self, x):
        return {"map": self.two(self.one(x).relu())}["map"]


class Spectral(nn.Module):
    """A layer on the waves of an image, as in Fourier neural operators; hidden features complex."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.randn(4, SIZE, SIZE // 2 + 1, 2))
        self.after = nn.Sequential(nn.GELU(), nn.Conv2d(4, 3, 1))

    def forward(self, x):
        waves = torch.fft.rfft2(x) * torch.view_as_complex(self.gain)
        return self.after(torch.fft.irfft2(waves, s=x.shape[-2:]))


class Squeeze(nn.Module):
    """Dilated and depthwise convolutions, norms, gates of channels, and a dict of two outputs."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=2, dilation=2, padding_mode="circular"),
            nn.GroupNorm(2, 8), nn.SiLU(),
        )  # fmt: skip
        self.deep = conv(8, 8, groups=8)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.norm = nn.InstanceNorm2d(8, affine=True)

    def forward(self, x):
        x = self.wide(x)
        x = self.norm(x + self.deep(x) * self.gate(x))
        return {"power": x.square().mean((2, 3)), "top": x.amax((2, 3))}


class Tokens(nn.Module):
    """A transformer encoder over patches, without positions; patches of one pixel by default."""

    def __init__(self, patch=1):
        super().__init__()
        self.lift = nn.Conv2d(1, 8, patch, patch)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x):
        return self.encoder(self.lift(x).flatten(2).mT).mean(1)


class Forces(nn.Module):
    """The forces of an energy of distances, by its own derivative, as force fields do."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(1, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, at):
        at.requires_grad_()
        far = (at[:, :, None] - at[:, None]).square().sum(-1, keepdim=True)
        return -torch.autograd.grad(self.energy(far).sum(), at)[0]


class VectorNeurons(nn.Module):
    """Channels of vectors, mixed by numbers and gated by their lengths."""

    def __init__(self):
        super().__init__()
        self.mix, self.out = nn.Linear(6, 5, bias=False), nn.Linear(5, 6, bias=False)

    def forward(self, p):
        v = self.mix((p - p.mean(1, keepdim=True)).mT)
        return self.out(v * v.norm(dim=1, keepdim=True).sigmoid()).mT


CLEAN = {
    "circular CNN": (cnn, images, lambda: shifts(SIZE, SIZE)),
    "residual": (Residual, images, lambda: shifts(SIZE, SIZE)),
    "anchored pooling": (Anchored, images, lambda: shifts(SIZE, SIZE)),
    "dense": (Dense, images, lambda: shifts(SIZE, SIZE, output="image")),
    "stride, shifts it can follow": (
        lambda: cnn(conv2=conv(6, 8, stride=2)), images, lambda: shifts(SIZE, SIZE, step=2)),
    "PolyViT": (lambda: polyphase.PolyViT(SIZE, dim=16), images, lambda: shifts(SIZE, SIZE)),
    "PolyViT, class token": (
        lambda: polyphase.PolyViT(SIZE, dim=16, pool="cls"), images, lambda: shifts(SIZE, SIZE)),
    "PolyTwins": (lambda: polyphase.PolyTwins(24, dims=(8, 8), heads=(1, 1), poly=True),
                  lambda: images(size=24), lambda: shifts(24, 24)),
    "C4 CNN": (lambda: GroupCNN(4, width=4), images, quarter_turns),
    "C8 CNN at quarter turns": (lambda: GroupCNN(8, width=4), images, quarter_turns),
    "steerable CNN": (
        lambda: SteerableCNN(irreps="4x0e + 2x1o + 1x2e"), images, quarter_turns),
    "e3nn": (PointNet, points, lambda: so3_haar(8)),
    "Fourier layer": (Spectral, images, lambda: shifts(SIZE, SIZE, output="image")),
    "norms, groups and gates": (Squeeze, images, lambda: shifts(SIZE, SIZE)),
    "finer by whole factors": (
        lambda: cnn(extra=nn.Upsample(scale_factor=2)), images, lambda: shifts(SIZE, SIZE)),
    "attention over pixels": (Tokens, images, lambda: shifts(SIZE, SIZE)),
    "attention over patches": (lambda: Tokens(4), images, lambda: shifts(SIZE, SIZE, step=4)),
    "moving points": (lambda: Graph(()), points, lambda: so3_haar(6, output="points")),
    "forces": (Forces, points, lambda: so3_haar(6, output="points")),
    "vector neurons": (VectorNeurons, points, lambda: so3_haar(6, output="points")),
}  # fmt: skip


@pytest.mark.parametrize("name", CLEAN)
def test_silent_on_clean_models(name):
    make, data, orbit = CLEAN[name]
    torch.manual_seed(0)
    found = diagnose(make().eval(), data(), orbit())
    assert found.verdict == "equivariant", str(found)
    assert found.layer is None and bool(found)
    assert found.error < 1e-6
    assert "no layer loses it" in str(found)


@pytest.mark.parametrize("name", ["circular CNN", "PolyViT", "C4 CNN", "e3nn"])
def test_silent_in_training_mode_and_with_changed_parameters(name):
    make, data, orbit = CLEAN[name]
    torch.manual_seed(0)
    assert diagnose(make().train(), data(), orbit(), perturb=0.1)


# Planted faults ----------------------------------------------------------------------------


class Positions(nn.Module):
    def __init__(self, c=6):
        super().__init__()
        self.code = nn.Parameter(torch.randn(1, c, SIZE, SIZE))

    def forward(self, x):
        return x + self.code


class AddsInItsOwnCode(nn.Module):
    """Adds a position code between two layers, in no layer at all."""

    def __init__(self):
        super().__init__()
        self.first, self.second = conv(1, 4), conv(4, 4)
        self.code = nn.Parameter(torch.randn(1, 4, SIZE, SIZE))

    def forward(self, x):
        return self.second(self.first(x).relu() + self.code).relu().mean((2, 3))


class EndsBadly(nn.Module):
    """Reads one pixel at the end, in its own code."""

    def __init__(self):
        super().__init__()
        self.first = conv(1, 4)

    def forward(self, x):
        return self.first(x)[:, :, 0, 0]


class Coordinates(nn.Module):
    def forward(self, x):
        row = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype).expand(len(x), 1, *x.shape[2:])
        return torch.cat([x, row], 1)


class WindowMean(nn.Module):
    """Subtracts from each pixel the mean of its window of 3 x 3 pixels."""

    def forward(self, x):
        return x - F.avg_pool2d(x, 3).repeat_interleave(3, 2).repeat_interleave(3, 3)


class PixelNorm(nn.LayerNorm):
    def __init__(self):
        super().__init__([SIZE, SIZE])
        nn.init.normal_(self.weight, 1.0, 0.3)


class Noise(nn.Module):
    def forward(self, x):
        return x + 0.01 * torch.randn_like(x)


def wrong_filters():
    """Return a C4 CNN whose second layer turns one of its filters by a quarter too much."""
    model = GroupCNN(4, width=4)
    turns = model.layers[1].turns
    turns[2] = turns[3]
    return model


def dropping():
    model = cnn(extra=nn.Dropout(0.5))
    model.extra.train()
    return model


torus = lambda: shifts(SIZE, SIZE)
FAULTS = {
    "zero padding": (lambda: cnn(conv2=conv(6, 8, padding_mode="zeros")), torus, "conv2"),
    "reflected padding": (lambda: cnn(conv2=conv(6, 8, padding_mode="reflect")), torus, "conv2"),
    "stride": (lambda: cnn(conv1=conv(1, 6, stride=2)), torus, "conv1"),
    "max-pool": (lambda: cnn(extra=nn.MaxPool2d(2)), torus, "extra"),
    "absolute positions": (lambda: cnn(extra=Positions()), torus, "extra"),
    "windows": (lambda: cnn(extra=WindowMean()), torus, "extra"),
    "per-pixel norm": (lambda: cnn(extra=PixelNorm()), torus, "extra"),
    "resize": (lambda: cnn(extra=nn.Upsample(scale_factor=1.5, mode="bilinear")), torus, "extra"),
    "coordinates": (lambda: cnn(extra=Coordinates(), conv2=conv(7, 8)), torus, "extra"),
    "flattened": (
        lambda: cnn(pool=nn.Identity(), head=nn.Linear(8 * SIZE**2, 4)), torus, "head"),
    "one branch of two": (lambda: Residual("zeros"), torus, "slow"),
    "plain ViT": (lambda: polyphase.PolyViT(SIZE, dim=16, poly=False), torus, "embed.project"),
    "ViT, positions": (
        lambda: polyphase.PolyViT(SIZE, dim=16, anchored=True, position="absolute"), torus,
        "position"),
    "ViT, zero padding": (
        lambda: polyphase.PolyViT(SIZE, dim=16, position="zeros"), torus, "position.conv"),
    "Twins, windows": (
        lambda: polyphase.PolyTwins(24, dims=(8, 8), heads=(1, 1), poly=False),
        lambda: shifts(24, 24, step=4), "stage1.blocks.0.attention"),
    "wrong turn of a filter": (wrong_filters, quarter_turns, "layers.1"),
    "plain CNN that turns": (cnn, quarter_turns, "conv1"),
    "stride and an even size": (lambda: cnn(conv1=nn.Conv2d(1, 6, 1, 2)), quarter_turns, "conv1"),
    "coordinates that turn": (
        lambda: cnn(conv1=nn.Conv2d(1, 6, 1), extra=Coordinates(), conv2=nn.Conv2d(7, 8, 1)),
        square_group, "extra"),
    "ReLU on vectors": (lambda: PointNet("relu"), lambda: so3_haar(6), "relu"),
    "mixed irreps": (lambda: PointNet("mix"), lambda: so3_haar(6), "mix"),
    "dropout": (dropping, torus, "extra"),
    "noise": (lambda: cnn(extra=Noise()), torus, "extra"),
    "in its own code": (AddsInItsOwnCode, torus, "(the model itself)"),
    "at its end": (EndsBadly, torus, "(the model itself)"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_names_the_planted_layer(name):
    make, orbit, layer = FAULTS[name]
    torch.manual_seed(1)
    model, orbit = make(), orbit()
    model = model if name == "dropout" else model.eval()
    x = points() if orbit.name.startswith("SO(3)") else images(size=24 if "Twins" in name else SIZE)
    found = diagnose(model, x, orbit)
    wanted = "not deterministic" if name in ("dropout", "noise") else "lost"
    assert (found.verdict, found.layer) == (wanted, layer), str(found)
    assert not found
    assert layer in found.where or layer == "(the model itself)"
    assert any(line.startswith("> ") for line in str(found).splitlines())
    assert wanted == "not deterministic" or found.error > 1e-4
    if wanted == "lost":  # what stands before the finding fits
        assert found.layers[found.at].verdict == "unknown"
        assert {r.verdict for r in found.layers[: found.at]} <= {"fits", "constant"}


EIGHT = ("zero padding", "stride", "max-pool", "absolute positions", "windows", "per-pixel norm",
         "coordinates", "resize")  # fmt: skip


@pytest.mark.parametrize("how", ["bfloat16", "autocast"])
@pytest.mark.parametrize("name", EIGHT)
def test_names_the_planted_layer_in_half_precision(name, how):
    make, orbit, layer = FAULTS[name]
    torch.manual_seed(1)
    dtype = torch.bfloat16 if how == "bfloat16" else torch.float32
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        found = diagnose(make().eval().to(dtype), images().to(dtype), orbit(), elements=6)
        assert (found.verdict, found.layer) == ("lost", layer), str(found)
        assert diagnose(cnn().to(dtype), images().to(dtype), orbit(), elements=6)


def test_reports_which_action_was_found():
    torch.manual_seed(0)
    name_of = lambda found: {r.name: r.action for r in found.layers if r.side == "out"}
    vit = name_of(diagnose(polyphase.PolyViT(SIZE, dim=16).eval(), images(), torus()))
    assert vit["embed.project"].startswith("rolls by whole cells")
    assert vit["blocks.0.attention.query"] == "a permutation of tokens"
    assert vit["head"] == "invariant"
    turning = name_of(diagnose(GroupCNN(4, width=4).eval(), images(), quarter_turns()))
    assert turning["layers.1"] == "moves like the image, channels permuted, stride 2"
    step = shifts(SIZE, SIZE, step=2)
    strided = name_of(diagnose(cnn(conv2=conv(6, 8, stride=2)), images(), step))
    assert strided["conv1"] == "moves like the image"
    assert strided["conv2"] == "moves like the image, stride 2"
    cloud = name_of(diagnose(PointNet().eval(), points(), so3_haar(4)))
    assert cloud["mix"].startswith("irreps ")
    assert cloud["radial.2"] == "invariant"


def test_a_weight_that_starts_at_one_hides_a_fault_until_it_is_moved():
    model = cnn(extra=nn.LayerNorm([SIZE, SIZE]))
    assert diagnose(model, images(), torus())
    found = diagnose(model, images(), torus(), perturb=0.1)
    assert found.layer == "extra"
    assert "entry for each pixel" in found.hint
    assert (model.extra.weight == 1).all()


def test_an_output_with_another_action_is_told_from_a_loss():
    found = diagnose(Dense(), images(), torus())
    assert found.verdict == "other action" and found.layer is None
    assert "moves like the image" in found.where


class Signed(nn.Module):
    """Swaps the sign with a shift by one pixel: an action that is not among the guesses."""

    def __init__(self):
        super().__init__()
        self.alternate, self.square = nn.Sequential(Alternating()), nn.Identity()

    def forward(self, x):
        return self.square(self.alternate(x)) ** 2


class Alternating(nn.Module):
    def forward(self, x):
        sign = torch.ones(x.shape[-1], dtype=x.dtype)
        sign[1::2] = -1
        return (x * sign).sum((2, 3))


def test_an_action_of_ones_own():
    columns = orbits.Orbit("columns", torch.arange(4.0)[:, None], lambda x, i: x.roll(i, 3))
    assert diagnose(Signed(), images(), columns)  # the output is in order
    flip = lambda y, i: y * (-1) ** i
    signed = orbits.Orbit("columns", columns.params, columns.act_x, flip, flip)
    model = nn.Sequential(Alternating(), nn.Hardtanh(-9, 9), nn.Linear(1, 1))
    assert diagnose(model, images(), signed).layer == "2"  # its bias has no sign
    names = {"0": flip, "1": flip}
    found = diagnose(model, images(), signed, actions=names)
    assert found.layer == "2"
    assert found.layers[2].action == "the action given for it"
    assert diagnose(model, images(), signed, actions=names | {"1": lambda y, i: y}).layer == "1"


class Square(nn.Module):
    def forward(self, x):
        return x**2


def test_an_action_given_for_a_layer_holds_for_what_it_hands_on():
    columns = orbits.Orbit("columns", torch.arange(4.0)[:, None], lambda x, i: x.roll(i, 3))
    model = nn.Sequential(Alternating(), nn.Linear(1, 1), Square())
    assert diagnose(model, images(), columns).layer == "0"  # its action is not among the guesses
    given = {"0": lambda y, i: y * (-1) ** i}
    assert diagnose(model, images(), columns, actions=given).layer == "1"
    model[1] = nn.Linear(1, 1, bias=False)
    assert diagnose(model, images(), columns)


# Behind the first loss, where points turn ------------------------------------------------------


class Moving(nn.Module):
    """A layer of a graph network after EGNN: features from distances, positions along edges."""

    def __init__(self, fault):
        super().__init__()
        self.message = nn.Sequential(nn.Linear(5, 8), nn.SiLU(), nn.Linear(8, 4))
        self.along = nn.Linear(4, 1)
        self.turn = nn.Linear(3, 3, bias=False) if fault else nn.Identity()

    def forward(self, h, at):
        to = at[:, :, None] - at[:, None]  # (B, N, N, 3)
        wide = h[:, None].expand(-1, at.shape[1], -1, -1)
        message = self.message(torch.cat([wide, to.square().sum(-1, keepdim=True)], -1)).tanh()
        return h + message.sum(2), self.turn(at + (to * self.along(message)).mean(2))


class Graph(nn.Module):
    def __init__(self, faults, output="points"):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(Moving(k in faults) for k in range(3))
        self.output = output

    def forward(self, at):
        h = torch.ones(*at.shape[:2], 4, dtype=at.dtype)
        for layer in self.layers:
            h, at = layer(h, at)
        return at if self.output == "points" else h.sum(1)


class Coordinates3(nn.Module):
    """A point network of distances; `absolute` adds what one layer makes of coordinates."""

    def __init__(self, absolute=True):
        super().__init__()
        torch.manual_seed(0)
        self.near = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 6))
        self.absolute = nn.Linear(3, 6) if absolute else None
        self.head = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4))

    def forward(self, p):
        h = self.near((p[:, :, None] - p[:, None]).norm(dim=-1, keepdim=True)).mean(2)
        h = h if self.absolute is None else h + self.absolute(p)
        return self.head(h.relu().amax(1))


def irreps_net(*acts):
    net = PointNet()
    net.mix, net.relu = nn.Sequential(acts[0], net.mix), acts[1]
    return net


WIDE = 8 + 4 * 3 + 4 * 5
BEHIND = {
    "no fault": (lambda: Graph(()), "points", {}),
    "one": (lambda: Graph((1,)), "points", {"layers.1.turn": "mixes"}),
    "two": (lambda: Graph((0, 2)), "points", {"layers.0.turn": "mixes", "layers.2.turn": "mixes"}),
    "three, invariant": (
        lambda: Graph((0, 1, 2), "kinds"), "invariant",
        {"layers.0.turn": "mixes", "layers.1.turn": "mixes"}),  # nobody looks at the last one
    "absolute coordinates": (Coordinates3, "invariant", {"absolute": "mixes"}),
    "relative coordinates": (lambda: Coordinates3(False), "invariant", {}),
    "irreps": (
        lambda: irreps_net(nn.Tanh(), nn.LayerNorm(WIDE)), "invariant",
        {"mix.0": "acts on each component", "relu": "normalizes each component"}),
}  # fmt: skip


@pytest.mark.parametrize("name", BEHIND)
def test_faults_behind_the_first_one_are_found_where_points_turn(name):
    make, output, faults = BEHIND[name]
    net, orbit = make().eval(), so3_haar(6, output=output)
    layers = [*net.modules()]
    found = diagnose(net, points(), orbit, repairs=True)
    assert bool(found) == (not faults)
    assert {s.layer for s in found.suspects} == set(faults)
    for suspect in found.suspects:
        assert suspect.cause.startswith(faults[suspect.layer]) and suspect.remedy
        assert suspect.error > 1e-3
    gains = [s.gain for s in found.suspects]
    assert gains == sorted(gains, reverse=True) and all(gain <= 1 for gain in gains)
    assert all(a is b for a, b in zip(layers, net.modules(), strict=True))
    if len(faults) == 1:
        assert gains == [pytest.approx(1.0)]
    if len(faults) > 1:  # where the others are mended, the repair of the last one is all of it
        first, *others = faults
        for other in others:
            parent, key = net.get_submodule(other.rpartition(".")[0]), other.rpartition(".")[2]
            setattr(parent, key, nn.Identity())
        found = diagnose(net, points(), orbit, repairs=True)
        assert [(s.layer, s.gain) for s in found.suspects] == [(first, pytest.approx(1.0))]


class Absolute(nn.Module):
    """Positions that are moved along edges; a fault measures them from the origin."""

    def __init__(self, fault):
        super().__init__()
        self.scale, self.pull = nn.Linear(1, 1), nn.Identity()
        self.bound = nn.Tanh() if fault else nn.Identity()

    def forward(self, at):
        to = at[:, :, None] - at[:, None]
        at = at + self.scale(to.norm(dim=-1, keepdim=True)).tanh().mul(to).mean(2)
        return self.pull(self.bound(at))


def test_faults_are_found_where_points_are_shifted_or_change_places():
    steps = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    shift = lambda p, i: p + steps[i].to(p)
    shifted = orbits.Orbit("shifts", steps, shift, shift, lambda p, i: p - steps[i].to(p),
                           identity=None, inv_x=lambda p, i: p - steps[i].to(p))  # fmt: skip
    swap = lambda p, i: p.roll(i, 1)
    back = lambda p, i: p.roll(-i, 1)
    swapped = orbits.Orbit("places", torch.arange(4.0)[:, None], swap, swap, back, inv_x=back)
    for orbit in (shifted, swapped):
        assert diagnose(Absolute(False), points(), orbit)
    found = diagnose(Absolute(True), points(), shifted, repairs=True)
    assert [(s.layer, s.gain) for s in found.suspects] == [("bound", pytest.approx(1.0))]
    assert diagnose(Absolute(True), points(), swapped)  # each point by itself: in order


# No trace is left --------------------------------------------------------------------------


class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.norm, self.count = conv(1, 4), nn.BatchNorm2d(4), 0

    def forward(self, x):
        torch.rand(3), np.random.rand(3), random.random()
        self.count += 1
        if self.count > 4:
            raise RuntimeError("planned")
        return self.norm(self.body(x)).mean((2, 3))


@pytest.mark.parametrize("fail", [False, True])
def test_the_model_and_the_process_are_left_as_they_were(fail):
    model = Fails() if fail else nn.Sequential(conv(1, 4), nn.BatchNorm2d(4), nn.Dropout(0.5))
    model.train()
    model.requires_grad_(True)
    next(model.children()).eval()
    state = {k: (v.clone(), v.data_ptr()) for k, v in model.state_dict().items()}
    flags = [m.training for m in model.modules()]
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    if fail:
        with pytest.raises(RuntimeError, match="planned"):
            diagnose(model, images(), torus(), perturb=0.1)
    else:
        assert diagnose(model, images(), torus(), perturb=0.1).layer == "2"
    for k, v in model.state_dict().items():
        assert v.dtype == state[k][0].dtype
        assert torch.equal(v, state[k][0])
        assert v.data_ptr() == state[k][1]  # an optimizer still holds the same memory
    assert [m.training for m in model.modules()] == flags
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]
    assert torch.get_default_dtype() == torch.float32
    assert all(p.requires_grad for p in model.parameters())
    assert torch.is_grad_enabled()


def test_layers_that_write_in_place_do_no_harm():
    assert diagnose(cnn(act1=nn.ReLU(inplace=True), act2=nn.ReLU(inplace=True)), images(), torus())


def test_a_model_may_write_into_its_input():
    x = images()
    before = x.clone()
    assert diagnose(cnn(conv1=nn.Sequential(nn.Hardtanh(0.2, 0.6, inplace=True), conv(1, 6))), x,
                    torus())  # fmt: skip
    assert torch.equal(x, before)


class Both(nn.Module):
    """Takes a pair of images, and returns a tuple."""

    def __init__(self, padding_mode="circular"):
        super().__init__()
        self.one, self.two = conv(1, 3), conv(1, 3, padding_mode=padding_mode)

    def forward(self, pair):
        y = self.one(pair[0]).relu() * self.two(pair[1])
        return y.mean((2, 3)), y.amax((2, 3))


def test_inputs_and_outputs_may_be_tuples():
    pair = images(), images(seed=1)
    act = lambda x, i: tuple(part.roll((i, 2 * i), (2, 3)) for part in x)
    orbit = orbits.Orbit("both", torch.arange(SIZE)[:, None], act)
    assert diagnose(Both(), pair, orbit)
    assert diagnose(Both("zeros"), pair, orbit).layer == "two"


def test_the_pixels_of_vector_fields_are_followed():
    flow = torch.randn(2, 2, 6, 6)
    turn = lambda u, i: actions.transform_flow(u, i)
    found = moves(flow, orbits.finite(groups.dihedral(4), turn), list(range(8)))
    assert found.turns == tuple(range(8))


class OnlyFloat(nn.Module):
    def __init__(self, padding_mode):
        super().__init__()
        self.conv = conv(1, 4, padding_mode=padding_mode)

    def forward(self, x):
        return self.conv(x.float()).mean((2, 3)) @ torch.ones(4, 2, dtype=torch.float32)


class Place(nn.Module):
    """Where the brightest pixel is: it moves with the image, so it is no invariant."""

    def forward(self, x):
        return x.flatten(1).argmax(1)


class Infinite(nn.Module):
    """Masks what is dark by minus infinity, and stays invariant; `broken` makes NaN of it."""

    def __init__(self, broken):
        super().__init__()
        self.mask, self.broken = nn.Identity(), broken

    def forward(self, x):
        masked = self.mask(x.masked_fill(x < x.mean((1, 2, 3), keepdim=True), -torch.inf))
        return masked.flatten(1).sum(1) * 0 if self.broken else masked.flatten(1).softmax(1).amax(1)


def test_infinity_and_nan_are_not_taken_for_noise():
    found = diagnose(Infinite(broken=False), images(), torus())
    assert found, str(found)
    assert diagnose(Infinite(broken=True), images(), torus()).verdict == "lost"
    noisy = nn.Sequential(nn.Dropout(0.5), nn.Flatten())  # the twin: this is noise
    assert diagnose(noisy, images(), torus()).verdict == "not deterministic"


def test_a_model_that_insists_on_float32_is_checked_in_it():
    found = diagnose(OnlyFloat("circular"), images(), torus())
    assert found and "its own precision" in found.settings
    assert diagnose(OnlyFloat("zeros"), images(), torus()).layer == "conv"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (dict(model=lambda x: x), "model must be a torch module with layers, got function"),
        (dict(orbit=3), "orbit must be an Orbit, got int"),
        (dict(orbit=orbits.so2(8)), "orbit must move whole pixels"),
        (dict(elements=1), "elements must be an int >= 2, got 1"),
        (dict(samples=0), "samples must be an int >= 1, got 0"),
        (dict(tolerance=float("nan")), "tolerance must be a finite number >= 0, got nan"),
        (dict(tolerance=float("inf")), "tolerance must be a finite number >= 0, got inf"),
        (dict(tolerance=True), "tolerance must be a finite number >= 0, got True"),
        (dict(tolerance="small"), "tolerance must be a finite number >= 0, got 'small'"),
        (dict(perturb=-1), "perturb must be a finite number >= 0, got -1"),
        (dict(perturb=float("inf")), "perturb must be a finite number >= 0, got inf"),
        (dict(actions=["0"]), "actions must be a dict or None, got list"),
        (dict(actions={"pool": 3}), r"actions must give 'pool' a function \(feature, i\), got 3"),
        (dict(x=torch.rand(0, 1, 8, 8)), "x must hold at least one sample"),
        (dict(x=[1, 2]), "x must hold a tensor, got list"),
        (dict(x=torch.full((2, 1, 8, 8), float("nan"))), "x must hold finite numbers"),
        (dict(x=torch.ones(2, 1, SIZE, SIZE)), "x must change along the orbit"),
        (dict(x=torch.rand(2, 1, 1, 1), orbit=shifts(1, 1)), "orbit must hold more than the ident"),
        (dict(model=Place()), "model must return a floating point tensor"),
        (dict(actions={"nobody": None}), "names the layer 'nobody'"),
    ],
)
def test_bad_input_is_refused_in_words(change, text):
    arguments = dict(model=cnn(), x=images(), orbit=torus()) | change
    with pytest.raises(ValueError, match=text):
        diagnose(**arguments)


# The guesses -------------------------------------------------------------------------------


@quick
@given(st.integers(0, 7), st.integers(0, 5), st.integers(0, 5), st.sampled_from([1, 2, 3]))
def test_turns_and_rolls_of_pixels_are_recognized(turn, down, right, channels):
    act = lambda x, i: actions.transform_scalar(x, turn).roll((down, right), (2, 3))
    orbit = orbits.Orbit("both", torch.zeros(1, 1), act, identity=None)
    x = images(2, channels, 6)
    found = moves(x, orbit, [0])
    again = actions.transform_scalar(x, found.turns[0]).roll(found.rolls[0], (2, 3))
    assert torch.equal(again, act(x, 0))


@quick
@given(st.integers(2, 30), st.integers(1, 6), st.integers(0, 1000))
def test_permuted_rows_are_matched_and_changed_ones_are_not(n, d, seed):
    draw = torch.Generator().manual_seed(seed)
    a = torch.randn(n, d, generator=draw, dtype=torch.float64)
    b = a[torch.randperm(n, generator=draw)]
    assert match(a, b).abs().max() == 0
    b[0] += 1e-3
    assert match(a, b).abs().max() > 1e-5


def test_many_rows_and_equal_rows_are_matched():
    a = torch.randn(600, 2, dtype=torch.float64).round(decimals=1)
    assert match(a, a[torch.randperm(600)]).abs().max() == 0
    same = torch.ones(5, 2)
    assert match(same, same).abs().max() == 0
    assert match(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [0.0]])).abs().max() == 1


@quick
@given(st.integers(1, 3), st.integers(2, 5), st.integers(2, 5), st.integers(0, 99))
def test_the_best_roll_is_found_for_each_sample(c, h, w, seed):
    draw = torch.Generator().manual_seed(seed)
    a = torch.randn(3, c, h, w, generator=draw, dtype=torch.float64)
    steps = [(0, 0), (1, 1), (h - 1, 0)]
    b = torch.stack([t.roll(s, (1, 2)) for t, s in zip(a, steps, strict=True)])
    assert torch.equal(best_roll(a, b), b)


def test_vectors_and_matrices_are_recognized():
    orbit = so3_haar(3)
    found = moves(points().double(), orbit, [0, 1, 2])
    assert found.kind == "points"
    p = points().double()
    turned = lambda a: a @ found.matrices[1].T
    outer = lambda a: a.mT @ a
    features = {
        "vectors turn along": (p, turned(p)),
        "vectors (next to last axis) turn along": (p.mT, turned(p).mT),
        "stacked vectors turn along": (p.view(3, 2, 9), turned(p).reshape(3, 2, 9)),
        "matrices R M R^T": (outer(p), outer(turned(p))),
        "invariant": (p.norm(dim=-1), turned(p).norm(dim=-1)),
    }
    for name, (a, b) in features.items():
        fitting = []
        for candidate in candidates(found, orbit, 3, []):
            left = candidate.error(a, b, 1)
            if left is not None and left.abs().max() < 1e-9:
                fitting.append(candidate.name)
        assert fitting == [name]


class Frames(nn.Module):
    """Vectors out of a graph: positions and velocities of atoms that have kinds and neighbors."""

    def __init__(self, d, fault=False):
        super().__init__()
        self.kinds, self.gate = nn.Linear(3, 4), nn.Linear(4, 1)
        self.spread = nn.Linear(1, 4, bias=False)
        self.mix = nn.Linear(d, d, bias=False) if fault else nn.Identity()

    def forward(self, graph):
        at, v = graph["at"], graph["v"]
        to = at[:, :, None] - at[:, None]  # (B, N, N, d)
        near = graph["near"] * torch.exp(-to.square().sum(-1))
        pull = self.mix((near[..., None] * to).sum(2) + v)  # (B, N, d)
        h = self.gate(self.kinds(graph["kinds"]).relu()) * pull
        return self.spread(h[..., None]).sum(-1).mean(1)  # (B, d)


@pytest.mark.parametrize("d", [2, 3])
def test_graphs_and_vectors_turn_in_any_container(d):
    draw = torch.Generator().manual_seed(0)
    some = lambda *shape: torch.randn(3, 6, *shape, generator=draw)
    graph = {"kinds": some(3), "at": some(d), "v": some(d), "near": some(6).gt(0).float()}
    angle = torch.tensor(0.7)
    if d == 2:
        c, s = angle.cos(), angle.sin()
        R = torch.stack([torch.eye(2), torch.tensor([[c, -s], [s, c]]), -torch.eye(2)])
    else:
        R = so3_haar(3).extra["matrices"]
    turn = lambda v, i: v @ R[i].to(v).T
    both = lambda g, i: g | {"at": turn(g["at"], i), "v": turn(g["v"], i)}
    orbit = orbits.Orbit("turns", torch.zeros(3, 1), both, turn, lambda v, i: v @ R[i].to(v),
                         identity=None)  # fmt: skip
    torch.manual_seed(0)
    found = diagnose(Frames(d), graph, orbit)
    assert found, str(found)
    names = {r.name: r.action for r in found.layers if r.side == "out"}
    assert names["mix"] == "vectors turn along" and names["kinds"] == "invariant"
    assert diagnose(Frames(d, fault=True), graph, orbit).layer == "mix"


def test_other_data_has_no_known_moves():
    assert moves([1, 2], None, [0]) == Moves("other")
    paths = torch.rand(2, 5, 2)
    turn = orbits.Orbit("flip", torch.zeros(2, 1), lambda x, i: -x if i else x)
    model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.Tanh(), nn.Linear(4, 1, bias=False))
    odd = orbits.Orbit("flip", torch.zeros(2, 1), turn.act_x, turn.act_x, turn.act_x)
    assert diagnose(model, paths, odd)
    model[0] = nn.Linear(2, 4)
    assert diagnose(model, paths, odd).verdict == "lost"
