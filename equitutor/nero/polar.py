"""Polar curves: the score at every angle of the input."""

import math
from collections.abc import Mapping

import numpy as np
import torch

from equitutor import figures
from equitutor.nero.scale import Results, as_mapping, check_ax, floor_of, value_range, values_of


def plot_polar(
    results: Results,
    sample: int | None = None,
    label: str = "score",
    limit: float | None = None,
    band: bool = True,
    roles: Mapping[str, str] | None = None,
    ax=None,
):
    """Returns the polar axes with one curve for each model: the angle of the input, the score.

    The radius starts at zero, so that areas do not mislead. The band holds the middle half of the
    samples at each angle; it shows what the mean hides. A result with a floor, as `evaluate` makes
    with floor=True, gets a dark band: the scores are not known better than it is wide.

    Args:
        results: result on an `so2` orbit, or a dict name -> result of several models.
        sample: index of one sample; None draws the mean over samples.
        label: what the radius means.
        limit: largest radius, > 0; None takes the largest value drawn.
        band: draw the quartiles of the samples as a band (only for sample=None).
        roles: name -> key of `figures.COLORS`.
        ax: polar axes to draw on; None makes a figure.

    Raises ValueError for another kind of orbit, negative scores, an unknown role, a limit that
    is not positive, or axes that are not polar.

    >>> from equitutor.orbits import evaluate, so2
    >>> x, y = torch.rand(3, 1, 5, 5), torch.zeros(3, dtype=torch.long)
    >>> result = evaluate(lambda x: x[:, 0, 0], x, y, so2(8), "confidence")
    >>> plot_polar({"raw": result}).name
    'polar'
    """
    results = as_mapping(results, "circle")
    if ax is None:
        ax = figures.grid(1, height=3.4, width=4.2, subplot_kw={"projection": "polar"})[1][0, 0]
    check_ax("ax", ax, "polar")
    number = isinstance(limit, int | float) and not isinstance(limit, bool)
    if limit is not None and not (number and 0 < limit < math.inf):
        raise ValueError(f"limit must be a finite number > 0, got {limit!r}")
    if roles is not None and not isinstance(roles, Mapping):
        raise ValueError(f"roles must be a dict name -> key of figures.COLORS, got {roles!r}")
    if not all(role in list(figures.COLORS) for role in (roles or {}).values()):
        raise ValueError(f"roles must map to some of {list(figures.COLORS)}, got {roles}")
    colors = list(figures.COLORS.values())
    top, noted = 0.0, False
    for k, (name, result) in enumerate(results.items()):
        values = values_of(result, sample)
        lowest, highest = value_range(values)
        if lowest < 0:
            raise ValueError(f"results[{name!r}] must be >= 0 to be a radius, got {lowest}")
        angles = torch.deg2rad(result.orbit.params[:, 0]).numpy()
        closed = np.append(angles, angles[0] + 2 * np.pi)  # the curve closes; no angle counts twice
        color = figures.COLORS[roles[name]] if roles and name in roles else colors[k % len(colors)]
        close = lambda v: np.append(v.numpy(), v.numpy()[0])
        ax.plot(closed, close(values), color=color, lw=1.8, label=name)
        top = max(top, highest)
        floor = floor_of(result, sample)
        if floor is not None:
            low, high = (values - floor).clamp(min=0), values + floor
            ax.fill_between(closed, close(low), close(high), color=figures.COLORS["muted"],
                            alpha=0.5, lw=0, zorder=1.5,
                            label=None if noted else "the measurement itself")  # fmt: skip
            noted = True
            top = max(top, value_range(high)[1])
        if band and sample is None and result.scores.shape[1] > 1:
            scores = result.scores.detach().cpu().double()
            low, high = (torch.nanquantile(scores, q, 1) for q in (0.25, 0.75))
            ax.fill_between(closed, close(low), close(high), color=color, alpha=0.15, lw=0)
            top = max(top, value_range(high)[1])
    ax.set(ylim=(0, limit or top or 1), theta_zero_location="E", title=label)
    ax.set_thetagrids(range(0, 360, 45))
    # Else matplotlib 3.10 puts the title on the label at 90 degrees.
    ax.xaxis.set_label_position("top")
    if any(results) or noted:
        ax.legend(loc="lower left", bbox_to_anchor=(1.0, 0.0))
    return ax
