"""Soft equivariance: blockwise against dense projectors, the cache, and seeds trained together."""

import statistics
import time
from functools import partial

import torch
from lib.dense import clear_cache, dense_projector
from lib.timing import compare, table
from torch.nn.functional import mse_loss

from equitutor import data
from equitutor.methods.soft import (
    O,
    Rep,
    SoftTypedLinear,
    TypedNetwork,
    TypedProjector,
    embed_O2,
    hom_projector,
)
from equitutor.training import Batches, fit, fit_stacked

SIZES = [(Rep(2, 2), Rep(2, 2)), (Rep(4, 4), Rep(4, 4)), (Rep(6, 4, 1), Rep(6, 4, 1))]
GROUPS = [O(3), embed_O2((0, 1)), embed_O2((1, 2)), embed_O2((0, 2))]
SEEDS = list(range(8))


def block_entries(rep_in: Rep, rep_out: Rep) -> int:
    """Return the numbers that the blockwise projectors of a layer hold."""
    return sum(
        (3 ** (sum(a) + sum(b))) ** 2 for a in {(0, 0), *rep_in.counts} for b in rep_out.counts
    )


def projectors() -> None:
    """Print time and memory of one projector of a whole layer, solved in the two ways."""
    group, rows = embed_O2((0, 1)), []
    for rep_in, rep_out in SIZES:
        w = torch.randn(rep_out.size, rep_in.size, dtype=torch.float64)

        def blockwise(rep_in=rep_in, rep_out=rep_out, w=w):
            clear_cache()
            return TypedProjector(group, rep_in, rep_out).weight(w)

        def dense(rep_in=rep_in, rep_out=rep_out, w=w):
            return (dense_projector(group, rep_in, rep_out) @ w.flatten()).view_as(w)

        worst = (blockwise() - dense()).abs().max().item()
        assert worst < 1e-10, worst
        ms = compare({"blocks": blockwise, "dense": dense}, repeats=3)
        ratio, side = ms["dense"] / ms["blocks"], rep_in.size * rep_out.size
        mb = [8e-6 * block_entries(rep_in, rep_out), 8e-6 * side**2]
        rows.append((f"{rep_in.size} -> {rep_out.size}", *ms.values(), ratio, *mb, worst))
    table(
        "projector of a layer, solved from nothing, ms and MB (target: equal to 1e-10, faster)",
        ("layer", "blocks", "dense", "dense/blocks", "MB", "MB dense", "difference"),
        rows,
    )


def cache() -> None:
    """Print what a second look-up of the largest block costs."""
    group = O(3)

    def solved():
        clear_cache()
        return hom_projector(group, 2, 2)

    def hit():
        for _ in range(100):  # one is too short to time
            hom_projector(group, 2, 2)

    ms = compare({"solved": solved, "hit": hit}, repeats=5)
    one = ms["hit"] / 100
    table(
        "one block (2, 2), ms (target: solved / hit >= 100)",
        ("", "solved", "hit", "solved/hit"),
        [("O(3)", ms["solved"], one, ms["solved"] / one)],
    )


def stacks() -> None:
    """Print the wall time of 8 seeds trained one at a time and all together, on all threads."""
    task = data.inertia(500)
    batches = Batches(task.x, task.y, 50)
    layer = partial(SoftTypedLinear, groups=GROUPS)
    make = partial(TypedNetwork, Rep(3, 3), Rep(12, 8, 2), Rep(n2=1), layer)
    steps = 10

    def alone():
        for seed in SEEDS:
            torch.manual_seed(seed)
            fit(make(), batches, mse_loss, steps, progress=False)

    def together():
        fit_stacked(make, SEEDS, batches, mse_loss, steps, progress=False)

    rivals = {"alone": alone, "together": together}
    cpu = compare(rivals, repeats=5)  # milliseconds of processor time, after a warm-up
    wall: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(5):  # in turns, so that a busy moment hits both
        for name, call in rivals.items():
            start = time.perf_counter()
            call()
            wall[name].append(1000 * (time.perf_counter() - start))
    on_the_clock = {name: statistics.median(values) for name, values in wall.items()}
    rows = [
        (kind, t["alone"], t["together"], t["alone"] / t["together"])
        for kind, t in (("wall time", on_the_clock), ("processor time", cpu))
    ]
    threads = torch.get_num_threads()
    table(
        f"8 soft networks, {steps} steps of 50, ms, medians, {threads} threads "
        "(target: alone/together >= 4)",
        ("", "alone", "together", "alone/together"),
        rows,
    )


def main() -> None:
    """Print the three tables."""
    stacks()
    torch.set_num_threads(1)
    projectors()
    cache()


if __name__ == "__main__":
    main()
