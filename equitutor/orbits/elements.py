"""The orbits of the book: circles of angles, grids of shifts, finite groups, rotations of space."""

from collections.abc import Sequence

import torch
from torch import Tensor

from equitutor import actions, groups
from equitutor.actions import check_rotation
from equitutor.checks import check_count
from equitutor.orbits.orbit import Action, Orbit, leave
from equitutor.rotations import rotation_matrix
from equitutor.runtime import widest, working


def _image_output(output: str, act: Action, inverse: Action) -> tuple[Action, Action]:
    if output not in ("invariant", "image"):
        raise ValueError(f"output must be 'invariant' or 'image', got {output!r}")
    return (leave, leave) if output == "invariant" else (act, inverse)


def so2(
    n: int,
    resampler: str = "bilinear",
    output: str = "invariant",
    fill: float | Sequence[float] | str = 0.0,
    mask: str | None = None,
    output_fill: float | Sequence[float] | str | None = None,
) -> Orbit:
    """Returns the orbit of images (B, C, H, W) under `n` equally spaced turns.

    The grid is half open, 0 <= angle < 360 degrees, so no angle counts twice.

    Args:
        n: number of angles, >= 1.
        resampler: "nearest", "bilinear" or "bicubic"; the identity goes through it, too, so that
            it does not stand out for being sharper.
        output: "invariant" (classes) or "image" (the output turns with the input).
        fill: what comes in at the corners: a number, one a channel, "edge" or "reflect". The
            default 0 is black for values in [0, 1], but not for images that were normalized:
            give (0 - mean) / std there, or the corners count as an error of the model.
        mask: "disc" hides what lies outside the largest disc, at every angle alike; None: nothing.
        output_fill: the same as `fill` for outputs that are images, which have values of their own
            and are not masked: a denoiser of normalized images needs theirs. None takes the name
            given as `fill`, or 0.

    >>> so2(8).params[:, 0].tolist()
    [0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0]
    """
    check_count("n", n)
    check_rotation(resampler, fill, mask)
    if output_fill is None:
        output_fill = fill if isinstance(fill, str) else 0.0
    check_rotation(resampler, output_fill, None)
    angles = [360 * i / n for i in range(n)]

    def turning(sign: int, **options) -> Action:
        def turn(x: Tensor, i: int) -> Tensor:
            _channels_first(x)
            return actions.rotate_images(x, sign * angles[i], resampler, **options)

        return turn

    of_x = dict(fill=fill, mask=mask)
    of_y = dict(fill=output_fill)
    act_y, inv_y = _image_output(output, turning(1, **of_y), turning(-1, **of_y))
    return Orbit(f"SO(2), {n} angles", _column(angles), turning(1, **of_x), act_y, inv_y,
                 kind="circle", coords=("angle (degrees)",), inv_x=turning(-1, **of_x),
                 extra={"resampler": resampler, "output": output, **of_x,
                        "output_fill": output_fill})  # fmt: skip


def _channels_first(x: Tensor) -> None:
    shape = tuple(x.shape)
    if len(shape) == 4 and shape[1] == shape[2] > 4 and shape[3] in (1, 3, 4):
        raise ValueError(f"x must be images (B, C, H, W), got {shape} with its channels last: "
                         "use x.permute(0, 3, 1, 2)")  # fmt: skip


def _column(numbers: list[float]) -> Tensor:
    return torch.tensor(numbers, dtype=widest())[:, None]


def shifts(height: int, width: int, step: int = 1, output: str = "invariant") -> Orbit:
    """Returns the orbit of images (B, C, height, width) under circular shifts.

    Args:
        height, width: size of the torus in pixels.
        step: distance of neighboring shifts in pixels; must divide both, so that the sample is a
            group again.
        output: "invariant" (classes) or "image" (the output moves with the input).

    >>> orbit = shifts(4, 6, step=2)
    >>> len(orbit), orbit.params[1].tolist()
    (6, [0.0, 2.0])
    """
    for name, value in (("height", height), ("width", width), ("step", step)):
        check_count(name, value)
    if height % step or width % step:
        raise ValueError(f"step must divide height {height} and width {width}, got {step}")
    rows, columns = torch.arange(0, height, step), torch.arange(0, width, step)
    params = torch.cartesian_prod(rows, columns)  # (G, 2), row-major
    steps = params.tolist()

    def move(x: Tensor, i: int) -> Tensor:
        _same_torus(x, height, width)
        return actions.roll_images(x, *steps[i])

    def move_back(x: Tensor, i: int) -> Tensor:
        return actions.roll_images(x, *(-step for step in steps[i]))

    act_y, inv_y = _image_output(output, move, move_back)
    return Orbit(f"shifts of {height} x {width}, step {step}", params, move, act_y, inv_y,
                 kind="grid2d", coords=("down (px)", "right (px)"),
                 extra={"shape": (len(rows), len(columns))}, inv_x=move_back)  # fmt: skip


def _same_torus(x: Tensor, height: int, width: int) -> None:
    if tuple(x.shape[-2:]) != (height, width):
        raise ValueError(
            f"x must be images of {height} x {width} pixels, as the orbit was made for, "
            f"got {tuple(x.shape[-2:])}"
        )


def finite(
    group: groups.FiniteGroup, act_x: Action, act_y: Action = leave, inv_y: Action | None = None
) -> Orbit:
    """Returns the orbit under all elements of a finite group.

    Args:
        group: the group; element i is `group.elements[i]`.
        act_x, act_y: functions (data, i) of the element's index.
        inv_y: inverse of `act_y`; by default `act_y` of the inverse element.

    >>> orbit = finite(groups.cyclic(4), lambda x, i: torch.rot90(x, i, (-2, -1)))
    >>> len(orbit), orbit.kind
    (4, 'finite')
    """
    if not isinstance(group, groups.FiniteGroup):
        raise ValueError(f"group must be a FiniteGroup, got {type(group).__name__}")
    inverse = group.inv.tolist()
    if inv_y is None:
        inv_y = leave if act_y is leave else (lambda y, i: act_y(y, inverse[i]))
    return Orbit(group.name, torch.arange(group.order)[:, None], act_x, act_y, inv_y,
                 kind="finite", coords=("element",), identity=group.identity,
                 extra={"group": group}, inv_x=lambda x, i: act_x(x, inverse[i]))  # fmt: skip


def d4_time() -> Orbit:
    """Returns the 16 elements of D4 x time reversal, acting on frame pairs and their flow.

    Inputs are pairs (B, 2, H, W) of square frames, outputs flow fields (B, 2, H, W) in pixels
    with channels right and down. Element i turns and mirrors by D4's element i // 2; odd i also
    swap the frames and negate the field.

    Source: the particle image velocimetry case of NERO (Zhao et al. 2023).

    >>> len(d4_time())
    16
    """
    group = groups.direct_product(groups.dihedral(4), groups.cyclic(2))
    space = groups.dihedral(4)

    def act_pair(x: Tensor, i: int) -> Tensor:
        x = actions.transform_scalar(x, space.elements[i // 2])
        return x.flip(1) if i % 2 else x

    def act_flow(u: Tensor, i: int) -> Tensor:
        u = actions.transform_flow(u, space.elements[i // 2])
        return -u if i % 2 else u

    return finite(group, act_pair, act_flow)


def _rotations(name: str, params, matrices: Tensor, coords, identity, output: str, **kwargs):
    if output not in ("invariant", "points"):
        raise ValueError(f"output must be 'invariant' or 'points', got {output!r}")

    rows = matrices.tolist()  # numbers: a device without float64 takes them, too

    def matrix(p: Tensor, i: int) -> Tensor:
        return torch.tensor(rows[i], dtype=working(p.dtype), device=p.device)

    def turn(p: Tensor, i: int) -> Tensor:
        return actions.rotate_points(p, matrix(p, i))

    def turn_back(p: Tensor, i: int) -> Tensor:
        return actions.rotate_points(p, matrix(p, i).T)

    act_y, inv_y = (leave, leave) if output == "invariant" else (turn, turn_back)
    return Orbit(name, params, turn, act_y, inv_y, coords=coords, identity=identity,
                 extra={"matrices": matrices}, inv_x=turn_back, **kwargs)  # fmt: skip


def so3_disk(
    planes: tuple[str, ...] = ("xy", "xz", "yz"),
    n_axis: int = 12,
    n_angle: int = 7,
    output: str = "invariant",
) -> Orbit:
    """Returns turns of point clouds (B, N, 3) about axes in given planes: one disk a plane.

    A disk's direction is the axis, its radius the angle from 0 to 180 degrees. All axes coincide
    at angle zero, so the weights follow the Haar density (1 - cos angle) of the angle. Those at
    180 degrees are halved: there the range of angles ends, and an axis and its opposite give the
    same turn. With n_angle >= 3 the weighted mean of cos(angle) is then -1/2, as for Haar's
    measure. A disk still is no sample of SO(3): print a `so3_haar` number beside it.

    Args:
        planes: any of "xy", "xz", "yz".
        n_axis: axes in each plane, half open over 360 degrees, >= 1.
        n_angle: angles from 0 to 180 degrees, ends included, >= 2.
        output: "invariant" or "points" (the output turns with the input).

    Source: the point cloud case of NERO (Zhao et al. 2023); the weights are ours.

    >>> so3_disk(("xy",), 4, 3).params.shape
    torch.Size([12, 3])
    """
    check_count("n_axis", n_axis)
    check_count("n_angle", n_angle, 2)
    if not planes or any(p not in ("xy", "xz", "yz") for p in planes):
        raise ValueError(f"planes must be some of 'xy', 'xz', 'yz', got {planes!r}")
    plane, direction, angle = (
        grid.flatten()
        for grid in torch.meshgrid(
            torch.arange(len(planes), dtype=widest()),
            torch.arange(n_axis, dtype=widest()) * 360 / n_axis,
            torch.linspace(0, 180, n_angle, dtype=widest()),
            indexing="ij",
        )
    )
    phi = torch.deg2rad(direction)
    axis = torch.zeros(len(phi), 3, dtype=phi.dtype)
    for k, p in enumerate(planes):
        mine = plane == k
        axis[mine, "xyz".index(p[0])] = phi[mine].cos()
        axis[mine, "xyz".index(p[1])] = phi[mine].sin()
    matrices = rotation_matrix(axis, torch.deg2rad(angle))
    return _rotations(
        f"SO(3) disks {', '.join(planes)}", torch.stack([plane, direction, angle], 1), matrices,
        ("plane", "axis (degrees)", "angle (degrees)"), 0, output, kind="disk",
        weights=(1 - torch.deg2rad(angle).cos()) * torch.where(angle == 180, 0.5, 1.0),
    )  # fmt: skip


def so3_haar(n: int, seed: int = 0, output: str = "invariant") -> Orbit:
    """Returns `n` turns of point clouds (B, N, 3), drawn evenly (by Haar measure) from SO(3).

    Args:
        n: number of rotations, >= 1.
        seed: seed of the draw.
        output: "invariant" or "points" (the output turns with the input).

    >>> so3_haar(5).params.shape
    torch.Size([5, 9])
    """
    check_count("n", n)
    check_count("seed", seed, 0)
    matrices = groups.haar_so3(n, torch.Generator().manual_seed(seed))
    coords = tuple(f"R{i}{j}" for i in range(3) for j in range(3))
    return _rotations(f"SO(3), {n} Haar samples", matrices.flatten(1), matrices, coords, None,
                      output, kind="points")  # fmt: skip
