"""Errors that are shown as one line: what is wrong is known, where it was noticed does not help."""

import traceback
from pathlib import Path


class UsageError(ValueError):
    """Bad input: shown as one line, exit status 2, nothing written."""


class NotFinite(ArithmeticError):  # noqa: N818
    """A number is NaN, infinite or beyond its bound."""


class LostError(Exception):
    """Another process has taken over what this one was writing."""


def described(error: BaseException) -> str:
    """Return another error in one line: its type, its message and the place that raised it."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = " ".join(f"{type(error).__name__}: {message}".split())
    return f"{text} ({Path(where.filename).name}:{where.lineno})"
