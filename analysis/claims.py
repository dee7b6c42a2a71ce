"""What papers claim, held against records: a claim is data, its verdict a matter of numbers.

Claims stand in `bench/conf/claims.yaml`. Each names a number that every seed of some runs gives,
and a bound. It is *confirmed* where the 95 % interval of the mean over seeds lies on its side of
the bound, *refuted here* where it lies on the other, *not settled* where it holds the bound. Fewer
than three runs, whose interval is that of one or two numbers, give no verdict.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

import bench
from bench.analysis import stats, tables
from bench.analysis.load import final_scores, finished
from bench.analysis.outputs import UNREADABLE
from bench.analysis.runs import RunRecord

CLAIMS = Path(bench.__file__).parent / "conf" / "claims.yaml"
REPLANNED = "replanned"  # the one metric that is no evaluation's
FEWEST = 3  # runs that a verdict takes
RUN = ["experiment", "task", "algo", "seed"]  # what tells runs apart
COLUMNS = ("claim of", "claim", "experiment", "bound", "number", "verdict")


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper on several modes, in our words, and what would bear it out.

    Attributes:
        of: method and paper.
        says: the sentence.
        experiment: what is measured, on what, in words.
        algo: whose runs are asked.
        tasks: on all of which an experiment has runs of it; each seed counts by its worst.
        metric: of `METRICS`, or `REPLANNED`.
        protocol: of the evaluations.
        budget: of the runs.
        preset: of the runs.
        at_least: which the mean over seeds has, or None.
        at_most: which the mean over seeds has, or None.
        case: of the bandit, in place of tasks.
        untested: why no experiment of this suite tests it, or "".
    """

    of: str
    says: str
    experiment: str = ""
    algo: str = ""
    tasks: tuple[str, ...] = ()
    metric: str = ""
    protocol: str = "sampled"
    budget: str = "quick"
    preset: str = "suite"
    at_least: float | None = None
    at_most: float | None = None
    case: str = ""
    untested: str = ""

    def __post_init__(self) -> None:
        """Check that it can be judged.

        Raises:
            ValueError: if it has not exactly one of two bounds, or neither tasks nor a case.
        """
        bounds = (self.at_least is not None) + (self.at_most is not None)
        if not self.untested and (bounds != 1 or bool(self.tasks) == bool(self.case)):
            raise ValueError(f"claim {self.says!r}: needs one bound, and tasks or a case")

    @property
    def bound(self) -> str:
        """The bound in words."""
        return (
            f"at most {self.at_most:g}" if self.at_least is None else f"at least {self.at_least:g}"
        )

    def row(self, values: np.ndarray) -> dict[str, str]:
        """Return the row of a table, by the number of each seed (S,), S >= 1."""
        number = tables.cell(values, np.random.default_rng(0))
        cells = (self.of, self.says, self.experiment, self.bound, number, self.verdict(values))
        return dict(zip(COLUMNS, cells, strict=True))

    def verdict(self, values: np.ndarray) -> str:
        """Return what follows of the claim from the number of each seed (S,), S >= 1."""
        ends = stats.interval(values[:, None], stats.mean, rng=np.random.default_rng(0))
        if ends is None or len(values) < FEWEST:
            return f"no verdict: fewer than {FEWEST} runs"
        (low, high), least, most = ends, self.at_least, self.at_most
        holds = (least is None or low >= least) and (most is None or high <= most)
        fails = (least is not None and high < least) or (most is not None and low > most)
        return "confirmed" if holds else "refuted here" if fails else "not settled"


def read(path: Path = CLAIMS) -> list[Claim]:
    """Return the claims of a file, in its order.

    Raises:
        ValueError: if one cannot be judged.
    """
    entries = yaml.safe_load(path.read_text())
    return [Claim(**{**entry, "tasks": tuple(entry.get("tasks", ()))}) for entry in entries]


def table(runs: Sequence[RunRecord], frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Return the table of the claims that records test, which may be none.

    Args:
        runs: that may be asked.
        frame: their evaluations (`load.table`).
        notes: to which what is damaged is added.
    """
    found = ((claim, numbers(claim, runs, frame, notes)) for claim in read())
    rows = [claim.row(values) for claim, values in found if len(values)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def numbers(
    claim: Claim, runs: Sequence[RunRecord], frame: pd.DataFrame, notes: list[str]
) -> np.ndarray:
    """Return the number that each seed of an experiment gives, none where it lacks a task, (S,)."""
    if not claim.tasks or frame.empty:
        return np.empty(0)
    done = finished(frame)
    own = done[done["task"].isin(claim.tasks)]
    for key in ("algo", "protocol", "budget", "preset"):
        own = own[own[key] == getattr(claim, key)]
    if own.empty:
        return np.empty(0)
    scores = final_scores(own).set_index(RUN)
    if claim.metric == REPLANNED:
        worst = {tuple(run.facts[key] for key in RUN): replanned(run, notes) for run in runs}
        scores[claim.metric] = [worst[run] for run in scores.index]
    wide = scores[claim.metric].unstack("task").reindex(columns=list(claim.tasks))
    return wide.dropna().min(axis=1).to_numpy(float)


def replanned(run: RunRecord, notes: list[str]) -> float:
    """Return a run's success before unseen obstacles, the worst of the variants; NaN if unknown."""
    place = run.path / "replan" / "replan.json"
    if not place.exists():
        return np.nan
    try:
        return float(min(one["success"] for one in json.loads(place.read_text())["variants"]))
    except UNREADABLE as error:
        notes.append(f"skipped {place}: {error}")
        return np.nan
