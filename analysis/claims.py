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
COLUMNS = ("claim of", "claim", "experiment", "records", "bound", "number", "verdict")


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper on several modes, in our words, and what would bear it out.

    Attributes:
        of: method and paper.
        says: the sentence.
        experiment: what is measured, on what, in words.
        algo: whose runs are asked.
        tasks: on all of which an experiment has runs of it.
        metric: of `METRICS`, or `REPLANNED`.
        protocol: of the evaluations.
        budget: of the runs.
        preset: of the runs.
        at_least: which the mean over seeds has, or None.
        at_most: which the mean over seeds has, or None.
        counts: which number of a seed does, where there are several (tasks, variants): "lowest",
            "highest", or "", the one that speaks most against the claim.
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
    counts: str = ""
    case: str = ""
    untested: str = ""

    def __post_init__(self) -> None:
        """Check that it can be judged.

        Raises:
            ValueError: if it has not exactly one of two bounds, or neither tasks nor a case.
        """
        if self.counts not in ("", "lowest", "highest"):
            raise ValueError(
                f"claim {self.says!r}: counts={self.counts!r}: valid are lowest, highest"
            )
        bounds = (self.at_least is not None) + (self.at_most is not None)
        if not self.untested and (bounds != 1 or bool(self.tasks) == bool(self.case)):
            raise ValueError(f"claim {self.says!r}: needs one bound, and tasks or a case")

    @property
    def bound(self) -> str:
        """The bound in words."""
        return (
            f"at most {self.at_most:g}" if self.at_least is None else f"at least {self.at_least:g}"
        )

    @property
    def least_counts(self) -> bool:
        """Whether the lowest of several numbers of a seed counts, not the highest."""
        return self.counts == "lowest" or (not self.counts and self.at_least is not None)

    def row(self, found: pd.Series) -> dict[str, str]:
        """Return the row of a table, by the number of each run (S,), S >= 1 (see `numbers`)."""
        values = found.to_numpy(float)
        number = tables.cell(values)
        cells = (self.of, self.says, self.experiment, sources(found), self.bound, number,
                 self.verdict(values))  # fmt: skip
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


def sources(found: pd.Series) -> str:
    """Return the experiments that numbers are of, each with its seeds, in words."""
    index = found.index.to_frame(index=False)
    named = []
    for experiment, seeds in index.groupby("experiment")["seed"]:
        own = sorted(seeds)
        run_on = len(own) > 2 and own == list(range(own[0], own[-1] + 1))
        text = f"{own[0]} to {own[-1]}" if run_on else ", ".join(map(str, own))
        named.append(f"{experiment}, seed{'s' if len(own) > 1 else ''} {text}")
    return "; ".join(named)


def numbers(
    claim: Claim, runs: Sequence[RunRecord], frame: pd.DataFrame, notes: list[str]
) -> pd.Series:
    """Return the number (S,) of each experiment's seed, by these two; none if it lacks a task.

    Experiments without a seed in common on any task are one, as they are where seeds are averaged:
    what their records have of a seed goes together.
    """
    nothing = pd.Series(index=pd.MultiIndex.from_tuples([], names=["experiment", "seed"]))
    if not claim.tasks or frame.empty:
        return nothing
    done = finished(frame)
    own = done[done["task"].isin(claim.tasks)]
    for key in ("algo", "protocol", "budget", "preset"):
        own = own[own[key] == getattr(claim, key)]
    if own.empty:
        return nothing
    scores = final_scores(own)
    if not scores.duplicated(["task", "seed"]).any():
        of_seed = scores.groupby("seed")["experiment"]
        scores["experiment"] = of_seed.transform(lambda names: " and ".join(sorted(set(names))))
    scores = scores.set_index(RUN)
    if claim.metric == REPLANNED:
        least = claim.least_counts
        one = {tuple(run.facts[key] for key in RUN): replanned(run, notes, least) for run in runs}
        scores[claim.metric] = [one[run] for run in scores.index]
    wide = scores[claim.metric].unstack("task").reindex(columns=list(claim.tasks)).dropna()
    wide = wide.droplevel("algo")
    return wide.min(axis=1) if claim.least_counts else wide.max(axis=1)


def replanned(run: RunRecord, notes: list[str], least: bool) -> float:
    """Return a run's lowest or highest success on a variant with obstacles; NaN if unknown."""
    place = run.path / "replan" / "replan.json"
    if not place.exists():
        return np.nan
    try:
        found = [one["success"] for one in json.loads(place.read_text())["variants"]]
        return float(min(found) if least else max(found))
    except UNREADABLE as error:
        notes.append(f"skipped {place}: {error}")
        return np.nan
