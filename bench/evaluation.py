"""Evaluation: fresh episodes from seeds that training never uses, without exploration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from bench.api import Algorithm, Task
from bench.seeding import EVALUATION, derive

BATCH = 100  # episodes stepped together
MIN_PER_MODE = 10  # episodes of every commanded mode
FREE = -1  # "commanded" where nothing was commanded


@dataclass(frozen=True)
class Protocol:
    """One way of asking a policy for episodes.

    Attributes:
        name: sampled | commanded | random-start.
        commands: (E,) commanded mode of each episode, or FREE.
        training: whether episodes start where training starts.
    """

    name: str
    commands: np.ndarray
    training: bool = False


def protocols(task: Task, num_modes: int, episodes: int) -> Iterator[Protocol]:
    """Yield the protocols that fit the task and the policy."""
    free = np.full(episodes, FREE)
    yield Protocol("sampled", free)
    if num_modes:
        yield commanded(range(num_modes), max(MIN_PER_MODE, episodes // num_modes))
    if getattr(task, "random_start", False):
        yield Protocol("random-start", free, training=True)


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
) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Play one episode per command; neither torch's generator nor the algorithm is changed.

    Args:
        algo: whose `act` is asked.
        task: that builds the environments.
        protocol: what is commanded and where episodes start.
        seed: of the run.
        env_steps: at which the run is, so that every evaluation has seeds of its own.
        threads: of the physics.
        device: of the algorithm.
        tick: called between env steps; may raise to stop.

    Returns:
        One row (metrics of the episode) and one path, (T + 1, P) in m, per episode.
    """
    rows: list[dict[str, Any]] = []
    paths: list[np.ndarray] = []
    count = len(protocol.commands)
    env = task.make(min(count, BATCH), derive(seed, EVALUATION), threads, protocol.training)
    try:
        with torch.random.fork_rng(devices=cuda_devices(device)), torch.no_grad():
            for start in range(0, count, BATCH):
                commands = protocol.commands[start : start + BATCH]
                wave_seed = derive(seed, EVALUATION, env_steps, *protocol.name.encode(), start)
                torch.manual_seed(wave_seed)
                wave = Wave(algo, env, task, commands, device)
                wave.play(wave_seed, tick)
                for slot in range(len(commands)):
                    fixed = {"env_steps": env_steps, "protocol": protocol.name}
                    fixed |= {"episode": start + slot, "seed": wave_seed}
                    rows.append(fixed | wave.row(slot))
                    paths.append(wave.path(slot))
    finally:
        env.close()
    return rows, paths


def cuda_devices(device: str) -> list[int]:
    """Return the indices of the GPUs whose generators a run on `device` uses."""
    if not device.startswith("cuda"):
        return []
    return [torch.device(device).index or 0]


class Wave:
    """Episodes played side by side, exactly one per slot.

    An environment whose first episode has ended goes on, unrecorded and undirected, until all
    have: taking the first n episodes to end instead would favour short ones.
    """

    def __init__(
        self, algo: Algorithm, env: VectorEnv, task: Task, commands: np.ndarray, device: str
    ) -> None:
        self.algo, self.env, self.task, self.device = algo, env, task, device
        self.commands = commands
        slots = len(commands)
        self.total = np.zeros(slots)
        self.length = np.zeros(slots, np.int64)
        self.final: list[dict[str, Any]] = [{} for _ in range(slots)]
        self.tracks: list[np.ndarray] = []  # one (slots, P) per step
        self.ends: list[np.ndarray | None] = [None] * slots

    def play(self, seed: int, tick: Callable[[], None]) -> None:
        """Reset all environments and step them until every slot's first episode has ended."""
        slots = len(self.commands)
        obs, _ = self.env.reset(seed=seed)
        active = np.ones(slots, bool)
        action = np.zeros((self.env.num_envs, self.task.act_dim), np.float32)
        while active.any():
            tick()
            self.tracks.append(self.positions(obs[:slots]))
            action[:] = 0
            action[:slots][active] = self.act(obs[:slots][active], self.commands[active])
            obs, reward, terminated, truncated, infos = self.env.step(action)
            self.total[active] += reward[:slots][active]
            self.length[active] += 1
            ended = active & (terminated | truncated)[:slots]
            for slot in np.flatnonzero(ended).tolist():
                self.final[slot] = final_values(infos, slot)
                self.ends[slot] = self.positions(np.asarray(infos["final_obs"][slot])[None])
            active &= ~ended

    def act(self, obs: np.ndarray, commands: np.ndarray) -> np.ndarray:
        """Ask the policy for actions of the active slots."""
        rows = torch.as_tensor(obs, dtype=torch.float32, device=self.device)
        free = commands[0] == FREE
        mode = None if free else torch.as_tensor(commands, dtype=torch.int64, device=self.device)
        return self.algo.act(rows, explore=False, mode=mode).cpu().numpy()

    def positions(self, obs: np.ndarray) -> np.ndarray:
        """Return the agent's positions, (n, P) in m; P = 0 where the task names none."""
        where = slice(0, 0) if self.task.position is None else self.task.position
        return np.array(obs[:, where], dtype=np.float64)

    def path(self, slot: int) -> np.ndarray:
        """Return all positions of a slot's episode, (T + 1, P)."""
        end = self.ends[slot]
        assert end is not None
        before = [track[slot] for track in self.tracks[: self.length[slot]]]
        return np.concatenate([np.array(before), end])

    def row(self, slot: int) -> dict[str, Any]:
        """Return what is recorded of a slot's episode; success is None where undefined."""
        final = self.final[slot]
        mode = int(final.get("mode", -1))
        success = final.get("success")
        return {
            "commanded": int(self.commands[slot]),
            "return": float(self.total[slot]),
            "length": int(self.length[slot]),
            "success": None if success is None else bool(success),
            "goal": int(final.get("goal", -1)),
            "mode": mode,
            "mode_name": mode_name(self.task, mode),
        }


def mode_name(task: Task, mode: int) -> str:
    """Return the name of a mode label: that of the mode, `other` or `failure`."""
    if mode < 0:
        return "failure"
    return task.modes[mode] if mode < len(task.modes) else "other"


def final_values(infos: dict[str, Any], slot: int) -> dict[str, Any]:
    """Return the scalars of `final_info` that are set for one environment."""
    final = infos.get("final_info", {})
    return {
        key: value[slot]
        for key, value in final.items()
        if not key.startswith("_")
        and not isinstance(value, dict)
        and bool(final.get(f"_{key}", np.ones(slot + 1, bool))[slot])
    }


def summarise(rows: list[dict[str, Any]], num_modes: int) -> dict[str, float]:
    """Return the success and the modes found of one protocol's rows, for the progress display.

    A mode is found where it has max(2, 5 % of the successes) episodes; the report computes the
    same from the records.
    """
    successes = sum(bool(row["success"]) for row in rows)
    modes = [row["mode"] for row in rows if row["success"]]
    needed = max(2, 0.05 * successes)
    found = sum(modes.count(k) >= needed for k in range(num_modes))
    return {"success": successes / len(rows), "modes_found": found}
