"""The one error that the user, not the program, can mend."""


class UsageError(ValueError):
    """Bad input: shown as one line, exit status 2, nothing written."""
