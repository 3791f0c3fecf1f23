"""The numbers of the NERO explorer: scores, consensus scores, embeddings, where elements lie."""

import base64
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from equitutor.nero import disk, tiles
from equitutor.nero.embedding import embed
from equitutor.nero.scale import value_range
from equitutor.orbits import Orbit, OrbitResult, consensus, metrics

MISSING = -(2**15)  # the int16 of a score that is NaN
_LARGEST = 2**15 - 1
SHARES = (metrics.correct, metrics.confidence)  # their scale is 0 to 1 whatever was measured


def encode(numbers, dtype: str) -> str:
    """Returns base64 of the little-endian numbers.

    >>> encode([1, -1], "<i2")
    'AQD//w=='
    """
    return base64.b64encode(np.ascontiguousarray(numbers, dtype=dtype).tobytes()).decode("ascii")


def decimals_of(largest: float) -> int:
    """Returns how many decimals of scores up to `largest` the page gets: three where they fit.

    Small scores get more, large ones fewer, so that an int16 holds them.

    >>> [decimals_of(v) for v in (1.0, 0.002, 500.0)]
    [3, 7, 1]
    """
    most = math.floor(math.log10(_LARGEST / largest)) if largest else 3
    return most if largest < 0.1 else min(most, 3)


def quantize(scores: Tensor, decimals: int) -> str:
    """Returns base64 of int16 round(scores * 10^decimals), -32768 where a score is NaN.

    >>> quantize(torch.tensor([0.001, torch.nan]), 3)
    'AQAAgA=='
    """
    numbers = scores.detach().cpu().double().numpy() * 10.0**decimals
    return encode(np.where(np.isnan(numbers), MISSING, numbers.round()), "<i2")


def consensus_scores(result: OrbitResult) -> Tensor | None:
    """Returns the scores (G, N) against the model's own consensus, or None where it has none.

    A class is the vote of the orbit, any other answer the mean of the outputs brought back. It
    takes tensor outputs that were kept, and one of the metrics that `evaluate` knows by name.

    Source: consensus of NERO (Zhao et al. 2023).

    >>> from equitutor.orbits import evaluate, shifts
    >>> x = torch.eye(4).view(4, 1, 1, 4)
    >>> result = evaluate(lambda x: x[:, 0, 0], x, torch.arange(4), shifts(1, 4),
    ...                   keep_outputs=True)
    >>> consensus_scores(result).mean().item()
    0.25
    """
    score, outputs = metrics.known(result.meta), result.outputs
    if score is None or not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        return None
    target = consensus(result, "vote" if score in SHARES else "mean")
    return torch.stack(
        [score(output, result.orbit.act_y(target, g)) for g, output in enumerate(outputs)]
    ).float()


def series(
    metric: str,
    results: Mapping[str, OrbitResult],
    reference: str,
    scores: Sequence[Tensor],
    limits: tuple[float, float],
    methods: Sequence[str],
    seed: int,
) -> dict:
    """Returns what the page gets of one metric against one reference, all models on one scale.

    Args:
        metric: its name.
        results: the models' results.
        reference: "truth" or "consensus".
        scores: (G, N) for each model.
        limits: (low, high) of the scale.
        methods: reductions, as in `embed`. A missing score counts as the mean of its sample there.
        seed: seed of the reductions.
    """
    first = next(iter(results.values()))
    largest = max(abs(v) for s in scores for v in value_range(s))
    decimals = decimals_of(largest)
    models = []
    for values in scores:
        maps = {}
        for method in methods:
            points, explained, _ = embed(OrbitResult(filled(values), first.orbit), method, seed)
            maps[method] = {
                "points": points.numpy().astype("<f4").ravel(),
                "explained": explained and [round(share, 4) for share in explained],
            }
        models.append({"scores": quantize(values, decimals), "maps": maps})
    return {
        "metric": metric,
        "reference": reference,
        "higher": first.higher_is_better,
        "low": limits[0],
        "high": limits[1],
        "decimals": decimals,
        "models": models,
    }


def all_series(results: Mapping[str, Mapping[str, OrbitResult]], methods, seed) -> list[dict]:
    """Returns `series` for each metric, against the truth and, where known, the consensus.

    Args:
        results: name of the model -> name of the metric -> result.
        methods, seed: as in `series`.

    Raises ValueError where a score is infinite or none is there.
    """
    made = []
    for metric in next(iter(results.values())):
        own = {name: by_metric[metric] for name, by_metric in results.items()}
        for name, result in own.items():
            if result.scores.isinf().any():
                raise ValueError(f"results[{name!r}] must hold finite scores or NaN, got infinity")
        against = {"truth": [result.scores.double() for result in own.values()]}
        agreed = [consensus_scores(result) for result in own.values()]
        if all(scores is not None for scores in agreed):
            against["consensus"] = agreed
        share = all(metrics.known(result.meta) in SHARES for result in own.values())
        limits = _limits(share, [s for group in against.values() for s in group])
        for reference, scores in against.items():
            made.append(series(metric, own, reference, scores, limits, methods, seed))
    return made


def _limits(share: bool, scores: Sequence[Tensor]) -> tuple[float, float]:
    """Returns a scale that starts at zero, unless scores are negative: areas must not mislead."""
    if share:
        return 0.0, 1.0
    ranges = [value_range(s) for s in scores]
    low = min(0.0, *(r[0] for r in ranges))
    high = max(0.0, *(r[1] for r in ranges))
    return low, high if high > low else low + 1.0


def filled(scores: Tensor) -> Tensor:
    """Returns scores (G, N) with the mean of its sample in place of each NaN."""
    means = scores.nanmean(0).nan_to_num(0.0).expand_as(scores)
    return torch.where(scores.isnan(), means, scores)


def layout(orbit: Orbit, names: Sequence[str] | None) -> dict:
    """Returns how the page draws the orbit: {"kind", "labels", and where each element lies}.

    Args:
        orbit: any orbit; of kind "disk", a full grid as `so3_disk` makes.
        names: what to call each element; None makes names from the orbit.

    Raises ValueError for a disk or a grid whose elements do not form one.

    >>> from equitutor.orbits import shifts
    >>> layout(shifts(2, 2), None)["cells"]
    [[1, 1], [1, 0], [0, 1], [0, 0]]
    """
    made = {
        "circle": _circle,
        "grid2d": _grid,
        "finite": _tiles,
        "disk": _disks,
        "points": _list,
    }[orbit.kind](orbit)
    if names is not None:
        made["labels"] = list(names)
        if "titles" in made:
            made["titles"] = list(names)
    return made | {"weights": orbit.weights.numpy(), "identity": orbit.identity}


def _circle(orbit: Orbit) -> dict:
    angles = [round(a, 6) for a in orbit.params[:, 0].tolist()]
    return {"kind": "circle", "angles": angles, "labels": [f"{a:g}°" for a in angles]}


def _grid(orbit: Orbit) -> dict:
    if orbit.params.shape[1] != 2:
        raise ValueError(
            f"results must have two coordinates, down and right, on an orbit of kind 'grid2d', "
            f"got {orbit.coords}"
        )
    sides, places = [], []
    for column in orbit.params.T:
        values, place = column.unique(return_inverse=True)
        n = len(values)
        wraps = n > 1 and values[0] == 0  # a torus: what is half way round lies in the middle
        place = (place + n // 2) % n if wraps else place
        period = (values[1] * n).item() if wraps else 0.0
        centered = [(p - period if wraps and p >= period / 2 else p) for p in column.tolist()]
        sides.append(centered)
        places.append(place.tolist())
    labels = [_shift(dy, dx) for dy, dx in zip(*sides, strict=True)]
    return {"kind": "cells", "cells": [list(p) for p in zip(*places, strict=True)],
            "labels": labels, "axes": True}  # fmt: skip


def _shift(dy: float, dx: float) -> str:
    ways = [(dx, "right" if dx > 0 else "left"), (dy, "down" if dy > 0 else "up")]
    return ", ".join(f"{abs(by):g} px {way}" for by, way in ways if by) or "no shift"


def _tiles(orbit: Orbit) -> dict:
    titles = [
        name.replace("$", "").replace("{", "").replace("}", "").replace("_", "")
        for name in tiles.element_names(orbit)
    ]
    rows = tiles.tile_rows(orbit)
    where = {g: [r, c] for r, row in enumerate(rows) for c, g in enumerate(row)}
    labels = [title.replace("\n", ", ") for title in titles]
    return {"kind": "cells", "cells": [where[g] for g in range(len(orbit))],
            "labels": labels, "titles": labels}  # fmt: skip


def _list(orbit: Orbit) -> dict:
    width = math.ceil(math.sqrt(len(orbit)))
    return {"kind": "cells", "cells": [list(divmod(g, width)) for g in range(len(orbit))],
            "labels": [f"rotation {g}" for g in range(len(orbit))]}  # fmt: skip


def _disks(orbit: Orbit) -> dict:
    shape = disk.disk_grid(orbit.name, orbit)
    planes = disk.disk_planes(orbit, shape)
    labels = [
        f"{angle:g}° about the axis at {axis:g}° in {planes[int(plane)]}" if angle else "no turn"
        for plane, axis, angle in orbit.params.tolist()
    ]
    return {"kind": "disk", "shape": list(shape), "planes": planes, "labels": labels}
