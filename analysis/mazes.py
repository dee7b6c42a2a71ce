"""Pictures of mazes: paths by mode, and where training went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle

from bench.analysis.catalogue import figure
from bench.analysis.load import median_run
from bench.analysis.runs import RunRecord, arrays
from bench.analysis.style import FAILURE, INK, WALL, mode_color, new_figure

WIDEST = 6  # panels side by side


def draw_maze(axes: Axes, layout: Sequence[str], cell: float) -> None:
    """Draw walls, start and goals; x to the right, y downwards as in the text."""
    start = next((i, row.index("R")) for i, row in enumerate(layout) if "R" in row)
    walls = []
    for i, row in enumerate(layout):
        for j, mark in enumerate(row):
            x, y = cell * (j - start[1]), cell * (i - start[0])
            if mark == "#":
                walls.append(Rectangle((x - cell / 2, y - cell / 2), cell, cell))
            elif mark == "G":
                axes.add_patch(Circle((x, y), 0.28 * cell, color="#2e9e5b", alpha=0.35, lw=0))
    axes.add_collection(PatchCollection(walls, facecolor=WALL, lw=0))  # one artist draws faster
    axes.add_patch(Circle((0, 0), 0.12 * cell, color=INK, zorder=5))
    axes.set_xlim(-cell * (start[1] + 0.5), cell * (len(layout[0]) - start[1] - 0.5))
    axes.set_ylim(cell * (len(layout) - start[0] - 0.5), -cell * (start[0] + 0.5))
    axes.set_aspect("equal")
    axes.set_axis_off()


def draw_paths(axes: Axes, run: RunRecord, protocol: str, legend: bool = True) -> None:
    """Draw the last evaluation's paths, coloured by mode, failures thin and grey beneath."""
    info, num_modes = run.facts["task_info"], len(run.modes)
    if info.get("layout"):
        draw_maze(axes, info["layout"], info["cell"])
    order = run.last(protocol).sort_values("mode", kind="stable")
    modes = order["mode"].to_numpy()
    paths = run.paths(order.index)  # one that was dropped is empty and draws nothing
    for mode in np.unique(modes):
        lost = mode < 0
        axes.add_collection(
            LineCollection(
                [path[:, :2] for path, label in zip(paths, modes, strict=True) if label == mode],
                colors=[mode_color(int(mode), num_modes)], linewidths=0.5 if lost else 0.8,
                alpha=0.35 if lost else 0.55, zorder=2 if lost else 3, rasterized=True,
            )
        )  # fmt: skip
    if not info.get("layout"):
        axes.autoscale()
    if legend:
        handles = [
            Line2D([], [], color=mode_color(mode, num_modes), lw=2, label=f"{name} {count}")
            for (mode, name), count in Counter(
                zip(modes.tolist(), order["mode_name"], strict=True)
            ).items()
        ]  # fmt: skip
        axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3,
                    fontsize=6.5, handlelength=1.0, columnspacing=0.8)  # fmt: skip


@figure(
    "task", "paths", "Paths of the last evaluation",
    "One colour per mode, failures thin and grey; the seed with the median of solved modes, "
    "sampled, commanded too where that seed was.", place=1,
)  # fmt: skip
def path_map(runs: list[RunRecord], frame: pd.DataFrame) -> Figure | None:
    """Return one task's path maps: a panel per algorithm and protocol, its median seed."""
    if not any(run.facts["task_info"].get("layout") for run in runs):
        return None
    panels = []
    for algo in sorted({run.facts["algo"] for run in runs}):
        own = [run for run in runs if run.facts["algo"] == algo and not run.episodes.empty]
        rows, shown = frame[frame["algo"] == algo], None
        for protocol in ("sampled", "commanded"):
            some = [run for run in own if run.has_paths(protocol)]
            if not some:
                continue
            if shown is None or not shown.has_paths(protocol):  # else what differs is the command
                shown = median_run(some, rows, protocol)
            panels.append((algo, protocol, shown))
    if not panels:
        return None
    rows = max(-(-len(panels) // WIDEST), 1)
    columns = max(-(-len(panels) // rows), 1)  # rows of about equal length
    drawn = new_figure(2.5 * columns, 3.1 * rows)
    drawn.records = [run.path for _, _, run in panels]
    grid = np.ravel(drawn.subplots(rows, columns))
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (algo, protocol, run) in zip(grid, panels, strict=False):
        try:
            draw_paths(axes, run, protocol)
        except ValueError as error:  # the others are drawn
            drawn.problems.append(f"skipped {error}")
        axes.set_title(f"{algo}, {protocol}\nseed {run.facts['seed']}")
    return drawn


@figure(
    "task", "exploration", "Where training went",
    "How often each place was visited over training, on a logarithmic scale; the first seed.",
    place=6,
)  # fmt: skip
def exploration(runs: list[RunRecord], frame: pd.DataFrame) -> Figure | None:
    """Return where training went: one heat map per algorithm, counts on a logarithmic scale."""
    chosen: dict[str, RunRecord] = {}
    for run in runs:
        if (run.path / "exploration.npz").exists():
            chosen.setdefault(run.facts["algo"], run)
    if not chosen:
        return None
    columns = min(len(chosen), WIDEST)
    rows = -(-len(chosen) // columns)
    drawn = new_figure(2.5 * columns, 2.7 * rows)
    drawn.records = [run.path for run in chosen.values()]
    grid = np.ravel(drawn.subplots(rows, columns))
    for axes in grid[len(chosen) :]:
        axes.set_axis_off()
    for axes, (algo, run) in zip(grid, chosen.items(), strict=False):
        info = run.facts["task_info"]
        try:
            draw_visits(axes, run.path / "exploration.npz", info["layout"], info["cell"])
        except ValueError as error:  # the others are drawn
            drawn.problems.append(f"skipped {error}")
            axes.set_axis_off()
            continue
        axes.set_title(f"{algo}, seed {run.facts['seed']}")
    return drawn


def draw_visits(axes: Axes, path: Path, layout: Sequence[str], cell: float) -> None:
    """Draw how often each place of a maze was visited, on a logarithmic scale.

    Args:
        axes: to draw on.
        path: of an `exploration.npz`.
        layout: of the maze, a row of characters each.
        cell: m, edge of a cell of the layout.

    Raises:
        ValueError: if the file cannot be read.
    """
    with arrays(path) as stored:
        visits, (x0, x1, y0, y1) = stored["visits"], stored["extent"]
    draw_maze(axes, layout, cell)
    image = np.where(visits > 0, np.log10(np.maximum(visits, 1)), np.nan)
    axes.imshow(image, extent=(x0, x1, y1, y0), cmap="magma_r", zorder=3, interpolation="none")


def hero(runs: list[RunRecord], frame: pd.DataFrame) -> Figure:
    """Return path maps, a column per task and a row per algorithm, commanded where it can be."""
    tasks = sorted({run.facts["task"] for run in runs})
    algos = sorted({run.facts["algo"] for run in runs})
    drawn = new_figure(2.1 * len(tasks), 2.35 * len(algos))
    grid = np.reshape(drawn.subplots(len(algos), len(tasks)), (len(algos), len(tasks)))
    for i, algo in enumerate(algos):
        for axes, task in zip(grid[i], tasks, strict=True):
            axes.set_axis_off()
            own = [r for r in runs if (r.facts["algo"], r.facts["task"]) == (algo, task)]
            rows = frame[(frame["algo"] == algo) & (frame["task"] == task)]
            commanded = [r for r in own if r.has_paths("commanded")]
            protocol = "commanded" if commanded else "sampled"
            some = commanded or [r for r in own if r.has_paths("sampled")]
            if not some:
                continue
            run = median_run(some, rows, protocol)
            draw_paths(axes, run, protocol, legend=False)
            count = int(run.found(protocol).iloc[-1].sum())
            axes.set_title(f"{algo} on {task}\n{count} of {len(run.modes)} modes, {protocol}",
                           fontsize=7.5)  # fmt: skip
    drawn.legend(
        handles=[Line2D([], [], color=FAILURE, lw=2, label="failure"),
                 Line2D([], [], color=mode_color(0, 9), lw=2, label="one colour per mode")],
        loc="outside lower center", ncols=2, fontsize=7,  # type: ignore[call-overload]
    )  # fmt: skip
    return drawn
