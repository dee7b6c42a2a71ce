"""One thread per test process: threads of processes side by side only wait for each other."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; subprocesses inherit it

import bench  # noqa: F401  says what mujoco draws with, before it is first imported
