"""The report of a diagnosis: fields for code, and a table for people."""

from __future__ import annotations

from dataclasses import dataclass, field

from equitutor.diagnose.repairs import Suspect

SHOWN = 8  # layers at the top of a table; those around the finding are shown anyway


@dataclass(frozen=True)
class LayerReport:
    """What was found at the inputs or the outputs of one call of one layer.

    Attributes:
        name: name of the layer, as in `model.named_modules()`.
        kind: class of the layer.
        side: "in" or "out".
        action: how the feature moves, in words.
        error: what the best action leaves over, relative to the variation of the feature.
        verdict: "fits", "constant", "unknown", or "not deterministic".
    """

    name: str
    kind: str
    side: str
    action: str
    error: float
    verdict: str


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found; print it to read it.

    Attributes:
        verdict: "equivariant"; "lost"; "not deterministic"; "other action": the output does move
            by a rule, only not by the one that the orbit states; or "says nothing": the output is
            constant, or does not see what a faulty layer makes, so that nothing is shown.
        layer: name of the layer to look at, or None.
        where: the finding in one sentence.
        hint: what usually helps, or "".
        error: largest error of the output, relative to how much it varies over the samples.
        layers: one `LayerReport` for each side of each call, in the order of execution.
        at: index of the finding in `layers`, or None.
        settings: elements, samples, tolerance and precision of the check, in words.
        floor: what going there and back changes in the output, in the units of `error`: the error
            of the measurement itself; None where the orbit has no `inv_x`.
        suspects: the layers that are not equivariant by themselves, those behind the first loss
            too, where the output is off; not for images that turn. With repairs, by their gain.
    """

    verdict: str
    layer: str | None
    where: str
    hint: str
    error: float
    layers: list[LayerReport] = field(repr=False)
    at: int | None = None
    settings: str = ""
    floor: float | None = None
    suspects: list[Suspect] = field(default_factory=list, repr=False)

    def __bool__(self) -> bool:
        return self.verdict == "equivariant"

    def __str__(self) -> str:
        at = None if self.at is None else self.layers[self.at]
        rows = [r for r in self.layers if r.side == "out" or r is at]
        here = len(rows) if at is None else next(k for k, r in enumerate(rows) if r is at)
        shown = [*range(min(SHOWN, here)), *range(here - 3, here + 3), len(rows) - 1]
        shown = sorted({k for k in shown if 0 <= k < len(rows)})
        lines = [self.where, *([f"Try: {self.hint}."] if self.hint else []), self.settings, ""]
        width = max([len(rows[k].name) for k in shown] + [5])
        kinds = max([len(rows[k].kind) for k in shown] + [4])
        lines.append(f"  {'layer':{width}}  {'kind':{kinds}}  {'error':>7}  how its output moves")
        for before, k in zip([-1, *shown], shown, strict=False):
            if k > before + 1:
                lines.append(f"  ... {k - before - 1} more")
            r = rows[k]
            mark, side = "> "[r is not at], "input: " if r.side == "in" else ""
            lines.append(f"{mark} {r.name:{width}}  {r.kind:{kinds}}  {r.error:7.0e}  "
                         f"{side}{r.action}")  # fmt: skip
        if self.suspects:
            count = len(self.suspects)
            who = "1 layer is" if count == 1 else f"{count} layers are"
            lines += ["", f"By themselves, {who} not equivariant:"]
            lines += [f"  {suspect}" for suspect in self.suspects[:SHOWN]]
            more = len(self.suspects) - SHOWN
            lines += [f"  ... {more} more"] if more > 0 else []
        return "\n".join(lines)
