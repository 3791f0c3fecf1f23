"""Many seeds at once: small networks with stacked weights, trained as `training.fit` trains one."""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

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
            step; it may change the parameters in place.
        name: name of this run in the progress bar. progress: show the bar.

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
    recorded: list[Tensor] = []
    start = time.perf_counter()
    bar = tqdm(range(steps), desc=name, disable=not progress, delay=2, mininterval=1, leave=False)
    for step in bar:
        values = losses_of(params, buffers, *_batch(batches, step, one_for_all))  # (seeds,)
        total = values if penalty is None else values + penalty(params)
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
    _finite(recorded[steps // 50 * 50 :], seeds, steps // 50 * 50, lr)
    seconds = (time.perf_counter() - start) / len(seeds)
    for k, model in enumerate(models):
        model.load_state_dict({n: p[k].detach() for n, p in params.items()}, strict=False)
        model.eval()
    curves = torch.stack(recorded, 1).float().tolist()
    return Stack(models, [History(curve, seconds) for curve in curves])


def _check(seeds: Sequence[int], steps: int, lr: float) -> list[int]:
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
