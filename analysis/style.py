"""Colours and type of all figures: one colour per algorithm and per mode, everywhere the same."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

MODES = [*sns.color_palette("colorblind"), *sns.color_palette("dark")]  # by index
OTHER, FAILURE, WALL, INK = "#7a7a7a", "#c9c9c9", "#3b4252", "#222222"
PROTOCOLS = {"sampled": "-", "commanded": "--", "random-start": ":"}

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
}
mpl.rcParams.update(STYLE)  # type: ignore[arg-type]


def algo_colors(algos: list[str]) -> dict[str, tuple[float, float, float]]:
    """Return one colour per algorithm, by its place in the sorted list of all."""
    palette = sns.color_palette("colorblind")
    order = (0, 3, 2, 4, 1, 5, 7, 8, 9, 6)  # the most distinct first
    return {a: palette[order[i % len(order)]] for i, a in enumerate(sorted(algos))}


def mode_color(mode: int, num_modes: int) -> object:
    """Return the colour of a mode label."""
    if mode < 0:
        return FAILURE
    return OTHER if mode >= num_modes else MODES[mode % len(MODES)]


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches."""
    return Figure(figsize=(width, height), layout="constrained")
