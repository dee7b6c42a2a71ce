"""Evaluation: fresh episodes from seeds that training never uses, without exploration."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bench.api import ActsAsSpecified, Algorithm, Task
from bench.correlated import CorrelatedDraws
from bench.finite import ACTION_BOUND, check
from bench.found import MIN_COUNT, MIN_SHARE
from bench.rollout import Episode, Step, play_episodes
from bench.seeding import EVALUATION, derive

BATCH = 100  # episodes stepped together
MIN_PER_MODE = 10  # episodes of every commanded mode
PROTOCOLS = ("sampled", "commanded", "random-start", "specified")
FREE = -1  # "commanded" where nothing was commanded


@dataclass(frozen=True)
class Protocol:
    """One way of asking a policy for episodes.

    Attributes:
        name: one of `PROTOCOLS`.
        commands: (E,) commanded mode of each episode, or FREE.
        training: whether episodes start where training starts.
        specified: whether the policy acts as its source does in evaluation (`ActsAsSpecified`).
        correlation: of what it draws from step to step (see `CorrelatedDraws`); 0: drawn anew.
    """

    name: str
    commands: np.ndarray
    training: bool = False
    specified: bool = False
    correlation: float = 0.0


def protocols(
    task: Task, algo: Algorithm, episodes: int, specified: bool = True
) -> Iterator[Protocol]:
    """Yield the protocols that fit the task and the policy; `specified` only if wanted."""
    free = np.full(episodes, FREE)
    yield Protocol("sampled", free)
    if algo.num_modes:
        yield commanded(range(algo.num_modes), max(MIN_PER_MODE, episodes // algo.num_modes))
    if task.random_start:
        yield Protocol("random-start", free, training=True)
    if specified and isinstance(algo, ActsAsSpecified):
        yield Protocol("specified", free, specified=True)


def commanded(modes: range | list[int], episodes: int) -> Protocol:
    """Return the protocol that commands each of `modes` for `episodes` episodes."""
    return Protocol("commanded", np.repeat(np.asarray(modes, dtype=np.int64), episodes))


def evaluate(
    algo: Algorithm,
    task: Task,
    protocol: Protocol,
    *,
    seed: int,
    env_steps: int,
    threads: int,
    device: str,
    tick: Callable[[], None] = lambda: None,
    watch: Callable[[Step, np.ndarray], None] = lambda step, active: None,
) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Play one episode per command; neither torch's generator nor the algorithm is changed.

    Args:
        algo: whose `act` is asked.
        task: that builds the environments.
        protocol: what is commanded, where episodes start and how the policy acts.
        seed: of the run.
        env_steps: at which the run is, so that every evaluation has seeds of its own.
        threads: of the physics.
        device: of the algorithm.
        tick: called between env steps; may raise to stop.
        watch: shown every step (see `play_episodes`).

    Returns:
        One row (numbers of the episode, and whether its simulation diverged) and one path,
        (T + 1, P) in m, per episode.

    Raises:
        NotFinite: if an action is not finite, or not in [-1, 1].
        RuntimeError: if an episode does not end by the task's horizon.
    """
    rows: list[dict[str, Any]] = []
    paths: list[np.ndarray] = []
    count = len(protocol.commands)
    env = task.make(min(count, BATCH), derive(seed, EVALUATION), threads, protocol.training)
    steps = 0

    def bounded() -> None:
        nonlocal steps
        if steps >= task.horizon:
            raise RuntimeError(
                f"task {task.name!r}: an episode goes on after its horizon of {steps} steps"
            )
        steps += 1
        tick()

    try:
        with isolated_generator(device):
            for start in range(0, count, BATCH):
                commands = protocol.commands[start : start + BATCH]
                wave_seed = derive(seed, EVALUATION, env_steps, *protocol.name.encode(), start)
                torch.manual_seed(wave_seed)
                steps = 0
                draws = CorrelatedDraws(protocol.correlation, len(commands))
                lasting = draws if protocol.correlation else None
                actor = Actor(algo, commands, device, bounded, protocol.specified, lasting)
                played = play_episodes(env, actor, wave_seed, len(commands), watch)
                fixed = {"env_steps": env_steps, "protocol": protocol.name, "seed": wave_seed}
                for slot, episode in enumerate(played):
                    numbers = {"episode": start + slot, "commanded": int(commands[slot])}
                    rows.append(fixed | numbers | row(task, episode))
                    paths.append(episode.path)
    finally:
        env.close()
    return rows, paths


@contextlib.contextmanager
def isolated_generator(device: str) -> Iterator[None]:
    """Leave torch's generators, of the CPU and of `device`, as they were before."""
    devices = [torch.device(device).index or 0] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        yield


class Actor:
    """A policy's actions for slots that follow a command each.

    Args:
        algo: whose `act` is asked.
        commands: (E,) mode of each slot; all FREE, or none.
        device: of the algorithm.
        tick: called before every action; may raise to stop.
        specified: whether it acts as its source does in evaluation, which takes no commands.
        draws: what it draws; None: independent numbers.
    """

    def __init__(
        self,
        algo: Algorithm,
        commands: np.ndarray,
        device: str,
        tick: Callable[[], None] = lambda: None,
        specified: bool = False,
        draws: CorrelatedDraws | None = None,
    ) -> None:
        self.algo, self.commands, self.device, self.tick = algo, commands, device, tick
        self.specified, self.draws = specified, draws

    def __call__(self, obs: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Return actions (n, A) for observations (n, O) of slots (n,)."""
        self.tick()
        rows = torch.as_tensor(obs, dtype=torch.float32, device=self.device)
        with self.draws.step(slots) if self.draws else contextlib.nullcontext():
            action = self.choose(rows, self.commands[slots]).cpu().numpy()
        check("an evaluation's action", action, ACTION_BOUND)
        return action

    def choose(self, obs: torch.Tensor, commands: np.ndarray) -> torch.Tensor:
        """Return the policy's actions (n, A) in states (n, O) under commands (n,)."""
        if self.specified:
            assert isinstance(self.algo, ActsAsSpecified)
            return self.algo.act_as_specified(obs)
        free = commands[0] == FREE
        mode = None if free else torch.as_tensor(commands, dtype=torch.int64, device=self.device)
        return self.algo.act(obs, explore=False, mode=mode)


def row(task: Task, episode: Episode) -> dict[str, Any]:
    """Return what is recorded of an episode; success is None where undefined."""
    return {
        "return": episode.total_reward,
        "length": episode.length,
        "distance": float(np.linalg.norm(np.diff(episode.path[:, :3], axis=0), axis=1).sum()),
        "success": episode.success,
        "goal": episode.goal,
        "mode": episode.mode,
        "mode_name": mode_name(task, episode.mode),
        "diverged": episode.diverged,
    }


def mode_name(task: Task, mode: int) -> str:
    """Return the name of a mode label: that of the mode, `other` or `failure`."""
    if mode < 0:
        return "failure"
    return task.modes[mode] if mode < len(task.modes) else "other"


def summarise(rows: list[dict[str, Any]], num_modes: int) -> dict[str, float]:
    """Return the success and the modes found of one protocol's rows, for the progress display.

    The report computes the same from the records, by the same rule.
    """
    successes = sum(bool(row["success"]) for row in rows)
    tally = Counter((row["commanded"], row["mode"]) for row in rows)
    asked = Counter(row["commanded"] for row in rows)
    of = {command: successes if command == FREE else count for command, count in asked.items()}
    found = {
        mode for (command, mode), count in tally.items()
        if 0 <= mode < num_modes and count >= max(MIN_COUNT, MIN_SHARE * of[command])
    }  # fmt: skip
    return {"success": successes / len(rows), "modes_found": len(found)}
