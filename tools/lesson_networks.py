"""Writes the small networks of the lessons, and the digits that some of them are shown on.

    python tools/lesson_networks.py polyphase-vit
    python tools/lesson_networks.py arteq

Takes the networks from the checkpoints of a study (`build/runs/<study>`, size cpu, seed 0), so run
that first. For polyphase anchoring it picks two test images of each class that all networks read
and whose best score is unique.
"""

import sys
from pathlib import Path

import torch

from equitutor import data
from equitutor.chapters import find_root
from equitutor.explorers.checkpoints import write_checkpoint
from equitutor.explorers.fitters import save_fitter
from equitutor.explorers.networks import save_network
from equitutor.fingerprint import fingerprint
from equitutor.methods.polyphase import score_gap
from equitutor.studies import articulated, polyphase
from equitutor.studies.polyphase import NETWORKS
from equitutor.studies.study import Study, canonical

ROOT = find_root()
FOLDER = ROOT / "book/checkpoints"
NAMES = {"plain": "plain", "plain + rolls": "rolls", "anchored": "anchored"}
BODIES = {  # (body, network) -> file
    ("toy", "PointNet"): "toy-upright",
    ("toy", "PointNet + turns"): "toy-turns",
    ("person", "PointNet"): "pointnet",
    ("person", "ArtEq + turns"): "person",
}


def weights(study: Study, config: dict) -> dict:
    """Return the trained weights of a configuration; exit where it is not trained to the end."""
    file = ROOT / "build/runs" / study.name / f"{fingerprint(canonical(config))[:16]}.pt"
    state = torch.load(file, weights_only=True, map_location="cpu")
    if len(state["losses"]) != config["steps"]:
        raise SystemExit(f"{file} holds {len(state['losses'])} of {config['steps']} steps")
    return state["weights"]


def fitters() -> None:
    """Write `book/checkpoints/arteq-*.safetensors`, but for the examples."""
    for config in articulated.STUDY.configs("cpu", {"seed": ["0"]}):
        if (config["body"], config["network"]) not in BODIES:
            continue
        body = articulated.bodies()[config["body"]]
        options = articulated.options(config, body)
        net = articulated.Pupil(articulated.network(config, body))
        net.load_state_dict(weights(articulated.STUDY, config))
        name = f"arteq-{BODIES[config['body'], config['network']]}.safetensors"
        save_fitter(net.network.eval(), FOLDER / name, **options)


def vits() -> None:
    """Write `book/checkpoints/polyphase-vit-*.safetensors` and `mnist-handful.safetensors`."""
    nets, chosen = {}, {"data": ["mnist"], "seed": ["0"], "network": list(NAMES)}
    for config in polyphase.STUDY.configs("cpu", chosen):
        net = polyphase.network(config, (1, 40, 40)).eval()
        net.load_state_dict(weights(polyphase.STUDY, config))
        nets[config["network"]] = net
        made = dict(size=40, patch=config["patch"], dim=config["dim"], depth=config["depth"])
        name = f"polyphase-vit-{NAMES[config['network']]}.safetensors"
        save_network(net, FOLDER / name, **made, **NETWORKS[config["network"]])
    print(*pick(nets, FOLDER / "mnist-handful.safetensors"))


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
    {"polyphase-vit": vits, "arteq": fitters}[sys.argv[1]]()
