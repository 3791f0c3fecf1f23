"""FID and KID against what they must be for sets that are known."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equitutor.methods.diffusion import (
    FeatureNet,
    bootstrap_interval,
    fid,
    kid,
)


def gauss(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(2, 40), st.integers(1, 8), st.floats(-3, 3))
def test_fid_of_a_set_with_itself_and_with_itself_moved(n, d, shift):
    a = gauss(n, d)
    assert fid(a, a) < 1e-6
    assert fid(a, a + shift) == pytest.approx(d * shift**2, abs=1e-6)
    b = gauss(n + 3, d, seed=1)
    assert fid(a, b) == pytest.approx(fid(b, a), abs=1e-6)


def white(n, d):
    """Samples whose covariance is the unit matrix exactly."""
    x = gauss(n, d)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T


def test_fid_of_diagonal_covariances():
    x, s, r = (
        white(200, 3),
        torch.tensor([1.0, 2, 3]).double(),
        torch.tensor([2.0, 0.5, 0]).double(),
    )
    assert fid(x * s, x * r) == pytest.approx((s - r).square().sum().item(), abs=1e-6)
    # Variances instead of deviations, a common slip, is another number.
    assert fid(x * s, x * r) != pytest.approx((s**2 - r**2).square().sum().item(), abs=1)


def test_fewer_samples_than_dimensions():
    a, b = gauss(5, 20), gauss(6, 20, seed=1)
    assert 0 < fid(a, b) < 100
    assert abs(kid(a, b)) < 10


def test_kid_is_unbiased_and_fid_is_not():
    x = gauss(4000, 4)
    parts = x.view(40, 100, 4)
    pairs = list(zip(parts[::2], parts[1::2], strict=True))
    values = torch.tensor([kid(a, b) for a, b in pairs])
    assert abs(values.mean()) < 2.5 * values.std() / len(values) ** 0.5
    assert values.min() < 0
    assert min(fid(a, b) for a, b in pairs) > 0.01  # the broken twin: always too large
    assert fid(x[:2000], x[2000:]) < sum(fid(a, b) for a, b in pairs) / len(pairs) / 3


def test_kid_is_its_formula():
    a, b = gauss(3, 2), gauss(4, 2, seed=1)
    k = lambda u, v: (float(u @ v) / 2 + 1) ** 3
    within = lambda x: sum(k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j)
    expected = within(a) / 6 + within(b) / 12 - 2 * sum(k(u, v) for u in a for v in b) / 12
    assert kid(a, b) == pytest.approx(expected)


def test_intervals_hold_the_value_and_shrink():
    widths = []
    for n in (40, 640):
        a, b = gauss(n, 3), gauss(n, 3, seed=1) + 0.5
        for statistic in (fid, kid):
            value, low, high = bootstrap_interval(statistic, a, b, repeats=60)
            assert value == statistic(a, b)
            assert low <= value <= high
            assert (value, low, high) == bootstrap_interval(statistic, a, b, repeats=60)
            widths.append(high - low)
    assert widths[2] < 0.5 * widths[0] and widths[3] < 0.5 * widths[1]


def test_a_network_whose_features_are_compared():
    net, x = FeatureNet(channels=3, classes=5), torch.rand(7, 3, 12, 20)
    assert net(x).shape == (7, 5)
    assert net.features(x).shape == (7, 64)


def test_bad_arguments_are_refused():
    a = gauss(5, 2)
    for b in (gauss(5, 3), gauss(1, 2), a[0], a * float("nan")):
        for statistic in (fid, kid):
            with pytest.raises(ValueError, match="a and b must be"):
                statistic(a, b)
    with pytest.raises(ValueError, match="repeats must be"):
        bootstrap_interval(fid, a, a, repeats=1)
    with pytest.raises(ValueError, match="level must be"):
        bootstrap_interval(fid, a, a, level=1.0)
    for call, message in [
        (lambda: FeatureNet(0), "channels must be"),
        (lambda: FeatureNet(1, True), "classes must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    for statistic, first, seed, message in [
        ("fid", a, 0, "statistic must be callable"),
        (fid, a[:0], 0, "a and b must hold samples, got 0 and 5"),
        (fid, a, 0.5, "seed must be an int"),
    ]:
        with pytest.raises(ValueError, match=message):
            bootstrap_interval(statistic, first, a, seed=seed)
