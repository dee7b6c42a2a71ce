"""What happens under faults: they are done to real runs, and what is left is judged.

  python -m tests.faults [series=kill,...] [moments=50] [seed=0] [out=docs/reliability.md]

Small runs on a point maze are killed and so on as a user's would be. After every fault `status` is
asked, the same command is given again, and the record is compared with that of an undisturbed run,
beside which it must be equal apart from times. A finished run that lies beside must be unchanged,
byte for byte. What was seen is written between the marks of docs/reliability.md; the exit status is
1 where anything was lost, silently changed or not as said here. Disks are small tmpfs, which only
root can mount.
"""

import collections
import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from bench.errors import UsageError
from bench.records import Record
from bench.storage import load_state
from bench.words import integer, parse
from docs.write_results import write
from tests.forked import NAMES, Command, Ended, aside

HERE = Path(__file__).parent
WORDS = (
    "algo=sac task=pointmaze-v1 task.horizon=60 budget=smoke env_steps=1200 num_envs=8 eval.every=600 "
    "eval.episodes=4 eval.specified=0 checkpoint.every=240 log.every=120 threads=1 algo.batch=32"
).split()  # fmt: skip
PLACE = Path("default/pointmaze-v1/sac")
TIMES = {"seconds", "start", "end", "progress"}  # and bytes of them: no two runs have them alike
HEAD = ("fault", "where", "times", "what the command says (exit status)", "`status` then says",
        "the same command again", "the record at last")  # fmt: skip


@dataclass
class Row:
    """What one fault came to: a row of the table, and what is wrong with it."""

    fault: str
    where: str
    says: str
    state: str
    again: str
    record: str
    wrong: list[str] = field(default_factory=list)


@dataclass
class Bench:
    """A place to do faults in, and the undisturbed runs that they are compared with.

    Attributes:
        folder: for everything that is written here.
        rng: of moments and places.
        whole: results with an undisturbed run of seeds 0 and 1.
        half: results with the run of seed 1, and one of seed 0 that was killed at its half.
        spent: s of every time that the undisturbed run was in a phase.
    """

    folder: Path
    rng: np.random.Generator
    rows: list[Row] = field(default_factory=list)
    spent: dict[str, list[float]] = field(default_factory=dict)

    @property
    def whole(self) -> Path:
        return self.folder / "whole"

    @property
    def half(self) -> Path:
        return self.folder / "half"

    def begin(self) -> None:
        """Make the undisturbed runs."""
        for seed in (1, 0, 0):
            ended = self.done(run(self.whole, seed), report=True)
            if ended.status:
                raise RuntimeError(f"an undisturbed run failed: {ended.said}")
            self.spent = ended.spent | self.spent  # the last is a report alone
        self.fresh(self.half)
        self.done(run(self.half), hooks={("checkpointing", 4): kill_self})
        results = self.fresh(self.folder / "continued", self.half)
        self.spent |= self.done(run(results)).spent | self.spent

    def command(self, words: list[str], **more: Any) -> Command:
        """Start a command."""
        return Command(words, self.folder / "log", **more)

    def done(self, words: list[str], **more: Any) -> Ended:
        """Do a command to its end."""
        return self.command(words, **more).wait()

    def fresh(self, results: Path, of: Path | None = None) -> Path:
        """Return results that hold a finished run, of seed 1; with `of`, all that it holds."""
        shutil.rmtree(results, ignore_errors=True)
        if of is None:
            shutil.copytree(self.whole / PLACE / "seed=1", results / PLACE / "seed=1")
        else:
            shutil.copytree(of / "default", results / "default", dirs_exist_ok=True)
        return results

    def state(self, results: Path, seed: int = 0) -> str:
        """Return what `status` says of a run."""
        said = self.done(["status", f"results={results}"]).said
        cells = [line.split("│") for line in said.splitlines() if f"seed={seed}" in line]
        return cells[0][2].strip() if cells and len(cells[0]) > 2 else "no run"

    def judge(self, results: Path, row: Row, states: set[str], report: bool = False) -> None:
        """Ask for the state, give the command again, compare the record; add the row.

        Args:
            results: of the run, seed 0.
            row: with the fault and what was seen of it.
            states: that `status` may say now.
            report: whether the command again ends with its report.
        """
        row.state = self.state(results)
        if row.state not in states:
            row.wrong.append(f"status says {row.state!r}, expected {sorted(states)}")
        ended = self.done(run(results), report=report)
        row.again = "finishes it" if ended.status == 0 else f"{last(ended)} ({ended.status})"
        if ended.status:
            row.wrong.append(f"the command again: {ended.said}")
        page = results / "default" / "report" / "index.html"
        if report and not page.read_text().rstrip().endswith("</html>"):
            row.wrong.append("the report is no whole page")
        self.compare(results, row)

    def compare(self, results: Path, row: Row) -> None:
        """Compare the record with the undisturbed run's, and the finished one; add the row."""
        found = aside(differences, results / PLACE / "seed=0", self.whole / PLACE / "seed=0")
        row.record = "equal" if not found else f"differs: {', '.join(found)}"
        row.wrong += found
        self.beside(results, row)
        self.add(row)

    def beside(self, results: Path, row: Row) -> None:
        """Check that the finished run beside is unchanged."""
        if digests(results / PLACE / "seed=1") != digests(self.whole / PLACE / "seed=1"):
            row.wrong.append("the finished run beside has changed")

    def add(self, row: Row) -> None:
        """Add a row and say so."""
        self.rows.append(row)
        mark = "WRONG" if row.wrong else "ok"
        print(f"{mark:5} {row.fault} | {row.where} | {row.says} | {row.state} | {row.again} | "
              f"{row.record}", flush=True)  # fmt: skip
        for text in row.wrong:
            print(f"      {text}", flush=True)


# Commands and records


def run(results: Path, seed: int = 0, *more: str) -> list[str]:
    """Return the words of a small run."""
    return ["run", f"results={results}", *WORDS, f"seed={seed}", *more]


def kill_self() -> None:
    """End this process at once, as the system does when memory runs out."""
    os.kill(os.getpid(), 9)


def last(ended: Ended) -> str:
    """Return the last line that a command printed, without places on this machine."""
    line = ended.lines[-1] if ended.lines else "nothing"
    line = re.sub(r"/\S*/(seed=\d+)", "RUN", line)
    return re.sub(r"(?<![\w.])/\S+/", "", line)


def digests(folder: Path) -> dict[str, str]:
    """Return the checksum of every file of a record."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir()) if path.is_file()}  # fmt: skip


def differences(one: Path, other: Path) -> list[str]:
    """Return in which files two records differ, apart from times and places."""
    found = []
    Record(one).sums.verify()
    names = {path.name for folder in (one, other) for path in folder.iterdir()}
    for name in sorted(names - {"checksums.json", ".lock"}):
        both = (one / name, other / name)
        if not all(path.exists() for path in both):
            found.append(f"{name} is in one alone")
        elif not alike(*(read(path) for path in both)):
            found.append(name)
    return found


def read(path: Path) -> Any:
    """Return what a file of a record holds, without times and what says where it lies."""
    if path.suffix == ".json":
        return without(json.loads(path.read_text()), TIMES)
    if path.suffix == ".yaml":
        return without(yaml.safe_load(path.read_text()), {"results", "overwrite"})
    if path.suffix == ".jsonl":
        return [without(json.loads(line), TIMES) for line in path.read_text().splitlines()]
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_dict("list")
    if path.suffix == ".npz":
        with np.load(path) as stored:
            return dict(stored)
    if path.suffix == ".pt":
        return without(load_state(path, path, "cpu"), TIMES)
    raise ValueError(f"{path} is no file of a record")


def without(content: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    """Return a mapping without some keys."""
    return {key: value for key, value in content.items() if key not in keys}


def alike(one: Any, other: Any) -> bool:
    """Return whether two nested values are the same in every bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple | collections.deque):
        return len(one) == len(other) and all(map(alike, one, other))
    if hasattr(one, "detach"):
        one, other = one.detach().cpu().numpy(), other.detach().cpu().numpy()
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(
            one, other, equal_nan=one.dtype.kind == "f"
        )
    return one == other or (one != one and other != other)


# Series: each does its faults and adds its rows


def killed(bench: Bench, moments: int) -> None:
    """Send SIGKILL at random moments of every phase."""
    number = 0
    while number < moments:
        aim = NAMES[number % len(NAMES)]
        begun = {"continuing": bench.half, "reporting": bench.whole}
        results = bench.fresh(bench.folder / "killed", begun.get(aim))
        spent = bench.spent[aim]
        times = int(bench.rng.integers(len(spent)))
        command = bench.command(run(results), report=aim == "reporting")
        if aim != "beginning":
            command.reach(aim, times + 1)
        command.pause(aim, float(bench.rng.uniform(0, spent[times])))
        command.kill()
        ended = command.wait()
        if ended.status != -9:  # it was quicker than the moment
            continue
        number += 1
        row = Row("SIGKILL", ended.phase, "nothing (killed)", "", "", "")
        states = {"reporting": {"done"}, "beginning": {"no run", "killed"}}
        bench.judge(results, row, states.get(ended.phase, {"killed"}), report=aim == "reporting")


SERIES: dict[str, Callable[[Bench, int], None]] = {"kill": killed}


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown, alike ones as one with how many they were."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    counted = collections.Counter(
        (row.fault, row.where, row.says, row.state, row.again, row.record) for row in rows
    )
    for (fault, where, *seen), times in counted.items():
        cells = [text.replace("|", r"\|") for text in (fault, where, str(times), *seen)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(words: list[str]) -> int:
    """Do the series and write the table; return 1 if anything was wrong."""
    defaults = {"series": ",".join(SERIES), "moments": "50", "seed": "0",
                "out": "docs/reliability.md"}  # fmt: skip
    plain, values = parse(words, defaults)
    chosen = values["series"].split(",")
    if plain or not set(chosen) <= SERIES.keys():
        raise UsageError(f"series={values['series']}: valid are {', '.join(SERIES)}")
    moments, seed = integer("moments", values["moments"]), integer("seed", values["seed"], 0)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE / "bench"), str(HERE.parent)])
    sys.path.insert(0, str(HERE / "bench"))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), np.random.default_rng(seed))
        bench.begin()
        for name in chosen:
            SERIES[name](bench, moments)
    for name in chosen:
        rows = [row for row in bench.rows]
    wrong = sum(bool(row.wrong) for row in bench.rows)
    print(f"{len(bench.rows)} faults, {wrong} with something wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
