"""Measure env steps/s and updates/s in one run, as shares of what the machine can do.

  python -m bench speed [num_envs=256] [threads=CORES] [torch_threads=1] [seconds=2]

Environments are compared with a bare loop of `mujoco.rollout` over the same model, batch and frame
skip; updates with the steps of the environments that they learn from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from rich.table import Table

import bench.algos
import bench.tasks
from bench.api import Spec, Transition
from bench.configuration import resolve, understand
from bench.display import show
from bench.errors import UsageError
from bench.settings import cores
from bench.words import parse, whole

TASKS = ("pointmaze-v3", "antmaze-v1", "reach")  # one per family; the first is learned on
ROUNDS = 5  # each way of stepping in turn, so that noise hits both alike


def main(words: list[str]) -> int:
    """Print both tables."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    plain, values = parse(
        words,
        {
            "num_envs": "256",
            "threads": str(cores()),
            "torch_threads": "1",
            "seconds": "2",
        },
    )
    if plain:
        raise UsageError(f"speed takes key=value words, not {plain[0]!r}")
    num_envs, threads = whole("num_envs", values["num_envs"]), whole("threads", values["threads"])
    seconds = whole("seconds", values["seconds"])
    shown = Table("task", "env steps/s", "bare rollout", "share", title="environments")
    for name in TASKS:
        ours, bare, share = environment(name, num_envs, threads, seconds)
        shown.add_row(name, f"{ours:,.0f}", f"{bare:,.0f}", f"{share:.0%}")
    show(shown)
    torch.set_num_threads(whole("torch_threads", values["torch_threads"]))
    shown = Table("algorithm", "updates/s", "rows/s", title=f"learning on {TASKS[0]}")
    for name in sorted(bench.algos.discover()):
        rate, batch = updates(name, seconds)
        if rate:
            shown.add_row(name, f"{rate:,.1f}", f"{rate * batch:,.0f}")
    show(shown)
    return 0


def rate(work: Callable[[], int], seconds: float) -> float:
    """Return what `work` counts per second."""
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        done += work()
    return done / (time.perf_counter() - start)


def environment(name: str, num_envs: int, threads: int, seconds: int) -> tuple[float, float, float]:
    """Return env steps/s of the vector environment, of the bare loop, and the median ratio."""
    env = bench.tasks.make_env(name, num_envs, seed=0, threads=threads)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (64, *env.action_space.shape)).astype(np.float32)  # type: ignore[misc]
    turn = [0]
    state = env.state.copy()  # type: ignore[attr-defined]

    def action() -> np.ndarray:
        turn[0] = (turn[0] + 1) % len(actions)
        return actions[turn[0]]

    def ours() -> int:
        env.step(action())
        return num_envs

    def bare() -> int:
        env.control[:] = action()[:, None]  # type: ignore[attr-defined]
        env.pool.rollout(  # type: ignore[attr-defined]
            env.models, env.datas, state, env.control, nstep=env.frame_skip,  # type: ignore[attr-defined]
            skip_checks=True, state=env.after, sensordata=env.sensors,  # type: ignore[attr-defined]
        )  # fmt: skip
        state[:] = env.after[:, -1]  # type: ignore[attr-defined]
        return num_envs

    for warm in (ours, bare):
        rate(warm, 0.3)
    pairs = [(rate(ours, seconds / ROUNDS), rate(bare, seconds / ROUNDS)) for _ in range(ROUNDS)]
    env.close()
    return (median(a for a, _ in pairs), median(b for _, b in pairs),
            median(a / b for a, b in pairs))  # fmt: skip


def updates(name: str, seconds: int) -> tuple[float, int]:
    """Return updates/s of an algorithm once it learns, and the rows of one update."""
    request = understand([f"algo={name}", f"task={TASKS[0]}", "budget=quick"])
    words = request.overrides(name, TASKS[0], "0")
    if "exploration" in bench.algos.registry[name].config.__dataclass_fields__:  # type: ignore[attr-defined]
        words.append("algo.exploration.warmup=32000")
    settings = resolve(words)
    task = bench.tasks.make_task(TASKS[0])
    spec = Spec(task.obs_dim, task.act_dim, settings.num_envs, task.horizon, task.position,
                task.max_return, 0)  # fmt: skip
    algo = bench.algos.registry[name].factory(spec, settings.algo, "cpu")
    env = task.make(settings.num_envs, 0)
    obs, _ = env.reset()
    for _ in range(2_000):
        action = algo.act(torch.as_tensor(obs), explore=True)
        after, reward, terminated, truncated, infos = env.step(action.numpy())
        true = np.where((terminated | truncated)[:, None], infos.get("final_obs", after), after)
        algo.observe(Transition(
            torch.as_tensor(obs), action, torch.as_tensor(reward).float(), torch.as_tensor(true),
            *(torch.as_tensor(x) for x in (terminated, truncated, terminated)),
        ))  # fmt: skip
        obs = after
        if algo.update():
            break
    env.close()
    per_second = rate(lambda: int(bool(algo.update())), seconds)
    return per_second, getattr(settings.algo, "batch", 0)
