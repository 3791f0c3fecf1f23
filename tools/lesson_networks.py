"""Writes the small networks of the polyphase lesson, and the digits they are shown on.

    python tools/lesson_networks.py

Takes the networks from the checkpoints of the study (`build/runs/polyphase-vit`, size cpu, seed 0,
MNIST), so run that first. It picks two test images of each class that all of them read and whose
best score is unique.
"""

from pathlib import Path

import torch

from equitutor import data
from equitutor.chapters import find_root
from equitutor.explorers.checkpoints import write_checkpoint
from equitutor.explorers.networks import save_network
from equitutor.fingerprint import fingerprint
from equitutor.methods.polyphase import score_gap
from equitutor.studies.polyphase import NETWORKS, STUDY, network
from equitutor.studies.study import canonical

NAMES = {"plain": "plain", "plain + rolls": "rolls", "anchored": "anchored"}


def main() -> None:
    """Write `book/checkpoints/polyphase-vit-*.safetensors` and `mnist-handful.safetensors`."""
    root = find_root()
    folder = root / "book/checkpoints"
    nets = {}
    for config in STUDY.configs("cpu", {"data": ["mnist"], "seed": ["0"], "network": list(NAMES)}):
        file = root / "build/runs" / STUDY.name / f"{fingerprint(canonical(config))[:16]}.pt"
        state = torch.load(file, weights_only=True, map_location="cpu")
        if len(state["losses"]) != config["steps"]:
            raise SystemExit(f"{file} holds {len(state['losses'])} of {config['steps']} steps")
        net = network(config, (1, 40, 40)).eval()
        net.load_state_dict(state["weights"])
        nets[config["network"]] = net
        made = dict(size=40, patch=config["patch"], dim=config["dim"], depth=config["depth"])
        name = f"polyphase-vit-{NAMES[config['network']]}.safetensors"
        save_network(net, folder / name, **made, **NETWORKS[config["network"]])
    print(*pick(nets, folder / "mnist-handful.safetensors"))


@torch.no_grad()
def pick(nets: dict, path: Path) -> list[int]:
    """Returns the numbers of 20 test images that all networks read, and writes them to `path`."""
    test = data.mnist("test")
    x = data.on_canvas(test.x[:500], 40)
    right = torch.stack([net(x).argmax(1) == test.y[:500] for net in nets.values()]).all(0)
    right &= score_gap(x, 8) > 1e-3  # a tied digit has no grid of its own
    chosen = [k for c in range(10) for k in (right & (test.y[:500] == c)).nonzero()[:2, 0].tolist()]
    pixels = (test.x[chosen] * 255).round().to(torch.uint8)
    write_checkpoint(path, {"x": pixels, "y": test.y[chosen]}, path.stem)
    return chosen


if __name__ == "__main__":
    main()
