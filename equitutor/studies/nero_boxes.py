"""NERO's second case, objects that move: detectors of stride 4 under a window that slides."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from equitutor import runtime
from equitutor.data.centered import centered
from equitutor.data.detection import blood_cells
from equitutor.data.images import digits
from equitutor.data.scenes import Scenes, scenes, window
from equitutor.models.detection import CenterDetector, TopBoxes, center_loss
from equitutor.orbits.box_consensus import box_consensus, rescore
from equitutor.orbits.boxes import box_score, box_windows, iou
from equitutor.orbits.evaluate import evaluate
from equitutor.orbits.orbit import Orbit
from equitutor.orbits.result import OrbitResult
from equitutor.studies.nero import MORE, gap
from equitutor.studies.study import Claim, Study, grid
from equitutor.studies.verdicts import above
from equitutor.training import Checkpoint, fit

SIZE, REACH, STEP = 64, 24, 8  # pixels: the window, how far it slides, the walk of places
NETWORKS = {  # options of the detector, and how far off-center it is trained, in pixels
    "centered": ({}, 0),
    "centered, coordinates": ({"coordinates": True}, 0),
    "jittered": ({}, 16),
}


def run(config: dict, checkpoint: Checkpoint) -> dict[str, float]:
    """Returns how one detector bears shifts of its window: at one phase of its stride, and at all.

    Args:
        config: `data` ("scenes", generated, one digit each, or "cells", photographs of blood),
            `network` (a key of `NETWORKS`), `seed`, `width`, `steps`, `batch`, `lr`, `scenes` to
            train on (generated ones), `tested` scenes.
        checkpoint: where the training is kept.
    """
    runtime.seed(config["seed"])
    train, test = places_to_look(config)
    options, sigma = NETWORKS[config["network"]]
    net = CenterDetector(len(test.classes), test.x.shape[1], width=config["width"], **options)
    batches = framed(train, sigma, config["seed"], config["batch"])
    history = fit(net, batches, center_loss, config["steps"], config["lr"],
                  checkpoint=checkpoint, progress=False)  # fmt: skip
    last = history.loss[-max(1, len(history.loss) // 20) :]
    boxes = 20 if config["data"] == "cells" else 1  # in blood several cells are in view
    return measure(TopBoxes(net, boxes), test) | {"training_loss": sum(last) / len(last)}


def places_to_look(config: dict) -> tuple[Scenes, Scenes]:
    """Returns scenes to train on and to test on, the object in the middle of each."""
    n = config["tested"]
    if config["data"] == "scenes":
        train, test = (digits(split, size=28) for split in ("train", "test"))
        return scenes(train, config["scenes"]), scenes(test, n, seed=1)
    train, test = (centered(blood_cells(split), 112, 3) for split in ("train", "val"))
    few = torch.arange(n) * (len(test) // n)  # from all over the set
    parts = {name: getattr(test, name)[few] for name in ("x", "boxes", "y", "others")}
    return train, replace(test, **parts)


def framed(train: Scenes, sigma: float, seed: int, size: int) -> Callable:
    """Returns batches of windows in which the object is off-center by about sigma pixels."""
    room = (train.x.shape[-1] - SIZE) // 2

    def draw(step: int) -> tuple[Tensor, Tensor]:
        g = torch.Generator().manual_seed(1_000_003 * seed + step)
        i = torch.randint(len(train), (size,), generator=g)
        off = (sigma * torch.randn(2, size, generator=g)).round().long().clamp(-room, room)
        return window(train.x[i], train.targets[i], *off, SIZE)

    return draw


def part_of(orbit: Orbit, keep: Tensor) -> Orbit:
    """Returns the elements of an orbit for which `keep`, booleans (G,), is true."""
    at = keep.nonzero().flatten().tolist()

    def only(act):
        return lambda data, i: act(data, at[i])

    acts = {name: only(getattr(orbit, name)) for name in ("act_x", "act_y", "inv_y")}
    identity = at.index(orbit.identity)
    return replace(orbit, kind="points", params=orbit.params[keep], weights=None,
                   identity=identity, **acts)  # fmt: skip


def walks(canvas: int) -> dict[str, Orbit]:
    """Returns three walks of the window: what repeats every 4 pixels needs more than one.

    "places" goes by multiples of the stride, so that every place has the same phase; "phases" are
    the 4 x 4 shifts about the center; "row" goes to the left and right, pixel by pixel.
    """
    fine = box_windows(canvas, SIZE, REACH, 1)
    near = ((fine.params >= -2) & (fine.params < 2)).all(1)
    return {
        "places": box_windows(canvas, SIZE, REACH, STEP),
        "phases": part_of(fine, near),
        "row": part_of(fine, fine.params[:, 0] == 0),
    }


SCORE = box_score("confidence x iou", SIZE)


def walk(net: TopBoxes, test: Scenes, orbit: Orbit) -> OrbitResult:
    """Returns confidence x IoU of a detector along an orbit, missing where the object is gone."""
    return evaluate(net, test.x, test.targets, orbit, SCORE, keep_outputs=True, missing="count",
                    device=runtime.device(), progress=False)  # fmt: skip


def measure(net: TopBoxes, test: Scenes) -> dict[str, float]:
    """Returns scores in percent: what a place costs, what a phase costs, what consensus finds."""
    net.to(runtime.device()).eval()
    found = {name: walk(net, test, orbit) for name, orbit in walks(test.x.shape[-1]).items()}
    places, phases, row = found.values()
    shift = places.orbit.params.abs().amax(1)
    at, along = places.aggregate(), row.aggregate()
    numbers = {
        f"place_{down:.0f}_{right:.0f}": value
        for (down, right), value in zip(places.orbit.params.tolist(), at.tolist(), strict=True)
    } | {
        f"row_{right:.0f}": value
        for (_, right), value in zip(row.orbit.params.tolist(), along.tolist(), strict=True)
    }
    agreed = box_consensus(places)
    itself = rescore(places, agreed.targets, SCORE)
    numbers |= {
        "center": at[places.orbit.identity],
        "all_places": places.mean().nanmean(),
        "border": places.scores[shift == shift.max()].nanmean(),
        "place_spread": places.spread().nanmean(),
        "all_phases": phases.mean().nanmean(),
        "phase_spread": phases.spread().nanmean(),
        "in_view": places.coverage,
        "consensus_coverage": agreed.coverage.nan_to_num().mean(),
        "consensus_class": (agreed.labels == test.y).float().mean(),
        "consensus_iou": iou(agreed.boxes.nan_to_num(), test.boxes).mean(),
        "consensus_spread": itself.spread().nan_to_num().mean(),
    }
    return {name: 100 * float(value) for name, value in numbers.items()}


TITLES = {"cells": "blood cells", "scenes": "scenes of digits"}
CLAIMS = [
    *(
        Claim(
            f"NERO shows what one number hides: object detection ({TITLES[data]})",
            "claimed, no figure",
            gap("center", "border", data=data, network="centered"),
            above(10, " points"),
            {
                "holds": "Trained on centered objects: points of confidence x IoU lost from the "
                "center to the border of the walk, at one phase of the stride.",
                "does not hold": "Even a detector of centered objects hardly cares for the place.",
                "undecided": MORE,
            },
            "points",
        )
        for data in TITLES
    ),
    *(
        Claim(
            f"(Ours) A detector of stride 4 loses between the points of its grid ({TITLES[data]})",
            "not stated",
            gap("center", "all_phases", data=data, network="centered"),
            above(10, " points"),
            {
                "holds": "Trained on centered objects: points of confidence x IoU lost from the "
                "center to all 16 phases of the stride around it.",
                "does not hold": "The phase costs little. Where several objects are in view, all "
                "of them are targets, so even a detector of centered ones was trained at every "
                "phase.",
                "undecided": MORE,
            },
            "points",
        )
        for data in TITLES
    ),
    *(
        Claim(
            f"(Ours) Training off-center evens out places ({TITLES[data]})",
            "shown in figures",
            gap("place_spread", "place_spread", "jittered", data=data, network="centered"),
            above(0, " points"),
            {
                "holds": "Points of spread along a scene's own orbit of places that jitter takes "
                "away.",
                "does not hold": "A jittered detector varies as much from place to place.",
                "undecided": MORE,
            },
            "points",
        )
        for data in TITLES
    ),
    *(
        Claim(
            f"(Ours) Coordinates make a detector blind elsewhere ({TITLES[data]})",
            "not stated",
            gap("all_places", "all_places", "centered, coordinates", data=data, network="centered"),
            above(0, " points"),
            {
                "holds": "Points over all places that the same detector has without coordinates: "
                "with them it has learned where objects were.",
                "does not hold": "With coordinates it does as well over all places.",
                "undecided": MORE,
            },
            "points",
        )
        for data in TITLES
    ),
]

_OFF = range(-REACH, REACH + 1, STEP)
UNITS = (
    {f"place_{down}_{right}": "%" for down in _OFF for right in _OFF}
    | {f"row_{right}": "%" for right in range(-REACH, REACH + 1)}
    | {
        "center": "%",
        "all_places": "%",
        "border": "%",
        "place_spread": "points",
        "all_phases": "%",
        "phase_spread": "points",
        "in_view": "%",
        "consensus_coverage": "%",
        "consensus_class": "%",
        "consensus_iou": "%",
        "consensus_spread": "points",
        "training_loss": "",
    }
)

SEEDS = [0, 1, 2]
STUDY = Study(
    name="nero-boxes",
    lesson="nero",
    run=run,
    sizes={
        "smoke": grid(data="scenes", network=list(NETWORKS), seed=0, width=4, steps=8, batch=8,
                      lr=5e-3, scenes=20, tested=2),
        "cpu": grid(data=list(TITLES), network=list(NETWORKS), seed=SEEDS, width=12, steps=360,
                    batch=24, lr=5e-3, scenes=1000, tested=24),
        "gpu": grid(data=list(TITLES), network=list(NETWORKS), seed=SEEDS, width=32, steps=4000,
                    batch=64, lr=2e-3, scenes=5000, tested=100),
        "paper": "Faster R-CNN, trained on five classes of COCO at six levels of jitter: days of "
        "data-center GPUs.",
    },
    units=UNITS,
    claims=CLAIMS,
)  # fmt: skip
