"""The one place where environments are stepped: for training, evaluation, videos and checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from bench.api import TaskEnv, Transition


@dataclass(frozen=True)
class Episode:
    """An episode that has ended.

    Attributes:
        slot: number of its environment.
        total_reward: the return, undiscounted.
        length: steps.
        success: None where the task defines none.
        goal: number of the goal reached, -1 none.
        mode: label of its mode, K another class, -1 no success.
        path: (T + 1, P) positions.
        diverged: whether it was truncated because its simulation diverged.
    """

    slot: int
    total_reward: float
    length: int
    success: bool | None
    goal: int
    mode: int
    path: np.ndarray
    diverged: bool = False


class Step(NamedTuple):
    """One step of N environments, as numpy arrays; fields as in `Transition`."""

    obs: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_obs: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray
    position: np.ndarray
    next_position: np.ndarray
    ended: list[Episode]

    @property
    def labels(self) -> np.ndarray:
        """Labels (N,) of the episodes that ended (see `Episode.mode`), -1 where none did."""
        labels = np.full(len(self.obs), -1)
        for episode in self.ended:
            labels[episode.slot] = episode.mode
        return labels

    def transition(self, device: str | torch.device) -> Transition:
        """Return what an algorithm observes of the step, on its device."""

        def real(values: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(values, dtype=torch.float32, device=device)

        def flag(values: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(values, device=device)

        return Transition(
            obs=real(self.obs),
            action=real(self.action),
            reward=real(self.reward),
            next_obs=real(self.next_obs),
            terminated=flag(self.terminated),
            truncated=flag(self.truncated),
            success=flag(self.success),
            position=real(self.position),
            next_position=real(self.next_position),
        )


class Rollout:
    """Steps N environments and says truly what followed, also where an episode ended.

    Attributes:
        obs: (N, O) the observations to act on.
        position: (N, P) where they were made.
    """

    def __init__(self, env: TaskEnv, seed: int | None = None) -> None:
        self.env = env
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Start all episodes anew."""
        obs, _ = self.env.reset(seed=seed)
        self.look(obs)

    def look(self, obs: np.ndarray) -> None:
        """Keep copies: an environment may write what it observes next into the same arrays."""
        self.obs, self.position = np.array(obs), np.array(self.env.position)

    def step(self, action: np.ndarray) -> Step:
        """Apply actions (N, A)."""
        obs, position = self.obs, self.position
        after, reward, terminated, truncated, infos = self.env.step(action)
        self.look(after)
        next_obs, next_position = self.obs, self.position
        success, ended = np.zeros(len(obs), bool), []
        done = terminated | truncated
        if done.any():
            next_obs, next_position = next_obs.copy(), next_position.copy()
            for slot in np.flatnonzero(done).tolist():
                episode = ended_episode(infos["final_info"], slot)
                ended.append(episode)
                next_obs[slot] = infos["final_obs"][slot]
                next_position[slot] = episode.path[-1]
                success[slot] = bool(episode.success)
        return Step(obs, action, reward, next_obs, terminated, truncated, success,
                    position, next_position, ended)  # fmt: skip

    def get_state(self) -> dict[str, Any]:
        """Return the state of the environments."""
        return self.env.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_state` returned."""
        self.look(self.env.set_state(state))


def ended_episode(final: dict[str, Any], slot: int) -> Episode:
    """Return the episode of one environment from the infos of its end (see `TaskEnv`)."""

    def value(key: str, default: Any) -> Any:
        return final[key][slot] if key in final and final[f"_{key}"][slot] else default

    success = value("success", None)
    return Episode(
        slot=slot,
        total_reward=float(final["episode"]["r"][slot]),
        length=int(final["episode"]["l"][slot]),
        success=None if success is None else bool(success),
        goal=int(value("goal", -1)),
        mode=int(value("mode", -1)),
        path=value("path", np.zeros((int(final["episode"]["l"][slot]) + 1, 0), np.float32)),
        diverged=bool(value("diverged", False)),
    )


Act = Callable[[np.ndarray, np.ndarray], np.ndarray]


def play_episodes(
    env: TaskEnv,
    act: Act,
    seed: int,
    episodes: int | None = None,
    watch: Callable[[Step, np.ndarray], None] = lambda step, active: None,
) -> list[Episode]:
    """Play exactly one episode in each of the first `episodes` environments; return all of them.

    An environment whose first episode has ended goes on, undirected and unheeded, until all have:
    taking the first n episodes to end instead would favour short ones.

    Args:
        env: reset with `seed`.
        act: returns actions (n, A) for observations (n, O) of the slots (n,) that are still
            playing; may raise to stop.
        seed: of the environments.
        episodes: of the N environments; None for all.
        watch: shown every step, and which slots were playing, (N,) bool.
    """
    rollout = Rollout(env, seed)
    active = np.arange(env.num_envs) < (env.num_envs if episodes is None else episodes)
    first: dict[int, Episode] = {}
    while active.any():
        slots = np.flatnonzero(active)
        chosen = act(rollout.obs[slots], slots)
        action = np.zeros((env.num_envs, chosen.shape[1]), np.float32)  # of its own: it is kept
        action[slots] = chosen
        step = rollout.step(action)
        watch(step, active)
        for episode in step.ended:
            if active[episode.slot]:
                first[episode.slot] = episode
                active[episode.slot] = False
    return [first[slot] for slot in sorted(first)]
