"""Many seeds at once: small networks with stacked weights, trained as `training.fit` trains one."""

import copy
import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from tqdm.auto import tqdm

from equitutor import runtime
from equitutor.training import History, cosine

Batch = Callable[[int], tuple[Tensor, Tensor]]
Params = Mapping[str, Tensor]


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
    every: float = 60.0,
    progress: bool = True,
) -> Stack:
    """Returns one trained network for each seed; all of them take each step together.

    Each network sees what it would see alone in `training.fit`: AdamW, the cosine schedule, and
    gradients clipped by its own norm. Small networks gain most, since their time goes into
    starting operations and not into numbers.

    Args:
        make_model: function that returns a new network, called once a seed after seeding PyTorch.
        seeds: different ints >= 0, at least one.
        batches: function from the step's number to a batch (x, y) that all seeds see, or one
            function a seed, whose batches must have equal shapes.
        loss: function of (model(x), y) that returns a scalar.
        steps, lr, weight_decay: as for `training.fit`.
        penalty: function of the stacked parameters, each (seeds, ...), that returns what is added
            to the loss of each seed: (seeds,).
        tune: function of (step, stacked parameters, learning rate of this step), called after each
            step; it may change the parameters in place. What it remembers is saved with the run if
            it has `state_dict` and `load_state_dict`.
        name: name of this run in progress bar and checkpoint. With a name, and the environment
            variable EQUITUTOR_CHECKPOINTS set to a folder, the run is saved there about every
            `every` seconds and at its end, and resumes from there. Runs that differ in nothing but
            `penalty`, `loss` or a function `tune` need different names.
        progress: show a progress bar, once the run has lasted two seconds.

    Raises:
        ValueError: an argument is out of range, or the networks keep running statistics.
        FloatingPointError: the loss of a seed is no longer finite.

    >>> from equitutor.training import Batches
    >>> x = torch.randn(64, 2); y = x.sum(1, keepdim=True)
    >>> stack = fit_stacked(lambda: nn.Linear(2, 1), [0, 1, 2], Batches(x, y, 16),
    ...                     nn.functional.mse_loss, steps=200, lr=0.1)
    >>> len(stack.models), max(h.loss[-1] for h in stack.histories) < 0.1
    (3, True)
    """
    seeds = _check(seeds, steps, lr)
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
        value = loss(functional_call(skeleton, (p, b), (x,)), y)
        if value.ndim:
            raise ValueError(f"loss must return a scalar, got shape {tuple(value.shape)}")
        return value

    of_data = None if one_for_all else 0
    losses_of = vmap(loss_of_one, in_dims=(0, same, of_data, of_data), randomness="different")
    optimizer = torch.optim.AdamW(params.values(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine(step, steps))
    run = _Run(params, optimizer, schedule, tune)
    settings = (seeds, steps, lr, weight_decay)
    path, key = _place(name, settings, params, [batches] if one_for_all else batches, tune)
    if path is not None:
        run.restore(path, key)
    resumed_at, before, recorded = len(run.recorded), run.seconds, run.recorded
    start = last_saved = time.perf_counter()
    bar = tqdm(
        range(resumed_at, steps), initial=resumed_at, total=steps,
        desc=name, disable=not progress, delay=2, mininterval=1, leave=False,
    )  # fmt: skip
    for step in bar:
        values = losses_of(params, buffers, *_batch(batches, step, one_for_all))  # (seeds,)
        total = values if penalty is None else values + _of_seeds(penalty(params), values)
        optimizer.zero_grad(set_to_none=True)
        total.sum().backward()
        _clip(params, 1.0)
        now = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        if tune is not None:
            tune(step, params, now)
        recorded.append(values.detach())
        if len(recorded) % 50 == 0:
            _finite(recorded[-50:], seeds, len(recorded) - 50, lr)
            bar.set_postfix(loss=f"{recorded[-1].mean():.3f}", refresh=False)
            if path is not None and time.perf_counter() - last_saved > every:
                run.seconds = before + time.perf_counter() - start
                run.save(path, key)
                last_saved = time.perf_counter()
    _finite(recorded[steps // 50 * 50 :], seeds, steps // 50 * 50, lr)
    run.seconds = before + time.perf_counter() - start
    if path is not None:
        run.save(path, key)
    for k, model in enumerate(models):
        model.load_state_dict({n: p[k].detach() for n, p in params.items()}, strict=False)
        model.eval()
    curves = torch.stack(recorded, 1).float().tolist()
    seconds = run.seconds / len(seeds)
    return Stack(models, [History(curve, seconds, resumed_at) for curve in curves])


@dataclass
class _Run:
    """What a run has to remember to go on as if nothing had happened."""

    params: Mapping[str, Tensor]
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    tune: object
    recorded: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0

    def restore(self, path: Path, key: str) -> None:
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location=runtime.device())
        if state["key"] != key:
            return
        with torch.no_grad():
            for name, p in self.params.items():
                p.copy_(state["params"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if "tune" in state:
            self.tune.load_state_dict(state["tune"])
        self.recorded += state["recorded"].unbind(1)
        self.seconds = state["seconds"]
        torch.set_rng_state(state["rng"].cpu())
        if "cuda_rng" in state and runtime.device().type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"].cpu())

    def save(self, path: Path, key: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        cuda = runtime.device().type == "cuda"
        remembers = hasattr(self.tune, "state_dict")
        torch.save(
            {
                "key": key,
                "params": {name: p.detach() for name, p in self.params.items()},
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "recorded": torch.stack(self.recorded, 1),
                "seconds": self.seconds,
                "rng": torch.get_rng_state(),
                **({"tune": self.tune.state_dict()} if remembers else {}),
                **({"cuda_rng": torch.cuda.get_rng_state()} if cuda else {}),
            },
            part,
        )
        part.replace(path)  # atomic: a crash leaves the old file or the new one


def _place(
    name: str | None, settings: tuple, params: Params, batches: Sequence[Batch], tune: object
) -> tuple[Path | None, str]:
    """Returns the checkpoint of a run, or None, and the key that tells it from other runs.

    The initial weights stand for the architecture, and the first batch of each seed for the data.
    The key is in the file's name too, so that two stacks of one name in a chapter keep a file each.
    """
    folder = os.environ.get("EQUITUTOR_CHECKPOINTS")
    if not name or not folder:
        return None, ""
    remembers = tune.state_dict() if hasattr(tune, "state_dict") else None
    digest = hashlib.sha256(repr((settings, remembers)).encode())
    for part in (*params.values(), *(part for batch in batches for part in batch(0))):
        digest.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    key = digest.hexdigest()
    return Path(folder) / f"{name.replace('/', '-')}-{key[:12]}.pt", key


def _of_seeds(value: Tensor, losses: Tensor) -> Tensor:
    # A sum over the seeds, or a column, would be added to the loss of each seed without a word.
    if not isinstance(value, Tensor) or value.shape != losses.shape:
        found = tuple(value.shape) if isinstance(value, Tensor) else repr(value)
        raise ValueError(f"penalty must return {tuple(losses.shape)}, one a seed, got {found}")
    return value


def _check(seeds: Sequence[int], steps: int, lr: float) -> list[int]:
    if not isinstance(seeds, Sequence):
        raise ValueError(f"seeds must be a sequence of ints, got {seeds!r}")
    seeds = list(seeds)
    sound = all(type(s) is int and s >= 0 for s in seeds)
    if not seeds or not sound or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different ints >= 0, at least one, got {seeds}")
    if type(steps) is not int or steps < 1:
        raise ValueError(f"steps must be an int >= 1, got {steps!r}")
    if not (lr > 0 and math.isfinite(lr)):
        raise ValueError(f"lr must be positive and finite, got {lr!r}")
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


def _finite(values: Sequence[Tensor], seeds: Sequence[int], first: int, lr: float) -> None:
    for step, row in enumerate(values, first):
        for seed, value in zip(seeds, row.tolist(), strict=True):
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"the loss of seed {seed} was {value} at step {step}: lower lr (now {lr})"
                )
