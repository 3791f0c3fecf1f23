"""PER on its own task (Kim et al. 2023): moments of inertia, bent along one axis by a dial.

One run trains a network for each axis and each level of the dial, all in one stack: networks this
small cost little more together than alone. `networks` takes the records apart again.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from equitutor import runtime
from equitutor.methods.soft import SoftTuning, TypedNetwork, distances
from equitutor.studies.inertia import (
    AXES,
    AXIS_TURN,
    NAMES,
    PLANES,
    Case,
    asking,
    cases,
    error_of,
    held_out,
    levels,
    miss,
    network,
    readings,
    samples,
    stacked,
    target,
    twist,
)
from equitutor.studies.study import Claim, Rule, Study, grid
from equitutor.studies.verdicts import above, estimate, paired, within
from equitutor.training import Checkpoint

MOMENTS = (5, 10, 20, 40, 60, 80, 100)  # percent of training at which the rule could look


def run(config: dict, checkpoint: Checkpoint) -> dict[str, float]:
    """Returns what networks of one kind do, for each axis and level, all from one seed.

    Args:
        config: `network`, `seed`, `levels` (text), `strength` (the start of each penalty; the
            softness of "projected"), `steps`, `samples`, `batch`, `lr`.
        checkpoint: where the training is kept.
    """
    runtime.seed(config["seed"])
    kind, mine, tuning = config["network"], cases(config["levels"], config["seed"]), None
    if kind == "truth":
        nets = [partial(target, axis=case.axis, eps=case.eps) for case in mine]
    else:
        nets, tuning = train(kind, mine, config, checkpoint)
    x, found = held_out(), {}
    for k, (case, net) in enumerate(zip(mine, nets, strict=True)):
        values = {"error": miss(net, x, case.axis, case.eps)}
        values |= {
            f"breaks_{n}": error_of(net, x[:100], g) for n, g in zip(NAMES, PLANES, strict=True)
        }
        values |= tuned(tuning, k, case, config)
        found |= {f"{name} {case.axis}{case.slot}": v for name, v in values.items()}
    found |= twisted(nets[SHOWN], x) if tuning else dict.fromkeys(TWIST, 0.0)
    return {name: float(f"{value:.5g}") for name, value in found.items()}


def train(kind: str, mine: list[Case], config: dict, checkpoint: Checkpoint):
    """Returns the trained networks of all cases, and their `SoftTuning` or None."""
    alone = kind in ("exact, told", "RPP, told")  # other layers for each axis: a stack each
    parts = [[c for c in mine if c.axis == a] for a in AXES] if alone else [mine]
    nets, asked = [], {}
    for part in parts:
        axes = [case.axis for case in part]
        asked = asking(kind, axes, [config["strength"]] * len(part), config["steps"])
        makes = [partial(network, kind, axis, config["strength"]) for axis in axes]
        batches = [samples(case, config) for case in part]
        kept = checkpoint.part(axes[0]) if alone else checkpoint
        nets += stacked(makes, [c.seed for c in part], batches, config, kept, **asked)
    return nets, asked.get("tune")


def tuned(tuning: SoftTuning | None, k: int, case: Case, config: dict) -> dict[str, float]:
    """Returns the strengths left, in percent of the start, and when the right group is nearest."""
    if tuning is None:  # no penalty, so no strength; and nothing that could name a group
        return dict.fromkeys([*(f"strength_{n}" for n in NAMES), *(f"named_{m}" for m in MOMENTS)],
                             0.0)  # fmt: skip
    start = max(config["strength"], 1e-30)
    left = 100 * tuning.strengths[k, 1:].cpu() / start
    values = {f"strength_{n}": v for n, v in zip(NAMES, left.tolist(), strict=True)}
    for m in MOMENTS:
        nearest = readings(tuning.record, config["steps"], m / 100)[k, 1:].argmin()
        values[f"named_{m}"] = 100.0 * (int(nearest) == AXES.index(case.axis))
    return values


SHOWN = 2  # the case that the lesson speaks of: axis z, the third level
TWIST = ("twist_change", "twist_before", "twist_after")


@torch.no_grad()
def twisted(net: TypedNetwork, x: Tensor) -> dict[str, float]:
    """Returns what a turn of the hidden axes changes: the function, and R of the plane xy."""
    other = twist(net, AXIS_TURN)
    change = (net(x) - other(x)).norm() / net(x).norm()
    values = change, distances(net)[1], distances(other)[1]
    return dict(zip(TWIST, (v.item() for v in values), strict=True))


# Reading the records ------------------------------------------------------------------------


def networks(runs):
    """Returns the records as a table with one row a network, of one axis and one level.

    Args:
        runs: table of runs, as `load` returns it.

    Columns: `network`, `seed`, `axis`, `eps`, `pair` (what networks to be compared share),
    `error`, the function errors `right` (of the group that holds) and `wrong` (mean of the two
    others) and `breaks_*`, the strengths `lam_right`, `lam_wrong` and `strength_*`, `strongest`
    (100 where the right group has the largest strength) and `named_*`.
    """
    import pandas as pd

    rows = []
    for record in runs.to_dict("records"):
        for case in cases(record["levels"], record["seed"]):
            get = lambda name: record[f"{name} {case.axis}{case.slot}"]  # noqa: B023
            k = AXES.index(case.axis)
            breaks = [get(f"breaks_{n}") for n in NAMES]
            lam = [get(f"strength_{n}") for n in NAMES]
            about = [record[name] for name in ("network", "seed", "levels")]
            pair = f"{record['seed']} {case.axis} {case.slot}"
            read = [breaks[k], (sum(breaks) - breaks[k]) / 2, lam[k], (sum(lam) - lam[k]) / 2]
            named = [get(f"named_{m}") for m in MOMENTS]
            strongest = 100.0 * (max(lam) == lam[k])
            rows.append(
                [
                    *about,
                    case.axis,
                    case.eps,
                    pair,
                    get("error"),
                    *read,
                    strongest,
                    *breaks,
                    *lam,
                    *named,
                ]
            )
    head = "network seed levels axis eps pair error right wrong lam_right lam_wrong strongest"
    return pd.DataFrame(rows, columns=[*head.split(), *PER_CASE[1:]])


def announced(values, null):
    """Returns which groups read higher than anything in the null runs: (runs, G), bool.

    Args:
        values: readings (runs, G), large where a group seems broken.
        null: the same of runs in which nothing is broken. Each group's median is its unit.
    """
    import numpy as np

    values, null = np.asarray(values), np.asarray(null)
    middle = np.median(null, 0)
    return values / middle > (null / middle).max()


def null_table(runs, reading: str):
    """Returns which planes are announced for each network of PER, automatic: a table.

    Args:
        runs: table of runs. reading: "function error", or "strength", read as one over it.

    Columns as in `networks`, and `false` (a group that holds was announced) and `found` (the share
    of broken groups that were), in percent.
    """
    rows = networks(runs[runs["network"] == "PER, automatic"])
    null = rows[rows["levels"] == NULL_LEVELS]
    rows = rows[rows["levels"] == LEVELS].copy()
    if null.empty or rows.empty:
        return rows.iloc[:0].assign(false=0.0, found=0.0)
    part, turn = ("breaks_", 1) if reading == "function error" else ("strength_", -1)
    columns = [part + n for n in NAMES]
    table = announced(rows[columns] ** turn, null[columns] ** turn)
    right = [AXES.index(axis) for axis in rows["axis"]]
    whole = rows["eps"].to_numpy() == 0
    holds = table[range(len(table)), right]
    rows["false"] = 100.0 * (table.any(1) * whole + holds * ~whole)
    rows["found"] = 50.0 * (table.sum(1) - holds) * ~whole
    return rows


# Claims -------------------------------------------------------------------------------------

LEVELS, NULL_LEVELS = "0 0.1 0.3 1", "0 0 0 0"
AUTO = "PER, automatic"


def of(kind: str, metric: str, *eps: float):
    """Returns the measure "mean of a metric of one network over axes, seeds and levels"."""

    def measure(runs):
        rows = networks(runs[(runs["network"] == kind) & (runs["levels"] == LEVELS)])
        return estimate(rows[rows["eps"].isin(eps)][metric].tolist())

    return measure


def gain(kind: str, than: str = AUTO, eps: float = 0.3):
    """Returns the measure "how much lower the error of the second network is", in pairs."""

    def measure(runs):
        rows = networks(runs[runs["levels"] == LEVELS])
        rows = rows[rows["eps"] == eps]
        both = (rows[rows["network"] == name] for name in (kind, than))
        return paired(*both, "error", on="pair")

    return measure


def both_levels(runs):
    """Returns the networks of PER, automatic, and the task's own errors by axis and level."""
    rows = networks(runs[runs["levels"] == LEVELS])
    true = rows[rows["network"] == "truth"].groupby(["axis", "eps"])["wrong"].mean()
    learned = rows[rows["network"] == AUTO] if len(true) else rows[:0]
    return learned, true


def tracking(runs):
    """Returns the function error of the wrong groups over that of the task itself."""
    learned, true = both_levels(runs)
    learned = learned[learned["eps"] > 0]
    return estimate([r.wrong / true[r.axis, r.eps] for r in learned.itertuples()])


def exponent(runs):
    """Returns a in "strength ~ level to the power of -a", from the smallest to the largest dial."""
    learned, true = both_levels(runs)
    small, *_, large = sorted(e for e in levels(LEVELS) if e > 0)
    found = []
    for (axis, _), rows in learned.groupby(["axis", "seed"]):
        lam = rows.set_index("eps")["lam_wrong"]
        growth = math.log(true[axis, large] / true[axis, small])
        found.append(math.log(lam[small] / lam[large]) / growth)
    return estimate(found)


def alarms(reading: str):
    """Returns the measure "share of runs with an alarm where nothing is broken"."""

    def measure(runs):
        rows = null_table(runs, reading)
        return estimate(rows[rows["eps"] == 0]["false"].tolist())

    return measure


def silent(nulls: int) -> Rule:
    """Returns the rule "holds without a false alarm, in part if chance explains the alarms".

    Among nulls + n runs that are alike, that the largest are all new has a chance that is counted.
    """

    def judge(e) -> str:
        n, count = len(e.values), sum(map(bool, e.values))
        odds = math.prod((n - i) / (nulls + n - i) for i in range(count))
        if not count:
            return "holds"
        return "holds in part" if odds > 0.05 else "does not hold"

    return Rule(
        "holds if no run raises a false alarm, holds in part if chance gives as many in more than "
        f"5 % of such tests (against {nulls} null runs), else does not hold",
        judge,
        ("holds", "holds in part", "does not hold"),
    )


def always(nearly: float) -> Rule:
    """Returns the rule "holds if true in every run, in part if the mean is above a share"."""

    def judge(e) -> str:
        if set(e.values) == {100.0}:
            return "holds"
        return "holds in part" if e.mean > nearly else "does not hold"

    return Rule(
        f"holds if it is so in every run, holds in part if in more than {nearly:g} % of the runs",
        judge,
        ("holds", "holds in part", "does not hold"),
    )


def better(text: str, paper: str, measure, holds: str, fails: str, open_: str, unit="points"):
    """Returns a claim "the second has the lower error", judged by the interval of the pairs."""
    reasons = {"holds": holds, "does not hold": fails, "undecided": open_}
    return Claim(text, paper, measure, above(0, f" {unit}"), reasons, unit)


SO_CLOSE = "The interval over axes and seeds contains zero: the two are too close to call."
CLAIMS = [
    better(
        "PER is more accurate than a plain network on mixed symmetries",
        "claimed; tables not at hand",
        gain("MLP"),
        "Inertia, dial 0.3: the plain network learns its samples by heart, PER shares what it "
        "learns along the orbits.",
        "Inertia, dial 0.3: at equal parameters the plain network does as well.",
        SO_CLOSE,
    ),
    better(
        "PER is more accurate than the exact network of the largest group",
        "claimed",
        gain("exact O(3)"),
        "Dial 0.3: what the exact network cannot express costs it more than its certainty gains.",
        "Dial 0.3: here it pays to keep even a symmetry that is broken.",
        SO_CLOSE,
    ),
    better(
        "... also when that group is broken more",
        "claimed",
        gain("exact O(3)", eps=1.0),
        "Dial 1: the exact network misses a large part of the target.",
        "Dial 1: even here PER gains nothing.",
        SO_CLOSE,
    ),
    better(
        "... also when that group is broken only mildly",
        "no, in a notebook of an early draft",
        gain("exact O(3)", eps=0.1),
        "Dial 0.1: even a slight bend is worth learning.",
        "Dial 0.1: so slight a bend is cheaper ignored than learned.",
        SO_CLOSE,
    ),
    better(
        "PER is more accurate than residual pathway priors",
        "claimed",
        gain("RPP, O(3)"),
        "Equal parameters, both strengths chosen on the same validation samples.",
        "Equal parameters, both strengths chosen alike: the residual pathways are better here, or "
        "as good. We do not know why; see what they break.",
        SO_CLOSE,
    ),
    better(
        "(Ours) ... also than one that was told the right group",
        "not stated",
        gain("RPP, told"),
        "PER pulls toward all three planes and still wins.",
        "Knowing the group is worth more than the way of asking for it.",
        SO_CLOSE,
    ),
    better(
        "(Ours) ... when both were told",
        "not stated",
        gain("RPP, told", "PER, told"),
        "With the same knowledge, one set of weights with a penalty beats two pathways.",
        "With the same knowledge, two pathways do as well as one penalty, or better.",
        "With the same knowledge the two are too close to call.",
    ),
    better(
        "(Ours) RPP gains from being told the right group",
        "not stated",
        gain("RPP, O(3)", "RPP, told"),
        "The smaller group fits the task, and helps.",
        "Told, it is no better: the exact pathway of the largest group is the stronger prior, and "
        "the dense one mends the rest.",
        SO_CLOSE,
    ),
    better(
        "(Ours) Penalties lower the test error of the network without them",
        "implied by the method",
        gain("no penalty", "PER, fixed"),
        "Same network, same start, dial 0.3: to have the penalties is what counts.",
        "Same network, same start: the penalties gain nothing.",
        SO_CLOSE,
    ),
    better(
        "(Ours) Automatic strengths lower the test error of fixed equal ones",
        "implied by the method",
        gain("PER, fixed"),
        "Dial 0.3, same network, same start, with and without the rule. Compare the size with "
        "what the penalties themselves gain.",
        "Dial 0.3: the rule changes the strengths and gains nothing.",
        SO_CLOSE,
    ),
    better(
        "(Ours) ... also where more is broken",
        "implied by the method",
        gain("PER, fixed", eps=1.0),
        "Dial 1: letting go of the broken groups helps.",
        "Dial 1: the rule gains nothing.",
        SO_CLOSE,
    ),
    better(
        "(Ours) PER is more accurate than weights projected to a soft subspace",
        "not stated; arXiv 2603.26657 is later",
        gain("projected"),
        "The rival is built from its abstract: one softness for all directions of SO(3), chosen "
        "on the same validation samples. Which directions a task breaks, it cannot learn.",
        "The rival is built from its abstract: one softness for all directions of SO(3), chosen "
        "on the same validation samples. It does as well, or better.",
        SO_CLOSE,
    ),
    better(
        "(Ours) PER is more accurate than a loss on the latent",
        "not stated; arXiv 2506.08244 is later",
        gain("latent loss"),
        "The rival is built from its abstract: the regular representation of the 24 turns of a "
        "cube on the latent, a penalty for each plane's quarter turn, strength chosen alike.",
        "The rival is built from its abstract, with its strength chosen alike. It does as well, "
        "or better.",
        SO_CLOSE,
    ),
    Claim(
        "The strengths find the symmetry that holds",
        "claimed",
        of(AUTO, "strongest", 0.1, 0.3, 1.0),
        always(60),
        {
            "holds": "At every level, on every axis, from every seed the strongest penalty is the "
            "right one.",
            "holds in part": "Most runs: where little is broken, the distances are too alike at "
            "the moment when the rule looks.",
            "does not hold": "The strongest penalty is hardly more often the right one than "
            "chance, one in three, would have it.",
        },
        "% of runs",
    ),
    Claim(
        "The strengths show the level of each symmetry",
        "claimed",
        exponent,
        above(0.7),
        {
            "holds": "The strength falls about as fast as the level grows.",
            "does not hold": "Strength ~ level to the power of -a, from dial 0.1 to 1. a = 0 is "
            "no reaction, 1 proportional; here a is small, and it grows with the exponent p that "
            "one happens to choose.",
            "undecided": "The interval of the exponent contains 0.7.",
        },
    ),
    Claim(
        "(Ours) The function error shows the level",
        "the paper reports a function error",
        tracking,
        within(0.8, 1.2),
        {
            "holds": "Wrong groups, all levels: learned over true, 1 is perfect.",
            "does not hold": "Wrong groups, all levels: learned over true, 1 is perfect. The "
            "penalties hold the learned error down.",
            "undecided": "Wrong groups, all levels: the interval of learned over true reaches "
            "over an end of the range.",
        },
    ),
    *(
        Claim(
            f"(Ours) Null control: the {reading} announces nothing where nothing is broken",
            "not tested there",
            alarms(reading),
            silent(36),
            {
                "holds": "No false alarm at dial 0.",
                "holds in part": "An alarm or more, which chance explains.",
                "does not hold": "More false alarms than chance explains.",
            },
            "% of runs",
        )
        for reading in ("function error", "strength")
    ),
]

# Each strength is that with the smallest validation error in the records of `soft-strengths`.
CHOSEN = {
    "truth": 0.0,
    "MLP": 0.0,
    "no penalty": 0.0,
    "exact O(3)": 0.0,
    "exact, told": 0.0,
    "RPP, O(3)": 0.001,
    "RPP, told": 10.0,
    "PER, fixed": 100.0,
    "PER, automatic": 100.0,
    "PER, told": 1000.0,
    "projected": 0.45,
    "latent loss": 0.0001,
}
TRAINED = [name for name in CHOSEN if name != "truth"]
NULL_SEEDS = range(100, 103)  # twelve networks each
CPU = dict(steps=2500, samples=1000, batch=50, lr=1e-2)
GPU = CPU | {"steps": 10000}
SMALL = dict(steps=20, samples=100, batch=20, lr=1e-2)


def planned(names: Sequence[str], seeds: Sequence[int], level: str, **sizes) -> list[dict]:
    """Returns configurations of networks, each with the strength that was chosen for it."""
    return [
        config
        for seed in seeds
        for name in names
        for config in grid(network=name, seed=seed, levels=level, strength=CHOSEN[name], **sizes)
    ]


PER_CASE = ["error", *(f"breaks_{n}" for n in NAMES), *(f"strength_{n}" for n in NAMES),
            *(f"named_{m}" for m in MOMENTS)]  # fmt: skip
STUDY = Study(
    name="soft-equivariance",
    run=run,
    sizes={
        "smoke": planned(list(CHOSEN), [0], LEVELS, **SMALL),
        "cpu": [
            *planned(["truth"], [0], LEVELS, **CPU),
            *planned(TRAINED, range(3), LEVELS, **CPU),
            *planned([AUTO], NULL_SEEDS, NULL_LEVELS, **CPU),
        ],
        "gpu": [
            *planned(["truth"], [0], LEVELS, **GPU),
            *planned(TRAINED, range(5), LEVELS, **GPU),
            *planned([AUTO], NULL_SEEDS, NULL_LEVELS, **GPU),
        ],
        "paper": "Five masses, four layers of width 128, 8,000 epochs, five seeds: days of a "
        "data-center GPU with this code. The paper's Waymo forecasts need its licensed data.",
    },
    units={f"{name} {axis}{slot}": "%" for name in PER_CASE for axis in AXES for slot in range(4)}
    | {"twist_change": "", "twist_before": "", "twist_after": ""},
    claims=CLAIMS,
)  # fmt: skip
