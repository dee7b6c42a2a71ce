"""Measure what packing several seeds into one process could save at most.

  python -m docs.packing [algo=ddiffpg,sac,dipo] [task=pointmaze-v3] [seconds=60]

An update of four packed seeds computes at least what one of four times the rows does, which reads
one set of weights where the packed one reads four. So the second, in updates of one seed, is a
lower bound of the first. Both take turns in one process, on one thread. Writes
results/reference/speed/packing.csv, and the table of docs/speed.md from it.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pandas as pd
import torch

from bench.analysis import tables
from bench.errors import UsageError
from bench.updates import has_replay, in_turn, learner
from bench.words import parse
from docs.marks import write
from docs.studies import start

RECORD = Path("results/reference/speed/packing.csv")
PAGE, SCRIPT = "docs/speed.md", "docs.packing"
WARMUP = 32_000  # env steps, as `python -m bench speed`
SEEDS = 4


def measure(name: str, task: str, seconds: float) -> dict[str, float | str]:
    """Return times of an update, ms, with a preset's rows and with `SEEDS` times as many.

    Raises:
        UsageError: if the algorithm has no replay.
    """
    if not has_replay(name):
        raise UsageError(f"algo={name}: has no replay")
    one = learner(name, task, "suite", WARMUP)
    many = learner(name, task, "suite", WARMUP, [f"algo.batch={SEEDS * one.config.batch}"])
    rounds = in_turn([one.learn, many.learn], seconds)
    return {
        "algo": name, "task": task, "rows": one.config.batch, "modes": one.num_modes,
        "one": 1e3 * median(a for a, _ in rounds), "many": 1e3 * median(b for _, b in rounds),
        "ratio": median(b / a for a, b in rounds),
    }  # fmt: skip


def table(found: pd.DataFrame) -> pd.DataFrame:
    """Return a row per algorithm: both times and their ratio."""
    rows = [
        {"algorithm": one["algo"], "task": one["task"], "rows": f"{one['rows']:,}",
         "ms": f"{one['one']:.1f}", f"ms, {SEEDS} × the rows": f"{one['many']:.1f}",
         "ratio": f"{one['ratio']:.2f}"}
        for one in found.to_dict("records")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def main(words: list[str]) -> int:
    """Measure, keep the record and write the table."""
    _, values = parse(words, {"algo": "ddiffpg,sac,dipo", "task": "pointmaze-v3", "seconds": "60"})
    algos = values["algo"].split(",")
    torch.set_num_threads(1)
    seconds = float(values["seconds"]) / len(algos)
    found = pd.DataFrame([measure(name, values["task"], seconds) for name in algos])
    found.to_csv(RECORD, index=False, float_format="%.3f")
    write(PAGE, "packing", tables.markdown(table(found)), SCRIPT)
    return 0


if __name__ == "__main__":
    start(main)
