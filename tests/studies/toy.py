"""A study outside of the package: tiny runs, and ways for them to go wrong, set from outside.

TOY_LOG names a file that gets a line when a run starts, every ten steps, and when it ends;
TOY_SLEEP is the seconds that ten steps take at least.
"""

import math
import os
import time
from pathlib import Path

import torch
from torch import nn
from toy_helper import plane

from equitutor import runtime
from equitutor.data.images import digits
from equitutor.studies import Claim, Study, above, estimate, every, grid
from equitutor.training import Batches, fit

SCALE = 2.0


def run(config, checkpoint):
    """A line fitted to a plane, or whatever `mode` says."""
    note(f"start {config['mode']} {config['x']} {config['seed']}")
    if config["mode"] == "raise":
        raise KeyError(f"no luck with {config['x']}")
    if config["mode"] == "odd error":
        raise Unpicklable("a", "b")
    if config["mode"] == "die":
        os._exit(3)
    if config["mode"] == "nan":
        return {"error": math.nan, "taken": 0}
    if config["mode"] == "missing":
        return {"error": 1.0}
    if config["mode"] == "extra":
        return {"error": 1.0, "taken": 1, "more": 2.0}
    if config["mode"] == "text":
        return {"error": "small", "taken": 1}
    runtime.seed(config["seed"])
    if config["mode"] == "digits":
        digits("test", 8)
    x = torch.rand(64, 2)
    model = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.1), nn.Linear(4, 1))
    batches = Slow(x, SCALE * plane(x, config["x"]), 16, config["seed"])
    history = fit(model, batches, nn.functional.mse_loss, config["steps"], 0.02,
                  checkpoint=checkpoint, progress=False)  # fmt: skip
    note(f"end {config['mode']} {config['x']} {config['seed']} {history.resumed_at}")
    return {"error": history.loss[-1], "taken": config["steps"]}


class Slow(Batches):
    def __call__(self, step):
        if step % 10 == 0:
            note(f"step {step}")
            time.sleep(float(os.environ.get("TOY_SLEEP", 0)))
        return super().__call__(step)


class Unpicklable(Exception):
    """An error that comes back from a pickle as something else raised."""

    def __init__(self, one, two):
        super().__init__(one)


def note(line):
    if "TOY_LOG" in os.environ:
        with Path(os.environ["TOY_LOG"]).open("a") as file:
            file.write(line + "\n")


def unused():
    return 1


CLAIMS = [
    Claim("Small error", "none", lambda runs: estimate(runs["error"].tolist()), above(0),
          {"holds": "It is.", "does not hold": "It is not.", "undecided": "Who knows."}),
    Claim("All steps", "none", lambda runs: estimate(runs["taken"].tolist()), every(100, 1),
          {"holds": "a", "holds in part": "b", "does not hold": "c"}),
]  # fmt: skip

STUDY = Study(
    name="toy",
    run=run,
    sizes={
        "smoke": grid(mode="fit", x=[0.25, 0.5, 1.0, 2.0], seed=list(range(6)), steps=60),
        "cpu": grid(mode="fit", x=[1.0, 2.0], seed=[0, 1], steps=500),
        "gpu": [
            {"mode": mode, "x": x, "seed": 0, "steps": 60}
            for mode in (
                "raise",
                "odd error",
                "die",
                "nan",
                "missing",
                "extra",
                "text",
                "digits",
                "fit",
            )
            for x in ([1.0, 2.0] if mode == "fit" else [1.0])
        ],
        "paper": "a year of a planet",
    },
    units={"error": "", "taken": "steps"},
    claims=CLAIMS,
)
