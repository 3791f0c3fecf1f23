"""The NERO explorer: four linked views of a result along orbits, alive in a page on its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from equitutor import figures
from equitutor.explorers.host import Explorer, png_uri, source
from equitutor.nero import payload, pictures
from equitutor.nero.embedding import METHODS, embed
from equitutor.nero.scale import Results, as_mapping
from equitutor.orbits import OrbitResult, metrics

MAX_SAMPLES = 200
_STYLES = ("polyphase.css", "nero.css")
_FILES = ("nero-data.js", "nero-layouts.js", "nero-plots.js", "nero-detail.js", "nero.js")


def explorer(
    results: Results | Mapping[str, Mapping[str, OrbitResult]],
    inputs: Tensor,
    renderer: str | Callable | None = None,
    *,
    labels: Tensor | None = None,
    classes: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    embedding: str | Sequence[str] = "pca",
    seed: int = 0,
    title: str = "What the models do along the orbit of each sample",
) -> Explorer:
    """Returns an explorer with four linked views: the set, a map of samples, one sample, one input.

    It opens where it is most telling: at the sample and the element that the two models, or the
    elements of one model, differ on most. Scores against the models' consensus can be chosen where
    outputs were kept and the metric is one that `evaluate` knows by name. A missing score is
    drawn hatched, and counts as the mean of its sample in the map. Scores travel with three
    decimals where they fit an int16 so; small ones with more, large ones with fewer.

    Args:
        results: an OrbitResult, or a dict name -> OrbitResult of up to two models, or a dict
            name -> dict metric -> OrbitResult; all on one orbit and the same 3 to 200 samples.
        inputs: the N samples: images (N, C, H, W), point clouds (N, P, 3), or frame pairs
            (N, 2, H, W). With a function as renderer, anything of length N.
        renderer: "image"; "boxes", which also draws kept outputs (G, N, 4 or more), corners x1,
            y1, x2, y2 in pixels; "flow", which also draws kept fields (G, N, 2, H, W); "points";
            or a function (sample, element) -> image (H, W) or (H, W, 3) in [0, 1] or uint8. None
            takes the one that fits the inputs. Kept logits of at most 20 classes become bars,
            where the metric is "correct" or "confidence" or `classes` is given.
        labels: classes of the samples, integers (N,), for the filter and the colors.
        classes: a name for each class; the default is its number.
        names: what to call each element; None makes names from the orbit.
        embedding: "pca", "tsne", "isomap", or several of them; PCA is always there.
        seed: seed of the reductions.
        title: one line.

    Raises:
        ValueError: an argument does not fit, or the page would take more than 1 MB.

    Source: the interface of NERO (Zhao et al. 2023).

    >>> from equitutor.orbits import evaluate, so2
    >>> x, y = torch.rand(4, 1, 6, 6), torch.tensor([0, 1, 0, 1])
    >>> model = lambda x: x.flatten(1)[:, :2]
    >>> results = {"corner": evaluate(model, x, y, so2(8), "confidence", keep_outputs=True)}
    >>> explorer(results, x, labels=y).save("nero.html")  # doctest: +SKIP
    """
    models = _models(results)
    first = next(iter(next(iter(models.values())).values()))
    orbit, (g, n) = first.orbit, first.scores.shape
    if not 3 <= n <= MAX_SAMPLES:
        raise ValueError(
            f"results hold {n} samples; need 3 to {MAX_SAMPLES}, so that the page stays small: "
            "pass a part of them"
        )
    _check_length("inputs", inputs, n, f"the {n} samples of results")
    if names is not None:
        _check_length("names", names, g, f"{g}, one for each element")
        names = [str(name) for name in names]
    kept = {
        name: next((r.outputs for r in by_metric.values() if r.outputs is not None), None)
        for name, by_metric in models.items()
    }
    if renderer is None:
        renderer = pictures.guess_renderer(inputs, orbit, kept)
    _check_renderer(renderer, inputs)
    outputs = list(kept.values())
    scored = [metrics.known(r.meta) for r in next(iter(models.values())).values()]
    known = classes is not None or any(score in payload.SHARES for score in scored)
    bars = None
    if known and renderer not in ("boxes", "flow"):
        bars = pictures.bars(outputs, None if classes is None else len(classes))
    labels, classes = _classes(labels, classes, n, outputs[0].shape[2] if bars else 0)
    methods = _methods(embedding)
    if not isinstance(title, str):
        raise ValueError(f"title must be a text, got {title!r}")
    data = {
        "models": list(models),
        "samples": n,
        "elements": g,
        "orbit": payload.layout(orbit, names),
        "series": payload.all_series(models, methods, seed),
        "labels": labels,
        "classes": classes,
        "picture": pictures.picture_data(inputs, orbit, outputs, renderer),
        "bars": bars,
    }
    shown = {name: next(iter(by_metric.values())) for name, by_metric in models.items()}
    picture, alt = _fallback(shown, next(iter(next(iter(models.values())))))
    try:
        return Explorer("\n".join(map(source, _FILES)), data, title, fallback=picture, alt=alt,
                        style="".join(map(source, _STYLES)), height=900)  # fmt: skip
    except ValueError as error:
        error.add_note(f"with {n} samples, {g} elements and {len(models)} models: fewer fit")
        raise


def _models(results) -> dict[str, dict[str, OrbitResult]]:
    """Returns name -> metric -> result, after all checks that they belong together."""
    nested = isinstance(results, Mapping) and any(isinstance(r, Mapping) for r in results.values())
    if nested:
        if not all(isinstance(r, Mapping) and r for r in results.values()):
            raise ValueError("results must hold either results or dicts of results, got both")
        models = {str(name): _named(as_mapping(r)) for name, r in results.items()}
    else:
        models = {
            str(name or r.meta.get("model", "model")): {str(r.meta.get("metric", "score")): r}
            for name, r in as_mapping(results).items()
        }
    if len(models) != (1 if isinstance(results, OrbitResult) else len(results)):
        raise ValueError(f"results must have different names as text, got {list(results)}")
    models = {
        name: {metric: _plain(f"results[{name!r}]", r) for metric, r in by_metric.items()}
        for name, by_metric in models.items()
    }
    if len(models) > 2:
        raise ValueError(f"results must hold at most two models, got {list(models)}")
    names = [list(by_metric) for by_metric in models.values()]
    if any(own != names[0] for own in names):
        raise ValueError(f"results must have the same metrics for each model, got {names}")
    every = [r for by_metric in models.values() for r in by_metric.values()]
    first = every[0]
    for r in every:
        same = r.orbit.kind == first.orbit.kind and torch.equal(r.orbit.params, first.orbit.params)
        if not same or r.scores.shape != first.scores.shape:
            raise ValueError(
                f"results must share orbit and samples, got {first.orbit.name} with scores "
                f"{tuple(first.scores.shape)} and {r.orbit.name} with {tuple(r.scores.shape)}"
            )
    for metric in names[0]:
        if len({by_metric[metric].higher_is_better for by_metric in models.values()}) > 1:
            raise ValueError(f"results must agree on higher_is_better of {metric!r}, got both")
    return models


def _named(by_metric: dict) -> dict[str, OrbitResult]:
    named = {str(metric): r for metric, r in by_metric.items()}
    if len(named) != len(by_metric):
        raise ValueError(f"results must have different metrics as text, got {list(by_metric)}")
    return named


def _plain(name: str, result: OrbitResult) -> OrbitResult:
    """Returns the result with float scores and outputs on the CPU, without gradients."""
    scores, outputs = result.scores.detach().cpu(), result.outputs
    if isinstance(outputs, Tensor):
        outputs = outputs.detach().cpu()
        if outputs.shape[:2] != scores.shape:
            raise ValueError(f"{name} must keep outputs {tuple(scores.shape)} first, "
                             f"got {tuple(outputs.shape)}")  # fmt: skip
    return replace(result, scores=scores.double() if scores.dtype == torch.float64
                   else scores.float(), outputs=outputs)  # fmt: skip


def _check_length(name: str, data, length: int, what: str) -> None:
    found = len(data) if hasattr(data, "__len__") and getattr(data, "ndim", 1) else type(data)
    if found != length or isinstance(data, str):
        raise ValueError(f"{name} must be {what}, got {found}")


def _check_renderer(renderer, inputs) -> None:
    if callable(renderer):
        return
    if renderer not in pictures.RENDERERS:
        raise ValueError(f"renderer must be callable or one of {pictures.RENDERERS}, "
                         f"got {renderer!r}")  # fmt: skip
    shape = tuple(inputs.shape) if isinstance(inputs, Tensor) else ()
    fits = len(shape) == 3 and shape[2] == 3 if renderer == "points" else len(shape) == 4
    if not fits or (renderer == "flow" and shape[1] != 2) or not _drawable(inputs):
        need = {"points": "point clouds (N, P, 3)", "flow": "frame pairs (N, 2, H, W)"}
        raise ValueError(
            f"inputs must be finite {need.get(renderer, 'images (N, C, H, W)')} for renderer "
            f"{renderer!r}, got {shape or type(inputs).__name__}"
        )


def _drawable(inputs: Tensor) -> bool:
    return bool(inputs.numel()) and not inputs.is_complex() and bool(inputs.isfinite().all())


def _classes(labels, classes, n: int, logits: int) -> tuple[list[int] | None, list[str]]:
    if labels is not None:
        labels = torch.as_tensor(labels)
        if labels.shape != (n,) or labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(
                f"labels must be {n} integers, got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        labels = labels.tolist()
    count = max([logits, *(label + 1 for label in labels or [])])
    classes = [str(c) for c in (range(count) if classes is None else classes)]
    if labels and not 0 <= min(labels) <= max(labels) < len(classes):
        raise ValueError(
            f"labels must lie in 0 ... {len(classes) - 1}, one for each of classes, "
            f"got {min(labels)} ... {max(labels)}"
        )
    return labels, classes


def _methods(embedding) -> list[str]:
    if not isinstance(embedding, Sequence):
        raise ValueError(f"embedding must be some of {METHODS}, got {embedding!r}")
    chosen = [embedding] if isinstance(embedding, str) else list(embedding)
    for method in chosen:
        if method not in METHODS:
            raise ValueError(f"embedding must be some of {METHODS}, got {method!r}")
    return list(dict.fromkeys([*chosen, "pca"]))


def _fallback(results: Mapping[str, OrbitResult], metric: str) -> tuple[str, str]:
    """Returns the picture for a page without JavaScript, as a data address, and its text."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 2.9), layout="constrained")
    curve, cloud = figure.subplots(1, 2)
    words = []
    for (name, result), role in zip(results.items(), ("plain", "method"), strict=False):
        color, steps = figures.COLORS[role], range(len(result.orbit))
        low, high = (torch.nanquantile(result.scores.float(), q, 1) for q in (0.25, 0.75))
        mean, spread = result.mean().nanmean().item(), result.spread().nanmean().item()
        curve.plot(steps, result.aggregate(), color=color, label=name)
        curve.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
        points = embed(OrbitResult(payload.filled(result.scores), result.orbit)).points
        cloud.scatter(*points.T, s=9, color=color, marker=figures.MARKERS[role])
        words.append(f"{name} has a mean {metric} of {mean:.3g} and a spread of {spread:.3g}")
    curve.set(xlabel="element of the orbit", ylabel=metric)
    curve.legend(frameon=False)
    cloud.set(title="a point for each sample", xticks=[], yticks=[])
    return png_uri(figure, dpi=80), (
        f"The mean score over samples at each of {len(result.orbit)} elements, with the middle "
        f"half of {result.scores.shape[1]} samples, and a map of the samples by the scores along "
        f"their orbits: {'; '.join(words)}."
    )
