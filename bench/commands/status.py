"""Show how far every run is.

python -m bench status [results=DIR]
"""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from bench.display import show
from bench.errors import UsageError
from bench.records import Record
from bench.storage import Damaged
from bench.words import parse

MARKS = ("run.json", "config.yaml")  # either makes a folder a run's
UNREADABLE = (OSError, ValueError, LookupError, TypeError, ArithmeticError)


def main(words: list[str]) -> int:
    """Print a table of all runs below a folder."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    _, values = parse(words, {"results": "results"})
    results = Path(values["results"])
    if not results.is_dir():
        raise UsageError(f"results={results}: no such folder")
    shown = Table("run", "state", "progress", "ETA", "success", "modes", title=escape(str(results)))
    reasons = []
    for place in sorted({path.parent for name in MARKS for path in results.rglob(name)}):
        name = escape(str(place.relative_to(results)))
        try:
            cells = row(Record(place))
        except UNREADABLE as error:
            cells = ["damaged", "", "", "", ""]
            reasons.append(reason(error, place))
        shown.add_row(name, *cells)
    show(shown)
    for line in reasons:
        print(line)
    return 0


def reason(error: Exception, place: Path) -> str:
    """Return in one line what is wrong with a record."""
    text = " ".join(str(error).split())
    return text if str(place) in text else f"{place}: {type(error).__name__}: {text}"


def row(record: Record) -> list[str]:
    """Return state, progress, ETA, last success and modes found of a run.

    Raises:
        Damaged: if its record is; what else `UNREADABLE` names, if it holds what no run writes.
    """
    facts, line = record.read(), record.last_progress()
    if not facts:
        raise Damaged(f"{record.path}: run.json is lost")
    state = facts["status"]
    if state == "running" and not record.locked():
        state = "killed"  # it cannot say so itself
    steps = max(facts.get("env_steps", 0), line.get("env_steps", 0))
    share = steps / facts["target_env_steps"]
    eta = ""
    if (
        state == "running" and share > 0
    ):  # by what was spent on it: clocks are set, runs interrupted
        spent = max(sum(one.get("seconds", {}).values()) for one in (facts, line))
        eta = str(timedelta(seconds=round(spent * (1 / share - 1))))
    modes = len(facts["task_info"]["modes"])
    return [escape(str(state)), f"{share:.0%}", eta, *last_scores(record, facts, modes)]


def last_scores(record: Record, facts: dict[str, Any], num_modes: int) -> list[str]:
    """Return success and modes found of the last evaluation, sampled."""
    from bench.analysis.load import RunRecord, table

    content = record.content("episodes.parquet")
    if content is None:
        return ["", ""]
    import pandas as pd

    frame = table([RunRecord(record.path, facts, {}, pd.read_parquet(io.BytesIO(content)))])
    sampled = frame[frame["protocol"] == "sampled"].sort_values("env_steps")
    if not len(sampled):
        return ["", ""]
    last = sampled.iloc[-1]
    return [f"{last['success']:.0%}", f"{last['modes_found']:.0f} of {num_modes}"]
