"""Constants of a layer that keep their precision whatever the layer is converted to."""

import torch
from torch import Tensor, nn


class ExactConstants(nn.Module):
    """Module whose constants are taken from float64 anew each time it is converted or moved.

    A buffer of float32 that becomes float64 keeps its rounding of 1e-8: enough to break an
    equivariance that float64 would hold to 1e-15.

    >>> layer = ExactConstants()
    >>> layer.add_constant("third", torch.tensor(1 / 3, dtype=torch.float64))
    >>> layer.third.dtype, float(layer.double().third) == 1 / 3
    (torch.float32, True)
    """

    def __init__(self):
        super().__init__()
        self._exact: dict[str, Tensor] = {}

    def add_constant(self, name: str, value: Tensor) -> None:
        """Returns nothing; makes the float64 tensor value the buffer called name."""
        self._exact[name] = value.cpu()
        self.register_buffer(name, value.to(torch.get_default_dtype()), persistent=False)

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        for name, value in self._exact.items():
            now = getattr(self, name)
            setattr(self, name, value.to(now.dtype).to(now.device))
        return self
