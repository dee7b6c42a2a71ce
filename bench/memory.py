"""How this process keeps its memory."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's <malloc.h>
LARGE = 1 << 30  # bytes


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, for the next tensor of the same size.

    glibc hands large blocks back to the system at once, and every tensor between two layers then
    costs page faults: a sixth of an update of SAC. Elsewhere than on glibc this does nothing.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, LARGE)
