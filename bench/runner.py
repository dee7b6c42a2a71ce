"""One run: an algorithm learns a task, is evaluated, recorded and can be continued."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch

import bench.algos
import bench.tasks
from bench.api import Algorithm, HasReplay, Spec, TakesLabels, Task, TaskEnv
from bench.configuration import as_dict
from bench.datasets import Trajectory, check_fits, read, transitions
from bench.divergence import silence_mujoco
from bench.errors import LostError, NotFinite, UsageError, described
from bench.evaluation import evaluate, protocols, summarise
from bench.finite import ACTION_BOUND, BOUND, Scalars, check, non_finite, parameters
from bench.loggers import Loggers
from bench.policy import fitting, policy_state
from bench.probes import cluster_tree, headings, value_maps
from bench.provenance import digest, git_revision, hardware, now, versions
from bench.records import EpisodeLog, Record
from bench.rollout import Rollout
from bench.seeding import ALGORITHM, EVALUATION, TRAINING, derive
from bench.settings import Settings, cores, resolve_device
from bench.standing import run_dir, standing
from bench.storage import Damaged, load_state, save_state

STOPPING = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; a scheduler whose time is up
RECENT = 100  # training episodes whose return and success are logged


class Stopped(Exception):  # noqa: N818
    """Someone pressed Ctrl-C, or the process was asked to end."""


class Display(Protocol):
    """Where a run shows how it gets on."""

    def show(self, env_steps: int, total: int, facts: dict[str, float]) -> None:
        """Show progress; called often."""
        ...


class Run:
    """Everything of one run; `execute` does it from where it stands to its end."""

    algo: Algorithm
    env: TaskEnv
    rollout: Rollout
    loggers: Loggers
    episodes: EpisodeLog

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
        self.env_steps = self.updates = 0
        self.seconds = {"env": 0.0, "learner": 0.0, "eval": 0.0}
        self.recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self.scalars = Scalars()
        self.shown: dict[str, float] = {}
        self.due: set[str] = set()  # of "log", "eval" and "save", what is still to be done now
        self.stop = self.begun = False
        self.recorded = False  # whether run.json says how the run ended
        self.saving = False  # whether files are being written, which no Ctrl-C cuts short
        self.opened = contextlib.ExitStack()
        now_computed = {
            "device": self.device.partition(":")[0],
            "torch_threads": torch.get_num_threads(),
        }
        self.computed: list[dict[str, Any]] = [now_computed]
        self.facts: dict[str, Any] = {
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
            "start": now(), "end": None,
        }  # fmt: skip

    def execute(self, resume: bool) -> None:
        """Train to the end; a resumable state is left whatever happens.

        Raises:
            Stopped: on Ctrl-C, after a checkpoint.
            UsageError: if the checkpoint to resume from is damaged.
        """
        with self.record.lock(), self.signals(), self.opened:
            try:
                self.start(resume)
                self.train()
            except (Stopped, KeyboardInterrupt):
                self.end("interrupted")
                raise
            except LostError:  # the record is another's now
                raise
            except Exception as error:
                with contextlib.suppress(OSError):  # the disk is full: the caller says why
                    self.end("failed", described(error))
                raise
            self.end("done")

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Be asked to stop by Ctrl-C and by schedulers; only a main thread can be."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {which: signal.signal(which, self.interrupt) for which in STOPPING}
        try:
            yield
        finally:
            for which, handler in before.items():
                signal.signal(which, handler)

    def interrupt(self, *_: Any) -> None:
        """Ask the run to stop at the next step; a second Ctrl-C stops at once, unless it saves."""
        if self.stop and not self.saving:
            raise KeyboardInterrupt
        self.stop = True

    def start(self, resume: bool) -> None:
        """Build everything; go on from the checkpoint, or begin the record.

        A run that cannot be built replaces no other. With `overwrite`, a checkpoint that cannot be
        gone on from is replaced.

        Raises:
            UsageError: if the checkpoint is damaged or does not fit, unless it is replaced.
        """
        replaces = not resume and self.record.has_data()
        data = [] if resume else self.read_data()
        if replaces:
            self.check_replaceable()
        elif not resume:
            self.begin()
        else:
            self.check_unfinished()
        self.build()
        if resume:
            try:
                self.restore()
            except UsageError as error:
                if not self.settings.overwrite:
                    raise UsageError(f"{error}; overwrite=true makes the run anew") from None
                self.build()  # what was loaded so far goes
                replaces, resume, data = True, False, self.read_data()
        if resume:
            self.begun = True
            self.write_facts()
        elif replaces:
            self.begin()
        if data:
            assert isinstance(self.algo, HasReplay)
            told = {"tell": self.algo.observe_labels} if isinstance(self.algo, TakesLabels) else {}
            self.algo.begin_with(
                transitions(data, self.task, self.spec.num_envs, self.device, **told)
            )
        start = self.facts["start"]
        self.loggers = Loggers(self.settings, self.record.path, start, self.env_steps)
        self.opened.callback(self.loggers.close)

    def read_data(self) -> list[Trajectory]:
        """Return the episodes that the replay begins with.

        Raises:
            UsageError: if they do not fit, or the algorithm has no replay.
        """
        name = self.settings.data
        if name is None:
            return []
        algo = self.settings.names.algo
        factory = bench.algos.registry[algo].factory
        if not (isinstance(factory, type) and issubclass(factory, HasReplay)):
            raise UsageError(f"data={name}: {algo} has no replay that it could begin with")
        data = read(name)
        check_fits(name, data, self.task, self.spec.num_envs)
        return data

    def check_replaceable(self) -> None:
        """Check, now that the record is locked, that what was to be replaced still is.

        Raises:
            UsageError: if another process has since made or continued this very run.
        """
        try:
            state, differing = standing(self.record, self.settings)
        except Damaged:  # with `overwrite`: else it was refused before
            return
        if state != "new" and not differing:
            raise UsageError(
                f"{self.record.path} has just been made by another process; "
                "the same command goes on from there"
            )

    def check_unfinished(self) -> None:
        """Check, now that the record is locked, that what was to be continued still is.

        Raises:
            UsageError: if another process has since brought it to its end.
        """
        with contextlib.suppress(Damaged):  # it goes on from its checkpoint
            if self.record.read().get("status") == "done":
                raise UsageError(f"{self.record.path} has just been made by another process")

    def build(self) -> None:
        """Build the algorithm and its environments."""
        silence_mujoco()
        names = self.settings.names
        torch.manual_seed(self.spec.seed)
        self.algo = bench.algos.registry[names.algo].factory(
            self.spec, self.settings.algo, self.device
        )
        self.env = self.task.make(
            self.settings.num_envs, derive(self.settings.seed, TRAINING), self.threads
        )
        self.opened.callback(self.env.close)
        self.physics = self.opened.enter_context(ThreadPoolExecutor(1, "physics"))
        self.rollout = Rollout(self.env)
        self.episodes = EpisodeLog(self.record, self.task.resolution, self.task.position_dim)

    def begin(self) -> None:
        """Begin the record."""
        self.add_facts()
        self.record.begin(as_dict(self.settings), self.facts)
        self.begun = True

    def end(self, status: str, error: str | None = None) -> None:
        """Say how the run ended; where it never began, the record that is there stays."""
        self.saving = True
        self.facts |= {"status": status, "error": error, "end": now()}
        if self.begun:
            self.write_facts()
            self.recorded = True

    def train(self) -> None:
        """Step, learn, log, evaluate and save until the budget is spent."""
        self.settle()  # what was due when an interrupted run stopped
        every = {
            "log": self.settings.log.every, "eval": self.settings.eval.every,
            "save": self.settings.checkpoint.every,
        }  # fmt: skip
        while self.env_steps < self.settings.env_steps:
            before = self.env_steps
            self.step()
            last = self.env_steps >= self.settings.env_steps
            self.due |= {
                what for what, interval in every.items()
                if last or self.env_steps // interval > before // interval
            }  # fmt: skip
            self.stop = self.stop or self.stopping()
            self.settle()

    def settle(self) -> None:
        """Log, evaluate and save what is due.

        Raises:
            Stopped: if the run is to stop before all of its budget is spent and evaluated. What is
                due then is in the checkpoint.
        """
        if "log" in self.due:
            self.log()
            self.due.remove("log")
        if "eval" in self.due:
            try:
                self.tick()
                self.evaluate()
            except (Stopped, KeyboardInterrupt):  # playing episodes has changed nothing
                self.save()
                raise
            self.due.remove("eval")
        if self.stop or "save" in self.due:
            self.save()
        if self.stop and self.env_steps < self.settings.env_steps:
            raise Stopped

    def tick(self) -> None:
        """Stop here if the run is to stop; called between the steps of an evaluation."""
        self.stop = self.stop or self.stopping()
        if self.stop:
            raise Stopped

    def step(self) -> None:
        """Take one vector step and let the algorithm learn.

        With `overlap` it learns while the environments move, from all steps before this one: what
        either does is independent of the other's time, so that a run repeats exactly.

        Raises:
            NotFinite: naming the quantity and the step.
        """
        start = time.perf_counter()
        self.env_steps += self.settings.num_envs
        obs = torch.as_tensor(self.rollout.obs, dtype=torch.float32, device=self.device)
        with torch.no_grad():
            chosen = self.algo.act(obs, explore=True)
        action = chosen.cpu().numpy()
        check("action", action, ACTION_BOUND, self.env_steps)
        acted = time.perf_counter()
        scalars: Mapping[str, Any] = {}
        if self.settings.overlap:
            arriving = self.physics.submit(self.rollout.step, action)
            scalars = self.algo.update()
            learned = time.perf_counter()
            step = arriving.result()
        else:
            learned, step = acted, self.rollout.step(action)
        stepped = time.perf_counter()
        check("reward", step.reward, BOUND, self.env_steps)
        check("observation", step.next_obs, BOUND, self.env_steps)
        for episode in step.ended:
            self.recent.append((episode.total_reward, float(bool(episode.success))))
        if step.ended:  # other observations than those that episodes ended with
            check("observation", self.rollout.obs, BOUND, self.env_steps)
        if isinstance(self.algo, TakesLabels):
            self.algo.observe_labels(torch.as_tensor(step.labels))
        self.algo.observe(step.transition(self.device))
        if not self.settings.overlap:
            scalars = self.algo.update()
        self.updates += bool(scalars)
        self.scalars.add(scalars, self.env_steps)
        self.seconds["env"] += stepped - learned
        self.seconds["learner"] += time.perf_counter() - stepped + learned - start
        self.display.show(self.env_steps, self.settings.env_steps, self.shown)

    def log(self) -> None:
        """Record a line of progress.

        Raises:
            NotFinite: if a scalar is not.
        """
        line: dict[str, Any] = {
            "env_steps": self.env_steps, "updates": self.updates,
            "seconds": {key: round(value, 3) for key, value in self.seconds.items()},
            "num_modes": self.algo.num_modes, **self.scalars.means(),
        }  # fmt: skip
        if self.recent:
            returns, successes = np.mean(self.recent, axis=0)
            line |= {"train_return": float(returns), "train_success": float(successes)}
        line |= self.env.statistics()
        self.record.append_progress(line)
        self.loggers.log(line, self.env_steps)

    def evaluate(self) -> None:
        """Play fresh episodes by every protocol and record them, all or none.

        Raises:
            NotFinite: if what acts has a number that is not.
            Stopped: if the run is to stop.
        """
        start = time.perf_counter()
        self.check_saved(policy=policy_state(self.algo))
        rows: list[dict[str, Any]] = []
        paths: list[np.ndarray] = []
        scores: dict[str, float] = {}
        wanted = self.evaluations_left() < self.settings.eval.specified
        for protocol in protocols(self.task, self.algo, self.settings.eval.episodes, wanted):
            played, walked = evaluate(
                self.algo, self.task, protocol, seed=self.settings.seed, env_steps=self.env_steps,
                threads=self.threads, device=self.device, tick=self.tick,
            )  # fmt: skip
            rows += played
            paths += walked
            found = summarise(played, len(self.task.modes))
            if protocol.name == "sampled":
                self.shown = found
            elif protocol.name == "commanded":
                self.shown |= {"commanded": found["modes_found"]}
            scores |= {f"eval/{protocol.name}/{key}": value for key, value in found.items()}
        returns = np.array([row["return"] for row in rows])
        check("an evaluation's return", returns, BOUND, self.env_steps)
        seed = derive(self.settings.seed, EVALUATION, self.env_steps, *b"headings")
        headed = headings(self.algo, self.task, self.env, self.device, seed)
        self.saving = True
        self.episodes.add(rows, paths)
        self.loggers.log(scores, self.env_steps)
        self.save_policy()
        for name, arrays in (
            ("exploration.npz", self.env.arrays()),
            ("values.npz", value_maps(self.algo, self.env, self.device)),
            ("clusters.npz", cluster_tree(self.algo)),
        ):
            if arrays:
                self.record.write_arrays(name, env_steps=np.array(self.env_steps), **arrays)
        if headed:
            self.record.add_arrays("headings.npz", self.env_steps, headed)
        self.seconds["eval"] += time.perf_counter() - start
        self.facts["evaluated"] = self.episodes.counts()
        self.write_facts()
        self.saving = False

    def evaluations_left(self) -> int:
        """Return how many evaluations follow the one that is due."""
        total, every = self.settings.env_steps, self.settings.eval.every
        if self.env_steps >= total:
            return 0
        return -(-total // every) - self.env_steps // every

    def add_facts(self) -> None:
        """Bring the facts up to date."""
        self.facts |= {
            "env_steps": self.env_steps, "updates": self.updates, "seconds": dict(self.seconds),
            "computed": self.computed, "digest": digest(self.settings, self.computed),
        }  # fmt: skip

    def write_facts(self) -> None:
        """Replace run.json."""
        self.add_facts()
        self.record.write(self.facts)

    def save_policy(self) -> None:
        """Write the policy alone."""
        settings = as_dict(self.settings)
        stored = {
            "algo": self.settings.names.algo, "task": self.settings.names.task,
            "settings": settings["algo"], "plugins": settings["plugins"],
            "spec": dataclasses.asdict(self.spec), "task_settings": settings["task"],
            "state": policy_state(self.algo),
        }  # fmt: skip
        with self.record.sums.write("policy.pt") as file:
            save_state(stored, file, "policy")

    def check_saved(self, **states: Any) -> None:
        """Check that a state may be saved.

        Raises:
            NotFinite: naming a tensor that is not finite, and the step.
        """
        self.scalars.fetch()
        name = non_finite(states)
        if name:
            raise NotFinite(f"{name} is not finite at env step {self.env_steps}")

    def save(self) -> None:
        """Write the checkpoint, after which a killed run would go on.

        Raises:
            NotFinite: if a number of it is not; the last checkpoint stays.
        """
        self.saving = True
        algo = self.algo.state_dict()
        self.check_saved(policy=policy_state(self.algo), algorithm=parameters(algo))
        state = {
            "algo": algo, "env": self.rollout.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if "cuda" in self.device else None,
            "env_steps": self.env_steps, "updates": self.updates, "seconds": self.seconds,
            "recent": list(self.recent), "shown": self.shown, "scalars": self.scalars.values,
            "episodes": len(self.episodes.rows), "progress": self.record.progress_size,
            "start": self.facts["start"], "computed": self.computed,
            "due": sorted(self.due - {"save"}),
        }  # fmt: skip
        with self.record.sums.write("checkpoint.pt") as file:
            save_state(state, file, "checkpoint")
        self.due.discard("save")
        self.saving = False

    def restore(self) -> None:
        """Go back to the last checkpoint; what was recorded after it is dropped.

        Of this run's own numbers, none has changed where it raises.

        Raises:
            UsageError: if the checkpoint is damaged, or of a build that stored other things.
        """
        path = self.record.path / "checkpoint.pt"
        state = load_state(path, path, self.device)
        with fitting(path):
            self.algo.load_state_dict(state["algo"])
            self.rollout.set_state(state["env"])
            numbers = {name: state[name] for name in ("env_steps", "updates", "seconds", "shown")}
            scalars, due, recent = state["scalars"], set(state["due"]), list(state["recent"])
            start, before = state["start"], list(state["computed"])
            episodes, progress = int(state["episodes"]), int(state["progress"])
            generators = state["torch"].cpu(), state["cuda"]
        self.episodes.restore(episodes)
        self.facts["evaluated"] = self.episodes.counts()
        self.record.restore_progress(progress)
        for name, value in numbers.items():
            setattr(self, name, value)
        self.scalars.values, self.due, self.facts["start"] = scalars, due, start
        self.recent.extend(recent)
        self.computed = before + [one for one in self.computed if one not in before]
        torch.set_rng_state(generators[0])
        if generators[1] is not None and "cuda" in self.device:
            torch.cuda.set_rng_state(generators[1].cpu(), self.device)


def physics_threads(settings: Settings, side_by_side: int) -> int:
    """Return the threads of the physics of one of several runs side by side."""
    return settings.threads or max(1, cores() // side_by_side)
