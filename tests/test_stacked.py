"""Many seeds at once: each must end where it would end alone."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.testing import assert_close

from equitutor.methods.soft import O, Rep, SoftTuning, SoftTypedLinear, embed_O2
from equitutor.training import Batches, fit, fit_stacked


def data(n=60):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, 30 * x.prod(1, keepdim=True)  # large targets, so that gradients get clipped


def network():
    return nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1)).double()


SEEDS = [0, 3, 5]
quiet = {"progress": False}


@pytest.mark.parametrize("shared", [True, False])
def test_each_seed_ends_where_it_ends_alone(shared):
    x, y = data()
    of = [Batches(x, y, 20, seed=0 if shared else s) for s in SEEDS]
    stack = fit_stacked(network, SEEDS, of[0] if shared else of, mse_loss, 60, lr=0.01, **quiet)
    for seed, batches, model, history in zip(SEEDS, of, stack.models, stack.histories, strict=True):
        torch.manual_seed(seed)
        alone = network()
        expected = fit(alone, batches, mse_loss, 60, lr=0.01, progress=False)
        assert_close(torch.tensor(history.loss), torch.tensor(expected.loss))
        for p, q in zip(model.parameters(), alone.parameters(), strict=True):
            assert_close(p, q, atol=1e-8, rtol=1e-6)
        assert not model.training
        assert len(history.loss) == 60
    first, second = (m(x) for m in stack.models[:2])
    assert not torch.allclose(first, second)


def test_one_norm_for_all_seeds_would_be_something_else(monkeypatch):
    """The broken twin: a seed must not be slowed down by the gradients of another one."""

    def together(params, most):
        nn.utils.clip_grad_norm_(list(params.values()), most)

    batches = Batches(*data(), 20)
    right = fit_stacked(network, SEEDS, batches, mse_loss, 30, lr=0.01, **quiet)
    monkeypatch.setattr("equitutor.stacked._clip", together)
    wrong = fit_stacked(network, SEEDS, batches, mse_loss, 30, lr=0.01, **quiet)
    assert not torch.allclose(right.models[0][0].weight, wrong.models[0][0].weight, atol=1e-6)


def test_penalty_and_tune():
    x, y = data()
    batches = Batches(x, y, 20)
    calls = []

    def tune(step, params, lr):
        calls.append((step, lr, params["0.weight"].shape))
        with torch.no_grad():
            params["0.bias"].fill_(7.0)

    def heavy(params):
        return torch.tensor([0.0, 1e3, 0.0]) * params["2.weight"].square().sum((1, 2))

    stack = fit_stacked(network, SEEDS, batches, mse_loss, 30, 0.01, 0.0, heavy, tune, **quiet)
    plain = fit_stacked(network, SEEDS, batches, mse_loss, 30, 0.01, 0.0, None, tune, **quiet)
    assert all(model[0].bias.eq(7).all() for model in stack.models)
    assert calls[0] == (0, pytest.approx(0.01 / 3), (3, 16, 3))
    assert [step for step, *_ in calls[:30]] == list(range(30))
    pairs = zip(stack.models, plain.models, strict=True)
    sizes = [m[2].weight.norm() / p[2].weight.norm() for m, p in pairs]
    assert sizes[0] == sizes[2] == 1  # the penalty of one seed is no business of another
    assert sizes[1] < 0.9
    assert_close(stack.histories[1].loss[0], plain.histories[1].loss[0])  # the loss alone


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import test_stacked
test_stacked.soft_run(stop=lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def soft_run(stop=None, at=130, steps=200):
    """Networks with noise of their own, and a tuning that sets its strengths at step 100."""
    tuning = SoftTuning(soft_network(), [1.0, 2.0], steps, at=0.5)
    x, y = data()

    def batches(step):
        if stop is not None and step == at:
            stop()
        return Batches(x.float(), y.float(), 20)(step)

    def noisy(params):
        return 0.1 * torch.rand(len(SEEDS)) * params["weight"].square().sum((1, 2))

    torch.manual_seed(7)  # the noise comes from the global generator, as dropout does
    some = {"lr": 0.01, "penalty": noisy, "tune": tuning, "name": "a/b", "every": 0.0, **quiet}
    return fit_stacked(soft_network, SEEDS, batches, mse_loss, steps, **some), tuning


def soft_network():
    return SoftTypedLinear(Rep(n1=1), Rep(1), [O(3), embed_O2((0, 1))])


def same(a, b):
    """Returns whether two runs are the same to the last bit."""
    (a, tuned_a), (b, tuned_b) = a, b
    weights = zip(a.models, b.models, strict=True)
    records = zip(tuned_a.record, tuned_b.record, strict=True)
    return (
        all(torch.equal(m.weight, n.weight) for m, n in weights)
        and [h.loss for h in a.histories] == [h.loss for h in b.histories]
        and all(s == t and torch.equal(p, q) for (s, p), (t, q) in records)
        and torch.equal(tuned_a.strengths, tuned_b.strengths)
    )


def test_a_killed_run_goes_on_where_it_was_saved(tmp_path, monkeypatch):
    whole = soft_run()
    monkeypatch.setenv("EQUITUTOR_CHECKPOINTS", str(tmp_path))
    script = KILLED.format(tests=str(Path(__file__).parent))
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    resumed = soft_run()
    assert resumed[0].histories[0].resumed_at == 100  # saved each 50 steps, killed at 130
    assert same(whole, resumed)
    again = soft_run()  # a finished run is only read
    assert again[0].histories[0].resumed_at == 200
    assert same(whole, again)
    assert again[0].histories[0].seconds > 0
    longer, _ = soft_run(steps=201)  # other settings: another run
    assert longer.histories[0].resumed_at == 0
    assert len(list(tmp_path.glob("a-b-*.pt"))) == 2


def test_a_run_does_not_go_on_with_the_data_of_another_one(tmp_path, monkeypatch):
    monkeypatch.setenv("EQUITUTOR_CHECKPOINTS", str(tmp_path))
    x, y = data()
    first, second, third = (Batches(x, factor * y, 20) for factor in (1, 2, 3))

    def train(*batches):
        some = {"steps": 5, "name": "walks", **quiet}
        return fit_stacked(network, [0, 1], batches, mse_loss, **some).histories

    ended = train(first, second)
    again = train(first, second)
    assert again[0].resumed_at == 5
    assert again[1].loss == ended[1].loss
    other = train(first, third)  # the second seed alone has other data
    assert other[0].resumed_at == 0
    assert other[1].loss != ended[1].loss


@pytest.mark.parametrize("lost", ["tune", "rng", "optimizer"])
def test_a_run_that_forgets_something_ends_elsewhere(tmp_path, monkeypatch, lost):
    """The broken twins: each part of what is saved is needed."""
    whole = soft_run()
    monkeypatch.setenv("EQUITUTOR_CHECKPOINTS", str(tmp_path))

    def stop():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        soft_run(stop, at=110)
    (path,) = tmp_path.glob("*.pt")
    state = torch.load(path, weights_only=True)
    if lost == "tune":
        state["tune"]["strengths"] = torch.tensor([1.0, 2.0])
    elif lost == "rng":
        state["rng"] = torch.Generator().manual_seed(1).get_state()
    else:
        for moments in state["optimizer"]["state"].values():
            moments["exp_avg"].zero_()
    torch.save(state, path)
    assert not same(whole, soft_run())


class WithTable(nn.Module):
    """A network with one buffer that all seeds share, and one that differs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1).double()
        self.register_buffer("order", torch.tensor([2, 0, 1]), persistent=False)
        self.register_buffer("shift", torch.rand(1).double())

    def forward(self, x):
        return self.layer(x.index_select(-1, self.order)) + self.shift


def test_buffers():
    batches = Batches(*data(), 20)
    stack = fit_stacked(WithTable, SEEDS, batches, mse_loss, 10, **quiet)
    torch.manual_seed(SEEDS[1])
    alone = WithTable()
    fit(alone, batches, mse_loss, 10, progress=False)
    assert_close(stack.models[1].shift, alone.shift)
    assert_close(stack.models[1].layer.weight, alone.layer.weight)


def test_the_same_seeds_give_the_same_networks_and_leave_the_random_state_alone():
    batches = Batches(*data(), 20)
    before = torch.get_rng_state()
    runs = [fit_stacked(network, SEEDS, batches, mse_loss, 10, **quiet) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert runs[0].histories[2].loss == runs[1].histories[2].loss


def test_a_run_that_diverges_names_the_seed():
    x, y = data()

    def poisoned(seed):
        batches = Batches(x, y, 20)
        return lambda step: (
            x[:20] * (math.nan if seed == 3 and step == 4 else 1),
            batches(step)[1],
        )

    with pytest.raises(FloatingPointError, match="the loss of seed 3 was nan at step 4"):
        fit_stacked(network, SEEDS, [poisoned(s) for s in SEEDS], mse_loss, 10, **quiet)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "seeds must be different ints >= 0"),
        ({"seeds": [1, 1]}, "seeds must be different"),
        ({"seeds": [True]}, "seeds must be different ints"),
        ({"steps": 0}, "steps must be an int >= 1, got 0"),
        ({"steps": True}, "steps must be an int"),
        ({"lr": math.nan}, "lr must be positive and finite"),
        ({"batches": [Batches(*data(), 20)]}, "batches must be one a seed, 3, got 1"),
        ({"loss": lambda p, y: (p - y).square()}, "loss must return a scalar"),
        ({"seeds": 3}, "seeds must be a sequence of ints, got 3"),
        ({"penalty": lambda p: p["0.weight"].sum()}, r"penalty must return \(3,\).* got \(\)"),
        ({"penalty": lambda p: p["0.bias"][:, :1]}, r"penalty must return \(3,\).* got \(3, 1\)"),
        ({"penalty": lambda p: 0.0}, r"penalty must return \(3,\), one a seed, got 0.0"),
        ({"make_model": lambda: nn.BatchNorm1d(3)}, "without running statistics"),
    ],
)
def test_bad_input(change, message):
    arguments = {"make_model": network, "seeds": SEEDS, "batches": Batches(*data(), 20),
                 "loss": mse_loss, "steps": 2, **quiet}  # fmt: skip
    with pytest.raises(ValueError, match=message):
        fit_stacked(**(arguments | change))
