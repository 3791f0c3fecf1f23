"""The training loop: an interrupted run ends as an unbroken one does."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from equitutor.training import Batches, cosine, fit

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


def stopping(batches, at):
    """Return the batches, which fail at a step and keep their size and seed."""

    class Stopping(Batches):
        def __call__(self, step):
            if step == at:
                raise Interrupted
            return super().__call__(step)

    return Stopping(batches.x, batches.y, batches.size, batches.seed, batches.augment)


def run(batches, steps=STEPS, model=None, **kwargs):
    """Return the trained model and the history of a run named "run"."""
    model = network() if model is None else model
    settings = {"name": "run", "every": 0.0, "progress": False} | kwargs
    return model, fit(model, batches, nn.functional.mse_loss, steps, **settings)


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EQUITUTOR_CHECKPOINTS", str(tmp_path / "runs"))
    return tmp_path / "runs"


# Batches -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
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
    history = fit(model, Batches(x, y, 20), nn.functional.mse_loss, 200, lr=0.1, progress=False)
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
    call = {"loss": nn.functional.mse_loss, "steps": 3, "progress": False} | change
    with pytest.raises(ValueError, match=message):
        fit(network(), Batches(x, y, 8), **call)


# Resuming ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("stop", "resumed_at"), [(40, 0), (60, 50), (129, 100)])
def test_an_interrupted_run_ends_as_an_unbroken_one(folder, monkeypatch, stop, resumed_at):
    batches = Batches(*data(), 16, augment=jitter)
    with pytest.raises(Interrupted):
        run(stopping(batches, stop))
    torch.rand(7)  # another process would have another state
    model, history = run(batches)
    monkeypatch.delenv("EQUITUTOR_CHECKPOINTS")
    unbroken, whole = run(batches)
    assert history.resumed_at == resumed_at
    assert whole.resumed_at == 0
    assert history.loss == whole.loss
    assert same(model, unbroken)
    assert not same(model, network())


def test_a_finished_run_is_not_trained_again(folder):
    batches = Batches(*data(), 16)
    model, first = run(batches)
    after = torch.get_rng_state()
    again, second = run(stopping(batches, 0))
    assert second.resumed_at == STEPS
    assert second.loss == first.loss
    assert second.seconds >= first.seconds
    assert same(model, again)
    assert torch.equal(torch.get_rng_state(), after)
    assert not any(m.training for m in again.modules())


@pytest.mark.parametrize(
    "change",
    [
        {"steps": STEPS + 1},
        {"lr": 1e-3},
        {"weight_decay": 0.0},
        {"model": network(seed=1)},
        {"batches": Batches(*data(), 16, seed=1)},
        {"batches": Batches(*data(), 8)},
        {"name": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_run_does_not_resume_this_one(folder, change):
    batches = Batches(*data(), 16)
    run(batches)
    assert run(batches)[1].resumed_at == STEPS
    assert run(**({"batches": batches} | change))[1].resumed_at == 0


def test_saving_is_atomic(folder, monkeypatch):
    batches = Batches(*data(), 16)
    run(batches)
    before = (folder / "run.pt").read_bytes()

    with (folder / "run.pt").open("rb") as reader:  # who reads meanwhile keeps the old file whole
        run(batches, lr=2e-3, steps=STEPS + 1)
        assert reader.read() == before
    before = (folder / "run.pt").read_bytes()

    def torn(state, path):
        path.write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="disk full"):
        run(batches, lr=1e-3)
    assert (folder / "run.pt").read_bytes() == before


def test_without_a_name_or_a_folder_nothing_is_saved(folder, monkeypatch):
    batches = Batches(*data(), 16)
    run(batches, steps=2, name=None)
    assert not folder.exists()
    monkeypatch.delenv("EQUITUTOR_CHECKPOINTS")
    run(batches, steps=2)
    assert not folder.exists()
