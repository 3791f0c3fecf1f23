"""Radial kernels: a whole network then follows quarter turns exactly, and other turns better."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from equitutor.methods.alias_free import (
    band_limit,
    disc_mask,
    eq_psnr,
    gain,
    ideal_rotate,
)
from equitutor.methods.diffusion import RESAMPLERS, RadialKernel, UNet, radial_convolutions

T = torch.tensor([300, 700])
QUARTER = lambda x: x.rot90(1, (-2, -1))


def net(resampler, radial, padding="circular", **settings):
    torch.manual_seed(0)
    model = UNet(resampler, width=4, padding=padding, time_dim=8, **settings)
    return (radial_convolutions(model) if radial else model).double().eval()


def images(n=16):
    return torch.randn(2, 1, n, n, generator=torch.Generator().manual_seed(1)).double()


@given(st.integers(0, 10_000), st.sampled_from([torch.float32, torch.float64]))
def test_a_kernel_has_all_symmetries_of_the_square_and_keeps_its_sum(seed, dtype):
    kernel = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    radial = RadialKernel()(kernel)
    for moved in (QUARTER(radial), radial.flip(-1), radial.mT):
        assert torch.equal(moved, radial)
    assert_close(radial.sum((-2, -1)), kernel.sum((-2, -1)))
    assert_close(RadialKernel()(radial), radial)  # a projection
    assert not torch.allclose(QUARTER(kernel), kernel)


def test_its_gain_is_the_same_in_all_directions_and_that_of_a_symmetric_kernel_is_not():
    """Away from the highest frequencies; a ring with equal edges and corners is the twin."""
    phi = torch.arange(24).double() * torch.pi / 24
    spread = lambda h: gain(h, 0.25 * phi.cos(), 0.25 * phi.sin())
    radial = spread(RadialKernel()(torch.ones(3, 3).double()))
    twin = spread(torch.ones(3, 3).double())
    assert radial.max() - radial.min() < 0.12 * 9
    assert twin.max() - twin.min() > 2 * (radial.max() - radial.min())


@pytest.mark.parametrize("padding", ["zeros", "circular", "replicate"])
@pytest.mark.parametrize("name", ["maxpool_bilinear", "avg_nearest", "kaiser", "jinc", "ideal"])
def test_a_quarter_turn_is_followed_exactly(name, padding):
    if name == "ideal" and padding != "circular":
        return
    f = lambda model: lambda x: model(x, T)
    assert eq_psnr(f(net(name, True, padding)), QUARTER, images()) > 200
    assert eq_psnr(f(net(name, False, padding)), QUARTER, images()) < 60  # broken twin


def test_the_papers_kernel_is_not_centered_and_breaks_it():
    assert "paper3x3" in RESAMPLERS
    assert eq_psnr(lambda x: net("paper3x3", True)(x, T), QUARTER, images()) < 60


def test_other_angles_are_followed_better():
    x, mask = band_limit(images(), 0.8), disc_mask(16)
    turn = lambda x: ideal_rotate(x, 30)
    db = {
        radial: eq_psnr(lambda x, r=radial: net("kaiser", r)(x, T), turn, x, mask)
        for radial in (True, False)
    }
    assert db[True] > db[False] + 6


def test_training_reaches_the_parameters_and_their_number_stays():
    model = net("kaiser", True)
    plain = net("kaiser", False)
    count = lambda m: sum(p.numel() for p in m.parameters())
    assert count(model) == count(plain)
    model(images(), T).square().mean().backward()
    assert all(p.grad.abs().max() > 0 for n, p in model.named_parameters() if "original" in n)


def test_bad_arguments_are_refused():
    for kernel in (torch.ones(5, 5), torch.ones(3), torch.ones(2, 3, 1)):
        with pytest.raises(ValueError, match=r"kernel must be \(..., 3, 3\)"):
            RadialKernel()(kernel)
    with pytest.raises(ValueError, match="of floating-point numbers"):
        RadialKernel()(torch.ones(3, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="at least one 3 x 3 convolution"):
        radial_convolutions(nn.Conv2d(1, 1, 1))
