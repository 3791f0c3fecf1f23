"""People in a street: scenes to train and to test on, and forecasters for them."""

from collections import Counter
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from equitutor.data.trajectories import (
    Trajectories,
    displacement_errors,
    street,
    trajectories,
)
from equitutor.methods.soft import (
    SO,
    ExactTypedLinear,
    O,
    Rep,
    SoftTypedLinear,
    TypedNetwork,
    mlp,
    reflection,
)
from equitutor.studies.inertia import asking_alike, error_of, stacked
from equitutor.training import Batches

GROUPS = (O(2), SO(2), reflection(0, 2), reflection(1, 2))
CANDIDATES = ("SO(2)", "flip x", "flip y")  # the first of the groups only lends its types
REP_IN, HIDDEN, REP_OUT = Rep(n1=7, d=2), Rep(12, 12, 2, d=2), Rep(n1=12, d=2)
SCENES = ("same street", "turned", "other place")
QUARTER = torch.tensor([[0.0, -1.0], [1.0, 0.0]])


@lru_cache
def scenes(source: str) -> dict[str, Trajectories]:
    """Returns the scene to train on, "train", and those to test on.

    Args:
        source: "UCY" (trained on zara01, tested on zara02 and students003), or "street", generated.
    """
    if source == "street":
        return {"train": street(300, seed=1), "same street": street(200, seed=2),
                "other place": street(200, breaking=0.0, seed=3)}  # fmt: skip
    return {"train": trajectories("zara01"), "same street": trajectories("zara02"),
            "other place": trajectories("students003")}  # fmt: skip


def late_people(walks: Trajectories) -> Tensor:
    """Returns which windows are of the last quarter of people, kept for validation: (N,), bool."""
    return walks.person > walks.person.float().quantile(0.75)


def windows(walks: Trajectories, kind: str, seed: int) -> tuple[Tensor, Tensor]:
    """Returns training inputs (N, 7, 2) and targets (N, 12, 2), in meters.

    Args:
        walks: the scene.
        kind: "all"; "few", 200 windows; "early people", without the last quarter; "turned", each
            window moved by a random element of O(2), so that all candidates hold; "flipped", by
            each of two flips or not, so that only the rotations are broken.
        seed: of the choice.
    """
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(walks), generator=draw)
    if kind == "few":
        order = order[:200]
    if kind == "early people":
        order = order[~late_people(walks)[order]]
    x, y = walks.x[order], walks.y[order]
    if kind == "turned":
        h = O(2).sample(len(x), draw).float()
    elif kind == "flipped":
        h = torch.diag_embed(2.0 * torch.randint(2, (len(x), 2), generator=draw) - 1)
    else:
        return x, y
    return x @ h.mT, y @ h.mT


def network(kind: str) -> nn.Module:
    """Returns an untrained forecaster of about 4,700 parameters: (B, 14) to (B, 24)."""
    if kind == "MLP":
        return mlp(REP_IN.size, REP_OUT.size, 51)
    if kind == "exact O(2)":
        layer = partial(ExactTypedLinear, group=GROUPS[0])
    else:
        layer = partial(SoftTypedLinear, groups=GROUPS)
    return TypedNetwork(REP_IN, HIDDEN, REP_OUT, layer)


class Forecaster(nn.Module):
    """A network in meters: steps of the past (B, 7, 2) to positions (B, 12, 2).

    Args:
        net: the network. unit_x, unit_y: one number each; one an axis would break the symmetry.
    """

    def __init__(self, net: nn.Module, unit_x: Tensor, unit_y: Tensor):
        super().__init__()
        self.net, self.unit_x, self.unit_y = net, unit_x, unit_y

    def forward(self, x: Tensor) -> Tensor:
        """Returns forecasts in meters."""
        return (self.net((x / self.unit_x).flatten(1)) * self.unit_y).unflatten(1, (-1, 2))


def fit(kind: str, source: str, sets: list[tuple[str, int]], strengths, config, checkpoint):
    """Returns forecasters, one for each training set (kind, seed), and their tuning or None."""
    walks = scenes(source)["train"]
    unit_x, unit_y = walks.x.std(), walks.y.std()
    batches = []
    for name, seed in sets:
        x, y = windows(walks, name, seed)
        x, y = (x / unit_x).flatten(1), (y / unit_y).flatten(1)
        batches.append(Batches(x, y, config["batch"], seed))
    asked = asking_alike(kind, network(kind), strengths, 3, config["steps"])
    seeds = [seed for _, seed in sets]
    nets = stacked(
        [partial(network, kind)] * len(sets), seeds, batches, config, checkpoint, **asked
    )
    return [Forecaster(net, unit_x, unit_y) for net in nets], asked.get("tune")


def sets_of(text: str, seed: int) -> list[tuple[str, int]]:
    """Returns the training sets that a configuration names: (kind, seed).

    A kind that is named again has other random choices.
    """
    times: Counter[str] = Counter()
    found = []
    for kind in text.split(", "):
        found.append((kind, seed + 1000 * times[kind]))
        times[kind] += 1
    return found


@torch.no_grad()
def ade(forecaster, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Returns mean and final distance from the true path, in centimeters."""
    return tuple(100 * e.mean().item() for e in displacement_errors(forecaster(x), y))


def breaks(forecaster: Forecaster, source: str) -> list[float]:
    """Returns the function error for each candidate, in percent."""
    x = scenes(source)["same street"].x[:200]
    f = lambda flat: forecaster(flat.unflatten(1, (7, 2))).flatten(1)
    return [error_of(f, x.flatten(1), group, REP_IN, REP_OUT) for group in GROUPS[1:]]
