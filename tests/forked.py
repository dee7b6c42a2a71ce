"""Commands of `python -m bench` in processes of their own, with faults at given places.

They are forked from one that has imported everything, which takes longer than a small run does.
"""

import contextlib
import io
import mmap
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench.algos
import bench.analysis.report
import bench.commands.eval
import bench.commands.render
import bench.commands.replan
import bench.commands.report
import bench.commands.run
import bench.commands.status
import bench.tasks
from bench.__main__ import main
from bench.analysis.catalogue import figures
from bench.runner import Run

PHASES = {  # of a run: what does it
    "training": (Run, "train"),
    "continuing": (Run, "restore"),
    "checkpointing": (Run, "save"),
    "evaluating": (Run, "evaluate"),
    "reporting": (bench.commands.run, "report"),
}
NAMES = ["beginning", *PHASES]
figures("runs"), bench.algos.discover(), bench.tasks.discover()
POLL = 0.0005  # s between looks at where a command is
Hooks = Mapping[tuple[str, int], Callable[[], None]]  # by phase and how often it was entered


class Watch:
    """Where a command is, seen from outside: in memory that both processes share."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 4096)

    @property
    def phase(self) -> str:
        """Where it is now, or was when it ended."""
        return NAMES[self.memory[0]]

    def entered(self, phase: str) -> int:
        """Return how often it has entered a phase."""
        return self.memory[1 + NAMES.index(phase)]

    def instrument(self, hooks: Hooks, spent: dict[str, list[float]]) -> None:
        """Have this process say where it is, do what hooks ask, and note how long it takes (s)."""
        self.start, self.inner = time.perf_counter(), 0.0  # the latter: s in phases within this one
        for phase, (owner, name) in PHASES.items():
            setattr(owner, name, self.wrapped(getattr(owner, name), phase, hooks, spent))

    def wrapped(
        self,
        function: Callable[..., Any],
        phase: str,
        hooks: Hooks,
        spent: dict[str, list[float]],
    ) -> Callable[..., Any]:
        """Return a function that says where it is."""

        def called(*args: Any, **kwargs: Any) -> Any:
            before, number = self.memory[0], NAMES.index(phase)
            self.memory[0] = number
            self.memory[1 + number] += 1
            hooks.get((phase, self.memory[1 + number]), lambda: None)()
            start, inner = time.perf_counter(), self.inner
            self.inner = 0.0
            spent.setdefault("beginning", [start - self.start])
            try:
                return function(*args, **kwargs)
            finally:
                passed = time.perf_counter() - start
                spent.setdefault(phase, []).append(passed - self.inner)
                self.inner = inner + passed
                self.memory[0] = before

        return called


@dataclass
class Ended:
    """How a command ended.

    Attributes:
        status: exit status; minus the signal where one ended it.
        said: all that it printed.
        phase: where it was.
        spent: s of each time that it was in a phase; {} where it was killed.
    """

    status: int
    said: str
    phase: str
    spent: dict[str, list[float]]

    @property
    def lines(self) -> list[str]:
        """What it printed, without empty lines and the progress bar's."""
        stripped = (line.strip() for line in self.said.splitlines())
        return [line for line in stripped if line and "ETA" not in line]


class Command:
    """A command that has been started.

    Args:
        words: of the command line.
        log: a file that takes what it prints.
        hooks: done in its process when it enters a phase the n-th time, from 1.
        prepare: done in its process first.
        report: whether a run ends with its report, which takes longer than a small run.
    """

    def __init__(
        self,
        words: list[str],
        log: Path,
        hooks: Hooks | None = None,
        prepare: Callable[[], Any] = lambda: None,
        report: bool = False,
    ) -> None:
        self.watch, self.log = Watch(), log
        self.log.unlink(missing_ok=True)
        self.times = log.with_suffix(".times")
        self.times.unlink(missing_ok=True)
        self.status: int | None = None
        self.pid = os.fork()
        if not self.pid:
            if not report:
                bench.commands.run.report = lambda runs: 0
            self.live(words, hooks or {}, prepare)

    def live(self, words: list[str], hooks: Hooks, prepare: Callable[[], Any]) -> None:
        """Be the command; never returns."""
        status, spent = 1, {}
        try:
            out = os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            prepare()
            self.watch.instrument(hooks, spent)
            status = main(words)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                self.times.write_bytes(pickle.dumps(spent))
            os._exit(status)

    def ended(self) -> bool:
        """Return whether it has."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def reach(self, phase: str, times: int) -> None:
        """Wait until it enters a phase for the given time, or ends."""
        while not self.ended() and self.watch.entered(phase) < times:
            time.sleep(POLL)

    def pause(self, phase: str, seconds: float) -> None:
        """Wait until it has been in a phase for so long from now on, or ends."""
        now = time.perf_counter()
        while not self.ended() and seconds > 0:
            time.sleep(min(POLL, seconds))
            before, now = now, time.perf_counter()
            seconds -= (now - before) * (self.watch.phase == phase)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        if not self.ended():
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Ended:
        """Wait for its end."""
        while not self.ended():
            time.sleep(0.01)
        assert self.status is not None
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        spent = pickle.loads(self.times.read_bytes()) if self.times.exists() else {}
        return Ended(self.status, said, self.watch.phase, spent)


def aside(function: Callable[..., Any], *args: Any) -> Any:
    """Return what a function returns in a process of its own, so that this one stays as it is."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            content = pickle.dumps(function(*args))
            with os.fdopen(write, "wb") as pipe:
                pipe.write(content)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        content = pipe.read()
    os.waitpid(pid, 0)
    if not content:
        raise RuntimeError(f"{function.__name__}{args} failed")
    return pickle.load(io.BytesIO(content))
