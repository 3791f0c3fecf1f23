"""The anchor against the obvious loop over samples, and against doing nothing."""

from functools import partial

import torch
from lib.timing import compare, table

from equitutor.methods.polyphase import PolyOrder

SIZES = [((32, 3, 224, 224), 16), ((32, 64, 56, 56), 7), ((128, 64, 8, 8), 2)]
TARGET = "target: loop / ours >= 4 for 128x64x8x8, >= 1 everywhere"


def naive(x: torch.Tensor, p: int) -> torch.Tensor:
    """Return the anchored maps, one sample and one component at a time."""
    out = []
    for image in x:
        scores = [image[:, i::p, j::p].detach().pow(2).sum() for i in range(p) for j in range(p)]
        i, j = divmod(int(torch.stack(scores).argmax()), p)
        out.append(torch.roll(image, (-i, -j), (1, 2)))
    return torch.stack(out)


def rolled(x: torch.Tensor, p: int) -> torch.Tensor:
    """Return the anchored maps; scores all at once, but a `torch.roll` for each sample."""
    energy = (x.detach() ** 2).sum(1)
    b, h, w = energy.shape
    index = energy.view(b, h // p, p, w // p, p).sum((1, 3)).flatten(1).argmax(1).tolist()
    pairs = zip(x, index, strict=True)
    return torch.stack([torch.roll(m, (-(i // p), -(i % p)), (1, 2)) for m, i in pairs])


def backward(function, x):
    x = x.requires_grad_()
    (gradient,) = torch.autograd.grad(function(x).square().sum(), x)
    return gradient


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    rows = []
    for shape, p in SIZES:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        order = PolyOrder(p)
        rivals = {
            "ours": order,
            "loop": lambda x, p=p: naive(x, p),
            "roll": lambda x, p=p: rolled(x, p),
            "none": lambda x: x * 1,
        }
        assert torch.equal(order(x), naive(x, p))
        assert torch.equal(order(x), rolled(x, p))
        for name, run in (("forward", lambda f, x: f(x)), ("forward + backward", backward)):
            calls = {k: partial(run, f, x) for k, f in rivals.items()}
            ms = compare(calls)
            rows.append(("x".join(map(str, shape)) + f" p{p}", name, *ms.values(),
                         ms["loop"] / ms["ours"], ms["roll"] / ms["ours"],
                         ms["ours"] - ms["none"]))  # fmt: skip
    table(
        f"anchor, ms, one thread ({TARGET})",
        ("maps", "pass", "ours", "loop", "roll", "none", "loop/ours", "roll/ours", "ours-none"),
        rows,
    )


if __name__ == "__main__":
    main()
