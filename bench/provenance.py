"""Where a run comes from: versions, revision, hardware, time and settings."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

import bench
from bench.configuration import as_dict
from bench.settings import Settings, binding


def digest(settings: Settings, computed: list[dict[str, Any]]) -> str:
    """Return a short fingerprint of all that a user chooses and that can change results.

    How torch sums depends on its threads and on the kind of device. A run may go on with others, so
    they are no settings of it; what it was computed with, one after the other, is part of this.

    Args:
        settings: of the run.
        computed: `device` (cpu or cuda) and `torch_threads` of each part.
    """
    kept = binding(as_dict(settings))
    kept["computed"] = computed
    return hashlib.sha256(yaml.safe_dump(kept).encode()).hexdigest()[:12]


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")  # noqa: UP017


def versions() -> dict[str, str]:
    """Return the versions that results may depend on."""
    packages = ("torch", "mujoco", "gymnasium", "numpy")
    found = {name: version(name) for name in packages}
    return {"python": platform.python_version(), **found, "bench": bench.__version__}


def git_revision() -> str | None:
    """Return the revision of this package's source, with `+` if it was changed, or None."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def hardware(device: str) -> dict[str, Any]:
    """Return what the run computes on."""
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {"machine": platform.machine(), "cpu": cpu(), "cores": os.cpu_count(), "gpu": gpu}


def cpu() -> str | None:
    """Return the processor's model, or None where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None
