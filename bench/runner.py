"""One run: an algorithm learns a task, is evaluated, recorded and can be continued."""

from __future__ import annotations

import dataclasses
import math
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

import bench.algos
import bench.tasks
from bench.api import Algorithm, Spec, Task
from bench.configuration import as_dict
from bench.errors import UsageError
from bench.evaluation import evaluate, protocols, summarise
from bench.loggers import Loggers
from bench.policy import policy_state
from bench.probes import cluster_tree, value_maps
from bench.provenance import digest, git_revision, hardware, now, versions
from bench.records import EpisodeLog, Record, atomic
from bench.rollout import Rollout
from bench.seeding import ALGORITHM, TRAINING, derive
from bench.settings import NEUTRAL, Settings, cores, resolve_device

STOPPING = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; a scheduler whose time is up
RECENT = 100  # training episodes whose return and success are logged


class Stopped(Exception):  # noqa: N818
    """Someone pressed Ctrl-C, or the process was asked to end."""


class Display(Protocol):
    """Where a run shows how it gets on."""

    def show(self, env_steps: int, total: int, facts: dict[str, float]) -> None:
        """Show progress; called often."""
        ...


def run_dir(settings: Settings) -> Path:
    """Return the directory of a run's records."""
    names = settings.names
    return (
        Path(settings.results) / settings.experiment / names.task / names.algo
        / f"seed={settings.seed}"
    )  # fmt: skip


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted keys."""
    if not isinstance(values, dict):
        return {prefix: list(values) if isinstance(values, tuple) else values}
    return {k: v for key, value in values.items()
            for k, v in flat(value, f"{prefix}.{key}" if prefix else key).items()}  # fmt: skip


def with_names_now(config: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return a flat configuration with the names that settings have now."""
    algo, task = (
        bench.algos.registry[settings.names.algo],
        bench.tasks.registry[settings.names.task],
    )
    renamed = {f"{part}.{was}": f"{part}.{now}" for part, entry in (("algo", algo), ("task", task))
               for was, now in entry.renamed.items()}  # fmt: skip
    return {renamed.get(key, key): value for key, value in config.items()}


def state_of(settings: Settings) -> str:
    """Say what is at a run's directory: `new`, `done` or `resume`.

    Raises:
        UsageError: if what is there was made with other settings, naming them, or is in use.
    """
    record = Record(run_dir(settings))
    facts = record.read() if not settings.overwrite else {}
    if record.locked():
        raise UsageError(f"{record.path} is in use by another process")
    if not facts:
        return "new"
    was, now = with_names_now(flat(record.read_config()), settings), flat(as_dict(settings))
    differing = [
        f"{key} was {was.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(was.keys() | now.keys())
        if key.split(".")[0] not in NEUTRAL and was.get(key) != now.get(key)
    ]
    if differing:
        more = f" (and {len(differing) - 4} more)" if len(differing) > 4 else ""
        raise UsageError(
            f"{record.path} was made with other settings: {'; '.join(differing[:4])}{more}. "
            "Use another experiment=NAME or overwrite=true"
        )
    if facts["status"] == "done":
        return "done"
    return "resume" if (record.path / "checkpoint.pt").exists() else "new"


class Run:
    """Everything of one run; `execute` does it from where it stands to its end."""

    def __init__(
        self,
        settings: Settings,
        threads: int,
        display: Display,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings, self.threads, self.display = settings, threads, display
        self.stopping = stopping  # asked at every step whether to end as after Ctrl-C
        self.device = resolve_device(settings.device)
        self.record = Record(run_dir(settings))
        names = settings.names
        entry = bench.algos.registry[names.algo]
        task_entry = bench.tasks.registry[names.task]
        self.task: Task = task_entry.factory(names.task, settings.task)
        task = self.task
        self.spec = Spec.of(task, settings.num_envs, derive(settings.seed, ALGORITHM))
        torch.manual_seed(self.spec.seed)
        self.algo: Algorithm = entry.factory(self.spec, settings.algo, self.device)
        self.env = task.make(settings.num_envs, derive(settings.seed, TRAINING), threads)
        self.rollout = Rollout(self.env)
        self.episodes = EpisodeLog(self.record, task.resolution, task.position_dim)
        self.loggers = Loggers(settings, self.record.path)
        self.env_steps = self.updates = 0
        self.seconds = {"env": 0.0, "learner": 0.0, "eval": 0.0}
        self.recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self.sums: dict[str, list[Any]] = {}
        self.shown: dict[str, float] = {}
        self.stop = False
        self.facts = {
            "status": "running", "error": None, "experiment": settings.experiment,
            "algo": names.algo, "task": names.task,
            "family": task_entry.info.get("family", names.task), "seed": settings.seed,
            "budget": settings.budget, "preset": settings.preset,
            "target_env_steps": settings.env_steps,
            "task_info": {
                "modes": list(task.modes), "layout": list(task.layout) if task.layout else None,
                "routes": list(task.routes) if task.routes else None, "cell": task.cell,
                "max_return": task.max_return, "horizon": task.horizon,
                "random_start": task.random_start,
            },
            "algo_info": {"summary": entry.summary, **entry.info},
            "versions": versions(), "git": git_revision(), "hardware": hardware(self.device),
            "threads": threads, "torch_threads": torch.get_num_threads(),
            "digest": digest(settings), "start": now(), "end": None,
        }  # fmt: skip

    def execute(self, resume: bool) -> None:
        """Train to the end; a resumable state is left whatever happens.

        Raises:
            Stopped: on Ctrl-C, after a checkpoint.
            UsageError: if the checkpoint to resume from is damaged.
        """
        before = {which: signal.getsignal(which) for which in STOPPING}
        with self.record.lock():
            if resume:
                self.restore()
            else:
                self.record.clear()
                self.record.write_config(as_dict(self.settings))
            self.write_facts()
            try:
                for which in STOPPING:
                    signal.signal(which, self.interrupt)
                self.train()
                self.finish()
            except (Stopped, KeyboardInterrupt):
                self.facts |= {"status": "interrupted", "end": now()}
                raise
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                place = f"{Path(where.filename).name}:{where.lineno}"
                self.facts |= {"status": "failed", "end": now(),
                               "error": f"{type(error).__name__}: {error} ({place})"}  # fmt: skip
                raise
            finally:
                for which, handler in before.items():
                    signal.signal(which, handler)
                self.write_facts()
                self.loggers.close()
                self.env.close()

    def interrupt(self, *_: Any) -> None:
        """Ask the run to stop at the next step; a second Ctrl-C stops at once."""
        if self.stop:
            raise KeyboardInterrupt
        self.stop = True

    def train(self) -> None:
        """Step, learn, log, evaluate and save until the budget is spent."""
        every = self.settings
        while self.env_steps < every.env_steps:
            before = self.env_steps
            self.step()
            last = self.env_steps >= every.env_steps
            self.stop = self.stop or self.stopping()

            def due(interval: int, before: int = before, last: bool = last) -> bool:
                return last or self.env_steps // interval > before // interval

            if due(every.log.every):
                self.log()
            if due(every.eval.every):
                self.evaluate()
            if self.stop or due(every.checkpoint.every):
                self.save()
            if self.stop and not last:
                raise Stopped

    def step(self) -> None:
        """Take one vector step and let the algorithm learn."""
        start = time.perf_counter()
        obs = torch.as_tensor(self.rollout.obs, dtype=torch.float32, device=self.device)
        with torch.no_grad():
            action = self.algo.act(obs, explore=True)
        acted = time.perf_counter()
        step = self.rollout.step(action.cpu().numpy())
        stepped = time.perf_counter()
        for episode in step.ended:
            self.recent.append((episode.total_reward, float(bool(episode.success))))
        self.algo.observe(step.transition(self.device))
        scalars = self.algo.update()
        self.updates += bool(scalars)
        for key, value in scalars.items():
            self.sums.setdefault(key, []).append(value)
        self.env_steps += self.settings.num_envs
        self.seconds["env"] += stepped - acted
        self.seconds["learner"] += time.perf_counter() - stepped + acted - start
        self.display.show(self.env_steps, self.settings.env_steps, self.shown)

    def log(self) -> None:
        """Record a line of progress.

        Raises:
            FloatingPointError: if a logged scalar is not finite.
        """
        means = {key: float(torch.stack([torch.as_tensor(v, dtype=torch.float32).cpu()
                                         for v in values]).mean())
                 for key, values in self.sums.items()}  # fmt: skip
        self.sums.clear()
        for key, value in means.items():
            if not math.isfinite(value):
                raise FloatingPointError(f"{key} is {value} after {self.env_steps} env steps")
        line: dict[str, Any] = {
            "env_steps": self.env_steps, "updates": self.updates,
            "seconds": {key: round(value, 3) for key, value in self.seconds.items()},
            "num_modes": self.algo.num_modes, **means,
        }  # fmt: skip
        if self.recent:
            returns, successes = np.mean(self.recent, axis=0)
            line |= {"train_return": float(returns), "train_success": float(successes)}
        line |= self.env.statistics()
        self.record.append_progress(line)
        self.loggers.log(line, self.env_steps)

    def evaluate(self) -> None:
        """Play fresh episodes by every protocol and record them."""
        start = time.perf_counter()
        for protocol in protocols(self.task, self.algo.num_modes, self.settings.eval.episodes):
            rows, paths = evaluate(
                self.algo, self.task, protocol, seed=self.settings.seed, env_steps=self.env_steps,
                threads=self.threads, device=self.device,
            )  # fmt: skip
            self.episodes.add(rows, paths)
            found = summarise(rows, len(self.task.modes))
            if protocol.name == "sampled":
                self.shown = found
            elif protocol.name == "commanded":
                self.shown |= {"commanded": found["modes_found"]}
            scores = {f"eval/{protocol.name}/{key}": value for key, value in found.items()}
            self.loggers.log(scores, self.env_steps)
        self.save_policy()
        for name, arrays in (
            ("exploration.npz", self.env.arrays()),
            ("values.npz", value_maps(self.algo, self.env, self.device)),
            ("clusters.npz", cluster_tree(self.algo)),
        ):
            if arrays:
                self.record.write_arrays(name, env_steps=np.array(self.env_steps), **arrays)
        self.seconds["eval"] += time.perf_counter() - start
        self.write_facts()

    def write_facts(self) -> None:
        """Replace run.json."""
        self.facts |= {"env_steps": self.env_steps, "updates": self.updates,
                       "seconds": dict(self.seconds)}  # fmt: skip
        self.record.write(self.facts)

    def finish(self) -> None:
        """Mark the run as done."""
        self.facts |= {"status": "done", "end": now()}

    def save_policy(self) -> None:
        """Write the policy alone."""
        settings = as_dict(self.settings)
        stored = {
            "algo": self.settings.names.algo, "task": self.settings.names.task,
            "settings": settings["algo"], "plugins": settings["plugins"],
            "spec": dataclasses.asdict(self.spec), "task_settings": settings["task"],
            "state": policy_state(self.algo),
        }  # fmt: skip
        with atomic(self.record.path / "policy.pt") as file:
            torch.save(stored, file)

    def save(self) -> None:
        """Write the checkpoint, after which a killed run would go on."""
        state = {
            "algo": self.algo.state_dict(), "env": self.rollout.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if "cuda" in self.device else None,
            "env_steps": self.env_steps, "updates": self.updates, "seconds": self.seconds,
            "recent": list(self.recent), "shown": self.shown, "sums": self.sums,
            "episodes": len(self.episodes.rows), "progress": self.record.progress_size(),
            "start": self.facts["start"],
        }  # fmt: skip
        with atomic(self.record.path / "checkpoint.pt") as file:
            torch.save(state, file)

    def restore(self) -> None:
        """Go back to the last checkpoint; what was recorded after it is dropped.

        Raises:
            UsageError: if the checkpoint is damaged.
        """
        path = self.record.path / "checkpoint.pt"
        try:
            state = torch.load(path, map_location=self.device, weights_only=False)
            self.algo.load_state_dict(state["algo"])
        except Exception as error:
            raise UsageError(f"{path} is damaged ({type(error).__name__}); overwrite=true makes "
                             "the run anew") from None  # fmt: skip
        self.rollout.set_state(state["env"])
        for name in ("env_steps", "updates", "seconds", "shown", "sums"):
            setattr(self, name, state[name])
        self.recent.extend(state["recent"])
        self.facts["start"] = state["start"]
        self.episodes.restore(state["episodes"])
        self.record.truncate_progress(state["progress"])
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"].cpu(), self.device)


def physics_threads(settings: Settings, side_by_side: int) -> int:
    """Return the threads of the physics of one of several runs side by side."""
    return settings.threads or max(1, cores() // side_by_side)
