"""Which policy classes find, keep and control several ways of solving a task."""

from __future__ import annotations

import os
import sys
from typing import Any

__version__ = "0.1.0"

if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is first imported

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
