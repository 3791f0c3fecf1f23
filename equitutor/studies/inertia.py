"""Moments of inertia: the task of the soft studies, networks, and ways to ask for symmetry."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equitutor import runtime
from equitutor.data.symmetric_tasks import inertia, inertia_target
from equitutor.groups import octahedral
from equitutor.methods.soft import (
    SO,
    ExactTypedLinear,
    LatentNetwork,
    MatrixGroup,
    O,
    Rep,
    ResidualTypedLinear,
    Snapshot,
    SoftProjectedLinear,
    SoftTuning,
    SoftTypedLinear,
    TypedNetwork,
    embed_O2,
    function_error,
    mlp,
    residual_penalty,
    soft_layers,
)
from equitutor.training import Batches, Checkpoint, fit_stacked

Params = Mapping[str, Tensor]
AXES = "zxy"  # turns about this axis stay exact: they turn the plane xy, yz or xz
GROUPS = (O(3), embed_O2((0, 1)), embed_O2((1, 2)), embed_O2((0, 2)))
PLANES = GROUPS[1:]  # the candidates; O(3) is measured, and nobody asks for it
NAMES = ("xy", "yz", "xz")
REP_IN, HIDDEN, REP_OUT = Rep(3, 3), Rep(12, 8, 2), Rep(n2=1)


# The task -----------------------------------------------------------------------------------


class Case(NamedTuple):
    """One training in a stack: the task's axis and dial, and the seed of data and start."""

    axis: str
    slot: int
    eps: float
    seed: int


def levels(text: str) -> list[float]:
    """Returns the levels of the dial that a configuration names, such as "0 0.1 0.3 1"."""
    return [float(word) for word in text.split()]


def cases(text: str, seed: int) -> list[Case]:
    """Returns the trainings of a run: each axis at each level.

    All levels of an axis share data and start; a level that is named again has its own.
    """
    found = []
    for k, axis in enumerate(AXES):
        times: Counter[float] = Counter()
        for slot, eps in enumerate(levels(text)):
            found.append(Case(axis, slot, eps, 10 * seed + k + 1000 * times[eps]))
            times[eps] += 1
    return found


@lru_cache
def unit() -> float:
    """Returns the number that all targets are divided by: one for all axes."""
    return inertia(5000, eps=0.0, seed=998).y.std().item()


def target(x: Tensor, axis: str, eps: float) -> Tensor:
    """Returns the bent moment of inertia (B, 9) of masses and positions (B, 12)."""
    return inertia_target(x, axis, eps) / unit()


def samples(case: Case, config: dict) -> Batches:
    """Returns the training batches of a case."""
    x = inertia(config["samples"], seed=case.seed).x
    return Batches(x, target(x, case.axis, case.eps), config["batch"], case.seed)


# Networks, and ways to ask for symmetry -----------------------------------------------------


def network(kind: str, axis: str = "z", dial: float = 0.0) -> nn.Module:
    """Returns an untrained network of 4,800 to 5,000 parameters.

    Args:
        kind: a key of the study's grid; "told" in it means told the right group.
        axis: the axis of the task, for those that are told.
        dial: softness, for "projected".
    """
    if kind == "MLP":
        return mlp(REP_IN.size, REP_OUT.size, 59)
    if kind == "latent loss":
        return LatentNetwork(REP_IN.size, REP_OUT.size, 49, octahedral(), copies=3)
    group = PLANES[AXES.index(axis)] if "told" in kind else GROUPS[0]
    if kind.startswith("exact"):
        layer = partial(ExactTypedLinear, group=group)
    elif kind.startswith("RPP"):  # two sets of weights, so a narrower network
        layer = partial(ResidualTypedLinear, group=group)
        return TypedNetwork(REP_IN, Rep(8, 6, 1), REP_OUT, layer)
    elif kind == "projected":
        layer = partial(SoftProjectedLinear, group=SO(3), softness=dial)
    else:
        layer = partial(SoftTypedLinear, groups=GROUPS)
    return TypedNetwork(REP_IN, HIDDEN, REP_OUT, layer)


def asking(kind: str, axes: Sequence[str], dials: Sequence[float], steps: int) -> dict:
    """Returns how a stack is asked for symmetry: `tune` and `penalty` for `fit_stacked`.

    Args:
        kind: as for `network`. axes: of each member. dials: the strength of each. steps: in all.
    """
    strength = torch.tensor(dials)
    if kind.startswith("PER") or kind == "no penalty":
        on = torch.ones(len(axes), 3)
        if "told" in kind:
            on = torch.eye(3)[[AXES.index(axis) for axis in axes]]
        lam = F.pad(on * strength[:, None], (1, 0))  # O(3) stands first, and has none
        at = 0.6 if "automatic" in kind else None
        inside = "in the loss" in kind  # the paper's form
        tuning = SoftTuning(network(kind), lam, steps, at=at, decoupled=not inside)
        return {"tune": tuning} | ({"penalty": tuning.penalty} if inside else {})
    strength = strength.to(runtime.device())
    if kind.startswith("RPP"):
        return {"penalty": partial(held_down, network(kind, axes[0]), strength)}
    if kind == "Lie derivative":
        return {"penalty": LiePenalty(strength)}
    if kind == "latent loss":
        return {"penalty": LatentPenalty(strength)}
    return {}


def asking_alike(
    kind: str, net: nn.Module, strengths: Sequence[float], smaller: int, steps: int
) -> dict:
    """Returns how a stack is asked for symmetry where all smaller groups have one strength.

    Args:
        kind: name of the network; only a PER is asked. net: one of its kind.
        strengths: of each member. smaller: groups that follow the largest. steps: in all.
    """
    if not kind.startswith("PER"):
        return {}
    lam = F.pad(torch.tensor(strengths)[:, None].expand(-1, smaller), (1, 0))
    return {"tune": SoftTuning(net, lam, steps, at=0.6 if "automatic" in kind else None)}


def held_down(net: nn.Module, strength: Tensor, params: Params) -> Tensor:
    """Returns the penalty of residual pathways (S,), each with its own strength (S,)."""
    dense = residual_penalty(net, 1.0, 0.0, params=params)
    return strength * dense + residual_penalty(net, 0.0, params=params)


def drawn(count: int = 50) -> Tensor:
    """Returns fresh inputs of the task, from PyTorch's own generator, which a run saves."""
    return torch.cat([F.softplus(torch.randn(count, 3)), torch.randn(count, 9)], 1)


class LiePenalty:
    """The mean of |J_f(x) A x - A f(x)|^2 for a random candidate's direction A, times strength."""

    def __init__(self, strength: Tensor):
        self.strength = 3 * strength  # one of three directions a step
        spin = torch.stack([group.lie[0] for group in PLANES])
        self.into, self.out = REP_IN.drho(spin).float(), REP_OUT.drho(spin).float()
        self.net = network("Lie derivative").to(strength.device)

    def __call__(self, params: Params) -> Tensor:
        """Returns the penalty of each member of a stack: (S,)."""
        k = torch.randint(3, (1,)).item()
        x = drawn().to(self.strength)
        a, b = self.into[k].to(x), self.out[k].to(x)

        def of_one(p: Params) -> Tensor:
            f = lambda x: torch.func.functional_call(self.net, p, (x,))
            y, moved = torch.func.jvp(f, (x,), (x @ a.mT,))
            return (moved - y @ b.mT).square().mean()

        return self.strength * torch.func.vmap(of_one)(params)


class LatentPenalty:
    """The mean of |E(g x) - g E(x)|^2 for a quarter turn g of each candidate, times strength."""

    def __init__(self, strength: Tensor):
        self.strength, self.net = strength, network("latent loss").to(strength.device)
        turns = [torch.linalg.matrix_exp(math.pi / 2 * group.lie[0]) for group in PLANES]
        elements = octahedral().elements
        self.turns = [
            (int((elements - h).abs().sum((1, 2)).argmin()), REP_IN.rho(h).float()) for h in turns
        ]

    def __call__(self, params: Params) -> Tensor:
        """Returns the penalty of each member of a stack: (S,)."""
        x = drawn().to(self.strength)

        def of_one(p: Params) -> Tensor:
            encode = lambda x: torch.func.functional_call(self.net.encoder, p, (x,))
            here = encode(x)
            gaps = [encode(x @ h.to(x).mT) - self.net.turn(here, g) for g, h in self.turns]
            return torch.stack(gaps).square().mean((1, 2)).sum()

        own = {k.removeprefix("encoder."): p for k, p in params.items() if k.startswith("encoder.")}
        return self.strength * torch.func.vmap(of_one)(own)


def stacked(
    makes: Sequence[Callable[[], nn.Module]],
    seeds: Sequence[int],
    batches: Sequence[Batches],
    config: dict,
    checkpoint: Checkpoint | None = None,
    **asked,
) -> list[nn.Module]:
    """Returns networks that were trained together; each starts as its own seed says.

    Args:
        makes, seeds, batches: one of each for each network.
        config: `steps` and `lr`.
        checkpoint: where the training is kept.
        asked: `tune` and `penalty`, as for `fit_stacked`.
    """
    waiting = iter(zip(makes, seeds, strict=True))

    def make() -> nn.Module:
        build, seed = next(waiting)
        torch.manual_seed(seed)
        return build()

    stack = fit_stacked(
        make, range(len(makes)), batches, F.mse_loss, config["steps"], config["lr"],
        weight_decay=0.0, checkpoint=checkpoint, progress=False, **asked,
    )  # fmt: skip
    return [net.cpu() for net in stack.models]


# What is measured ---------------------------------------------------------------------------


def error_of(
    f, x: Tensor, group: MatrixGroup, rep_in: Rep = REP_IN, rep_out: Rep = REP_OUT
) -> float:
    """Returns the function error in percent, over 12 random elements."""
    draw = torch.Generator().manual_seed(0)
    return 100 * function_error(f, x, group, rep_in, rep_out, 12, draw)


@torch.no_grad()
def miss(f, x: Tensor, axis: str, eps: float) -> float:
    """Returns the mean squared error in percent of the variance of the target."""
    y = target(x, axis, eps)
    return 100 * ((f(x) - y).square().mean() / y.var()).item()


def held_out(count: int = 500, seed: int = 999) -> Tensor:
    """Returns inputs that no training sees."""
    return inertia(count, seed=seed).x


@torch.no_grad()
def twist(net: TypedNetwork, turn: Tensor) -> TypedNetwork:
    """Returns the same function, written with hidden features that are turned (3, 3)."""
    twisted = network("PER, fixed")
    twisted.load_state_dict(net.state_dict())
    for here, there in pairwise(soft_layers(twisted).values()):
        out, back = here.rep_out.rho(turn), there.rep_in.rho(turn.mT)
        here.weight.copy_(out @ here.weight)
        here.bias.copy_(out @ here.bias)
        there.weight.copy_(there.weight @ back)
    return twisted


AXIS_TURN = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # z -> x, x -> y, y -> z


def readings(record: Sequence[tuple[int, Tensor]], steps: int, moment: float) -> Tensor:
    """Returns what the rule would read at a moment in (0, 1]: a snapshot (S, 4).

    Args:
        record: pairs of a step and R, as `SoftTuning` keeps them. steps: in all.
    """
    before = [(step, r.cpu()) for step, r in record if step < max(1, round(moment * steps))]
    window = [r for step, r in before if step >= round((moment - 0.1) * steps)]
    kept = Snapshot()
    for r in window or [before[-1][1]]:
        kept.update(r)
    return kept.value
