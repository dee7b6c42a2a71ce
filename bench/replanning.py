"""Replanning around obstacles that a policy has never seen.

The experiment of DDiffPG's project page (Li et al. 2024), whose code is not released. This is a
reconstruction: follow a mode; when progress stalls, command the next one from where the agent
stands. A policy that takes no commands just keeps sampling.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.api import Task
from bench.errors import UsageError
from bench.evaluation import Actor, isolated_generator
from bench.policy import Policy
from bench.rollout import Step, play_episodes
from bench.storage import Checksums, Damaged


@dataclass(frozen=True)
class Plan:
    """How to follow modes.

    Attributes:
        order: (M,) modes, the first choice first; empty for a policy without commands.
        patience: (M,) steps after which a mode that has not succeeded is given up.
        window: steps within which the agent must have moved `progress` m from where it was.
        progress: m.
    """

    order: np.ndarray
    patience: np.ndarray
    window: int
    progress: float


@dataclass(frozen=True)
class Outcome:
    """What N episodes came to.

    Attributes:
        success, length, switches: (N,) success, steps, and how often another mode was commanded.
        diverged: (N,) whether the simulation diverged, which ended the episode.
        paths: N paths (T + 1, P) in m.
        commands: N commands (T,), the mode followed at each step, -1 none.
    """

    success: np.ndarray
    length: np.ndarray
    switches: np.ndarray
    diverged: np.ndarray
    paths: list[np.ndarray]
    commands: list[np.ndarray]


def make_plan(run_dir: str | Path, policy: Policy, task: Task, window: int) -> Plan:
    """Order a policy's modes by the median length of their successes in the run's last evaluation.

    A mode is given up after 1.5 x its median length; one without a success comes last and has the
    task's horizon.

    Args:
        run_dir: whose records say what each command has led to.
        policy: of the run.
        task: that it was trained on.
        window: steps; 0 for a tenth of the horizon.

    Raises:
        UsageError: if the records are damaged or lost.
    """
    rows = read_episodes(Path(run_dir))
    rows = rows[(rows.env_steps == rows.env_steps.max()) & (rows.protocol == "commanded")]
    lengths = rows[rows.success.astype(bool)].groupby("commanded").length.median()
    median = np.array([lengths.get(k, np.inf) for k in range(policy.num_modes)], float)
    patience = np.where(np.isfinite(median), 1.5 * median, task.horizon)
    return Plan(
        order=np.argsort(median, kind="stable"),
        patience=np.minimum(patience, task.horizon),
        window=window or max(task.horizon // 10, 1),
        progress=(task.cell or 1.0) / 2,
    )


def read_episodes(run_dir: Path) -> pd.DataFrame:
    """Return a run's evaluation episodes, checked.

    Raises:
        UsageError: if they are damaged or lost.
    """
    name = "episodes.parquet"
    try:
        return pd.read_parquet(io.BytesIO(Checksums(run_dir).content(name)))
    except FileNotFoundError:
        raise UsageError(f"{run_dir / name} is missing, which says where commands lead") from None
    except Damaged:
        raise
    except (OSError, ValueError) as error:
        raise Damaged(f"{run_dir / name} cannot be read ({type(error).__name__})") from None


class Follower:
    """Says which mode each of N agents follows, and gives up those that lead nowhere."""

    def __init__(self, plan: Plan, count: int) -> None:
        self.plan = plan
        self.rank = np.zeros(count, np.int64)  # place in the plan's order
        self.since = np.zeros(count, np.int64)  # steps since the last switch
        self.switches = np.zeros(count, np.int64)

    def modes(self) -> np.ndarray:
        """Return the mode that each agent follows, (N,), -1 without commands."""
        if not len(self.plan.order):
            return np.full(len(self.rank), -1)
        return self.plan.order[self.rank]

    def observe(self, track: list[np.ndarray]) -> None:
        """Take in the positions so far, T + 1 arrays (N, P); switch where an agent is stuck."""
        self.since += 1
        if not len(self.plan.order):
            return
        stuck = self.since > self.plan.patience[self.modes()]
        if len(track) > self.plan.window:
            moved = np.linalg.norm(track[-1] - track[-1 - self.plan.window], axis=1)
            stuck |= (self.since >= self.plan.window) & (moved < self.plan.progress)
        self.rank[stuck] = (self.rank[stuck] + 1) % len(self.plan.order)
        self.switches[stuck] += 1
        self.since[stuck] = 0


def replan(policy: Policy, task: Task, plan: Plan, episodes: int, seed: int) -> Outcome:
    """Play episodes of a task, whose obstacles the policy need not know, by a plan.

    Args:
        policy: to command.
        task: to solve; its horizon should leave time for several tries.
        plan: from `make_plan`.
        episodes: N.
        seed: of environments and policy.
    """
    env = task.make(episodes, seed, 1, training=False)
    follower = Follower(plan, episodes)
    track: list[np.ndarray] = []  # (N, P) each
    commands: list[np.ndarray] = []
    switches = np.zeros(episodes, np.int64)

    def act(obs: np.ndarray, slots: np.ndarray) -> np.ndarray:
        commands.append(follower.modes())
        return Actor(policy.algo, commands[-1], policy.device)(obs, slots)

    def watch(step: Step, active: np.ndarray) -> None:
        track.extend([step.next_position] if track else [step.position, step.next_position])
        switches[active] = follower.switches[active]
        follower.observe(track)

    try:
        with isolated_generator(policy.device):
            torch.manual_seed(seed)
            played = play_episodes(env, act, seed, watch=watch)
    finally:
        env.close()
    log = np.array(commands)
    return Outcome(
        success=np.array([bool(episode.success) for episode in played]),
        length=np.array([episode.length for episode in played]),
        switches=switches,
        diverged=np.array([episode.diverged for episode in played]),
        paths=[episode.path for episode in played],
        commands=[log[: episode.length, episode.slot] for episode in played],
    )
