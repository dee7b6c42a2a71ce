"""A one-step bandit with four peaks: which of them a policy keeps is its class's doing alone.

Every episode is one step of one state; the reward is the height of four Gaussian peaks of std 0.25
at (+-0.6, +-0.6). An action moves the agent by 5 m, so that paths to different peaks differ. An
action within 0.3 of a peak is a success, in that peak's mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from bench.api import Task, TaskEnv
from bench.errors import UsageError
from bench.registry import unknown

from . import register
from .checks import action_array

PEAKS = np.array([[0.6, 0.6], [-0.6, 0.6], [-0.6, -0.6], [0.6, -0.6]], np.float32)
WIDTH = 0.25  # std of a peak
NEAR = 0.3  # an action this near to a peak is in its mode
METRES = 5.0  # that an action of 1 moves the agent


@dataclass(frozen=True)
class Case:
    """How high the peaks are, and what learning begins with: tasks of equal heights are alike.

    Attributes:
        heights: of the peaks.
        shares: of the peaks in what a replay begins with; None: uniform actions.
        spread: std of these actions around the peaks.
        imitated: whether the policy, too, begins with these actions.
    """

    heights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    shares: tuple[float, ...] | None = None
    spread: float = 0.15
    imitated: bool = False


CASES = {
    "equal": Case(),
    "lopsided": Case(shares=(0.85, 0.05, 0.05, 0.05)),
    "unequal": Case(heights=(1.0, 0.9, 0.8, 0.7)),
    "imitated": Case(shares=(0.25, 0.25, 0.25, 0.25), spread=0.1, imitated=True),
}


@dataclass
class Config:
    """Settings of the bandit."""

    case: str = "equal"  # equal | lopsided | unequal | imitated

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            UsageError: naming the setting, its value and the valid ones.
        """
        if self.case not in CASES:
            raise UsageError(unknown("case", self.case, list(CASES)))


@register("bandit", config=Config, family="bandit", suite="no", source="this suite")
class Bandit(Task):
    """One step, four peaks: task.case=equal|lopsided|unequal|imitated."""

    modes = ("+x+y", "-x+y", "-x-y", "+x-y")
    obs_dim, act_dim, horizon, position_dim = 2, 2, 1, 2
    max_return = 1.0

    def __init__(self, name: str, config: Config) -> None:
        self.name, self.config = name, config
        self.heights = CASES[config.case].heights

    def label(self, path: np.ndarray) -> int:
        """Return the peak that the last position (2,) in m is near to, -1 none."""
        return int(nearest_peak(np.asarray(path)[-1:] / METRES)[0])

    def make(self, num_envs: int, seed: int, threads: int = 1, training: bool = True) -> BanditEnv:
        """Return N bandits; there is no randomness."""
        return BanditEnv(self, num_envs)


def nearest_peak(action: np.ndarray) -> np.ndarray:
    """Return the peak within 0.3 of actions (N, 2), -1 none, (N,)."""
    distance = np.linalg.norm(action[:, None] - PEAKS, axis=-1)
    return np.where(distance.min(axis=1) < NEAR, distance.argmin(axis=1), -1)


class BanditEnv(VectorEnv, TaskEnv):
    """N bandits; every step ends an episode."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, task: Bandit, num_envs: int) -> None:
        self.task, self.num_envs = task, num_envs
        self.start = np.zeros((num_envs, 2), np.float32)
        self.single_observation_space = Box(-METRES, METRES, (2,), np.float32)
        self.single_action_space = Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    @property
    def position(self) -> np.ndarray:
        """Where each agent is, (N, 2): at the origin."""
        return self.start

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the one observation there is, (N, 2)."""
        return self.start, {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Pay the height of the landscape at actions (N, 2) and end all episodes.

        Raises:
            ValueError: if the actions have another shape.
        """
        actions = action_array(actions, (self.num_envs, self.task.act_dim))
        action = np.clip(actions, -1, 1).astype(np.float32)
        square = np.square(action[:, None] - PEAKS).sum(-1)  # (N, peaks)
        reward = (np.array(self.task.heights) * np.exp(-square / (2 * WIDTH**2))).sum(-1)
        ended, mode = np.ones(self.num_envs, bool), nearest_peak(action)
        paths = np.empty(self.num_envs, object)
        final_obs = METRES * action
        for i, end in enumerate(final_obs):
            paths[i] = np.stack([self.start[i], end])
        final = {"success": mode >= 0, "goal": mode, "mode": mode, "path": paths}
        masks = {f"_{key}": ended for key in (*final, "episode")}
        length = np.ones(self.num_envs, np.int64)
        episode = {"r": reward, "l": length, "_r": ended, "_l": ended}
        infos = {"final_obs": final_obs, "_final_obs": ended, "_final_info": ended,
                 "final_info": {**final, "episode": episode, **masks}}  # fmt: skip
        return self.start, reward, ended, np.zeros(self.num_envs, bool), infos

    def get_state(self) -> dict[str, Any]:
        """Return nothing: every step is the first."""
        return {}

    def set_state(self, state: dict[str, Any]) -> np.ndarray:
        """Return the one observation there is, (N, 2)."""
        return self.start
