"""Any Gymnasium environment with Box spaces, for a sanity check of algorithms on control tasks.

Success and modes are undefined. Actions in [-1, 1] are rescaled to the environment's own box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from bench.api import Task, TaskEnv
from bench.errors import UsageError
from bench.registry import unknown

from . import register

UNLIMITED = 1_000  # steps after which an environment without a time limit is truncated


@dataclass
class Config:
    """Settings of the task `gym`."""

    id: str = "Pendulum-v1"  # of Gymnasium's registry


@register("gym", config=Config, family="gym", suite="no", source="Gymnasium")
class GymTask(Task):
    """Any Gymnasium environment with Box spaces: task.id=Pendulum-v1."""

    def __init__(self, name: str, config: Config) -> None:
        self.name, self.config = name, config
        try:
            spec = gymnasium.spec(config.id)
            env = gymnasium.make(config.id)
        except gymnasium.error.Error:
            known = [key for key in gymnasium.registry if not key.startswith("bench/")]
            message = unknown("task.id", config.id, known).partition(" Valid:")[0]
            raise UsageError(f"{message} Valid: the names in gymnasium.registry") from None
        for kind, space in (("observations", env.observation_space), ("actions", env.action_space)):
            if not (isinstance(space, Box) and len(space.shape) == 1):
                raise UsageError(f"task.id={config.id}: {kind} must be a flat Box, not {space}")
        assert env.observation_space.shape and env.action_space.shape
        if not np.isfinite([env.action_space.low, env.action_space.high]).all():  # type: ignore[attr-defined]
            raise UsageError(f"task.id={config.id}: actions must be bounded")
        self.obs_dim = env.observation_space.shape[0]
        self.act_dim = env.action_space.shape[0]
        self.horizon = spec.max_episode_steps or UNLIMITED
        env.close()

    def label(self, path: np.ndarray) -> int:
        """Return -1: there is no success."""
        return -1

    def make(
        self, num_envs: int, seed: int, threads: int = 1, training: bool = True
    ) -> GymVectorEnv:
        """Return N environments, stepped one after the other."""
        return GymVectorEnv(self, num_envs, seed)


class GymVectorEnv(VectorEnv, TaskEnv):
    """N Gymnasium environments with SAME_STEP autoreset that can be stored exactly.

    A simulator's inside cannot be copied in general. So each environment's generator at the
    episode's start and the actions since are kept, and played again to restore it.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012
    modes: tuple[str, ...] = ()
    layout = None

    def __init__(self, task: GymTask, num_envs: int, seed: int) -> None:
        self.num_envs, self.horizon = num_envs, task.horizon
        self.envs = [gymnasium.make(task.config.id).unwrapped for _ in range(num_envs)]
        space = self.envs[0].action_space
        assert isinstance(space, Box)
        self.low, self.high = space.low, space.high
        self.single_observation_space = Box(-np.inf, np.inf, (task.obs_dim,), np.float32)
        self.single_action_space = Box(-1.0, 1.0, (task.act_dim,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.obs = np.zeros((num_envs, task.obs_dim), np.float32)
        self.reset(seed=seed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start all episodes anew; return observations (N, O) and an empty info."""
        if seed is not None:
            for env, child in zip(
                self.envs, np.random.SeedSequence(seed).spawn(self.num_envs), strict=True
            ):
                env.np_random = np.random.default_rng(child)
        self.starts: list[dict[str, Any]] = [{}] * self.num_envs
        self.taken: list[list[np.ndarray]] = [[] for _ in self.envs]
        self.total = np.zeros(self.num_envs)
        for i in range(self.num_envs):
            self.obs[i] = self.begin(i)
        return self.obs.copy(), {}

    def begin(self, i: int) -> np.ndarray:
        """Start an episode of environment i."""
        self.starts[i] = dict(self.envs[i].np_random.bit_generator.state)
        self.taken[i], self.total[i] = [], 0.0
        return self.envs[i].reset()[0]

    def scaled(self, action: np.ndarray) -> np.ndarray:
        """Return an action of the environment's own box for one in [-1, 1]."""
        share = (np.clip(action, -1, 1) + 1) / 2
        return (self.low + share * (self.high - self.low)).astype(np.float32)

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply actions (N, A) in [-1, 1]; restart the episodes that end."""
        reward = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), bool)
        for i, env in enumerate(self.envs):
            self.taken[i].append(np.array(actions[i], np.float32))
            self.obs[i], gained, end, cut, _ = env.step(self.scaled(actions[i]))
            reward[i], terminated[i] = float(gained), end
            truncated[i] = not end and (cut or len(self.taken[i]) >= self.horizon)
        self.total += reward
        done = terminated | truncated
        infos: dict[str, Any] = {}
        if done.any():
            lengths = np.array([len(taken) for taken in self.taken])
            episode = {"r": np.where(done, self.total, 0.0), "l": np.where(done, lengths, 0),
                       "_r": done.copy(), "_l": done.copy()}  # fmt: skip
            infos = {
                "final_obs": self.obs.copy(), "_final_obs": done.copy(), "_final_info": done.copy(),
                "final_info": {"episode": episode, "_episode": done.copy()},
            }  # fmt: skip
            for i in np.flatnonzero(done).tolist():
                self.obs[i] = self.begin(i)
        return self.obs.copy(), reward, terminated, truncated, infos

    def get_state(self) -> dict[str, Any]:
        """Return generators and actions from which `set_state` plays all episodes again."""
        return {"starts": list(self.starts), "taken": [list(taken) for taken in self.taken]}

    def set_state(self, state: dict[str, Any]) -> np.ndarray:
        """Take back what `get_state` returned; return the current observations (N, O)."""
        for i, (env, start, taken) in enumerate(
            zip(self.envs, state["starts"], state["taken"], strict=True)
        ):
            env.np_random.bit_generator.state = start
            self.obs[i] = self.begin(i)
            for action in taken:
                self.obs[i], gained, *_ = env.step(self.scaled(action))
                self.total[i] += float(gained)
                self.taken[i].append(action)
        return self.obs.copy()

    def close_extras(self, **kwargs: Any) -> None:
        """Close all environments."""
        for env in self.envs:
            env.close()
