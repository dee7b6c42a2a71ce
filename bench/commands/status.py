"""Show how far every run is.

  python -m bench status [results=DIR]

results is any folder of records (default: results). The suite's own, in results/reference, are
shown only where results names that folder or one in it.
"""

from __future__ import annotations

import io
import os
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.markup import escape
from rich.table import Table
from rich.text import Text

import bench.found
from bench.analysis import metrics
from bench.errors import UsageError
from bench.known import Known
from bench.lease import BEAT, SILENCES, holder
from bench.printing import show
from bench.records import Record
from bench.reference import left_out, reference_below
from bench.storage import Damaged
from bench.words import parse

MARKS = ("run.json", "config.yaml")  # either makes a folder a run's
ENDED = ("done", "failed")  # states that change only with the record
TITLES = ("run", "state", "progress", "ETA", "success", "modes")
UNREADABLE = (OSError, ValueError, LookupError, TypeError, ArithmeticError)


def main(words: list[str]) -> int:
    """Print a table of all runs below a folder."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    plain, values = parse(words, {"results": "results"})
    if plain:
        raise UsageError(f"status {plain[0]!r}: give results=DIR")
    results = Path(values["results"])
    if not os.path.isdir(results):  # too long a name is none either
        raise UsageError(f"results={results}: no such folder")
    rows, reasons = [], []
    known = Known(results, "status", (sys.modules[__name__], metrics, bench.found))
    apart = reference_below(results)
    for place in sorted({path.parent for name in MARKS for path in results.rglob(name)}):
        if apart and place.is_relative_to(apart):
            continue
        try:
            cells = known_row(known, place)
        except UNREADABLE as error:
            cells = ["damaged", "", "", "", ""]
            reasons.append(reason(error, place))
        name = " ".join(str(place.relative_to(results)).split())
        rows.append([name, *cells])
    known.save()
    show(table(rows, str(results)))
    for line in reasons:
        print(line)
    if apart:
        print(left_out(apart))
    return 0


def reason(error: Exception, place: Path) -> str:
    """Return in one line what is wrong with a record."""
    text = " ".join(str(error).split())
    return text if str(place) in text else f"{place}: {type(error).__name__}: {text}"


def table(rows: list[list[str]], title: str) -> Table:
    """Return a table of runs; each column is one text, which is laid out in no time."""
    shown = Table(title=escape(title))
    for name in TITLES:
        shown.add_column(name, no_wrap=True)
    if rows:
        shown.add_row(*(Text("\n".join(column)) for column in zip(*rows, strict=True)))
    return shown


def known_row(known: Known, place: Path) -> list[str]:
    """Return the row of a run, as `row` does; of one that has ended and not changed, as known."""
    cells, mark = known.get(place)
    if isinstance(cells, list) and len(cells) == len(TITLES) - 1:
        return [str(cell) for cell in cells]
    cells = row(Record(place))
    if cells[0] in ENDED:  # what others are depends on whether a process lives
        known.put(place, mark, cells)
    return cells


def row(record: Record) -> list[str]:
    """Return state, progress, ETA, last success and modes found of a run.

    Raises:
        Damaged: if its record is; what else `UNREADABLE` names, if it holds what no run writes.
    """
    facts, line = record.read(), record.last_progress()
    if not facts:
        raise Damaged(f"{record.path}: run.json is lost")
    if not (record.path / "config.yaml").exists():
        record.content("config.yaml")  # it is damaged, unless it has never had one
    state = str(facts["status"])
    if state == "running":
        user = holder(record.path)
        if user is None or user.gone():
            state = "killed"  # it cannot say so itself
        elif not user.here():
            state += f" on {user.host}" if user.host else " elsewhere"
            if (quiet := user.quiet(record.path)) > SILENCES * BEAT:
                state += f", silent for {timedelta(seconds=round(quiet))}"
    steps = max(facts.get("env_steps", 0), line.get("env_steps", 0))
    share = steps / facts["target_env_steps"]
    eta = ""
    if (
        state.startswith("running") and share > 0
    ):  # by what was spent on it: clocks are set, runs interrupted
        spent = max(sum(one.get("seconds", {}).values()) for one in (facts, line))
        eta = str(timedelta(seconds=round(spent * (1 / share - 1))))
    modes = len(facts["task_info"]["modes"])
    return [str(state), f"{share:.0%}", eta, *last_scores(record, modes)]


def last_scores(record: Record, num_modes: int) -> list[str]:
    """Return success and modes found of the last evaluation, sampled."""
    content = record.content("episodes.parquet")
    if content is None:
        return ["", ""]
    # the columns that are shown, and no DataFrame: a tenth of the time
    file = pq.ParquetFile(io.BytesIO(content))
    read = file.read(["env_steps", "protocol", "success", "mode"], use_threads=False)
    sampled = read.filter(pc.equal(read["protocol"], "sampled"))
    if not len(sampled):
        return ["", ""]
    steps, success, mode = (sampled[name].to_numpy() for name in ("env_steps", "success", "mode"))
    own = steps == steps.max()
    won, mode, none = success[own] == True, mode[own], np.zeros(int(own.sum()))  # noqa: E712
    last = metrics.Evaluations(
        none.astype(int), mode, won, none, none, none - 1, num_modes, none + np.nan
    )
    found = f"{metrics.modes_found(last)[0]:.0f} of {num_modes}" if num_modes else ""
    return [f"{won.mean():.0%}", found]
