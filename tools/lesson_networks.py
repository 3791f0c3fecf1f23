"""Writes the small networks of the lessons, and the digits that some are shown on.

    python -m tools.lesson_networks nero polyphase-vit

Takes them from the checkpoints of the studies (`build/runs/<study>`, size cpu, seed 0), so run
those first.
"""

import sys

import torch
from torch import Tensor

from equitutor import data
from equitutor.chapters import find_root
from equitutor.explorers.checkpoints import write_checkpoint
from equitutor.explorers.denoisers import save_denoiser
from equitutor.explorers.fitters import save_fitter
from equitutor.explorers.networks import save_network
from equitutor.explorers.soft import save_soft
from equitutor.fingerprint import fingerprint
from equitutor.methods.polyphase import score_gap
from equitutor.studies import alias_free, articulated, inertia, nero, polyphase, soft
from equitutor.studies.study import Study, canonical

FOLDER = find_root() / "book/checkpoints"
CLASSIFIERS = ["CNN", "CNN, turned", "C4", "C4, turned", "C8"]
VITS = {"plain": "plain", "plain + rolls": "rolls", "anchored": "anchored"}
DENOISERS = ("max-pool", "Kaiser D", "Kaiser D, circular", "average, radial")
BODIES = {  # (body, network) -> file
    ("toy", "PointNet"): "toy-upright",
    ("toy", "PointNet + turns"): "toy-turns",
    ("person", "PointNet"): "pointnet",
    ("person", "ArtEq + turns"): "person",
}


def weights(study: Study, config: dict) -> dict[str, Tensor]:
    """Returns the weights that a finished run of a study left in its checkpoint."""
    folder = find_root() / "build/runs" / study.name
    file = folder / f"{fingerprint(canonical(config))[:16]}.pt"
    state = torch.load(file, weights_only=True, map_location="cpu")
    if len(state["losses"]) != config["steps"]:
        raise SystemExit(f"{file} holds {len(state['losses'])} of {config['steps']} steps")
    return state["weights"]


def write_classifiers() -> None:
    """Write `nero-*.safetensors`, and the first ten test digits of each class."""
    for config in nero.STUDY.configs("cpu", {"seed": ["0"], "network": CLASSIFIERS}):
        name = config["network"].replace(", ", "-")
        write_checkpoint(FOLDER / f"nero-{name}.safetensors", weights(nero.STUDY, config), name)
    y = data.mnist("test").y
    ten = [k for c in range(10) for k in (y == c).nonzero()[:10, 0].tolist()]
    write_digits("mnist-hundred", ten)


def write_vits() -> None:
    """Write `polyphase-vit-*.safetensors`, and two digits of each class that all of them read.

    Their best score is unique: a tied digit has no grid of its own.
    """
    nets, chosen = {}, {"data": ["mnist"], "seed": ["0"], "network": list(VITS)}
    for config in polyphase.STUDY.configs("cpu", chosen):
        net = polyphase.network(config, (1, 40, 40)).eval()
        net.load_state_dict(weights(polyphase.STUDY, config))
        nets[config["network"]] = net
        made = dict(size=40, patch=config["patch"], dim=config["dim"], depth=config["depth"])
        name = f"polyphase-vit-{VITS[config['network']]}.safetensors"
        save_network(net, FOLDER / name, **made, **polyphase.NETWORKS[config["network"]])
    test = data.mnist("test")
    x, y = data.on_canvas(test.x[:500], 40), test.y[:500]
    with torch.no_grad():
        read = torch.stack([net(x).argmax(1) == y for net in nets.values()]).all(0)
    read &= score_gap(x, 8) > 1e-3
    both = [k for c in range(10) for k in (read & (y == c)).nonzero()[:2, 0].tolist()]
    write_digits("mnist-handful", both)


def write_soft() -> None:
    """Write `soft-equivariance-*.safetensors`: axis z, dial 0.3."""
    for kind, name in (("PER, automatic", "PER"), ("no penalty", "no-penalty")):
        (config,) = soft.STUDY.configs("cpu", {"network": [kind], "seed": ["0"]})
        net = inertia.network(kind).eval()
        stacked = weights(soft.STUDY, config)  # one network for each case
        net.load_state_dict({k: w[soft.SHOWN] for k, w in stacked.items()})
        save_soft(net, FOLDER / f"soft-equivariance-{name}.safetensors")


def write_denoisers() -> None:
    """Write `alias-free-diffusion-*.safetensors`, of each network the longest training."""
    study, longest = alias_free.STUDY, {}
    for config in study.configs("cpu", {"data": ["mnist"], "seed": ["0"]}):
        if config["steps"] >= longest.get(config["network"], config)["steps"]:
            longest[config["network"]] = config
    for name in DENOISERS:
        packed = alias_free.Packed(alias_free.network(longest[name]))
        packed.load_state_dict(weights(study, longest[name]))
        file = f"{study.name}-{name.lower().replace(', ', '-').replace(' ', '-')}.safetensors"
        made = dict(width=longest[name]["width"], **alias_free.NETWORKS[name])
        save_denoiser(packed.net, FOLDER / file, **made)


def write_fitters() -> None:
    """Write `arteq-*.safetensors`, but for the examples."""
    for config in articulated.STUDY.configs("cpu", {"seed": ["0"]}):
        if (config["body"], config["network"]) not in BODIES:
            continue
        body = articulated.bodies()[config["body"]]
        net = articulated.Pupil(articulated.network(config, body))
        net.load_state_dict(weights(articulated.STUDY, config))
        name = f"arteq-{BODIES[config['body'], config['network']]}.safetensors"
        save_fitter(net.network.eval(), FOLDER / name, **articulated.options(config, body))


def write_digits(name: str, chosen: list[int]) -> None:
    """Write test images of MNIST to `<name>.safetensors`.

    Args:
        name: of the file. chosen: numbers of the images.
    """
    test = data.mnist("test")
    pixels = (test.x[chosen] * 255).round().to(torch.uint8)
    write_checkpoint(FOLDER / f"{name}.safetensors", {"x": pixels, "y": test.y[chosen]}, name)


WRITERS = {
    "nero": write_classifiers,
    "polyphase-vit": write_vits,
    "soft-equivariance": write_soft,
    "alias-free-diffusion": write_denoisers,
    "arteq": write_fitters,
}


def main() -> None:
    """Write the networks of the lessons named on the command line; default: all."""
    for name in sys.argv[1:] or WRITERS:
        WRITERS[name]()


if __name__ == "__main__":
    main()
