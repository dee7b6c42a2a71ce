"""What is obtained: by each command, and by the policy as it acts by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.catalogue import figure
from bench.analysis.load import per_algo
from bench.analysis.runs import RunRecord
from bench.analysis.style import INK, algo_colors, new_figure

WIDEST = 4  # panels side by side


def control_matrix(run: RunRecord) -> np.ndarray:
    """Return how often command m led to label k in the last evaluation, (M, K + 2).

    Rows sum to 1. The columns are the named modes, then `other`, then failure.
    """
    last = run.last("commanded")
    commands, num_modes = sorted(last["commanded"].unique()), len(run.modes)
    matrix = np.zeros((len(commands), num_modes + 2))
    for row, command in zip(matrix, commands, strict=True):
        labels = last.loc[last["commanded"] == command, "mode"].to_numpy()
        np.add.at(row, labels, 1 / len(labels))  # -1, a failure, is the last column
    return matrix


@figure(
    "task", "control", "Commanded and obtained modes",
    "Share of a command's episodes with each label in the last evaluation; the seed with the "
    "median of solved modes. Obedience is one dark cell per row, each in another column.", place=5,
)  # fmt: skip
def control(runs: Sequence[RunRecord], frame: pd.DataFrame) -> Figure | None:
    """Return commanded against obtained mode as a heat map, one panel per algorithm."""
    chosen = per_algo([r for r in runs if not r.last("commanded").empty], frame, "commanded")
    if not chosen:
        return None
    columns = min(len(chosen), WIDEST)
    rows = -(-len(chosen) // columns)
    drawn = new_figure(max(3.0 * columns, 3.4), 3.0 * rows)
    drawn.records = [run.path for run in chosen]
    grid = np.ravel(drawn.subplots(rows, columns))
    for axes in grid[len(chosen) :]:
        axes.set_axis_off()
    for axes, run in zip(grid, chosen, strict=False):
        matrix = control_matrix(run)
        order = np.argsort(matrix.argmax(axis=1), kind="stable")
        axes.imshow(matrix[order], cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for i, row in enumerate(matrix[order]):
            for j, share in enumerate(row):
                if share >= 0.05:
                    color = "white" if share > 0.6 else INK
                    axes.text(j, i, f"{share:.0%}", ha="center", va="center", fontsize=6,
                              color=color)  # fmt: skip
        names = [*run.modes, "other", "failure"]
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(matrix)), [str(i) for i in order])
        axes.set(xlabel="obtained", ylabel="commanded")
        axes.set_title(f"{run.facts['algo']}, seed {run.facts['seed']}")
    return drawn


@figure(
    "task", "modes", "Which modes the policy takes by itself",
    "Share of the last evaluation's episodes, sampled: mean over seeds, lines from the least to "
    "the largest.", place=4,
)  # fmt: skip
def by_mode(runs: Sequence[RunRecord], frame: pd.DataFrame) -> Figure | None:
    """Return the share of the episodes that each mode gets, sampled, mean and range over seeds."""
    runs = [r for r in runs if not r.last("sampled").empty]
    if not runs or not runs[0].modes:
        return None
    modes, algos = runs[0].modes, sorted({r.facts["algo"] for r in runs})
    names, colors = [*modes, "other", "failure"], algo_colors(algos)
    drawn = new_figure(max(1.1 * len(names), 4.5), 2.5)
    axes, width = drawn.subplots(), 0.8 / len(algos)
    for i, algo in enumerate(algos):
        rows = []
        for run in (r for r in runs if r.facts["algo"] == algo):
            labels = run.last("sampled")["mode"].to_numpy()
            share = np.zeros(len(names))
            np.add.at(share, labels, 1 / len(labels))
            rows.append(share)
        shares = np.array(rows)
        x = np.arange(len(names)) + (i - (len(algos) - 1) / 2) * width
        axes.bar(x, shares.mean(axis=0), width, color=colors[algo], label=algo)
        axes.vlines(x, shares.min(axis=0), shares.max(axis=0), color=INK, lw=0.8)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_ylabel("share of episodes")
    drawn.legend(loc="outside upper center", ncols=6)
    return drawn
