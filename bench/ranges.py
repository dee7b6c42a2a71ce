"""Which numbers a setting may have."""

from __future__ import annotations

import re
from typing import Any

INTERVAL = re.compile(r"([\[(])(\S+), (\S+)([\])])")


def require(config: Any, interval: str, *names: str, prefix: str = "") -> None:
    """Check that settings lie in an interval, such as "[0, 1)" or "[1, inf)".

    All numbers of a tuple do; None need not. NaN lies in no interval.

    Args:
        config: dataclass of the settings.
        interval: with a square bracket at an end that belongs to it.
        names: of the settings.
        prefix: what the command line puts before their names.

    Raises:
        ValueError: naming the setting, its value and the valid ones.
    """
    parts = INTERVAL.fullmatch(interval)
    assert parts is not None, interval
    low, high = float(parts[2]), float(parts[3])
    for name in names:
        value = getattr(config, name)
        for number in value if isinstance(value, tuple | list) else (value,):
            if number is None:
                continue
            above = low <= number if parts[1] == "[" else low < number
            below = number <= high if parts[4] == "]" else number < high
            if not (above and below):
                raise ValueError(f"{prefix}{name}={value}: valid are {described(*parts.groups())}")


def described(left: str, low: str, high: str, right: str) -> str:
    """Return an interval in words."""
    if high != "inf":
        return f"numbers in {left}{low}, {high}{right}"
    if low == "-inf":
        return "finite numbers"
    if left == "(":
        return f"numbers above {low}"
    return f"{'numbers' if low == '0' else 'integers'} from {low}"
