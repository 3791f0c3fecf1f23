"""NERO's third case, flows: estimators under mirrors, quarter turns, and time run backwards."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from equitutor import runtime
from equitutor.data.flow import flow_pairs
from equitutor.data.particles import particle_pairs
from equitutor.models.velocimetry import CostVolumeNet, cross_correlation, rmse
from equitutor.orbits.consensus import consensus, variance_decomposition
from equitutor.orbits.elements import d4_time
from equitutor.orbits.equivariance import equivariance_error
from equitutor.orbits.evaluate import evaluate
from equitutor.orbits.result import OrbitResult
from equitutor.studies.nero import MORE, at_most, gap, of
from equitutor.studies.study import Claim, Estimate, Study, grid
from equitutor.studies.verdicts import above, estimate, within
from equitutor.training import Batches, Checkpoint, fit

NETWORKS = {  # whether it is trained, and on pairs that random elements have moved
    "cross-correlation": (False, False),
    "network": (True, False),
    "network, posed": (True, True),
}
FILM = d4_time()
SETS = ("right", "mixed", "real")  # rightward flows, flows to all sides, and those of others
KINDS = ("backstep", "dns_turbulence", "isotropic", "sqg", "uniform")
REACH = 8  # pixels: the largest shift that is looked for; flows reach up to 6


def run(config: dict, checkpoint: Checkpoint) -> dict[str, float]:
    """Returns the errors of one estimator of flow at 16 elements, on generated and real pairs.

    The networks are trained on generated flows to the right, as in a wind tunnel.

    Args:
        config: `network` (a key of `NETWORKS`), `seed`, `pairs` to train on, their `side` in
            pixels, `steps`, `batch`, `lr`, `tested` generated pairs, `crop` of the real pairs in
            pixels.
        checkpoint: where the training is kept.
    """
    runtime.seed(config["seed"])
    model, loss = cross_correlation_of_windows, 0.0
    trained, posed = NETWORKS[config["network"]]
    if trained:
        made = rightward(config["pairs"], config["side"], seed=4)
        batches = Batches(made.frames, made.flow, config["batch"], config["seed"])
        model = CostVolumeNet(reach=REACH)
        history = fit(model, moved(batches) if posed else batches, F.mse_loss, config["steps"],
                      config["lr"], checkpoint=checkpoint, progress=False)  # fmt: skip
        last = history.loss[-max(1, len(history.loss) // 20) :]
        loss = sum(last) / len(last)
        model.to(runtime.device()).eval()
    return measure(model, config) | {"training_loss": loss}


cross_correlation_of_windows = partial(cross_correlation, window=32, reach=REACH, step=8)
rightward = partial(particle_pairs, fields=("rightward",), max_shift=6.0)


def moved(batches: Callable) -> Callable:
    """Returns batches moved by random elements: the frames, and their fields along."""

    def draw(step: int) -> tuple[Tensor, Tensor]:
        x, y = batches(step)
        seed = torch.Generator().manual_seed(1_000_003 * batches.seed + step)
        i = int(torch.randint(16, (1,), generator=seed))
        return FILM.act_x(x, i), FILM.act_y(y, i)

    return draw


def walk(model, frames: Tensor, flow: Tensor) -> OrbitResult:
    """Returns root mean squared errors in pixels, at each of 16 elements and for each pair."""
    batch = max(1, 2**18 // frames[0, 0].numel())  # 64 pairs of 64 x 64 pixels
    return evaluate(model, frames, flow, FILM, rmse, batch=batch, higher_is_better=False,
                    keep_outputs=True, progress=False, device=runtime.device())  # fmt: skip


def measure(model, config: dict) -> dict[str, float]:
    """Returns the errors along the orbit on three sets, and the disagreement on a jet."""
    side, n, crop = config["side"], config["tested"], config["crop"]
    made = {"right": rightward(n, side, seed=2), "mixed": particle_pairs(n, side, 3, max_shift=6.0)}
    tests = {name: (pairs.frames, pairs.flow) for name, pairs in made.items()}
    tests["real"] = pairs_of_others(crop)
    numbers = {}
    for name, (frames, flow) in tests.items():
        result = walk(model, frames, flow)
        curve = result.aggregate()
        numbers |= {f"{name}_{i}": value for i, value in enumerate(curve.tolist())}
        numbers |= {
            f"{name}_mean": curve.mean(),
            f"{name}_worst": curve.max(),
            f"{name}_spread": result.spread().mean(),
            f"{name}_range": result.spread("range").mean(),
            f"{name}_averaged": rmse(consensus(result), flow).mean(),
        }
    few = tests["right"][0][:4].to(runtime.device())
    numbers["equivariance_error"] = equivariance_error(model, few, FILM).max()
    numbers |= on_a_jet(model, crop)
    return {name: float(value) for name, value in numbers.items()}


def pairs_of_others(crop: int) -> tuple[Tensor, Tensor]:
    """Returns frames and true flows of seven pairs that others made, at most two of a kind."""
    pairs = [flow_pairs(kind) for kind in KINDS]
    part = slice((256 - crop) // 2, (256 + crop) // 2)
    frames, flows = (
        torch.cat([getattr(p, name)[:2] for p in pairs])[..., part, part]
        for name in ("frames", "flow")
    )
    return frames.contiguous(), flows.contiguous()


def on_a_jet(model, crop: int) -> dict[str, Tensor]:
    """Returns how far the answers on photographs of a jet lie from their own consensus.

    Nobody knows the truth, so this is all that can be said.
    """
    part = [slice(c - crop // 2, c + crop // 2) for c in (520, 696)]
    jet = flow_pairs("jet").frames[:2, :, part[0], part[1]].contiguous()
    alone = walk(model, jet, torch.zeros_like(jet))
    agreed = consensus(alone)
    variance = variance_decomposition(alone, agreed).equivariance_variance / jet[0, 0].numel()
    return {
        "jet_disagreement": variance.sqrt().mean(),
        "jet_size": agreed.square().sum(1).mean((1, 2)).sqrt().mean(),
    }


def ratio(over: str, under: str, network: str):
    """Returns the measure "one error as a multiple of another", run by run."""

    def measure_ratio(runs) -> Estimate:
        mine = runs[runs["network"] == network]
        return estimate((mine[over] / mine[under]).tolist())

    return measure_ratio


CLAIMS = [
    Claim(
        "NERO shows what one number hides: particle image velocimetry (seven pairs of others)",
        "claimed, no figure",
        ratio("real_mean", "real_0", "network"),
        above(1.2, " times"),
        {
            "holds": "Trained on flows to the right: mean error over 16 elements, as a multiple of "
            "the error on the pairs as they are.",
            "does not hold": "A network of flows to the right hardly minds the other elements.",
            "undecided": MORE,
        },
        "times",
    ),
    Claim(
        "(Ours) A test set that is itself invariant makes the aggregate flat (generated flows)",
        "not stated",
        ratio("mixed_mean", "mixed_0", "network"),
        within(0.9, 1.1, " times"),
        {
            "holds": "On flows to all sides the same network shows a flat curve, while single "
            "pairs vary: see their range in the table.",
            "does not hold": "The curve is not flat on flows to all sides.",
            "undecided": MORE,
        },
        "times",
    ),
    Claim(
        "(Ours) Averaging over the 16 elements lowers the error of a network that breaks them",
        "not stated",
        gap("real_mean", "real_averaged", network="network"),
        above(0, " px"),
        {
            "holds": "Pixels of error, on the pairs of others, that the group average takes away: "
            "it is the variance along the orbit. What is wrong on all of it stays.",
            "does not hold": "The group average is no better.",
            "undecided": MORE,
        },
        "px",
    ),
    Claim(
        "(Ours) Trained on random elements, a network is even, but not exactly equivariant",
        "not stated",
        of("equivariance_error", network="network, posed"),
        above(1e-3, " px"),
        {
            "holds": "Largest change of a field under the 16 elements. Exact would be rounding.",
            "does not hold": "Training alone made it equivariant to rounding.",
            "undecided": MORE,
        },
        "px",
    ),
    Claim(
        "(Ours) Cross-correlation is exactly equivariant, by construction",
        "not stated",
        of("equivariance_error", network="cross-correlation"),
        at_most(1e-5, " px"),
        {
            "holds": "Largest change of a field under the 16 elements, for a method that is not "
            "trained and has no seed.",
            "does not hold": "Some element changes its answer: look at ties of the peak.",
        },
        "px",
    ),
]

UNITS = (
    {f"{name}_{i}": "px" for name in SETS for i in range(16)}
    | {
        f"{name}_{what}": "px"
        for name in SETS
        for what in ("mean", "worst", "spread", "range", "averaged")
    }
    | {
        "equivariance_error": "px",
        "jet_disagreement": "px",
        "jet_size": "px",
        "training_loss": "px²",
    }
)

TRAINED = [name for name, (trained, _) in NETWORKS.items() if trained]
CPU = dict(pairs=800, side=64, steps=600, batch=8, lr=3e-3, tested=30, crop=256)
GPU = dict(pairs=5000, side=64, steps=8000, batch=32, lr=3e-3, tested=60, crop=256)
STUDY = Study(
    name="nero-flows",
    lesson="nero",
    run=run,
    sizes={
        "smoke": grid(network=list(NETWORKS), seed=0, pairs=8, side=32, steps=4, batch=4, lr=3e-3,
                      tested=2, crop=32),
        "cpu": grid(network=TRAINED, seed=[0, 1, 2], **CPU)
        + grid(network="cross-correlation", seed=0, **CPU),
        "gpu": grid(network=TRAINED, seed=[0, 1, 2], **GPU)
        + grid(network="cross-correlation", seed=0, **GPU),
        "paper": "PIV-LiteFlowNet on the 15,000 pairs of Cai et al.: hours of a GPU and 9 GB.",
    },
    units=UNITS,
    claims=CLAIMS,
)  # fmt: skip
