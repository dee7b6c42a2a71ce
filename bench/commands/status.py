"""Show how far every run is.

python -m bench status [results=DIR]
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

from rich.table import Table

from bench.display import show
from bench.errors import UsageError
from bench.records import Record
from bench.words import parse


def main(words: list[str]) -> int:
    """Print a table of all runs below a folder."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    _, values = parse(words, {"results": "results"})
    results = Path(values["results"])
    if not results.is_dir():
        raise UsageError(f"results={results}: no such folder")
    shown = Table("run", "state", "progress", "ETA", "success", "modes", title=str(results))
    for place in sorted(results.rglob("run.json")):
        shown.add_row(str(place.parent.relative_to(results)), *row(Record(place.parent)))
    show(shown)
    return 0


def row(record: Record) -> list[str]:
    """Return state, progress, ETA, last success and modes found of a run."""
    try:
        facts, line = record.read(), record.last_progress()
    except (UsageError, json.JSONDecodeError):
        return ["damaged", "", "", "", ""]
    state = facts["status"]
    if state == "running" and not record.locked():
        state = "killed"  # it cannot say so itself
    steps = max(facts.get("env_steps", 0), line.get("env_steps", 0))
    share = steps / facts["target_env_steps"]
    eta = ""
    if state == "running" and share > 0:
        began = datetime.fromisoformat(facts["start"])
        spent = datetime.now(timezone.utc) - began  # noqa: UP017
        eta = str(timedelta(seconds=round(spent.total_seconds() * (1 / share - 1))))
    return [state, f"{share:.0%}", eta, *last_scores(record, len(facts["task_info"]["modes"]))]


def last_scores(record: Record, num_modes: int) -> list[str]:
    """Return success and modes found of the last evaluation, sampled."""
    from bench.analysis.load import RunRecord, table

    path = record.path / "episodes.parquet"
    if not path.exists():
        return ["", ""]
    import pandas as pd

    frame = table([RunRecord(record.path, record.read(), pd.read_parquet(path))])
    last = frame[frame["protocol"] == "sampled"].sort_values("env_steps").iloc[-1]
    return [f"{last['success']:.0%}", f"{last['modes_found']:.0f} of {num_modes}"]
