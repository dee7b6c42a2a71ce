"""Write the table of trials on ants, one change after the other; draw how some fared.

  python -m docs.trials

Reads results/reference/tried/ants: `trials.yaml` says what each trial changed, `<trial>-<task>`
is what it recorded. The runs were stopped where their answer was seen, so that they have no
run.json and are in no report.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from omegaconf import OmegaConf

from bench.analysis.mazes import draw_visits
from bench.analysis.style import INK, OTHER, mode_color, new_figure, steps_axis
from bench.tasks.layout import CELL, LAYOUTS
from bench.words import parse
from docs.marks import write
from docs.studies import start

FOLDER = Path("results/reference/tried/ants")
PAGE, SCRIPT = "results/reference/tried/ants.md", "docs.trials"
TASKS = ("antmaze-v1", "antmaze-v2")
COVERED = (384_000, 768_000)  # env steps
EVALUATED = tuple(range(400_000, 4_000_001, 400_000))  # env steps
EXPLORED = {  # trials, from left to right, and what is written above
    "uniform1": "uniform rows, seed 1", "rare1": "half by rarity, seed 1",
    "uniform2": "uniform rows, seed 2", "rare2": "half by rarity, seed 2",
}  # fmt: skip
LEARNED = {  # trials on each task, from left to right, of what each of them has more
    "antmaze-v1": (
        "gate-n10",
        "large15",
        "new15",
        "small",
        "refine2",
        "away1",
        "leading2",
        "spread2",
        "settled2",
    ),
    "antmaze-v2": (
        "ema005",
        "gate-n10",
        "replay",
        "new15",
        "refine1",
        "seed101",
        "leading3",
        "settled3",
    ),
}
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
    """Return an evaluation's success, sampled / each command's share of the way it obtains."""
    own = episodes[episodes["env_steps"] == steps]
    if own.empty:
        return NONE
    sampled = own.loc[own["protocol"] == "sampled", "success"].mean()
    commanded = [group for _, group in own[own["protocol"] == "commanded"].groupby("commanded")]
    shares = [f"{share_obtained(group):.2f}" for group in sorted(commanded, key=obtained)]
    return f"{sampled:.2f} / {', '.join(shares) or NONE}"


def obtained(episodes: pd.DataFrame) -> str:
    """Return the mode that a command obtains most often; one that obtains none comes last.

    By these commands are ordered: which comes first among the clusters changes during learning.
    """
    names = episodes.loc[episodes["success"], "mode_name"]
    return str(names.mode().iloc[0]) if len(names) else "~"


def share_obtained(episodes: pd.DataFrame) -> float:
    """Return the share of a command's episodes in which it obtains its mode (see `obtained`)."""
    return float((episodes["mode_name"] == obtained(episodes)).mean())


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


def learned() -> Figure:
    """Return how some trials fared: commanded, by the mode obtained, sampled and in training."""
    columns = max(map(len, LEARNED.values()))
    drawn = new_figure(1.75 * columns, 1.75 * len(LEARNED) + 0.5)
    grid = drawn.subplots(len(LEARNED), columns, sharex=True, sharey=True)
    colors: dict[str, str | tuple[float, float, float]] = {}
    for row, (task, names) in zip(grid, LEARNED.items(), strict=True):
        for axes in row[len(names) :]:  # the panel above shows the steps instead
            axes.set_axis_off()
            grid[0, -1].tick_params(labelbottom=True)
        for axes, name in zip(row, names, strict=False):
            lines = (FOLDER / f"{name}-{task}" / "progress.jsonl").read_text().splitlines()
            trained = pd.DataFrame(map(json.loads, lines)).set_index("env_steps")["train_success"]
            window = max(1, round(80_000 / float(np.diff(trained.index).mean())))
            trained = trained.rolling(window, min_periods=1).mean()
            axes.plot(trained, color=OTHER, lw=0.8)
            episodes = pd.read_parquet(FOLDER / f"{name}-{task}" / "episodes.parquet")
            sampled, commanded = evaluated(episodes)
            axes.plot(sampled, color=INK, lw=1.2, ls=":")
            for mode in map(str, commanded):
                colors.setdefault(mode, mode_color(len(colors), 3))
                axes.plot(commanded[mode], "o-", color=colors[mode], lw=1.4, ms=3)
            axes.set_title(f"{task[-2:]}: {name}", fontsize=8)
            axes.grid(alpha=0.25)
    grid[0, 0].set_ylim(-0.03, 1.03)
    shown = [Line2D([], [], color=color, marker="o", ms=3, label=f"commanded, {mode}")
             for mode, color in sorted(colors.items())]  # fmt: skip
    shown += [Line2D([], [], color=INK, ls=":", label="sampled"),
              Line2D([], [], color=OTHER, lw=0.8, label="in training")]  # fmt: skip
    drawn.legend(handles=shown, loc="outside upper center", ncols=len(shown), fontsize=7)
    drawn.supxlabel(steps_axis(*grid.flat), fontsize=8)
    drawn.supylabel("success", fontsize=8)
    return drawn


def evaluated(episodes: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """Return success by env steps, sampled, and the best command's share of each mode obtained."""
    sampled = episodes[episodes["protocol"] == "sampled"].groupby("env_steps")["success"].mean()
    commands = episodes[episodes["protocol"] == "commanded"].groupby(["env_steps", "commanded"])
    found = [
        {"env_steps": steps, "mode": obtained(group), "share": share_obtained(group)}
        for (steps, _), group in commands
    ]
    best = pd.DataFrame(found).groupby(["env_steps", "mode"])["share"].max().unstack()
    return sampled, best.drop(columns="~", errors="ignore")


def main(words: list[str]) -> int:
    """Write the table and the figures."""
    parse(words, {})
    write(PAGE, "trials", table(), SCRIPT)
    explored().savefig("docs/ants_explored.png", dpi=110)
    learned().savefig("docs/ants_learned.png", dpi=110)
    return 0


if __name__ == "__main__":
    start(main)
