"""Figures made from records; every function returns a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle

from bench.analysis import stats
from bench.analysis.load import RunRecord, arrays, final_scores
from bench.analysis.style import (
    FAILURE,
    INK,
    PROTOCOLS,
    WALL,
    algo_colors,
    mode_color,
    new_figure,
)

CURVES = {
    "success": "success rate",
    "mode_coverage": "mode coverage",
    "effective_modes": "effective modes",
    "return": "return",
}


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
    episodes = run.last(protocol)
    order = episodes.sort_values("mode", kind="stable")
    modes = order["mode"].to_numpy()
    paths = run.paths(order.index)
    for mode in np.unique(modes):
        lost = mode < 0
        axes.add_collection(
            LineCollection(
                [path[:, :2] for path, own in zip(paths, modes == mode, strict=True) if own],
                colors=[mode_color(int(mode), num_modes)], linewidths=0.5 if lost else 0.8,
                alpha=0.35 if lost else 0.55, zorder=2 if lost else 3, rasterized=True,
            )
        )  # fmt: skip
    if not info.get("layout"):
        axes.autoscale()
    if legend:
        handles = [
            Line2D([], [], color=mode_color(int(mode), num_modes), lw=2,
                   label=f"{name} {len(part)}")
            for (mode, name), part in episodes.groupby(["mode", "mode_name"])
        ]  # fmt: skip
        axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3,
                    fontsize=6.5, handlelength=1.0, columnspacing=0.8)  # fmt: skip


def median_run(runs: list[RunRecord], frame: pd.DataFrame, protocol: str) -> RunRecord:
    """Return the run whose solved modes are the median of its seeds (the lower of two)."""
    scores = final_scores(frame[frame["protocol"] == protocol]).set_index("seed")["solved_modes"]
    known = [run for run in runs if run.facts["seed"] in scores.index]
    ordered = sorted(known or runs, key=lambda run: float(scores.get(run.facts["seed"], 0.0)))
    return ordered[(len(ordered) - 1) // 2]


def path_map(runs: list[RunRecord], frame: pd.DataFrame) -> Figure:
    """Return one task's path maps: a panel per algorithm and protocol, its median seed."""
    panels = []
    for algo in sorted({run.facts["algo"] for run in runs}):
        own = [run for run in runs if run.facts["algo"] == algo and not run.episodes.empty]
        rows = frame[frame["algo"] == algo]
        for protocol in ("sampled", "commanded"):
            some = [run for run in own if not run.last(protocol).empty]
            if some:
                panels.append((algo, protocol, median_run(some, rows, protocol)))
    rows = max(-(-len(panels) // WIDEST), 1)
    columns = max(-(-len(panels) // rows), 1)  # rows of about equal length
    figure = new_figure(2.5 * columns, 3.1 * rows)
    figure.records = [run.path for _, _, run in panels]
    grid = np.ravel(figure.subplots(rows, columns))
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (algo, protocol, run) in zip(grid, panels, strict=False):
        try:
            draw_paths(axes, run, protocol)
        except ValueError as error:  # the others are drawn
            figure.problems.append(f"passed over {error}")
        axes.set_title(f"{algo}, {protocol}\nseed {run.facts['seed']}")
    return figure


def curves(frame: pd.DataFrame) -> Figure:
    """Return one task's metrics against env steps: IQM over seeds, 95 % interval, each seed.

    Unfinished runs are drawn as far as they are; IQM and interval reach as far as all seeds do.
    """
    figure = new_figure(10, 2.5)
    colors = algo_colors(sorted(frame["algo"].unique()))
    rng = np.random.default_rng(0)
    shown = frame[frame["protocol"] != "random-start"]
    for axes, (metric, label) in zip(figure.subplots(1, len(CURVES)), CURVES.items(), strict=True):
        for (algo, protocol), part in shown.groupby(["algo", "protocol"]):
            wide = part.pivot_table(
                index="env_steps", columns=["experiment", "seed"], values=metric
            )
            whole = wide.dropna()
            x = whole.index.to_numpy() / 1e6
            dash = PROTOCOLS[protocol]
            axes.plot(wide.index / 1e6, wide, color=colors[algo], lw=0.5, alpha=0.35, ls=dash)
            if whole.empty:
                continue
            curves = whole.to_numpy().T[:, None]  # (seeds, 1, P)
            centre, ends = stats.sample_efficiency(curves, rng=rng, draws=500)
            axes.plot(x, centre, color=colors[algo], lw=1.8, ls=dash)
            if ends:
                axes.fill_between(x, *ends, color=colors[algo], alpha=0.12, lw=0)
        axes.set_xlabel("env steps (million)")
        axes.set_title(label)
        if metric in ("success", "mode_coverage"):
            axes.set_ylim(-0.03, 1.03)
        elif metric == "effective_modes":
            axes.set_ylim(bottom=0)
    named = [Line2D([], [], color=color, lw=2, label=algo) for algo, color in colors.items()]
    dashes = [Line2D([], [], color=INK, lw=1.2, ls=PROTOCOLS[p], label=p)
              for p in ("sampled", "commanded") if p in set(shown["protocol"])]  # fmt: skip
    figure.legend(handles=named + dashes, loc="outside lower center", ncols=6)
    return figure


def exploration(runs: list[RunRecord]) -> Figure:
    """Return where training went: one heat map per algorithm, counts on a logarithmic scale."""
    chosen: dict[str, RunRecord] = {}
    for run in runs:
        if (run.path / "exploration.npz").exists():
            chosen.setdefault(run.facts["algo"], run)
    columns = min(max(len(chosen), 1), WIDEST)
    rows = max(-(-len(chosen) // columns), 1)
    figure = new_figure(2.5 * columns, 2.7 * rows)
    figure.records = [run.path for run in chosen.values()]
    grid = np.ravel(figure.subplots(rows, columns))
    for axes in grid[len(chosen) :]:
        axes.set_axis_off()
    for axes, (algo, run) in zip(grid, chosen.items(), strict=False):
        try:
            with arrays(run.path / "exploration.npz") as stored:
                visits, (x0, x1, y0, y1) = stored["visits"], stored["extent"]
        except ValueError as error:  # the others are drawn
            figure.problems.append(f"passed over {error}")
            axes.set_axis_off()
            continue
        info = run.facts["task_info"]
        draw_maze(axes, info["layout"], info["cell"])
        image = np.where(visits > 0, np.log10(np.maximum(visits, 1)), np.nan)
        axes.imshow(image, extent=(x0, x1, y1, y0), cmap="magma_r", zorder=3, interpolation="none")
        axes.set_title(f"{algo}, seed {run.facts['seed']}")
    return figure


def ablation(frame: pd.DataFrame, order: Sequence[str], labels: Sequence[str]) -> Figure:
    """Return experiments of one task, one row each: per-seed dots, mean and 95 % interval.

    A run that found no mode to command counts as 0 on command.

    Args:
        frame: of `load_results`.
        order: experiment names from top to bottom.
        labels: what to call them.
    """
    columns = [("commanded", "mode_coverage", "coverage on command"),
               ("commanded", "control_success", "control success"),
               ("sampled", "success", "success, sampled"),
               ("sampled", "effective_modes", "effective modes, sampled")]  # fmt: skip
    scores = final_scores(frame)
    figure = new_figure(10, 0.36 * len(order) + 1.0)
    rng = np.random.default_rng(0)
    for axes, (protocol, metric, title) in zip(
        figure.subplots(1, len(columns), sharey=True), columns, strict=True
    ):
        for place, name in enumerate(order):
            own = scores[scores["experiment"] == name].set_index("seed")
            chosen = own.loc[own["protocol"] == protocol, metric]
            values = chosen.reindex(own.index.unique()).fillna(0).to_numpy()
            if not len(values):
                continue
            axes.plot(values, np.full(len(values), place), "o", ms=4, color="#0173b2", alpha=0.45,
                      clip_on=False)  # fmt: skip
            ends = stats.interval(values[:, None], stats.mean, rng=rng)
            if ends:
                axes.plot(ends, [place, place], color="#0173b2", lw=1.6)
            axes.plot(values.mean(), place, "D", ms=6, color="#0173b2", clip_on=False)
        axes.set_title(title)
        axes.grid(axis="x", alpha=0.25)
        axes.set_yticks(range(len(order)), labels)
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.set_xlim(left=-0.03, right=None if metric == "effective_modes" else 1.03)
    return figure


def hero(runs: list[RunRecord], frame: pd.DataFrame) -> Figure:
    """Return path maps, a column per task and a row per algorithm, commanded where it can be."""
    tasks = sorted({run.facts["task"] for run in runs})
    algos = sorted({run.facts["algo"] for run in runs})
    figure = new_figure(2.1 * len(tasks), 2.35 * len(algos))
    grid = np.reshape(figure.subplots(len(algos), len(tasks)), (len(algos), len(tasks)))
    for i, algo in enumerate(algos):
        for axes, task in zip(grid[i], tasks, strict=True):
            axes.set_axis_off()
            own = [r for r in runs if (r.facts["algo"], r.facts["task"]) == (algo, task)]
            rows = frame[(frame["algo"] == algo) & (frame["task"] == task)]
            commanded = [r for r in own if not r.last("commanded").empty]
            protocol = "commanded" if commanded else "sampled"
            some = commanded or [r for r in own if not r.last("sampled").empty]
            if not some:
                continue
            run = median_run(some, rows, protocol)
            draw_paths(axes, run, protocol, legend=False)
            last = run.last(protocol)
            seen = last[(last["mode"] >= 0) & (last["mode"] < len(run.modes))][
                "mode"
            ].value_counts()
            found = int((seen >= max(2, 0.05 * (last["mode"] >= 0).sum())).sum())
            axes.set_title(f"{algo} on {task}\n{found} of {len(run.modes)} modes, {protocol}",
                           fontsize=7.5)  # fmt: skip
    figure.legend(
        handles=[Line2D([], [], color=FAILURE, lw=2, label="failure"),
                 Line2D([], [], color=mode_color(0, 9), lw=2, label="one colour per mode")],
        loc="outside lower center", ncols=2, fontsize=7,
    )  # fmt: skip
    return figure
