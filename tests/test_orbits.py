"""The meter: evaluate measures any callable, in bounded memory, and leaves no trace."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from equitutor import orbits
from equitutor.orbits import Orbit, OrbitResult, evaluate, shifts
from equitutor.orbits.evaluate import chunks


def images(n=5, h=4, w=6, seed=0):
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(seed))


def classes(n=5, k=6):
    return torch.arange(n) % k


def first_row(x):
    """Return logits that move with the image: as far from invariant as can be."""
    return x[:, 0, 0]


def counter(n=3):
    """Return an orbit of numbers: element i adds 10 i to every input."""
    return Orbit("adds", torch.arange(float(n))[:, None], lambda x, i: x + 10 * i, identity=0)


def planted(scores):
    """Return the result of a model whose score at element g, sample k is scores[g][k]."""
    scores = torch.tensor(scores)
    x = torch.arange(float(scores.shape[1]))
    model = lambda x: scores[(x // 10).long(), (x % 10).long()]
    orbit = Orbit("adds", torch.arange(float(len(scores)))[:, None], lambda x, i: x + 10 * i)
    return evaluate(model, x, x, orbit, lambda output, y: output)


# What is measured --------------------------------------------------------------------------


@given(st.integers(1, 7), st.integers(1, 5), st.integers(1, 60))
def test_chunks_hold_every_pair_once_and_no_more_than_asked(n, g, batch):
    seen = torch.zeros(g, n, dtype=torch.long)
    for elements, first, last in chunks(g, n, batch):
        assert len(elements) * (last - first) <= batch
        seen[elements.start : elements.stop, first:last] += 1
    assert (seen == 1).all()


@given(st.integers(1, 7), st.integers(1, 200))
def test_scores_are_those_of_a_loop_at_every_batch_size(n, batch):
    x, y, orbit = images(n), classes(n), shifts(4, 6)
    widest = 0

    def model(x):
        nonlocal widest
        widest = max(widest, len(x))
        return first_row(x)

    result = evaluate(model, x, y, orbit, "confidence", batch=batch, keep_outputs=True)
    assert result.scores.shape == (24, n)
    for g, (dy, dx) in enumerate(orbit.params.long().tolist()):
        logits = torch.roll(x, (dy, dx), (2, 3))[:, 0, 0]
        assert torch.equal(result.outputs[g], logits)
        wanted = logits.softmax(1)[torch.arange(n), y]
        assert_close(result.scores[g], wanted, atol=1e-7, rtol=1e-6)
    assert widest == min(batch, n * max(1, min(24, batch // n)))


def test_a_planted_failure_is_found():
    scores = torch.ones(6, 5)
    scores[2, 3] = 0.0
    result = planted(scores.tolist())
    assert torch.equal(result.scores, scores)
    assert result.worst().element[3] == 2
    assert result.worst().score.tolist() == [1, 1, 1, 0, 1]
    assert_close(result.aggregate(), torch.tensor([1, 1, 0.8, 1, 1, 1]))
    assert result.aggregate(torch.tensor([0, 0, 0, 1, 0]).bool()).tolist() == [1, 1, 0, 1, 1, 1]
    assert result.spread("range").tolist() == [0, 0, 0, 1, 0]
    assert_close(result.spread()[3].item(), (5 / 36) ** 0.5)
    summary = result.summary()
    assert summary["identity"] == 1
    assert summary["worst element"] == pytest.approx(0.8)
    assert summary["worst of orbit"] == pytest.approx(0.8)
    assert summary["mean"] == pytest.approx(29 / 30)


def test_worst_is_largest_where_small_is_good():
    result = planted([[1.0, 5.0], [3.0, 2.0]])
    errors = OrbitResult(result.scores, result.orbit, higher_is_better=False)
    assert errors.worst().element.tolist() == [1, 0]
    assert errors.worst().score.tolist() == [3, 5]
    assert errors.summary()["worst element"] == 3.0
    assert result.worst().element.tolist() == [0, 1]
    x = images()
    assert not evaluate(first_row, x, first_row(x), shifts(4, 6), "squared_error").higher_is_better
    assert evaluate(first_row, x, classes(), shifts(4, 6), "correct").higher_is_better


def test_weights_count():
    orbit = Orbit("two", torch.zeros(2, 1), lambda x, i: x + i, weights=torch.tensor([3.0, 1.0]))
    result = OrbitResult(torch.tensor([[0.0], [1.0]]), orbit)
    assert result.mean().tolist() == [0.25]
    assert_close(result.spread().item(), (3 / 16) ** 0.5)
    assert result.spread("range").tolist() == [1.0]


def test_a_flat_aggregate_does_not_hide_the_spread():
    x = torch.eye(4).view(4, 1, 1, 4)  # the test set is invariant itself
    result = evaluate(first_row, x, torch.zeros(4, dtype=torch.long), shifts(1, 4))
    assert result.aggregate().std() == 0
    assert (result.spread() > 0.4).all()


def test_a_single_sample_is_enough():
    result = evaluate(first_row, images(1), classes(1), shifts(4, 6), "confidence")
    assert result.scores.shape == (24, 1)
    assert result.summary().keys() == {
        "identity", "mean", "worst element", "worst of orbit", "spread"
    }  # fmt: skip


# Anything callable, any kind of batch ------------------------------------------------------


def test_numpy_alone_will_do():
    x = np.arange(12.0).reshape(3, 4)
    orbit = Orbit("roll", torch.arange(4.0)[:, None], lambda x, i: np.roll(x, i, 1))
    result = evaluate(lambda x: x, x, np.array([3, 3, 0]), orbit, batch=2, keep_outputs=True)
    assert result.scores.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert isinstance(result.outputs, np.ndarray)
    assert result.outputs.shape == (4, 3, 4)


def test_texts_have_orbits_too():
    orbit = Orbit("case", torch.arange(2.0)[:, None],
                  lambda x, i: [t.upper() if i else t for t in x])  # fmt: skip
    model = lambda texts: ["good" in t for t in texts]
    metric = lambda output, y: [float(a == b) for a, b in zip(output, y, strict=True)]
    texts, y = ["a good book", "a bad one", "good GOOD"], [True, False, True]
    for batch in (1, 2, 6):
        result = evaluate(model, texts, y, orbit, metric, batch=batch, keep_outputs=True)
        assert result.scores.tolist() == [[1, 1, 1], [0, 1, 0]]
        assert result.outputs[1] == [False, False, False]


def test_pairs_and_dicts_are_batches():
    pairs = (images(5), images(5, seed=1))
    orbit = Orbit("both", torch.arange(3.0)[:, None], lambda x, i: tuple(p.roll(i, 3) for p in x))
    model = lambda x: {"sum": first_row(x[0]) + first_row(x[1]), "n": [1] * len(x[0])}
    metric = lambda out, y: out["sum"].sum(1) - y["a"]
    y = {"a": torch.arange(5.0), "b": list("abcde")}
    results = [
        evaluate(model, pairs, y, orbit, metric, batch=b, keep_outputs=True) for b in (1, 4, 99)
    ]
    assert_close(results[0].scores, first_row(pairs[0] + pairs[1]).sum(1)[None] - torch.arange(5.0)
                 + torch.zeros(3, 1))  # fmt: skip
    for result in results[1:]:
        assert_close(result.scores, results[0].scores)
        assert_close(result.outputs["sum"], results[0].outputs["sum"])
        assert result.outputs["n"] == [[1] * 5] * 3


def test_targets_move_with_act_y():
    x = images()
    orbit = shifts(4, 6, output="image")
    assert evaluate(lambda x: 2 * x, x, 2 * x, orbit, "squared_error").scores.max() == 0
    still = shifts(4, 6)  # the broken twin: the target stays
    assert evaluate(lambda x: 2 * x, x, 2 * x, still, "squared_error").scores.max() > 0.1


# No trace is left --------------------------------------------------------------------------


class Noisy(nn.Module):
    """Draws from every generator, has dropout and running statistics, fails where told to."""

    def __init__(self, fail=False):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(24), nn.Dropout(), nn.Linear(24, 6))
        self.fail = fail

    def forward(self, x):
        assert not any(m.training for m in self.modules())
        assert not torch.is_grad_enabled()
        torch.rand(3), np.random.rand(3), random.random()
        if self.fail:
            raise RuntimeError("planned")
        return self.body(x)


@pytest.mark.parametrize("fail", [False, True])
def test_flags_statistics_and_random_states_are_put_back(fail):
    model = Noisy(fail).train()
    model.body[1].eval()  # a frozen part must stay frozen
    flags = [m.training for m in model.modules()]
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    calls = [
        lambda: evaluate(model, images(), classes(), shifts(4, 6)),
        lambda: orbits.equivariance_error(model, images(), shifts(4, 6)),
    ]
    for call in calls:
        if fail:
            with pytest.raises(RuntimeError, match="planned"):
                call()
        else:
            call()
        assert [m.training for m in model.modules()] == flags
        assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
        assert torch.equal(torch.get_rng_state(), states[0])
        assert (np.random.get_state()[1] == states[1]).all()
        assert random.getstate() == states[2]
        assert torch.is_grad_enabled()


def test_inputs_are_not_touched_and_scores_carry_no_gradient():
    x, weight = images().requires_grad_(), torch.ones((), requires_grad=True)
    before = x.detach().clone()
    result = evaluate(lambda x: x[:, 0, 0] * weight, x, classes(), shifts(4, 6), "confidence")
    assert not result.scores.requires_grad
    assert torch.equal(x, before)
    assert x.grad is None


# Missing scores ----------------------------------------------------------------------------


def test_a_missing_score_is_an_error_unless_it_is_to_be_counted():
    x = torch.arange(4.0)
    metric = lambda output, y: torch.where(output == 12, torch.nan, output % 10)
    with pytest.raises(ValueError, match=r"NaN for 1 of 12 pairs.*missing='count'"):
        evaluate(lambda x: x, x, x, counter(), metric)
    result = evaluate(lambda x: x, x, x, counter(), metric, missing="count")
    assert result.coverage == pytest.approx(11 / 12)
    assert result.aggregate().tolist() == [1.5, pytest.approx(4 / 3), 1.5]
    assert result.mean().tolist() == [0, 1, 2, 3]
    assert result.spread().tolist() == [0, 0, 0, 0]
    assert result.spread("range").tolist() == [0, 0, 0, 0]
    assert result.worst().element[2] != 1
    assert result.summary()["worst element"] == pytest.approx(4 / 3)


def test_an_element_without_scores_does_not_spoil_the_summary():
    nan = float("nan")
    result = OrbitResult(torch.tensor([[1.0, 1.0], [nan, nan], [0.0, nan]]), counter())
    assert result.summary()["worst element"] == 0
    assert result.worst().element.tolist() == [2, 0]
    empty = OrbitResult(torch.full((3, 2), nan), counter())
    assert empty.coverage == 0
    assert np.isnan(empty.summary()["worst element"])
    assert empty.spread("range").isnan().all()


def test_an_infinite_score_is_not_taken_for_a_large_number():
    result = OrbitResult(torch.tensor([[1.0], [float("inf")], [1.0]]), counter())
    assert result.mean().tolist() == [float("inf")]
    assert not result.spread().isfinite().any()


def test_logits_that_are_nan_are_no_right_answer():
    broken = lambda x: first_row(x) * torch.nan
    with pytest.raises(ValueError, match="NaN"):
        evaluate(broken, images(), torch.zeros(5, dtype=torch.long), shifts(4, 6))


# Refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model must be callable"),
        ({"orbit": None}, "orbit must be an Orbit"),
        ({"x": images(0), "y": classes(0)}, "x must hold at least one"),
        ({"y": classes(4)}, "equal length, got 5 and 4"),
        ({"x": (images(5), images(4))}, "parts of equal length"),
        ({"x": 3.0}, "x must be a batch"),
        ({"x": torch.tensor(3.0)}, "x must be a batch"),
        ({"x": "hello"}, "x must be a batch"),
        ({"batch": 0}, "batch"),
        ({"batch": 2.5}, "batch"),
        ({"batch": True}, "batch"),
        ({"missing": "ignore"}, "missing"),
        ({"metric": "accuracy"}, "metric must be callable or one of"),
        ({"metric": lambda a, b: torch.tensor(1.0)}, r"metric must return .* shape \(120,\)"),
        ({"metric": lambda a, b: a}, r"got shape \(120, 6\)"),
        ({"model": lambda x: x[:2]}, "got 2 for 120"),
        ({"model": lambda x: None}, "model"),
        ({"y": images(5)}, "y integers"),
        ({"y": torch.full((5,), 6)}, r"y must lie in 0 \.\.\. 5"),
        ({"y": torch.full((5,), -1)}, "y must lie in"),
        ({"metric": "squared_error"}, "equal shapes"),
    ],
)
def test_what_cannot_be_measured_is_refused(change, message):
    call = {"model": first_row, "x": images(), "y": classes(), "orbit": shifts(4, 6)}
    with pytest.raises(ValueError, match=message):
        evaluate(**(call | change))


def test_an_error_says_where_it_happened():
    def metric(output, y):
        raise RuntimeError("planned")

    with pytest.raises(RuntimeError) as caught:
        evaluate(first_row, images(), classes(), shifts(4, 6), metric, batch=10)
    assert caught.value.__notes__ == ["in the metric 'metric' at elements 0 ... 1, samples 0 ... 4"]
    with pytest.raises(ValueError, match="4 x 6 pixels") as caught:
        evaluate(first_row, images(5, 4, 5), classes(), shifts(4, 6))
    assert "element 0 (down (px) 0, right (px) 0)" in caught.value.__notes__[0]


def test_masks_are_checked():
    result = planted([[1.0, 0.0]])
    for mask in (torch.tensor([0, 1]), torch.tensor([True]), torch.tensor([False, False])):
        with pytest.raises(ValueError, match="mask"):
            result.aggregate(mask)
    with pytest.raises(ValueError, match="kind"):
        result.spread("variance")
