"""The one training loop of the book: one network, or many seeds of a small one at once.

>>> import torch
>>> from torch import nn
>>> from equitutor.training import Batches, fit
>>> model, x = nn.Linear(2, 1), torch.randn(64, 2)
>>> batches = Batches(x, x.sum(1, keepdim=True), size=16)
>>> history = fit(model, batches, nn.functional.mse_loss, steps=10, lr=0.1)
"""

import copy
import math
import os
import pickle
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from tqdm.auto import tqdm

from equitutor import runtime
from equitutor.fingerprint import fingerprint

__all__ = ["Batches", "Checkpoint", "History", "Stack", "cosine", "fit", "fit_stacked"]

Batch = Callable[[int], tuple[Tensor, Tensor]]
Params = Mapping[str, Tensor]
BLOCK = 50  # steps between two looks at the loss: each look would stall a GPU


@dataclass(frozen=True)
class Batches:
    """Shuffled batches of a data set that fits in memory; batch k is the same on every call.

    Because a batch depends on its number alone, a resumed run sees what an unbroken one would.

    Args:
        x, y: tensors with the same first dimension N.
        size: samples in a batch, 1 ... N. A last, shorter batch of an epoch is left out.
        seed: seed of the shuffling and of `augment`.
        augment: optional function (x, generator) -> x on the images of a batch.

    >>> batches = Batches(torch.arange(10), torch.arange(10), size=4)
    >>> x, y = batches(7)
    >>> x.shape, torch.equal(x, batches(7)[0])
    (torch.Size([4]), True)
    """

    x: Tensor
    y: Tensor
    size: int
    seed: int = 0
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None

    def __post_init__(self):
        if len(self.x) != len(self.y):
            raise ValueError(f"x and y must have equal length, got {len(self.x)} and {len(self.y)}")
        if not isinstance(self.size, int) or not 1 <= self.size <= len(self.x):
            raise ValueError(f"size must be an int in 1 ... {len(self.x)}, got {self.size!r}")

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Returns batch number `step`, counted from 0."""
        per_epoch = len(self.x) // self.size
        epoch, k = divmod(step, per_epoch)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        index = torch.randperm(len(self.x), generator=generator)[k * self.size :][: self.size]
        x, y = self.x[index], self.y[index]
        if self.augment is not None:
            x = self.augment(x, torch.Generator().manual_seed(self.seed * 1_000_003 + step))
        return x, y


@dataclass(frozen=True)
class Checkpoint:
    """A file that a run is kept in, so that it can be stopped and go on.

    A run goes on from the file only if it is the same run: same network, initial weights, data,
    loss, steps and rates (found by `fingerprint`), and the same `key`. Anything else starts anew
    and overwrites the file; so does, with a warning, a file that cannot be read. Nothing is kept or
    found unless a checkpoint is passed.

    Args:
        path: the file; its folder is made.
        key: what else the run depends on: its configuration, versions of code. Any values.
        every: seconds between two saves. The end of a run is always saved.

    >>> Checkpoint("runs/a.pt").part("teacher").path.name
    'a-teacher.pt'
    """

    path: str | Path
    key: Any = None
    every: float = 60.0

    def part(self, name: str) -> "Checkpoint":
        """Returns a checkpoint beside this one, for another training of the same run."""
        path = Path(self.path)
        return Checkpoint(path.with_name(f"{path.stem}-{name}{path.suffix}"), self.key, self.every)


@dataclass
class History:
    """What a run left: the loss at each step, the seconds it took, and from where it resumed."""

    loss: list[float] = field(default_factory=list)
    seconds: float = 0.0
    resumed_at: int = 0


@dataclass
class Stack:
    """What `fit_stacked` leaves.

    Args:
        models: a trained network for each seed, in eval mode.
        histories: for each seed the loss at each step, without the penalty; and its share of the
            seconds that all of them took together.
    """

    models: list[nn.Module]
    histories: list[History] = field(repr=False)


def cosine(step: int, steps: int, warmup: float = 0.1) -> float:
    """Returns the factor on the learning rate: linear warm-up, then half a cosine down to zero.

    >>> cosine(0, 100) < cosine(10, 100), round(cosine(99, 100), 3)
    (True, 0.0)
    """
    ramp = max(1, int(warmup * steps))
    if step < ramp:
        return (step + 1) / ramp
    return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, steps - ramp)))


def fit(
    model: nn.Module,
    batches: Batch,
    loss: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    lr: float = 2e-3,
    weight_decay: float = 0.01,
    amp: bool = False,
    name: str | None = None,
    checkpoint: Checkpoint | None = None,
    progress: bool = True,
) -> History:
    """Returns the history of training `model` in place with AdamW and a cosine schedule.

    Args:
        model: network; moved to `runtime.device()`, left in eval mode.
        batches: function from the step's number to a batch (x, y), such as `Batches`.
        loss: function of (model(x), y) that returns a scalar.
        steps: number of steps, >= 1.
        lr: largest learning rate. weight_decay: AdamW's.
        amp: bfloat16 autocast; used on cuda only.
        name: name of this run in the progress bar and in errors.
        checkpoint: keep the run there, and go on from there if it is the same run.
        progress: show a progress bar, once the run has lasted two seconds.

    Raises:
        ValueError: `steps` or `lr` is out of range, or `loss` returns no scalar.
        FloatingPointError: the loss is no longer finite.

    >>> model = nn.Linear(2, 1); x = torch.randn(64, 2); y = x.sum(1, keepdim=True)
    >>> history = fit(model, Batches(x, y, 16), nn.functional.mse_loss, steps=200, lr=0.1)
    >>> history.loss[-1] < 0.1 * history.loss[0]
    True
    """
    _check_rates(steps, lr)
    device = runtime.device()
    model.to(device).train()
    loop = _Loop(model, model.parameters(), steps, lr, weight_decay, name)
    autocast = amp and device.type == "cuda"

    def step_of(step: int) -> Tensor:
        x, y = (part.to(device) for part in batches(step))
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            value = _scalar(loss(model(x), y))
        loop.descend(value, lambda: nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        return value

    loop.run(step_of, checkpoint, (model, steps, lr, weight_decay, amp, loss, batches), progress)
    model.eval()
    return History(loop.losses.tolist(), loop.seconds, loop.resumed_at)


def fit_stacked(
    make_model: Callable[[], nn.Module],
    seeds: Sequence[int],
    batches: Batch | Sequence[Batch],
    loss: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    lr: float = 2e-3,
    weight_decay: float = 0.01,
    penalty: Callable[[Params], Tensor] | None = None,
    tune: Callable[[int, Params, float], None] | None = None,
    name: str | None = None,
    checkpoint: Checkpoint | None = None,
    progress: bool = True,
) -> Stack:
    """Returns one trained network for each seed; all of them take each step together.

    Each network sees what it would see alone in `fit`: AdamW, the cosine schedule, and gradients
    clipped by its own norm. Small networks gain most, since their time goes into starting
    operations and not into numbers.

    Args:
        make_model: function that returns a new network, called once a seed after seeding PyTorch.
        seeds: different ints >= 0, at least one.
        batches: function from the step's number to a batch (x, y) that all seeds see, or one
            function a seed, whose batches must have equal shapes.
        loss: function of (model(x), y) that returns a scalar.
        steps, lr, weight_decay, name, checkpoint, progress: as for `fit`.
        penalty: function of the stacked parameters, each (seeds, ...), that returns what is added
            to the loss of each seed: (seeds,).
        tune: function of (step, stacked parameters, learning rate of this step), called after each
            step; it may change the parameters in place. What it remembers is saved with the run if
            it has `state_dict` and `load_state_dict`.

    Raises:
        ValueError: an argument is out of range, or the networks keep running statistics.
        FloatingPointError: the loss of a seed is no longer finite.

    >>> x = torch.randn(64, 2); y = x.sum(1, keepdim=True)
    >>> stack = fit_stacked(lambda: nn.Linear(2, 1), [0, 1, 2], Batches(x, y, 16),
    ...                     nn.functional.mse_loss, steps=200, lr=0.1)
    >>> len(stack.models), max(h.loss[-1] for h in stack.histories) < 0.1
    (3, True)
    """
    _check_rates(steps, lr)
    seeds = _check_seeds(seeds)
    models = _models(make_model, seeds)
    params, buffers = stack_module_state(models)
    same = {k: 0 if (b != b[:1]).any() else None for k, b in buffers.items()}
    buffers = {k: b if same[k] == 0 else b[0] for k, b in buffers.items()}  # one copy will do
    skeleton = copy.deepcopy(models[0]).to("meta")  # structure only: its weights are never used
    skeleton.train()
    one_for_all = callable(batches)
    if not one_for_all and len(batches) != len(seeds):
        raise ValueError(f"batches must be one a seed, {len(seeds)}, got {len(batches)}")

    def loss_of_one(p: Params, b: Params, x: Tensor, y: Tensor) -> Tensor:
        return _scalar(loss(functional_call(skeleton, (p, b), (x,)), y))

    of_data = None if one_for_all else 0
    losses_of = vmap(loss_of_one, in_dims=(0, same, of_data, of_data), randomness="different")
    remembers = {"tune": tune} if hasattr(tune, "state_dict") else {}
    loop = _Loop(_Weights(params), params.values(), steps, lr, weight_decay, name, seeds, remembers)

    def step_of(step: int) -> Tensor:
        values = losses_of(params, buffers, *_batch(batches, step, one_for_all))  # (seeds,)
        total = values if penalty is None else values + _of_seeds(penalty(params), values)
        rate = loop.schedule.get_last_lr()[0]
        loop.descend(total.sum(), lambda: _clip(params, 1.0))
        if tune is not None:
            tune(step, params, rate)
        return values

    held = remembers["tune"].state_dict() if remembers else tune
    made_of = (models, seeds, steps, lr, weight_decay, loss, batches, penalty, held)
    loop.run(step_of, checkpoint, made_of, progress)
    for k, model in enumerate(models):
        model.load_state_dict({n: p[k].detach() for n, p in params.items()}, strict=False)
        model.eval()
    seconds = loop.seconds / len(seeds)
    curves = loop.losses.T.tolist()
    return Stack(models, [History(curve, seconds, loop.resumed_at) for curve in curves])


class _Loop:
    """The steps of a run: progress, a look at the loss now and then, and the checkpoint.

    `losses` is what the steps returned, (steps,) or (steps, seeds); `seconds` counts those of all
    parts of a run that was stopped and went on.
    """

    def __init__(self, weights, params, steps, lr, weight_decay, name, seeds=None, more=None):
        self.optimizer = torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: cosine(step, steps)
        )
        self.remembered = {"weights": weights, "optimizer": self.optimizer,
                           "schedule": self.schedule, **(more or {})}  # fmt: skip
        self.steps, self.lr, self.name, self.seeds = steps, lr, name, seeds
        self.losses, self.seconds, self.resumed_at = torch.empty(0), 0.0, 0

    def descend(self, value: Tensor, clip: Callable[[], Any]) -> None:
        """Takes one step of the optimizer down the gradient of `value`."""
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        clip()
        self.optimizer.step()
        self.schedule.step()

    def run(self, step_of, checkpoint: Checkpoint | None, made_of: tuple, progress: bool) -> None:
        """Takes the steps that are left. `made_of` tells this run from others, see `Checkpoint`."""
        key = ""
        if checkpoint is not None:
            key = fingerprint(checkpoint.key, made_of)
            self._restore(Path(checkpoint.path), key)
        self.resumed_at = len(self.losses)
        before, start = self.seconds, time.perf_counter()
        saved, waiting = start, []
        bar = tqdm(
            range(self.resumed_at, self.steps), initial=self.resumed_at, total=self.steps,
            desc=self.name, disable=not progress, delay=2, mininterval=1, leave=False,
        )  # fmt: skip
        for step in bar:
            waiting.append(step_of(step).detach().float())
            if len(waiting) < BLOCK and step + 1 < self.steps:
                continue
            self._settle(waiting)
            waiting = []
            now = time.perf_counter()
            self.seconds = before + now - start
            bar.set_postfix(loss=f"{self.losses[-1].mean():.3f}", refresh=False)
            last = step + 1 == self.steps
            if checkpoint is not None and (last or now - saved > checkpoint.every):
                self._save(Path(checkpoint.path), key)
                saved = time.perf_counter()

    def _settle(self, waiting: list[Tensor]) -> None:
        """Moves the losses of some steps to `losses`; refuses one that is not finite."""
        values = torch.stack(waiting).cpu()  # (k,) or (k, seeds)
        if not values.isfinite().all():
            step, *who = (~values.isfinite()).nonzero()[0].tolist()
            run = f"seed {self.seeds[who[0]]}" if who else self.name or "this run"
            raise FloatingPointError(
                f"the loss of {run} was {values[(step, *who)].item()} at step "
                f"{len(self.losses) + step}: lower lr (now {self.lr})"
            )
        self.losses = torch.cat([self.losses.reshape(-1, *values.shape[1:]), values])

    def _restore(self, path: Path, key: str) -> None:
        if not path.exists():
            return
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
            found = state["key"]
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, LookupError, TypeError):
            warnings.warn(  # noqa: B028 - which line of ours called it, tells nobody anything
                f"{path} cannot be read: {self.name or 'the run'} starts anew"
            )
            return
        if found != key:
            return
        for name, part in self.remembered.items():
            part.load_state_dict(state[name])
        self.losses, self.seconds = state["losses"], state["seconds"]
        torch.set_rng_state(state["rng"])  # dropout goes on as if nothing had happened
        if "cuda_rng" in state and runtime.device().type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"])

    def _save(self, path: Path, key: str) -> None:
        state = {name: part.state_dict() for name, part in self.remembered.items()}
        state |= {"key": key, "losses": self.losses, "seconds": self.seconds,
                  "rng": torch.get_rng_state()}  # fmt: skip
        if runtime.device().type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state()
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own, then one rename: a crash leaves the old file or the new one, whole.
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save(state, file)
            os.replace(part, path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise


@dataclass
class _Weights:
    """Stacked parameters, saved and loaded as those of a module are."""

    params: Params

    def state_dict(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.params.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Params) -> None:
        for name, p in self.params.items():
            p.copy_(state[name])


def _scalar(value: Tensor) -> Tensor:
    if value.ndim:
        raise ValueError(f"loss must return a scalar, got shape {tuple(value.shape)}")
    return value


def _of_seeds(value: Tensor, losses: Tensor) -> Tensor:
    # A sum over the seeds, or a column, would be added to the loss of each seed without a word.
    if not isinstance(value, Tensor) or value.shape != losses.shape:
        found = tuple(value.shape) if isinstance(value, Tensor) else repr(value)
        raise ValueError(f"penalty must return {tuple(losses.shape)}, one a seed, got {found}")
    return value


def _check_rates(steps: int, lr: float) -> None:
    if type(steps) is not int or steps < 1:
        raise ValueError(f"steps must be an int >= 1, got {steps!r}")
    if not (lr > 0 and math.isfinite(lr)):
        raise ValueError(f"lr must be positive and finite, got {lr!r}")


def _check_seeds(seeds: Sequence[int]) -> list[int]:
    if not isinstance(seeds, Sequence):
        raise ValueError(f"seeds must be a sequence of ints, got {seeds!r}")
    seeds = list(seeds)
    sound = all(type(s) is int and s >= 0 for s in seeds)
    if not seeds or not sound or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different ints >= 0, at least one, got {seeds}")
    return seeds


def _models(make_model: Callable[[], nn.Module], seeds: Sequence[int]) -> list[nn.Module]:
    models = []
    with torch.random.fork_rng():  # the caller's random numbers go on as if nothing had happened
        for seed in seeds:
            torch.manual_seed(seed)
            models.append(make_model().to(runtime.device()))
    if any("running_mean" in key for key in models[0].state_dict()):
        raise ValueError("make_model must return networks without running statistics (batch norm)")
    return models


def _batch(batches, step: int, one_for_all: bool) -> tuple[Tensor, Tensor]:
    if one_for_all:
        x, y = batches(step)
    else:
        x, y = map(torch.stack, zip(*(batch(step) for batch in batches), strict=True))
    return x.to(runtime.device()), y.to(runtime.device())


@torch.no_grad()
def _clip(params: Params, most: float) -> None:
    """Scale the gradients of each seed to a norm of at most `most`, as `clip_grad_norm_` does."""
    grads = [p.grad for p in params.values() if p.grad is not None]
    norm = torch.stack([g.flatten(1).norm(dim=1) for g in grads]).norm(dim=0)  # (seeds,)
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    for g in grads:
        g.mul_(factor.view(-1, *[1] * (g.ndim - 1)))
