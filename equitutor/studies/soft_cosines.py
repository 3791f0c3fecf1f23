"""PER on the paper's second task: cosines of vectors, under rotations and under scaling.

Scalings are no compact group. One run trains a network for each of three modes, in one stack.
"""

from functools import partial

from equitutor import runtime
from equitutor.data.symmetric_tasks import cossim, cossim_target
from equitutor.studies.cosines import (
    GROUPS,
    KEPT,
    MODES,
    REP_IN,
    REP_OUT,
    best_invariant,
    fit,
    miss,
)
from equitutor.studies.inertia import error_of
from equitutor.studies.soft import always, better
from equitutor.studies.study import Claim, Study, grid
from equitutor.studies.verdicts import estimate, paired
from equitutor.training import Checkpoint


def run(config: dict, checkpoint: Checkpoint) -> dict[str, float]:
    """Returns what networks of one kind do, one for each mode.

    Args:
        config: `network`, `seed`, `strengths` (text: the start of the penalties in each mode),
            `steps`, `samples`, `batch`, `lr`.
        checkpoint: where the training is kept.
    """
    runtime.seed(config["seed"])
    kind, modes, tuning = config["network"], list(MODES), None
    strengths = [float(word) for word in config["strengths"].split()]
    if kind == "truth":
        nets = [partial(cossim_target, keeps=k, eps=e) for k, e in MODES.values()]
    elif kind == "best invariant":
        nets = [best_invariant(mode) for mode in modes]
    else:
        nets, tuning = fit(kind, modes, config["seed"], strengths, config, checkpoint)
    x, found = cossim(200, seed=999).x, {}
    for k, (mode, net) in enumerate(zip(modes, nets, strict=True)):
        found[f"error, {mode}"] = miss(net, mode)
        for g, name in enumerate(KEPT, 1):
            found[f"breaks {name}, {mode}"] = error_of(net, x, GROUPS[g], REP_IN, REP_OUT)
            left = 100 * tuning.strengths[k, g].item() / strengths[k] if tuning else 0.0
            found[f"strength {name}, {mode}"] = left
    return {name: float(f"{value:.5g}") for name, value in found.items()}


def gain(kind: str, mode: str):
    """Returns the measure "how much lower the error of PER, automatic is", seed by seed."""

    def measure(runs):
        both = (runs[runs["network"] == name] for name in (kind, "PER, automatic"))
        return paired(*both, f"error, {mode}")

    return measure


def strongest(runs):
    """Returns 100 for each network whose stronger penalty is that of the group that holds."""
    mine = runs[runs["network"] == "PER, automatic"]
    hits = []
    for mode, (keeps, _) in MODES.items():
        other = KEPT[1 - KEPT.index(keeps)]
        hits += list(mine[f"strength {keeps}, {mode}"] > mine[f"strength {other}, {mode}"])
    return estimate([100.0 * hit for hit in hits])


OPEN = "The interval over seeds contains zero."
CLAIMS = [
    better(
        "PER is more accurate where rotations hold and scaling does not",
        "claimed",
        gain("MLP", "rotation holds"),
        "Cosines, against a plain network.",
        "Cosines, against a plain network: no gain.",
        OPEN,
    ),
    better(
        "PER is more accurate where scaling holds and rotations do not",
        "claimed",
        gain("MLP", "scale holds"),
        "Cosines, against a plain network. It need not be the scaling that helps: see the last "
        "line.",
        "Cosines, against a plain network: no gain.",
        OPEN,
    ),
    better(
        "... with the dial at 1",
        "not stated",
        gain("MLP", "scale holds, dial 1"),
        "As above.",
        "As above: no gain.",
        OPEN,
    ),
    better(
        "(Ours) ... and more accurate there than exact rotations",
        "not stated",
        gain("exact, rotation", "scale holds, dial 1"),
        "More than rotations alone can give.",
        "Rotations, which do not hold there, may be all that helps.",
        "Too close to call: rotations, which do not hold there, may be all that helps.",
    ),
    Claim(
        "The strengths find the symmetry that holds, also among groups of different size",
        "claimed",
        strongest,
        always(60),
        {
            "holds": "In all three modes, from every seed.",
            "holds in part": "In most runs. Strengths of groups of different size are not on one "
            "scale.",
            "does not hold": "Hardly more often than a coin.",
        },
        "% of runs",
    ),
]

# Each strength is that with the smallest validation error in the records of `soft-strengths`.
CHOSEN = "0.1 10 10"
NAMES = ["truth", "best invariant", "MLP", "exact, rotation", "exact, scale", "exact, both",
         "PER, fixed", "PER, automatic"]  # fmt: skip
TRAINED = NAMES[2:]
CPU = dict(steps=1200, samples=1000, batch=50, lr=1e-2)


def planned(seeds, **sizes) -> list[dict]:
    """Returns configurations of all networks; what is not trained has one seed."""
    return [
        *grid(network=NAMES[:2], seed=0, strengths=CHOSEN, **sizes),
        *grid(seed=list(seeds), network=TRAINED, strengths=CHOSEN, **sizes),
    ]


STUDY = Study(
    name="soft-cosines",
    lesson="soft-equivariance",
    run=run,
    sizes={
        "smoke": planned([0], steps=20, samples=100, batch=20, lr=1e-2),
        "cpu": planned(range(3), **CPU),
        "gpu": planned(range(5), **CPU | {"steps": 6000}),
        "paper": "Four layers of width 128, 2,000 epochs, five seeds.",
    },
    units={
        f"{name}, {mode}": "%"
        for mode in MODES
        for name in ["error", *(f"{w} {k}" for w in ("breaks", "strength") for k in KEPT)]
    },
    claims=CLAIMS,
)
