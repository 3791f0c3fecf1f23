"""Checks of arguments that several loaders share."""

from collections.abc import Collection


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise a ValueError that names the argument unless ``value`` is one of ``choices``.

    Example:
        >>> check_choice("split", "valid", ("train", "test"))
        Traceback (most recent call last):
        ValueError: split is 'valid', but has to be 'train' or 'test'
    """
    if value not in choices:
        *most, last = map(repr, choices)
        known = f"{', '.join(most)} or {last}" if most else last
        raise ValueError(f"{name} is {value!r}, but has to be {known}")


def check_count(name: str, value: int, least: int = 1) -> None:
    """Raise a ValueError that names the argument unless ``value`` is an int >= ``least``.

    Example:
        >>> check_count("n", 0)
        Traceback (most recent call last):
        ValueError: n is 0, but has to be an int of at least 1
    """
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is {value!r}, but has to be an int of at least {least}")
