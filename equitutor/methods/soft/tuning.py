"""How strongly each symmetry is asked for: the penalty, our decoupled step, the paper's rule."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from equitutor.checks import check_count, check_number
from equitutor.methods.soft.layers import ResidualTypedLinear, SoftTypedLinear
from equitutor.methods.soft.measures import codimensions, distances, soft_layers, weights
from equitutor.methods.soft.projectors import map_blocks
from equitutor.methods.soft.representations import Rep, Type
from equitutor.runtime import widest

Params = Mapping[str, Tensor]


def snapshot_rule(
    distances: Tensor, strengths: Tensor, power: float = 2.0, normalize: Tensor | None = None
) -> Tensor:
    """Returns the new strength of each penalty: lambda (R_best / R)^power, at most the old one.

    The best of the groups that take part keeps its strength; those with strength 0 keep that.

    Args:
        distances: R (..., G) of a snapshot, each >= 0; leading axes are seeds.
        strengths: lambda (G,) or (..., G) before, each >= 0. The paper starts all of them equal.
        power: exponent, >= 0.
        normalize: None for the paper's rule, or what each R is divided by first, (G,) or (..., G)
            and > 0: the `codimensions`, or the distances at the start of training.

    Raises ValueError for numbers outside these ranges, NaN among them.
    Source: Kim et al., 2023, as their code has it; `normalize` is ours.

    >>> snapshot_rule(torch.tensor([9.0, 0.1, 0.2]), torch.tensor([0.0, 8.0, 8.0])).tolist()
    [0.0, 8.0, 2.0]
    """
    check_tensor("distances", distances)
    count = distances.shape[-1] if distances.ndim else 1
    check_tensor("distances", distances, count, distances.shape[:-1])
    check_tensor("strengths", strengths, count, distances.shape[:-1])
    check_number(power, "power", 0)
    if normalize is not None:
        check_tensor("normalize", normalize, count, distances.shape[:-1])
        if not (normalize > 0).all():
            raise ValueError(f"normalize must be finite and > 0, got {normalize.tolist()}")
        distances = distances / normalize
    taking_part = strengths > 0
    best = distances.where(taking_part, math.inf).amin(-1, keepdim=True)
    ratio = torch.where(distances <= best, 1.0, best / distances)  # 0 / 0 is the best one: 1
    return torch.where(taking_part, strengths * ratio**power, torch.zeros_like(distances))


class Snapshot:
    """Keeps the distances from which the strengths are set, as the paper's code does.

    Each time any group is nearer than in the kept vector, the whole vector is replaced, so what is
    kept is one moment of training, and not the minimum of each group.

    >>> kept = Snapshot()
    >>> for r in ([1.0, 5.0], [2.0, 4.0], [2.0, 4.5]):
    ...     kept.update(torch.tensor(r))
    >>> kept.value.tolist()                                       # the minima are 1 and 4
    [2.0, 4.0]
    """

    def __init__(self):
        self.value: Tensor | None = None

    def update(self, distances: Tensor) -> None:
        """Looks at new distances (..., G); leading axes are seeds, each with its own snapshot."""
        check_tensor("distances", distances)
        if distances.ndim == 0 or (self.value is not None and distances.shape != self.value.shape):
            want = "(..., G)" if self.value is None else tuple(self.value.shape)
            raise ValueError(f"distances must be {want}, got {tuple(distances.shape)}")
        distances = distances.detach().clone()
        if self.value is None:
            self.value = distances
        else:
            better = (distances < self.value).any(-1, keepdim=True)
            self.value = torch.where(better, distances, self.value)


def penalty(net: nn.Module, strengths: Tensor, params: Params | None = None) -> Tensor:
    """Returns sum_g lambda_g R_g, to be added to the loss: the paper's form; (...) over seeds.

    Args:
        net: network with soft layers. strengths: lambda (G,) or (..., G).
        params: stand in for the network's own; leading axes are seeds.

    Raises ValueError for another number of strengths, or one that is not finite and >= 0.

    >>> from equitutor.methods.soft import O
    >>> net = SoftTypedLinear(Rep(n1=1), Rep(n1=1), [O(3)])
    >>> torch.equal(penalty(net, torch.tensor([2.0])), 2 * distances(net)[0])
    True
    """
    r = distances(net, params)
    check_tensor("strengths", strengths, r.shape[-1], r.shape[:-1])
    return (strengths * r).sum(-1)


def residual_penalty(
    net: nn.Module, residual: float = 1.0, exact: float = 1e-5, params: Params | None = None
) -> Tensor:
    """Returns the penalty of residual pathway priors: half the squared size of each pathway.

    Args:
        net: network with `ResidualTypedLinear` layers. residual, exact: the strengths, >= 0.
        params: stand in for the network's own; leading axes are seeds, and of the result.

    Raises ValueError if the network has no such layer.
    Source: Finzi, Benton, Wilson, 2021; the strengths as Kim et al. use them.

    >>> from equitutor.methods.soft import O
    >>> layer = ResidualTypedLinear(Rep(n1=1), Rep(n1=1), O(3), start=0.0)
    >>> residual_penalty(layer, exact=0.0).item()
    0.0
    """
    check_number(residual, "residual", 0)
    check_number(exact, "exact", 0)
    params = dict(net.named_parameters()) if params is None else params
    layers = {k: m for k, m in net.named_modules() if isinstance(m, ResidualTypedLinear)}
    if not layers:
        raise ValueError("net must hold ResidualTypedLinear layers, got none")
    total = 0.0
    for name, layer in layers.items():
        prefix = f"{name}." if name else ""
        for strength, path in ((exact, prefix), (residual, f"{prefix}residual.")):
            w, b = params[f"{path}weight"], params[f"{path}bias"]
            if path == prefix:
                w, b = layer.projector.weight(w), layer.projector.bias(b)
            total = total + strength / 2 * (w.square().sum((-2, -1)) + b.square().sum(-1))
    return total


@torch.no_grad()
def decoupled_step(
    net: nn.Module, strengths: Tensor, lr: float, params: Params | None = None
) -> None:
    """Moves the soft layers toward their groups, in place: one proximal step of the penalty.

    W becomes the minimum of sum_g lambda_g R_g(V) + |V - W|^2 / (2 lr) over V, which is
    (1 + lr sum_g lambda_g (1 - P_g))^-1 W: stable for every strength.

    Ours; the paper adds the penalty to the loss, where inside Adam a strong one rules every step.

    Args:
        net: network with soft layers.
        strengths: lambda (G,), or (seeds, G) with stacked `params`; each >= 0.
        lr: size of the step, >= 0: the learning rate times the steps since the last call.
        params: stand in for the network's own parameters; leading axes are seeds.

    Raises ValueError for another number of strengths, or numbers outside these ranges.
    Source: the idea of decoupling is that of Loshchilov and Hutter, ICLR 2019 (AdamW).

    >>> from equitutor.methods.soft import O, Rep, SoftTypedLinear
    >>> layer = SoftTypedLinear(Rep(n1=2), Rep(n1=2), [O(3)])
    >>> before = layer.distances()
    >>> decoupled_step(layer, torch.tensor([1.0]), lr=1.0)       # half the way: a quarter is left
    >>> torch.allclose(layer.distances(), before / 4)
    True
    """
    check_number(lr, "lr", 0)
    layers = list(weights(net, params))
    groups = layers[0][0].groups
    for _, w, _ in layers:
        check_tensor("strengths", strengths, len(groups), w.shape[:-2])
    solved: dict[tuple, Tensor] = {}  # the layers of a network share their types

    def project(layer: SoftTypedLinear, rep_in: Rep, w: Tensor) -> Tensor:
        def inverse(a: Type, b: Type) -> Tensor:
            key = (*(group.key for group in layer.groups), a, b)
            if key not in solved:
                solved[key] = _shrinking([p.block(a, b, pull) for p in layer.projectors], pull)
            return solved[key].to(w)

        return map_blocks(w, rep_in, layer.rep_out, inverse)

    pull = lr * strengths.to(widest(strengths.device))
    for layer, w, b in layers:
        w.copy_(project(layer, layer.rep_in, w))
        b.copy_(project(layer, Rep(1, d=layer.rep_in.d), b[..., None]).squeeze(-1))


def _shrinking(blocks: Sequence[Tensor], pull: Tensor) -> Tensor:
    """Returns (1 + sum_g pull_g (1 - P_g))^-1 of projectors P_g (D, D): (..., D, D)."""
    eye = torch.eye(len(blocks[0]), dtype=pull.dtype, device=pull.device)
    breaking = eye - torch.stack(list(blocks))  # (G, D, D)
    return torch.linalg.inv(eye + torch.einsum("...g,gij->...ij", pull, breaking))


class SoftTuning:
    """Applies the penalties while a network trains, keeps a record, and sets the strengths once.

    Call it after each optimizer step; with `decoupled=False`, add `penalty(params)` to the loss.

    Args:
        net: network with soft layers; gives the structure, its parameters where none are passed.
        strengths: lambda at the start, (G,) or (seeds, G); 0: a group that only lends its types.
        steps: length of the training, >= 1.
        at: part of the training after which the rule is used, in (0, 1]; None: never.
        window: part of the training before `at` in which the snapshot is kept.
        power: exponent of the rule.
        normalize: None for the paper's rule, "codim" or "init" (ours). It divides by the
            codimension of each group, or by its distance at the first step.
        decoupled: use `decoupled_step` (ours) in place of the paper's penalty in the loss.
        every: apply the decoupled step and look at the distances each so many steps, >= 1.

    Attributes:
        strengths: lambda now, (G,) or (seeds, G).
        record: pairs of a step and R (..., G) at this step.
        snapshot: R that the rule used, or None before.

    >>> from equitutor.methods.soft import O, Rep, SoftTypedLinear, embed_O2
    >>> net = SoftTypedLinear(Rep(n1=2), Rep(n1=2), [O(3), embed_O2((0, 1))])
    >>> tuning = SoftTuning(net, torch.tensor([0.0, 10.0]), steps=100)
    >>> for step in range(100):
    ...     tuning(step, lr=0.01)
    >>> tuning.record[-1][1][1] < tuning.record[0][1][1]
    tensor(True)
    """

    def __init__(
        self,
        net: nn.Module,
        strengths: Tensor | Sequence[float],
        steps: int,
        at: float | None = 0.6,
        window: float = 0.1,
        power: float = 2.0,
        normalize: str | None = None,
        decoupled: bool = True,
        every: int = 5,
    ):
        check_count("steps", steps)
        check_count("every", every)
        self.net, self.steps = net, steps
        # A copy: whoever changes the numbers that were given does not change this.
        self.strengths = torch.as_tensor(strengths, dtype=torch.float32).detach().clone()
        groups = next(iter(soft_layers(net).values())).groups
        if self.strengths.ndim not in (1, 2) or self.strengths.shape[-1] != len(groups):
            raise ValueError(
                f"strengths must be ({len(groups)},) or (seeds, {len(groups)}), "
                f"got {tuple(self.strengths.shape)}"
            )
        check_tensor("strengths", self.strengths)
        if at is not None and (isinstance(at, bool) or not 0 < at <= 1):
            raise ValueError(f"at must be None or in (0, 1], got {at!r}")
        if isinstance(window, bool) or not 0 <= window <= 1:
            raise ValueError(f"window must be in [0, 1], got {window!r}")
        if normalize not in (None, "codim", "init"):
            raise ValueError(f"normalize must be None, 'codim' or 'init', got {normalize!r}")
        check_number(power, "power", 0)
        if normalize and at is not None:
            self._check_normal(normalize, net)
        self.at = None if at is None else max(1, round(at * steps)) - 1
        self.first = None if at is None else max(0, self.at - round(window * steps))
        self.power, self.normalize, self.decoupled = power, normalize, decoupled
        self.every = every
        self.record: list[tuple[int, Tensor]] = []
        self._kept = Snapshot()

    def _check_normal(self, normalize: str, net: nn.Module, start: Tensor | None = None) -> None:
        """Raises a ValueError where a distance would have to be divided by zero."""
        by = codimensions(net) if start is None else start
        zero = ((by == 0) & (self.strengths.to(by.device) > 0)).reshape(-1, by.shape[-1]).any(0)
        if zero.any():
            groups = next(iter(soft_layers(net).values())).groups
            names = [g.name for g, z in zip(groups, zero.tolist(), strict=True) if z]
            what = "no weight breaks" if start is None else "the start already keeps"
            raise ValueError(
                f"normalize must be None or divide by more than zero, got {normalize!r}, but "
                f"{what} {', '.join(names)}: give it the strength 0, or leave it out"
            )

    @property
    def snapshot(self) -> Tensor | None:
        return self._kept.value

    def state_dict(self) -> dict:
        """Returns what a run that goes on later has to know; `rule` only tells tunings apart."""
        rule = [self.at, self.first, self.power, self.normalize, self.decoupled, self.every]
        kept = {"strengths": self.strengths, "snapshot": self.snapshot}
        return {**kept, "record": list(self.record), "rule": rule}

    def load_state_dict(self, state: Mapping) -> None:
        """Goes on from what `state_dict` returned."""
        self.strengths, self._kept.value = state["strengths"], state["snapshot"]
        self.record = list(state["record"])

    def penalty(self, params: Params | None = None) -> Tensor:
        """Returns the paper's penalty, with gradients: (...) over seeds."""
        return penalty(self.net, self.strengths.to(_device(self.net, params)), params)

    def __call__(self, step: int, params: Params | None = None, lr: float = 1.0) -> None:
        """Does what is due after step `step`, counted from 0, made with learning rate `lr`."""
        check_count("step", step, least=0)
        due = step % self.every == 0
        if due or step == self.at:
            with torch.no_grad():
                self.record.append((step, distances(self.net, params)))
            if self.normalize == "init" and self.at is not None and len(self.record) == 1:
                self._check_normal("init", self.net, self.record[0][1])
            if self.at is not None and self.first <= step <= self.at:
                self._kept.update(self.record[-1][1])
        if step == self.at:
            by = {"codim": codimensions(self.net), "init": self.record[0][1], None: None}
            by = by[self.normalize]
            old = self.strengths.to(self.snapshot)
            # What a group without strength is divided by does not matter, and may be zero.
            by = None if by is None else by.to(old).where(old > 0, 1.0)
            self.strengths = snapshot_rule(self.snapshot, old, self.power, by)
        if due and self.decoupled:
            strengths = self.strengths.to(_device(self.net, params))
            decoupled_step(self.net, strengths, lr * self.every, params)


def _device(net: nn.Module, params: Params | None) -> torch.device:
    return next(iter((params or dict(net.named_parameters())).values())).device


def check_tensor(
    name: str, value: Tensor, count: int | None = None, lead: Sequence[int] = ()
) -> None:
    """Raises a ValueError unless the value is finite and >= 0, (count,) or (*lead, count)."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a tensor, got {value!r}")
    if count is not None and tuple(value.shape) not in {(count,), (*lead, count)}:
        raise ValueError(
            f"{name} must be ({count},), one a group, or {(*lead, count)}, got {tuple(value.shape)}"
        )
    if not ((value >= 0) & value.isfinite()).all():
        raise ValueError(f"{name} must be finite and >= 0, got {value.tolist()}")
