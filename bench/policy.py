"""A trained policy, loaded from a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

import bench.algos
import bench.tasks
from bench.api import Algorithm, Spec, StoresPolicy, Task
from bench.errors import UsageError
from bench.registry import Entry, load_plugins

Array = TypeVar("Array", np.ndarray, Tensor)


FORMER = {"slow_actor": "ema_actor", "slow_critic": "target_critic"}  # names in older policies


def policy_state(algo: Algorithm) -> dict[str, Any]:
    """Return what `act` needs of an algorithm's state."""
    return algo.policy_state_dict() if isinstance(algo, StoresPolicy) else algo.state_dict()


def settings_of(entry: Entry, stored: dict[str, Any]) -> Any:
    """Return stored settings as the dataclass they are now, former names read as today's."""
    named = {entry.renamed.get(key, key): value for key, value in stored.items()}
    return OmegaConf.to_object(OmegaConf.merge(entry.config, named))


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
        num_modes: how many modes can be commanded; 0 if it takes no commands.
    """

    def __init__(self, algo: Algorithm, device: str) -> None:
        self.algo, self.device = algo, device
        self.num_modes = algo.num_modes

    def act(self, obs: Array, mode: int | None = None) -> Array:
        """Return actions (N, A) in [-1, 1] for observations (N, O), of the same kind.

        Raises:
            ValueError: if a mode is commanded that the policy does not have.
        """
        if mode is not None and not 0 <= mode < self.num_modes:
            valid = f"0 to {self.num_modes - 1}" if self.num_modes else "none, it takes no commands"
            raise ValueError(f"mode={mode}: valid modes of this policy are {valid}")
        rows = torch.as_tensor(obs, dtype=torch.float32, device=self.device)
        command = None if mode is None else torch.full((len(rows),), mode, device=self.device)
        action = self.algo.act(rows, mode=command)
        return action if isinstance(obs, Tensor) else action.cpu().numpy()


def load_task(run_dir: str | Path, **changes: Any) -> Task:
    """Return the task that a run directory's policy was trained on.

    Args:
        run_dir: of the run.
        changes: settings of the task that replace the run's.

    Raises:
        UsageError: if there is no policy, or it is damaged, or a changed setting is bad.
    """
    stored = load_stored(run_dir, "cpu")
    load_plugins(stored["plugins"])
    entry = bench.tasks.registry[stored["task"]]
    return entry.factory(stored["task"], settings_of(entry, stored["task_settings"] | changes))


def load_stored(run_dir: str | Path, device: str) -> dict[str, Any]:
    """Return what policy.pt holds.

    Raises:
        UsageError: if there is none, or it is damaged.
    """
    path = Path(run_dir) / "policy.pt"
    if not path.exists():
        raise UsageError(f"{run_dir}: no policy.pt; is it a run directory?")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise UsageError(f"{path} is damaged ({type(error).__name__})") from None


def load_policy(run_dir: str | Path, device: str = "cpu") -> Policy:
    """Return the policy of a run directory.

    Raises:
        UsageError: if there is none, or it is damaged.
    """
    stored = load_stored(run_dir, device)
    load_plugins(stored["plugins"])
    entry = bench.algos.discover()[stored["algo"]]
    config = settings_of(entry, stored["settings"])
    algo: Algorithm = entry.factory(spec_of(stored["spec"]), config, device)
    if isinstance(algo, StoresPolicy):
        state = {FORMER.get(key, key): value for key, value in stored["state"].items()}
        algo.load_policy_state_dict(state)
    else:
        algo.load_state_dict(stored["state"])
    return Policy(algo, device)
