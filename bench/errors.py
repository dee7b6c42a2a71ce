"""Errors that are shown as one line: what is wrong is known, where it was noticed does not help."""


class UsageError(ValueError):
    """Bad input: shown as one line, exit status 2, nothing written."""


class NotFinite(ArithmeticError):  # noqa: N818
    """A number is NaN, infinite or beyond its bound."""


class LostError(Exception):
    """Another process has taken over what this one was writing."""
