"""Measure everything anew, on seeds that no setting was tuned on.

  python -m docs.campaign [block=all|NAME,...] [others=NAME,NAME] [jobs=2] [run=false]

Without `run=true`: which blocks there are, how many of their runs are done, and about how many
hours of one core the rest takes, by the minutes of committed runs. With it: the runs that are
missing, `jobs` at a time; what is done is skipped, so that a campaign goes on where it was stopped.
A run that was made with other settings than today's is refused, naming them, until it is removed;
one that another block has made is not made again.
A block runs only once docs/campaign.md says what is expected of it (`* NAME: ...`), so that what
surprises can be told from what is explained afterwards. `others` are the classes that go through
all twelve tasks beside `SHOWN`: the two best of the block `classes`.

Records land in results/reference/campaign/<block>, compacted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pandas as pd
from rich.table import Table

from bench.algos import discover
from bench.analysis.load import finished, load_results
from bench.configuration import resolve, understand
from bench.errors import UsageError
from bench.printing import show
from bench.registry import unknown
from bench.settings import Settings
from bench.standing import place_of, state_of
from bench.words import integer, parse
from docs import compact_records, studies
from docs.write_results import ABLATED, FLOOR, REFERENCE

FOLDER = REFERENCE / "campaign"
LOG = Path("docs/campaign.md")
SHOWN = ("ddiffpg", "sac")
MAZES = tuple(f"pointmaze-v{i}" for i in (1, 2, 3, 4))
ANTS = tuple(f"antmaze-v{i}" for i in (1, 2, 3, 4))
ARMS = ("reach", "peg-in-hole", "drawer-close", "cabinet-open")
FIRST_SEED = 100  # settings were tuned on seeds 0 to 2, and looked at on 10 to 12


@dataclass(frozen=True)
class Block:
    """Runs that are made, judged and expected together.

    Attributes:
        algos: names; empty for all that learn.
        tasks: names.
        seeds: how many, from `first` on.
        budget: of the runs.
        others: whether the classes that are named on the command line join in.
        first: the first seed on which no setting of these algorithms was tuned.
        words: further ones for `run`.
    """

    algos: tuple[str, ...]
    tasks: tuple[str, ...]
    seeds: int
    budget: str = "quick"
    others: bool = False
    first: int = FIRST_SEED
    words: tuple[str, ...] = ()


BLOCKS = {
    "floor": Block((FLOOR,), (*MAZES, *ARMS), 3),
    # Random play learns nothing, and a million steps of an ant take minutes.
    "ant-floor": Block(
        (FLOOR,), ANTS, 3, "hour", words=("env_steps=128_000", "eval.every=128_000")
    ),
    "classes": Block((), ("pointmaze-v1", "pointmaze-v3", "reach", "peg-in-hole"), 5),
    "without-clusters": Block(
        (ABLATED,), ("pointmaze-v1", "pointmaze-v3"), 3, words=("algo.modes.discover=false",)
    ),
    "oracle-labels": Block(
        (ABLATED,), ("pointmaze-v1", "pointmaze-v3"), 3, words=("algo.modes.labels=task",)
    ),
    "mazes": Block(SHOWN, MAZES, 10, others=True),
    "arms": Block(SHOWN, ARMS, 5, others=True),
    "ants": Block(SHOWN, ("antmaze-v1", "antmaze-v2"), 5, "hour", others=True, first=105),
    "far-ants": Block(SHOWN, ("antmaze-v3", "antmaze-v4"), 3, "hour", others=True),
}

Run = tuple[str, str, int]  # algorithm, task and seed


def runs(block: Block, others: tuple[str, ...]) -> Iterator[Run]:
    """Yield a block's runs, one seed of all before the next."""
    algos = block.algos or tuple(name for name in sorted(discover()) if name != FLOOR)
    algos += others if block.others else ()
    for seed in range(block.first, block.first + block.seeds):
        for task in block.tasks:
            for algo in algos:
                yield algo, task, seed


def minutes(frame: pd.DataFrame) -> dict[tuple[str, ...], float]:
    """Return the mean minutes of finished runs by algorithm, task and budget, and by budget."""
    last = frame.groupby(["experiment", "algo", "task", "seed", "budget"])["minutes"].max()
    exact = last.groupby(["algo", "task", "budget"]).mean()
    rough = last.groupby("budget").mean()
    return {tuple(key): value for key, value in exact.items()} | {
        (str(key),): value for key, value in rough.items()
    }


def hours(missing: list[Run], budget: str, known: dict[tuple[str, ...], float]) -> float:
    """Return about how long runs take on one core; a run that was never made, as a mean one."""
    typical = known.get((budget,), float("nan"))
    return sum(known.get((algo, task, budget), typical) for algo, task, _ in missing) / 60


@cache
def settings(block: Block, algo: str, task: str) -> Settings:
    """Return today's settings of a block's runs of an algorithm on a task."""
    words = [f"algo={algo}", f"task={task}", f"budget={block.budget}", "threads=1", *block.words]
    request = understand(words)
    return resolve(request.overrides(*next(request.combinations())))


def missing(name: str, block: Block, others: tuple[str, ...]) -> tuple[list[Run], list[str]]:
    """Return the runs of a block that are not done, and why some are to be refused."""
    left, refused = [], []
    alike = [name, *(other for other in BLOCKS if other != name)]
    for run in runs(block, others):
        reasons: list[str] = []
        if not any(is_done(other, block, run, reasons) for other in alike):
            left.append(run)
            refused += reasons
    return left, refused


def is_done(name: str, block: Block, run: Run, reasons: list[str]) -> bool:
    """Say whether the folder of a block has a run, as another block or itself would make it.

    Args:
        name: of the block whose folder is looked at.
        block: whose run it is to be.
        run: algorithm, task and seed.
        reasons: why a run of these that the block itself has made is to be refused is added here.
    """
    algo, task, seed = run
    if not place_of(str(FOLDER), name, task, algo, seed).exists():
        return False
    of = replace(settings(block, algo, task), seed=seed, results=str(FOLDER), experiment=name)
    try:
        return state_of(of) == "done"
    except UsageError as error:
        if BLOCKS[name] is block:
            reasons.append(str(error))
        return False


def expected(name: str) -> str:
    """Return what docs/campaign.md expects of a block, or nothing."""
    mark = f"* {name}: "
    lines = LOG.read_text().splitlines() if LOG.exists() else []
    return next((line.removeprefix(mark) for line in lines if line.startswith(mark)), "")


def measure(name: str, block: Block, left: list[Run], jobs: int) -> int:
    """Make the runs of a block that are left; return the exit status."""
    for seed in sorted({seed for *_, seed in left}):
        for task in block.tasks:
            algos = [a for a, t, s in left if (t, s) == (task, seed)]
            if not algos:
                continue
            words = [
                f"algo={','.join(algos)}", f"task={task}", f"seed={seed}",
                f"budget={block.budget}", *block.words,
                *([f"hydra.launcher.n_jobs={jobs}"] if len(algos) > 1 else []),
            ]  # fmt: skip
            if status := studies.train(FOLDER, name, words):
                return status
        compact_records.main([f"results={FOLDER / name}"])
    return 0


def main(words: list[str]) -> int:
    """Show the plan, or make what is missing of it.

    Raises:
        UsageError: on an unknown block or algorithm, or if nothing is expected of a block yet.
    """
    plain, values = parse(words, {"block": "all", "others": "", "jobs": "2", "run": "false"})
    if plain:
        raise UsageError(f"campaign takes key=value words, not {plain[0]!r}")
    jobs = integer("jobs", values["jobs"])
    chosen = list(BLOCKS) if values["block"] == "all" else values["block"].split(",")
    others = tuple(name for name in values["others"].split(",") if name)
    for key, names, valid in (("block", chosen, list(BLOCKS)), ("algo", others, list(discover()))):
        for name in names:
            if name not in valid:
                raise UsageError(unknown(key, name, valid))
    frame = finished(load_results(REFERENCE))
    known = minutes(frame)
    plan = Table("block", "runs", "done", "refused", "hours of one core, left", "expected")
    left = {name: missing(name, BLOCKS[name], others) for name in chosen}
    for name, (runs_left, refused) in left.items():
        block = BLOCKS[name]
        total = len(list(runs(block, others)))
        took = f"{hours(runs_left, block.budget, known):.1f}"
        counts = (str(n) for n in (total, total - len(runs_left), len(refused)))
        plan.add_row(name, *counts, took, expected(name) or "–")
    show(plan)
    if values["run"] != "true":
        return 0
    for name, (_, refused) in left.items():
        if not expected(name):
            raise UsageError(f"{LOG} says nothing of what is expected: add a line `* {name}: ...`")
        if refused:
            raise UsageError(refused[0])
    for name, (runs_left, _) in left.items():
        if status := measure(name, BLOCKS[name], runs_left, jobs):
            return status
    return 0


if __name__ == "__main__":
    studies.start(main)
