"""Which policy classes find, keep and control several ways of solving a task."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

__version__ = "0.1.0"


def _there(library: str) -> bool:
    """Return whether the system has a library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


if sys.platform == "linux" and not (os.environ.get("DISPLAY") or "MUJOCO_GL" in os.environ):
    # read when mujoco is first imported, which fails if it is to draw and has nothing to draw with
    draws = _there("libEGL.so.1") and (_there("libOpenGL.so.0") or _there("libGL.so.1"))
    os.environ["MUJOCO_GL"] = "egl" if draws else "disable"

_LAZY = {  # name: module that has it; nothing heavy is imported before it is used
    "run": "bench.library",
    "make_task": "bench.tasks",
    "make_env": "bench.tasks",
    "load_policy": "bench.policy",
    "load_results": "bench.analysis.load",
}
__all__ = [*_LAZY, "__version__"]


def __getattr__(name: str) -> Any:
    """Import `bench.make_task` and its like at first use."""
    import importlib

    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
