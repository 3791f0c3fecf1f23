"""The explorer of the front page, from the checkpoints and digits that the repository holds."""

from pathlib import Path

import torch

from equitutor.chapters import book_file
from equitutor.explorers.networks import load_network
from equitutor.explorers.polyphase import polyphase_explorer

CHECKPOINTS = ("polyphase-vit-plain.safetensors", "polyphase-vit-anchored.safetensors")


def hero_html(root: Path | None = None) -> str | None:
    """Returns the compact polyphase explorer as HTML, or None where a checkpoint is missing.

    It shows one digit of each class, the first that both networks read at rest and that the plain
    one loses under some small shift.

    Args:
        root: folder of the book; by default where `book_file` looks.

    Raises ValueError where a checkpoint is damaged.

    >>> hero_html(Path("/no/such/folder")) is None
    True
    """
    names = [f"checkpoints/{name}" for name in CHECKPOINTS]
    paths = [Path(root, "book", name) if root else book_file(name) for name in names]
    if not all(path and path.is_file() for path in paths):
        return None
    from equitutor.data import handful, on_canvas

    plain, anchored = map(load_network, paths)
    digits = handful()
    x = on_canvas(digits.x, 40)
    chosen = _good_examples(plain, anchored, x, digits.y)
    explorer = polyphase_explorer(plain, anchored, x[chosen], digits.y[chosen], compact=True)
    return explorer._repr_html_()


def _good_examples(plain, anchored, x, y) -> list[int]:
    """Returns for each class the index of one image, a telling one where there is one."""
    with torch.no_grad():
        rest = (plain(x).argmax(1) == y) & (anchored(x).argmax(1) == y)  # (N,)
        moved = plain(torch.roll(x, (1, 1), (2, 3))).argmax(1) != y
    telling = rest.int() + (rest & moved).int()
    order = []
    for label in y.unique().tolist():
        members = (y == label).nonzero().flatten()
        order.append(int(members[telling[members].argmax()]))
    return order
