"""The one training loop of the book: progress, device, mixed precision, checkpoints, history."""

import hashlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from equitutor import runtime


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


@dataclass
class History:
    """What a run left: the loss at each step, the seconds it took, and from where it resumed."""

    loss: list[float] = field(default_factory=list)
    seconds: float = 0.0
    resumed_at: int = 0


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
    batches: Callable[[int], tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    lr: float = 2e-3,
    weight_decay: float = 0.01,
    amp: bool = False,
    name: str | None = None,
    every: float = 60.0,
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
        name: name of this run in progress bar and checkpoint. With a name, and the environment
            variable EQUITUTOR_CHECKPOINTS set to a folder, the run is saved there about every
            `every` seconds and at its end, and resumes from there.
        progress: show a progress bar, once the run has lasted two seconds.

    Raises:
        ValueError: `steps` or `lr` is out of range, or `loss` returns no scalar.
        FloatingPointError: the loss is no longer finite.

    >>> model = nn.Linear(2, 1); x = torch.randn(64, 2); y = x.sum(1, keepdim=True)
    >>> history = fit(model, Batches(x, y, 16), nn.functional.mse_loss, steps=200, lr=0.1)
    >>> history.loss[-1] < 0.1 * history.loss[0]
    True
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be an int >= 1, got {steps!r}")
    if not (lr > 0 and math.isfinite(lr)):
        raise ValueError(f"lr must be positive and finite, got {lr!r}")
    device = runtime.device()
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine(step, steps))
    history = History()
    order = getattr(batches, "size", None), getattr(batches, "seed", None)
    saved = _Checkpoint.named(name, model, (steps, lr, weight_decay, amp, *order))
    if saved is not None:
        saved.restore(model, optimizer, schedule, history)
    history.resumed_at = len(history.loss)
    before, start = history.seconds, time.perf_counter()
    last_saved = start
    losses: list[Tensor] = []  # kept on the device: reading one each step would stall a GPU

    def settle() -> None:
        values = torch.stack(losses).tolist() if losses else []
        losses.clear()
        bad = next((k for k, v in enumerate(values) if not math.isfinite(v)), None)
        if bad is not None:
            raise FloatingPointError(
                f"the loss of {name or 'this run'} was {values[bad]} at step "
                f"{len(history.loss) + bad}: lower lr (now {lr})"
            )
        history.loss += values
        history.seconds = before + time.perf_counter() - start

    bar = tqdm(
        range(history.resumed_at, steps), initial=history.resumed_at, total=steps,
        desc=name, disable=not progress, delay=2, mininterval=1, leave=False,
    )  # fmt: skip
    for step in bar:
        x, y = (part.to(device) for part in batches(step))
        with torch.autocast(device.type, torch.bfloat16, enabled=amp and device.type == "cuda"):
            value = loss(model(x), y)
        if value.ndim:
            raise ValueError(f"loss must return a scalar, got shape {tuple(value.shape)}")
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(value.detach().float())
        if len(losses) == 50:
            settle()
            bar.set_postfix(loss=f"{history.loss[-1]:.3f}", refresh=False)
            if saved is not None and time.perf_counter() - last_saved > every:
                saved.save(model, optimizer, schedule, history)
                last_saved = time.perf_counter()
    settle()
    if saved is not None:
        saved.save(model, optimizer, schedule, history)
    model.eval()
    return history


class _Checkpoint:
    """A file that holds a run, and a key that says whether it is the same run."""

    def __init__(self, path: Path, key: str):
        self.path, self.key = path, key

    @classmethod
    def named(cls, name: str | None, model: nn.Module, settings: tuple) -> "_Checkpoint | None":
        folder = os.environ.get("EQUITUTOR_CHECKPOINTS")
        if not name or not folder:
            return None
        # The initial weights stand for the architecture and its seed: if they differ, so does
        # the run.
        digest = hashlib.sha256(repr(settings).encode())
        for key, value in model.state_dict().items():
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return cls(Path(folder) / f"{name}.pt", digest.hexdigest())

    def restore(self, model, optimizer, schedule, history) -> None:
        if not self.path.exists():
            return
        state = torch.load(self.path, weights_only=True, map_location=runtime.device())
        if state["key"] != self.key:
            return
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        history.loss, history.seconds = state["loss"], state["seconds"]
        torch.set_rng_state(state["rng"].cpu())  # dropout goes on as if nothing had happened
        if "cuda_rng" in state and runtime.device().type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"].cpu())

    def save(self, model, optimizer, schedule, history) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        cuda = runtime.device().type == "cuda"
        torch.save(
            {
                "key": self.key,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "loss": history.loss,
                "seconds": history.seconds,
                "rng": torch.get_rng_state(),
                **({"cuda_rng": torch.cuda.get_rng_state()} if cuda else {}),
            },
            part,
        )
        part.replace(self.path)  # atomic: a crash leaves the old file or the new one
