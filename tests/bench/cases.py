"""The meter on the four case studies of NERO, against a plain double loop over elements, samples.

Both compute the same scores; the loop does so for one input at a time, as one would write it first.
"""

import torch
from lib.timing import compare, table
from torch import Tensor

from equitutor import data, orbits
from equitutor.methods import detection, group_cnn, point_clouds, velocimetry
from equitutor.orbits import metrics

BATCH = 80  # pairs at a time; the activations of many more do not fit into a core's cache


def double_loop(model, x: Tensor, y: Tensor, orbit: orbits.Orbit, metric) -> Tensor:
    """Return the scores (G, N), one input at a time."""
    scores = torch.empty(len(orbit), len(x))
    with torch.no_grad():
        for g in range(len(orbit)):
            for n in range(len(x)):
                output = model(orbit.act_x(x[n : n + 1], g))
                scores[g, n] = metric(output, orbit.act_y(y[n : n + 1], g))[0]
    return scores


def cases() -> dict[str, tuple]:
    """Return model, inputs, targets, orbit and metric of each case, at the size of the issue."""
    draw = torch.Generator().manual_seed(0)
    scenes = data.scenes(data.digits("test", size=28), 40)
    pairs = data.particle_pairs(60)
    return {
        "digits, 36 angles x 1000": (
            group_cnn.CNN(), torch.rand(1000, 1, 28, 28, generator=draw), torch.arange(1000) % 10,
            orbits.so2(36), metrics.confidence),
        "scenes, 225 shifts x 40": (
            detection.TopBoxes(detection.CenterDetector()), scenes.x, scenes.targets,
            orbits.box_windows(128, 64, 28, 4), orbits.box_score("confidence x iou", 64)),
        "flow, 16 elements x 60": (
            velocimetry.CostVolumeNet(), pairs.frames, pairs.flow, orbits.d4_time(),
            velocimetry.rmse),
        "clouds, 252 turns x 80": (
            point_clouds.PointNet(), torch.randn(80, 128, 3, generator=draw), torch.arange(80) % 8,
            orbits.so3_disk(), metrics.confidence),
    }  # fmt: skip


def main() -> None:
    """Print one table."""
    torch.set_num_threads(1)
    rows = []
    for name, (model, x, y, orbit, metric) in cases().items():
        model.eval()
        made = {}

        def loop(model=model, x=x, y=y, orbit=orbit, metric=metric, made=made):
            made["loop"] = double_loop(model, x, y, orbit, metric)

        def meter(model=model, x=x, y=y, orbit=orbit, metric=metric, made=made):
            result = orbits.evaluate(
                model, x, y, orbit, metric, BATCH, missing="count", progress=False
            )
            made["meter"] = result.scores

        ms = compare({"loop": loop, "meter": meter}, repeats=3)
        torch.testing.assert_close(made["meter"], made["loop"], atol=1e-4, rtol=0, equal_nan=True)
        rows.append((name, *ms.values(), ms["loop"] / ms["meter"]))
    table(
        "ms, one thread (target: loop / meter >= 5 for digits and clouds)",
        ("case", "loop", "meter", "loop/meter"),
        rows,
    )


if __name__ == "__main__":
    main()
