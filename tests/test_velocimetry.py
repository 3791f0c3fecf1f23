"""Estimators of particle image velocimetry: what they commute with, and twins that do not."""

from functools import partial

import numpy as np
import pytest
import torch
from conftest import needs_data, rounding
from hypothesis import given, settings
from hypothesis import strategies as st

from equitutor import actions, data, orbits
from equitutor.models import velocimetry
from equitutor.models.velocimetry import (
    CostVolumeNet,
    GroupAverage,
    cross_correlation,
    rmse,
)

ORBIT = orbits.d4_time()
ESTIMATORS = {
    "cross-correlation": cross_correlation,
    "network": CostVolumeNet(),
    "average": GroupAverage(CostVolumeNet()),
}


def endpoint_error(flow, truth):
    """Returns the mean length of flow - truth of each sample, (B,)."""
    return (flow - truth).norm(dim=1).mean((1, 2))


@pytest.fixture(scope="module")
def pairs():
    return data.particle_pairs(6, size=48, seed=3)


def error(model, frames):
    return orbits.equivariance_error(model, frames, ORBIT).max().item()


@settings(max_examples=8)
@given(
    side=st.integers(32, 45),
    window=st.integers(9, 20),
    step=st.integers(1, 9),
    reach=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_cross_correlation_commutes_with_all_16(side, window, step, reach, seed):
    frames = data.particle_pairs(1, size=side, seed=seed).frames.double()
    orbits.assert_equivariant(
        lambda x: cross_correlation(x, window, reach, step), frames, ORBIT, atol=1e-12, rtol=0
    )


def test_cross_correlation_commutes_on_all_kinds_of_flow(pairs):
    assert error(cross_correlation, pairs.frames) <= rounding(torch.float32, 1)
    assert error(cross_correlation, pairs.frames.double()) <= 1e-12


def test_windows_from_the_corner_break_it(pairs, monkeypatch):
    corner = lambda side, step: torch.arange(0, side, step, dtype=torch.float64)
    monkeypatch.setattr(velocimetry, "_centers", corner)
    assert error(cross_correlation, pairs.frames) > 0.01


def test_a_window_fixed_to_the_first_frame_breaks_time(pairs, monkeypatch):
    class Late(velocimetry._Axis):
        def __init__(self, side, shift, centers, window):
            super().__init__(side, shift, centers - shift / 2, window)

    monkeypatch.setattr(velocimetry, "_Axis", Late)
    off = orbits.equivariance_error(cross_correlation, pairs.frames, ORBIT).amax(1)
    assert off[1] > 0.01  # element 1 reverses time alone


def test_the_first_of_equal_peaks_breaks_it(monkeypatch):
    stripes = (torch.arange(32) % 3 == 0).double().expand(1, 2, 32, 32)
    assert error(cross_correlation, stripes) <= 1e-12  # every third shift is as good

    def first(table):
        reach = table.shape[-1] // 2
        best = table.flatten(-2).argmax(-1)
        down, right = best // table.shape[-1] - reach, best % table.shape[-1] - reach
        return torch.stack([right, down], 1).double()

    monkeypatch.setattr(velocimetry, "_peak", first)
    assert error(cross_correlation, stripes) > 1


@given(dx=st.integers(-3, 3), dy=st.integers(-3, 3), seed=st.integers(0, 99))
def test_cross_correlation_finds_a_shift_of_whole_pixels(dx, dy, seed):
    scene = data.particle_pairs(1, size=48, seed=seed).frames[:, :1]
    second = scene.roll((dy, dx), (2, 3))[..., 4:44, 4:44]
    flow = cross_correlation(torch.cat([scene[..., 4:44, 4:44], second], 1))[0]
    truth = torch.tensor([dx, dy]).view(2, 1, 1)
    assert (flow - truth).abs().flatten().quantile(0.9) < 0.2


def test_cross_correlation_is_accurate_below_a_pixel():
    uniform = data.particle_pairs(6, seed=1, fields=("uniform",))
    assert rmse(cross_correlation(uniform.frames), uniform.flow).mean() < 0.12
    assert rmse(torch.zeros_like(uniform.flow), uniform.flow).mean() > 1  # nothing is far off


def test_no_particles_no_flow():
    assert cross_correlation(torch.full((2, 2, 24, 32), 0.3)).abs().max() < 1e-12


def test_chunks_and_brightness_change_nothing(pairs):
    flow = cross_correlation(pairs.frames)
    assert torch.equal(cross_correlation(pairs.frames, chunk=4), flow)
    brighter = cross_correlation(0.1 + 0.5 * pairs.frames)
    torch.testing.assert_close(brighter, flow, atol=1e-4, rtol=0)  # contrast has a floor


@settings(max_examples=5)
@given(seed=st.integers(0, 99), reach=st.integers(1, 4))
def test_group_average_commutes_for_any_weights(seed, reach):
    torch.manual_seed(seed)
    net = CostVolumeNet(reach, width=8)
    frames = torch.rand(2, 2, 16, 16)
    assert error(net, frames) > 1e-3
    assert error(GroupAverage(net), frames) <= rounding(torch.float32, net)
    assert error(GroupAverage(net.double()), frames.double()) <= rounding(torch.float64, net)


def test_group_average_of_an_equivariant_model_is_that_model(pairs):
    average = GroupAverage(cross_correlation)
    frames = pairs.frames[:2].double()
    torch.testing.assert_close(average(frames), cross_correlation(frames), atol=1e-12, rtol=0)


def test_group_average_is_the_consensus_of_the_meter(pairs):
    net, frames, flow = CostVolumeNet().double(), pairs.frames.double(), pairs.flow.double()
    result = orbits.evaluate(
        net, frames, flow, ORBIT, rmse, keep_outputs=True, higher_is_better=False
    )
    with torch.no_grad():
        average = GroupAverage(net)(frames)
    torch.testing.assert_close(average, orbits.consensus(result), atol=1e-12, rtol=0)


def test_vectors_that_are_not_turned_back_break_the_average(pairs):
    average, double = GroupAverage(CostVolumeNet().double()), pairs.frames.double()

    def broken(frames):
        with pytest.MonkeyPatch.context() as patch:  # the orbit of the test goes on turning them
            patch.setattr(actions, "transform_flow", actions.transform_scalar)
            return average(frames)

    assert error(average, double) <= 1e-12
    assert error(broken, double) > 1e-3


def test_group_average_trains_the_model(pairs):
    def gradients(wrap):
        torch.manual_seed(0)
        net = CostVolumeNet()
        endpoint_error(wrap(net)(pairs.frames), pairs.flow).mean().backward()
        return [p.grad.abs().max().item() for p in net.parameters()]

    *weights, bias = gradients(GroupAverage)
    assert min(weights) > 0
    # No constant vector has the symmetry: it averages out, but for how the tanh bends it.
    assert bias < 1e-3 * gradients(lambda net: net)[-1]


def test_network_learns_more_than_the_mean_flow():
    torch.manual_seed(0)
    pairs, net = data.particle_pairs(48, size=32, seed=0), CostVolumeNet()
    start = endpoint_error(torch.zeros_like(pairs.flow), pairs.flow).mean()
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    for _ in range(60):
        loss = endpoint_error(net(pairs.frames), pairs.flow).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.6 * start


def test_cost_volume_peaks_at_the_shift():
    net, scene = CostVolumeNet(reach=3), torch.rand(1, 1, 40, 40)
    pair = torch.cat([scene, scene.roll((2, -1), (2, 3))], 1)[..., 4:36, 4:36]
    volume = net.cost_volume(pair)[0].mean((1, 2))
    down, right = divmod(volume.argmax().item(), 7)
    assert (down - 3, right - 3) == (2, -1)


def test_network_does_not_see_brightness():
    net, frames = CostVolumeNet().double(), torch.rand(2, 2, 16, 16).double()
    torch.testing.assert_close(net(0.2 + 0.5 * frames), net(frames), atol=1e-4, rtol=0)


@given(seed=st.integers(0, 99), g=st.integers(0, 15))
def test_errors_do_not_depend_on_the_pose(seed, g):
    torch.manual_seed(seed)
    flow, truth = torch.randn(2, 3, 2, 6, 6).double()
    moved = rmse(ORBIT.act_y(flow, g), ORBIT.act_y(truth, g))
    torch.testing.assert_close(moved, rmse(flow, truth))
    assert (endpoint_error(flow, truth) <= rmse(flow, truth)).all()


def test_error_of_each_sample():
    flow = torch.zeros(3, 2, 4, 4)
    flow[1, 0], flow[2, :, 0, 0] = 2, torch.tensor([3.0, 4.0])
    assert rmse(flow, torch.zeros_like(flow)).tolist() == [0, 2, 5 / 4]


BAD = [
    "frames",
    torch.rand(2, 16, 16),
    torch.rand(1, 3, 16, 16),
    torch.zeros(0, 2, 16, 16),
    torch.zeros(1, 2, 16, 16, dtype=torch.uint8),
]


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("frames", BAD)
def test_frames_that_are_no_pairs_are_refused(name, frames):
    with pytest.raises(ValueError, match="frames must be"):
        ESTIMATORS[name](frames)


def test_frames_that_are_not_finite_are_refused_or_seen_in_the_answer():
    frames = torch.full((1, 2, 16, 16), torch.nan)
    with pytest.raises(ValueError, match="frames must be finite"):
        cross_correlation(frames)
    assert CostVolumeNet()(frames).isnan().all()  # a forward does not look: a GPU would wait


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"window": 3}, "window"), ({"window": 16.0}, "window"), ({"reach": 0}, "reach"),
        ({"reach": 24}, "reach"), ({"step": True}, "step"), ({"chunk": 0}, "chunk"),
    ],
)  # fmt: skip
def test_sizes_out_of_range_are_refused(arguments, name):
    with pytest.raises(ValueError, match=name):
        cross_correlation(torch.rand(1, 2, 24, 24), **arguments)


def test_models_that_do_not_fit_are_refused():
    for bad in ({"reach": 0}, {"reach": True}, {"width": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            CostVolumeNet(**bad)
    with pytest.raises(ValueError, match="multiples of 4"):
        CostVolumeNet()(torch.rand(1, 2, 18, 16))
    with pytest.raises(ValueError, match="model must be callable"):
        GroupAverage(None)
    with pytest.raises(ValueError, match="model must return flows"):
        GroupAverage(lambda x: x[:, :1])(torch.rand(1, 2, 8, 8))
    with pytest.raises(ValueError, match="flow and truth"):
        rmse(torch.rand(1, 2, 4, 4), torch.rand(2, 2, 4, 4))


@needs_data("piv_cai2019")
def test_uniform_flow_of_cai_2019_points_right():
    pairs = data.flow_pairs("uniform")
    flow = cross_correlation(pairs.frames[:1], window=32, reach=6, step=16)
    assert endpoint_error(flow, pairs.flow[:1]) < 0.3


@pytest.mark.parametrize(
    ("flow", "truth"),
    [
        (np.zeros((1, 2, 4, 4)), np.zeros((1, 2, 4, 4))),
        (torch.zeros(1, 2, 4, 4).long(), torch.zeros(1, 2, 4, 4).long()),
        (torch.zeros(1, 2, 0, 4), torch.zeros(1, 2, 0, 4)),
    ],
)
def test_flows_without_a_length_are_refused(flow, truth):
    with pytest.raises(ValueError, match="flow and truth must"):
        rmse(flow, truth)


@pytest.mark.parametrize("answer", [None, (1,), np.zeros((1, 2, 8, 8))])
def test_an_average_over_no_tensors_is_refused(answer):
    with pytest.raises(ValueError, match="model must return flows"):
        velocimetry.GroupAverage(lambda frames: answer)(torch.rand(1, 2, 8, 8))


def test_frames_of_another_precision_are_refused():
    with pytest.raises(ValueError, match=r"frames must be torch.float32"):
        velocimetry.CostVolumeNet(2, 4)(torch.rand(1, 2, 8, 8).double())


@pytest.mark.parametrize("gray", [0.0, 0.5])
def test_gradients_are_finite_where_frames_or_windows_are_of_one_gray(gray):
    torch.manual_seed(0)
    spot = torch.full((1, 2, 32, 32), gray)
    spot[..., 4:8, 4:8] += torch.rand(4, 4)
    for start in (torch.full((1, 2, 32, 32), gray), spot):
        for model in (CostVolumeNet(), partial(cross_correlation, reach=2, window=8)):
            frames = start.clone().requires_grad_()
            model(frames).square().sum().backward()
            assert frames.grad.isfinite().all()
    flow = torch.zeros(1, 2, 4, 4, requires_grad=True)
    rmse(flow, torch.zeros(1, 2, 4, 4)).sum().backward()  # a perfect answer
    assert flow.grad.abs().max() == 0
    twin = torch.zeros(3, requires_grad=True)
    twin.square().mean().sqrt().backward()
    assert twin.grad.isnan().all()
