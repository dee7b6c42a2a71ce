"""Pictures made from paths that a command has just recorded, one panel each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis.mazes import draw_maze
from bench.analysis.style import FAILURE, MODES, new_figure


@dataclass(frozen=True)
class Panel:
    """What one panel shows.

    Attributes:
        title: above it.
        layout: rows of the maze, or () to draw none.
        cell: side of its cells in m.
        paths: N paths (T + 1, P) in m; the first two dimensions are drawn.
        groups: N arrays (T,) of the colour index of every step, -1 for the first colour of none.
        success: (N,) bool; failures are drawn in grey beneath.
    """

    title: str
    layout: Sequence[str]
    cell: float
    paths: Sequence[np.ndarray]
    groups: Sequence[np.ndarray]
    success: np.ndarray


def paths_by_group(panels: Sequence[Panel], label: str) -> Figure:
    """Return a row of panels whose paths change colour where their group changes.

    Args:
        panels: from left to right.
        label: what a group is, for the legend.
    """
    figure = new_figure(2.8 * len(panels), 3.2)
    axes_row = np.atleast_1d(figure.subplots(1, len(panels)))
    seen: set[int] = set()
    for axes, panel in zip(axes_row, panels, strict=True):
        if panel.layout:
            draw_maze(axes, panel.layout, panel.cell)
        for path, groups, success in zip(panel.paths, panel.groups, panel.success, strict=True):
            cuts = np.flatnonzero(np.diff(groups)) + 1
            for start, stop in zip([0, *cuts], [*cuts, len(groups)], strict=True):
                group = int(groups[start])
                seen.add(group)
                axes.plot(
                    path[start : stop + 1, 0], path[start : stop + 1, 1],
                    color=MODES[group % len(MODES)] if success else FAILURE,
                    lw=0.9 if success else 0.5, alpha=0.5, zorder=3 if success else 2,
                    rasterized=True,
                )  # fmt: skip
        axes.set_title(panel.title)
    handles = [
        Line2D([], [], color=MODES[group % len(MODES)], lw=2, label=f"{label} {group}")
        for group in sorted(seen)
        if group >= 0
    ]
    handles.append(Line2D([], [], color=FAILURE, lw=2, label="no success"))
    figure.legend(handles=handles, loc="outside lower center", ncols=8, fontsize=6.5)
    return figure
