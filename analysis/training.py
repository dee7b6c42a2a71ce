"""Scores in the course of training: on one task, and over tasks."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis import stats
from bench.analysis.catalogue import figure
from bench.analysis.comparison import SHARE, matrices
from bench.analysis.load import by_two
from bench.analysis.metrics import METRICS
from bench.analysis.runs import RunRecord
from bench.analysis.style import (
    INK,
    PROTOCOLS,
    algo_colors,
    legend_size,
    mark_points,
    new_figure,
    steps_axis,
)

TRAINED = "train_success"  # in a line of progress
CURVES = ("success", "mode_coverage", "effective_modes", "return")


@figure(
    "task", "curves", "Over training",
    "Interquartile mean over seeds with its 95 % interval as far as all seeds have come; thin: "
    "each seed.", place=2, compares=True,
)  # fmt: skip
def curves(runs: list[RunRecord], frame: pd.DataFrame) -> Figure | None:
    """Return one task's metrics against env steps: IQM over seeds, 95 % interval, each seed.

    Unfinished runs are drawn as far as they are; IQM and interval reach as far as all seeds do.
    """
    colors = algo_colors(sorted(frame["algo"].unique()))
    across, below = legend_size(list(colors), 2, 10, 6)
    drawn = new_figure(10, 2.25 + below)
    rng = np.random.default_rng(0)
    shown = frame[frame["protocol"].isin(SHARE)]
    panels = drawn.subplots(1, len(CURVES))
    for axes, metric in zip(panels, CURVES, strict=True):
        for (algo, protocol), part in by_two(shown, "algo", "protocol"):
            wide = part.pivot_table(
                index="env_steps", columns=["experiment", "seed"], values=metric
            )
            whole = wide.dropna()
            x = whole.index.to_numpy()
            dash = PROTOCOLS[protocol]
            axes.plot(wide.index, wide, color=colors[algo], lw=0.5, alpha=0.35, ls=dash)
            if whole.empty:
                continue
            curves = whole.to_numpy().T[:, None]  # (seeds, 1, P)
            centre, ends = stats.sample_efficiency(curves, rng=rng, draws=500)
            axes.plot(x, centre, color=colors[algo], lw=1.8, ls=dash)
            if ends:
                axes.fill_between(x, *ends, color=colors[algo], alpha=0.12, lw=0)
        axes.set_title(METRICS[metric].label)
        span = METRICS[metric].span
        if span == (0.0, 1.0):
            axes.set_ylim(-0.03, 1.03)
        elif span is not None:
            axes.set_ylim(bottom=0)
    label = steps_axis(*panels)
    for axes in panels:
        axes.set_xlabel(label)
    named = [Line2D([], [], color=color, lw=2, label=algo) for algo, color in colors.items()]
    dashes = [Line2D([], [], color=INK, lw=1.2, ls=PROTOCOLS[p], label=p)
              for p in ("sampled", "commanded") if p in set(shown["protocol"])]  # fmt: skip
    drawn.legend(handles=named + dashes, loc="outside lower center", ncols=across)
    return drawn


@figure(
    "task", "learning", "Success while learning and in evaluation",
    "Solid: episodes by which the policy, sampled, is evaluated; dotted: those it learns from, the "
    "last hundred that ended, with all that explores; the first to end are those that succeed. "
    "Thick: mean over seeds; thin: each seed. Where the dotted line stays below, that is "
    "what exploration costs.", place=6,
)  # fmt: skip
def learning(runs: list[RunRecord], frame: pd.DataFrame) -> Figure | None:
    """Return success in training episodes beside that in evaluation, a panel per algorithm."""
    lines = {run.path: line for run in runs if (line := in_training(run)).any()}
    algos = sorted({run.facts["algo"] for run in runs if run.path in lines})
    if not algos:
        return None
    columns = min(len(algos), 5)
    rows = -(-len(algos) // columns)
    drawn = new_figure(2.0 * columns + 0.4, 1.5 * rows + 0.5)
    grid = np.ravel(drawn.subplots(rows, columns, sharex=True, sharey=True))
    colors = algo_colors(algos)
    for axes, algo in zip(grid, algos, strict=False):
        own = [lines[run.path] for run in runs if run.facts["algo"] == algo and run.path in lines]
        free = frame[(frame["algo"] == algo) & (frame["protocol"] == "sampled")]
        evaluated = free.pivot_table(
            index="env_steps", columns=["experiment", "seed"], values="success"
        )
        for table, dash in ((pd.concat(own, axis=1), ":"), (evaluated, "-")):
            axes.plot(table.index, table, color=colors[algo], lw=0.5, alpha=0.4, ls=dash)
            whole = table.dropna()
            axes.plot(whole.index, whole.mean(axis=1), color=colors[algo], lw=1.6, ls=dash)
        axes.set_title(algo)
        axes.grid(alpha=0.25)
    for axes in grid[len(algos) :]:
        axes.set_axis_off()
    grid[0].set_ylim(-0.03, 1.03)
    drawn.supxlabel(steps_axis(*grid[: len(algos)]), fontsize=8)
    drawn.supylabel("success", fontsize=8)
    return drawn


def in_training(run: RunRecord) -> pd.Series:
    """Return the success of the episodes that a run learned from, by env steps; may be empty."""
    try:
        text = (run.path / "progress.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        known = {line["env_steps"]: line[TRAINED] for line in lines if TRAINED in line}
    except (OSError, ValueError, TypeError, LookupError):
        return pd.Series(dtype=float)
    return pd.Series(known, dtype=float)


def training(
    frame: pd.DataFrame, algo: str, metric: str, protocol: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return an algorithm's scores in the course of training, on every task alike.

    Tasks are given different numbers of env steps, so that scores are aligned by the share of them
    that is spent; between two evaluations the earlier one counts.

    Args:
        frame: evaluations of finished runs.
        algo: whose.
        metric: column of it.
        protocol: sampled | commanded.

    Returns:
        Shares (P,) of a task's env steps, and scores (seeds, tasks, P), seeds cut to the fewest
        that a task has; both empty if the algorithm was never evaluated so.
    """
    own = frame[frame["algo"] == algo]
    own = own.assign(share=own["env_steps"] / own.groupby("task")["env_steps"].transform("max"))
    own = own[own["protocol"] == protocol]
    if own.empty:
        return np.empty(0), np.empty((0, 0, 0))
    wide = own.pivot_table(index="share", columns=["task", "seed"], values=metric).ffill().dropna()
    tasks = sorted(set(wide.columns.get_level_values(0)))
    seeds = min(wide[task].shape[1] for task in tasks)
    return wide.index.to_numpy(), np.stack(
        [wide[task].to_numpy()[:, :seeds].T for task in tasks], axis=1
    )


@figure(
    "scope", "efficiency", "Sample efficiency",
    "Interquartile mean over tasks and seeds in the course of training, with 95 % intervals. "
    "Sampled: solved modes; commanded: command coverage, 0 before the first mode is known.",
    place=2,
)  # fmt: skip
def efficiency(frame: pd.DataFrame) -> Figure | None:
    """Return sample efficiency: IQM over tasks and seeds in the course of training, 95 % intervals.

    Against env steps, or the share of each task's env steps where tasks differ in these.
    """
    tasks, scores = matrices(frame, SHARE["sampled"])
    if not tasks:
        return None
    frame = frame[frame["task"].isin(tasks)]
    lengths = frame.groupby("task")["env_steps"].max()
    alike = lengths.nunique() == 1
    unit = int(lengths.iloc[0]) if alike else 1
    drawn = new_figure(5.6, 2.9)
    axes, colors, rng = drawn.subplots(), algo_colors(scores), np.random.default_rng(0)
    seen = set()
    for algo in scores:
        for protocol, metric in SHARE.items():
            at, curves = training(frame, algo, metric, protocol)
            if not len(at):
                continue
            seen.add(protocol)
            centre, ends = stats.sample_efficiency(curves, rng=rng, draws=500)
            axes.plot(at * unit, centre, color=colors[algo], lw=1.8, ls=PROTOCOLS[protocol])
            if ends:
                axes.fill_between(at * unit, *ends, color=colors[algo], alpha=0.15, lw=0)
    mark_points(axes)
    axes.set(xlabel=steps_axis(axes) if alike else "share of each task's env steps",
             ylabel="share of the modes solved, IQM", ylim=(-0.02, 1.02))  # fmt: skip
    axes.grid(alpha=0.25)
    named = [Line2D([], [], color=colors[algo], lw=2, label=algo) for algo in scores]
    dashes = [Line2D([], [], color=INK, lw=1.2, ls=PROTOCOLS[p], label=p)
              for p in SHARE if p in seen]  # fmt: skip
    drawn.legend(handles=named + dashes, loc="outside right upper", fontsize=7.5)
    return drawn
