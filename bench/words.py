"""`key=value` words: of the commands that need no Hydra, and as Hydra writes values."""

from __future__ import annotations

from typing import Any

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


def literal(value: Any) -> str:
    """Return a value as Hydra's grammar writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value)
    ending = len(text) - len(text.rstrip("\\"))  # a quote after an odd number of these is escaped
    return "'" + (text + "\\" * ending).replace("'", "\\'") + "'"
