"""Ask what the comparison's rules cost each method, and what DDiffPG's claim rests on.

  python -m docs.rules [study=all|NAME] [seeds=0] [algo=all|NAME,...] [run=true]

Four studies on the tuning seeds, in the quick budget (an ant: hour):

  bonus       every algorithm with the novelty bonus fixed, annealed to 0 over the first half of
              learning (the rule), and without it, on one maze and one arm, two of them on more
  successes   uniform replay against batches half of which come from successful episodes
  knobs       DDiffPG with one of its settings changed, or one of its parts left out; its bonus is
              fixed, as it was when these runs were made
  own         DDiffPG with its presets for single tasks and with what it has in their family alone

Records land in results/reference/rules/<variant>, compacted; what is done is skipped, so that a
study can be made in parts. Writes the tables of docs/fairness.md and docs/knobs.png from the
records there are; `run=false` does only that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from bench.algos import discover
from bench.analysis import tables
from bench.analysis.style import INK, new_figure
from bench.errors import UsageError
from bench.registry import unknown
from bench.words import parse
from docs import compact_records, studies
from docs.marks import write

FOLDER = Path("results/reference/rules")
PAGE, SCRIPT = "docs/fairness.md", "docs.rules"
MAZE, ARM = "pointmaze-v3", "reach"
BUDGETS: dict[str, list[str]] = {
    ARM: [],
    MAZE: [],
    "pointmaze-v4": [],
    "antmaze-v2": ["budget=hour"],
}
ALL = (ARM, MAZE)  # tasks that every algorithm is asked on, these on more:
# on an ant `ddiffpg` has a Q-function of its own for a bonus that never falls
WIDER = {"ddiffpg": (*ALL, "pointmaze-v4"), "sac": tuple(BUDGETS)}
FIXED = "algo.novelty.anneal=0"
BONUS = {"fixed": [FIXED], "annealed": [], "none": ["algo.novelty.coef=0", FIXED]}
SUCCESSES = {"annealed": [], "half-successes": ["algo.success_share=0.5"]}
UNIFORM = ("sac", "td3", "dipo", "maxentdp")  # of those that draw uniformly, the ones measured
KNOBS = {
    "fixed": ("as it is", []),
    "threshold-half": ("threshold x 0.5", ["algo.modes.threshold=1.25"]),
    "threshold-double": ("threshold x 2", ["algo.modes.threshold=5"]),
    "tube-half": ("tube x 0.5", ["algo.modes.tube=1.25"]),
    "tube-double": ("tube x 2", ["algo.modes.tube=5"]),
    "no-tubes": ("no tubes", ["algo.modes.tube=0"]),
    "oracle-labels": ("oracle labels for clusters", ["algo.modes.labels=task"]),
    "unequal-shares": ("no equal shares", ["algo.modes.equal=false"]),
    "no-exploration": (
        "no exploration critic", ["algo.novelty.coef=0", "algo.explorer.until=1"]),
}  # fmt: skip
FAMILY_S = {"annealed": "its preset", "family": "its family's alone"}
OWN = {  # what a task's own preset says, as it is without it
    "pointmaze-v1": ["algo.ema=0.001"],
    "pointmaze-v2": ["algo.ema=0.001"],
    ARM: ["algo.modes.threshold=0.4", "algo.modes.loop_radius=0.08", "algo.modes.tube=0.3",
          "algo.modes.most=10"],
    "peg-in-hole": ["algo.modes.threshold=0.4", "algo.modes.tube=0.3", "algo.modes.smallest=2",
                    "algo.modes.most=10", "algo.explorer.share=0.2"],
    "drawer-close": ["algo.modes.threshold=0.4", "algo.modes.capacity=400"],
}  # fmt: skip
COMMANDED = "ddiffpg"  # whose settings the last two studies change
STUDIES = ("all", "bonus", "successes", "knobs", "own")
LEFT_OUT = {"random"}  # learns nothing


def runs(study: str, algos: list[str]) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield a study's runs: variant, algorithm, task and further words for `run`."""
    if study in ("all", "bonus"):
        for algo in algos:
            for task in WIDER.get(algo, ALL):
                for variant, more in BONUS.items():
                    yield variant, algo, task, [*BUDGETS[task], *more]
    if study in ("all", "successes"):
        for algo in (a for a in algos if a in UNIFORM):
            for (variant, more), task in product(SUCCESSES.items(), ALL):
                yield variant, algo, task, more
    if study in ("all", "knobs") and COMMANDED in algos:
        for variant, (_, words) in KNOBS.items():
            yield variant, COMMANDED, MAZE, [*words, FIXED]
    if study in ("all", "own") and COMMANDED in algos:
        for task, words in OWN.items():
            for variant in FAMILY_S:
                yield variant, COMMANDED, task, words if variant == "family" else []


def compared(
    found: pd.DataFrame, variants: list[str], algos: list[str], tasks: Iterable[str] = BUDGETS
) -> pd.DataFrame:
    """Return a table of algorithm x task, a column of solved modes and success per variant.

    What was run with one variant alone compares nothing and is left out.
    """
    rows = []
    for algo in algos:
        for task in tasks:
            own = found[(found["algo"] == algo) & (found["task"] == task)]
            cells = {name: cell(own[own["experiment"] == name]) for name in variants}
            if sum(text != "–" for text in cells.values()) > 1:
                seeds = own.groupby("experiment")["seed"].nunique()
                rows.append({"algorithm": algo, "task": task, **cells, "seeds": spread(seeds)})
    return pd.DataFrame(rows)


def spread(seeds: pd.Series) -> str:
    """Return how many seeds stand behind a row's cells."""
    low, high = int(seeds.min()), int(seeds.max())
    return str(low) if low == high else f"{low} to {high}"


def cell(part: pd.DataFrame) -> str:
    """Return solved modes / command coverage (success) of one algorithm, task and variant."""
    free, commanded = (part[part["protocol"] == p] for p in ("sampled", "commanded"))
    if free.empty:
        return "–"
    text = f"{free['solved_modes'].mean():.2f}"
    if len(commanded):
        text += f" / {commanded['command_coverage'].mean():.2f}"
    return text + f" ({free['success'].mean():.2f})"


def knobs(found: pd.DataFrame) -> Figure | None:
    """Return the bars of DDiffPG's variants: sampled and commanded, a dot per seed."""
    own = found[(found["algo"] == COMMANDED) & (found["task"] == MAZE)]
    shown = [name for name in KNOBS if name in set(own["experiment"])]
    if len(shown) < 2:
        return None
    figure = new_figure(7.2, 0.34 * len(shown) + 1.1)
    panels = (("sampled", "solved_modes", "solved modes, sampled"),
              ("commanded", "command_coverage", "command coverage"),
              ("commanded", "command_success", "command success"))  # fmt: skip
    every = figure.subplots(1, len(panels), sharey=True)
    for axes, (protocol, metric, label) in zip(every, panels, strict=True):
        for place, name in enumerate(shown):
            part = own[(own["experiment"] == name) & (own["protocol"] == protocol)]
            values = part[metric].dropna()
            color = "C0" if place == 0 else "C7"
            axes.barh(place, values.mean() if len(values) else 0.0, color=color, height=0.7)
            axes.plot(values, [place] * len(values), "o", ms=3, color=INK)
        axes.set(xlim=(0, 1.03), xlabel=label)
        axes.set_yticks(range(len(shown)), [KNOBS[name][0] for name in shown])
    every[0].invert_yaxis()
    return figure


def main(given: list[str]) -> int:
    """Run what is missing of the studies that are asked for; write tables and figure.

    Raises:
        UsageError: on an unknown study or algorithm.
    """
    plain, values = parse(given, {"study": "all", "seeds": "0", "algo": "all", "run": "true"})
    if plain:
        raise UsageError(f"rules takes key=value words, not {plain[0]!r}")
    if values["study"] not in STUDIES:
        raise UsageError(unknown("study", values["study"], list(STUDIES)))
    known = [name for name in sorted(discover()) if name not in LEFT_OUT]
    algos = studies.chosen(values["algo"], known)
    if values["run"] == "true":
        for seed in values["seeds"].split(","):
            for variant, algo, task, more in runs(values["study"], algos):
                words = [f"algo={algo}", f"task={task}", f"seed={seed}", *more]
                if status := studies.train(FOLDER, variant, words):
                    return status
        compact_records.main([f"results={FOLDER}"])
    found = studies.scores(FOLDER)
    ran = [name for name in known if name in set(found["algo"])]
    write(PAGE, "bonus", tables.markdown(compared(found, list(BONUS), ran)), SCRIPT)
    shares = compared(found, list(SUCCESSES), [name for name in ran if name in UNIFORM], ALL)
    write(PAGE, "successes", tables.markdown(shares), SCRIPT)
    own = compared(found, list(FAMILY_S), [COMMANDED], OWN).rename(columns=FAMILY_S)
    write(PAGE, "own", tables.markdown(own), SCRIPT)
    figure = knobs(found)
    if figure is not None:
        figure.savefig("docs/knobs.png", dpi=130)
    return 0


if __name__ == "__main__":
    studies.start(main)
