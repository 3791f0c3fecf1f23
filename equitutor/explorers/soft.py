"""The soft-equivariance explorer: move trained weights towards a symmetry, and beyond."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from equitutor.explorers.checkpoints import read_checkpoint, write_checkpoint
from equitutor.explorers.host import Explorer, source
from equitutor.methods.soft import (
    GatedQuadratic,
    MatrixGroup,
    Rep,
    SoftTypedLinear,
    TypedNetwork,
    soft_layers,
)

KINDS = {  # output, left and right type of a product -> its name in js/soft-nn.js
    ((0, 0), (0, 0), (0, 0)): "ss",
    ((0, 0), (1, 0), (1, 0)): "vv",
    ((0, 0), (2, 0), (2, 0)): "mm",
    ((1, 0), (0, 0), (1, 0)): "sv",
    ((1, 0), (2, 0), (1, 0)): "mv",
    ((2, 0), (0, 0), (2, 0)): "sm",
    ((2, 0), (1, 0), (1, 0)): "vvt",
}
MAX_SAMPLES = 200
ANGLES = 24
CAP = 1.2  # of the variance; charts of the test error end there, as in js/soft.js


def save_soft(net: TypedNetwork, path: str | Path) -> Path:
    """Returns the path of a safetensors file with a soft network and how to rebuild it.

    Args:
        net: TypedNetwork of `SoftTypedLinear` layers.
        path: file to write, at most 2 MB.

    Raises ValueError for a network of other layers, or a file that is too big.

    >>> import tempfile
    >>> from functools import partial
    >>> from equitutor.methods.soft import O
    >>> layer = partial(SoftTypedLinear, groups=[O(3)])
    >>> net = TypedNetwork(Rep(1, 1), Rep(2, 1, 1), Rep(n2=1), layer)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = load_soft(save_soft(net, Path(folder, "net.safetensors")))
    >>> again(torch.ones(2, 4)).shape, again[0].groups[0].name
    (torch.Size([2, 9]), 'O(3)')
    """
    check_network(net)
    groups = next(iter(soft_layers(net).values())).groups
    act = next((part for part in net if isinstance(part, GatedQuadratic)), None)
    orthogonal = act is None or any(p[4] for p in act.products)
    config = {
        **{name: vars(getattr(net, name)) for name in ("rep_in", "hidden", "rep_out")},
        "depth": len(soft_layers(net)),
        "names": [group.name for group in groups],
        "orthogonal": orthogonal,
        "unit": act is not None and act.unit,
        "bypass": act is not None and act.bypass is not None,
    }
    state = {f"net.{k}": v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    for k, group in enumerate(groups):
        state |= {f"group.{k}.lie": group.lie, f"group.{k}.discrete": group.discrete}
    return write_checkpoint(path, state, "net", config=json.dumps(config))


def load_soft(path: str | Path) -> TypedNetwork:
    """Returns the network that `save_soft` wrote to `path`, on the CPU and in eval mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or was not written by `save_soft`.
    """

    def build(state: dict[str, Tensor], about: dict) -> TypedNetwork:
        config = json.loads(about["config"])
        reps = [Rep(**config[name]) for name in ("rep_in", "hidden", "rep_out")]
        groups = [
            MatrixGroup(name, reps[0].d, state[f"group.{k}.lie"], state[f"group.{k}.discrete"])
            for k, name in enumerate(config["names"])
        ]
        options = {name: config[name] for name in ("depth", "orthogonal", "unit", "bypass")}
        make = lambda a, b: SoftTypedLinear(a, b, groups)
        net = TypedNetwork(*reps, make, **options)
        net.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("net.")})
        return net

    return read_checkpoint(path, "save_soft", build)


def check_network(net: TypedNetwork, name: str = "net") -> None:
    """Raises ValueError unless net is a TypedNetwork of soft layers."""
    layers = [part for part in net if not isinstance(part, GatedQuadratic)]
    if not isinstance(net, TypedNetwork) or not all(isinstance(p, SoftTypedLinear) for p in layers):
        raise ValueError(f"{name} must be a TypedNetwork of SoftTypedLinear layers")


def page_soft(net: TypedNetwork, name: str = "net") -> dict:
    """Returns what `js/soft-nn.js` needs of a network, with its weights projected to each group.

    Args:
        net: TypedNetwork of soft layers over space, without duals, unit products or bypass.
        name: what errors call the network.

    Raises ValueError for a network that the page cannot compute.

    >>> from functools import partial
    >>> from equitutor.methods.soft import O
    >>> layer = partial(SoftTypedLinear, groups=[O(3)])
    >>> net = TypedNetwork(Rep(1, 1), Rep(2, 1, 1), Rep(n2=1), layer)
    >>> sorted(page_soft(net))
    ['acts', 'hidden', 'layers', 'projected']
    """
    check_network(net, name)
    acts = [part for part in net if isinstance(part, GatedQuadratic)]
    reps = (net.rep_in, net.hidden, net.rep_out)
    if any(rep.d != 3 or rep.n01 or rep.n11 or rep.n02 for rep in reps):
        raise ValueError(f"{name} must have scalars, vectors and matrices of space, got {reps}")
    if any(act.unit or act.bypass is not None for act in acts):
        raise ValueError(f"{name} must have neither unit products nor a bypass")
    numbers = lambda t: t.detach().float().cpu().numpy()
    layers = list(soft_layers(net).values())
    return {
        "hidden": [net.hidden.n0, net.hidden.n1, net.hidden.n2],
        "layers": [{"weight": numbers(m.weight), "bias": numbers(m.bias)} for m in layers],
        "projected": [
            [
                {
                    "weight": numbers(m.projectors[g].weight(m.weight)),
                    "bias": numbers(m.projectors[g].bias(m.bias)),
                }
                for m in layers
            ]
            for g in range(len(layers[0].groups))
        ],
        "acts": [
            [
                {"kind": KINDS[tuple(product[:3])], "weight": numbers(w)}
                for product, w in zip(act.products, act.weight, strict=True)
            ]
            for act in acts
        ],
    }


def soft_explorer(
    networks: Mapping[str, TypedNetwork],
    groups: Sequence[MatrixGroup],
    x: Tensor,
    y: Tensor,
    holds: str,
    title: str = "How much symmetry breaking does the task want?",
) -> Explorer:
    """Returns an explorer that moves trained weights along P W + t (W - P W).

    The networks run in the page itself, on the samples given.

    Args:
        networks: name -> soft network; all with the same feature spaces.
        groups: their candidate groups, in the order of their layers; of 3 x 3 matrices.
        x, y: test samples (N, in) and targets (N, out), 1 <= N <= 200.
        holds: name of the group that the task respects; the explorer opens with it.
        title: one line.

    Raises ValueError for an argument that does not fit; the message says which.

    >>> from functools import partial
    >>> from equitutor.methods.soft import O
    >>> layer = partial(SoftTypedLinear, groups=[O(3)])
    >>> nets = {"one": TypedNetwork(Rep(1, 1), Rep(2, 1, 1), Rep(n2=1), layer)}
    >>> explorer = soft_explorer(nets, [O(3)], torch.randn(9, 4), torch.randn(9, 9), "O(3)")
    >>> "typedForward" in explorer.to_html()
    True
    """
    names = [group.name for group in groups]
    if not networks:
        raise ValueError("networks must hold at least one network, got none")
    if holds not in names:
        raise ValueError(f"holds must be one of {names}, got {holds!r}")
    for name, net in networks.items():
        check_network(net, f"networks[{name!r}]")
        net.rep_in.check("x", x)
        net.rep_out.check("y", y)
        own = [group.name for group in next(iter(soft_layers(net).values())).groups]
        if own != names:
            raise ValueError(f"groups must be those of networks[{name!r}], {own}, got {names}")
    if len(x) != len(y) or not 1 <= len(x) <= MAX_SAMPLES:
        raise ValueError(f"x and y must have 1 to {MAX_SAMPLES} samples, got {len(x)}, {len(y)}")
    net = next(iter(networks.values()))
    draw = torch.Generator().manual_seed(0)
    data = {
        "networks": {name: page_soft(net, name) for name, net in networks.items()},
        "groups": [
            {
                "name": group.name,
                "elements": group.sample(8, draw).numpy(),
                "turns": _turns(group),
                "axis": _axis(group),
                "several": len(group.lie) > 1,
            }
            for group in groups
        ],
        "repIn": [net.rep_in.n0, net.rep_in.n1, net.rep_in.n2],
        "repOut": [net.rep_out.n0, net.rep_out.n1, net.rep_out.n2],
        "x": x.detach().float().cpu().numpy(),
        "y": y.detach().float().cpu().numpy(),
        "count": len(x),
        "group": names.index(holds),
        "holds": holds,
    }
    picture, alt = _picture(networks, names.index(holds), holds, x, y)
    module = "\n".join(map(source, ("soft-nn.js", "soft.js")))
    style = source("soft.css")
    return Explorer(module, data, title, fallback=picture, alt=alt, style=style, height=560)


def _turns(group: MatrixGroup):
    """Returns h = exp(t A) for a full turn along the group's first direction: (ANGLES, 3, 3)."""
    t = torch.arange(ANGLES, dtype=torch.float64) * 2 * torch.pi / ANGLES
    if not len(group.lie):
        return torch.eye(group.d).expand(ANGLES, -1, -1).contiguous().numpy()
    return torch.linalg.matrix_exp(t[:, None, None] * group.lie[0]).numpy()


def _axis(group: MatrixGroup) -> str:
    """Returns the axis that the turns of `_turns` keep: "x", "y" or "z"; "" where it is none."""
    if not len(group.lie):
        return ""
    still = group.lie[0].abs().sum(0) < 1e-9
    return "xyz"[int(still.nonzero())] if still.sum() == 1 else ""


def _picture(networks, g: int, holds: str, x: Tensor, y: Tensor) -> tuple[str, str]:
    """Returns test error against t as an inline picture, and its text."""
    import copy

    width, height, top = 640, 240, 0.0
    times = torch.linspace(0, 1.5, 16).tolist()
    curves = {}
    for name, net in networks.items():
        moved = copy.deepcopy(net)
        values = []
        for t in times:
            pairs = zip(soft_layers(net).values(), soft_layers(moved).values(), strict=True)
            with torch.no_grad():
                for old, new in pairs:
                    p = old.projectors[g]
                    kept, kept_bias = p.weight(old.weight), p.bias(old.bias)
                    new.weight.copy_(kept + t * (old.weight - kept))
                    new.bias.copy_(kept_bias + t * (old.bias - kept_bias))
                values.append(((moved(x) - y).square().mean() / y.var()).item())
        curves[name] = values
        top = min(CAP, max(top, *values))
    lines, words = [], []
    for (name, values), color in zip(curves.items(), ("#0072b2", "#d55e00") * 9, strict=False):
        points = " ".join(
            f"{40 + t / 1.5 * (width - 60):.0f},{height - 30 - min(1, v / top) * (height - 60):.0f}"
            for t, v in zip(times, values, strict=True)
        )
        lines.append(
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2.5"/>'
        )
        best = times[min(range(len(times)), key=values.__getitem__)]
        words.append(f"{name} is best at t = {best:.1f}")
    svg = (
        f'<svg viewBox="0 0 {width} {height}" style="width:100%">{"".join(lines)}'
        f'<text x="40" y="20" font-size="14" fill="#888">test error against t, {holds}</text></svg>'
    )
    return svg, f"Test error while the part that breaks {holds} is scaled by t: {', '.join(words)}."
