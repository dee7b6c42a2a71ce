"""From records to tables of evaluations and scores, and what may be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis import metrics
from bench.analysis.runs import RunRecord, Scores, read_runs
from bench.errors import UsageError

LAST = 3  # evaluations whose mean is a run's score
KEYS = ["experiment", "task", "family", "algo", "seed", "budget", "preset", "status"]
STEPS_APART = 0.01  # share by which the last evaluations of comparable runs may be apart


def load_results(results: str | Path) -> pd.DataFrame:
    """Return one row per evaluation of each run and protocol, with all metrics.

    Columns: experiment, task, family, algo, seed, budget, preset, status, floor (random play),
    mujoco, target_env_steps, minutes, num_modes, env_steps, protocol, episodes and the metrics of
    `metrics.METRICS`. Unfinished runs are included.

    Raises:
        UsageError: if there is no such folder.
    """
    if not Path(results).is_dir():
        raise UsageError(f"results={results}: no such folder")
    return table(read_runs(results))


def table(runs: list[RunRecord]) -> pd.DataFrame:
    """Return the evaluations of runs, one row each (see `load_results`).

    Where an algorithm that takes commands knew no mode to command, nothing was solved on command:
    the row has no episodes and 0 for every metric that is 0 where nothing is solved.
    """
    commandable = {run.facts["algo"] for run in runs if run.commandable}
    parts: list[dict[str, Any]] = []
    for run in runs:
        if run.episodes.empty:
            continue
        facts, num_modes = run.facts, len(run.modes)
        fixed = {key: facts.get(key) for key in KEYS} | {
            "floor": run.floor,
            "mujoco": facts.get("versions", {}).get("mujoco"),
            "target_env_steps": facts.get("target_env_steps"),
            "minutes": sum(facts.get("seconds", {}).values()) / 60,
            "num_modes": num_modes,
        }
        run.scores = scores = run.scores or scored(run)
        at, protocol = np.array(scores["env_steps"]), np.array(scores["protocol"])
        uncommanded = np.empty(0, np.int64)  # env steps at which there was no mode to command
        if num_modes and facts["algo"] in commandable:
            uncommanded = np.setdiff1d(at[protocol == "sampled"], at[protocol == "commanded"])
        columns = {
            "env_steps": [*scores["env_steps"], *uncommanded.tolist()],
            "protocol": [*scores["protocol"], *["commanded"] * len(uncommanded)],
            "episodes": [*scores["episodes"], *[0] * len(uncommanded)],
        }
        for name, metric in metrics.METRICS.items():
            columns[name] = [*scores[name], *[metric.nothing] * len(uncommanded)]
        rows = len(columns["env_steps"])
        parts.append({name: [value] * rows for name, value in fixed.items()} | columns)
    if not parts:
        return pd.DataFrame()
    return pd.DataFrame({name: [v for part in parts for v in part[name]] for name in parts[0]})


def scored(run: RunRecord) -> Scores:
    """Return all metrics of a run's evaluations, by env steps and protocol."""
    own = run.episodes
    codes, protocols = pd.factorize(own["protocol"], sort=True)
    key = own["env_steps"].to_numpy(np.int64) * len(protocols) + codes
    keys, group = np.unique(key, return_inverse=True)
    columns = {
        "env_steps": (keys // len(protocols)).tolist(),
        "protocol": np.asarray(protocols)[keys % len(protocols)].tolist(),
        "episodes": np.bincount(group).tolist(),
    }
    made = metrics.evaluations(run.evaluations(group))
    return columns | {name: values.tolist() for name, values in made.items()}


def final_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Return each run's scores: the mean over its last evaluations, never its best one."""
    keys = ["experiment", "task", "algo", "seed", "protocol"]
    ordered = frame.sort_values("env_steps")
    last = ordered.groupby(keys, dropna=False).tail(LAST)
    numbers = [c for c in last.columns if c not in (*KEYS, "protocol", "mujoco")]
    means = last.groupby(keys)[numbers].mean()
    means["env_steps"] = last.groupby(keys)["env_steps"].max()
    return means.reset_index()


def algorithms(frame: pd.DataFrame) -> list[str]:
    """Return the algorithms of a frame as tables list them: by name, random play last."""
    last = floors(frame)
    return sorted(frame["algo"].unique(), key=lambda name: (name in last, name))


def floors(frame: pd.DataFrame) -> set[str]:
    """Return the algorithms of a frame that are random play."""
    return set(frame.loc[frame["floor"].astype(bool), "algo"])


def finished(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the evaluations of runs that are done: only those have a score to compare."""
    return frame[frame["status"] == "done"] if len(frame) else frame


def refusals(frame: pd.DataFrame) -> list[str]:
    """Return why runs of a task must not be compared; empty if they may be.

    Random play learns nothing, so that the length of its runs is of no consequence.
    """
    found = []
    for task, part in frame.groupby("task"):
        learned = part[~part["floor"].astype(bool)]
        for column, of in (("budget", learned), ("target_env_steps", learned), ("mujoco", part)):
            values = sorted(map(str, of[column].dropna().unique()))
            if len(values) > 1:
                found.append(f"{task}: runs differ in {column}: {', '.join(values)}")
        for algo, own in part.groupby("algo"):
            presets = sorted(map(str, own["preset"].dropna().unique()))
            if len(presets) > 1:
                found.append(f"{task}: seeds of {algo} differ in preset: {', '.join(presets)}")
        done = finished(learned)
        ends = done.groupby(["experiment", "algo", "seed"])["env_steps"].max()
        if len(ends) and ends.min() < (1 - STEPS_APART) * ends.max():
            found.append(f"{task}: last evaluations differ in env_steps: "
                         f"{ends.min():,} to {ends.max():,}")  # fmt: skip
    return found


def median_run(runs: list[RunRecord], frame: pd.DataFrame, protocol: str) -> RunRecord:
    """Return the run whose solved modes are the median of its seeds (the lower of two)."""
    scores = final_scores(frame[frame["protocol"] == protocol]).set_index("seed")["solved_modes"]
    known = [run for run in runs if run.facts["seed"] in scores.index]
    ordered = sorted(known or runs, key=lambda run: float(scores.get(run.facts["seed"], 0.0)))
    return ordered[(len(ordered) - 1) // 2]


def per_algo(runs: Sequence[RunRecord], frame: pd.DataFrame, protocol: str) -> list[RunRecord]:
    """Return the median run of every algorithm."""
    return [
        median_run([r for r in runs if r.facts["algo"] == algo], frame[frame["algo"] == algo],
                   protocol)
        for algo in sorted({r.facts["algo"] for r in runs})
    ]  # fmt: skip


def by_two(
    frame: pd.DataFrame, first: str, second: str
) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Return the parts of a frame by two columns of names, as pandas' groupby, but typed."""
    parts = frame.groupby([first, second])
    return [((str(key[0]), str(key[1])), part) for key, part in parts]  # type: ignore[index]
