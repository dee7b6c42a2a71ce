"""Figures of what becomes of every mode: commanded, obtained, found, kept or lost.

Every function reads records only and returns a matplotlib Figure, or None where there is nothing
to show.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram, set_link_color_palette

from bench.analysis.figures import draw_maze, median_run
from bench.analysis.load import RunRecord, arrays
from bench.analysis.metrics import MIN_COUNT, MIN_SHARE
from bench.analysis.style import INK, algo_colors, mode_color, new_figure

ROW = 0.24  # inches per bar
WIDEST = 4  # panels side by side
LINKS = ["C1", "C2", "C3", "C4", "C5", "C6", "C8", "C9"]  # clusters in turn, none of them grey,
ABOVE = "#777"  # as what the threshold cuts apart


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


def control(runs: Sequence[RunRecord], frame: pd.DataFrame) -> Figure | None:
    """Return commanded against obtained mode as a heat map, one panel per algorithm."""
    chosen = per_algo([r for r in runs if not r.last("commanded").empty], frame, "commanded")
    if not chosen:
        return None
    columns = min(len(chosen), WIDEST)
    rows = -(-len(chosen) // columns)
    figure = new_figure(max(3.0 * columns, 3.4), 3.0 * rows)
    figure.records = [run.path for run in chosen]
    grid = np.ravel(figure.subplots(rows, columns))
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
    return figure


def per_algo(runs: Sequence[RunRecord], frame: pd.DataFrame, protocol: str) -> list[RunRecord]:
    """Return the median run of every algorithm."""
    return [
        median_run([r for r in runs if r.facts["algo"] == algo], frame[frame["algo"] == algo],
                   protocol)
        for algo in sorted({r.facts["algo"] for r in runs})
    ]  # fmt: skip


def presence(run: RunRecord, protocol: str) -> pd.DataFrame:
    """Return whether each mode was found in each evaluation: env_steps x modes, bool.

    A mode is found with at least max(2, 5 % of the successes) episodes. Commanded, every command
    has few episodes, so two are enough.
    """
    own = run.episodes
    if own.empty:
        return pd.DataFrame(columns=run.modes, dtype=bool)
    chosen = (own["protocol"] == protocol).to_numpy()
    mode = own["mode"].to_numpy()[chosen]
    at, group = np.unique(own["env_steps"].to_numpy()[chosen], return_inverse=True)
    tally = np.zeros((len(at), len(run.modes) + 2), int)  # others, then failures last
    np.add.at(tally, (group, mode), 1)
    share = 0.0 if protocol == "commanded" else MIN_SHARE
    needed = np.maximum(MIN_COUNT, share * tally[:, :-1].sum(axis=1))
    found = tally[:, : len(run.modes)] >= needed[:, None]
    return pd.DataFrame(found, index=at, columns=run.modes)


def spans(present: np.ndarray, at: np.ndarray) -> list[tuple[float, float]]:
    """Return the stretches of training in which a mode was there.

    Args:
        present: (E,) whether it was found at each evaluation.
        at: (E,) env steps of the evaluations, rising.

    Returns:
        Start and end of every stretch; it begins where the mode was seen, and ends at the first
        evaluation that misses it, or at the last one.
    """
    found = []
    start: float | None = None
    for here, steps in zip(present, at, strict=True):
        if here and start is None:
            start = float(steps)
        elif not here and start is not None:
            found.append((start, float(steps)))
            start = None
    if start is not None:
        found.append((start, float(at[-1])))
    return found


def survival(runs: Sequence[RunRecord], frame: pd.DataFrame) -> Figure | None:
    """Return when every mode was first found, kept and lost: one bar per mode, by algorithm.

    The bar shows the policy as it acts by itself; a thin line beneath shows that the mode can be
    commanded. The median seed is drawn.
    """
    chosen = per_algo([r for r in runs if not r.last("sampled").empty], frame, "sampled")
    if not chosen or not chosen[0].modes:
        return None
    bars = len(chosen[0].modes) * len(chosen)
    figure = new_figure(7.5, ROW * bars + 0.9)
    figure.records = [run.path for run in chosen]
    grid = np.atleast_1d(figure.subplots(len(chosen), 1, sharex=True))
    for axes, run in zip(grid, chosen, strict=True):
        free, told = presence(run, "sampled"), presence(run, "commanded")
        gap = np.diff(free.index.to_numpy(), prepend=0).min() if len(free) else 1
        for place, name in enumerate(run.modes):
            color = mode_color(place, len(run.modes))
            for start, end in spans(free[name].to_numpy(), free.index.to_numpy()):
                axes.barh(place, max(end - start, 0.3 * gap) / 1e6, left=start / 1e6, height=0.5,
                          color=color)  # fmt: skip
            if not told.empty:
                for start, end in spans(told[name].to_numpy(), told.index.to_numpy()):
                    axes.plot([start / 1e6, max(end, start + 0.3 * gap) / 1e6], [place + 0.38] * 2,
                              color=color, lw=1.4)  # fmt: skip
        axes.set_yticks(range(len(run.modes)), run.modes)
        axes.set_ylim(len(run.modes) - 0.4, -0.6)
        axes.set_title(f"{run.facts['algo']}, seed {run.facts['seed']}", loc="left")
    ends = [run.facts.get("target_env_steps") or run.episodes["env_steps"].max() for run in chosen]
    grid[-1].set_xlim(0, max(ends) / 1e6)
    grid[-1].set_xlabel("env steps (million)")
    return figure


def survival_table(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Return when each mode was first found and whether it was lost, sampled, over seeds.

    A mode is lost where the last evaluation lacks it though an earlier one had it. The env steps
    are those of the seed in the middle (the lower of two).
    """
    lives: dict[tuple[str, str, str], list[tuple[float | None, float | None]]] = {}
    for run in (r for r in runs if r.modes and not r.last("sampled").empty):
        free = presence(run, "sampled")
        for name in run.modes:
            found = spans(free[name].to_numpy(), free.index.to_numpy())
            gone = found[-1][1] if found and not free[name].iloc[-1] else None
            life = (found[0][0] if found else None, gone)
            lives.setdefault((run.facts["task"], run.facts["algo"], name), []).append(life)

    def middle(values: Sequence[float | None]) -> str:
        known = sorted(v for v in values if v is not None)
        return f"{known[(len(known) - 1) // 2]:,.0f}" if known else ""

    rows = []
    for (task, algo, name), own in lives.items():
        first, lost = zip(*own, strict=True)
        rows.append({
            "task": task, "algorithm": algo, "mode": name, "seeds": str(len(own)),
            "found in seeds": str(sum(v is not None for v in first)), "first found": middle(first),
            "lost in seeds": str(sum(v is not None for v in lost)), "lost": middle(lost),
        })  # fmt: skip
    return pd.DataFrame(rows)


def by_mode(runs: Sequence[RunRecord]) -> Figure | None:
    """Return the share of the episodes that each mode gets, sampled, mean and range over seeds."""
    runs = [r for r in runs if not r.last("sampled").empty]
    if not runs or not runs[0].modes:
        return None
    modes, algos = runs[0].modes, sorted({r.facts["algo"] for r in runs})
    names, colors = [*modes, "other", "failure"], algo_colors(algos)
    figure = new_figure(max(1.1 * len(names), 4.5), 2.5)
    axes, width = figure.subplots(), 0.8 / len(algos)
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
    figure.legend(loc="outside upper center", ncols=6)
    return figure


def value_maps(run: RunRecord) -> Figure | None:
    """Return every Q-function of a run over its maze, from values.npz."""
    path, info = run.path / "values.npz", run.facts["task_info"]
    if not path.exists() or not info.get("layout"):
        return None
    with arrays(path) as stored:
        values, (x0, x1, y0, y1) = stored["values"], stored["extent"]
        if values.ndim != 3 or not len(values):
            raise ValueError(f"values of shape {values.shape}, not (M + 1, rows, columns)")
    columns = min(len(values), 7)
    rows = -(-len(values) // columns)
    figure = new_figure(1.7 * columns, 1.95 * rows)
    figure.records = [run.path]
    grid = np.ravel(figure.subplots(rows, columns))
    names = ["critic"] if len(values) == 1 else ["explore", *(f"mode {i}" for i in
                                                             range(len(values) - 1))]  # fmt: skip
    for axes in grid[len(values) :]:
        axes.set_axis_off()
    for axes, name, one in zip(grid, names, values, strict=False):
        image = axes.imshow(one, extent=(x0, x1, y1, y0), cmap="viridis", vmin=0,
                            vmax=max(float(values[1:].max()) if len(values) > 1 else one.max(), 0.1)
                            if name != "explore" else None)  # fmt: skip
        draw_maze(axes, info["layout"], info["cell"])
        axes.set_title(name)
    figure.colorbar(image, ax=list(grid), shrink=0.7, label="value, share of the goal's reward")
    return figure


def cluster_tree(run: RunRecord) -> Figure | None:
    """Return the dendrogram of a run's successes with the threshold, from clusters.npz."""
    path = run.path / "clusters.npz"
    if not path.exists():
        return None
    with arrays(path) as stored:
        linkage, labels, threshold = stored["linkage"], stored["labels"], float(stored["threshold"])
        if linkage.ndim != 2 or linkage.shape[1] != 4 or len(labels) != len(linkage) + 1:
            raise ValueError(f"a linkage of shape {linkage.shape} for {len(labels)} labels")
    figure = new_figure(6.0, 2.4)
    figure.records = [run.path]
    axes = figure.subplots()
    cut = threshold if threshold > 0 else 0.7 * linkage[-1, 2]
    set_link_color_palette(LINKS)
    dendrogram(linkage, ax=axes, no_labels=True, color_threshold=cut, above_threshold_color=ABOVE)
    set_link_color_palette(None)
    axes.axhline(cut, color=INK, lw=0.9, ls="--")
    axes.text(0.995, cut, f" threshold {cut:.2g}", ha="right", va="bottom", fontsize=7,
              transform=axes.get_yaxis_transform())  # fmt: skip
    modes, top = len(set(labels[labels >= 0].tolist())), float(linkage[-1, 2])
    axes.set(ylabel="distance of paths", yscale="symlog" if top > 20 * cut else "linear")
    axes.set_ylim(0, 1.15 * max(top, cut))  # the threshold is seen where all paths are nearer too
    axes.set_title(f"{run.facts['algo']}, seed {run.facts['seed']}: {len(labels)} successes in "
                   f"{modes} cluster{'s' * (modes != 1)}")  # fmt: skip
    return figure


def speed(runs: Sequence[RunRecord]) -> Figure | None:
    """Return minutes per run and updates per second of learner time: a dot per run, and medians."""
    runs = [r for r in runs if r.facts.get("seconds", {}).get("learner")]
    if not runs:
        return None
    algos = sorted({r.facts["algo"] for r in runs})
    colors = algo_colors(algos)
    figure = new_figure(7.5, 0.3 * len(algos) + 1.1)
    columns = figure.subplots(1, 2, sharey=True)
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
    return figure
