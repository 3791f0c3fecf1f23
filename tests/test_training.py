"""The training loop: an interrupted run ends as an unbroken one does, and so do many seeds."""

import math
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import l1_loss, mse_loss
from torch.testing import assert_close

from equitutor import training
from equitutor.methods.soft import O, Rep, SoftTuning, SoftTypedLinear, embed_O2
from equitutor.training import Batches, Checkpoint, cosine, fit, fit_stacked

STEPS = 130  # checkpoints are possible after 50 and 100


def data(n=40):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    return x, x.sum(1, keepdim=True)


def jitter(x, generator):
    return x + 0.1 * torch.randn(x.shape, generator=generator)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))


class Interrupted(Exception):
    pass


def stop_at(monkeypatch, at, stop=None):
    """Lets training stop in the middle of a step. Data, loss and network are those of the run."""
    original, calls = training._Loop.descend, []

    def descend(self, value, clip):
        calls.append(1)
        if len(calls) == at + 1:
            if stop is not None:
                stop()
            raise Interrupted
        original(self, value, clip)

    monkeypatch.setattr(training._Loop, "descend", descend)


def run(batches, steps=STEPS, model=None, loss=mse_loss, **kwargs):
    """Return the trained model and the history of a run."""
    model = network() if model is None else model
    return model, fit(model, batches, loss, steps, **({"progress": False} | kwargs))


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def checkpoint(tmp_path):
    return Checkpoint(tmp_path / "runs/run.pt", "a key", every=0.0)


# Batches -----------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 9), st.integers(0, 40))
def test_a_batch_depends_on_its_number_alone(n, size, seed, step):
    size = min(n, size)
    x = torch.arange(float(n))
    batches, again = (Batches(x, x, size, seed, jitter) for _ in range(2))
    torch.rand(1)
    first = batches(step)
    batches(step + 1)
    for a, b in zip(first, again(step), strict=True):
        assert torch.equal(a, b)
    assert len(first[0]) == size


def test_an_epoch_shows_each_sample_once_and_epochs_differ():
    x = torch.arange(12)
    batches = Batches(x, x, 4)
    epochs = [torch.cat([batches(3 * e + k)[0] for k in range(3)]) for e in range(2)]
    assert all(torch.equal(e.sort().values, x) for e in epochs)
    assert not torch.equal(*epochs)
    assert not torch.equal(epochs[0], torch.cat([Batches(x, x, 4, 1)(k)[0] for k in range(3)]))
    assert torch.equal(*batches(1))  # x and y belong together


@pytest.mark.parametrize("size", [0, 13, 2.0, -1])
def test_a_bad_batch_size_is_refused(size):
    with pytest.raises(ValueError, match="size must"):
        Batches(torch.zeros(12), torch.zeros(12), size)


def test_x_and_y_must_fit():
    with pytest.raises(ValueError, match="equal length, got 3 and 4"):
        Batches(torch.zeros(3), torch.zeros(4), 1)


# The schedule ------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 1000])
def test_cosine_rises_and_falls_between_zero_and_one(steps):
    factors = [cosine(k, steps) for k in range(steps + 1)]
    top = factors.index(max(factors))
    assert max(factors) == 1
    assert min(factors) >= 0
    assert factors[0] > 0
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert factors[-1] == pytest.approx(0, abs=1e-12) or steps == 1


# Fitting -----------------------------------------------------------------------------------


def test_a_run_learns_and_ends_in_eval_mode():
    x, y = data()
    model = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.0))
    history = fit(model, Batches(x, y, 20), mse_loss, 200, lr=0.1, progress=False)
    assert history.loss[-1] < 0.05 * history.loss[0]
    assert len(history.loss) == 200
    assert history.seconds > 0
    assert not any(m.training for m in model.modules())


def test_it_trains_in_training_mode_at_the_rates_of_the_schedule():
    modes, model = [], nn.Linear(1, 1, bias=False)
    model.register_forward_hook(lambda module, *_: modes.append(module.training))
    x = torch.ones(4, 1)
    nn.init.zeros_(model.weight)
    # Adam moves by the rate itself while the gradient keeps its sign and size.
    fit(model, Batches(x, x, 4), lambda out, y: -out.sum(), 20, lr=0.01, weight_decay=0.0,
        progress=False)  # fmt: skip
    assert modes == [True] * 20
    assert model.weight.item() == pytest.approx(0.01 * sum(cosine(k, 20) for k in range(20)), 1e-3)


def test_a_loss_that_is_not_finite_names_its_step():
    def loss(out, y):
        loss.calls += 1
        return out.sum() * (math.nan if loss.calls > 57 else 1.0)

    loss.calls = 0
    x, y = data()
    with pytest.raises(FloatingPointError, match=r"loss of mine was nan at step 57: lower lr"):
        fit(network(), Batches(x, y, 8), loss, 80, name="mine", progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 2.0}, "steps"),
        ({"lr": 0.0}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"lr": math.inf}, "lr"),
        ({"loss": lambda out, y: (out - y).flatten()}, "scalar"),
        ({"loss": lambda out, y: (out - y).mean()[None]}, "scalar"),
    ],
)
def test_a_run_that_cannot_work_is_refused(change, message):
    x, y = data()
    call = {"loss": mse_loss, "steps": 3, "progress": False} | change
    with pytest.raises(ValueError, match=message):
        fit(network(), Batches(x, y, 8), **call)


# Resuming ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("stop", "resumed_at"), [(40, 0), (60, 50), (129, 100)])
def test_an_interrupted_run_ends_as_an_unbroken_one(checkpoint, monkeypatch, stop, resumed_at):
    batches = Batches(*data(), 16, augment=jitter)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, stop)
        run(batches, checkpoint=checkpoint)
    torch.rand(7)  # another process would have another state
    model, history = run(batches, checkpoint=checkpoint)
    unbroken, whole = run(batches)
    assert history.resumed_at == resumed_at
    assert whole.resumed_at == 0
    assert history.loss == whole.loss
    assert same(model, unbroken)
    assert not same(model, network())


def test_a_finished_run_is_not_trained_again(checkpoint, monkeypatch):
    batches = Batches(*data(), 16)
    model, first = run(batches, checkpoint=checkpoint)
    after = torch.get_rng_state()
    stop_at(monkeypatch, 0)
    again, second = run(batches, checkpoint=checkpoint)
    assert second.resumed_at == STEPS
    assert second.loss == first.loss
    assert second.seconds >= first.seconds
    assert same(model, again)
    assert torch.equal(torch.get_rng_state(), after)
    assert not any(m.training for m in again.modules())


def other_pixel(where):
    """Returns the data with one number changed."""
    x, y = data()
    x[where] += 1e-6
    return x, y


def scaled(factor):
    return lambda out, y: factor * mse_loss(out, y)


CHANGES = {
    "steps": {"steps": STEPS + 1},
    "lr": {"lr": 1e-3},
    "weight_decay": {"weight_decay": 0.0},
    "amp": {"amp": True},
    "weights": {"model": network(seed=1)},
    "order": {"batches": Batches(*data(), 16, seed=1)},
    "size": {"batches": Batches(*data(), 8)},
    "augment": {"batches": Batches(*data(), 16, augment=jitter)},
    "first number": {"batches": Batches(*other_pixel((0, 0)), 16)},
    "last number": {"batches": Batches(*other_pixel((-1, -1)), 16)},
    "a target": {"batches": Batches(data()[0], other_pixel((3, 0))[0].sum(1, keepdim=True), 16)},
    "loss": {"loss": l1_loss},
    "constant in a loss": {"loss": scaled(2.0)},
    "key": {"key": "other"},
    "no key": {"key": None},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_run_does_not_resume_this_one(checkpoint, change):
    batches = Batches(*data(), 16)
    if "batches" in change and change["batches"].x.shape != (40, 3):
        batches = Batches(*data()[::-1], 16)  # targets and inputs in turn
    model = nn.Linear(batches.x.shape[1], batches.y.shape[1])
    start = {k: v.clone() for k, v in model.state_dict().items()}

    def go(**kwargs):
        if "model" not in kwargs:
            model.load_state_dict(start)
        key = kwargs.pop("key", checkpoint.key)
        found = Checkpoint(checkpoint.path, key, 0.0)
        call = {"batches": batches, "model": model, "loss": scaled(1.0)} | kwargs
        return run(**call, checkpoint=found)[1].resumed_at

    assert go() == 0
    assert go() == STEPS
    if "model" in change:
        other = nn.Linear(3, 1)
        assert go(model=other) == 0
    else:
        assert go(**change) == 0
        assert go(**change) == change.get("steps", STEPS)


def test_equal_weights_in_another_network_do_not_resume(checkpoint):
    def make(act):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), act, nn.Linear(4, 1))

    batches = Batches(*data(), 16)
    for act, resumed_at in ((nn.ReLU(), 0), (nn.ReLU(), STEPS), (nn.GELU(), 0)):
        assert run(batches, model=make(act), checkpoint=checkpoint)[1].resumed_at == resumed_at
    for act, resumed_at in ((nn.ReLU, 0), (nn.ReLU, 20), (nn.GELU, 0)):
        stack = fit_stacked(lambda act=act: make(act()), SEEDS, batches, mse_loss, 20,
                            checkpoint=checkpoint, **quiet)  # fmt: skip
        assert stack.histories[0].resumed_at == resumed_at


@pytest.mark.parametrize("damage", [
    lambda whole: b"", lambda whole: whole[:100], lambda whole: whole[:-100],
    lambda whole: b"\0" * len(whole), lambda whole: b"not a checkpoint",
    lambda whole: pickle.dumps(["a", "list"], 2), lambda whole: pickle.dumps({"no": "key"}, 2),
])  # fmt: skip
def test_a_damaged_file_starts_anew(checkpoint, damage):
    path, batches = Path(checkpoint.path), Batches(*data(), 16)
    whole = run(batches, checkpoint=checkpoint)[1]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="starts anew"):
        again = run(batches, checkpoint=checkpoint)[1]
    assert (again.resumed_at, again.loss) == (0, whole.loss)
    assert run(batches, checkpoint=checkpoint)[1].resumed_at == STEPS


def test_what_is_around_a_loss_counts(checkpoint):
    batches, weights = Batches(*data(), 16), [1.0, 2.0]

    def loss(out, y):
        return weights[0] * mse_loss(out, y) + weights[1] * out.square().mean()

    assert run(batches, loss=loss, checkpoint=checkpoint)[1].resumed_at == 0
    assert run(batches, loss=loss, checkpoint=checkpoint)[1].resumed_at == STEPS
    weights[1] = 3.0
    assert run(batches, loss=loss, checkpoint=checkpoint)[1].resumed_at == 0


def test_saving_is_atomic(checkpoint, monkeypatch):
    path, batches = Path(checkpoint.path), Batches(*data(), 16)
    run(batches, checkpoint=checkpoint)
    before = path.read_bytes()
    with path.open("rb") as reader:  # who reads meanwhile keeps the old file whole
        run(batches, steps=STEPS + 1, checkpoint=checkpoint)
        assert reader.read() == before
    before = path.read_bytes()

    def torn(state, file):
        file.write(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="disk full"):
        run(batches, lr=1e-3, checkpoint=checkpoint)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_without_a_checkpoint_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EQUITUTOR_CHECKPOINTS", str(tmp_path / "runs"))  # once it was found there
    run(Batches(*data(), 16), steps=2, name="run")
    assert list(tmp_path.iterdir()) == []


def test_parts_of_a_run_have_files_of_their_own(checkpoint):
    teacher, student = checkpoint.part("teacher"), checkpoint.part("student")
    assert len({teacher.path, student.path, Path(checkpoint.path)}) == 3
    assert (teacher.key, teacher.every) == (checkpoint.key, checkpoint.every)


# Many seeds at once ------------------------------------------------------------------------


def steep(n=60):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, 30 * x.prod(1, keepdim=True)  # large targets, so that gradients get clipped


def small():
    return nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1)).double()


SEEDS = [0, 3, 5]
quiet = {"progress": False}


@pytest.mark.parametrize("shared", [True, False])
def test_each_seed_ends_where_it_ends_alone(shared):
    x, y = steep()
    of = [Batches(x, y, 20, seed=0 if shared else s) for s in SEEDS]
    stack = fit_stacked(small, SEEDS, of[0] if shared else of, mse_loss, 60, lr=0.01, **quiet)
    for seed, batches, model, history in zip(SEEDS, of, stack.models, stack.histories, strict=True):
        torch.manual_seed(seed)
        alone = small()
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

    batches = Batches(*steep(), 20)
    right = fit_stacked(small, SEEDS, batches, mse_loss, 30, lr=0.01, **quiet)
    monkeypatch.setattr("equitutor.training._clip", together)
    wrong = fit_stacked(small, SEEDS, batches, mse_loss, 30, lr=0.01, **quiet)
    assert not torch.allclose(right.models[0][0].weight, wrong.models[0][0].weight, atol=1e-6)


def test_penalty_and_tune():
    x, y = steep()
    batches = Batches(x, y, 20)
    calls = []

    def tune(step, params, lr):
        calls.append((step, lr, params["0.weight"].shape))
        with torch.no_grad():
            params["0.bias"].fill_(7.0)

    def heavy(params):
        return torch.tensor([0.0, 1e3, 0.0]) * params["2.weight"].square().sum((1, 2))

    stack = fit_stacked(small, SEEDS, batches, mse_loss, 30, 0.01, 0.0, heavy, tune, **quiet)
    plain = fit_stacked(small, SEEDS, batches, mse_loss, 30, 0.01, 0.0, None, tune, **quiet)
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
import pytest
sys.path.insert(0, {tests!r})
import test_training as tests
with pytest.MonkeyPatch.context() as patch:
    tests.stop_at(patch, 130, lambda: os.kill(os.getpid(), signal.SIGKILL))
    tests.soft_run(tests.Checkpoint({path!r}, every=0.0))
"""


def noisy(params):
    return 0.1 * torch.rand(len(SEEDS)) * params["weight"].square().sum((1, 2))


def soft_run(checkpoint=None, steps=200, penalty=noisy):
    """Networks with noise of their own, and a tuning that sets its strengths at step 100."""
    tuning = SoftTuning(soft_network(), [1.0, 2.0], steps, at=0.5)
    x, y = steep()
    torch.manual_seed(7)  # the noise comes from the global generator, as dropout does
    some = {"lr": 0.01, "penalty": penalty, "tune": tuning, "checkpoint": checkpoint, **quiet}
    batches = Batches(x.float(), y.float(), 20)
    return fit_stacked(soft_network, SEEDS, batches, mse_loss, steps, **some), tuning


def soft_network():
    return SoftTypedLinear(Rep(n1=1), Rep(1), [O(3), embed_O2((0, 1))])


def same_stacks(a, b):
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


def test_killed_seeds_go_on_where_they_were_saved(checkpoint):
    checkpoint = Checkpoint(checkpoint.path, every=0.0)
    whole = soft_run()
    script = KILLED.format(tests=str(Path(__file__).parent), path=str(checkpoint.path))
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    resumed = soft_run(checkpoint)
    assert resumed[0].histories[0].resumed_at == 100  # saved each 50 steps, killed at 130
    assert same_stacks(whole, resumed)
    again = soft_run(checkpoint)  # a finished run is only read
    assert again[0].histories[0].resumed_at == 200
    assert same_stacks(whole, again)
    assert again[0].histories[0].seconds > 0
    longer, _ = soft_run(checkpoint, steps=201)  # other settings: another run
    assert longer.histories[0].resumed_at == 0


def test_seeds_do_not_go_on_with_another_penalty(checkpoint):
    soft_run(checkpoint)
    assert soft_run(checkpoint)[0].histories[0].resumed_at == 200
    twice = lambda params: 2 * noisy(params)
    assert soft_run(checkpoint, penalty=twice)[0].histories[0].resumed_at == 0


def test_seeds_do_not_go_on_with_the_data_of_others(checkpoint):
    x, y = steep()
    first, second, third = (Batches(x, factor * y, 20) for factor in (1, 2, 3))

    def train(*batches):
        some = {"steps": 5, "checkpoint": checkpoint, **quiet}
        return fit_stacked(small, [0, 1], batches, mse_loss, **some).histories

    ended = train(first, second)
    again = train(first, second)
    assert again[0].resumed_at == 5
    assert again[1].loss == ended[1].loss
    other = train(first, third)  # the second seed alone has other data
    assert other[0].resumed_at == 0
    assert other[1].loss != ended[1].loss


@pytest.mark.parametrize("lost", ["tune", "rng", "optimizer"])
def test_a_run_that_forgets_something_ends_elsewhere(checkpoint, monkeypatch, lost):
    """The broken twins: each part of what is saved is needed."""
    whole = soft_run()
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 110)
        soft_run(checkpoint)
    state = torch.load(checkpoint.path, weights_only=True)
    if lost == "tune":
        state["tune"]["strengths"] = torch.tensor([1.0, 2.0])
    elif lost == "rng":
        state["rng"] = torch.Generator().manual_seed(1).get_state()
    else:
        for moments in state["optimizer"]["state"].values():
            moments["exp_avg"].zero_()
    torch.save(state, checkpoint.path)
    ended = soft_run(checkpoint)
    assert ended[0].histories[0].resumed_at == 100
    assert not same_stacks(whole, ended)


class WithTable(nn.Module):
    """A small with one buffer that all seeds share, and one that differs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1).double()
        self.register_buffer("order", torch.tensor([2, 0, 1]), persistent=False)
        self.register_buffer("shift", torch.rand(1).double())

    def forward(self, x):
        return self.layer(x.index_select(-1, self.order)) + self.shift


def test_buffers():
    batches = Batches(*steep(), 20)
    stack = fit_stacked(WithTable, SEEDS, batches, mse_loss, 10, **quiet)
    torch.manual_seed(SEEDS[1])
    alone = WithTable()
    fit(alone, batches, mse_loss, 10, progress=False)
    assert_close(stack.models[1].shift, alone.shift)
    assert_close(stack.models[1].layer.weight, alone.layer.weight)


def test_the_same_seeds_give_the_same_smalls_and_leave_the_random_state_alone():
    batches = Batches(*steep(), 20)
    before = torch.get_rng_state()
    runs = [fit_stacked(small, SEEDS, batches, mse_loss, 10, **quiet) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert runs[0].histories[2].loss == runs[1].histories[2].loss


def test_a_run_that_diverges_names_the_seed():
    x, y = steep()

    def poisoned(seed):
        batches = Batches(x, y, 20)
        return lambda step: (
            x[:20] * (math.nan if seed == 3 and step == 4 else 1),
            batches(step)[1],
        )

    with pytest.raises(FloatingPointError, match="the loss of seed 3 was nan at step 4"):
        fit_stacked(small, SEEDS, [poisoned(s) for s in SEEDS], mse_loss, 10, **quiet)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "seeds must be different ints >= 0"),
        ({"seeds": [1, 1]}, "seeds must be different"),
        ({"seeds": [True]}, "seeds must be different ints"),
        ({"steps": 0}, "steps must be an int >= 1, got 0"),
        ({"steps": True}, "steps must be an int"),
        ({"lr": math.nan}, "lr must be positive and finite"),
        ({"batches": [Batches(*steep(), 20)]}, "batches must be one a seed, 3, got 1"),
        ({"loss": lambda p, y: (p - y).square()}, "loss must return a scalar"),
        ({"seeds": 3}, "seeds must be a sequence of ints, got 3"),
        ({"penalty": lambda p: p["0.weight"].sum()}, r"penalty must return \(3,\).* got \(\)"),
        ({"penalty": lambda p: p["0.bias"][:, :1]}, r"penalty must return \(3,\).* got \(3, 1\)"),
        ({"penalty": lambda p: 0.0}, r"penalty must return \(3,\), one a seed, got 0.0"),
        ({"make_model": lambda: nn.BatchNorm1d(3)}, "without running statistics"),
    ],
)
def test_bad_input(change, message):
    arguments = {"make_model": small, "seeds": SEEDS, "batches": Batches(*steep(), 20),
                 "loss": mse_loss, "steps": 2, **quiet}  # fmt: skip
    with pytest.raises(ValueError, match=message):
        fit_stacked(**(arguments | change))
