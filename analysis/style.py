"""Colours, axes and type of all figures: an algorithm and a mode have one colour everywhere.

Twenty-one algorithms, all that there are and one more, have a colour each; on a page of more
colours come again, with other marks, those of variants first.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator

MODES = [  # by index; failures and other successes are grey, so that no mode is
    color
    for name in ("colorblind", "dark")
    for color in sns.color_palette(name)
    if max(color) - min(color) > 0.1
]
OTHER, FAILURE, WALL, INK = "#7a7a7a", "#c9c9c9", "#3b4252", "#222222"
# Three from seaborn's "colorblind", then those farthest from all others in CIE Lab, to normal eyes,
# in protanopia and in deuteranopia (Machado et al. 2009): tests/analysis/test_records.py.
ALGOS = ["#0173b2", "#d55e00", "#029e73", "#eecc00", "#7766ff", "#553300", "#44ddee", "#003333",
         "#33ee88", "#221199", "#0000ff", "#cc3344", "#558899", "#332266", "#33bbff",
         "#88ddbb", "#ee9955", "#1155bb", "#335577", "#330000", "#000011"]  # fmt: skip
MARKERS = "osD^vP*Xp<>h"  # beside the colours, for those who see none
_palette: ContextVar[tuple[str, ...]] = ContextVar("palette", default=())
UNITS = ((1e6, "million"), (1e3, "thousand"))  # of env steps
LETTER = 0.62  # of the type's size: the mean width of a letter
LONGEST = 40  # letters in a line of a legend
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
    "svg.hashsalt": "report",  # the same file each time
}
mpl.rcParams.update(STYLE)  # type: ignore[arg-type]


class Plot(Figure):
    """A figure that knows the runs that it was drawn from, and what it could not draw."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.records: list[Path] = []
        self.problems: list[str] = []


def break_names(figure: Figure) -> None:
    """Break titles and names in legends where there is no room for them, as for variants'."""
    for axes in figure.axes:
        spec = axes.get_subplotspec()
        room = 72 * figure.get_figwidth() / (spec.get_gridspec().ncols if spec else 1)
        for text in axes.get_children():
            if isinstance(text, Text) and text not in axes.texts:
                broken(text, int(room / (LETTER * float(text.get_fontsize()))))
    for legend in figure.legends:
        for text in legend.get_texts():
            broken(text, LONGEST)


def broken(text: Text, letters: int) -> None:
    """Break the lines of a text that are longer than so many letters, between words."""
    lines = text.get_text().split("\n")
    text.set_text("\n".join(textwrap.fill(line, letters, break_long_words=False,
                                          break_on_hyphens=False) for line in lines))  # fmt: skip


def legend_size(names: Sequence[str], more: int, width: float, most: int) -> tuple[int, float]:
    """Return how many columns a legend below panels has, and its height in inches.

    Args:
        names: in it, of any length (see `break_names`).
        more: short ones beside them.
        width: inches that there are.
        most: columns.
    """
    inch = STYLE["font.size"] / 72
    letters = max(min(len(name), LONGEST) for name in names)
    columns = max(min(most, int(width / (inch * (LETTER * letters + 5)))), 1)
    lines = more + sum(-(-len(name) // LONGEST) for name in names)
    return columns, 0.25 * -(-lines // columns)


@contextlib.contextmanager
def palette(algos: Iterable[str]) -> Iterator[None]:
    """Let every figure drawn within give these algorithms the same colours, whichever it shows."""
    token = _palette.set(in_order(algos))
    try:
        yield
    finally:
        _palette.reset(token)


def in_order(algos: Iterable[str]) -> tuple[str, ...]:
    """Return algorithms by name, those with a word beside their name (variants) last."""
    return tuple(sorted(set(algos), key=lambda algo: (" " in algo, algo)))


def places(algos: Iterable[str]) -> dict[str, int]:
    """Return each algorithm's place among all of `palette`, or of these (see `in_order`)."""
    known = _palette.get()
    wanted = set(algos)
    everything = known if wanted <= set(known) else in_order(wanted)
    return {a: i for i, a in enumerate(everything) if a in wanted}


def algo_colors(algos: Iterable[str]) -> dict[str, tuple[float, float, float]]:
    """Return one colour per algorithm, by its place among all."""
    return {a: to_rgb(ALGOS[i % len(ALGOS)]) for a, i in places(algos).items()}


def algo_markers(algos: Iterable[str]) -> dict[str, str]:
    """Return one marker per algorithm, by its place among all."""
    return {a: MARKERS[i % len(MARKERS)] for a, i in places(algos).items()}


def mode_color(mode: int, num_modes: int) -> str | tuple[float, float, float]:
    """Return the colour of a mode label."""
    if mode < 0:
        return FAILURE
    return OTHER if mode >= num_modes else to_rgb(MODES[mode % len(MODES)])


def steps_axis(*panels: Axes) -> str:
    """Let x, in env steps, begin at 0 and count in a unit that fits all panels; return its label.

    To be called when all is drawn.
    """
    most = max(axes.get_xlim()[1] for axes in panels)
    unit, name = next(((u, n) for u, n in UNITS if most >= u), (1, ""))
    for axes in panels:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / unit:g}"))
        mark_points(axes)
    return f"env steps ({name})" if name else "env steps"


def mark_points(axes: Axes) -> None:
    """Mark the lines that are one point, as after one evaluation: nothing else would be seen.

    What is dashed elsewhere is a ring, around the dot of what is not.
    """
    for line in axes.get_lines():
        drawn = np.isfinite(np.asarray(line.get_ydata(), float)).sum()
        if drawn == 1 and line.get_marker() == "None":
            solid = line.get_linestyle() == "-"
            size = 1.5 + 2 * line.get_linewidth()
            line.set(marker="o", markersize=size if solid else size + 3,
                     markerfacecolor=line.get_color() if solid else "none")  # fmt: skip


def new_figure(width: float, height: float) -> Plot:
    """Return an empty figure of a size in inches."""
    return Plot(figsize=(width, height), layout="constrained")
