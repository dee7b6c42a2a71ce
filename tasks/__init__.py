"""Tasks, one file per family; importing this package registers them, with Gymnasium too.

`gymnasium.make("bench/antmaze-v3-v0")` and `gymnasium.make_vec(...)` find every task of the suite
(see `vector.SingleEnv`, `vector.vector_env`).
"""

from __future__ import annotations

import importlib
import pkgutil
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gymnasium
import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.errors import UsageError
from bench.registry import Registry, unknown

if TYPE_CHECKING:
    from bench.api import Task, TaskEnv

T = TypeVar("T", bound=Callable[..., Any])
registry = Registry("task")


def register(
    name: str,
    *,
    config: type,
    renamed: Mapping[str, str] | None = None,
    presets: Path | None = None,
    **info: str,
) -> Callable[[T], T]:
    """Return a decorator that registers a task class, with Gymnasium as `bench/<name>-v0` too.

    Args:
        name: what the command line calls it.
        config: dataclass of its settings.
        renamed: former names of settings (see `Registry.register`).
        presets: folder of presets for algorithms on this task (see `Registry.register`).
        info: `family`; `suite` ("yes" for a task of the suite, which `task=all` runs, "no" for one
            that cannot be built from default settings); `source`; `summary`.
    """

    def decorate(factory: T) -> T:
        registry.register(name, config=config, renamed=renamed, presets=presets, **info)(factory)
        if info.get("suite") != "no":
            gymnasium.register(
                f"bench/{name}-v0",
                entry_point="bench.tasks.vector:SingleEnv",
                vector_entry_point="bench.tasks.vector:vector_env",
                kwargs={"name": name},
                disable_env_checker=True,
            )
        return factory

    return decorate


UNEXPECTED = (
    "unexpected keyword argument"  # Python's words: TorchRL retries only where it sees them
)


class UnknownSettingError(UsageError, TypeError):
    """A keyword that a task has no setting for: libraries retry on what Gymnasium raises there."""


def make_task(name: str, **settings: Any) -> Task:
    """Return a task; no simulator is started.

    Args:
        name: of the registry.
        settings: fields of the task's settings.

    Raises:
        UsageError: on unknown names and bad values.
        UnknownSettingError: on unknown settings; a UsageError and a TypeError.
    """
    entry = registry[name]
    fields = entry.config.__dataclass_fields__  # type: ignore[attr-defined]
    for key in settings:
        if key not in fields:
            hint = unknown("setting", key, fields).partition(".")[2] if fields else " It has none."
            raise UnknownSettingError(f"task {name!r} got an {UNEXPECTED} {key!r}.{hint}")
    return entry.factory(name, entry.config(**typed(name, entry.config, settings)))


def typed(name: str, config: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as the types that they are declared with, read as on the command line.

    Raises:
        UsageError: naming the setting and its value.
    """
    values: dict[str, Any] = {}
    declared: Any = OmegaConf.structured(config)
    for key, value in settings.items():
        plain = value.item() if isinstance(value, np.generic) else value
        try:
            declared[key] = plain
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"task {name!r}: {key}={value!r}: {reason}") from None
        read = declared[key]
        values[key] = OmegaConf.to_object(read) if OmegaConf.is_config(read) else read
    return values


def make_env(
    name: str,
    num_envs: int = 1,
    seed: int | None = None,
    threads: int = 1,
    training: bool = True,
    **settings: Any,
) -> TaskEnv:
    """Return N environments of a task with SAME_STEP autoreset (see `make_task`).

    Args:
        name: of the registry.
        num_envs: N.
        seed: of all randomness; None for fresh entropy.
        threads: physics threads.
        training: whether episodes start where training does, else where evaluation does.
        settings: fields of the task's settings.

    Raises:
        UsageError: as `make_task`, or on less than one environment or thread.
    """
    for key, count in (("num_envs", num_envs), ("threads", threads)):
        if count < 1:
            raise UsageError(f"{key}={count}: must be at least 1")
    return make_task(name, **settings).make(num_envs, entropy(seed), threads, training)


def entropy(seed: int | None) -> int:
    """Return a seed, or for None a fresh one, so that unseeded environments differ."""
    return secrets.randbits(63) if seed is None else seed


def discover() -> Registry:
    """Import every module of this folder that needs no simulator, so that tasks register."""
    for module in pkgutil.iter_modules(__path__):
        if module.name not in ("vector", "bodies"):
            importlib.import_module(f"{__name__}.{module.name}")
    return registry


discover()
