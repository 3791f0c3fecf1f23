"""Polyphase anchoring (Ding et al. 2023): eight networks, all shifts, new pixels at the border."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from equitutor import runtime
from equitutor.actions import roll_images
from equitutor.data.images import Images, cifar10, cifar10_jpeg, digits, mnist, on_canvas
from equitutor.methods.polyphase.anchors import tie_rate
from equitutor.methods.polyphase.measures import consistency
from equitutor.methods.polyphase.models import PolyTwins, PolyViT
from equitutor.studies.study import Claim, Study, grid
from equitutor.studies.verdicts import above, estimate, every, paired, within
from equitutor.training import Batches, Checkpoint, fit

NETWORKS = {
    "plain": dict(poly=False),
    "plain + rolls": dict(poly=False),
    "code only": dict(anchored=False, position="circular"),
    "anchor only": dict(anchored=True, position="absolute"),
    "anchored": dict(poly=True),
    "anchored, filtered": dict(poly=True, filtered=True),
    "Twins, plain": dict(poly=False),
    "Twins, anchored": dict(poly=True),
}


def run(config: dict, checkpoint: Checkpoint) -> dict[str, float]:
    """Returns what one network, trained on one data set from one seed, does under shifts.

    Args:
        config: `data`, `network` (a key of `NETWORKS`), `seed`, `patch`, `dim`, `depth`, `steps`,
            `batch`, `lr`, `images` (of the training set, None for all), `tested` images.
        checkpoint: where the training is kept.
    """
    runtime.seed(config["seed"])
    train = images(config["data"], "train", config["images"])
    test = images(config["data"], "test", config["tested"])
    model = network(config, train.x.shape[1:])
    augment = random_roll if config["network"] == "plain + rolls" else None
    batches = Batches(train.x, train.y, config["batch"], config["seed"], augment)
    history = fit(model, batches, F.cross_entropy, config["steps"], config["lr"], amp=True,
                  checkpoint=checkpoint, progress=False)  # fmt: skip
    last = history.loss[-len(history.loss) // 20 :]
    filtered = config["network"] == "anchored, filtered"
    return measure(model, test, config["patch"]) | {
        "training_loss": sum(last) / len(last),
        "ties": 100 * tie_rate(test.x, config["patch"], filtered=filtered),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def images(name: str, split: str, count: int | None) -> Images:
    """Returns images as the networks see them; of the test set a fixed random choice.

    MNIST stands on a black canvas of 40 x 40 pixels, so that a digit can move and nothing wraps
    around; CIFAR-10 is scaled to about zero mean and unit variance.
    """
    load = {"mnist": mnist, "cifar10": cifar10, "cifar10_jpeg": cifar10_jpeg, "digits": digits}
    found = load[name](split)
    x = on_canvas(found.x, 40) if name == "mnist" else found.x
    x = (x - 0.47) / 0.25 if x.shape[1] == 3 else x
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    chosen = order if count is None else order[:count]
    return Images(x[chosen], found.y[chosen], name, found.classes, found.subset)


def network(config: dict, shape: tuple[int, int, int]) -> torch.nn.Module:
    """Returns the network of a configuration for images of shape (C, H, W), untrained."""
    options, (channels, *size) = NETWORKS[config["network"]], shape
    patch, dim, depth = config["patch"], config["dim"], config["depth"]
    shared = dict(size=tuple(size), channels=channels, patch=patch, **options)
    if not config["network"].startswith("Twins"):
        return PolyViT(dim=dim, depth=depth, **shared)
    period = size[0] // patch // 2  # of windows and coarse keys: the second stage is one window
    return PolyTwins(dims=(dim, 2 * dim), window=period, ratio=period, **shared)


def random_roll(x: Tensor, generator: torch.Generator) -> Tensor:
    """Returns images (B, C, H, W), each moved by a circular shift of its own."""
    down, right = (torch.randint(n, (len(x),), generator=generator) for n in x.shape[-2:])
    return roll_images(x, down, right)


def slide(x: Tensor, down: int, right: int) -> Tensor:
    """Returns images (B, C, H, W) moved by whole pixels; what enters is the value of black."""
    height, width = x.shape[-2:]
    black = -0.47 / 0.25 if x.shape[1] == 3 else 0.0
    wide = F.pad(x, (abs(right),) * 2 + (abs(down),) * 2, value=black)
    top, left = abs(down) - down, abs(right) - right
    return wide[..., top : top + height, left : left + width]


@torch.no_grad()
def measure(model: torch.nn.Module, test: Images, patch: int, batch: int = 500) -> dict[str, float]:
    """Returns shares in percent, and one change of logits, of a trained model on test images."""
    device = runtime.device()
    model.to(device).eval()
    x, y = test.x.to(device), test.y.to(device)

    def logits(x: Tensor) -> Tensor:
        return torch.cat([model(part) for part in x.split(batch)])

    def right(x: Tensor) -> Tensor:
        return logits(x).argmax(1) == y

    def share(hits: Tensor) -> float:
        return 100 * hits.sum().item() / hits.numel()

    side = x.shape[-1]
    reach = math.ceil(side * 14 / 224)  # the paper shifts by up to 14 of 224 pixels
    corners = [(a, b) for a in (-reach, reach) for b in (-reach, reach)]
    shifts = far_shifts(side, patch)
    hits = torch.stack([right(x.roll(t, (2, 3))) for t in shifts])  # (shifts, N)
    few = x[:100]
    moved = [(logits(few.roll(t, (2, 3))) - logits(few)).abs().max() for t in shifts]
    draw = torch.Generator().manual_seed(2)
    same = partial(consistency, logits, x, generator=draw)
    return {
        "accuracy": share(hits[0]),
        "small_shifts": share(torch.stack([right(x.roll(t, (2, 3))) for t in corners])),
        "small_zero_fill": share(torch.stack([right(slide(x, *t)) for t in corners])),
        "any_shift": share(hits),
        "worst_shift": share(hits.all(0)),
        "consistency": 100 * same(trials=2),
        "paper_consistency": 100 * sum(same(reach, False) for _ in range(4)) / 4,
        "logit_change": torch.stack(moved).max().item(),
    }


def far_shifts(side: int, patch: int) -> list[tuple[int, int]]:
    """Returns one shift (down, right) for each residue modulo the patch, far out on the torus.

    The first is none at all. A few shifts would miss the residue that breaks a network.
    """
    draw = torch.Generator().manual_seed(0)
    cells = torch.randint(side // patch, (patch * patch, 2), generator=draw)
    cells[0] = 0
    residues = torch.cartesian_prod(torch.arange(patch), torch.arange(patch))
    return [tuple(t) for t in (residues + patch * cells).tolist()]


CIFAR = "cifar10_jpeg"  # what the recorded runs could reach: "CIFAR-10, JPEG copy"


def of(network: str, metric: str, data: str = CIFAR):
    """Returns the measure "the mean of a metric over the runs of one network on one data set"."""
    return lambda runs: estimate(_rows(runs, network, data)[metric].tolist())


def gap(network: str, metric: str, other: str, than: str, data: str = CIFAR):
    """Returns the measure "a metric of one network minus a metric of another, seed by seed"."""

    def measure_gap(runs):
        a = _rows(runs, network, data)[["seed", metric]].set_axis(["seed", "value"], axis=1)
        b = _rows(runs, other, data)[["seed", than]].set_axis(["seed", "value"], axis=1)
        return paired(a, b, "value")

    return measure_gap


def _rows(runs, network: str, data: str):
    return runs[(runs["network"] == network) & (runs["data"] == data)]


def exact(network: str, data: str) -> Claim:
    """Returns the claim "100 % consistent" for one network on one data set."""
    kind = "Twins" if network.startswith("Twins") else "ViT"
    return Claim(
        f"{kind}-poly is 100 % consistent ({TITLES[data]})",
        "100 %, ImageNet, shifts up to 14 px",
        of(network, "consistency", data),
        every(100, nearly=99, unit=" %"),
        {
            "holds": "Two random circular shifts of the whole torus, one for each image: the "
            "answers agree for every image and every seed.",
            "holds in part": "Nearly every image. The rest are ties: where two components have "
            "the same score, the anchor may choose another one after a shift.",
            "does not hold": "Ties cannot explain so many disagreements: look for a grid that no "
            "anchor governs.",
        },
        "%",
    )


def drop(network: str, data: str, paper: str) -> Claim:
    """Returns the claim "loses about 20 points under small shifts" for a plain network."""
    kind = "Twins" if network.startswith("Twins") else "ViT"
    return Claim(
        f"A plain {kind} loses about 20 points when shifted by a few pixels ({TITLES[data]})",
        paper,
        gap(network, "accuracy", network, "small_shifts", data),
        within(10, 30, " points"),
        {
            "holds": "Diagonal circular shifts by the paper's share of the image: a loss of the "
            "size that the paper reports, on other data and with a smaller network.",
            "does not hold": "The loss is of another size. It depends on the data more than on "
            "the network: compare the two data sets.",
            "undecided": "The interval over seeds reaches beyond the range: more seeds are needed.",
        },
        "points",
    )


TITLES = {"mnist": "MNIST on 40 x 40", CIFAR: "CIFAR-10, JPEG copy"}

CLAIMS = [
    *(exact(name, data) for name in ("anchored", "Twins, anchored") for data in ("mnist", CIFAR)),
    *(drop("plain", data, "20 points on average") for data in ("mnist", CIFAR)),
    *(drop("Twins, plain", data, "80.57 % to 62.40 %, 18.17 points") for data in ("mnist", CIFAR)),
    *(
        Claim(
            f"Anchoring makes a ViT more robust to new pixels at the border ({TITLES[data]})",
            "claimed for cropping, no figure in the abstract",
            gap("anchored", "small_zero_fill", "plain", "small_zero_fill", data),
            above(0, " points"),
            {
                "holds": "Small shifts with black pixels entering: the anchored network is right "
                "more often. A gain is no guarantee: the law speaks of circular shifts only.",
                "does not hold": "Small shifts with black pixels entering: no gain. The law "
                "speaks of circular shifts only.",
                "undecided": "The interval over seeds contains zero.",
            },
            "points",
        )
        for data in ("mnist", CIFAR)
    ),
    Claim(
        "Robust to flips and affine maps",
        "claimed, no figure in the abstract",
        None,
        None,
        {
            "not tested": "The released test compares a warped image with a roll of itself, which "
            "any invariant network passes, right or wrong."
        },
    ),
    *(
        Claim(
            f"(Ours) Neither half is enough: the {half} is inconsistent ({TITLES[CIFAR]})",
            "implied",
            gap("anchored", "consistency", half, "consistency"),
            above(0, " points"),
            {
                "holds": f"The {half} network gives two shifted copies different answers.",
                "does not hold": f"The {half} network is as consistent as the whole method.",
                "undecided": "The interval over seeds contains zero.",
            },
            "points",
        )
        for half in ("anchor only", "code only")
    ),
    *(
        Claim(
            f"(Ours) Anchoring costs accuracy on images as they are ({TITLES[data]})",
            "not stated",
            gap("plain", "accuracy", "anchored", "accuracy", data),
            above(0, " points"),
            {
                "holds": "At this length of training the plain network is more accurate on "
                "images that do not move.",
                "does not hold": "At this length of training it costs nothing.",
                "undecided": "The interval over seeds contains zero.",
            },
            "points",
        )
        for data in ("mnist", CIFAR)
    ),
    *(
        Claim(
            f"(Ours) An anchor beats training on random rolls, under any shift ({TITLES[data]})",
            "not stated",
            gap("anchored", "any_shift", "plain + rolls", "any_shift", data),
            above(0, " points"),
            {
                "holds": "With the same number of steps the anchored network is right more often, "
                "on average over all residues of a shift.",
                "does not hold": "With the same number of steps random rolls do as well on "
                "average. They never reach 100 % consistency.",
                "undecided": "The interval over seeds contains zero.",
            },
            "points",
        )
        for data in ("mnist", CIFAR)
    ),
]

UNITS = {
    "accuracy": "%",
    "small_shifts": "%",
    "small_zero_fill": "%",
    "any_shift": "%",
    "worst_shift": "%",
    "consistency": "%",
    "paper_consistency": "%",
    "logit_change": "",
    "training_loss": "nats",
    "ties": "%",
    "parameters": "",
}

SEEDS = [0, 1, 2]
VITS = [name for name in NETWORKS if not name.startswith("Twins")]
TWINS = [name for name in NETWORKS if name.startswith("Twins")]
SMALL = dict(patch=4, dim=16, depth=1, steps=20, batch=32, lr=2e-3, images=200, tested=60)
STUDY = Study(
    name="polyphase-vit",
    run=run,
    sizes={
        "smoke": grid(data="digits", network=list(NETWORKS), seed=0, **SMALL),
        "cpu": [
            config
            for seed in SEEDS
            for data, networks, patch, dim, steps in (
                ("mnist", VITS, 8, 64, 4000),
                ("mnist", TWINS, 4, 32, 3000),
                (CIFAR, VITS, 4, 48, 3000),
                (CIFAR, TWINS, 4, 48, 3000),
            )
            for config in grid(data=data, network=networks, seed=seed, patch=patch, dim=dim,
                               depth=2, steps=steps, batch=64, lr=2e-3, images=None, tested=2000)
        ],
        "gpu": grid(
            seed=SEEDS, data=CIFAR, network=list(NETWORKS), patch=4, dim=128, depth=6,
            steps=4000, batch=256, lr=1e-3, images=None, tested=None,
        ),
        "paper": "ImageNet-1k at 224 pixels, ViT-S/16 and Twins-SVT-B, 300 epochs: days of eight "
        "data-center GPUs.",
    },
    units=UNITS,
    claims=CLAIMS,
)  # fmt: skip
