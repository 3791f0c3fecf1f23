"""Ideal shifts and rotations, the measure of equivariance, and filtered activations."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from equitutor.methods.alias_free import (
    FilteredAct,
    activations,
    band_limit,
    disc_mask,
    eq_psnr,
    ideal_rotate,
    ideal_shift,
    relative_error,
)

SHIFT = (0.37, 0.21)  # not a half: that is a whole pixel of the fine grid, and always passes


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@given(st.sampled_from([7, 8, 15, 16]), st.floats(-9, 9), st.floats(-9, 9))
def test_shifts_add_up(n, a, b):
    x = band_limit(noise(1, 2, n, n), 0.99)
    assert_close(ideal_shift(ideal_shift(x, (a, b)), (b, -a)), ideal_shift(x, (a + b, b - a)))


def test_a_shift_moves_a_plane_wave():
    i = torch.arange(16).double()
    rows = lambda down: torch.cos(6 * math.pi / 16 * (i - down))
    wave = lambda down: rows(down)[:, None].expand(1, 1, 16, 16)
    assert_close(ideal_shift(wave(0), (0.37, 5.3)), wave(0.37))


@given(st.sampled_from([7, 8]), st.integers(-99, 99), st.integers(-99, 99))
def test_whole_pixels_are_rolled(n, dy, dx):
    x = noise(1, 2, n, n + 2)  # with Nyquist waves
    rolled = x.roll((dy, dx), (2, 3))
    assert torch.equal(ideal_shift(x, (dy, dx)), rolled)
    there = ideal_shift(ideal_shift(x, (dy + 0.5, dx)), (-0.5, 0))  # broken twin: they are lost
    assert torch.allclose(there, rolled) == (n == 7)


@pytest.mark.parametrize("s", [1e-9, 0.25, 0.5, 0.37, 1, -1.75])
def test_a_fraction_leaves_what_pixels_show_of_the_nyquist_wave(s):
    x = torch.tensor([1.0, -1.0]).double().repeat(4).expand(1, 1, 8, 8)
    for shift in ((0.3, s), (0, s)):
        assert_close(ideal_shift(x, shift), math.cos(math.pi * s) * x, atol=1e-12, rtol=0)


@pytest.mark.parametrize("degrees", [10, 30, 45, 61, -100])
def test_a_rotation_turns_a_plane_wave_counter_clockwise(degrees):
    n, f = 33, 0.15
    x = torch.arange(n).double() - (n - 1) / 2
    envelope = torch.exp(-(x**2 + x[:, None] ** 2) / 30)

    def wave(phi):  # up on the screen is toward smaller rows
        phi = math.radians(phi)
        along = x * math.cos(phi) - x[:, None] * math.sin(phi)
        return (torch.cos(2 * math.pi * f * along) * envelope)[None, None]

    turned = ideal_rotate(wave(0), degrees)
    assert relative_error(turned, wave(degrees)) < 1e-3
    assert relative_error(turned, wave(-degrees)) > 0.3  # broken twin: the other way round


@given(st.floats(-200, 200), st.sampled_from([8, 9, 16]))
def test_a_rotation_loses_no_energy(degrees, n):
    x = noise(1, 1, n, n)
    assert ideal_rotate(x, degrees).square().sum().item() == pytest.approx(x.square().sum().item())


def test_bilinear_rotation_is_the_broken_twin_of_that():
    from equitutor.actions import rotate_images

    x, y = noise(64, 1, 16, 16), noise(64, 1, 16, 16)
    mask = disc_mask(16)
    for _ in range(40):
        x, y = ideal_rotate(x, 2.25), rotate_images(y, 2.25)
    assert x[..., mask].var() > 0.9
    assert y[..., mask].var() < 0.3


def test_quarter_turns_are_exact_and_zero_changes_nothing():
    x = noise(2, 1, 8, 8)
    assert torch.equal(ideal_rotate(x, 0), x)
    for k in range(-3, 6):
        assert torch.equal(ideal_rotate(x, 90 * k), x.rot90(k, (-2, -1)))


def test_eq_psnr_is_the_definition_and_sees_what_breaks():
    x = noise(4, 1, 8, 8).clamp(-1, 1)
    roll = lambda x: x.roll((1, 0), (2, 3))
    assert eq_psnr(torch.tanh, roll, x) == math.inf
    position = torch.zeros(8, 8).double()
    position[0, 0] = 0.5
    error = 2 * 0.25 / 64  # at two pixels
    expected = 10 * math.log10(4 / error)
    assert eq_psnr(lambda x: x + position, roll, x) == pytest.approx(expected)
    assert eq_psnr(lambda x: x + position, roll, x, disc_mask(8, 0.3)) == math.inf


def test_mask_and_band():
    assert disc_mask(16).sum() < 256 * math.pi * 0.17
    x = noise(1, 1, 16, 16)
    low = band_limit(x, 0.5)
    spectrum = torch.fft.fft2(low).abs()
    assert spectrum[..., 0, 5:12].max() < 1e-9 < spectrum[..., 0, 4].max()
    assert_close(low.rot90(1, (-2, -1)), band_limit(x.rot90(1, (-2, -1)), 0.5))


def commuting_error(f, band=0.95, shift=SHIFT):
    x = band_limit(noise(4, 2, 32, 32), band)
    return relative_error(f(ideal_shift(x, shift)), ideal_shift(f(x), shift))


@pytest.mark.parametrize(
    ("degree", "factor", "exact"),
    [(2, 2, True), (3, 2, True), (4, 2, False), (4, 4, True), (7, 4, True), (8, 4, False)],
)
def test_polynomials_are_exact_up_to_twice_the_factor(degree, factor, exact):
    act = FilteredAct(lambda x: x**degree, factor, "ideal", "circular")
    error = commuting_error(act)
    assert (error < 1e-11) == exact
    assert exact or error > 1e-8
    assert commuting_error(lambda x: x**degree) > 0.1  # broken twin: without the filter


def test_smooth_functions_come_close_and_kinks_do_not():
    ideal = lambda act, factor: commuting_error(FilteredAct(act, factor, "ideal", "circular"))
    assert commuting_error(F.gelu) > 0.3
    assert ideal(F.gelu, 2) < 0.015
    assert ideal(F.gelu, 4) < 1e-4
    assert ideal(FilteredAct(F.gelu, 2, "ideal", "circular"), 4) < 1e-9  # eight times the rate
    assert 0.02 < ideal(torch.relu, 2) < 0.06
    assert ideal(torch.relu, 4) > 1e-3
    assert commuting_error(FilteredAct(boundary="circular")) < 0.16


def test_half_a_pixel_is_no_test():
    act = FilteredAct(torch.relu, 2, "ideal", "circular")
    assert commuting_error(act, shift=(0.5, 0.5)) < 1e-12 < 1e-2 < commuting_error(act)


def test_filtered_act_has_a_gradient_and_no_state():
    act = FilteredAct(F.gelu)
    x = noise(1, 1, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(act, x)
    twin = lambda x: act((x + x.detach()) / 2)  # half of the image passes without a gradient
    assert not torch.autograd.gradcheck(twin, x, raise_exception=False)
    assert not act.state_dict() and not list(act.parameters())


@pytest.mark.parametrize("limit", [1, 700, 4 * 192])
def test_parts_of_a_batch_give_what_the_whole_batch_gives(limit, monkeypatch):
    x = noise(5, 3, 4, 4).requires_grad_()  # 192 fine pixels each
    seen = []
    act = FilteredAct(lambda x: seen.append(len(x)) or F.gelu(x))
    whole = act(x)
    (gradient,) = torch.autograd.grad(whole.square().sum(), x)
    monkeypatch.setattr(activations, "PART", limit)
    parts = act(x)
    assert seen == [5, *{1: [1] * 5, 700: [3, 2], 768: [4, 1]}[limit]]
    assert_close(parts, whole, atol=1e-12, rtol=0)
    assert_close(torch.autograd.grad(parts.square().sum(), x)[0], gradient, atol=1e-12, rtol=0)
    assert relative_error(parts.roll(1, 0), whole) > 0.5  # a part at the place of another shows


def test_bad_arguments_are_refused():
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="shift must be two numbers"):
        ideal_shift(x, 1.0)
    for value in (float("nan"), True, "1"):
        with pytest.raises(ValueError, match="shift must be a finite number"):
            ideal_shift(x, (value, 0))
        with pytest.raises(ValueError, match="angle must be a finite number"):
            ideal_rotate(x, value)
        with pytest.raises(ValueError, match="radius must be a finite number"):
            band_limit(x, value)
        with pytest.raises(ValueError, match="radius must be a finite number"):
            disc_mask(4, value)
    with pytest.raises(ValueError, match="x must be square"):
        ideal_rotate(torch.zeros(1, 1, 4, 6), 10)
    for call in (ideal_shift, ideal_rotate):
        with pytest.raises(ValueError, match="floating-point maps"):
            call(torch.zeros(4, 4), (0, 0) if call is ideal_shift else 0)
    with pytest.raises(ValueError, match="f must keep shapes"):
        eq_psnr(lambda x: x[..., : x.shape[-1] // 2], lambda x: F.pad(x, (1, 1)), x)
    with pytest.raises(ValueError, match="at least one pixel"):
        eq_psnr(torch.tanh, lambda x: x, x, torch.zeros(4, 4, dtype=torch.bool))
    for y in (x[:0], x[0], torch.tensor(1.0), [1]):
        with pytest.raises(ValueError, match="x must be non-empty floating-point maps"):
            FilteredAct()(y)
    for n in (0, 2.0, True):
        with pytest.raises(ValueError, match="n must be an int >= 1"):
            disc_mask(n)
    with pytest.raises(ValueError, match="a and b must have one shape"):
        relative_error(x, x[:, :, :2])
    with pytest.raises(ValueError, match="act must be callable"):
        FilteredAct("gelu")
    with pytest.raises(ValueError, match="factor must be 2 or 4"):
        FilteredAct(F.gelu, 8)


def test_a_long_way_around_the_torus_is_as_exact_as_a_short_one():
    x = torch.randn(1, 1, 6, 5)
    assert torch.equal(ideal_shift(x, (6e7 + 0.5, -5e7)), ideal_shift(x, (0.5, 0.0)))


def test_masks_bytes_and_half_precision():
    x = torch.rand(1, 1, 2, 2)
    for mask in (torch.tensor([[0, 1], [1, 1]]), torch.ones(2, 3).bool()):  # 0, 1: no mask
        with pytest.raises(ValueError, match="mask must be bool"):
            eq_psnr(torch.tanh, torch.exp, x, mask)
        with pytest.raises(ValueError, match="mask must be bool"):
            relative_error(x, x, mask)
    low, high = torch.tensor([1, 4], dtype=torch.uint8), torch.tensor([4, 8], dtype=torch.uint8)
    assert relative_error(low, high) == pytest.approx(5 / 80**0.5)
    for move in (lambda x: ideal_shift(x, (1, 0)), lambda x: ideal_rotate(x, 1), band_limit):
        with pytest.raises(ValueError, match="float32 or float64"):
            move(x.half())
