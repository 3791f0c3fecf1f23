"""The chain and its reverse: formulas, reproducibility, and what a rotation on the way does."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from equitutor.methods.alias_free import ideal_rotate
from equitutor.methods.diffusion import (
    Diffusion,
    RotationPlan,
    border_level,
    conjugated,
    group_averaged,
    realized_angles,
)

CHAIN = Diffusion("cosine", 100)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(spread=0.5):
    """Returns the best denoiser for independent Gaussian pixels: equivariant to quarter turns."""

    def denoise(x, t):
        a = CHAIN.alpha_bar[t].view(-1, 1, 1, 1).to(x)
        return (1 - a).sqrt() / (a * spread**2 + 1 - a) * x

    return denoise


def upright(x, t):
    """A denoiser that knows where up is."""
    return gaussian()(x, t) * torch.linspace(0.2, 1, x.shape[-2], dtype=x.dtype)[:, None]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [50, 1000])
def test_schedules_fall_from_image_to_noise(schedule, steps):
    level = Diffusion(schedule, steps).alpha_bar
    assert level.shape == (steps,)
    assert (level.diff() < 0).all()
    assert level[0] > 0.95
    assert 1e-6 < level[-1] < 1e-3


def test_linear_is_the_papers():
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    assert_close(Diffusion("linear").alpha_bar, torch.cumprod(1 - beta, 0))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 5, 10, 20, 50, 250, 1001, 4000])
def test_any_number_of_steps_has_the_levels_of_one_chain(schedule, steps):
    level, of_1000 = Diffusion(schedule, steps).alpha_bar, Diffusion(schedule).alpha_bar
    assert level[-1] == pytest.approx(of_1000[-1].item(), rel=1e-9)
    assert (level > 0).all() and (level < 1).all() and (level.diff() < 0).all()
    if 1000 % steps == 0:
        every = 1000 // steps
        assert_close(level, of_1000[every - 1 :: every])
    if steps % 1000 == 0:
        every = steps // 1000
        assert_close(level[every - 1 :: every], of_1000)


def test_variances_scaled_by_the_number_of_steps_would_end_elsewhere():
    beta = (torch.linspace(1e-4, 0.02, 10, dtype=torch.float64) * 100).clamp(max=0.999)
    assert torch.cumprod(1 - beta, 0)[-1] < 1e-12


def test_steps_outside_the_chain_are_refused():
    x0, e = noise(2, 1, 4, 4), noise(2, 1, 4, 4, seed=1)
    for bad in (-2, len(CHAIN.alpha_bar)):
        with pytest.raises(ValueError, match="t must be one integer"):
            CHAIN.add_noise(x0, bad, e)
        with pytest.raises(IndexError):
            CHAIN.add_noise(x0, torch.tensor([0, bad]), e)
    assert_close(CHAIN.add_noise(x0, torch.tensor([-1, -1]), e), x0)


def test_noise_goes_in_and_comes_out():
    x0, e = noise(3, 1, 4, 4), noise(3, 1, 4, 4, seed=1)
    t = torch.tensor([0, 40, 99])
    x = CHAIN.add_noise(x0, t, e)
    assert_close(CHAIN.estimate(x, t, e), x0)
    assert CHAIN.estimate(x, t, e, clip=0.5).abs().max() == 0.5
    assert_close(
        CHAIN.step(CHAIN.add_noise(x0, 70, e), 70, 30, e, eta=0), CHAIN.add_noise(x0, 30, e)
    )


@pytest.mark.parametrize("t", [1, 50, 99])
def test_ddpm_step_is_the_posterior(t):
    """Against the mean and variance as Ho et al. write them."""
    x, e, z = noise(1, 1, 4, 4), noise(1, 1, 4, 4, seed=1), noise(1, 1, 4, 4, seed=2)
    now, then = CHAIN.alpha_bar[t], CHAIN.alpha_bar[t - 1]
    alpha = now / then
    beta = 1 - alpha
    mean = (x - beta / (1 - now).sqrt() * e) / alpha.sqrt()
    variance = (1 - then) / (1 - now) * beta
    assert_close(CHAIN.ddpm_step(x, t, e, z), mean + variance.sqrt() * z)
    assert (CHAIN.ddim_step(x, t, t - 1, e) - mean).abs().max() > 1e-6


def test_samples_of_the_best_denoiser_have_the_spread_of_the_data():
    for eta in (0.0, 1.0):
        x = CHAIN.sample(gaussian(), (500, 1, 4, 4), 100, eta, clip=None)
        assert x.std().item() == pytest.approx(0.5, abs=0.03)


def test_velocity_and_noise_say_the_same():
    other = Diffusion("cosine", 100, predict="velocity")
    denoise = gaussian()

    def velocity(x, t):
        a = CHAIN.alpha_bar[t].view(-1, 1, 1, 1).to(x)
        return (denoise(x, t) - (1 - a).sqrt() * x) / a.sqrt()

    start = noise(2, 1, 4, 4)
    a = CHAIN.sample(denoise, (2, 1, 4, 4), 10, start=start)
    b = other.sample(velocity, (2, 1, 4, 4), 10, start=start)
    assert_close(a, b)
    x0 = noise(64, 1, 4, 4) * 0.5
    best = other.loss(velocity, x0, torch.Generator().manual_seed(0))
    assert best < 0.9 * other.loss(lambda x, t: 0 * x, x0, torch.Generator().manual_seed(0))
    assert best < 0.9 * other.loss(denoise, x0, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("quarters", [1, 2, -1])
def test_turning_on_the_way_equals_turning_the_result(eta, clip, quarters):
    """A quarter turn after each step, so that no interpolation has a part in it."""
    steps, shape, start = 7, (3, 1, 8, 8), noise(3, 1, 8, 8)
    draw = lambda plan, model: CHAIN.sample(
        model, shape, steps, eta, plan, clip, torch.Generator().manual_seed(3), start
    )
    plan = RotationPlan(90.0 * quarters * steps, turn_noise=True)
    result = draw(None, gaussian()).rot90(quarters * steps, (-2, -1))
    assert_close(draw(plan, gaussian()), result, atol=1e-6, rtol=0)
    # Broken twins: a denoiser that knows where up is, and the fresh noise left upright.
    upright_result = draw(None, upright).rot90(quarters * steps, (-2, -1))
    assert (draw(plan, upright) - upright_result).abs().max() > 1e-2
    if eta:
        plain = RotationPlan(90.0 * quarters * steps)
        assert (draw(plain, gaussian()) - result).abs().max() > 1e-2


def test_any_angle_with_a_denoiser_that_is_linear_and_the_same_everywhere():
    """Small turns add up to the whole one, inside the disc and for what is band-limited.

    The start fades out smoothly: a sharp edge has frequencies that no rotation keeps.
    """
    from equitutor.methods.alias_free import band_limit, disc_mask, relative_error

    x = torch.arange(32).double() - 15.5
    fade = torch.exp(-(x.square() + x[:, None].square()) / 40)
    start = band_limit(noise(4, 1, 32, 32), 0.5) * fade
    shape = start.shape
    plain = CHAIN.sample(gaussian(), shape, 12, clip=None, start=start)
    turned = CHAIN.sample(gaussian(), shape, 12, rotate=RotationPlan(60), clip=None, start=start)
    error = lambda angle: relative_error(turned, ideal_rotate(plain, angle), disc_mask(32))
    assert error(60) < 2e-3
    assert min(error(-60), error(50), error(70)) > 0.2  # broken twin: another angle or sense


@given(st.floats(0, 0.9), st.integers(1, 60), st.floats(-400, 400))
def test_increments_sum_to_the_angle_inside_the_window(start, steps, angle):
    plan = RotationPlan(angle, start=start, end=1.0)
    if (steps - 0.5) / steps < start:
        with pytest.raises(ValueError, match="holds none"):
            plan.increments(steps)
        return
    turns = plan.increments(steps)
    assert sum(turns) == pytest.approx(angle, abs=1e-9)
    assert all(turn == 0 for k, turn in enumerate(turns) if (k + 0.5) / steps < start)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_no_angle_is_plain_sampling_bit_for_bit(eta):
    draw = lambda plan: CHAIN.sample(upright, (2, 1, 8, 8), 9, eta, plan)
    for turn_noise in (False, True):
        assert torch.equal(draw(RotationPlan(0, turn_noise=turn_noise)), draw(None))
    assert not torch.equal(draw(RotationPlan(1)), draw(None))


def test_the_sense_of_a_turn():
    mark = torch.zeros(1, 1, 9, 9).double()
    mark[0, 0, 4, 8] = 1  # on the right
    keep = lambda x, t: 0 * x  # the last estimate is x, scaled
    x = CHAIN.sample(keep, mark.shape, 9, rotate=RotationPlan(90), clip=None, start=mark)
    assert x.argmax() == 4  # on top, counter-clockwise


def test_the_conjugated_denoiser_turns_the_result():
    start = noise(2, 1, 8, 8)
    sample = lambda model, start: CHAIN.sample(model, start.shape, 10, start=start)
    turned = sample(conjugated(upright, 90), start.rot90(1, (-2, -1)))
    assert_close(turned, sample(upright, start).rot90(1, (-2, -1)), atol=1e-12, rtol=0)
    assert (turned - sample(upright, start.rot90(1, (-2, -1)))).abs().max() > 1e-2


def test_the_group_average_commutes_with_quarter_turns():
    x, t = noise(2, 1, 8, 8), torch.tensor([10, 60])
    average = group_averaged(upright)
    assert torch.equal(average(x.rot90(1, (-2, -1)), t), average(x, t).rot90(1, (-2, -1)))
    assert_close(group_averaged(gaussian())(x, t), gaussian()(x, t))
    assert (upright(x.rot90(1, (-2, -1)), t) - upright(x, t).rot90(1, (-2, -1))).abs().max() > 0.1


def test_same_seed_same_images():
    draw = lambda seed: CHAIN.sample(
        gaussian(), (2, 1, 4, 4), 5, 1.0, generator=torch.Generator().manual_seed(seed)
    )
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    trace = []
    last = CHAIN.sample(gaussian(), (2, 1, 4, 4), 5, trace=trace)
    assert len(trace) == 5 and torch.equal(trace[-1], last)


def test_times_go_from_the_end_to_the_image():
    assert Diffusion(steps=10).times(10) == [*range(9, -1, -1), -1]
    assert Diffusion(steps=10).times(1) == [9, -1]
    for steps in (2, 7, 50):
        times = Diffusion().times(steps)
        assert times[0] == 999 and times[-2:] == [0, -1]
        assert all(a > b for a, b in pairwise(times))


def test_realized_angles():
    x = noise(3, 1, 16, 16)
    angles, alike = realized_angles(x, ideal_rotate(x, -40))
    assert angles.tolist() == [-40] * 3
    assert_close(alike, torch.ones(3).double(), atol=1e-9, rtol=0)
    _, unlike = realized_angles(x, noise(3, 1, 16, 16, seed=5))
    assert unlike.max() < 0.8
    assert border_level(torch.ones(1, 1, 4, 4)) == 1


def test_bad_arguments_are_refused():
    x = noise(1, 1, 4, 4)
    for call, message in [
        (lambda: Diffusion("sigmoid"), "schedule must be"),
        (lambda: Diffusion(steps=0), "steps must be"),
        (lambda: Diffusion(steps=True), "steps must be"),
        (lambda: Diffusion(predict="x0"), "predict must be"),
        (lambda: CHAIN.times(101), "steps must be"),
        (lambda: CHAIN.add_noise(x, 100, x), "t must be one integer"),
        (lambda: CHAIN.add_noise(x, torch.tensor(0.5), x), "t must be one integer"),
        (lambda: CHAIN.step(x, 5, 5, x), "to must be"),
        (lambda: CHAIN.step(x, 5, 3, x, eta=2), "eta must be"),
        (lambda: CHAIN.step(x, 5, 3, x), "fresh must be"),
        (lambda: CHAIN.sample(gaussian(), (1, 1, 4, 4), 5, start=noise(1, 1, 5, 5)), "start must"),
        (lambda: RotationPlan(math.nan), "angle must be"),
        (lambda: RotationPlan(True), "angle must be"),
        (lambda: RotationPlan(9, start=0.5, end=0.5), "start and end"),
        (lambda: realized_angles(x, noise(2, 1, 4, 4)), "turned must have the shape"),
        (lambda: realized_angles(x, x, torch.tensor([])), "candidates"),
        (lambda: conjugated(3, 90), "model must be callable"),
        (lambda: CHAIN.add_noise(x, True, x), "t must be one integer"),
        (lambda: CHAIN.add_noise(x, torch.tensor([1, 2]), x), "t must be one integer"),
        (lambda: CHAIN.add_noise(x, 5, noise(2, 1, 4, 4)), "noise must have shape"),
        (lambda: CHAIN.add_noise(x.long(), 5, x), "x0 must be non-empty floating-point"),
        (lambda: CHAIN.step(x, 5, True, x, eta=0), "to must be"),
        (lambda: CHAIN.step(x, 5, 3, x, eta=0, clip=0), "clip must be positive"),
        (lambda: CHAIN.loss(gaussian(), x[:0], torch.Generator()), "x0 must be non-empty"),
        (lambda: CHAIN.loss(lambda x, t: x[..., :1], x, torch.Generator()), "model must return"),
        (lambda: CHAIN.sample(lambda x, t: x[:, :, :1], x.shape, 5), "model must return"),
        (lambda: CHAIN.sample(gaussian(), (1, 4, 4), 5), "shape must be four ints"),
        (lambda: CHAIN.sample(gaussian(), (1, 1, -4, 4), 5), "shape must be four ints"),
        (lambda: CHAIN.sample(gaussian(), x.shape, 5, start=x.long()), "start must be non-empty"),
        (lambda: RotationPlan(10).increments(0), "steps must be"),
        (lambda: conjugated(gaussian(), math.nan), "angle must be"),
        (lambda: group_averaged(3), "model must be callable"),
        (lambda: group_averaged(gaussian())(x[..., :2], torch.tensor([5])), "x must be square"),
        (lambda: realized_angles(x[..., :2], x[..., :2]), "reference must be square"),
        (lambda: realized_angles(x, math.nan * x), "turned must be square and finite"),
        (lambda: border_level(x[0]), "x must be non-empty floating-point maps"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_one_noise_is_not_used_for_several_images():
    chain, x = Diffusion(), torch.rand(2, 1, 4, 4)
    for call, name in [
        (lambda: chain.estimate(x, 5, x[:1]), "noise"),
        (lambda: chain.step(x, 5, 3, x[:1], eta=0.0), "noise"),
        (lambda: chain.step(x, 5, 3, x, fresh=x[:1]), "fresh"),
    ]:
        with pytest.raises(ValueError, match=f"{name} must have shape"):
            call()


def test_refused_calls_draw_no_number():
    chain, generator = Diffusion(), torch.Generator().manual_seed(1)
    x = torch.rand(1, 1, 4, 4)
    state, of_all = generator.get_state(), torch.get_rng_state()
    with pytest.raises(ValueError, match="steps must be"):
        chain.sample(lambda x, t: x, (1, 1, 4, 4), steps=0, generator=generator)
    with pytest.raises(ValueError, match="generator must be"):
        chain.loss(lambda x, t: x, x, None)
    assert torch.equal(generator.get_state(), state)
    assert torch.equal(torch.get_rng_state(), of_all)
