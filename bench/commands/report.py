"""Make figures, tables and one self-contained HTML page from records.

  python -m bench report [results=DIR] [out=DIR] [experiment=NAME,...] [task=NAME,...]
                         [algo=NAME,...] [watch=true]

results is any folder of records (default: results); out defaults to DIR/report. A damaged record is
named and left out. The suite's own, in results/reference, are taken in only where results names
that folder or one in it. With watch=true the page is written anew whenever records have changed,
until Ctrl-C: reload it to see running curves.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from bench.errors import UsageError
from bench.printing import show
from bench.words import parse

POLL = 5.0  # s between looks at the records
RECORDS = (  # a page is made from
    "run.json", "episodes.parquet", "headings.npz", "values.npz", "clusters.npz",
)  # fmt: skip


def main(words: list[str]) -> int:
    """Write the report; print its table and path."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    defaults = {"results": "results", "out": "", "experiment": "", "task": "", "algo": "",
                "watch": "false"}  # fmt: skip
    plain, values = parse(words, defaults)
    if plain:
        raise UsageError(f"report {plain[0]!r}: give results=DIR")
    results = Path(values["results"])
    if not os.path.isdir(results):  # too long a name is none either
        raise UsageError(f"results={results}: no such folder")
    if values["watch"] not in ("true", "false"):
        raise UsageError(f"watch={values['watch']}: valid are true, false")
    if values["watch"] == "true":
        return watch(results, values)
    return once(results, values)


def watch(results: Path, values: dict[str, str]) -> int:
    """Write the page whenever records have changed, until Ctrl-C."""
    seen: dict[Path, tuple[int, int]] | None = None
    try:
        while True:
            now = state(results)
            if now != seen:
                seen = now  # what changes while the page is written is seen next time
                try:
                    once(results, values)
                except UsageError as error:  # no runs yet: they may come
                    print(error, file=sys.stderr, flush=True)
            time.sleep(POLL)
    except KeyboardInterrupt:
        return 0


def state(results: Path) -> dict[Path, tuple[int, int]]:
    """Return every record below a folder with its time of change (ns) and size."""
    found = {}
    for name in RECORDS:
        for path in results.rglob(name):
            try:
                facts = path.stat()
            except FileNotFoundError:  # replaced or removed just now
                continue
            found[path] = (facts.st_mtime_ns, facts.st_size)
    return found


def once(results: Path, values: dict[str, str]) -> int:
    """Write the page; print its table and path."""
    import bench.found
    import bench.settings
    from bench.analysis import load, metrics, report
    from bench.analysis import runs as reading
    from bench.known import Known
    from bench.reference import left_out, reference_below

    experiments, tasks, algos = (
        values[key].split(",") if values[key] else None for key in ("experiment", "task", "algo")
    )
    apart = reference_below(results)
    note = left_out(apart) if apart else ""
    try:
        known = Known(results, "report", (load, metrics, reading, bench.found, bench.settings))
        runs, notes = report.chosen(results, experiments, tasks, algos, known)
        frame, out = load.table(runs), values["out"] or results / "report"
        reading.remember(runs, known)
        again = report.command(results, out, experiments, tasks, algos)
        index = report.write_page(runs, notes, out, again, frame)
    except (ValueError, OSError) as error:
        raise UsageError("; ".join(filter(None, [" ".join(str(error).split()), note]))) from None
    for line in dict.fromkeys(notes):
        print(f"warning: {line}", file=sys.stderr)
    show(report.summary(frame), names=3)
    print("\n".join(filter(None, [f"report: {index}", note])), flush=True)
    return 0
