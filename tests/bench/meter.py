"""The meter against a bare loop over images that were turned before, and its memory."""

import resource
import subprocess
import sys

import torch
from lib.timing import compare, table
from torch import nn

from equitutor.orbits import evaluate, so2

IMAGES, ANGLES, BATCH = 1000, 36, 256
TARGET = "target: bare / meter >= 0.9"


def network(width: int) -> nn.Module:
    """Return a small CNN for images of 28 x 28."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(2 * width * 49, 10),
    ).eval()  # fmt: skip


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(IMAGES) % 10


def speed() -> None:
    x, y = digits()
    orbit = so2(ANGLES)
    rows = []
    for width in (8, 16):
        model = network(width)

        @torch.no_grad()
        def bare(model=model):  # on the images themselves: what they show does not matter here
            for _ in range(ANGLES):
                for part in x.split(BATCH):
                    model(part)

        @torch.no_grad()
        def turning(model=model):
            for g in range(ANGLES):
                for part in x.split(BATCH):
                    model(orbit.act_x(part, g))

        ms = compare(
            {
                "bare": bare,
                "turning": turning,
                "meter": lambda model=model: evaluate(
                    model, x, y, orbit, batch=BATCH, progress=False
                ),
            },
            repeats=3,
        )
        rows.append((f"CNN of width {width}", *ms.values(), ms["bare"] / ms["meter"],
                     ms["turning"] / ms["meter"]))  # fmt: skip
    table(
        f"{IMAGES} images x {ANGLES} angles, ms, one thread ({TARGET})",
        ("model", "bare", "turning", "meter", "bare/meter", "turning/meter"),
        rows,
    )


def memory(angles: int) -> float:
    """Return the megabytes the peak of this process grows by in a measurement."""
    x, y = digits()
    model = network(16)
    # libraries take their own memory first
    evaluate(model, x[:BATCH], y[:BATCH], so2(2), batch=BATCH, progress=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    evaluate(model, x, y, so2(angles), batch=BATCH, progress=False)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    speed()
    rows = []
    for angles in (9, 36, 144):
        command = [sys.executable, __file__, str(angles)]
        grown = subprocess.run(command, capture_output=True, check=True)
        rows.append((angles, float(grown.stdout), angles * IMAGES * 28 * 28 * 4 / 2**20))
    table(
        f"peak memory in MB beyond a first batch of {BATCH} (target: independent of the angles)",
        ("angles", "meter", "all turned images"),
        rows,
    )


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:  # a process of its own, for a peak of its own
        torch.set_num_threads(1)
        print(memory(int(sys.argv[1])))
