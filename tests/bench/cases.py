"""The meter on the four case studies of NERO, against a plain double loop over elements, samples."""

import torch
from lib.timing import compare, table

from equitutor import data, orbits
from equitutor.methods import detection, group_cnn, point_clouds, velocimetry


def double_loop(model, x: torch.Tensor, orbit: orbits.Orbit) -> None:
    """Run the model on one input at a time, as one would write it first."""
    with torch.no_grad():
        for g in range(len(orbit)):
            for n in range(len(x)):
                model(orbit.act_x(x[n : n + 1], g))


def cases() -> dict[str, tuple]:
    """Return model, inputs and orbit of each case, at the size of the chapter's full profile."""
    draw = torch.Generator().manual_seed(0)
    scenes = data.scenes(data.digits("test", size=28), 40)
    return {
        "digits, 36 angles x 1000": (
            group_cnn.CNN(), torch.rand(1000, 1, 28, 28, generator=draw), orbits.so2(36)),
        "scenes, 225 shifts x 40": (
            detection.CenterDetector(), scenes.x, orbits.windows(128, 64, 28, 4)),
        "flow, 16 elements x 60": (
            velocimetry.CostVolumeNet(), data.particle_pairs(60).frames, orbits.d4_time()),
        "clouds, 252 turns x 80": (
            point_clouds.PointNet(), torch.randn(80, 128, 3, generator=draw), orbits.so3_disk()),
    }  # fmt: skip


def main() -> None:
    """Print one table."""
    torch.set_num_threads(1)
    rows = []
    for name, (model, x, orbit) in cases().items():
        model.eval()
        y = torch.zeros(len(x))
        score = lambda output, y: torch.zeros(len(y))  # the forward passes are what is compared
        ms = compare(
            {
                "loop": lambda model=model, x=x, orbit=orbit: double_loop(model, x, orbit),
                "meter": lambda model=model, x=x, y=y, orbit=orbit: orbits.evaluate(
                    model, x, y, orbit, score, progress=False
                ),
            },
            repeats=3,
        )
        rows.append((name, *ms.values(), ms["loop"] / ms["meter"]))
    table(
        "ms, one thread (target: loop / meter >= 5 for digits and clouds)",
        ("case", "loop", "meter", "loop/meter"),
        rows,
    )


if __name__ == "__main__":
    main()
