"""Writes the small networks of the lessons, and the digits that some are shown on.

    python tools/lesson_networks.py polyphase-vit soft-equivariance

Takes the networks from the checkpoints of a study (`build/runs/<study>`, size cpu, seed 0), so run
that first. Of MNIST it picks two test images of each class that all polyphase networks read and
whose best score is unique.
"""

import sys
from pathlib import Path

import torch

from equitutor import data
from equitutor.chapters import find_root
from equitutor.explorers.checkpoints import write_checkpoint
from equitutor.explorers.networks import save_network
from equitutor.explorers.soft import save_soft
from equitutor.fingerprint import fingerprint
from equitutor.methods.polyphase import score_gap
from equitutor.studies import inertia, soft
from equitutor.studies.polyphase import NETWORKS, STUDY, network
from equitutor.studies.study import Study, canonical

NAMES = {"plain": "plain", "plain + rolls": "rolls", "anchored": "anchored"}


def trained(study: Study, config: dict) -> dict[str, torch.Tensor]:
    """Returns the weights that a finished run of a study left in its checkpoint."""
    name = f"{fingerprint(canonical(config))[:16]}.pt"
    file = find_root() / "build/runs" / study.name / name
    state = torch.load(file, weights_only=True, map_location="cpu")
    if len(state["losses"]) != config["steps"]:
        raise SystemExit(f"{file} holds {len(state['losses'])} of {config['steps']} steps")
    return state["weights"]


def polyphase() -> None:
    """Write `book/checkpoints/polyphase-vit-*.safetensors` and `mnist-handful.safetensors`."""
    folder = find_root() / "book/checkpoints"
    nets = {}
    for config in STUDY.configs("cpu", {"data": ["mnist"], "seed": ["0"], "network": list(NAMES)}):
        net = network(config, (1, 40, 40)).eval()
        net.load_state_dict(trained(STUDY, config))
        nets[config["network"]] = net
        made = dict(size=40, patch=config["patch"], dim=config["dim"], depth=config["depth"])
        name = f"polyphase-vit-{NAMES[config['network']]}.safetensors"
        save_network(net, folder / name, **made, **NETWORKS[config["network"]])
    print(*pick(nets, folder / "mnist-handful.safetensors"))


def soft_equivariance() -> None:
    """Write `book/checkpoints/soft-equivariance-*.safetensors`: axis z, dial 0.3."""
    folder = find_root() / "book/checkpoints"
    for kind, name in (("PER, automatic", "PER"), ("no penalty", "no-penalty")):
        only = {"network": [kind], "seed": ["0"]}
        (config,) = soft.STUDY.configs("cpu", only)
        net = inertia.network(kind).eval()
        weights = trained(soft.STUDY, config)  # stacked: one of each case
        net.load_state_dict({k: w[soft.SHOWN] for k, w in weights.items()})
        save_soft(net, folder / f"soft-equivariance-{name}.safetensors")


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


WRITERS = {"polyphase-vit": polyphase, "soft-equivariance": soft_equivariance}


def main() -> None:
    """Write the networks of the studies named on the command line; default: all."""
    for name in sys.argv[1:] or WRITERS:
        WRITERS[name]()


if __name__ == "__main__":
    main()
