"""A trained policy, loaded from a run directory."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

import bench.algos
import bench.tasks
from bench.api import Algorithm, Spec, StoresPolicy, Task
from bench.errors import UsageError
from bench.registry import Entry, Registry, load_plugins
from bench.settings import resolve_device
from bench.storage import Checksums, load_state

Array = TypeVar("Array", np.ndarray, Tensor)


FORMER = {"slow_actor": "ema_actor", "slow_critic": "target_critic"}  # names in older policies
KEYS = {"algo", "task", "settings", "plugins", "spec", "task_settings", "state"}


def policy_state(algo: Algorithm) -> dict[str, Any]:
    """Return what `act` needs of an algorithm's state."""
    return algo.policy_state_dict() if isinstance(algo, StoresPolicy) else algo.state_dict()


def settings_of(entry: Entry, stored: dict[str, Any]) -> Any:
    """Return stored settings as the dataclass they are now, former names read as today's."""
    named = OmegaConf.create({k: v for k, v in stored.items() if k not in entry.renamed})
    for was in entry.renamed.keys() & stored.keys():
        OmegaConf.update(named, entry.renamed[was], stored[was])
    return OmegaConf.to_object(OmegaConf.merge(entry.config, named))


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Say which file does not fit this build, where reading its settings or state fails.

    Raises:
        UsageError: naming the file and what is wrong with it.
    """
    try:
        yield
    except UsageError:
        raise
    except (AttributeError, LookupError, OmegaConfBaseException, RuntimeError, TypeError,
            ValueError) as error:  # fmt: skip
        text = " ".join(str(error).split())
        raise UsageError(
            f"{path} does not fit this build ({type(error).__name__}: {text})"
        ) from None


def spec_of(stored: dict[str, Any]) -> Spec:
    """Return a stored spec; older ones have the position as a slice of the observation."""
    spec = dict(stored)
    if "position" in spec:
        where = spec.pop("position")
        spec["position_dim"] = len(range(spec["obs_dim"])[slice(*where)]) if where else 0
    return Spec(**spec)


class Policy:
    """Acts as training left it: `act(obs)` freely, `act(obs, mode=k)` commanded.

    Attributes:
        obs_dim: O, size of an observation.
        num_modes: how many modes can be commanded; 0 if it takes no commands.
    """

    def __init__(self, algo: Algorithm, device: str, obs_dim: int) -> None:
        self.algo, self.device, self.obs_dim = algo, device, obs_dim
        self.num_modes = algo.num_modes

    def act(self, obs: Array, mode: int | None = None) -> Array:
        """Return actions (N, A) in [-1, 1] for observations (N, O), of the same kind.

        Raises:
            ValueError: if observations have another shape, one of shape (O,) included, or a mode
                is commanded that the policy does not have.
        """
        if obs.ndim != 2 or obs.shape[1] != self.obs_dim:
            shape = tuple(obs.shape)
            raise ValueError(f"observations have shape {shape}; valid is (N, {self.obs_dim})")
        if mode is not None and not isinstance(mode, numbers.Integral):
            raise ValueError(f"mode={mode!r}: valid is one number, which all observations follow")
        if mode is not None and not 0 <= mode < self.num_modes:
            valid = f"0 to {self.num_modes - 1}" if self.num_modes else "none, it takes no commands"
            raise ValueError(f"mode={mode}: valid modes of this policy are {valid}")
        rows = torch.as_tensor(obs, dtype=torch.float32, device=self.device)
        command = None if mode is None else torch.full((len(rows),), mode, device=self.device)
        action = self.algo.act(rows, mode=command)
        return action if isinstance(obs, Tensor) else action.cpu().numpy()


def load_task(run_dir: str | Path, plugins: Sequence[str] = (), **changes: Any) -> Task:
    """Return the task that a run directory's policy was trained on.

    Args:
        run_dir: of the run.
        plugins: modules to import first; what a policy names itself is not imported.
        changes: settings of the task that replace the run's.

    Raises:
        UsageError: if there is no policy, or it is damaged, comes from a plugin or needs a module
            that is not among `plugins`, or a changed setting is bad.
    """
    stored = load_stored(run_dir, "cpu")
    entry = entry_of(stored, "task", bench.tasks.registry, plugins, run_dir)
    with fitting(Path(run_dir) / "policy.pt"):
        settings_of(entry, stored["task_settings"])  # as they are: a change is the user's
    config = settings_of(entry, stored["task_settings"] | changes)
    unnamed = [name for name in getattr(config, "modules", ()) if name not in plugins]
    if unnamed:
        needed = dict.fromkeys([*stored["plugins"], *plugins, *unnamed])
        raise UsageError(
            f"{run_dir}: its task {stored['task']!r} needs {', '.join(unnamed)}, which is imported "
            f"only if you name it: plugins=[{','.join(needed)}]"
        )
    return entry.factory(stored["task"], config)


def entry_of(
    stored: dict[str, Any],
    kind: str,
    registry: Registry,
    plugins: Sequence[str],
    run_dir: str | Path,
) -> Entry:
    """Import the plugins that the user names and return the entry of a policy's algorithm or task.

    Raises:
        UsageError: if it is none of this suite's and of those plugins, naming the plugins to give.
    """
    load_plugins(list(plugins))
    missing = [name for name in stored["plugins"] if name not in plugins]
    if stored[kind] not in registry and missing:
        raise UsageError(
            f"{run_dir}: its {kind} {stored[kind]!r} comes from a plugin, which is imported only "
            f"if you name it: plugins=[{','.join(stored['plugins'])}]"
        )
    return registry[stored[kind]]


def load_stored(run_dir: str | Path, device: str) -> dict[str, Any]:
    """Return what policy.pt holds.

    Raises:
        UsageError: if there is none, or it is damaged.
    """
    path = Path(run_dir) / "policy.pt"
    try:
        content = Checksums(path.parent).content(path.name)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{run_dir}: no policy.pt; is it a run directory?") from None
    stored = load_state(content, path, device)
    if not isinstance(stored, dict) or not stored.keys() >= KEYS:
        raise UsageError(f"{path} holds no policy")
    return stored


def load_learner(run_dir: str | Path, plugins: Sequence[str] = ()) -> Algorithm:
    """Return the algorithm of a run directory as its last checkpoint left it, memory included.

    Raises:
        UsageError: as `load_policy` does, or if there is no checkpoint that fits this build.
    """
    stored = load_stored(run_dir, "cpu")
    entry = entry_of(stored, "algo", bench.algos.discover(), plugins, run_dir)
    path = Path(run_dir) / "checkpoint.pt"
    try:
        content = Checksums(path.parent).content(path.name)
    except FileNotFoundError:
        raise UsageError(f"{run_dir}: no checkpoint.pt, which alone holds what was learned from"
                         ) from None  # fmt: skip
    with fitting(Path(run_dir) / "policy.pt"):
        config = settings_of(entry, stored["settings"])
    algo: Algorithm = entry.factory(spec_of(stored["spec"]), config, "cpu")
    with fitting(path):
        algo.load_state_dict(load_state(content, path, "cpu")["algo"])
    return algo


def load_policy(run_dir: str | Path, device: str = "cpu", plugins: Sequence[str] = ()) -> Policy:
    """Return the policy of a run directory.

    Args:
        run_dir: of the run.
        device: that it acts on; auto is a GPU where there is one.
        plugins: modules to import first; what a policy names itself is not imported.

    Raises:
        UsageError: if there is no policy or no such device, or the policy is damaged, of another
            build, or comes from a plugin that is not among `plugins`.
    """
    device = resolve_device(device)
    stored = load_stored(run_dir, device)
    entry = entry_of(stored, "algo", bench.algos.discover(), plugins, run_dir)
    path = Path(run_dir) / "policy.pt"
    with fitting(path):
        config = settings_of(entry, stored["settings"])
    spec = spec_of(stored["spec"])
    algo: Algorithm = entry.factory(spec, config, device)
    with fitting(path):
        if isinstance(algo, StoresPolicy):
            state = {FORMER.get(key, key): value for key, value in stored["state"].items()}
            algo.load_policy_state_dict(state)
        else:
            algo.load_state_dict(stored["state"])
    return Policy(algo, device, spec.obs_dim)
