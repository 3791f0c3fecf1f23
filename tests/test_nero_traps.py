"""The traps of evaluating along orbits, each set for a meter that would fall into it.

Other files hold the rest: a flat aggregate, missing scores and worst elements in test_orbits.py;
half-open grids, weights and consensus in test_orbits_elements.py; transposed scores in
test_nero_embedding.py; shared scales, radii from zero and missing scores in test_nero.py and its
neighbors; recall, votes and objects that leave in test_orbits_boxes.py.
"""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import rounding
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from equitutor import actions, data, groups, nero, orbits
from equitutor.models.group_cnn import CNN, GroupCNN
from equitutor.models.velocimetry import GroupAverage, cross_correlation, rmse
from equitutor.orbits import OrbitResult, evaluate, shifts, so2


@pytest.fixture(autouse=True)
def figures_are_closed():
    yield
    plt.close("all")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Exactness, each with a twin that must fail ------------------------------------------------

RIGHT_ANGLES = orbits.finite(groups.cyclic(4), lambda x, i: torch.rot90(x, i, (-2, -1)))


class OneSided(GroupCNN):
    """Broken: reads the first orientation only, instead of the largest of all."""

    def forward(self, x):
        return self.head(self.features(x)[:, :, 0].mean((2, 3)))


def settled(net, x):
    """Return the network with statistics that fit x, in eval mode."""
    net.train()
    with torch.no_grad():
        for _ in range(30):
            net(x)
    return net.eval()


def test_right_angle_spread_of_the_c4_network_and_its_twins():
    x = data.digits("test", size=28).x[:20].double()
    off = {}
    for kind in (lambda: GroupCNN(4), lambda: OneSided(4), CNN):
        torch.manual_seed(0)
        net = settled(kind().double(), x)
        off[type(net)] = orbits.equivariance_error(net, x, RIGHT_ANGLES).max().item()
    assert off[GroupCNN] <= 1e-12
    assert off[OneSided] > 1e-2 and off[CNN] > 1e-2


def test_between_right_angles_the_c4_network_is_not_invariant():
    """Its symmetry is the subgroup's: the clover has four leaves."""
    x = data.digits("test", size=28).x[:20].double()
    torch.manual_seed(0)
    net = settled(GroupCNN(4).double(), x)
    off = orbits.equivariance_error(net, x, so2(8)).amax(1)
    assert off[::2].max() <= 1e-12
    assert off[1::2].min() > 1e-2


class Anything(nn.Module):
    """A flow network without any symmetry: it knows where it is and which way is up."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, width, 3, padding=1), nn.BatchNorm2d(width), nn.Dropout(0.2), nn.GELU(),
            nn.Conv2d(width, 2, 3, padding=1),
        )  # fmt: skip

    def forward(self, frames):
        rows, columns = (torch.linspace(-1, 1, side).to(frames) for side in frames.shape[2:])
        place = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
        return self.layers(torch.cat([frames, place.expand(len(frames), -1, -1, -1)], 1))


@settings(max_examples=10)
@given(seed=st.integers(0, 99), width=st.integers(1, 8), side=st.sampled_from([8, 11]))
def test_the_group_average_of_any_network_is_exactly_equivariant(seed, width, side):
    torch.manual_seed(seed)
    net, frames = Anything(width).double(), noise(2, 2, side, side, seed=seed).double()
    orbit = orbits.d4_time()
    error = lambda f: orbits.equivariance_error(f, frames, orbit).max().item()
    assert error(GroupAverage(net)) <= 1e-12
    assert error(net) > 1e-3

    def half(x):  # broken: averages the half of the group that does not reverse time
        parts = [
            actions.transform_flow(net(actions.transform_scalar(x, g)), inverse)
            for g, inverse in enumerate(groups.dihedral(4).inv.tolist())
        ]
        return torch.stack(parts).mean(0)

    net.eval()
    by_time = orbits.equivariance_error(half, frames, orbit).amax(1)
    assert by_time[0::2].max() <= 1e-12
    assert by_time[1::2].min() > 1e-3


def test_cross_correlation_is_exact_and_correlating_from_the_first_frame_is_not():
    frames = data.particle_pairs(3, size=40, seed=2).frames.double()

    def late(x):  # broken: the field is taken to belong to the first frame, half a step too early
        flow = cross_correlation(x)
        return flow + (flow - flow.roll(1, -1)) / 2

    error = lambda f: orbits.equivariance_error(f, frames, orbits.d4_time()).max().item()
    assert error(cross_correlation) <= 1e-12
    assert error(late) > 1e-2


# A planted failure is recovered exactly, everywhere ----------------------------------------

ORBITS = {
    "circle": lambda: so2(8),
    "grid": lambda: shifts(4, 6, 2),
    "windows": lambda: orbits.box_windows(12, 8, 2),
    "group": orbits.d4_time,
    "disk": lambda: orbits.so3_disk(("xy",), 4, 3),
    "haar": lambda: orbits.so3_haar(7),
}


def failing(orbit, n, g, k):
    """Return the measured result of a model that fails for sample k at element g, and only there.

    The model sees its input alone: sample and element are written into it by the orbit.
    """
    named = orbits.Orbit(
        orbit.name, orbit.params, lambda x, i: x + 1000 * i, weights=orbit.weights,
        kind=orbit.kind, coords=orbit.coords, identity=orbit.identity, extra=orbit.extra,
    )  # fmt: skip
    model = lambda x: torch.stack([x == 1000 * g + k, x != 1000 * g + k], 1).float()
    return evaluate(model, torch.arange(n), torch.ones(n).long(), named, batch=5, progress=False)


@pytest.mark.parametrize("kind", ORBITS)
@settings(max_examples=10)
@given(n=st.integers(3, 9), place=st.integers(0, 10**6))
def test_a_planted_failure_is_recovered_by_scores_worst_and_embedding(kind, n, place):
    orbit = ORBITS[kind]()
    g, k = divmod(place % (len(orbit) * n), n)
    result = failing(orbit, n, g, k)
    assert (result.scores == 0).nonzero().tolist() == [[g, k]]
    element, score = result.worst()
    assert element[k] == g and score[k] == 0
    assert score[torch.arange(n) != k].eq(1).all()
    assert result.aggregate().argmin() == g
    assert result.spread("range").nonzero().flatten().tolist() == [k]
    points = nero.embed(result).points
    others = points[torch.arange(n) != k]
    assert torch.pdist(others).max() < 1e-6 if n > 2 else True
    assert (points[k] - others[0]).norm() == pytest.approx(1, abs=1e-6)  # one score of one


def shown(ax):
    (image,) = ax.get_images()
    return np.asarray(image.get_array())


@pytest.mark.parametrize("g", range(6))
def test_a_planted_failure_is_recovered_by_the_heat_map(g):
    orbit = shifts(4, 6, 2)
    result = failing(orbit, 4, g, 2)
    dark = np.argwhere(shown(nero.plot_heat(result, sample=2)[0]) == 0)
    down, right = orbit.params[g].tolist()
    down, right = (down + 2) % 4 - 2, (right + 2) % 6 - 2  # the middle of the map is no shift
    assert dark.tolist() == [[(down + 2) / 2, (right + 2) / 2]]
    assert shown(nero.plot_heat(result, sample=1)[0]).min() == 1
    assert (shown(nero.plot_heat(result)[0]) < 1).sum() == 1


@pytest.mark.parametrize("g", [0, 7, 12, 24])
def test_a_planted_failure_is_recovered_by_the_heat_map_of_windows(g):
    orbit = orbits.box_windows(12, 8, 2)
    dark = np.argwhere(shown(nero.plot_heat(failing(orbit, 4, g, 2), sample=2)[0]) == 0)
    assert dark.tolist() == [[g // 5, g % 5]]


@pytest.mark.parametrize("g", [0, 3, 7])
def test_a_planted_failure_is_recovered_by_the_polar_plot(g):
    result = failing(so2(8), 4, g, 2)
    angles, radii = nero.plot_polar(result, sample=2).get_lines()[0].get_data()
    dark = {round(float(a) % (2 * np.pi), 6) for a, r in zip(angles, radii, strict=True) if r == 0}
    assert dark == {round(2 * np.pi * g / 8, 6)}
    assert min(nero.plot_polar(result, sample=1).get_lines()[0].get_data()[1]) == 1


@pytest.mark.parametrize("g", [0, 5, 15])
def test_a_planted_failure_is_recovered_by_the_tiles(g):
    result = failing(orbits.d4_time(), 4, g, 2)
    (ax,) = nero.plot_tiles(result, sample=2)
    values = [float(np.asarray(image.get_array()).item()) for image in ax.get_images()]
    assert sorted(values) == [0.0] + 15 * [1.0]
    names = [text.get_text() for text in ax.texts]
    assert names.count("0.00") == 1 and names.count("1.00") == 15


def test_a_planted_failure_is_recovered_by_the_disk():
    orbit = orbits.so3_disk(("xy",), 4, 3)
    g = 5  # axis at 90 degrees, angle 180
    assert orbit.params[g].tolist() == [0, 90, 180]
    result = failing(orbit, 4, g, 2)
    ax = nero.plot_disk(result, sample=2).flatten()[0]
    mesh = next(c for c in ax.collections if hasattr(c, "get_coordinates"))
    corners, table = mesh.get_coordinates(), np.asarray(mesh.get_array())
    table = table.reshape(len(corners) - 1, -1)
    rows, columns = np.nonzero(table == 0)
    assert len(rows) and corners[rows, 0, 1].min() >= 90  # the outer ring alone
    middle = (corners[0, columns, 0] + corners[0, columns + 1, 0]) / 2 % (2 * np.pi)
    assert np.abs(middle - np.pi / 2).max() <= np.pi / 4 + 1e-9  # nearest to 90 degrees
    whole = nero.plot_disk(result, sample=1).flatten()[0]
    mesh = next(c for c in whole.collections if hasattr(c, "get_coordinates"))
    assert np.asarray(mesh.get_array()).min() == 1


# T2, T3, T8: means, ends and edges ---------------------------------------------------------


def test_an_angle_that_stands_at_both_ends_would_count_twice():
    """The score is cos^2: its mean over the circle is a half, not what a closed grid gives."""
    result = OrbitResult(torch.deg2rad(so2(8).params).cos().square(), so2(8))
    assert_close(result.mean(), torch.tensor([0.5], dtype=torch.float64), atol=1e-12, rtol=0)
    closed = torch.cat([result.scores, result.scores[:1]])
    assert closed.mean() > 0.55
    assert so2(8).params.max() == 315


def test_the_loss_by_resampling_is_measured_on_its_own():
    """There and back again: what is lost is the interpolator's and no model's."""
    x, orbit = data.digits("test", size=28).x[:5].double(), so2(16, output="image")
    lost = torch.stack(
        [(orbit.inv_y(orbit.act_x(x, g), g) - x).square().mean() for g in range(len(orbit))]
    )
    assert lost[::4].max() < 1e-20  # right angles permute pixels
    between = lost[torch.arange(16) % 4 != 0]
    assert between.min() > 1e-4
    energy = lambda x: x.square().sum((1, 2, 3))  # invariant on the plane, not on a grid
    moved = orbits.equivariance_error(energy, x, so2(16)).amax(1)
    assert moved[::4].max() < 1e-10
    assert moved[torch.arange(16) % 4 != 0].min() > 1


@settings(max_examples=10)
@given(n=st.integers(1, 11), batch=st.integers(1, 40))
def test_a_short_last_batch_weighs_no_more_than_its_samples(n, batch):
    x = torch.arange(float(n))
    orbit = orbits.Orbit("still", torch.zeros(3, 1), lambda x, i: x)
    result = evaluate(lambda x: x, x, x, orbit, lambda o, y: o, batch=batch, progress=False)
    assert_close(result.aggregate(), torch.full((3,), (n - 1) / 2))
    assert result.aggregate(x == 0).tolist() == [0] * 3  # one sample, in the first batch alone
    if n > 1:
        assert_close(result.aggregate(x > 0), torch.full((3,), n / 2))


# T1, T7, T9, T10: what a number means ------------------------------------------------------


def test_an_augmented_test_set_flattens_every_aggregate():
    """One line of augmentation of the test set, and the worst model looks invariant."""
    x = torch.rand(6, 1, 1, 4)
    y = torch.zeros(6).long()
    model = lambda x: x[:, 0, 0]
    honest = evaluate(model, x, y, shifts(1, 4), "confidence", progress=False)
    everywhere = torch.cat([x.roll(k, -1) for k in range(4)])
    flat = evaluate(model, everywhere, y.repeat(4), shifts(1, 4), "confidence", progress=False)
    assert flat.aggregate().std() < rounding(torch.float32, 1) < 1e-2 < honest.aggregate().std()
    assert_close(flat.spread().mean(), honest.spread().mean())  # which tells


def test_confidence_is_a_probability_and_no_rescaled_logit():
    logits = torch.tensor([[0.0, 0.1, 0.05]]).expand(3, -1)
    sure = orbits.metrics.confidence(logits, torch.arange(3))
    assert sure.sum() == pytest.approx(1)
    assert sure.max() < 0.36  # min-max scaling would call it 1
    assert_close(orbits.metrics.confidence(logits + 5, torch.arange(3)), sure)


def test_a_constant_predictor_agrees_with_itself_and_is_wrong():
    x, y = torch.rand(20, 1, 4, 4), torch.arange(20) % 10
    model = lambda x: torch.eye(10)[torch.full((len(x),), 3)]
    result = evaluate(model, x, y, shifts(4, 4), keep_outputs=True, progress=False)
    agreed = orbits.consensus(result, "vote")
    assert orbits.rescore(result, agreed, "correct").scores.eq(1).all()
    assert result.scores.mean() == pytest.approx(0.1)


def test_vectors_are_turned_back_before_they_are_averaged():
    """All flows to the right, seen from 16 sides: the plain mean of the answers is no flow."""
    flow = torch.tensor([2.0, 0.0]).double().view(1, 2, 1, 1).expand(3, 2, 6, 6)
    orbit = orbits.d4_time()
    answers = torch.stack([orbit.act_y(flow, g) for g in range(16)])
    scores = torch.stack([rmse(a, orbit.act_y(flow, g)) for g, a in enumerate(answers)])
    result = OrbitResult(scores, orbit, higher_is_better=False, outputs=answers)
    assert scores.max() == 0
    assert_close(orbits.consensus(result), flow)
    assert answers.mean(0).abs().max() < 1e-12


def test_the_mean_of_two_angles_goes_around_the_circle():
    """359 and 1 degrees agree on 0: their vectors have a mean, their numbers one that is wrong."""
    degrees = torch.tensor([[359.0], [1.0]])
    vectors = torch.stack([torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()], -1)
    orbit = orbits.Orbit("two", torch.zeros(2, 1), lambda x, i: x)
    x, y = orbits.consensus(OrbitResult(torch.zeros(2, 1), orbit, outputs=vectors))[0]
    assert abs(torch.rad2deg(torch.atan2(y, x))) < 1e-3
    assert degrees.mean() == 180


# Batches, modes, callables -----------------------------------------------------------------


class Restless(nn.Module):
    """Has dropout and batch norm, so that a forward in train mode shows in its scores."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5), nn.BatchNorm1d(5),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("n", [1, 5, 8])
def test_batch_sizes_agree_for_models_with_dropout_and_batch_norm(n):
    torch.manual_seed(0)
    net = Restless().double().train()
    x, y = noise(n, 1, 4, 4).double(), torch.arange(n) % 5
    sizes = {1, 7, n, 16 * n}
    results = [
        evaluate(net, x, y, shifts(4, 4), "confidence", batch=b, keep_outputs=True, progress=False)
        for b in sorted(sizes)
    ]
    assert net.training and net.layers[3].training
    for result in results:
        assert result.scores.shape == (16, n)
        assert_close(result.scores, results[0].scores, atol=1e-12, rtol=0)
        assert_close(result.outputs, results[0].outputs, atol=1e-12, rtol=0)
    alone = evaluate(net, x[:1], y[:1], shifts(4, 4), "confidence", progress=False)
    assert_close(alone.scores[:, 0], results[0].scores[:, 0], atol=1e-12, rtol=0)
    # the broken twin: the same in train mode depends on who else is in the batch
    with torch.no_grad():
        a, b = net(torch.cat([x, x + 1])), net(torch.cat([x, x - 1]))
    assert not torch.allclose(a[:n], b[:n], atol=1e-3)


def test_the_meter_measures_a_plain_python_function():
    model = lambda batch: [[sum(map(sum, image[0])), 0.5] for image in batch.tolist()]
    x = torch.rand(1, 1, 3, 3)  # N = 1
    result = evaluate(
        model, x, torch.zeros(1), shifts(3, 3),
        lambda output, y: [row[0] for row in output], progress=False,
    )  # fmt: skip
    assert result.spread("range").item() < 1e-6
    assert_close(result.mean().float(), x.sum().view(1))


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_a_metric_that_fails_is_named_and_never_a_zero(batch):
    x, y = noise(4, 1, 2, 2), torch.zeros(4).long()
    call = lambda metric, **kw: evaluate(
        lambda x: x[:, 0, 0], x, y, shifts(2, 2), metric, batch=batch, progress=False, **kw
    )

    def raising(output, y):
        raise KeyError("planned")

    with pytest.raises(KeyError, match="planned") as caught:
        call(raising)
    assert "in the metric 'raising' at elements 0" in caught.value.__notes__[0]
    missing = lambda output, y: torch.where(output[:, 0] > 0, 1.0, torch.nan)
    with pytest.raises(ValueError, match="missing='count'"):
        call(missing)
    counted = call(missing, missing="count")
    assert 0 < counted.coverage < 1
    assert counted.scores[~counted.scores.isnan()].eq(1).all()  # no NaN became a zero
    assert counted.mean().nan_to_num(1).eq(1).all()
    with pytest.raises(ValueError, match="one number for each sample"):
        call(lambda output, y: output.mean())
