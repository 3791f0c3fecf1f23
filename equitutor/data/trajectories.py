"""How people walk: real scenes seen from above, cut into windows of past and future."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equitutor.checks import check_choice, check_count
from equitutor.data.cache import fetch
from equitutor.data.errors import FormatError

FILES = {
    "zara01": "crowds_zara01.txt",
    "zara02": "crowds_zara02.txt",
    "students003": "students003.txt",
}
RATE = 2.5  # positions a second in these files
STEP = 10  # frames from one position to the next


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Windows of walks: what was seen, what came then.

    All positions are relative to the last one seen, so a translation of the scene changes nothing,
    and no future position has a part in `x`.

    Args:
        x: float32 ``(N, past - 1, 2)``, the steps between the positions seen, metres.
        y: float32 ``(N, future, 2)``, the positions that followed, metres.
        last: float32 ``(N, 2)``, the last position seen, in the scene's coordinates, metres.
        person: int64 ``(N,)``, who walks. Windows of one person overlap: few are independent.
        name: the scene.
    """

    x: Tensor = field(repr=False)
    y: Tensor = field(repr=False)
    last: Tensor = field(repr=False)
    person: Tensor = field(repr=False)
    name: str

    def __len__(self) -> int:
        return len(self.x)


def trajectories(scene: str, past: int = 8, future: int = 12) -> Trajectories:
    """Returns all windows of one UCY scene, people seen from above, 2.5 positions a second.

    Use whole scenes for training and for testing: windows overlap, so a split by window would
    test on what was trained on.

    Args:
        scene: ``"zara01"`` and ``"zara02"`` (a street, one camera), or ``"students003"`` (a crowded
            square).
        past: positions seen, at least 2. future: positions to forecast.

    Raises:
        ValueError: an argument outside these ranges.
        DataError: the file can't be had or is broken.

    Source: A. Lerner, Y. Chrysanthou, D. Lischinski, Crowds by Example, 2007.

    Example:
        >>> trajectories("zara01").y.shape  # doctest: +SKIP
        torch.Size([2356, 12, 2])
        >>> trajectories("hotel")
        Traceback (most recent call last):
        ValueError: scene is 'hotel', but has to be 'zara01', 'zara02' or 'students003'
    """
    check_choice("scene", scene, FILES)
    paths, person = windows(read_walks(fetch(f"eth_ucy/{FILES[scene]}")), past, future)
    x, y, last = (part.float() for part in past_and_future(paths, past))
    return Trajectories(x, y, last, person, scene)


def read_walks(path: Path) -> np.ndarray:
    """Returns the rows of a file of walks, float64 ``(N, 4)``: frame, person, x, y in metres.

    Raises:
        FormatError: no rows, a row that is not four finite numbers, a frame or person that is no
            whole number, or a person in two places at once.

    Source: the files of the Trajectron++ repository, whose rows hold this.
    """
    try:
        with path.open(encoding="utf-8") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of no rows; that is said below
            rows = np.loadtxt(stream, dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise FormatError(f"{path} is not a table of numbers: {error}") from error
    if rows.ndim != 2 or rows.shape[1:] != (4,) or not len(rows) or not np.isfinite(rows).all():
        raise FormatError(f"{path} has the shape {rows.shape}, expected finite numbers (N, 4)")
    if (rows[:, :2] != rows[:, :2].round()).any():
        raise FormatError(f"{path} has a frame or a person that is no whole number")
    if len(np.unique(rows[:, :2], axis=0)) < len(rows):
        raise FormatError(f"{path} has a person in two places in one frame")
    return rows


def windows(
    rows: np.ndarray, past: int = 8, future: int = 12, step: int = STEP
) -> tuple[Tensor, Tensor]:
    """Returns every stretch of past + future positions in a row, and who walked it.

    Args:
        rows: ``(N, 4)`` as `read_walks` gives them, in any order.
        past: at least 2. future: at least 1.
        step: frames from one position to the next, at least 1.

    Returns:
        paths float64 ``(M, past + future, 2)``, metres, sorted by person and time, and the
        persons int64 ``(M,)``. A stretch never jumps over a missing frame. Steps of a walk are
        centimeters, and a scene may lie kilometers from its origin, as in coordinates of a map: so
        take the differences (`past_and_future`) before you round to float32.

    Raises:
        ValueError: an argument outside these ranges, or positions that are not `step` frames apart.

    Example:
        >>> rows = np.array([[10.0 * k, 1, k, 0] for k in range(5)])
        >>> windows(rows, past=2, future=2)[0][1, :, 0].tolist()
        [1.0, 2.0, 3.0, 4.0]
    """
    check_count("past", past, least=2)
    check_count("future", future)
    check_count("step", step)
    length = past + future
    rows = rows[np.lexsort((rows[:, 0], rows[:, 1]))]  # by person, then by time
    # A window is whole when no gap lies inside it, and it ends with the person it began with.
    first, last = rows[: max(0, len(rows) - length + 1)], rows[length - 1 :]
    frames = np.diff(rows[:, 0])
    apart = np.unique(frames[np.diff(rows[:, 1]) == 0])  # of one person, the smallest first
    if len(apart) and (apart[0] != step or (apart % step).any()):
        other = apart[0] if apart[0] != step else apart[(apart % step) > 0][0]
        raise ValueError(
            f"step is {step}, but rows has positions of one person {other:g} frames apart: give "
            "the step of the file, or leave out the frames between"
        )
    jumps = np.concatenate([[0], np.cumsum(frames != step)])
    whole = (first[:, 1] == last[:, 1]) & (jumps[length - 1 :] == jumps[: len(first)])
    starts = np.flatnonzero(whole)
    paths = rows[starts[:, None] + np.arange(length), 2:]  # (M, length, 2)
    return (
        torch.from_numpy(paths),
        torch.from_numpy(rows[starts, 1].astype(np.int64)),
    )


def past_and_future(paths: Tensor, past: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what a forecaster may see, what it has to forecast, and the last position seen.

    Args:
        paths: ``(N, past + future, 2)``, metres.
        past: positions seen, at least 2.

    Returns:
        steps of the past ``(N, past - 1, 2)``, future positions ``(N, future, 2)`` relative to the
        last one seen, and that one ``(N, 2)``. Only the second depends on the future.

    Raises:
        ValueError: an argument outside these ranges.

    Example:
        >>> x, y, last = past_and_future(torch.arange(8.0).view(1, 4, 2), past=2)
        >>> x.tolist(), y.tolist(), last.tolist()
        ([[[2.0, 2.0]]], [[[2.0, 2.0], [4.0, 4.0]]], [[2.0, 3.0]])
    """
    check_count("past", past, least=2)
    if paths.ndim != 3 or paths.shape[2] != 2 or paths.shape[1] <= past:
        raise ValueError(
            f"paths has the shape {tuple(paths.shape)}, but has to be (N, more than {past}, 2)"
        )
    last = paths[:, past - 1]
    return paths[:, :past].diff(dim=1), paths[:, past:] - last[:, None], last


def constant_velocity(x: Tensor, future: int = 12) -> Tensor:
    """Returns the forecast that everybody goes on as in the last step: ``(N, future, 2)``.

    Args:
        x: steps of the past ``(N, past - 1, 2)``.
        future: positions to forecast.

    Example:
        >>> constant_velocity(torch.tensor([[[5.0, 5.0], [1.0, 0.0]]]), 3)[0, :, 0]
        tensor([1., 2., 3.])
    """
    check_count("future", future)
    _check_paths("x", x)
    return x[:, -1:] * torch.arange(1, future + 1, device=x.device)[:, None]


def displacement_errors(forecast: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distance to the truth, averaged over a path (ADE), and at its end (FDE), metres.

    Args:
        forecast, y: positions ``(N, future, 2)``, metres.

    Returns:
        two tensors ``(N,)``; their means are the figures that papers report.

    Example:
        >>> displacement_errors(torch.zeros(1, 2, 2), torch.tensor([[[0.0, 1.0], [3.0, 4.0]]]))
        (tensor([3.]), tensor([5.]))
    """
    _check_paths("forecast", forecast)
    if forecast.shape != y.shape:
        raise ValueError(
            f"y has the shape {tuple(y.shape)}, but has to be that of the forecast, "
            f"{tuple(forecast.shape)}"
        )
    distance = (forecast - y).norm(dim=-1)  # (N, future)
    return distance.mean(1), distance[:, -1]


def street(
    n: int, past: int = 8, future: int = 12, breaking: float = 1.0, seed: int = 0
) -> Trajectories:
    """Returns generated walks along a street, for a machine without a network.

    People walk along x in both directions, avoid the middle of the street, and drift to its sides
    at random. Mirroring x is an exact symmetry of this law. Mirroring y is one only for
    ``breaking`` 0: else everybody drifts towards positive y, as to a row of shops. Turning the
    scene never is one: people slow down and turn along the street only.

    Args:
        n: number of walks, each by another person.
        past: positions seen, at least 2. future: positions to forecast.
        breaking: how strongly the shops attract, 0 and more.
        seed: an int >= 0.

    Raises:
        ValueError: an argument outside these ranges.

    Example:
        >>> street(50).y.shape
        torch.Size([50, 12, 2])
    """
    check_count("n", n)
    check_count("past", past, least=2)
    check_count("future", future)
    check_count("seed", seed, least=0)
    if isinstance(breaking, bool) or not 0 <= breaking < float("inf"):
        raise ValueError(f"breaking is {breaking!r}, but has to be a finite number >= 0")
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    way = 2.0 * torch.randint(2, (n,), generator=generator) - 1
    speed = 0.45 + 0.1 * normal(n)  # metres in 0.4 s
    velocity = torch.stack([way * speed, 0.12 * normal(n)], 1)
    position = torch.stack([6 * normal(n), 2 * normal(n)], 1)
    path = [position]
    for _ in range(past + future - 1):
        goal = torch.stack([way * speed, torch.full((n,), 0.06 * breaking)], 1)
        velocity = velocity + 0.15 * (goal - velocity) + 0.02 * normal(n, 2)
        position = position + velocity
        path.append(position)
    x, y, last = past_and_future(torch.stack(path, 1), past)
    return Trajectories(x, y, last, torch.arange(n), "street")


def _check_paths(name: str, value: Tensor) -> None:
    if value.ndim != 3 or value.shape[2] != 2 or not value.shape[1]:
        raise ValueError(f"{name} has the shape {tuple(value.shape)}, but has to be (N, T, 2)")
