"""Where the runs of a sweep go: Hydra's launchers, and the GPU of each run."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins

from bench.errors import UsageError
from hydra_plugins.multimodal_rl_bench import RayLauncher

fcntl: Any
try:
    import fcntl
except ImportError:  # no such locks on this system: runs share the first GPU
    fcntl = None

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


def gpus(environ: Mapping[str, str], number: int) -> list[str]:
    """Return the names of the GPUs that are to be seen, of which there are `number`."""
    named = [one.strip() for one in environ.get(VISIBLE, "").split(",") if one.strip()]
    return named[:number] or [str(index) for index in range(number)]


def held_gpu(names: list[str], folder: Path) -> tuple[str, int]:
    """Take of some GPUs the one that the fewest runs of this host have.

    Returns:
        Its name and an open file: it is taken for as long as a process has this file open, however
        that process ends, and whatever its launcher calls it.

    Raises:
        OSError: if the folder, in which a file stands for every place on a GPU, cannot be written.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    for place in count():
        for name in names:
            path = folder / f"gpu-{name.replace('/', '_')}-{place}"
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return name, file
            except OSError as error:
                os.close(file)
                if error.errno not in (errno.EAGAIN, errno.EACCES):  # else another run has it
                    raise
    raise AssertionError("there is always one more place")


@contextmanager
def own_device(device: str) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
    """Give a run that is started within a GPU of its own, where there are several.

    Yields the variable by which it sees that GPU alone and the files that it must inherit, by which
    it holds it; neither where `device` names a GPU, or there is but one.
    """
    import torch

    wanted = device in ("auto", "cuda") and fcntl is not None
    names = gpus(os.environ, torch.cuda.device_count()) if wanted else []
    file = None
    if len(names) > 1:
        with suppress(OSError):  # then runs share the first
            name, file = held_gpu(names, Path(tempfile.gettempdir()) / f"bench-{os.getuid()}")
    if file is None:
        yield {}, ()
        return
    try:
        yield {VISIBLE: name}, (file,)
    finally:
        os.close(file)
