"""The meter on the four case studies of NERO, against a plain double loop over elements, samples.

Both compute the same scores. The loop does so for one input at a time, as one would write it
first; it takes long, so it runs over a part of the samples and its time is scaled to all of them.
The model alone, on batches that lie ready, is what no meter can be faster than.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from lib.timing import compare, table
from torch import Tensor

from equitutor import data, orbits
from equitutor.models import detection, group_cnn, point_clouds, velocimetry
from equitutor.orbits import metrics

BATCH = 256  # what the meter takes by default


@dataclass
class Case:
    """A model, what it is measured on, and how many samples the loop gets."""

    model: Callable
    x: Tensor
    y: Tensor
    orbit: orbits.Orbit
    metric: Callable  # (outputs, targets) -> (B,)
    plain: Callable  # the same for one output, written down without checks
    part: int

    def loop(self) -> Tensor:
        """Returns the scores (G, part), one input at a time."""
        scores = torch.empty(len(self.orbit), self.part)
        with torch.no_grad():
            for g in range(len(self.orbit)):
                for n in range(self.part):
                    output = self.model(self.orbit.act_x(self.x[n : n + 1], g))
                    scores[g, n] = self.plain(output, self.orbit.act_y(self.y[n : n + 1], g))
        return scores

    def meter(self) -> Tensor:
        """Returns the scores (G, N)."""
        return orbits.evaluate(
            self.model, self.x, self.y, self.orbit, self.metric, BATCH, missing="count",
            progress=False,
        ).scores  # fmt: skip

    def ready(self) -> int:
        """Runs the model on batches of moved inputs; returns on how many."""
        repeats = max(1, BATCH // len(self.x))
        batch = self.x.repeat(repeats, *[1] * (self.x.ndim - 1))[:BATCH]
        batch = self.orbit.act_x(batch, self.orbit.identity or 0)  # a window of a scene, say
        with torch.no_grad():
            for _ in range(8):
                self.model(batch)
        return 8 * len(batch)


def chance(output: Tensor, y: Tensor) -> Tensor:
    return output[0].softmax(0)[y[0]]


def flow_error(output: Tensor, y: Tensor) -> Tensor:
    return (output - y).square().sum(1).mean().sqrt()


def cases() -> dict[str, Case]:
    """Returns the cases at the size of the chapter's specification."""
    draw = torch.Generator().manual_seed(0)
    scenes = data.scenes(data.digits("test", size=28), 40)
    pairs = data.particle_pairs(60)
    boxes = orbits.box_score("confidence x iou", 64)
    digits = torch.rand(1000, 1, 28, 28, generator=draw), torch.arange(1000) % 10, orbits.so2(36)
    clouds = torch.randn(80, 128, 3, generator=draw), torch.arange(80) % 8, orbits.so3_disk()
    sure = metrics.confidence, chance
    return {
        "digits, 36 angles x 1000, CNN": Case(group_cnn.CNN().eval(), *digits, *sure, 100),
        "scenes, 225 shifts x 40": Case(
            detection.TopBoxes(detection.CenterDetector()).eval(), scenes.x, scenes.targets,
            orbits.box_windows(128, 64, 28, 4), boxes, lambda out, y: boxes(out, y)[0], 8),
        "flow, 16 elements x 60": Case(
            velocimetry.CostVolumeNet().eval(), pairs.frames, pairs.flow, orbits.d4_time(),
            velocimetry.rmse, flow_error, 60),
        "clouds, 252 turns x 80, PointNet": Case(
            point_clouds.PointNet().eval(), *clouds, *sure, 40),
        "clouds, 252 turns x 80, moments": Case(
            point_clouds.MomentNet().eval(), *clouds, *sure, 20),
    }  # fmt: skip


def main() -> None:
    """Prints one table."""
    torch.set_num_threads(1)
    rows = []
    for name, case in cases().items():
        made = {}
        rivals = {
            kind: lambda kind=kind, case=case, made=made: made.update({kind: getattr(case, kind)()})
            for kind in ("loop", "meter", "ready")
        }
        ms = compare(rivals, repeats=3)
        torch.testing.assert_close(
            made["meter"][:, : case.part], made["loop"], atol=1e-4, rtol=0, equal_nan=True
        )
        loop = ms["loop"] * len(case.x) / case.part
        ready = ms["ready"] * len(case.orbit) * len(case.x) / made["ready"]
        used = f"{case.part} of {len(case.x)}"
        rows.append((name, used, loop, ms["meter"], ready, loop / ms["meter"], loop / ready))
    table(
        f"ms, one thread, batches of {BATCH}; the loop's time is scaled from a part of the samples "
        "(target: loop / meter >= 5 for digits and clouds)",
        ("case", "loop ran on", "loop", "meter", "model alone", "loop/meter", "loop/alone"),
        rows,
    )


if __name__ == "__main__":
    main()
