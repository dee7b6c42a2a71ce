"""One line per algorithm: how many of the modes it solves, sampled and commanded."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis.catalogue import figure
from bench.analysis.comparison import Scope, points
from bench.analysis.runs import RunRecord
from bench.analysis.style import INK, OTHER, algo_colors, new_figure

MOST = 5  # panels beside each other
KINDS = (("sampled", INK), ("commanded", "white"))  # and filling


def order(shown: list[pd.DataFrame]) -> list[str]:
    """Return algorithms, best first: by the better of their protocols, then by both, then success.

    What is in fewer panels comes last: the mean of an easier task says little beside that of all.

    Args:
        shown: what `comparison.points` returns, for every panel.
    """
    means = pd.concat(shown).groupby(["algo", "protocol"])[["modes", "success"]].mean()
    own = means.groupby("algo")
    panels = pd.concat([table["algo"].drop_duplicates() for table in shown]).value_counts()
    best = own.max().assign(both=own["modes"].mean(), panels=panels)
    by = ["panels", "modes", "both", "success"]
    best = best.sort_values(by, ascending=False, kind="stable")
    return list(best.index)


def beside(
    axes: Axes, place: float, text: str, points: float, size: float = 7.5, color: str = INK
) -> None:
    """Write at the right of a panel, some points off it, so that the layout leaves room."""
    axes.annotate(
        text, (1, place), xycoords=axes.get_yaxis_transform(), xytext=(points, 0),
        textcoords="offset points", va="center", linespacing=0.95, fontsize=size, color=color,
    )  # fmt: skip


def panel(axes: Axes, table: pd.DataFrame, algos: list[str]) -> None:
    """Draw one panel: shares of the modes with intervals, and success, sampled, at the right."""
    colors = algo_colors(algos)
    commanded = set(table.loc[table["protocol"] == "commanded", "algo"])
    for row in table.to_dict("records"):
        place, color = algos.index(row["algo"]), colors[row["algo"]]
        hollow = row["protocol"] == "commanded"
        y = place + (0.17 if hollow else -0.17 if row["algo"] in commanded else 0)
        ends = [row["modes_low"], row["modes_high"]]
        axes.plot(ends, [y, y], color=color, lw=1.4, alpha=0.5)
        axes.plot(row["modes"], y, "o", ms=5.5, mew=1.4, color=color,
                  mfc="white" if hollow else color, clip_on=False, zorder=3)  # fmt: skip
        if not hollow:
            beside(axes, place, f"{row['success']:.2f}", 6)
    beside(axes, -0.95, "success", 6)
    axes.set(xlim=(0, 1.0), ylim=(len(algos) - 0.4, -0.6), xlabel="share of the modes solved")
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks(range(len(algos)), algos)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    axes.spines["left"].set_visible(False)
    for place in range(len(algos)):
        axes.axhline(place, color=INK, lw=0.3, alpha=0.15, zorder=0)


@figure(
    "report", "ranking", "Who solves how many modes",
    "Filled: solved modes where the policy is sampled, hollow: command coverage where each of its "
    "modes is commanded in turn, with 95 % intervals over seeds; best first. Success is that of "
    "the sampled policy.", place=2,
)  # fmt: skip
def ranking(runs: Sequence[RunRecord], found: list[Scope]) -> Figure | None:
    """Return a line per algorithm and a panel per scope: what is solved, and success."""
    every = [(scope.name, points(scope.frame)) for scope in found]
    shown = [(name, table) for name, table in every if len(table)][:MOST]
    if not shown:
        return None
    algos = order([table for _, table in shown])
    classes = {run.facts["algo"]: run.facts.get("algo_info", {}).get("policy", "") for run in runs}
    drawn = new_figure(4.0 + 2.4 * len(shown), 0.22 * len(algos) + 1.3)
    grid = np.ravel(drawn.subplots(1, len(shown), sharey=True))
    for axes, (name, table) in zip(grid, shown, strict=True):
        panel(axes, table, algos)
        axes.set_title(name, pad=14)
    for place, algo in enumerate(algos):
        beside(grid[-1], place, fill(classes.get(algo, ""), 45), 40, size=6.5, color=OTHER)
    seen = {protocol for _, table in shown for protocol in table["protocol"]}
    handles = [
        Line2D([], [], color=INK, marker="o", ls="", ms=6, mfc=face, label=protocol)
        for protocol, face in KINDS
        if protocol in seen
    ]
    drawn.legend(handles=handles, loc="outside lower center", ncols=2)
    return drawn
