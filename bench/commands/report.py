"""Make figures, tables and one self-contained HTML page from records.

  python -m bench report [results=DIR] [out=DIR] [experiment=NAME] [task=NAME,...] [algo=NAME,...]
                         [watch=true]

results is any folder of records (default: results); out defaults to DIR/report. With watch=true the
page is written anew whenever records have changed, until Ctrl-C: reload it to see running curves.
"""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from bench.errors import UsageError
from bench.words import parse

POLL = 5.0  # s between looks at the records


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
    if not results.is_dir():
        raise UsageError(f"results={results}: no such folder")
    if values["watch"] not in ("true", "false"):
        raise UsageError(f"watch={values['watch']}: valid are true, false")
    status = once(results, values)
    while values["watch"] == "true":
        seen = newest(results)
        while newest(results) == seen:
            time.sleep(POLL)
        status = once(results, values)
    return status


def newest(results: Path) -> float:
    """Return when any record below a folder was last replaced."""
    names = ("run.json", "episodes.parquet")
    return max((p.stat().st_mtime for name in names for p in results.rglob(name)), default=0.0)


def once(results: Path, values: dict[str, str]) -> int:
    """Write the page; print its table and path."""
    from bench.analysis import report
    from bench.analysis.load import load_results

    chosen = {key: values[key].split(",") if values[key] else None for key in ("task", "algo")}
    try:
        index = report.write(
            results, values["out"] or results / "report", values["experiment"] or None,
            chosen["task"], chosen["algo"],
        )  # fmt: skip
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from None
    frame = load_results(results)
    for key, column in (("task", "task"), ("algo", "algo")):
        if chosen[key]:
            frame = frame[frame[column].isin(chosen[key])]
    Console().print(report.summary(frame))
    print(f"report: {index}")
    return 0
