"""Networks for images that turn: exact at right angles, and twins that are broken."""

import pytest
import torch
from torch.nn import functional as F

from equitutor.models.group_cnn import CNN, GroupCNN, GroupConv, SteerableCNN, SteerableConv, turns


class NoRoll(GroupConv):
    """Turns its filters, but forgets that the orientations of the input turn along."""

    def filters(self):
        turned = torch.einsum("jqp,dcip->djciq", self.turns, self.weight)
        return turned.flatten(2, 3).flatten(0, 1).unflatten(-1, (self.size, self.size))


class WrongRoll(GroupConv):
    """Rolls the orientations the wrong way."""

    def filters(self):
        turned = torch.einsum("jqp,dcip->djciq", self.turns, self.weight)
        turned = torch.stack([turned[:, j].roll(-j, 2) for j in range(self.n)], 1)
        return turned.flatten(2, 3).flatten(0, 1).unflatten(-1, (self.size, self.size))


class Lopsided(SteerableConv):
    """Its radial functions depend on the direction, too: they are not radial."""

    def __init__(self, *args):
        super().__init__(*args)
        self.radial = self.radial * torch.linspace(0, 1, len(self.radial))[:, None]


def conv_error(kind, n=4):
    torch.manual_seed(0)
    conv = kind(n, 2, 3).double()
    x = torch.randn(2, 2, n, 9, 9, dtype=torch.float64)
    moved = torch.rot90(x, 1, (-2, -1)).roll(n // 4, 2)
    expected = torch.rot90(conv(x), 1, (-2, -1)).roll(n // 4, 2)
    return (conv(moved) - expected).abs().max().item()


def spread(net, size=28):
    """Returns the largest change of a logit under right angles."""
    net = net.eval()
    x = torch.rand(2, 1, size, size, dtype=next(net.parameters()).dtype)
    with torch.no_grad():
        turned = [net(torch.rot90(x, k, (-2, -1))) for k in (1, 2, 3)]
        return max((y - net(x)).abs().max().item() for y in turned)


def shapes(count):
    """Returns images with large structures, so that the mean over places keeps a signal."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 1, 4, 4, generator=generator)
    return F.interpolate(coarse, size=28, mode="bilinear")


def fitted(make):
    """Returns an untrained network whose batch norms have seen images: its signals are of size 1.

    With the initial statistics they shrink from layer to layer, and the broken twin's changes
    come close to rounding.
    """
    torch.manual_seed(0)
    net = make().train()
    for norm in net.norms:
        norm.momentum = None  # the mean over what it sees
    with torch.no_grad():
        net(shapes(32))
    return net.eval()


@pytest.mark.parametrize("n", [4, 8])
def test_group_conv_is_exact_at_right_angles(n):
    assert conv_error(GroupConv, n) < 1e-12


@pytest.mark.parametrize("n", [4, 8])
@pytest.mark.parametrize("twin", [NoRoll, WrongRoll])
def test_broken_twins_fail(twin, n):
    assert conv_error(twin, n) > 1e-3


@pytest.mark.parametrize("make", [lambda: GroupCNN(4), lambda: GroupCNN(8), SteerableCNN])
def test_logits_stay_at_right_angles_before_and_after_training(make):
    torch.manual_seed(0)
    net = make().double()
    assert spread(net) < 1e-12
    optimizer = torch.optim.Adam(net.train().parameters(), 1e-2)
    x, y = torch.rand(8, 1, 28, 28).double(), torch.arange(8)
    before = net.head.state_dict()
    before = {k: v.clone() for k, v in before.items()}
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert any(not torch.equal(v, before[k]) for k, v in net.head.state_dict().items())
    assert spread(net) < 1e-12


@pytest.mark.parametrize(
    ("make", "low", "high"),
    [(CNN, 0.05, torch.inf), (lambda: GroupCNN(4), 0, 1e-12), (lambda: GroupCNN(8), 0, 1e-12)],
)
def test_logits_of_the_plain_cnn_change_and_those_of_its_exact_kin_do_not(make, low, high):
    net, images = fitted(make).double(), shapes(8).double()
    with torch.no_grad():
        logits = net(images)
        change = max(
            (net(torch.rot90(images, k, (-2, -1))) - logits).abs().max().item() for k in (1, 2, 3)
        )
    assert logits.std(0).max() > 0.01  # a net that says the same of all images would show nothing
    assert low <= change <= high


def test_odd_remainder_of_pooling_breaks_it():
    x = torch.rand(1, 1, 7, 7).double()
    pool = lambda x: F.avg_pool2d(x, 2).mean()  # the last row and column are dropped
    assert abs(pool(x) - pool(torch.rot90(x, 1, (-2, -1)))) > 1e-4
    for net in (GroupCNN(4), SteerableCNN()):
        with pytest.raises(ValueError, match="multiples of 4"):
            net(torch.rand(1, 1, 29, 29))


def scalar_error(kind):
    torch.manual_seed(0)
    conv = kind("1x0e", "3x0e").double()
    x = torch.randn(1, 1, 9, 9, dtype=torch.float64)
    turned = conv(torch.rot90(x, 1, (-2, -1)))
    return (turned - torch.rot90(conv(x), 1, (-2, -1))).abs().max().item()


def test_steerable_scalars_turn_and_a_kernel_that_is_not_radial_does_not():
    assert scalar_error(SteerableConv) < 1e-12
    assert scalar_error(Lopsided) > 1e-3


def test_parameters_are_about_equal():
    counts = [sum(p.numel() for p in m.parameters()) for m in (CNN(), GroupCNN(4), GroupCNN(8))]
    assert max(counts) < 1.25 * min(counts)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: turns(3, 5), r"\bn\b"),
        (lambda: turns(4, 4), "size must"),
        (lambda: turns(True, 5), r"\bn\b"),
        (lambda: GroupCNN(4, classes=1), "classes"),
        (lambda: GroupConv(4, 0, 1), "channels_in"),
        (lambda: GroupConv(4, 2, 1)(torch.rand(1, 2, 1, 8, 8)), "x must"),
        (lambda: SteerableConv("0e", "0e", 4), "size must"),
    ],
)
def test_bad_input_is_refused(call, name):
    with pytest.raises(ValueError, match=name):
        call()


@pytest.mark.parametrize("make", [GroupCNN, SteerableCNN])
@pytest.mark.parametrize(
    "x", [torch.zeros(1, 1, 8, 8).double(), torch.zeros(1, 1, 8, 8, dtype=torch.long),
          torch.zeros(1, 1, 0, 8), None],
)  # fmt: skip
def test_images_that_the_network_can_not_take_are_refused(make, x):
    with pytest.raises(ValueError, match="x must be"):
        make().eval()(x)


@pytest.mark.parametrize("net", [GroupCNN(4, width=2), SteerableCNN(irreps="2x0e + 1x1o")])
def test_autocast_may_mix_precisions(net):
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.rand(2, 1, 8, 8)).isfinite().all()
