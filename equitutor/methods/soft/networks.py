"""Networks of typed layers, a plain one to compare with, and equal numbers of parameters."""

from collections.abc import Callable

from torch import Tensor, nn

from equitutor.checks import check_count
from equitutor.methods.soft.layers import GatedQuadratic
from equitutor.methods.soft.representations import Rep


class TypedNetwork(nn.Sequential):
    """Typed linear layers with `GatedQuadratic` between them; soft, exact or residual.

    Args:
        rep_in, hidden, rep_out: feature spaces.
        layer: function (rep_in, rep_out) -> linear layer, which decides what the network is.
        depth: number of linear layers, >= 1.
        orthogonal, unit, bypass: as for `GatedQuadratic`.

    >>> import torch
    >>> from functools import partial
    >>> from equitutor.methods.soft import ExactTypedLinear, O, SoftTypedLinear
    >>> soft = partial(SoftTypedLinear, groups=[O(3)])
    >>> exact = partial(ExactTypedLinear, group=O(3))
    >>> net = TypedNetwork(Rep(5, 5), Rep(8, 4, 2), Rep(n2=1), exact)
    >>> net(torch.randn(10, 20)).shape
    torch.Size([10, 9])
    """

    def __init__(
        self,
        rep_in: Rep,
        hidden: Rep,
        rep_out: Rep,
        layer: Callable[[Rep, Rep], nn.Module],
        depth: int = 3,
        orthogonal: bool = True,
        unit: bool = False,
        bypass: bool = False,
    ):
        check_count("depth", depth)
        parts: list[nn.Module] = []
        here = rep_in
        for _ in range(depth - 1):
            act = GatedQuadratic(hidden, orthogonal, unit, bypass)
            parts += [layer(here, act.rep_in), act]
            here = hidden
        super().__init__(*parts, layer(here, rep_out))
        self.rep_in, self.hidden, self.rep_out = rep_in, hidden, rep_out

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs (..., rep_out.size) of inputs (..., rep_in.size)."""
        self.rep_in.check("x", x)
        return super().forward(x)


def mlp(n_in: int, n_out: int, width: int, depth: int = 3) -> nn.Sequential:
    """Returns a plain network of `depth` linear layers with SiLU between them.

    >>> [tuple(p.shape) for p in mlp(4, 1, 8, depth=2).parameters()]
    [(8, 4), (8,), (1, 8), (1,)]
    """
    for name, value in (("n_in", n_in), ("n_out", n_out), ("width", width), ("depth", depth)):
        check_count(name, value)
    sizes = [n_in, *[width] * (depth - 1), n_out]
    parts: list[nn.Module] = []
    for k in range(depth):
        parts += [nn.Linear(sizes[k], sizes[k + 1]), nn.SiLU()]
    return nn.Sequential(*parts[:-1])


def count_parameters(model: nn.Module) -> int:
    """Returns the number of numbers that training can change.

    An exact layer stores a whole weight and uses its projection, so this counts what is stored; how
    many directions are free is the sum of `TypedProjector.dim`.

    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def widest(make: Callable[[int], nn.Module], budget: int, most: int = 1024) -> int:
    """Returns the largest width w <= most for which make(w) has at most `budget` parameters.

    Args:
        make: function from a width to a network, whose parameters grow with the width.
        budget: number of parameters, >= 1.
        most: largest width that is tried, >= 1.

    Raises ValueError if even width 1 has more.

    >>> widest(lambda w: nn.Linear(3, w), budget=41)
    10
    """
    check_count("budget", budget)
    check_count("most", most)
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if count_parameters(make(middle)) <= budget:
            low = middle
        else:
            high = middle - 1
    if low == 0:
        raise ValueError(f"budget is {budget}, but width 1 needs {count_parameters(make(1))}")
    return low
