"""What happens under faults: they are done to real runs, and what is left is judged.

  python -m tests.faults [series=kill,...] [moments=50] [seed=0] [out=docs/reliability.md]

Small runs on a point maze are killed and so on as a user's would be. After every fault `status` is
asked, the same command is given again, and the record is compared with that of an undisturbed run,
to which it must be equal in every number but times. A finished run that lies beside must be
unchanged, byte for byte. What was seen is written between the marks of docs/reliability.md; the
exit status is 1 where anything was lost, silently changed or otherwise than expected here. Disks
are small tmpfs, which only root can mount.
"""

import collections
import contextlib
import functools
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

import bench.algos.sac
import bench.commands.status
import bench.provenance
from bench.errors import UsageError
from bench.records import Record
from bench.runner import Run
from bench.storage import load_state
from bench.tasks.vector import WorldVectorEnv
from bench.words import integer, parse
from docs.marks import write
from tests.forked import NAMES, Command, Ended, aside

HERE = Path(__file__).parent
WORDS = [
    "algo=sac", "task=pointmaze-v1", "task.horizon=60", "budget=smoke", "env_steps=720",
    "num_envs=8", "eval.every=360", "eval.episodes=4", "eval.specified=0", "checkpoint.every=120",
    "log.every=120", "threads=1", "algo.batch=32",
    "algo.exploration.warmup=240",
]  # fmt: skip
PLACE = Path("default/pointmaze-v1/sac")
APART = {"seconds", "start", "end", "progress", "git"}  # times, bytes of them, the working tree
FILES = ("checkpoint.pt", "policy.pt", "episodes.parquet", "paths.npz", "progress.jsonl",
         "run.json", "config.yaml", "checksums.json")  # fmt: skip
DISK = "24m"  # of the small disk: a record and a report fit
HEAD = ("fault", "where", "times", "what the command says (exit status)", "`status` says then",
        "the command again", "the record at last")  # fmt: skip


@dataclass
class Row:
    """What one fault came to: a row of the table, and what is wrong with it."""

    fault: str
    where: str
    says: str = "nothing"
    state: str = ""
    again: str = ""
    record: str = ""
    wrong: list[str] = field(default_factory=list)


@dataclass
class Bench:
    """A place to do faults in, and the undisturbed runs that they are compared with.

    Attributes:
        folder: for everything that is written here.
        rng: of moments and places.
        show: takes the rows so far whenever one is added, so that stopping loses none.
        rows: of the series so far.
        whole: results with an undisturbed run of seeds 0 and 1.
        half: results with the run of seed 1, and one of seed 0 that was killed at its half.
        spent: s of every time that the undisturbed run was in a phase.
    """

    folder: Path
    rng: np.random.Generator
    show: Callable[[list[Row]], None] = lambda rows: None
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
            done = (self.whole / PLACE / f"seed={seed}").exists()  # then it is the report's turn
            ended = self.done(run(self.whole, seed), report=done)
            if ended.status:
                raise RuntimeError(f"an undisturbed run failed: {ended.said}")
            self.spent = ended.spent | self.spent
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

    def state(self, results: Path, seed: int = 0, before: Callable[[], Any] = lambda: None) -> str:
        """Return what `status` says of a run; `before` is done in its process first."""
        command = Command(["status", f"results={results}"], self.folder / "status", prepare=before)
        said = command.wait().said
        cells = [line.split("│") for line in said.splitlines() if f"seed={seed}" in line]
        return cells[0][2].strip() if cells and len(cells[0]) > 2 else "no run"

    def judge(
        self,
        results: Path,
        row: Row,
        states: set[str],
        report: bool = False,
        words: tuple[str, ...] = (),
        **more: Any,
    ) -> None:
        """Ask for the state, give the command again, compare the record; add the row.

        Args:
            results: of the run, seed 0.
            row: with the fault and what was seen of it.
            states: that `status` may say now.
            report: whether the command again ends with its report.
            words: that it has in addition.
            more: of the command again.
        """
        row.state = self.state(results)
        if row.state not in states:
            row.wrong.append(f"status says {row.state!r}, expected {sorted(states)}")
        ended = self.done(run(results, 0, *words), report=report, **more)
        done = " ".join(["finishes it", *(f"with {word}" for word in words)])
        row.again = done if ended.status == 0 else f"{last(ended)} ({ended.status})"
        if ended.status:
            row.wrong.append(f"the command again: {ended.said}")
        page = results / "default" / "report" / "index.html"
        if report and not page.read_text().rstrip().endswith("</html>"):
            row.wrong.append("the report is no whole page")
        self.compare(results, row)

    def compare(self, results: Path, row: Row, other: Path | None = None) -> None:
        """Compare the record with the undisturbed run's, and the finished one; add the row."""
        other = other or self.whole
        found = aside(differences, results / PLACE / "seed=0", other / PLACE / "seed=0")
        row.record = "equal" if not found else f"differs: {', '.join(found)}"
        row.wrong += found
        self.beside(results, row)
        self.add(row)

    def beside(self, results: Path, row: Row) -> None:
        """Check that the finished run beside is unchanged."""
        if digests(results / PLACE / "seed=1") != digests(self.whole / PLACE / "seed=1"):
            row.wrong.append("the finished run beside has changed")

    def expect(self, row: Row, ended: Ended, status: int, *parts: str) -> None:
        """Note what a command said, and what of it was not expected.

        Args:
            row: that takes it.
            ended: the command.
            status: that it must exit with.
            parts: that its last line must have.
        """
        row.says = f"{last(ended)} ({ended.status})"
        if ended.status != status or "Traceback" in ended.said:
            row.wrong.append(f"expected status {status}: {ended.status}, {ended.said}")
        row.wrong += [f"{last(ended)!r} has no {one!r}" for one in parts if one not in last(ended)]

    def add(self, row: Row) -> None:
        """Add a row and say so."""
        self.rows.append(row)
        self.show(self.rows)
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
    return shown(ended.lines[-1]) if ended.lines else "nothing"


def shown(line: str) -> str:
    """Return a line without places on this machine, or lines in the source."""
    return re.sub(r" \(\w+\.py:\d+\)", "", re.sub(r"(?<![\w.])/\S*/", "…/", line))


def digests(folder: Path) -> dict[str, str]:
    """Return the checksum of every file of a record."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir()) if path.is_file()}  # fmt: skip


def differences(one: Path, other: Path) -> list[str]:
    """Return in which files two records differ, apart from times and places."""
    found = []
    Record(one).sums.verify()
    names = {path.name for folder in (one, other) for path in folder.iterdir()}
    for name in sorted(name for name in names if name[0] != "." and name != "checksums.json"):
        both = (one / name, other / name)
        if not all(path.exists() for path in both):
            found.append(f"{name} is in one alone")
        elif not alike(*(read(path) for path in both)):
            found.append(name)
    return found


def read(path: Path) -> Any:
    """Return what a file of a record holds, without times and what says where it lies."""
    if path.suffix == ".json":
        return without(json.loads(path.read_text()), APART)
    if path.suffix == ".yaml":
        return without(yaml.safe_load(path.read_text()), {"results", "overwrite", "plugins"})
    if path.suffix == ".jsonl":
        return [without(json.loads(line), APART) for line in path.read_text().splitlines()]
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_dict("list")
    if path.suffix == ".npz":
        with np.load(path) as stored:
            return dict(stored)
    if path.suffix == ".pt":
        return without(load_state(path, path, "cpu"), APART | {"plugins"})
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
        row = Row("SIGKILL", ended.phase)
        states = {"reporting": {"done"}, "beginning": {"no run", "killed"}}
        bench.judge(results, row, states.get(ended.phase, {"killed"}), report=aim == "reporting")


def full(bench: Bench, moments: int) -> None:
    """Fill a small disk in every phase, to its last byte and almost."""
    for aim, left in itertools.product(NAMES, (0, 40_000)):
        with disk(bench.folder / "disk") as results:
            begun = {"continuing": bench.half, "reporting": bench.whole}
            bench.fresh(results, begun.get(aim))
            ballast = results / "ballast"
            filling = functools.partial(fill, ballast, left)
            hooks = {(aim, 2 if aim in ("checkpointing", "evaluating") else 1): filling}
            if aim == "beginning":
                filling()
            ended = bench.done(run(results), hooks=hooks, report=aim == "reporting")
            row = Row("disk full" if not left else "disk almost full", aim)
            bench.expect(row, ended, 1, "No space left on device")
            ballast.unlink()
            states = {"reporting": {"done"}, "beginning": {"no run", "killed", "failed"}}
            bench.judge(results, row, states.get(aim, {"killed", "failed"}), aim == "reporting")


def damaged(bench: Bench, moments: int) -> None:
    """Shorten every file of a record, or flip one of its bits, at random places."""
    kinds = list(itertools.product(FILES, ("truncated", "a bit flipped")))
    for name, kind in kinds:
        results = bench.fresh(bench.folder / "damaged", bench.half)
        place = results / PLACE / "seed=0"
        damage(place / name, kind, bench.rng)
        kept = digests(place)
        ended = bench.done(run(results))
        row = Row(f"{name}, {kind}", "a killed run, continued")
        if name == "run.json" or (name == "checksums.json" and ended.status == 0):
            bench.expect(row, ended, 0)  # the checkpoint knows all that run.json says
            row.says, row.again = "goes on from its checkpoint (0)", "–"
            row.state = bench.state(results)
            bench.compare(results, row)
        else:
            bench.expect(row, ended, 2, name, "overwrite=true makes the run anew")
            if digests(place) != kept:
                row.wrong.append("the refused run has been changed")
            states = {"damaged"} if name in ("episodes.parquet", "checksums.json") else {"killed"}
            states |= {"damaged"} if name == "progress.jsonl" else set()
            states |= {"killed"} if name == "checksums.json" else set()
            bench.judge(results, row, states, words=("overwrite=true",))
    for name, kind in kinds:
        for command in ("run", "eval"):
            finished(bench, name, kind, command)
    reported(bench, kinds)


def finished(bench: Bench, name: str, kind: str, command: str) -> None:
    """Damage a file of a finished run, and give a command that may read it."""
    results = bench.fresh(bench.folder / "damaged", bench.whole)
    place = results / PLACE / "seed=0"
    damage(place / name, kind, bench.rng)
    kept = digests(place)
    ended = bench.done(run(results) if command == "run" else ["eval", str(place), "episodes=2"])
    row = Row(f"{name}, {kind}", f"a finished run, `{command}`", again="–", record="unchanged")
    reads = {"run": set(FILES) - {"checkpoint.pt"}, "eval": {"policy.pt", "checksums.json"}}
    if (command, name) == ("run", "run.json"):
        bench.expect(row, ended, 0)
        row.says, row.state = "goes on from its checkpoint (0)", bench.state(results)
        bench.compare(results, row)
        return
    if name in reads[command] and not (name == "checksums.json" and ended.status == 0):
        bench.expect(row, ended, 2, name)
    else:  # of the list of checksums a line may have changed that is of another file
        bench.expect(row, ended, 0)
        row.says = "does not read it (0)"
    row.state = bench.state(results)
    row.wrong += ["the record has been changed"] * (digests(place) != kept)
    bench.beside(results, row)
    bench.add(row)


def reported(bench: Bench, kinds: list[tuple[str, str]]) -> None:
    """Damage finished runs, each in a file of its own, and write one report of all of them."""
    results = bench.fresh(bench.folder / "damaged")
    places, kept = [], []
    for number, (name, kind) in enumerate(kinds):
        place = results / f"copy{number}" / PLACE.relative_to("default") / "seed=0"
        shutil.copytree(bench.whole / PLACE / "seed=0", place)
        damage(place / name, kind, bench.rng)
        places.append(place)
        kept.append(digests(place))
    ended = bench.done(["report", f"results={results}"])
    for (name, kind), place, before in zip(kinds, places, kept, strict=True):
        row = Row(f"{name}, {kind}", "finished runs, `report`", again="–", record="unchanged")
        bench.expect(row, ended, 0)
        told = [line for line in ended.lines if str(place) in line and "skipped" in line]
        row.says = "leaves the run out and names the file (0)" if told else "draws it (0)"
        if not told and name not in ("checkpoint.pt", "checksums.json"):
            row.wrong.append(f"not named: {ended.said}")
        row.wrong += [f"{told}"] * (bool(told) and name not in told[0])
        row.state = bench.state(place.parents[3])
        row.wrong += ["the record has been changed"] * (digests(place) != before)
        bench.beside(results, row)
        bench.add(row)


def clock(bench: Bench, moments: int) -> None:
    """Set the clock back by a day in a run, and between its two parts."""
    results = bench.fresh(bench.folder / "clock")
    command = bench.command(run(results), hooks={("checkpointing", 3): set_back})
    command.reach("checkpointing", 4)
    row = Row("clock set back by a day", "training", state=bench.state(results, before=set_back))
    row.wrong += [f"status: {row.state}"] * (row.state != "running")
    ended = command.wait()
    bench.expect(row, ended, 0)
    row.says, row.again = "finishes (0)", "–"
    bench.compare(results, row)
    results = bench.fresh(results, bench.half)
    row = Row("clock set back by a day", "between kill and continuing", "–")
    bench.judge(results, row, {"killed"}, prepare=set_back)
    row = Row("clock set back by a day", "`report`")
    bench.expect(row, bench.done(["report", f"results={results}"], prepare=set_back), 0)
    row.says, row.state, row.again = "writes it (0)", bench.state(results), "–"
    bench.compare(results, row)


def read_only(bench: Bench, moments: int) -> None:
    """Make the disk read-only and give every command."""
    with disk(bench.folder / "disk") as results:
        bench.fresh(results, bench.half)
        done, begun = (results / PLACE / f"seed={seed}" for seed in (1, 0))
        kept = digests(done) | digests(begun)
        subprocess.run(["mount", "-o", "remount,ro", results], check=True)
        page = bench.folder / "page"
        cases: list[tuple[str, list[str], int, str]] = [
            ("`run`, killed before", run(results), 2, "cannot be written"),
            ("`run`, done before", run(results, 1), 2, "cannot be written"),
            ("`report`", ["report", f"results={results}"], 2, "Read-only file system"),
            ("`report`, out elsewhere", ["report", f"results={results}", f"out={page}"], 0, ""),
            ("`eval`", ["eval", str(done), "episodes=2"], 0, ""),
            ("`replan`", ["replan", str(done), "episodes=2", "horizon=1",
                          "layout=['#####','#R.G#','#####']"], 1, "Read-only file system"),
            ("`render`", ["render", str(done), "episodes=1", "size=64"], 1, "Read-only"),
        ]  # fmt: skip
        for where, words, status, part in cases:
            row = Row("results read-only", where, again="–", record="unchanged")
            bench.expect(row, bench.done(words), status, part)
            row.says = row.says if status else "as ever (0)"
            row.state = bench.state(results)
            row.wrong += [f"status: {row.state}"] * (row.state != "killed")
            row.wrong += ["changed"] * (digests(done) | digests(begun) != kept)
            bench.add(row)
        subprocess.run(["mount", "-o", "remount,rw", results], check=True)
        bench.judge(results, Row("results writable again", "`run`", "–"), {"killed"})


SHORTAGE = """
import os, resource
import torch
from bench.runner import Run

def step(self, step=Run.step):
    if self.env_steps == 480 and self.settings.seed == 2:
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY))
        self.hoard = torch.zeros(16 << 30, dtype=torch.uint8)
    if self.env_steps == 480 and self.settings.seed == 0:
        os.kill(os.getpid(), 9)
    step(self)

if os.environ.get("SHORT_OF_MEMORY"):
    Run.step = step
"""


def memory(bench: Bench, moments: int) -> None:
    """Let one run of a sweep be killed as the kernel does, and one ask for more than there is."""
    (bench.folder / "shortage.py").write_text(SHORTAGE)
    results = bench.fresh(bench.folder / "memory")
    words = run(results, 0, "seed=0,2,3", "plugins=[shortage]", "hydra.launcher.n_jobs=2")
    words = [word for word in words if word != "seed=0"]
    os.environ["PYTHONPATH"] += os.pathsep + str(bench.folder)
    sys.path.append(str(bench.folder))
    os.environ["SHORT_OF_MEMORY"] = "1"
    ended = bench.done(words)
    del os.environ["SHORT_OF_MEMORY"]
    rows = []
    for seed, where, part in ((0, "killed by the kernel", "killed by SIGKILL"),
                              (2, "an allocation refused", "memory")):  # fmt: skip
        row = Row("out of memory in one run of a sweep", where)
        line = next((one for one in ended.lines if f"seed={seed}" in one), "")
        row.says = f"{shown(line)} ({ended.status})"
        row.wrong += [f"expected {part!r}: {ended.said}"] * (part not in line or ended.status != 1)
        row.state = bench.state(results, seed)
        row.wrong += [f"status: {row.state}"] * (row.state != "failed")
        rows.append(row)
    beside = Row("out of memory in one run of a sweep", "the other run of the sweep", "–",
                 bench.state(results, 3), "–", "done")  # fmt: skip
    beside.wrong += [f"status: {beside.state}"] * (beside.state != "done")
    kept = digests(results / PLACE / "seed=3")
    again = bench.done(words)
    bench.done(run(bench.whole, 2))
    for seed, row in zip((0, 2), rows, strict=True):
        row.again = "finishes it" if again.status == 0 else f"{last(again)} ({again.status})"
        row.wrong += [again.said] * (again.status != 0)
        found = aside(
            differences, *(one / PLACE / f"seed={seed}" for one in (results, bench.whole))
        )
        row.record = "equal" if not found else f"differs: {', '.join(found)}"
        row.wrong += found
        bench.beside(results, row)
        bench.add(row)
    beside.wrong += ["changed"] * (digests(results / PLACE / "seed=3") != kept)
    bench.add(beside)


def not_finite(bench: Bench, moments: int) -> None:
    """Put a NaN into what a step handles, at random steps, and diverging physics."""
    for quantity in ("loss", "a weight", "action", "observation", "reward"):
        results = bench.fresh(bench.folder / "nan")
        step = 8 * int(bench.rng.integers(61, 74))  # learning has begun, as has the record
        ended = bench.done(run(results), prepare=lambda q=quantity, s=step: poison(q, s))
        row = Row("NaN", quantity)
        named = {"loss": "critic_loss is nan", "a weight": "critic_loss is nan"}
        bench.expect(row, ended, 1, named.get(quantity, f"{quantity} is nan"))
        found = re.search(r"at env step (\d+)", row.says)
        if not found or int(found[1]) != step + 8:
            row.wrong.append(f"put in at step {step}: {row.says}")
        state = aside(read, results / PLACE / "seed=0" / "checkpoint.pt")
        row.wrong += [f"checkpoint of {state['env_steps']}"] * (
            state["env_steps"] != step // 120 * 120
        )
        facts = json.loads((results / PLACE / "seed=0" / "run.json").read_text())
        row.wrong += [f"{facts['error']}"] * (found is None or found[0] not in str(facts["error"]))
        row.says = row.says.replace(found[1], "S") if found else row.says
        bench.judge(results, row, {"failed"})


def diverging(bench: Bench, moments: int) -> None:
    """Let physics diverge in training, also in a run that is killed later, and in what plays."""
    results, other = (bench.fresh(bench.folder / name) for name in ("diverged", "undisturbed"))
    step = 8 * int(bench.rng.integers(10, 74))
    prepare = lambda: blow_up(step)  # noqa: E731
    bench.done(run(other), prepare=prepare)
    row = Row("physics that diverges", "training, killed later and continued")
    bench.done(run(results), prepare=prepare, hooks={("checkpointing", 5): kill_self})
    row.state = bench.state(results)
    ended = bench.done(run(results), prepare=prepare)
    bench.expect(row, ended, 0)
    lines = (results / PLACE / "seed=0" / "progress.jsonl").read_text().splitlines()
    counted = json.loads(lines[-1]).get("diverged")
    row.wrong += [f"diverged: {counted}"] * (counted != 1)
    row.says, row.again = "truncates the episode and counts it in progress.jsonl (0)", "finishes it"
    bench.compare(results, row, other)
    for command, *words in (("eval",), ("replan", "horizon=1", "layout=['#####','#R.G#','#####']"),
                            ("render", "size=64")):  # fmt: skip
        results = bench.fresh(results, bench.whole)
        place = results / PLACE / "seed=0"
        kept = digests(place)
        row = Row("physics that diverges", f"`{command}`", again="–", record="unchanged")
        ended = bench.done([command, str(place), "episodes=2", *words], prepare=blow_up_playing)
        bench.expect(row, ended, 0)
        told = [line for line in ended.lines if line.startswith("warning")]
        row.says = f"{' '.join(told)} (0)"
        row.wrong += [ended.said] * (len(told) != 1)
        row.state = bench.state(results)
        row.wrong += ["changed"] * (digests(place) != kept)
        bench.add(row)


def twice(bench: Bench, moments: int) -> None:
    """Start a run that is going on."""
    for where in ("at the same moment", "in training", "in its evaluation"):
        results = bench.fresh(bench.folder / "twice")
        first = bench.command(run(results))
        if where != "at the same moment":
            first.reach("training" if where == "in training" else "evaluating", 1)
        second = Command(run(results), bench.folder / "second.log")
        ends = sorted((first.wait(), second.wait()), key=lambda one: one.status)
        row = Row("a run started twice", where)
        bench.expect(row, ends[1], 2, "is in use by another process")
        row.wrong += [f"the other: {ends[0].said}"] * (ends[0].status != 0)
        bench.judge(results, row, {"done"})


# What the series do in a command's process, or to files


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk, as root."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(ballast: Path, left: int) -> None:
    """Fill the disk that a file is on, but for some bytes."""
    facts = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, facts.f_bavail * facts.f_frsize - left)


def damage(path: Path, kind: str, rng: np.random.Generator) -> None:
    """Shorten a file, or flip one of its bits."""
    content = bytearray(path.read_bytes())
    place = int(rng.integers(len(content)))
    if kind == "truncated":
        content = content[:place]
    else:
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def set_back() -> None:
    """Set this process's clock back by a day."""
    day = 86_400.0
    now = time.time

    class Earlier(bench.provenance.datetime):  # type: ignore[name-defined, misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: now() - day
    bench.provenance.datetime = Earlier


def at_step(step: int, do: Callable[[Run], None]) -> None:
    """Have this process do something to a run before it takes a step, once."""
    take = Run.step

    def taken(self: Run) -> None:
        if self.env_steps == step:
            do(self)
        take(self)

    Run.step = taken  # type: ignore[method-assign]


def poison(quantity: str, step: int) -> None:
    """Have a quantity be NaN at the step that follows `step`."""

    def put(run: Run) -> None:
        owner: Any = run.algo if quantity in ("loss", "action", "a weight") else run.env
        if quantity == "a weight":
            with torch.no_grad():
                next(iter(owner.critic.parameters())).view(-1)[0] = torch.nan
            return
        name = {"loss": "update", "action": "act"}.get(quantity, "step")
        function = getattr(owner, name)

        def poisoned(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            if quantity == "loss":
                return result | {"critic_loss": torch.tensor(torch.nan)}
            target = result if quantity == "action" else result[quantity == "reward"]
            target[-1] = torch.nan
            return result

        setattr(owner, name, poisoned)

    at_step(step, put)


def blow_up(step: int) -> None:
    """Have the first environment's physics diverge at the step that follows `step`."""

    def put(run: Run) -> None:
        env: Any = run.env
        simulate = env.simulate

        def simulated(control: np.ndarray) -> np.ndarray:
            env.simulate = simulate
            return diverge(env, control)

        env.simulate = simulated

    at_step(step, put)


def blow_up_playing() -> None:
    """Have the first environment's physics diverge at its fourth step."""
    simulate = WorldVectorEnv.simulate

    def simulated(self: WorldVectorEnv, control: np.ndarray) -> np.ndarray:
        if self.length.max() != 3:
            return simulate(self, control)
        return diverge(self, control, simulate)

    WorldVectorEnv.simulate = simulated  # type: ignore[method-assign]


def diverge(
    env: WorldVectorEnv, control: np.ndarray, simulate: Any = WorldVectorEnv.simulate
) -> np.ndarray:
    """Simulate with a speed at which the first environment diverges, from where it is sound."""
    sound = env.state[0].copy()
    env.qvel[0] = 1e20
    diverged = simulate(env, control)
    env.state[0] = sound
    return diverged


SERIES: dict[str, Callable[[Bench, int], None]] = {
    "kill": killed, "disk": full, "files": damaged, "clock": clock, "read-only": read_only,
    "memory": memory, "nan": not_finite, "divergence": diverging, "twice": twice,
}  # fmt: skip
ROOT = ("disk", "read-only")  # series that mount a disk


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown, alike ones as one with how many they were."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + " --- |" * len(HEAD)]
    counted = collections.Counter(
        (row.fault, row.where, row.says, row.state, row.again, row.record) for row in rows
    )
    for (fault, where, *seen), times in counted.items():
        cells = [text.replace("|", r"\|") for text in (fault, where, str(times), *seen)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def put(out: str, name: str, rows: list[Row]) -> None:
    """Put a series' table between its marks."""
    write(out, name, table(rows), "tests.faults")


def main(words: list[str]) -> int:
    """Do the series and write their tables; return 1 if anything was wrong."""
    defaults = {"series": ",".join(SERIES), "moments": "50", "seed": "0",
                "out": "docs/reliability.md"}  # fmt: skip
    plain, values = parse(words, defaults)
    chosen = values["series"].split(",")
    if plain or not set(chosen) <= SERIES.keys():
        raise UsageError(f"series={values['series']}: valid are {', '.join(SERIES)}")
    moments, seed = integer("moments", values["moments"]), integer("seed", values["seed"], 0)
    os.environ["PYTHONPATH"] = str(HERE.parent)
    wrong = done = 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), np.random.default_rng(seed))
        bench.begin()
        for name in chosen:
            if name in ROOT and os.geteuid():
                print(f"{name}: not done, as only root can mount a small disk")
                continue
            bench.rows = []
            bench.show = functools.partial(put, values["out"], name)
            SERIES[name](bench, moments)
            done += len(bench.rows)
            wrong += sum(bool(row.wrong) for row in bench.rows)
    print(f"{done} faults, {wrong} with something wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UsageError as error:
        sys.exit(f"faults: {error}")
