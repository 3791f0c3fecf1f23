"""One UNet for all resamplers: equal parameters, and the shifts that each variant follows."""

import math

import pytest
import torch
from conftest import rounding
from torch.testing import assert_close

from equitutor.methods.alias_free import eq_psnr
from equitutor.methods.diffusion import (
    RESAMPLERS,
    Diffusion,
    KernelDown,
    KernelUp,
    UNet,
    filtered,
    group_averaged,
    resampling_pair,
    time_code,
)

T = torch.tensor([3, 500])


def net(resampler, padding="circular", seed=0, **settings):
    torch.manual_seed(seed)
    return UNet(resampler, width=4, padding=padding, time_dim=8, **settings).double().eval()


def images(n=16):
    return torch.randn(2, 1, n, n, generator=torch.Generator().manual_seed(1)).double()


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("channels", "expected"), [(1, 5_896_513), (3, 5_897_155)])
def test_the_papers_network_has_the_papers_number_of_parameters(channels, expected):
    with torch.device("meta"):
        model = UNet("maxpool_bilinear", channels, 32, 3, time_dim=256, attend_from=0)
    assert count(model) == expected
    with torch.device("meta"):  # no number is looked at while the paper's kernel is put in
        model = UNet("paper3x3", channels, 32, 3, 2, time_dim=256, attend_from=0)
    assert count(model) == expected


def test_all_variants_have_the_same_parameters():
    first = net("maxpool_bilinear")
    x = images()
    for name in RESAMPLERS:
        for factor in (1, 2):
            model = net(name, act_factor=factor)
            assert model.state_dict().keys() == first.state_dict().keys()
            for a, b in zip(model.parameters(), first.parameters(), strict=True):
                assert torch.equal(a, b)  # one seed, one start
            model.load_state_dict(first.state_dict())
            assert model(x, T).shape == x.shape
    learned = net("kaiser")  # broken twin: a resampler that is learned
    learned.up = torch.nn.ConvTranspose2d(16, 16, 2, 2)
    assert count(learned) != count(first)
    with pytest.raises(RuntimeError, match=r"up\.weight"):
        learned.load_state_dict(first.state_dict())


def shifts(model, pixels):
    f = lambda x: model(x, T)
    return eq_psnr(f, lambda x: x.roll((pixels, -pixels), (2, 3)), images())


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("name", ["kaiser", "ideal", "jinc", "avg_nearest"])
def test_whole_cells_are_followed_with_a_circular_border(name, factor):
    assert shifts(net(name, act_factor=factor), 4) > 200


def test_broken_twins_of_that():
    assert shifts(net("maxpool_bilinear"), 4) < 80  # align_corners=True knows where it is
    assert shifts(net("maxpool_bilinear"), 1) < 80
    assert shifts(net("kaiser", padding="zeros"), 4) < 80  # so does one border of zeros
    assert shifts(net("paper3x3"), 4) < 80


def test_alias_free_follows_single_pixels_better_than_pooling():
    alias_free = shifts(net("ideal", act_factor=4), 1)
    assert alias_free > shifts(net("avg_nearest"), 1) + 10
    assert alias_free > 60


def test_no_resampler_makes_the_network_follow_a_quarter_turn():
    f = lambda model: lambda x: model(x, T)
    turn = lambda x: x.rot90(1, (-2, -1))
    for name in ("kaiser", "ideal", "jinc"):
        model = net(name)
        assert eq_psnr(f(model), turn, images()) < 60
        assert eq_psnr(f(group_averaged(model)), turn, images()) > 200


def test_kernels_commute_with_whole_pixels_only_in_one_place():
    up = KernelUp()
    assert up(torch.ones(1, 1, 8, 8))[0, 0, 3, 3] != up(torch.ones(1, 1, 8, 8))[0, 0, 3, 4]


@pytest.mark.parametrize("size", [3, 5])
def test_kernels_are_zeros_then_a_filter_and_a_filter_then_every_second_pixel(size):
    kernel, x = torch.randn(size, size).double(), torch.randn(2, 3, 6, 8).double()
    each = kernel.expand(3, 1, -1, -1)
    same = lambda x: torch.nn.functional.conv2d(x, each, padding=size // 2, groups=3)
    fine = torch.zeros(2, 3, 12, 16).double()
    fine[..., ::2, ::2] = x
    assert_close(KernelUp(kernel)(x), same(fine))
    assert_close(KernelDown(kernel)(x), same(x)[..., ::2, ::2])
    assert not torch.allclose(KernelUp(kernel.T)(x), same(fine))  # broken twin: turned kernel


def test_one_training_step_changes_every_parameter():
    model = UNet("kaiser", width=4, levels=2, act_factor=2, time_dim=8, attend_from=1)
    loss = Diffusion(steps=50).loss(model, images().float(), torch.Generator().manual_seed(0))
    assert math.isfinite(loss.item())
    loss.backward()
    for name, p in model.named_parameters():
        if "attend.in_proj_bias" not in name:  # a bias on the keys changes nothing
            assert p.grad.abs().max() > 0, name


def test_the_time_matters_and_is_coded_smoothly():
    model, x = net("kaiser"), images()
    assert not torch.allclose(model(x, torch.tensor([0, 0])), model(x, torch.tensor([900, 900])))
    code = time_code(torch.arange(10), 16)
    assert code.shape == (10, 16)
    assert_close(code.square().sum(1), torch.full((10,), 8.0))


def test_single_precision_is_double_precision_but_for_rounding():
    model, x = net("kaiser", act_factor=2), images()
    exact = model(x, T)
    coarse = model.float()(x.float(), T)
    assert coarse.dtype == torch.float32
    assert_close(coarse.double(), exact, atol=rounding(torch.float32, model), rtol=0)
    assert_close(time_code(T, 8).double(), time_code(T, 8, torch.float64), atol=1e-6, rtol=0)


def test_bad_arguments_are_refused():
    for settings, message in [
        (dict(resampler="lanczos"), "resampler must be one of"),
        (dict(resampler="ideal"), "'ideal' with boundary 'circular'"),
        (dict(padding="reflect"), "padding must be one of"),
        (dict(width=0), "width must be"),
        (dict(levels=1.0), "levels must be"),
        (dict(channels=True), "channels must be"),
        (dict(time_dim=7), "time_dim must be even"),
        (dict(act_factor=3), "act_factor must be"),
        (dict(attend_from=-1), "attend_from must be"),
        (dict(width=6, attend_from=0), "width must be divisible by 4"),
    ]:
        with pytest.raises(ValueError, match=message):
            UNet(**settings)
    model = net("kaiser")
    for x in (torch.zeros(2, 1, 10, 16), torch.zeros(2, 3, 16, 16), torch.zeros(16, 16)):
        with pytest.raises(ValueError, match="x must be"):
            model(x, T)
    with pytest.raises(ValueError, match="t must have shape"):
        model(images(), torch.tensor([1]))
    for x in (images()[:0], images().long()):
        with pytest.raises(ValueError, match="x must be non-empty floating-point"):
            model(x, T[: len(x)])
    for dim in (0, 3):
        with pytest.raises(ValueError, match="dim must be a positive even int"):
            time_code(T, dim)
    for name in ("kaiser", "paper3x3"):
        with pytest.raises(ValueError, match="act must be callable"):
            filtered("gelu", name)
    for module in (KernelUp(), KernelDown()):
        for x in (images()[0], images().long()):
            with pytest.raises(ValueError, match="x must be non-empty floating-point maps"):
                module(x)
    with pytest.raises(ValueError, match="kernel must be finite"):
        KernelUp(torch.full((3, 3), math.nan))
    with pytest.raises(ValueError, match="factor must be 2 for avg_nearest"):
        resampling_pair("avg_nearest", factor=4)
    with pytest.raises(ValueError, match="kernel must be"):
        KernelUp(torch.ones(2, 2))


def test_narrow_networks_may_attend_to_coarse_maps():
    net = UNet("avg_nearest", width=2, levels=3, attend_from=2)
    assert net(torch.rand(1, 1, 8, 8), torch.tensor([3])).shape == (1, 1, 8, 8)
    with pytest.raises(ValueError, match="width must be divisible by 4"):
        UNet("avg_nearest", width=2, levels=3, attend_from=1)  # the way up is as wide as map 0


def test_kernels_that_are_not_square_are_refused():
    with pytest.raises(ValueError, match="kernel must be"):
        KernelDown(torch.ones(3, 5))  # would be padded as if it were 5 x 5
