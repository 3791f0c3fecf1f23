"""Numbers in files written as text, as strictly as other programs read them."""

import re


def number(word: str) -> float:
    """Returns the number that a word is; NaN and infinity, too.

    Raises a ValueError where it is none, nor for other programs: Python alone knows 1_000.

    Example:
        >>> number("-1.5e3")
        -1500.0
    """
    if "_" in word:
        raise ValueError(f"could not convert string to float: {word[:40]!r}")
    return float(word)


def whole(word: str) -> int:
    """Returns the whole number that a word is, of at most 18 digits.

    Example:
        >>> whole("1e3")
        Traceback (most recent call last):
        ValueError: '1e3' is no whole number of up to 18 digits
    """
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", word):
        raise ValueError(f"{word[:40]!r} is no whole number of up to 18 digits")
    return int(word)
