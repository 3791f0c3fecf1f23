"""PER on people in a street: the paper's forecasts, with open data in place of licensed ones.

One run trains the same network on four training sets, all in one stack.
"""

import torch

from equitutor import runtime
from equitutor.data.trajectories import constant_velocity
from equitutor.methods.soft import SoftTuning, codimensions, snapshot_rule
from equitutor.studies.soft import announced, silent
from equitutor.studies.study import Claim, Study, grid
from equitutor.studies.verdicts import above, estimate, paired
from equitutor.studies.walks import (
    CANDIDATES,
    QUARTER,
    SCENES,
    ade,
    breaks,
    fit,
    network,
    scenes,
    sets_of,
)
from equitutor.training import Checkpoint


def run(config: dict, checkpoint: Checkpoint) -> dict[str, float]:
    """Returns what forecasters of one kind do, one for each of four training sets.

    Args:
        config: `network`, `seed`, `sets` (text: kinds of `windows`), `strength` (the start of each
            penalty), `source`, `steps`, `batch`, `lr`.
        checkpoint: where the training is kept.
    """
    runtime.seed(config["seed"])
    kind, source, tuning = config["network"], config["source"], None
    sets = sets_of(config["sets"], config["seed"])
    if kind == "constant velocity":
        nets = [constant_velocity] * len(sets)
    else:
        strengths = [config["strength"]] * len(sets)
        nets, tuning = fit(kind, source, sets, strengths, config, checkpoint)
    found = {}
    for k, net in enumerate(nets):
        values = {}
        for scene in SCENES:
            walks = scenes(source)["same street" if scene == "turned" else scene]
            h = QUARTER if scene == "turned" else torch.eye(2)
            mean, final = ade(net, walks.x @ h.mT, walks.y @ h.mT)
            values |= {f"ADE {scene}": mean, f"FDE {scene}": final}
        values |= {f"breaks {g}": v for g, v in zip(CANDIDATES, breaks(net, source), strict=True)}
        values |= tuned(tuning, k, config["strength"])
        found |= {f"{name}, set {k}": v for name, v in values.items()}
    return {name: float(f"{value:.5g}") for name, value in found.items()}


def tuned(tuning: SoftTuning | None, k: int, start: float) -> dict[str, float]:
    """Returns the strengths left, in percent of the start: by the rule, and by codimension."""
    if tuning is None:
        return {f"{what} {g}": 0.0 for what in ("strength", "by size") for g in CANDIDATES}
    left = tuning.strengths[k].cpu()
    fair = left
    if tuning.snapshot is not None:
        begin = torch.tensor([0.0, start, start, start])
        size = codimensions(network("PER, fixed"))
        fair = snapshot_rule(tuning.snapshot[k].cpu(), begin, 2.0, size)
    both = ("strength", left), ("by size", fair)
    return {
        f"{what} {g}": 100 * v / start
        for what, values in both
        for g, v in zip(CANDIDATES, values[1:].tolist(), strict=True)
    }


# Reading the records ------------------------------------------------------------------------


def forecasters(runs):
    """Returns the records as a table with one row a forecaster, of one training set.

    Args:
        runs: table of runs, as `load` returns it.

    Columns: `network`, `seed`, `sets`, `trained` (the kind of training set), and the metrics.
    """
    import pandas as pd

    rows = []
    for record in runs.to_dict("records"):
        for k, (kind, seed) in enumerate(sets_of(record["sets"], record["seed"])):
            named = {name: record[f"{name}, set {k}"] for name in PER_SET}
            about = {name: record[name] for name in ("network", "sets")}
            rows.append(about | {"seed": seed, "trained": kind} | named)
    columns = ["network", "sets", "seed", "trained", *PER_SET]
    return pd.DataFrame(rows, columns=columns)


def gain(kind: str, scene: str = "same street", than: str = "PER, automatic", trained="all"):
    """Returns the measure "how much smaller the ADE of the second network is", in pairs."""

    def measure(runs):
        rows = forecasters(runs[runs["sets"] == SETS])
        rows = rows[rows["trained"] == trained]
        both = [rows[rows["network"] == name] for name in (kind, than)]
        return paired(*both, f"ADE {scene}")

    return measure


def null_table(runs, reading: str):
    """Returns which candidates are announced, for each forecaster of PER, automatic.

    Args:
        runs: table of runs. reading: "function error", or "strength", read as one over it.

    Columns as in `forecasters`, and one more for each candidate: yes or no.
    """
    rows = forecasters(runs[runs["network"] == "PER, automatic"])
    null, rows = (rows[rows["sets"] == text] for text in (NULL_SETS, SETS))
    part, turn = ("breaks", 1) if reading == "function error" else ("strength", -1)
    columns = [f"{part} {g}" for g in CANDIDATES]
    if null.empty or rows.empty:
        return rows.iloc[:0].assign(**dict.fromkeys(CANDIDATES, False))
    table = announced(rows[columns] ** turn, null[columns] ** turn)
    return rows.assign(**dict(zip(CANDIDATES, table.T, strict=True)))


def alarms(reading: str):
    """Returns the measure "share of runs with an alarm where all candidates hold"."""

    def measure(runs):
        rows = null_table(runs, reading)
        found = rows[rows["trained"] == "turned"][list(CANDIDATES)]
        return estimate([100.0 * any(row) for row in found.to_numpy()])

    return measure


def weakest(runs):
    """Returns the smallest strength, in percent of the start, where all candidates hold."""
    rows = forecasters(runs[runs["network"] == "PER, automatic"])
    rows = rows[rows["trained"] == "turned"]
    return estimate(rows[[f"strength {g}" for g in CANDIDATES]].min(axis=1).tolist())


# Claims -------------------------------------------------------------------------------------

SETS = "all, few, turned, flipped"
NULL_SETS = "turned, turned, turned, turned"
NULL_SEEDS = range(100, 105)  # four forecasters each
NULLS = 20


def less(text: str, paper: str, measure, holds: str, fails: str) -> Claim:
    """Returns a claim "the second has the smaller ADE", judged by the interval of the pairs."""
    reasons = {"holds": holds, "does not hold": fails,
               "undecided": "The interval over seeds contains zero."}  # fmt: skip
    return Claim(text, paper, measure, above(0, " cm"), reasons, "cm")


UCY = "UCY, trained on zara01, tested on zara02; Waymo is license-gated and not tested. "
CLAIMS = [
    less(
        "PER forecasts motion better than a plain network",
        "claimed on Waymo",
        gain("MLP"),
        UCY + "The mean distance is smaller.",
        UCY + "No gain.",
    ),
    less(
        "PER forecasts motion better than the exact network",
        "claimed on Waymo",
        gain("exact O(2)"),
        UCY + "A street is not the same in all directions, and the exact network must ignore it.",
        UCY + "No gain.",
    ),
    less(
        "(Ours) PER forecasts better than going on as in the last step",
        "not stated",
        gain("constant velocity"),
        UCY + "It beats the forecast that learns nothing.",
        UCY + "It does not beat the forecast that learns nothing.",
    ),
    less(
        "(Ours) Automatic strengths forecast better than fixed ones",
        "implied by the method",
        gain("PER, fixed"),
        UCY + "Each with the strength that validation chose for it.",
        UCY + "Each with the strength that validation chose for it: no gain.",
    ),
    less(
        "(Ours) ... also on another place",
        "not stated",
        gain("PER, fixed", "other place"),
        "Tested on students003.",
        "Tested on students003: no gain.",
    ),
    less(
        "(Ours) PER beats a plain network after 200 windows",
        "not stated",
        gain("MLP", trained="few"),
        "Trained on 200 windows of zara01.",
        "Trained on 200 windows of zara01: no gain.",
    ),
    *(
        Claim(
            f"(Ours) Null control, walks: the {reading} announces nothing",
            "not tested there",
            alarms(reading),
            silent(NULLS),
            {
                "holds": "Every window turned and flipped at random, so that all candidates hold: "
                "no alarm.",
                "holds in part": "Every window turned and flipped at random: an alarm or more, "
                "which chance explains.",
                "does not hold": "Every window turned and flipped at random: more alarms than "
                "chance explains.",
            },
            "% of runs",
        )
        for reading in ("function error", "strength")
    ),
    Claim(
        "(Ours) Null control, walks: the strengths stay equal",
        "not tested there",
        weakest,
        above(50, " %"),
        {
            "holds": "Where all candidates hold, no strength falls far.",
            "does not hold": "All candidates hold alike, and the rule still hands out very "
            "different strengths: large groups lose, whatever they do.",
            "undecided": "The interval of the smallest strength contains 50 %.",
        },
        "%",
    ),
]

# Each strength is that with the smallest validation error in the records of `soft-strengths`.
CHOSEN = {
    "constant velocity": 0.0,
    "MLP": 0.0,
    "exact O(2)": 0.0,
    "PER, fixed": 10.0,
    "PER, automatic": 100.0,
}
CPU = dict(source="UCY", steps=1500, batch=50, lr=5e-3)
SMALL = dict(source="street", steps=20, batch=20, lr=5e-3)


def planned(names, seeds, sets: str, **sizes) -> list[dict]:
    """Returns configurations of networks, each with the strength that was chosen for it."""
    return [
        config
        for seed in seeds
        for name in names
        for config in grid(network=name, seed=seed, sets=sets, strength=CHOSEN[name], **sizes)
    ]


PER_SET = [*(f"{score} {scene}" for scene in SCENES for score in ("ADE", "FDE")),
           *(f"{what} {g}" for what in ("breaks", "strength", "by size") for g in CANDIDATES),
           ]  # fmt: skip
STUDY = Study(
    name="soft-walks",
    lesson="soft-equivariance",
    run=run,
    sizes={
        "smoke": planned(list(CHOSEN), [0], SETS, **SMALL),
        "cpu": [
            *planned(list(CHOSEN), range(3), SETS, **CPU),
            *planned(["PER, automatic"], NULL_SEEDS, NULL_SETS, **CPU),
        ],
        "gpu": [
            *planned(list(CHOSEN), range(5), SETS, **CPU | {"steps": 6000}),
            *planned(["PER, automatic"], NULL_SEEDS, NULL_SETS, **CPU | {"steps": 6000}),
        ],
        "paper": "Waymo Open Motion v1.1, behind a license.",
    },
    units={
        f"{name}, set {k}": "cm" if name[1:3] == "DE" else "%" for name in PER_SET for k in range(4)
    },
    claims=CLAIMS,
)
