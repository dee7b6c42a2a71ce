"""From run directories to tables. Damaged or foreign files are named and passed over."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench.analysis import metrics

LAST = 3  # evaluations whose mean is a run's score
KEYS = ["experiment", "task", "family", "algo", "seed", "budget", "preset", "status"]


@dataclass
class RunRecord:
    """One run directory as read.

    Attributes:
        facts: run.json.
        episodes: episodes.parquet, one row per evaluation episode.
    """

    path: Path
    facts: dict[str, Any]
    episodes: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def modes(self) -> list[str]:
        """Names of the task's modes."""
        return list(self.facts.get("task_info", {}).get("modes", []))

    def last(self, protocol: str) -> pd.DataFrame:
        """Return the episodes of the last evaluation by a protocol."""
        if self.episodes.empty:
            return self.episodes
        chosen = self.episodes[self.episodes["protocol"] == protocol]
        return chosen[chosen["env_steps"] == chosen["env_steps"].max()]

    def paths(self, rows: pd.Index) -> list[np.ndarray]:
        """Return the paths (T, P) in m of episodes, by their row numbers."""
        with np.load(self.path / "paths.npz") as stored:
            points, offsets, scale = stored["points"], stored["offsets"], float(stored["scale"])
        return [points[offsets[i] : offsets[i + 1]] * scale for i in rows]


def read_runs(results: str | Path) -> list[RunRecord]:
    """Return all runs below a folder, sorted by place; warns of files that cannot be read."""
    runs = []
    for place in sorted(Path(results).rglob("run.json")):
        try:
            facts = json.loads(place.read_text())
            if not isinstance(facts, dict) or not {"algo", "task", "seed"} <= facts.keys():
                raise ValueError("not the record of a run")
            table = place.parent / "episodes.parquet"
            episodes = pd.read_parquet(table) if table.exists() else pd.DataFrame()
        except (OSError, ValueError) as error:
            warnings.warn(f"passed over {place}: {error}", stacklevel=2)
            continue
        runs.append(RunRecord(place.parent, facts, episodes))
    return runs


def load_results(results: str | Path) -> pd.DataFrame:
    """Return one row per evaluation of each run and protocol, with all metrics.

    Columns: experiment, task, family, algo, seed, budget, preset, status, mujoco,
    target_env_steps, minutes, env_steps, protocol, num_modes and the metrics of
    `metrics.evaluation`. Unfinished runs are included.
    """
    return table(read_runs(results))


def table(runs: list[RunRecord]) -> pd.DataFrame:
    """Return the evaluations of runs, one row each."""
    rows = []
    for run in runs:
        facts, num_modes = run.facts, len(run.modes)
        fixed = {key: facts.get(key) for key in KEYS} | {
            "mujoco": facts.get("versions", {}).get("mujoco"),
            "target_env_steps": facts.get("target_env_steps"),
            "minutes": sum(facts.get("seconds", {}).values()) / 60,
            "num_modes": num_modes,
        }
        if run.episodes.empty:
            continue
        for (steps, protocol), part in run.episodes.groupby(["env_steps", "protocol"]):
            scores = metrics.evaluation(
                part["mode"].to_numpy(), part["success"].fillna(False).to_numpy(bool),
                part["return"].to_numpy(), part["length"].to_numpy(),
                part["commanded"].to_numpy(), num_modes,
            )  # fmt: skip
            rows.append(fixed | {"env_steps": steps, "protocol": protocol} | scores)
    return pd.DataFrame(rows)


def final_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Return each run's scores: the mean over its last evaluations, never its best one."""
    keys = ["experiment", "task", "algo", "seed", "protocol"]
    ordered = frame.sort_values("env_steps")
    last = ordered.groupby(keys, dropna=False).tail(LAST)
    numbers = [c for c in last.columns if c not in (*KEYS, "protocol", "mujoco")]
    means = last.groupby(keys)[numbers].mean()
    means["env_steps"] = last.groupby(keys)["env_steps"].max()
    return means.reset_index()


def refusals(frame: pd.DataFrame) -> list[str]:
    """Return why runs of a task must not be compared; empty if they may be."""
    found = []
    for task, part in frame.groupby("task"):
        for column in ("budget", "target_env_steps", "mujoco"):
            values = sorted(map(str, part[column].dropna().unique()))
            if len(values) > 1:
                found.append(f"{task}: runs differ in {column}: {', '.join(values)}")
    return found
