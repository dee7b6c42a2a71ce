"""`key=value` words: of the commands that need no Hydra, and as Hydra writes values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.registry import unknown
from bench.settings import MAX_SEED

DIGITS = 100  # Python reads a few thousand at most
MOST = 2**63 - 1  # what 64 bits hold


def parse(words: list[str], defaults: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the plain words, and the values of all keys.

    Raises:
        UsageError: on a key that is not among the defaults.
    """
    plain, values = [], dict(defaults)
    for word in words:
        key, mark, value = word.partition("=")
        if not mark or "/" in key or (word.endswith("/") and Path(word).is_dir()):
            plain.append(word)
        elif key not in defaults:
            raise UsageError(unknown("setting", key, list(defaults)))
        else:
            values[key] = value
    return plain, values


def one_run(command: str, plain: list[str]) -> str:
    """Return the one folder among the plain words of a command on a run.

    Raises:
        UsageError: if there is none, or several.
    """
    if len(plain) != 1:
        raise UsageError(f"{command} needs one run directory, as in ./seed=0")
    return plain[0]


def integer(key: str, value: str, least: int = 1, most: int = MOST) -> int:
    """Return an integer.

    Raises:
        UsageError: if it is none, below `least` or above `most`.
    """
    if value.isdecimal() and len(value) <= DIGITS and least <= int(value) <= most:
        return int(value)
    end = f" to {most}" if most != MOST or len(value) >= len(str(MOST)) else ""
    raise UsageError(f"{key}={value}: valid are integers from {least}{end}")


def fraction(key: str, value: str) -> float:
    """Return the number in [0, 1] that a word gives.

    Raises:
        UsageError: if it is none.
    """
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not 0 <= found <= 1:  # NaN is not
        raise UsageError(f"{key}={value}: valid are numbers from 0 to 1")
    return found


def seed_of(value: str) -> int:
    """Return what `seed=` says.

    Raises:
        UsageError: if it is none of the seeds that a run may have.
    """
    return integer("seed", value, 0, MAX_SEED)


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
