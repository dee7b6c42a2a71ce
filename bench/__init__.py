"""Which policy classes find, keep and control several ways of solving a task."""

__version__ = "0.1.0"
