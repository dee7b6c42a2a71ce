"""From run directories to records in memory. Damaged or foreign files are named and skipped."""

from __future__ import annotations

import contextlib
import json
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from bench.analysis import metrics
from bench.known import Known
from bench.records import Record
from bench.settings import binding, flat
from bench.storage import CHECKSUMS

EPISODES = ["env_steps", "protocol", "commanded", "episode", "return", "length", "success", "mode",
            "mode_name"]  # fmt: skip
READERS = 2  # threads
COUNTS = ("env_steps", "protocol", "episodes")  # of an evaluation, beside its metrics
Scores = dict[str, list[Any]]  # by name, the values of a run's evaluations


@dataclass
class RunRecord:
    """One run directory as read.

    Attributes:
        facts: run.json.
        settings: config.yaml as one mapping with dotted keys, without those settings that change
            nothing that is recorded; empty where a record has none.
        episodes: episodes.parquet, one row per evaluation episode.
        headings: headings.npz, by env steps: how many actions head which way, (B, D) (see
            `metrics.Evaluations`).
        scores: of its evaluations (see `scored`), once they are known.
        mark: what its files were known by before they were read (see `bench.known.identity`).
    """

    path: Path
    facts: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    episodes: pd.DataFrame = field(default_factory=pd.DataFrame)
    headings: dict[int, np.ndarray] = field(default_factory=dict)
    scores: Scores | None = None
    mark: str = ""

    @property
    def modes(self) -> list[str]:
        """Names of the task's modes."""
        return list(self.facts.get("task_info", {}).get("modes", []))

    @property
    def floor(self) -> bool:
        """Whether the algorithm learns from no data: random play, which all others must beat."""
        return bool(self.facts.get("algo_info", {}).get("data") == "none")

    @property
    def commandable(self) -> bool:
        """Whether the policy takes commands, though it may know no mode to command yet."""
        says = self.facts.get("algo_info", {}).get("commanded") == "yes"
        return says or "commanded" in set(self.episodes.get("protocol", ()))

    @property
    def steps(self) -> int:
        """Env steps so far: of run.json, or of progress.jsonl where that is further."""
        known = int(self.facts.get("env_steps") or 0)
        try:
            lines = (self.path / "progress.jsonl").read_text().splitlines()
            return max(known, int(json.loads(lines[-1])["env_steps"]))
        except (OSError, ValueError, LookupError, TypeError):
            return known

    def evaluations(self, group: np.ndarray) -> metrics.Evaluations:
        """Return the episodes as evaluations, by the number (E,) of the one that each is of."""
        own = self.episodes
        mode, unknown = own["mode"].to_numpy(), np.full(len(own), np.nan)
        routes = np.array(self.facts["task_info"].get("routes") or [], float)
        detours = unknown
        if "distance" in own and len(routes):
            shortest = np.where(
                (mode >= 0) & (mode < len(routes)), routes[mode % len(routes)], np.nan
            )
            detours = own["distance"].to_numpy(float) / shortest
        return metrics.Evaluations(
            group, mode, own["success"].eq(True).to_numpy(), own["return"].to_numpy(float),
            own["length"].to_numpy(float), own["commanded"].to_numpy(), len(self.modes), detours,
            self.headed(group),
        )  # fmt: skip

    def headed(self, group: np.ndarray) -> np.ndarray | None:
        """Return the headings of G evaluations, (G, B, D): of those by sampling; None without."""
        if not self.headings:
            return None
        first = self.episodes.iloc[np.unique(group, return_index=True)[1]]
        none = np.full_like(next(iter(self.headings.values())), -1)
        return np.stack([
            self.headings.get(steps, none) if protocol == "sampled" else none
            for steps, protocol in zip(first["env_steps"], first["protocol"], strict=True)
        ])  # fmt: skip

    def last(self, protocol: str) -> pd.DataFrame:
        """Return the episodes of the last evaluation by a protocol."""
        if self.episodes.empty:
            return self.episodes
        chosen = self.episodes[self.episodes["protocol"] == protocol]
        return chosen[chosen["env_steps"] == chosen["env_steps"].max()]

    def found(self, protocol: str) -> pd.DataFrame:
        """Return whether each mode was found in each evaluation: env steps x modes, bool."""
        if self.episodes.empty:
            return pd.DataFrame(columns=self.modes, dtype=bool)
        chosen = (self.episodes["protocol"] == protocol).to_numpy()
        at, group = np.unique(self.episodes["env_steps"].to_numpy()[chosen], return_inverse=True)
        if not len(at):
            return pd.DataFrame(columns=self.modes, dtype=bool)
        own = replace(self, episodes=self.episodes[chosen])
        return pd.DataFrame(metrics.found(own.evaluations(group)), index=at, columns=self.modes)

    def has_paths(self, protocol: str) -> bool:
        """Say whether the paths of the last evaluation by a protocol are recorded."""
        rows = self.last(protocol).index
        if not len(rows) or not (self.path / "paths.npz").exists():
            return False
        try:
            with arrays(self.path / "paths.npz") as stored:
                lengths = np.diff(stored["offsets"])  # the points need not be read
        except ValueError:
            return True  # the figure says what is wrong
        return bool(rows.max() >= len(lengths) or lengths[rows].any())

    def paths(self, rows: pd.Index) -> list[np.ndarray]:
        """Return the paths (T, P) in m of episodes, by their row numbers.

        A path that the record no longer has is empty: committed records keep those of the last
        evaluations alone.
        """
        with arrays(self.path / "paths.npz") as stored:
            points, offsets, scale = stored["points"], stored["offsets"], float(stored["scale"])
            if len(rows) and max(rows) + 1 >= len(offsets):
                raise ValueError(f"holds {len(offsets) - 1} paths, fewer than episodes.parquet")
        return [points[offsets[i] : offsets[i + 1]] * scale for i in rows]


@contextlib.contextmanager
def arrays(path: Path) -> Iterator[Any]:
    """Open an .npz.

    Raises:
        ValueError: naming it, if it cannot be read or lacks an array.
    """
    try:
        with np.load(path) as stored:
            yield stored
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}") from None


def read_runs(
    results: str | Path, known: Known | None = None, apart: Path | None = None
) -> list[RunRecord]:
    """Return all runs below a folder, sorted by place.

    Warns of files that are not what was written or cannot be read, and of copies: a run counts
    once, a damaged one not at all.

    Args:
        results: the folder.
        known: what was made of records that have not changed since; `remember` adds to it.
        apart: a folder below, whose runs are left out.
    """

    def attempt(place: Path) -> RunRecord | str:
        try:
            before = known.get(place.parent) if known else (None, "")
            return read_run(place, *before)
        except (OSError, ValueError, TypeError, LookupError) as error:
            return f"skipped {place}: {error}"

    with ThreadPoolExecutor(READERS) as pool:
        marks = (mark for name in ("run.json", CHECKSUMS) for mark in Path(results).rglob(name))
        places = {
            mark.with_name("run.json") for mark in marks
            if apart is None or not mark.is_relative_to(apart)
        }  # fmt: skip
        tried = list(pool.map(attempt, sorted(places)))
    for one in tried:
        if isinstance(one, str):
            warnings.warn(one, stacklevel=2)
    return without_copies([one for one in tried if isinstance(one, RunRecord)], Path(results))


def without_copies(runs: list[RunRecord], results: Path) -> list[RunRecord]:
    """Return runs, of those with the same names and settings the one that lies where they say.

    Others of the same names, as in results that were merged from several machines, are of an
    experiment that is named by where it lies.
    """

    def names(run: RunRecord) -> tuple[str, ...]:
        facts = run.facts
        return facts["experiment"], facts["task"], facts["algo"], f"seed={facts['seed']}"

    def rank(run: RunRecord) -> tuple[bool, int, str]:
        parts = run.path.parts
        return parts[-4:] != names(run), len(parts), str(run.path)

    kept: dict[tuple[str, ...], RunRecord] = {}
    found = []
    for run in sorted(runs, key=rank):
        first = kept.setdefault(names(run), run)
        if first is not run and first.settings != run.settings:
            run.facts["experiment"] = str(run.path.relative_to(results).parents[2])
            first = kept.setdefault(names(run), run)
        if first is run:
            found.append(run)
        else:
            text = f"skipped {run.path}: its names and seed are those of {first.path}"
            warnings.warn(text, stacklevel=3)
    return sorted(found, key=lambda run: run.path)


def read_run(place: Path, known: Any = None, mark: str = "") -> RunRecord:
    """Return the run whose run.json this is; what it may lack is filled in.

    Args:
        place: of its run.json.
        known: what `remember` kept of it, if none of its files has changed: they were checked.
        mark: what its files are known by.

    Raises:
        ValueError: if it, or its episodes.parquet, is not what its name says, or any file of the
            record is not what was written.
        OSError: if it cannot be read.
    """
    record = Record(place.parent)
    scores, settings = recalled(known)
    if (
        scores is None and not record.locked()
    ):  # else a run writes them now; its checkpoint is often thrown away
        record.sums.verify(but=("checkpoint.pt",))
    facts = json.loads(place.read_text())
    if not isinstance(facts, dict) or not {"algo", "task", "seed"} <= facts.keys():
        raise ValueError("not the record of a run")
    facts |= {"algo": str(facts["algo"]), "task": str(facts["task"]), "seed": int(facts["seed"])}
    empty = {"experiment": "", "family": "", "status": "unknown", "seconds": {}, "versions": {},
             "task_info": {}, "algo_info": {}}  # fmt: skip
    for key, default in empty.items():
        facts[key] = facts.get(key) or default
        if type(facts[key]) is not type(default):
            raise ValueError(f"{key} is {facts[key]!r}")
    lies = place.parent.absolute().parts
    if lies[-3:] == (facts["task"], facts["algo"], f"seed={facts['seed']}"):
        facts["experiment"] = lies[-4]  # whose folder may have got another name since
    if settings is None:
        settings = flat(binding(record.read_config()))
    table = place.with_name("episodes.parquet")
    if not table.exists():
        return RunRecord(place.parent, facts, settings, mark=mark)
    try:
        episodes = pq.ParquetFile(table).read(use_threads=False).to_pandas()
    except (OSError, ValueError) as error:
        raise ValueError(f"{table.name}: {error}") from None
    if missing := [name for name in EPISODES if name not in episodes]:
        raise ValueError(f"{table.name} lacks {', '.join(missing)}")
    labels, top = episodes["mode"].to_numpy(), len(facts["task_info"].get("modes", []))
    if len(labels) and top and (labels.min() < -1 or labels.max() > top):
        raise ValueError(f"{table.name} has labels outside -1..{top}")
    headed = read_headings(place.with_name("headings.npz"))
    return RunRecord(place.parent, facts, settings, episodes, headed, scores, mark)


def recalled(known: Any) -> tuple[Scores | None, dict[str, Any] | None]:
    """Return the scores and settings that `remember` kept, None for what is of another form."""
    if not isinstance(known, list) or len(known) != 2:
        return None, None
    scores, settings = known
    if not isinstance(scores, dict) or not isinstance(settings, dict):
        return None, None
    columns = [values for values in scores.values() if isinstance(values, list)]
    names = [*COUNTS, *metrics.METRICS]
    if list(scores) != names or len(columns) != len(names) or len(set(map(len, columns))) != 1:
        return None, None
    return scores, settings


def remember(runs: Sequence[RunRecord], known: Known) -> None:
    """Keep scores and settings of runs for the next time, by what their files were known by."""
    for run in runs:
        if run.scores is not None:
            known.put(run.path, run.mark, [run.scores, run.settings])
    known.save()


def read_headings(place: Path) -> dict[int, np.ndarray]:
    """Return the counts (B, D) of headings by env steps; older records have none.

    Raises:
        ValueError: if it is damaged.
    """
    if not place.exists():
        return {}
    with arrays(place) as stored:
        steps, counts = stored["env_steps"], stored["counts"]
    if counts.ndim != 3 or steps.shape != counts.shape[:1]:
        raise ValueError(f"{place.name} has counts {counts.shape} of evaluations {steps.shape}")
    return dict(zip(steps.tolist(), counts, strict=True))
