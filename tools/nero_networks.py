"""Writes the small networks of the NERO lesson, and the digits they are shown on.

    python tools/nero_networks.py

Takes the networks from the checkpoints of the study (`build/runs/nero`, size cpu, seed 0), so run
that first: `python -m equitutor.studies run nero --size cpu --only seed=0`. The digits are the
first ten of each class in MNIST's test set.
"""

import torch

from equitutor import data
from equitutor.chapters import find_root
from equitutor.explorers.checkpoints import write_checkpoint
from equitutor.fingerprint import fingerprint
from equitutor.studies.nero import STUDY
from equitutor.studies.study import canonical

NETWORKS = ["CNN", "CNN, turned", "C4", "C4, turned", "C8"]


def main() -> None:
    """Write `book/checkpoints/nero-*.safetensors` and `mnist-hundred.safetensors`."""
    root = find_root()
    folder = root / "book/checkpoints"
    for config in STUDY.configs("cpu", {"seed": ["0"], "network": NETWORKS}):
        file = root / "build/runs" / STUDY.name / f"{fingerprint(canonical(config))[:16]}.pt"
        state = torch.load(file, weights_only=True, map_location="cpu")
        if len(state["losses"]) != config["steps"]:
            raise SystemExit(f"{file} holds {len(state['losses'])} of {config['steps']} steps")
        name = config["network"].replace(", ", "-")
        write_checkpoint(folder / f"nero-{name}.safetensors", state["weights"], name)
    test = data.mnist("test")
    chosen = [k for c in range(10) for k in (test.y == c).nonzero()[:10, 0].tolist()]
    pixels = (test.x[chosen] * 255).round().to(torch.uint8)
    path = folder / "mnist-hundred.safetensors"
    write_checkpoint(path, {"x": pixels, "y": test.y[chosen]}, path.stem)


if __name__ == "__main__":
    main()
