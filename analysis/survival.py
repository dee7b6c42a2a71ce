"""When modes were found, kept and lost in the course of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.catalogue import figure
from bench.analysis.load import per_algo
from bench.analysis.runs import RunRecord
from bench.analysis.style import mode_color, new_figure, steps_axis

ROW, TITLE = 0.24, 0.3  # inches per bar, and per panel
MISSES = 2  # evaluations in a row without a mode that make it lost


def spans(present: np.ndarray, at: np.ndarray) -> list[tuple[float, float]]:
    """Return the stretches of training in which a mode was there.

    A mode is lost after two evaluations in a row without it: with one, a mode that steadily has
    5 % of the episodes would be called lost with probability 0.43 over 8 evaluations.

    Args:
        present: (E,) whether it was found at each evaluation.
        at: (E,) env steps of the evaluations, rising.

    Returns:
        Start and end of every stretch; it begins where the mode was seen, and ends at the first of
        the evaluations that miss it, or at the last evaluation.
    """
    stretches: list[tuple[float, float]] = []
    start, missed = None, 0
    for i, here in enumerate(present):
        missed = 0 if here else missed + 1
        if here and start is None:
            start = float(at[i])
        elif start is not None and missed == MISSES:
            stretches.append((start, float(at[i + 1 - MISSES])))
            start = None
    if start is not None:
        stretches.append((start, float(at[-1])))
    return stretches


def lost(present: np.ndarray) -> bool:
    """Say whether a mode that was found is lost at the end, (E,) bool."""
    return bool(present.any()) and len(present) >= MISSES and not present[-MISSES:].any()


@figure(
    "task", "survival", "When modes were found, kept and lost",
    "A bar while the policy shows the mode by itself, a thin line while it can be commanded; it "
    "ends where two evaluations in a row miss the mode. The seed with the median of solved modes.",
    place=3,
)  # fmt: skip
def survival(runs: Sequence[RunRecord], frame: pd.DataFrame) -> Figure | None:
    """Return when every mode was first found, kept and lost: one bar per mode, by algorithm.

    The bar shows the policy as it acts by itself; a thin line beneath shows that the mode can be
    commanded. The median seed is drawn.
    """
    chosen = per_algo([r for r in runs if not r.last("sampled").empty], frame, "sampled")
    if not chosen or not chosen[0].modes:
        return None
    panel = ROW * len(chosen[0].modes) + TITLE
    drawn = new_figure(7.5, panel * len(chosen) + 0.6)
    drawn.records = [run.path for run in chosen]
    grid = np.atleast_1d(drawn.subplots(len(chosen), 1, sharex=True))
    for axes, run in zip(grid, chosen, strict=True):
        free, commanded = run.found("sampled"), run.found("commanded")
        at = free.index.to_numpy()
        least = min(0.3 * np.diff(at, prepend=0).min(), 0.02 * at[-1])  # of a bar, to be seen
        for place, name in enumerate(run.modes):
            color = mode_color(place, len(run.modes))
            for start, end in spans(free[name].to_numpy(), at):
                axes.barh(place, max(end - start, least), left=start, height=0.5, color=color)
            if not commanded.empty:
                for start, end in spans(commanded[name].to_numpy(), commanded.index.to_numpy()):
                    axes.plot([start, max(end, start + least)], [place + 0.38] * 2,
                              color=color, lw=1.4)  # fmt: skip
        axes.set_yticks(range(len(run.modes)), run.modes)
        axes.set_ylim(len(run.modes) - 0.4, -0.6)
        axes.set_title(f"{run.facts['algo']}, seed {run.facts['seed']}", loc="left")
    ends = [run.facts.get("target_env_steps") or run.episodes["env_steps"].max() for run in chosen]
    ends += [axes.dataLim.x1 for axes in grid]  # also what the last evaluation alone has found
    grid[-1].set_xlim(0, max(ends))
    grid[-1].set_xlabel(steps_axis(*grid))
    return drawn


def survival_table(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Return when each mode was first found and whether it was lost, sampled, over seeds.

    A mode is lost where the last two evaluations lack it though an earlier one had it. The env
    steps are those of the seed in the middle (the lower of two).
    """
    lives: dict[tuple[str, str, str], list[tuple[float | None, float | None]]] = {}
    for run in (r for r in runs if r.modes and not r.last("sampled").empty):
        free = run.found("sampled")
        for name in run.modes:
            present = free[name].to_numpy()
            found = spans(present, free.index.to_numpy())
            gone = found[-1][1] if lost(present) else None
            life = (found[0][0] if found else None, gone)
            lives.setdefault((run.facts["task"], run.facts["algo"], name), []).append(life)

    def middle(values: Sequence[float | None]) -> str:
        known = sorted(v for v in values if v is not None)
        return f"{known[(len(known) - 1) // 2]:,.0f}" if known else ""

    rows = []
    for (task, algo, name), own in lives.items():
        first, last = zip(*own, strict=True)
        rows.append({
            "task": task, "algorithm": algo, "mode": name, "seeds": str(len(own)),
            "found in seeds": str(sum(v is not None for v in first)), "first found": middle(first),
            "lost in seeds": str(sum(v is not None for v in last)), "lost": middle(last),
        })  # fmt: skip
    return pd.DataFrame(rows)
