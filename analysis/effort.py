"""What training costs in time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from bench.analysis.catalogue import figure
from bench.analysis.comparison import Scope
from bench.analysis.runs import RunRecord
from bench.analysis.style import algo_colors, new_figure


@figure("report", "speed", "Time", "A dot per finished run, a line at the median.", place=2)
def speed(runs: Sequence[RunRecord], found: list[Scope]) -> Figure | None:
    """Return minutes per run and updates per second of learner time: a dot per run, and medians."""
    runs = [r for r in runs if r.facts.get("seconds", {}).get("learner")]
    if not runs:
        return None
    algos = sorted({r.facts["algo"] for r in runs})
    colors = algo_colors(algos)
    drawn = new_figure(7.5, 0.3 * len(algos) + 1.1)
    columns = drawn.subplots(1, 2, sharey=True)
    rng = np.random.default_rng(0)
    for place, algo in enumerate(algos):
        own = [r.facts for r in runs if r.facts["algo"] == algo]
        at = place + rng.uniform(-0.18, 0.18, len(own))
        minutes = [sum(f["seconds"].values()) / 60 for f in own]
        rate = [f.get("updates", 0) / f["seconds"]["learner"] for f in own]
        for axes, values in zip(columns, (minutes, rate), strict=True):
            axes.plot(values, at, "o", ms=4, color=colors[algo], alpha=0.6)
            axes.plot([float(np.median(values))] * 2, [place - 0.3, place + 0.3], lw=1.6,
                      color=colors[algo])  # fmt: skip
    columns[0].set(xlabel="minutes per run", xlim=(0, None))
    columns[1].set(xlabel="updates per second of learner time", xlim=(0, None))
    columns[0].set_yticks(range(len(algos)), algos)
    columns[0].set_ylim(len(algos) - 0.5, -0.5)
    for axes in columns:
        axes.grid(axis="x", alpha=0.25)
    return drawn
