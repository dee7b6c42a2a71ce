"""What is obtained: by each command, and by the policy as it acts by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.catalogue import figure
from bench.analysis.load import per_algo
from bench.analysis.runs import RunRecord
from bench.analysis.style import INK, new_figure

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
        draw_shares(axes, matrix[order], run.modes, [str(i) for i in order])
        axes.set(xlabel="obtained", ylabel="commanded")
        axes.set_title(f"{run.facts['algo']}, seed {run.facts['seed']}")
    return drawn


def draw_shares(
    axes: Axes,
    shares: np.ndarray,
    modes: Sequence[str],
    rows: Sequence[str],
    ranges: np.ndarray | None = None,
) -> None:
    """Draw shares of episodes (R, K + 2) by label as a heat map; those below 5 % are not written.

    Args:
        axes: to draw on.
        shares: of the named modes, then `other`, then failure.
        modes: names of the K modes.
        rows: names of the rows.
        ranges: (2, R, K + 2) least and largest, written too where they differ by 5 % or more.
    """
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j in np.argwhere(shares >= 0.05):
        share, text = shares[i, j], f"{shares[i, j]:.0%}"
        if ranges is not None and np.ptp(ranges[:, i, j]) >= 0.05:
            low, high = 100 * ranges[:, i, j]
            text += f" ({low:.0f}–{high:.0f})"
        axes.text(j, i, text, ha="center", va="center", fontsize=6,
                  color="white" if share > 0.6 else INK)  # fmt: skip
    names = [*modes, "other", "failure"]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(rows)), rows)


@figure(
    "task", "modes", "Which modes the policy takes by itself",
    "Share of the last evaluation's episodes, sampled: mean over seeds, in parentheses the least "
    "and the largest where seeds differ.", place=4,
)  # fmt: skip
def by_mode(runs: Sequence[RunRecord], frame: pd.DataFrame) -> Figure | None:
    """Return the share of the episodes that each mode gets, sampled, a row per algorithm."""
    runs = [r for r in runs if not r.last("sampled").empty]
    if not runs or not runs[0].modes:
        return None
    modes, algos = runs[0].modes, sorted({r.facts["algo"] for r in runs})
    shares = [
        np.array([taken(run) for run in runs if run.facts["algo"] == algo]) for algo in algos
    ]  # of each algorithm (seeds, K + 2)
    drawn = new_figure(max(0.85 * (len(modes) + 2) + 1.0, 4.0), 0.24 * len(algos) + 0.8)
    means, low, high = (np.array([f(own, axis=0) for own in shares])
                        for f in (np.mean, np.min, np.max))  # fmt: skip
    draw_shares(drawn.subplots(), means, modes, algos, np.stack([low, high]))
    return drawn


def taken(run: RunRecord) -> np.ndarray:
    """Return how often the last evaluation, sampled, led to label k, (K + 2,), failures last."""
    labels = run.last("sampled")["mode"].to_numpy()
    share = np.zeros(len(run.modes) + 2)
    np.add.at(share, labels, 1 / len(labels))
    return share
