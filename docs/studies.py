"""What the scripts behind these pages do alike."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import pandas as pd

from bench.__main__ import main as run
from bench.analysis.load import final_scores, finished, load_results
from bench.errors import UsageError
from bench.registry import unknown


def start(main: Callable[[list[str]], int]) -> NoReturn:
    """Run a script's main on the command line's words; a bad word is one line and status 2."""
    try:
        sys.exit(main(sys.argv[1:]))
    except UsageError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        sys.exit(2)


def chosen(word: str, known: Sequence[str]) -> list[str]:
    """Return the algorithms that a word names, `all` of the known ones or some.

    Raises:
        UsageError: on an unknown one.
    """
    algos = list(known) if word == "all" else word.split(",")
    for algo in algos:
        if algo not in known:
            raise UsageError(unknown("algo", algo, known))
    return algos


def train(folder: Path, experiment: str, words: Sequence[str]) -> int:
    """Make runs below a folder, one core each, but for those that are done; leave no report.

    Returns:
        The exit status of `run`.
    """
    where = [f"results={folder}", f"experiment={experiment}"]
    return run(["run", *words, *where, "threads=1", "report=false"])


def scores(folder: Path) -> pd.DataFrame:
    """Return the final scores of the finished runs below a folder.

    Raises:
        UsageError: if there are none.
    """
    frame = load_results(folder)
    if frame.empty or finished(frame).empty:
        raise UsageError(f"{folder}: no finished run")
    return final_scores(finished(frame))
