"""What is shown while runs are going on."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from bench.errors import UsageError
from bench.records import Record

POLL = 1.0  # s between looks at the records of a sweep


class Speed(ProgressColumn):
    """Env steps per second."""

    def render(self, task: Task) -> Text:
        """Return the speed of late, or nothing before it is known."""
        return Text(f"{task.speed:,.0f} steps/s" if task.speed else "", style="cyan")


def progress(console: Console) -> Progress:
    """Return a bar with env steps, speed, elapsed time, ETA and the last evaluation."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Speed(),
        TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}"), console=console, speed_estimate_period=20,
    )  # fmt: skip


class Silent:
    """Shows nothing: a run of a sweep, whose overview reads the records."""

    def show(self, env_steps: int, total: int, facts: dict[str, float]) -> None:
        """Show nothing."""


class Bar:
    """One run's progress bar."""

    def __init__(self, console: Console, title: str) -> None:
        self.progress = progress(console)
        self.task = self.progress.add_task(escape(title), total=None, facts="")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def show(self, env_steps: int, total: int, facts: dict[str, float]) -> None:
        """Move the bar; say what the last evaluation found."""
        text = ""
        if facts:
            text = f"success {facts['success']:.0%}, modes {facts['modes_found']:.0f}"
        if "commanded" in facts:
            text += f", on command {facts['commanded']:.0f}"
        self.progress.update(self.task, completed=env_steps, total=total, facts=text)


class Overview:
    """One bar over all runs of a sweep, read from their records."""

    def __init__(self, console: Console, places: list[Path]) -> None:
        self.places = places
        self.progress = progress(console)
        self.task = self.progress.add_task(f"{len(places)} runs", total=None, facts="")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def watch(self, quiet: threading.Event) -> None:
        """Look at the records until asked to be quiet."""
        while not quiet.wait(POLL):
            self.look()
        self.look()

    def look(self) -> None:
        """Read where every run stands."""
        steps = total = 0
        states: dict[str, int] = {}
        for place in self.places:
            record = Record(place)
            try:
                facts, line = record.read(), record.last_progress()
            except (UsageError, OSError):  # named when the sweep ends
                continue
            state = str(facts.get("status", "waiting"))
            states[state] = states.get(state, 0) + 1
            reached = facts.get("env_steps", 0)
            steps += max(reached, line.get("env_steps", 0)) if facts else 0
            total += facts.get("target_env_steps", 0)
        known = len(self.places) - states.get("waiting", 0)
        if known:
            total = round(total / known * len(self.places))  # those not begun: as long on average
            text = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            self.progress.update(self.task, completed=steps, total=total, facts=text)
