"""A running average of a network's weights, which samples better than the last weights do."""

import copy

import torch
from torch import nn

__all__ = ["EMA"]


class EMA:
    """Keeps a copy of a network whose weights are an exponential moving average.

    Args:
        model: the network to follow; it is not changed.
        decay: in [0, 1). The first updates use less, (1 + k) / (10 + k), to forget the start.

    Raises:
        ValueError: decay outside [0, 1).

    >>> model = nn.Linear(1, 1); average = EMA(model, decay=0.0)
    >>> with torch.no_grad(): _ = model.weight.add_(1)
    >>> average.update(model); torch.equal(average.model.weight, model.weight)
    True
    """

    def __init__(self, model: nn.Module, decay: float = 0.999):
        if isinstance(decay, bool) or not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay!r}")
        self.decay, self.updates = decay, 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves the average one step towards the weights of `model`.

        Raises:
            ValueError: `model` has other shapes, which would be broadcast, or stop it halfway.
        """
        shapes = lambda net: [tuple(v.shape) for v in (*net.parameters(), *net.buffers())]
        if shapes(model) != shapes(self.model):
            raise ValueError(
                f"model must have the shapes of the one that is followed, {shapes(self.model)}, "
                f"got {shapes(model)}"
            )
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for mean, value in zip(self.model.parameters(), model.parameters(), strict=True):
            mean.lerp_(value.to(mean), 1 - decay)
        for mean, value in zip(self.model.buffers(), model.buffers(), strict=True):
            mean.copy_(value)
