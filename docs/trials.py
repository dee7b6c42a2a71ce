"""Write the table of trials on ants, one change after the other, and draw where some explored.

  python -m docs.trials

Reads results/reference/tried/ants: `trials.yaml` says what each trial changed, `<trial>-<task>`
is what it recorded. The runs were stopped where their answer was seen, so that they have no
run.json and are in no report.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from bench.analysis.mazes import draw_visits
from bench.analysis.style import new_figure
from bench.tasks.layout import CELL, LAYOUTS
from bench.words import parse
from docs.marks import write

FOLDER = Path("results/reference/tried/ants")
PAGE, SCRIPT = "results/reference/tried/ants.md", "docs.trials"
TASKS = ("antmaze-v1", "antmaze-v2")
COVERED = (384_000, 768_000)  # env steps
EVALUATED = tuple(range(400_000, 3_600_001, 400_000))  # env steps
EXPLORED = {  # trials, from left to right, and what is written above
    "uniform1": "uniform rows, seed 1", "rare1": "half by rarity, seed 1",
    "uniform2": "uniform rows, seed 2", "rare2": "half by rarity, seed 2",
}  # fmt: skip
NONE = "–"


def first_known(progress: list[dict[str, float]]) -> list[int]:
    """Return after how many env steps so many modes as an entry's number were known first."""
    found: list[int] = []
    for line in progress:
        found += [int(line["env_steps"])] * (round(line.get("modes") or 0) - len(found))
    return found


def covered(progress: list[dict[str, float]], steps: int) -> str:
    """Return the share of the maze's cells that were seen after so many env steps."""
    before = [line for line in progress if line["env_steps"] <= steps]
    if not before or progress[-1]["env_steps"] < steps - 16_000:
        return NONE
    return f"{before[-1]['state_coverage']:.2f}"


def succeeded(episodes: pd.DataFrame, steps: int) -> str:
    """Return the success of an evaluation, sampled / on command by the mode it obtains."""
    own = episodes[episodes["env_steps"] == steps]
    if own.empty:
        return NONE
    sampled = own.loc[own["protocol"] == "sampled", "success"].mean()
    commanded = [group for _, group in own[own["protocol"] == "commanded"].groupby("commanded")]
    shares = [f"{group['success'].mean():.2f}" for group in sorted(commanded, key=obtained)]
    return f"{sampled:.2f} / {', '.join(shares) or NONE}"


def obtained(episodes: pd.DataFrame) -> str:
    """Return the mode that a command obtains most often; one that obtains none comes last.

    By these commands are ordered: which comes first among the clusters changes during learning.
    """
    names = episodes.loc[episodes["success"], "mode_name"]
    return str(names.mode().iloc[0]) if len(names) else "~"


def rows() -> Iterator[dict[str, str]]:
    """Yield the table's rows, in the order of trials.yaml."""
    for name, changed in OmegaConf.load(FOLDER / "trials.yaml").items():
        for task in TASKS:
            folder = FOLDER / f"{name}-{task}"
            if not folder.exists():
                continue
            lines = (folder / "progress.jsonl").read_text().splitlines()
            progress = [json.loads(line) for line in lines]
            episodes = pd.read_parquet(folder / "episodes.parquet")
            yield {
                "task": task, "trial": f"`{name}`", "what": changed,
                "first modes, k steps":
                    ", ".join(str(steps // 1000) for steps in first_known(progress)) or NONE,
                "covered at 0.38 M, 0.77 M": ", ".join(covered(progress, at) for at in COVERED),
                **{f"{at / 1e6:.1f} M": succeeded(episodes, at) for at in EVALUATED},
                "stopped at": f"{progress[-1]['env_steps'] / 1e6:.2f} M",
            }  # fmt: skip


def table() -> str:
    """Return the table in Markdown, in which trials.yaml is written."""
    found = list(rows())
    lines = [list(found[0]), ["---"] * len(found[0]), *(list(row.values()) for row in found)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def explored() -> Figure:
    """Return where training went on antmaze-v1, by whether rare rows are drawn more often."""
    drawn = new_figure(2.2 * len(EXPLORED), 2.5)
    for axes, (name, title) in zip(drawn.subplots(1, len(EXPLORED)), EXPLORED.items(), strict=True):
        path = FOLDER / f"{name}-antmaze-v1" / "exploration.npz"
        draw_visits(axes, path, LAYOUTS["v1"], CELL)
        axes.axis((-10.6, 2.6, 6.6, -6.6))  # m; of the outer walls the first half a metre
        axes.set_title(title)
    return drawn


def main(words: list[str]) -> int:
    """Write the table and the figure."""
    parse(words, {})
    write(PAGE, "trials", table(), SCRIPT)
    explored().savefig("docs/ants_explored.png", dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
