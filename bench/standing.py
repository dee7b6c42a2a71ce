"""Where a run's records lie, and how far the run is that lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bench.algos
import bench.tasks
from bench.configuration import as_dict
from bench.errors import UsageError
from bench.lease import InUseError, judged_together, watched
from bench.records import Record
from bench.settings import Settings, binding, flat
from bench.storage import Damaged


def place_of(results: str, experiment: str, task: str, algo: str, seed: int) -> Path:
    """Return the directory of a run's records, by its names."""
    return Path(results) / experiment / task / algo / f"seed={seed}"


def run_dir(settings: Settings) -> Path:
    """Return the directory of a run's records."""
    names = settings.names
    return place_of(settings.results, settings.experiment, names.task, names.algo, settings.seed)


def as_read_now(stored: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return what a record says of its settings, flat, under the names that settings have now.

    What it does not name came later; its default is what was done before.
    """
    algo, task = (
        bench.algos.registry[settings.names.algo],
        bench.tasks.registry[settings.names.task],
    )
    renamed = {f"{part}.{was}": f"{part}.{now}" for part, entry in (("algo", algo), ("task", task))
               for was, now in entry.renamed.items()}  # fmt: skip
    named = {renamed.get(key, key): value for key, value in flat(stored).items()}
    defaults = as_dict(Settings(algo=algo.config(), task=task.config()))
    return flat(binding(defaults)) | named


def state_of(settings: Settings) -> str:
    """Say what is to be done at a run's directory: `new`, `done` or `resume`.

    With `overwrite`, a run that is damaged or was made with other settings counts as `new`.

    Raises:
        UsageError: if what is there was made with other settings, naming them, is damaged, or is in
            use.
    """
    record = Record(run_dir(settings))
    user = watched(record.path)
    if user is not None:
        raise InUseError(record.path, user)
    try:
        state, differing = standing(record, settings)
    except Damaged as error:
        if settings.overwrite:
            return "new"
        raise UsageError(f"{error}; overwrite=true makes the run anew") from None
    if differing and not settings.overwrite:
        more = f" (and {len(differing) - 4} more)" if len(differing) > 4 else ""
        raise UsageError(
            f"{record.path} was made with other settings: {'; '.join(differing[:4])}{more}. "
            "Use another experiment=NAME or overwrite=true"
        )
    return "new" if differing else state


def states_of(runs: list[Settings]) -> list[str]:
    """Return the state of every run of a sweep, `elsewhere` where another host is making it.

    Raises:
        UsageError: as `state_of` does, where a process of this host is making one too.
    """
    judged_together(map(run_dir, runs))  # one that has died is watched for 90 s
    states = []
    for settings in runs:
        try:
            states.append(state_of(settings))
        except InUseError as error:
            if len(runs) == 1 or not error.elsewhere:
                raise
            states.append("elsewhere")
    return states


def standing(record: Record, settings: Settings) -> tuple[str, list[str]]:
    """Return how far a run is, and the settings in which it differs; every file is checked.

    A lost or damaged run.json is no loss where there is a checkpoint: the run goes on from there.

    Raises:
        Damaged: if a file is, or is lost.
    """
    if not record.has_data():
        return "new", []
    checkpoint = (record.path / "checkpoint.pt").exists()
    try:
        facts = record.read()
    except Damaged:
        if not checkpoint:
            raise
        facts = {}
    if not (facts or checkpoint):
        raise Damaged(f"{record.path}: run.json is lost, and there is no checkpoint")
    if not checkpoint and facts.get("env_steps", 1) == 0:
        return "new", []  # it failed before its first step: there is nothing to lose
    done = facts.get("status") == "done"  # then the checkpoint may have been thrown away
    record.sums.verify(but=("run.json", "checkpoint.pt") if done else ("run.json",))
    stored = record.read_config()
    if not stored and facts.get("env_steps", 1):
        raise Damaged(f"{record.path}: config.yaml is lost, which says what was run")
    was, now = as_read_now(binding(stored), settings), flat(binding(as_dict(settings)))
    differing = [
        f"{key} was {was.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(was.keys() | now.keys()) if was.get(key) != now.get(key)
    ]  # fmt: skip
    if done:
        return "done", differing
    return ("resume" if checkpoint else "new"), differing if stored else []
