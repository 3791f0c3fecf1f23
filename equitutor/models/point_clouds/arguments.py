"""Checks of arguments that the networks for clouds share."""

from torch import Generator, Tensor


def check_clouds(points: Tensor) -> None:
    if (
        not isinstance(points, Tensor) or points.ndim != 3 or points.shape[-1] != 3
        or 0 in points.shape or not points.is_floating_point()
    ):  # fmt: skip
        found = (
            f"{points.dtype} {tuple(points.shape)}" if isinstance(points, Tensor) else type(points)
        )
        raise ValueError(f"points must be floating point clouds (B, N, 3), got {found}")


def check_count(name: str, value: int, least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an int >= {least}, got {value!r}")


def check_positive(name: str, value: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")


def check_generator(generator: Generator) -> None:
    if not isinstance(generator, Generator):  # None would draw from the global state
        raise ValueError(f"generator must be a torch.Generator, got {generator!r}")
