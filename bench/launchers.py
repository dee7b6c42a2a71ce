"""Where the runs of a sweep go: Hydra's launchers, and the GPU of each run."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec

from hydra.core.plugins import Plugins

from bench.errors import UsageError
from hydra_plugins.multimodal_rl_bench import RayLauncher

EXTRAS = {"ray": "ray", "submitit_local": "slurm", "submitit_slurm": "slurm"}
PACKAGES = {"ray": "ray", "slurm": "hydra_plugins.hydra_submitit_launcher"}
VISIBLE = "CUDA_VISIBLE_DEVICES"

Plugins.instance().register(RayLauncher)


def launcher_of(words: Iterable[str]) -> str:
    """Return the launcher that words choose."""
    chosen = [word.partition("=")[2] for word in words if word.startswith("hydra/launcher=")]
    return chosen[-1] if chosen else "joblib"


def check_installed(launcher: str) -> None:
    """Check that what a launcher needs is there.

    Raises:
        UsageError: naming what to install.
    """
    extra = EXTRAS.get(launcher)
    if extra and find_spec(PACKAGES[extra]) is None:
        raise UsageError(f"hydra/launcher={launcher}: pip install multimodal-rl-bench[{extra}]")


def own_device(device: str, environ: Mapping[str, str], count: int, worker: str) -> dict[str, str]:
    """Return the variable by which a worker's runs see one GPU alone, {} where nothing changes.

    Args:
        device: the setting; one that names a GPU stays.
        environ: the environment; of GPUs that it names, only these are shared out.
        count: GPUs of this machine that are to be seen.
        worker: name of a process; the joblib launcher numbers its workers, as in `LokyProcess-3`.
    """
    number = re.search(r"-(\d+)$", worker)
    if number is None or device not in ("auto", "cuda") or count < 2:
        return {}
    named = [one.strip() for one in environ.get(VISIBLE, "").split(",") if one.strip()]
    seen = named[:count] or [str(index) for index in range(count)]
    return {VISIBLE: seen[(int(number[1]) - 1) % len(seen)]}


def device_here(device: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return `own_device` of this process, {} for a process that no launcher numbers."""
    import torch

    if multiprocessing.parent_process() is None:
        return {}
    worker = multiprocessing.current_process().name
    return own_device(device, environ, torch.cuda.device_count(), worker)
