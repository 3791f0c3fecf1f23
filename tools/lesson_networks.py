"""Writes the small networks of two lessons, and the digits they are shown on.

    python tools/lesson_networks.py polyphase-vit
    python tools/lesson_networks.py alias-free-diffusion

Takes the networks from the checkpoints of the study (`build/runs/<study>`, size cpu, seed 0,
MNIST), so run that first. For the polyphase lesson it picks two test images of each class that all
of its networks read and whose best score is unique.
"""

import sys
from pathlib import Path

import torch

from equitutor import data
from equitutor.chapters import find_root
from equitutor.explorers.checkpoints import write_checkpoint
from equitutor.explorers.denoisers import save_denoiser
from equitutor.explorers.networks import save_network
from equitutor.fingerprint import fingerprint
from equitutor.methods.polyphase import score_gap
from equitutor.studies import Study, alias_free
from equitutor.studies.polyphase import NETWORKS, STUDY, network
from equitutor.studies.study import canonical

NAMES = {"plain": "plain", "plain + rolls": "rolls", "anchored": "anchored"}


DENOISERS = ("max-pool", "Kaiser D", "Kaiser D, circular", "average, radial")


def main() -> None:
    """Write the networks of the lesson that is named."""
    lessons = {STUDY.name: polyphase, alias_free.STUDY.name: denoisers}
    if sys.argv[1:] not in [[name] for name in lessons]:
        raise SystemExit(f"name one lesson: {', '.join(lessons)}")
    lessons[sys.argv[1]](find_root() / "book/checkpoints")


def polyphase(folder: Path) -> None:
    """Writes `polyphase-vit-*.safetensors` and `mnist-handful.safetensors`."""
    nets = {}
    for config in STUDY.configs("cpu", {"data": ["mnist"], "seed": ["0"], "network": list(NAMES)}):
        net = network(config, (1, 40, 40)).eval()
        net.load_state_dict(weights(STUDY, config))
        nets[config["network"]] = net
        made = dict(size=40, patch=config["patch"], dim=config["dim"], depth=config["depth"])
        name = f"polyphase-vit-{NAMES[config['network']]}.safetensors"
        save_network(net, folder / name, **made, **NETWORKS[config["network"]])
    print(*pick(nets, folder / "mnist-handful.safetensors"))


def denoisers(folder: Path) -> None:
    """Writes `alias-free-diffusion-*.safetensors`, of each network the longest training."""
    study, longest = alias_free.STUDY, {}
    for config in study.configs("cpu", {"data": ["mnist"], "seed": ["0"]}):
        if config["steps"] >= longest.get(config["network"], config)["steps"]:
            longest[config["network"]] = config
    for name in DENOISERS:
        packed = alias_free.Packed(alias_free.network(longest[name]))
        packed.load_state_dict(weights(study, longest[name]))
        file = f"{study.name}-{name.lower().replace(', ', '-').replace(' ', '-')}.safetensors"
        made = dict(width=longest[name]["width"], **alias_free.NETWORKS[name])
        save_denoiser(packed.net, folder / file, **made)


def weights(study: Study, config: dict) -> dict[str, torch.Tensor]:
    """Returns the weights that a run of a study ended with, from its checkpoint."""
    folder = find_root() / "build/runs" / study.name
    file = folder / f"{fingerprint(canonical(config))[:16]}.pt"
    state = torch.load(file, weights_only=True, map_location="cpu")
    if len(state["losses"]) != config["steps"]:
        raise SystemExit(f"{file} holds {len(state['losses'])} of {config['steps']} steps")
    return state["weights"]


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
