"""`key=value` words of the commands that need no Hydra."""

from __future__ import annotations

from bench.errors import UsageError
from bench.registry import unknown


def parse(words: list[str], defaults: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the plain words, and the values of all keys.

    Raises:
        UsageError: on a key that is not among the defaults.
    """
    plain, values = [], dict(defaults)
    for word in words:
        key, mark, value = word.partition("=")
        if not mark or "/" in key:
            plain.append(word)
        elif key not in defaults:
            raise UsageError(unknown("setting", key, list(defaults)))
        else:
            values[key] = value
    return plain, values


def integer(key: str, value: str, least: int = 1) -> int:
    """Return an integer.

    Raises:
        UsageError: if it is none, or below `least`.
    """
    if not value.isdecimal() or int(value) < least:
        raise UsageError(f"{key}={value}: valid are integers from {least}")
    return int(value)
