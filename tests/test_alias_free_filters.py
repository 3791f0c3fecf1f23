"""Filters: symmetric, of sum one, without a checkerboard; and what the paper's kernel lacks."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from equitutor.methods.alias_free import (
    gain,
    jinc_lowpass,
    kaiser_beta,
    kaiser_lowpass,
    paper_kernel,
    polyphase_sums,
)

even = st.integers(1, 16).map(lambda k: 2 * k)


@given(even, st.floats(0.05, 0.45), st.floats(0.02, 0.5))
def test_kaiser_is_even_of_sum_one_and_without_checkerboard(taps, cutoff, width):
    h = kaiser_lowpass(taps, cutoff, width)
    assert h.shape == (taps,)
    assert torch.equal(h, h.flip(0))
    assert h.sum().item() == pytest.approx(1, abs=1e-12)
    assert_close(polyphase_sums(h), torch.ones(2).double(), atol=1e-12, rtol=0)


@given(even, st.floats(0.05, 0.45), st.floats(0, 12), st.sampled_from(["radial", "outer"]))
def test_jinc_has_all_symmetries_of_the_square(taps, cutoff, beta, window):
    h = jinc_lowpass(taps, cutoff, beta, window)
    for image in (h.flip(0), h.flip(1), h.T, h.rot90()):
        assert_close(h, image, atol=1e-15, rtol=1e-12)
    assert h.sum().item() == pytest.approx(1, abs=1e-12)
    assert_close(polyphase_sums(h), torch.ones(2, 2).double(), atol=1e-11, rtol=0)


@pytest.mark.parametrize("beta", [0, 1, 2])
def test_broken_twin_the_papers_kernel_makes_a_checkerboard(beta):
    sums = polyphase_sums(paper_kernel(beta))
    assert (sums - 1).abs().max() > 0.05
    assert paper_kernel(beta).sum().item() == pytest.approx(1)
    without = {0: 1.154, 1: 0.888, 2: 0.520}[beta]
    assert paper_kernel(beta, normalize=False).sum().item() == pytest.approx(without, abs=1e-3)
    at_nyquist = {0: -0.169, 1: -0.054, 2: 0.233}[beta]
    assert gain(paper_kernel(beta), 0.5).item() == pytest.approx(at_nyquist, abs=1e-3)


def test_gain_is_the_fourier_sum():
    h = jinc_lowpass(8)
    x = torch.arange(8).double() - 3.5
    f_x, f_y = 0.13, -0.21
    wave = torch.exp(-2j * math.pi * (f_y * x[:, None] + f_x * x))
    assert gain(h, f_x, f_y).item() == pytest.approx((h * wave).sum().real.item())
    q = kaiser_lowpass(8)
    assert gain(q, f_x, f_y).item() == pytest.approx(gain(torch.outer(q, q), f_x, f_y).item())


def test_stop_band_of_kaiser():
    folding = gain(kaiser_lowpass(12), torch.linspace(0.35, 0.5, 31)).abs()
    assert folding.max() < 0.015  # they would fold onto 0.3 coarse and below
    assert 20 * math.log10(abs(gain(kaiser_lowpass(12), 0.375).item())) < -43
    average = torch.full((2,), 0.5)
    assert 20 * math.log10(gain(average, 0.375).item()) > -9  # average pooling


def test_deeper_stop_band_needs_more_taps_or_a_wider_transition():
    worst = lambda h, width: gain(h, torch.linspace(0.25 + width / 2, 0.5, 50)).abs().max()
    assert worst(kaiser_lowpass(24, width=0.2), 0.2) < 0.1 * worst(kaiser_lowpass(12), 0.2)


def test_only_jinc_is_isotropic():
    phi = torch.arange(90, dtype=torch.float64) * math.pi / 90
    low, high = gain(jinc_lowpass(), 0.3 * phi.cos(), 0.3 * phi.sin()).aminmax()
    assert high - low < 0.02
    low, high = gain(kaiser_lowpass(), 0.3 * phi.cos(), 0.3 * phi.sin()).aminmax()
    assert (low, high) == pytest.approx((0.172, 0.573), abs=2e-3)


def test_kaisers_formula():
    assert kaiser_beta(8) == 0
    assert kaiser_beta(60) == pytest.approx(0.1102 * 51.3)
    assert kaiser_beta(21) == 0
    assert kaiser_beta(50.0001) == pytest.approx(kaiser_beta(50), abs=0.02)


@pytest.mark.parametrize("taps", [0, 3, -2, 2.0, True, "12"])
def test_odd_or_strange_lengths_are_refused(taps):
    for design in (kaiser_lowpass, jinc_lowpass):
        with pytest.raises(ValueError, match="taps must be a positive even int"):
            design(taps)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, True, "x", None])
def test_bad_numbers_are_refused(value):
    for call in (
        lambda: kaiser_lowpass(12, value),
        lambda: kaiser_lowpass(12, 0.25, value),
        lambda: jinc_lowpass(12, value),
        lambda: jinc_lowpass(12, 0.25, value),
        lambda: paper_kernel(value),
        lambda: kaiser_beta(value),
    ):
        with pytest.raises(ValueError, match="must be a finite number"):
            call()


def test_other_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="window must be 'radial' or 'outer', got 'square'"):
        jinc_lowpass(window="square")
    for h in (torch.ones(2, 3), torch.ones(2, 2, 2), 3):
        with pytest.raises(ValueError, match="h must be a filter"):
            polyphase_sums(h)
