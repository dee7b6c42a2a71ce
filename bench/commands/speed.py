"""Measure env steps/s and updates/s in one run, as shares of what the machine can do.

  python -m bench speed [algo=NAME,...] [task=pointmaze-v3] [size=suite|paper] [precision=fp32]
                        [device=cpu] [warmup=32000] [num_envs=256] [threads=CORES]
                        [torch_threads=1] [seconds=2] [timed=1] [out=results/speed]
                        [plugins=MODULE,...]

How many network calls an action takes, and how many floating-point operations, is counted: one
plain sample without a command, as in evaluation. With timed=0 nothing else is done, and a busy
machine does not matter.

Environments are compared with their physics alone, one call of `mujoco.rollout` over the same
model, batch and frame skip; with algo=... they are left out.

Updates are those of algorithms that learn from a replay, with the networks and the batch of a
preset (size), after `warmup` env steps of random exploration: the longer it is, the more modes
DDiffPG knows. GFLOP are the floating-point operations of an update's matrix products. `products`
is the time of float32 products of the same shapes by themselves, in that of the update: at 100 %
it would do nothing else. Parts are shares of an update's time. Where Stable-Baselines3 is
installed, its SAC and TD3 take turns with ours on Pendulum, at its own sizes. Algorithms and
precisions, as in precision=fp32,bf16, take turns too, so that their ratios hold on a machine whose
speed changes. A measurement of each takes `seconds`. What was measured is also
written, as JSON, to a file below `out` that is named by task, size and device, or ends in
`-actions`, with timed=0.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.table import Table

import bench.algos
import bench.tasks
from bench.algos.common.networks import PRECISIONS
from bench.configuration import expand_algos, expand_tasks, has_preset, names
from bench.errors import UsageError
from bench.memory import keep_freed_memory
from bench.printing import show
from bench.provenance import git_revision, hardware, now, versions
from bench.registry import load_plugins
from bench.rollout import Rollout
from bench.settings import MOST, check_writable, cores, resolve_device
from bench.tasks.vector import WorldVectorEnv
from bench.updates import (
    beside_stable_baselines3,
    count_action,
    has_replay,
    learner,
    measure,
    untrained,
)
from bench.words import integer, parse

TASKS = ("pointmaze-v3", "antmaze-v1", "reach")  # one per family; the first is learned on
SIZES = ("suite", "paper")
ROUNDS = 5  # each way of stepping in turn, so that noise hits both alike


def main(words: list[str]) -> int:
    """Print the tables."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    numbers = {"num_envs": 256, "threads": cores(), "torch_threads": 1, "seconds": 2,
               "warmup": 32_000}  # fmt: skip
    defaults = {"algo": "", "task": TASKS[0], "size": SIZES[0], "precision": PRECISIONS[0],
                "device": "cpu", "timed": "1", "out": "results/speed", "plugins": ""}  # fmt: skip
    plain, values = parse(words, defaults | {key: str(value) for key, value in numbers.items()})
    if plain:
        raise UsageError(f"speed takes key=value words, not {plain[0]!r}")
    number = {key: integer(key, values[key], most=MOST) for key in numbers}
    algos, task, size = names(values["algo"]), values["task"], values["size"]
    load_plugins(names(values["plugins"]))
    bench.tasks.discover()
    if expand_tasks([task], own_layout=False) != [task]:
        raise UsageError(f"task={task}: speed takes one task")
    if size not in SIZES:
        raise UsageError(f"size={size!r}: valid are {', '.join(SIZES)}")
    precisions = names(values["precision"])
    for name in precisions or [""]:
        if name not in PRECISIONS:
            raise UsageError(f"precision={name!r}: valid are {', '.join(PRECISIONS)}")
    if values["timed"] not in ("0", "1"):
        raise UsageError(f"timed={values['timed']}: valid are 0, 1")
    timed = values["timed"] == "1"
    device = resolve_device(values["device"])
    check_writable(Path(values["out"]), "out")
    known = bench.algos.discover()
    for name in algos:
        if name != "all":
            known[name]  # or it is named as unknown
    torch.set_num_threads(number["torch_threads"])
    keep_freed_memory()
    chosen = sized(expand_algos(algos or ["all"]), algos, task, size)
    if timed and not any(map(has_replay, chosen)):
        raise UsageError(
            f"algo={','.join(algos)}: none of these learns from a replay, timed=0 counts actions"
        )
    found: dict[str, Any] = {"environments": [], "updates": [], "stable_baselines3": []}
    if timed and not algos:
        found["environments"] = environments(
            number["num_envs"], number["threads"], number["seconds"]
        )
    found["actions"] = actions(chosen, task, size, device)
    if timed:
        found |= updates(chosen, task, size, number["warmup"], number["seconds"], precisions,
                         device)  # fmt: skip
    how = {key: values[key] for key in ("task", "size", "precision")} | {"device": device}
    keep(Path(values["out"]), how | {key: number[key] for key in numbers}, found, timed)
    return 0


def sized(chosen: list[str], asked: list[str], task: str, size: str) -> list[str]:
    """Return the algorithms that the preset `size` says anything of; say which of `all` are not.

    Raises:
        UsageError: if one that is asked for by its name is not.
    """
    algos, entry = bench.algos.registry, bench.tasks.registry[task]
    silent = [name for name in chosen if not has_preset(size, algos[name], entry)]
    named = sorted(set(silent) & set(asked))
    if named:
        raise UsageError(f"size={size}: {', '.join(named)} has no such preset")
    if silent:
        print(f"left out, without a preset {size!r}: {', '.join(silent)}")
    return [name for name in chosen if name not in silent]


def keep(out: Path, how: dict[str, Any], found: dict[str, Any], timed: bool) -> None:
    """Write what was measured, how and on what, to a file named by the settings."""
    facts = {"start": now(), "git": git_revision(), "versions": versions(),
             "hardware": hardware(str(how["device"]))}  # fmt: skip
    named = [str(how[key]) for key in ("task", "size", "device")] + ["actions"] * (not timed)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{'-'.join(named).replace(':', '')}.json"
    path.write_text(json.dumps(facts | {"settings": how} | found, indent=1) + "\n")
    print(f"written: {path}")


def environments(num_envs: int, threads: int, seconds: int) -> list[dict[str, Any]]:
    """Print and return how fast environments are, one task per family."""
    shown = Table("task", "env steps/s", "bare rollout", "share", title="environments")
    rows = []
    for name in TASKS:
        ours, bare, share = environment(name, num_envs, threads, seconds)
        shown.add_row(name, f"{ours:,.0f}", f"{bare:,.0f}", f"{share:.0%}")
        rows.append({"task": name, "steps_per_s": ours, "bare": bare, "share": share})
    show(shown)
    return rows


def actions(algos: list[str], task: str, size: str, device: str) -> list[dict[str, Any]]:
    """Print and return what an action takes, of every algorithm that has networks."""
    shown = Table("algorithm", "network calls", "MFLOP", title=f"one action on {task}, size={size}")
    rows = []
    for name in algos:
        words = ["algo.precision=fp32"] if has_replay(name) else []
        algo, spec, _ = untrained(name, task, size, words, device)
        found = count_action(algo, spec, device)
        if found is None:
            continue
        shown.add_row(name, str(found.calls), f"{found.flops / 1e6:.3f}")
        rows.append({"algo": name, **dataclasses.asdict(found)})
    show(shown)
    return rows


def updates(
    algos: list[str],
    task: str,
    size: str,
    warmup: int,
    seconds: int,
    precisions: list[str],
    device: str,
) -> dict[str, Any]:  # fmt: skip
    """Print and return how fast algorithms learn, what on, and a peer library's beside it."""
    learning = Table("algorithm", "precision", "modes", "rows", "updates/s", "GFLOP", "GFLOP/s",
                     "products", title=f"learning on {task}, size={size}")  # fmt: skip
    split = Table("algorithm", "precision", "parts of an update")
    rows, peers = [], []
    each = list(itertools.product(filter(has_replay, algos), precisions))
    made = [learner(name, task, size, warmup, [f"algo.precision={precision}"], device)
            for name, precision in each]  # fmt: skip
    for (name, precision), found in zip(each, measure(made, seconds * len(made)), strict=True):
        learning.add_row(
            name, precision, str(found.modes), f"{found.rows:,}", f"{found.rate:,.1f}",
            f"{found.flops / 1e9:.3f}", f"{found.flops * found.rate / 1e9:.1f}",
            f"{found.share:.0%}",
        )  # fmt: skip
        shares = (f"{part} {share:.0%}" for part, share in found.parts.items() if share >= 0.005)
        split.add_row(name, precision, ", ".join(shares))
        rows.append({"algo": name, "precision": precision, **dataclasses.asdict(found)})
    show(learning)
    show(split)
    beside = Table("algorithm", "precision", "updates/s", "Stable-Baselines3", "ratio",
                   title="on Pendulum")  # fmt: skip
    for name, precision in itertools.product(algos, precisions):
        pair = beside_stable_baselines3(name, seconds, [f"algo.precision={precision}"])
        if pair is not None:
            ours, theirs, ratio = pair
            beside.add_row(name, precision, f"{ours:,.1f}", f"{theirs:,.1f}", f"{ratio:.2f}")
            peers.append({"algo": name, "precision": precision, "ours": ours, "theirs": theirs,
                          "ratio": ratio})  # fmt: skip
    if beside.row_count:
        show(beside)
    return {"updates": rows, "stable_baselines3": peers}


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
