"""Two ways to say how symmetric a network is: by its weights, and by what it does."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from equitutor.methods.soft.groups import MatrixGroup
from equitutor.methods.soft.layers import SoftTypedLinear
from equitutor.methods.soft.projectors import check_reps
from equitutor.methods.soft.representations import Rep, describe


def soft_layers(net: nn.Module) -> dict[str, SoftTypedLinear]:
    """Returns the soft layers of a network by name.

    Raises ValueError if it has none, or if they differ in their groups: a sum over the layers would
    then mix the distances to different groups.

    >>> from equitutor.methods.soft import O
    >>> layer = SoftTypedLinear(Rep(n1=1), Rep(n1=1), [O(3)])
    >>> list(soft_layers(nn.Sequential(layer, nn.Tanh())))
    ['0']
    """
    if not isinstance(net, nn.Module):
        raise ValueError(f"net must be a module, got {type(net).__name__}")
    layers = {k: m for k, m in net.named_modules() if isinstance(m, SoftTypedLinear)}
    if len({tuple(group.key for group in layer.groups) for layer in layers.values()}) != 1:
        raise ValueError(
            f"net must hold SoftTypedLinear layers, all with the same groups, got {len(layers)} "
            f"with {sorted({str([g.name for g in m.groups]) for m in layers.values()})}"
        )
    return layers


def weights(net: nn.Module, params: Mapping[str, Tensor] | None = None) -> Iterator[tuple]:
    """Yields each soft layer with its weight and bias, taken from `params` where given."""
    params = dict(net.named_parameters()) if params is None else params
    for name, layer in soft_layers(net).items():
        keys = [f"{name}.{part}" if name else part for part in ("weight", "bias")]
        if missing := [key for key in keys if key not in params]:
            raise ValueError(f"params must hold {missing[0]!r}, got {list(params)}")
        yield layer, params[keys[0]], params[keys[1]]


def distances(net: nn.Module, params: Mapping[str, Tensor] | None = None) -> Tensor:
    """Returns R, the distances of a network to each of its groups: (..., G), summed over layers.

    Args:
        net: network with `SoftTypedLinear` layers.
        params: stand in for the network's own parameters; leading axes are seeds.

    R = 0 is enough for equivariance, but not needed: a layer may undo what another one broke.

    Source: Kim et al., 2023, the regularizer; the factor 1/2 as in their code.

    >>> from equitutor.methods.soft import O
    >>> distances(SoftTypedLinear(Rep(n1=2), Rep(n1=2), [O(3)])).shape
    torch.Size([1])
    """
    return torch.stack([m.distances(w, b) for m, w, b in weights(net, params)]).sum(0)


def codimensions(net: nn.Module) -> Tensor:
    """Returns for each group how many directions of the weights break it: (G,), float32.

    At a random start the distances are nearly proportional to these.

    >>> from equitutor.methods.soft import O
    >>> codimensions(SoftTypedLinear(Rep(n1=1), Rep(n1=1), [O(3)])).tolist()     # 9 + 3 - 1
    [11.0]
    """
    layers = soft_layers(net).values()
    return torch.tensor([[float(p.codim()) for p in m.projectors] for m in layers]).sum(0)


@torch.no_grad()
def function_errors(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    group: MatrixGroup,
    rep_in: Rep,
    rep_out: Rep,
    n: int = 16,
    generator: torch.Generator | None = None,
    how: str | None = None,
) -> Tensor:
    """Returns |f(hx) - h f(x)| / (|f(hx)| + |h f(x)|) for each element and sample: (n, B).

    Args:
        f: function from (B, in) to (B, out), such as a network.
        x: inputs (B, in).
        group: the group; rep_in, rep_out say how it acts on inputs and outputs.
        n: number of elements, >= 1.
        generator: source of the elements; None uses torch's global one.
        how: "haar", "lie" or None, as for `MatrixGroup.sample`.

    Raises ValueError if a shape or a dtype does not fit, or the batch is empty.

    Source: Kim et al., 2023, who draw as "lie" does.

    >>> from equitutor.methods.soft import O
    >>> x = torch.randn(5, 3); v = Rep(n1=1)
    >>> function_errors(lambda x: 2 * x, x, O(3), v, v, n=4).shape
    torch.Size([4, 5])
    """
    _check_inputs(x, group, rep_in, rep_out)
    y = f(x)
    _check_outputs(y, x, rep_out)
    out = []
    for h in group.sample(n, generator, how):
        a = f(x @ rep_in.rho(h).to(x).mT)
        b = y @ rep_out.rho(h).to(y).mT
        size = a.norm(dim=-1) + b.norm(dim=-1)
        out.append((a - b).norm(dim=-1) / size.clamp_min(torch.finfo(size.dtype).tiny))
    return torch.stack(out)


def function_error(*args, **kwargs) -> float:
    """Returns the mean of `function_errors`, in [0, 1]: 0 for an equivariant function.

    Takes the arguments of `function_errors`.

    >>> from equitutor.methods.soft import O
    >>> x = torch.randn(100, 3); v = Rep(n1=1)
    >>> function_error(lambda x: 2 * x, x, O(3), v, v) < 1e-6
    True
    >>> function_error(lambda x: x.abs(), x, O(3), v, v) > 0.1
    True
    """
    return function_errors(*args, **kwargs).mean().item()


def lie_error(
    f: Callable[[Tensor], Tensor], x: Tensor, group: MatrixGroup, rep_in: Rep, rep_out: Rep
) -> Tensor:
    """Returns the slope of the function error at the identity, for each direction: (n, B).

    That is |J_f(x) A x - A f(x)| / (2 |f(x)|) for each direction A of `group.lie`, exact and
    without random elements. What only the discrete elements break, it cannot see.

    Args:
        f, x, group, rep_in, rep_out: as for `function_errors`; f differentiable.

    Raises ValueError if the group has no continuous part, or a shape does not fit.

    Source: Gruver et al., ICLR 2023 (the Lie derivative); the norm is that of `function_errors`.

    >>> from equitutor.methods.soft import SO
    >>> x = torch.randn(5, 3); v = Rep(n1=1)
    >>> lie_error(lambda x: x * x.norm(dim=-1, keepdim=True), x, SO(3), v, v).max() < 1e-5
    tensor(True)
    """
    _check_inputs(x, group, rep_in, rep_out)
    if not len(group.lie):
        raise ValueError(f"group must have a continuous part, but {group.name} has none")
    out = []
    for a in group.lie:
        y, moved = torch.autograd.functional.jvp(f, x, x @ rep_in.drho(a).to(x).mT)
        _check_outputs(y, x, rep_out)
        turned = y @ rep_out.drho(a).to(y).mT
        size = 2 * y.norm(dim=-1).clamp_min(torch.finfo(y.dtype).tiny)
        out.append((moved - turned).norm(dim=-1) / size)
    return torch.stack(out).detach()


def _check_inputs(x: Tensor, group: MatrixGroup, rep_in: Rep, rep_out: Rep) -> None:
    check_reps(group, rep_in, rep_out)
    rep_in.check("x", x)
    if not x.is_floating_point() or not x.numel():
        raise ValueError(f"x must be floating point and not empty, got {describe(x)}")


def _check_outputs(y: Tensor, x: Tensor, rep_out: Rep) -> None:
    rep_out.check("f(x)", y)
    if y.shape[:-1] != x.shape[:-1] or not y.is_floating_point():
        raise ValueError(
            f"f(x) must be floating point, one row for each of x {tuple(x.shape)}, "
            f"got {describe(y)}"
        )
