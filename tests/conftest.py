"""One thread per test process: threads of processes side by side only wait for each other."""

import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; subprocesses inherit it
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # before mujoco is first imported
