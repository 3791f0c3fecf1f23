"""The paper's second task: cosines of vectors, under rotations and under scaling."""

from functools import partial

import torch
from torch import nn

from equitutor.data.symmetric_tasks import cossim, cossim_target
from equitutor.methods.soft import (
    SO,
    ExactTypedLinear,
    Rep,
    SoftTypedLinear,
    TypedNetwork,
    join,
    mlp,
    scaling,
)
from equitutor.studies.inertia import asking_alike, stacked
from equitutor.training import Batches

BOTH = join("SO(3) x scale", [SO(3), scaling(3)])
GROUPS = (BOTH, SO(3), scaling(3))
KEPT = ("rotation", "scale")
REP_IN, HIDDEN, REP_OUT = Rep(n1=3), Rep(12, 8, 2), Rep(1)
MODES = {"rotation holds": ("rotation", 0.3), "scale holds": ("scale", 0.3),
         "scale holds, dial 1": ("scale", 1.0)}  # fmt: skip


def network(kind: str) -> nn.Module:
    """Returns an untrained network of about 4,300 parameters: (B, 9) to (B, 1)."""
    if kind == "MLP":
        return mlp(REP_IN.size, REP_OUT.size, 60)
    exact = {"exact, rotation": SO(3), "exact, scale": scaling(3), "exact, both": BOTH}
    if kind in exact:
        layer = partial(ExactTypedLinear, group=exact[kind])
    else:
        layer = partial(SoftTypedLinear, groups=GROUPS)
    return TypedNetwork(REP_IN, HIDDEN, REP_OUT, layer, unit=True)


def fit(kind: str, modes: list[str], seed: int, strengths, config, checkpoint):
    """Returns trained networks, one for each mode in the list, and their tuning or None."""
    batches = []
    for mode in modes:
        task = cossim(config["samples"], *MODES[mode], seed)
        batches.append(Batches(task.x, task.y, config["batch"], seed))
    asked = asking_alike(kind, network(kind), strengths, 2, config["steps"])
    makes = [partial(network, kind)] * len(modes)
    nets = stacked(makes, [seed] * len(modes), batches, config, checkpoint, **asked)
    return nets, asked.get("tune")


@torch.no_grad()
def miss(f, mode: str, seed: int = 999) -> float:
    """Returns the mean squared error in percent of the variance, on samples of a seed."""
    task = cossim(1000, *MODES[mode], seed)
    return 100 * ((f(task.x) - task.y).square().mean() / task.y.var()).item()


def best_invariant(mode: str):
    """Returns the best function that ignores rotations: the task, averaged over 200 turns."""
    turns = SO(3).sample(200, torch.Generator().manual_seed(0))
    keeps, eps = MODES[mode]
    moves = [REP_IN.rho(h).float().mT for h in turns]
    return lambda x: torch.stack([cossim_target(x @ m, keeps, eps) for m in moves]).mean(0)
