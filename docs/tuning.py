"""Tune every method by one small grid, and say what it would gain.

  python -m docs.tuning [algo=all|NAME,...] [task=pointmaze-v1] [seed=0] [run=true]

Around the settings that the suite gives a method, one change at a time: the learning rates of what
acts and what judges, the rate of its target networks and its own main knob, each a third and three
times what it is (the knob by the values in `KNOBS` where a factor says nothing): seven runs for
each, on a seed that no result is reported on. A grid of all 27 points would cost four times as
much. A run has 3,000 of the 5,000 updates of `quick`: by then all methods but one succeed there
in most episodes with the settings that they have.

Records land in results/reference/tried/grid/<change>, compacted; what is done is skipped. Writes
the table of docs/fairness.md from the records there are; `run=false` does only that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from bench.algos import discover
from bench.analysis import tables
from bench.configuration import resolve, understand
from bench.errors import UsageError
from bench.words import parse
from docs import compact_records, studies
from docs.marks import write

FOLDER = Path("results/reference/tried/grid")
PAGE, SCRIPT = "docs/fairness.md", "docs.tuning"
FACTOR = 3.0
RATES = ("actor_lr", "critic_lr", "lr", "temperature_lr", "category_lr")
CENTRE = "preset"
CHANGES = {
    CENTRE: "preset", "lr-low": "rates / 3", "lr-high": "rates × 3", "tau-low": "tau / 3",
    "tau-high": "tau × 3", "knob-low": "knob, low", "knob-high": "knob, high",
}  # fmt: skip
KNOBS: dict[str, tuple[str, Any, Any]] = {  # setting, low, high; None: a third and three times
    "categorical": ("category_entropy", 0.35, 0.95),
    "cppo": ("std", None, None),
    "dacer": ("target_entropy", -4.0, -0.5),
    "ddiffpg": ("ascent_lr", None, None),
    "diffusion-ql": ("eta", None, None),
    "dipo": ("ascent_lr", None, None),
    "dpmd": ("temperature", None, None),
    "dsac-d": ("target_entropy", -4.0, -0.5),
    "fpmd": ("temperature", None, None),
    "latent-sac": ("diversity", None, None),
    "maxentdp": ("temperature", None, None),
    "mfpo": ("target_entropy", -2.0, 0.0),
    "pmoe": ("target_entropy", -4.0, 0.0),
    "ppo": ("entropy", 0.001, 0.01),
    "qsm": ("temperature", None, None),
    "qvpo": ("entropy", "[0.005,0.0005]", "[0.1,0.01]"),
    "rpg": ("information", None, None),
    "sac": ("target_entropy", -4.0, 0.0),
    "td3": ("smoothing", None, None),
}
LEFT_OUT = {"random"}  # learns nothing
SHORT = ("env_steps=704_000", "eval.every=32_000")
TIE = 0.05  # of solved modes: less than one seed can tell


def words(change: str, algo: str, task: str, seed: str) -> list[str]:
    """Return the words by which a run has a change; none where the method has no such setting."""
    if change == CENTRE:
        return []
    axis, _, side = change.partition("-")
    request = understand([f"algo={algo}", f"task={task}", f"seed={seed}"])
    config = resolve(request.overrides(algo, task, seed)).algo
    factor = FACTOR if side == "high" else 1 / FACTOR
    if axis == "knob":
        name, low, high = KNOBS[algo]
        value = high if side == "high" else low
        value = f"{getattr(config, name) * factor:.6g}" if value is None else value
        return [f"algo.{name}={value}"]
    names = RATES if axis == "lr" else ("tau",)
    return [f"algo.{n}={getattr(config, n) * factor:.6g}" for n in names if hasattr(config, n)]


def runs(algos: list[str], task: str, seed: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the grid's runs: change, algorithm and further words for `run`; the presets first."""
    for change in CHANGES:
        for algo in algos:
            if change == CENTRE or (more := words(change, algo, task, seed)):
                yield change, algo, [] if change == CENTRE else more


def table(found: pd.DataFrame) -> pd.DataFrame:
    """Return a row per algorithm and task: its knob, solved modes (success) of every change.

    The best change is named where it solves more of the modes than the preset by at least `TIE`.
    """
    rows = []
    sampled = found[found["protocol"] == "sampled"]
    for (algo, task), own in sampled.groupby(["algo", "task"]):
        scores = own.groupby("experiment")[["solved_modes", "success"]].mean()
        if CENTRE not in scores.index:
            continue
        cells = {
            label: f"{scores.loc[name, 'solved_modes']:.2f} ({scores.loc[name, 'success']:.2f})"
            if name in scores.index else "–"
            for name, label in CHANGES.items()
        }  # fmt: skip
        best = scores["solved_modes"].idxmax()
        gain = scores.loc[best, "solved_modes"] - scores.loc[CENTRE, "solved_modes"]
        better = f"{CHANGES[str(best)]}, +{gain:.2f}" if gain >= TIE else "none"
        rows.append({
            "algorithm": algo, "task": task, "its knob": KNOBS[str(algo)][0], **cells,
            "gain, one seed": better,
        })  # fmt: skip
    return pd.DataFrame(rows)


def main(given: list[str]) -> int:
    """Run what is missing of the grid; write its table.

    Raises:
        UsageError: on an unknown algorithm, or if there is no finished run.
    """
    plain, values = parse(
        given, {"algo": "all", "task": "pointmaze-v1", "seed": "0", "run": "true"}
    )
    if plain:
        raise UsageError(f"tuning takes key=value words, not {plain[0]!r}")
    known = [name for name in sorted(discover()) if name in KNOBS]
    algos = studies.chosen(values["algo"], known)
    if values["run"] == "true":
        task, seed = values["task"], values["seed"]
        for change, algo, more in runs(algos, task, seed):
            where = [f"algo={algo}", f"task={task}", f"seed={seed}"]
            if status := studies.train(FOLDER, change, [*where, *SHORT, *more]):
                return status
        compact_records.main([f"results={FOLDER}", "scores=true"])
    write(PAGE, "grid", tables.markdown(table(studies.scores(FOLDER))), SCRIPT)
    return 0


if __name__ == "__main__":
    studies.start(main)
