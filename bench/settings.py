"""The settings that every run has, and the checks that types cannot make."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from omegaconf import MISSING

from bench.errors import UsageError

MAX_SEED = 2**32 - 1  # the largest that NumPy's, Gymnasium's and other libraries' seeds share
MOST = 2**31 - 1  # what libraries count threads and environments by
MAX_THREADS = 8  # networks this small gain nothing from more
LOGGERS = ("tensorboard", "wandb")
NEUTRAL = (  # settings that change nothing else that is recorded; a run may continue with others
    "results",
    "experiment",
    "logger",
    "plugins",
    "overwrite",
    "report",
    "objective",
    "device",
    "threads",
    "checkpoint",
    "log",
    "eval.specified",
)


@dataclass
class Names:
    """What is trained on what; set by `algo=NAME` and `task=NAME`."""

    algo: str = MISSING
    task: str = MISSING


@dataclass
class Evaluation:
    """When and how long the policy is evaluated."""

    every: int = MISSING  # env steps; the end of the run is always evaluated
    episodes: int = 100  # fresh episodes per protocol
    specified: int = 3  # of the last evaluations, as many as a score is the mean of, in which the
    # policy also acts as its source does: the best of 50 takes six times as long as one sample


@dataclass
class Checkpoint:
    """When the run is saved."""

    every: int = MISSING  # env steps; the end of the run is always saved


@dataclass
class Log:
    """When a line of progress is recorded."""

    every: int = MISSING  # env steps


@dataclass
class Settings:
    """All settings of a run; those of its algorithm and its task are dataclasses of their own."""

    names: Names = field(default_factory=Names)
    experiment: str = "default"
    results: str = "results"
    seed: int = 0
    budget: str = MISSING  # smoke | quick | hour | evening | paper: the five settings below
    preset: str = MISSING  # suite | paper | none: fills in `algo`
    env_steps: int = MISSING  # actions taken in all environments together
    num_envs: int = MISSING
    eval: Evaluation = field(default_factory=Evaluation)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    log: Log = field(default_factory=Log)
    device: str = "auto"  # auto | cpu | cuda | cuda:1
    threads: int | None = None  # of physics and torch; null: cores / runs side by side, and one
    # for torch: networks this small gain a third from two and lose 4/5 on a busy machine
    overlap: bool = False  # whether the algorithm learns while the physics of the next step runs
    logger: list[str] = field(default_factory=list)  # tensorboard, wandb
    plugins: list[str] = field(default_factory=list)  # modules to import first
    objective: str | None = None  # what a search (hydra/sweeper=optuna) makes large
    data: str | None = None  # Minari dataset that the replay begins with
    overwrite: bool = False  # whether a run made with other settings is replaced
    report: bool = True  # whether a report follows the last run
    algo: Any = MISSING
    task: Any = MISSING


def binding(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings as nested mappings without the neutral ones."""
    return {
        key: binding(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in values.items() if f"{prefix}{key}" not in NEUTRAL
    }  # fmt: skip


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted keys."""
    if not isinstance(values, dict):
        return {prefix: list(values) if isinstance(values, tuple) else values}
    return {k: v for key, value in values.items()
            for k, v in flat(value, f"{prefix}.{key}" if prefix else key).items()}  # fmt: skip


def check(settings: Settings) -> None:
    """Check ranges, names and what this machine has.

    Raises:
        UsageError: naming the setting, its value and what is valid.
    """
    positive = {
        "env_steps": settings.env_steps,
        "num_envs": settings.num_envs,
        "eval.every": settings.eval.every,
        "eval.episodes": settings.eval.episodes,
        "checkpoint.every": settings.checkpoint.every,
        "log.every": settings.log.every,
        "threads": 1 if settings.threads is None else settings.threads,
    }
    for key, value in positive.items():
        if value < 1:
            raise UsageError(f"{key}={value}: must be at least 1")
    for key in ("num_envs", "threads"):
        if positive[key] > MOST:
            raise UsageError(f"{key}={positive[key]}: must be at most {MOST}")
    if settings.eval.specified < 0:
        raise UsageError(f"eval.specified={settings.eval.specified}: must be at least 0")
    if not 0 <= settings.seed <= MAX_SEED:
        raise UsageError(f"seed={settings.seed}: valid are integers from 0 to {MAX_SEED}")
    if Path(settings.experiment).name != settings.experiment or settings.experiment in ("", ".."):
        raise UsageError(f"experiment={settings.experiment!r}: must be one plain folder name")
    for name in settings.logger:
        if name not in LOGGERS:
            raise UsageError(f"logger={name!r}: valid are {', '.join(LOGGERS)}")
    if settings.data is not None:
        check_there(settings.data)
    resolve_device(settings.device)
    check_writable(Path(settings.results))


def check_there(data: str) -> None:
    """Check that there is a dataset of this name (see `bench.datasets.read`)."""
    from bench.datasets import find

    find(data)


def check_writable(folder: Path, key: str = "results") -> None:
    """Check that a folder can be written or made; creates nothing.

    Args:
        folder: to be written.
        key: of the setting that names it.

    Raises:
        UsageError: naming the setting, and what is in the way.
    """
    for path in (folder, *folder.absolute().parents):
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):  # what is above it says more
            continue
        except OSError as error:  # a name that is too long, links in a circle
            raise UsageError(f"{key}={folder}: {error.strerror}") from None
        if not S_ISDIR(found.st_mode):
            raise UsageError(f"{key}={folder}: {path} is not a folder")
        if not os.access(path, os.W_OK | os.X_OK):
            raise UsageError(f"{key}={folder}: {path} cannot be written")
        return


def resolve_device(name: str) -> str:
    """Return the torch device that `name` stands for on this machine.

    Raises:
        UsageError: if it is misspelt or this machine lacks it.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
        raise UsageError(f"device={name!r}: valid are auto, cpu, cuda, cuda:<index>")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device={name!r}: this machine has {torch.cuda.device_count()} GPUs")
    return name


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
