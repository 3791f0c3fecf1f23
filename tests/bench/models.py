"""A whole training step of a model with anchors against that of its plain twin."""

import torch
from lib.timing import compare, table
from torch.nn.functional import cross_entropy

from equitutor.methods.polyphase import PolyTwins, PolyViT

TARGET = "target: ViT <= 1.05, Twins <= 1.35"


def step(model, x, y):
    model.zero_grad()
    cross_entropy(model(x), y).backward()


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    x = torch.rand(100, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    y = torch.arange(100) % 10
    vit = {"size": 40, "patch": 4}
    # 40 pixels make 20 tokens a side, then 10: windows of 5 and a ratio of 2 divide both.
    twins = {"size": 40, "patch": 2, "window": 5, "ratio": 2}
    groups = {
        "ViT": {"plain": PolyViT(**vit, poly=False), "poly": PolyViT(**vit)},
        "Twins": {
            "plain": PolyTwins(**twins, poly=False),
            "poly, one anchor a stage": PolyTwins(**twins),
            "poly, each": PolyTwins(**twins, each=True),
        },
    }
    rows = []
    for name, models in groups.items():
        calls = {k: lambda m=m: step(m, x, y) for k, m in models.items()}
        ms = compare(calls, repeats=15)
        rows += [(f"{name} {k}", v, v / ms["plain"]) for k, v in ms.items()]
    table(f"training step, 100x1x40x40, ms, one thread ({TARGET})", ("model", "ms", "ratio"), rows)


if __name__ == "__main__":
    main()
