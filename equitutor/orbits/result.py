"""What a measurement along orbits leaves: one score for each element and sample."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from equitutor.orbits.orbit import Orbit
from equitutor.runtime import widest


class Worst(NamedTuple):
    """For each sample, the element where it does worst, and its score there."""

    element: Tensor
    score: Tensor


@dataclass(frozen=True)
class OrbitResult:
    """Scores of a model at each element of an orbit and for each sample.

    Attributes:
        scores: (G, N): row g, column n is the score of sample n moved by element g. A missing
            score is NaN and is left out of every mean; `coverage` counts them.
        orbit: the orbit.
        higher_is_better: whether a large score is good.
        outputs: the model's raw outputs, (G, N, ...), where they were asked for, else None.
        meta: names of model and metric, the function that scored, seconds, pairs a second.
        floor: (G, N), how far a score is off by the measurement alone, from
            `evaluate(..., floor=True)`; else None.
    """

    scores: Tensor
    orbit: Orbit
    higher_is_better: bool = True
    outputs: Any = None
    meta: dict = field(default_factory=dict)
    floor: Tensor | None = None

    @property
    def coverage(self) -> float:
        """Share of the scores that are not missing, in [0, 1]."""
        return int((~self.scores.isnan()).sum()) / self.scores.numel()

    def aggregate(self, mask: Tensor | None = None) -> Tensor:
        """Returns the mean score over samples at each element, (G,).

        Look at `spread` beside it: a test set that is itself invariant makes every aggregate flat.

        Args:
            mask: boolean (N,), the samples to average over; None takes all.
        """
        scores = self.scores
        if mask is not None:
            mask = torch.as_tensor(mask)
            if mask.dtype != torch.bool or mask.shape != scores.shape[1:]:
                raise ValueError(
                    f"mask must be {scores.shape[1]} booleans, got {mask.dtype} {tuple(mask.shape)}"
                )
            if not mask.any():
                raise ValueError("mask must leave at least one sample, got none")
            scores = scores[:, mask]
        return scores.nanmean(1)

    def worst(self) -> Worst:
        """Returns, for each sample, the index of its worst element and the score there, (N,)."""
        sign = -1.0 if self.higher_is_better else 1.0
        badness = torch.nan_to_num(sign * self.scores, nan=-torch.inf)
        element = badness.argmax(0)
        return Worst(element, self.scores.gather(0, element[None])[0])

    def mean(self) -> Tensor:
        """Returns the weighted mean score along each sample's orbit, (N,)."""
        weights = self._weights()
        return self._present(self.scores.to(weights)).mul(weights).sum(0) / weights.sum(0)

    def spread(self, kind: str = "std") -> Tensor:
        """Returns how much each sample's score varies along its own orbit, (N,).

        Args:
            kind: "std", the weighted standard deviation, or "range", largest minus smallest.

        Zero for every sample is what invariance gives; a flat aggregate does not show it. A model
        that is always wrong has spread zero as well: read it with the mean.
        """
        if kind == "range":
            high = torch.nan_to_num(self.scores, nan=-torch.inf).amax(0)
            low = torch.nan_to_num(self.scores, nan=torch.inf).amin(0)
            return torch.where(high >= low, high - low, torch.nan).to(widest(low.device))
        if kind != "std":
            raise ValueError(f"kind must be 'std' or 'range', got {kind!r}")
        weights = self._weights()
        deviation = self._present(self.scores.to(weights) - self.mean()).square()
        return (deviation.mul(weights).sum(0) / weights.sum(0)).sqrt()

    def summary(self) -> dict[str, float]:
        """Returns the five numbers to print beside every plot.

        identity: mean score of the samples as they are; mean: over the orbit; worst element: the
        lowest (or highest, for errors) aggregate; worst of orbit: mean over samples of the score
        at each sample's own worst element; spread: mean standard deviation within an orbit. With
        a `floor`, a sixth: its mean, below which no difference says anything.
        """
        aggregate = self.aggregate()
        measured = aggregate[~aggregate.isnan()] if self.coverage else aggregate
        extreme = measured.min() if self.higher_is_better else measured.max()
        identity = self.orbit.identity
        numbers = {
            "identity": float("nan") if identity is None else aggregate[identity].item(),
            "mean": self.mean().nanmean().item(),
            "worst element": extreme.item(),
            "worst of orbit": self.worst().score.nanmean().item(),
            "spread": self.spread().nanmean().item(),
        }
        if self.floor is not None:
            numbers["floor"] = self.floor.nanmean().item()
        return numbers

    def _present(self, values: Tensor) -> Tensor:
        return values.masked_fill(self.scores.isnan(), 0)

    def _weights(self) -> Tensor:
        device = self.scores.device
        return self.orbit.weights_in(widest(device), device)[:, None] * ~self.scores.isnan()
