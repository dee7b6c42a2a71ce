"""Measure env steps/s and updates/s in one run, as shares of what the machine can do.

  python -m bench speed [num_envs=256] [threads=CORES] [torch_threads=1] [seconds=2]

Environments are compared with their physics alone, one call of `mujoco.rollout` over the same
model, batch and frame skip; updates with the steps of the environments that they learn from.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from rich.table import Table

import bench.algos
import bench.tasks
from bench.api import Spec
from bench.configuration import resolve, understand
from bench.display import show
from bench.errors import UsageError
from bench.rollout import Rollout
from bench.settings import cores
from bench.tasks.vector import WorldVectorEnv
from bench.words import integer, parse

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
    num_envs, threads = (
        integer("num_envs", values["num_envs"]),
        integer("threads", values["threads"]),
    )
    seconds = integer("seconds", values["seconds"])
    shown = Table("task", "env steps/s", "bare rollout", "share", title="environments")
    for name in TASKS:
        ours, bare, share = environment(name, num_envs, threads, seconds)
        shown.add_row(name, f"{ours:,.0f}", f"{bare:,.0f}", f"{share:.0%}")
    show(shown)
    torch.set_num_threads(integer("torch_threads", values["torch_threads"]))
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
    rollout, bare = (Rollout(bench.tasks.make_env(name, num_envs, 0, threads)) for _ in range(2))
    physics = bare.env
    assert isinstance(physics, WorldVectorEnv)
    shape = (64, num_envs, bench.tasks.make_task(name).act_dim)
    actions = itertools.cycle(np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32))

    def stepped() -> int:
        rollout.step(next(actions))
        return num_envs

    def simulated() -> int:
        physics.simulate(next(actions))
        return num_envs

    for warm in (stepped, simulated):
        rate(warm, 0.3)
    pairs = [
        (rate(stepped, seconds / ROUNDS), rate(simulated, seconds / ROUNDS)) for _ in range(ROUNDS)
    ]
    rollout.env.close()
    physics.close()
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
    algo = bench.algos.registry[name].factory(
        Spec.of(task, settings.num_envs, 0), settings.algo, "cpu"
    )
    rollout = Rollout(task.make(settings.num_envs, 0))
    for _ in range(2_000):
        action = algo.act(torch.as_tensor(rollout.obs), explore=True)
        algo.observe(rollout.step(action.numpy()).transition("cpu"))
        if algo.update():
            break
    rollout.env.close()
    per_second = rate(lambda: int(bool(algo.update())), seconds)
    return per_second, getattr(settings.algo, "batch", 0)
