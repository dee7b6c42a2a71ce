"""Figures over tasks and seeds: aggregates, performance profiles, probability of improvement."""

from __future__ import annotations

import numpy as np
import pandas as pd
from bench.analysis import stats
from bench.analysis.load import final_scores
from bench.analysis.style import INK, algo_colors, new_figure
from matplotlib.figure import Figure

AGGREGATES = {
    "IQM": stats.iqm,
    "mean": stats.mean,
    "median": stats.median,
    "optimality gap": stats.optimality_gap,
}


def matrices(
    frame: pd.DataFrame, metric: str, protocol: str = "sampled"
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return the tasks that all algorithms have done, and each one's scores (seeds, tasks).

    Tasks that some algorithm lacks are left out, so that all are judged on the same ones; where
    seeds differ in number, the first that all tasks have are taken.

    Args:
        frame: of `load_results`.
        metric: column of it.
        protocol: sampled | commanded.
    """
    scores = final_scores(frame)
    scores = scores[(scores["protocol"] == protocol) & scores[metric].notna()]
    algos = sorted(scores["algo"].unique())
    having = [set(scores.loc[scores["algo"] == algo, "task"]) for algo in algos]
    tasks = sorted(set.intersection(*having)) if having else []
    found = {}
    for algo in algos if tasks else []:
        part = scores[(scores["algo"] == algo) & scores["task"].isin(tasks)]
        columns = [part.loc[part["task"] == task, metric].to_numpy() for task in tasks]
        seeds = min(map(len, columns))
        found[algo] = np.stack([column[:seeds] for column in columns], axis=1)
    return tasks, found


def aggregates(frame: pd.DataFrame, metric: str = "solved_modes") -> Figure | None:
    """Return IQM, mean, median and optimality gap of a metric with 95 % intervals."""
    tasks, scores = matrices(frame, metric)
    if not tasks:
        return None
    algos, colors = list(scores), algo_colors(sorted(frame["algo"].unique()))
    figure = new_figure(9.5, 0.3 * len(algos) + 1.0)
    rng = np.random.default_rng(0)
    for axes, (name, statistic) in zip(
        figure.subplots(1, len(AGGREGATES), sharey=True), AGGREGATES.items(), strict=True
    ):
        for place, algo in enumerate(algos):
            centre = float(statistic(scores[algo]))
            ends = stats.interval(scores[algo], statistic, rng=rng)
            if ends:
                axes.plot(ends, [place, place], color=colors[algo], lw=7, alpha=0.35)
            axes.plot([centre], [place], "|", ms=12, mew=2.2, color=colors[algo])
        axes.set_title(name)
        axes.set_yticks(range(len(algos)), algos)
        axes.set_ylim(len(algos) - 0.5, -0.5)
        axes.set_xlim(-0.03, 1.03)
        axes.grid(axis="x", alpha=0.25)
    figure.supxlabel(f"{metric.replace('_', ' ')}, {len(tasks)} tasks", fontsize=8.5)
    return figure


def profiles(frame: pd.DataFrame, metric: str = "solved_modes") -> Figure | None:
    """Return performance profiles: the share of runs above every threshold, with intervals."""
    tasks, scores = matrices(frame, metric)
    if not tasks:
        return None
    figure = new_figure(4.2, 2.9)
    axes, thresholds = figure.subplots(), np.linspace(0, 1, 101)
    colors, rng = algo_colors(sorted(frame["algo"].unique())), np.random.default_rng(0)
    for algo, own in scores.items():
        axes.plot(thresholds, stats.performance_profile(own, thresholds), color=colors[algo],
                  lw=1.8, label=algo)  # fmt: skip
        if len(own) > 1:
            drawn = stats.performance_profile_draws(own, thresholds, rng=rng)
            low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
            axes.fill_between(thresholds, low, high, color=colors[algo], alpha=0.15, lw=0)
    axes.set(xlabel=metric.replace("_", " "), ylabel="share of runs above", xlim=(0, 1),
             ylim=(-0.02, 1.02))  # fmt: skip
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7.5)
    return figure


def improvement(frame: pd.DataFrame, metric: str = "solved_modes") -> pd.DataFrame:
    """Return P(row's algorithm scores higher than column's), averaged over tasks."""
    _, scores = matrices(frame, metric)
    return pd.DataFrame(
        {
            other: {algo: stats.probability_of_improvement(x, y) for algo, x in scores.items()}
            for other, y in scores.items()
        }
    )


def improvement_map(frame: pd.DataFrame, metric: str = "solved_modes") -> Figure | None:
    """Return the matrix of probabilities of improvement as a heat map."""
    table = improvement(frame, metric)
    if len(table) < 2:
        return None
    figure = new_figure(0.75 * len(table) + 2.0, 0.5 * len(table) + 1.5)
    axes = figure.subplots()
    values = table.to_numpy(float)
    axes.imshow(values, cmap="RdBu", vmin=0, vmax=1)
    for i in range(len(table)):
        for j in range(len(table)):
            if i != j:
                value = float(values[i, j])
                color = "white" if abs(value - 0.5) > 0.3 else INK
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7.5, color=color)
    axes.set_xticks(range(len(table)), table.columns, rotation=45, ha="right")
    axes.set_yticks(range(len(table)), table.index)
    axes.set_title(f"P(row > column), {metric.replace('_', ' ')}")
    return figure
