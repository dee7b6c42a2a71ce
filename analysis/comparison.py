"""Figures and tables over tasks and seeds: aggregates, profiles, improvement, ablations.

They are made per scope: the tasks of one family, or all, run with one budget. Budgets never mix.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis import stats
from bench.analysis.catalogue import figure
from bench.analysis.load import algorithms, final_scores, finished, floors
from bench.analysis.metrics import METRICS
from bench.analysis.runs import RunRecord
from bench.analysis.style import (
    INK,
    algo_colors,
    algo_markers,
    legend_size,
    new_figure,
)

AGGREGATES = {
    "IQM": stats.iqm,
    "mean": stats.mean,
    "median": stats.median,
    "optimality gap": stats.optimality_gap,
}
SHARE = {  # metric of the share of the modes that is solved, by protocol
    "sampled": "solved_modes",
    "commanded": "command_coverage",
}


@dataclass(frozen=True)
class Scope:
    """Tasks that may be averaged over.

    Attributes:
        name: a family, or `all tasks`; with the budget where there are several.
        frame: the evaluations of their finished runs.
    """

    name: str
    frame: pd.DataFrame


def scopes(frame: pd.DataFrame) -> list[Scope]:
    """Return all tasks of a budget first, then its families, for every budget.

    Tasks without modes are in none, and unfinished runs neither. All tasks are no scope where those
    that all algorithms have done are of one family, whose averages they would repeat.
    """
    found: list[Scope] = []
    budgets = by_budget(frame)
    for budget, part in budgets:
        tail = f", budget {budget}" if len(budgets) > 1 else ""
        families = list(part.groupby(part["family"].astype(str)))
        if shared_families(part) > 1:
            found.append(Scope(f"all tasks{tail}", part))
        found += [Scope(f"{family}{tail}", own) for family, own in families]
    return found


def by_budget(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the evaluations of finished runs on tasks with modes, by budget."""
    done = finished(frame)
    done = done[done["num_modes"] > 0] if len(done) else done
    return [(str(name), part) for name, part in done.groupby(done["budget"].astype(str))]


def shared_families(frame: pd.DataFrame) -> int:
    """Return how many families the tasks that all algorithms have done are of."""
    tasks, _ = matrices(frame, SHARE["sampled"])
    return int(frame.loc[frame["task"].isin(tasks), "family"].nunique())


def not_averaged(frame: pd.DataFrame) -> list[str]:
    """Return what no scope averages over: budgets, and families that few algorithms share."""
    budgets, notes = by_budget(frame), []
    if len(budgets) > 1:
        named = (f"{name}: {', '.join(sorted(part['task'].unique()))}" for name, part in budgets)
        notes.append(f"not averaged over budgets ({'; '.join(named)})")
    for name, part in budgets:
        if part["family"].nunique() > 1 >= shared_families(part):
            where = f", budget {name}" if len(budgets) > 1 else ""
            notes.append(f"not averaged over families{where}: no tasks of two that all have done")
    return notes


def matrices(
    frame: pd.DataFrame, metric: str, protocol: str = "sampled"
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return the tasks that all algorithms have done, and each one's scores (seeds, tasks).

    Tasks that some algorithm lacks are left out, so that all are judged on the same ones; random
    play leaves out none, but is left out itself where it lacks one. Where seeds differ in number,
    the first that all tasks have are taken.

    Args:
        frame: of `load_results`.
        metric: column of it.
        protocol: sampled | commanded.

    Raises:
        ValueError: if the runs differ in budget.
    """
    if (budgets := frame["budget"].nunique()) > 1:
        raise ValueError(f"scores of {budgets} budgets are not averaged")
    scores = final_scores(frame)
    scores = scores[(scores["protocol"] == protocol) & scores[metric].notna()]
    having = {algo: set(scores.loc[scores["algo"] == algo, "task"]) for algo in algorithms(scores)}
    judged = [own for algo, own in having.items() if algo not in floors(frame)]
    tasks = sorted(set.intersection(*(judged or having.values()))) if having else []
    found = {}
    for algo in (algo for algo, own in having.items() if tasks and own >= set(tasks)):
        part = scores[(scores["algo"] == algo) & scores["task"].isin(tasks)].sort_values("seed")
        columns = [part.loc[part["task"] == task, metric].to_numpy() for task in tasks]
        seeds = min(map(len, columns))
        found[algo] = np.stack([column[:seeds] for column in columns], axis=1)
    return tasks, found


def counted(tasks: int) -> str:
    """Return a number of tasks in words."""
    return f"{tasks} task{'s' * (tasks > 1)}"


def left_out(scope: Scope, metric: str = "solved_modes") -> list[str]:
    """Return which tasks an average leaves out, because some algorithm has not done them."""
    tasks, _ = matrices(scope.frame, metric)
    missing = sorted(set(scope.frame["task"]) - set(tasks))
    if not missing:
        return []
    return [f"{scope.name}: averages leave out {', '.join(missing)}, which not all have done"]


def points(frame: pd.DataFrame) -> pd.DataFrame:
    """Return mean success and share of modes over tasks with intervals, by algorithm and protocol.

    Both protocols are averaged over the same tasks (see `SHARE`).

    Columns: algo, protocol, tasks, seeds and for both x of modes, success: x, x_low, x_high (NaN
    for one seed).
    """
    rows, rng = [], np.random.default_rng(0)
    shared, _ = matrices(frame, SHARE["sampled"])
    frame = frame[frame["task"].isin(shared)]
    for protocol, metric in SHARE.items():
        tasks, modes = matrices(frame, metric, protocol)
        _, success = matrices(frame, "success", protocol)
        for algo in modes if tasks == shared else ():
            row = {"algo": algo, "protocol": protocol, "tasks": len(tasks),
                   "seeds": len(success[algo])}  # fmt: skip
            for name, scores in (("modes", modes), ("success", success)):
                ends = stats.interval(scores[algo], stats.mean, rng=rng)
                low, high = ends or (np.nan, np.nan)
                row |= {name: float(stats.mean(scores[algo])), f"{name}_low": low,
                        f"{name}_high": high}  # fmt: skip
            rows.append(row)
    return pd.DataFrame(rows)


@figure(
    "report", "headline", "Success against solved modes",
    "Means over tasks and seeds with 95 % intervals. Filled: solved modes where the policy is "
    "sampled; hollow: command coverage where each of its modes is commanded in turn.", place=1,
)  # fmt: skip
def headline(runs: Sequence[RunRecord], found: list[Scope]) -> Figure | None:
    """Return success against the share of modes solved, averaged over tasks, with 95 % intervals.

    One panel per scope. Filled: sampled (solved modes). Hollow: each of its modes
    commanded in turn (command coverage).
    """
    shown = [(scope, points(scope.frame)) for scope in found]
    shown = [(scope, table) for scope, table in shown if len(table)]
    if not shown:
        return None
    algos = sorted({algo for _, table in shown for algo in table["algo"]})
    colors, marks = algo_colors(algos), algo_markers(algos)
    columns = 2 if len(shown) == 4 else min(len(shown), 3)
    rows = -(-len(shown) // columns)
    width = 3.5 * columns + 0.4
    across, below = legend_size(algos, 2, width, 2 * columns)
    drawn = new_figure(width, 3.3 * rows + below)
    grid = np.ravel(drawn.subplots(rows, columns, sharex=True, sharey=True))
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    for axes, (scope, table) in zip(grid, shown, strict=False):
        for row in table.to_dict("records"):
            color, hollow = colors[row["algo"]], row["protocol"] == "commanded"
            at = row["modes"], row["success"]
            bars = [
                ([row["modes_low"], row["modes_high"]], [at[1]] * 2),
                ([at[0]] * 2, [row["success_low"], row["success_high"]]),
            ]
            for x, y in bars:
                axes.plot(x, y, color=color, lw=1.1, alpha=0.7)
            axes.plot(*at, marks[row["algo"]], ms=8, mew=1.7, color=color,
                      mfc="white" if hollow else color)  # fmt: skip
        axes.set_title(f"{scope.name} ({counted(int(table['tasks'].max()))})")
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        axes.set(xlabel="share of the modes that is solved", ylabel="success rate")
        axes.tick_params(labelbottom=True)  # also where the row below is shorter
        axes.grid(alpha=0.25)
    named = [Line2D([], [], color=colors[a], marker=marks[a], ls="", ms=7, label=a) for a in algos]
    seen = {protocol for _, table in shown for protocol in table["protocol"]}
    kinds = [
        Line2D([], [], color=INK, marker="o", ls="", ms=7, mfc=face, label=protocol)
        for protocol, face in zip(SHARE, (INK, "white"), strict=True)
        if protocol in seen
    ]
    drawn.legend(handles=named + kinds, loc="outside lower center", ncols=across)
    return drawn


@figure(
    "scope", "aggregates", "Solved modes",
    "Sampled, over tasks and seeds, with 95 % intervals by stratified bootstrap. Less is better "
    "for the optimality gap.", place=1,
)  # fmt: skip
def aggregates(frame: pd.DataFrame, metric: str = "solved_modes") -> Figure | None:
    """Return IQM, mean, median and optimality gap of a metric with 95 % intervals."""
    tasks, scores = matrices(frame, metric)
    if not tasks:
        return None
    algos, colors = list(scores), algo_colors(scores)
    drawn = new_figure(9.5, 0.3 * len(algos) + 1.0)
    rng = np.random.default_rng(0)
    for axes, (name, statistic) in zip(
        drawn.subplots(1, len(AGGREGATES), sharey=True), AGGREGATES.items(), strict=True
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
    drawn.supxlabel(f"{METRICS[metric].label}, {counted(len(tasks))}", fontsize=8.5)
    return drawn


def aggregate_table(found: list[Scope], metric: str = "solved_modes") -> pd.DataFrame:
    """Return IQM, mean, median and optimality gap with intervals, by scope and algorithm."""
    rows, rng = [], np.random.default_rng(0)
    for scope in found:
        tasks, scores = matrices(scope.frame, metric)
        for algo, own in scores.items():
            row: dict[str, str] = {
                "tasks": scope.name,
                "algorithm": algo,
                "metric": METRICS[metric].label,
            }
            for name, statistic in AGGREGATES.items():
                ends = stats.interval(own, statistic, rng=rng)
                tail = f"[{ends[0]:.2f}, {ends[1]:.2f}]" if ends else "(1 seed)"
                row[name] = f"{float(statistic(own)):.2f} {tail}"
            rows.append(row | {"number of tasks": str(len(tasks)), "seeds": str(len(own))})
    return pd.DataFrame(rows)


@figure(
    "scope", "profiles", "Performance profiles",
    "Share of the runs that solve more than a share of the modes, sampled, with 95 % intervals.",
    place=3,
)  # fmt: skip
def profiles(frame: pd.DataFrame, metric: str = "solved_modes") -> Figure | None:
    """Return performance profiles: the share of runs above every threshold, with intervals."""
    tasks, scores = matrices(frame, metric)
    if not tasks:
        return None
    drawn = new_figure(5.6, 2.9)
    axes, thresholds = drawn.subplots(), np.linspace(0, 1, 101)
    colors, rng = algo_colors(scores), np.random.default_rng(0)
    for algo, own in scores.items():
        axes.plot(thresholds, stats.performance_profile(own, thresholds), color=colors[algo],
                  lw=1.8, label=algo)  # fmt: skip
        if len(own) > 1:
            draws = stats.performance_profile_draws(own, thresholds, rng=rng)
            low, high = np.quantile(draws, [0.025, 0.975], axis=0)
            axes.fill_between(thresholds, low, high, color=colors[algo], alpha=0.15, lw=0)
    axes.set(xlabel=METRICS[metric].label, ylabel="share of runs above", xlim=(0, 1),
             ylim=(-0.02, 1.02))  # fmt: skip
    axes.grid(alpha=0.25)
    drawn.legend(fontsize=7.5, loc="outside right upper")
    return drawn


def improvement(frame: pd.DataFrame, metric: str = "solved_modes") -> pd.DataFrame:
    """Return P(row's algorithm scores higher than column's), averaged over tasks."""
    _, scores = matrices(frame, metric)
    return pd.DataFrame(stats.improvements(scores), index=list(scores), columns=list(scores))


def tests_table(
    found: list[Scope], metric: str = "solved_modes", of: str | None = None
) -> pd.DataFrame:
    """Return a permutation test of every two algorithms, corrected by Holm over the whole table.

    Random play is no claim to test and costs the others no correction. The smallest p is what so
    few seeds can reach at best, before correction.

    Args:
        found: which tasks are averaged over.
        metric: that is compared.
        of: where one algorithm was named before the runs, its comparisons alone.
    """
    rows: list[dict[str, str]] = []
    every: list[float] = []
    rng = np.random.default_rng(0)
    for scope in found:
        tasks, scores = matrices(scope.frame, metric)
        several = [a for a in scores if len(scores[a]) > 1 and a not in floors(scope.frame)]
        several.sort(key=lambda algo: algo != of)  # it comes first
        for one, other in itertools.combinations(several, 2):
            if of not in (None, one):
                continue
            x, y = scores[one], scores[other]
            p = stats.permutation_test(x, y, rng=rng)
            every.append(p)
            rows.append({
                "tasks": scope.name, "algorithm": one, "against": other,
                f"difference in {METRICS[metric].label}": f"{x.mean() - y.mean():+.2f}",
                "p": f"{p:.2g}", "p, Holm": "",
                "smallest p": f"{stats.smallest_p(len(x), len(y), len(tasks)):.2g}",
                "seeds": f"{len(x)}, {len(y)}", "number of tasks": str(len(tasks)),
            })  # fmt: skip
    for row, p in zip(rows, stats.holm(np.array(every)), strict=True):
        row["p, Holm"] = f"{p:.2g}"
    return pd.DataFrame(rows)


def improvement_table(found: list[Scope], metric: str = "solved_modes") -> pd.DataFrame:
    """Return P(row > column) as text, with its interval, by scope."""
    rows, rng = [], np.random.default_rng(0)
    for scope in found:
        _, scores = matrices(scope.frame, metric)
        if len(scores) < 2:
            continue
        for algo, x in scores.items():
            row = {"tasks": scope.name, "algorithm": algo}
            for other, y in scores.items():
                if algo != other:
                    ends = stats.improvement_interval(x, y, rng=rng, draws=500)
                    tail = f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else ""
                    row[f"> {other}"] = f"{stats.probability_of_improvement(x, y):.2f}{tail}"
            rows.append(row)
    return pd.DataFrame(rows).fillna("")


@figure(
    "scope", "improvement", "Probability of improvement",
    "Chance that a run of the row's algorithm solves more modes, sampled, than one of the "
    "column's; ties count half. Permutation tests are in the table below.", place=4,
)  # fmt: skip
def improvement_map(frame: pd.DataFrame, metric: str = "solved_modes") -> Figure | None:
    """Return the matrix of probabilities of improvement as a heat map."""
    table = improvement(frame, metric)
    if len(table) < 2:
        return None
    drawn = new_figure(0.75 * len(table) + 2.0, 0.5 * len(table) + 1.5)
    axes = drawn.subplots()
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
    axes.set_title(f"P(row > column), {METRICS[metric].label}")
    return drawn


def ablation(frame: pd.DataFrame, order: Sequence[str], labels: Sequence[str]) -> Figure:
    """Return experiments of one task, one row each: per-seed dots, mean and 95 % interval.

    Args:
        frame: of `load_results`.
        order: experiment names from top to bottom.
        labels: what to call them.
    """
    columns = [("commanded", "command_coverage", "command coverage"),
               ("commanded", "command_success", "command success"),
               ("sampled", "success", "success, sampled"),
               ("sampled", "effective_modes", "effective modes, sampled")]  # fmt: skip
    scores = final_scores(frame)
    drawn = new_figure(10, 0.36 * len(order) + 1.0)
    rng = np.random.default_rng(0)
    for axes, (protocol, metric, title) in zip(
        drawn.subplots(1, len(columns), sharey=True), columns, strict=True
    ):
        for place, name in enumerate(order):
            own = scores[(scores["experiment"] == name) & (scores["protocol"] == protocol)]
            values = own[metric].to_numpy()
            if not len(values):
                continue
            axes.plot(values, np.full(len(values), place), "o", ms=4, color="#0173b2", alpha=0.45,
                      clip_on=False)  # fmt: skip
            ends = stats.interval(values[:, None], stats.mean, rng=rng)
            if ends:
                axes.plot(ends, [place, place], color="#0173b2", lw=1.6)
            axes.plot(values.mean(), place, "D", ms=6, color="#0173b2", clip_on=False)
        axes.set_title(title)
        axes.grid(axis="x", alpha=0.25)
        axes.set_yticks(range(len(order)), labels)
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.set_xlim(left=-0.03, right=None if metric == "effective_modes" else 1.03)
    return drawn
