"""Figures and tables over tasks and seeds: aggregates, profiles, improvement, sample efficiency.

They are made per scope: the tasks of one family, or all, run with one budget. Budgets never mix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis import stats
from bench.analysis.load import final_scores, finished
from bench.analysis.style import INK, PROTOCOLS, algo_colors, algo_markers, new_figure

AGGREGATES = {
    "IQM": stats.iqm,
    "mean": stats.mean,
    "median": stats.median,
    "optimality gap": stats.optimality_gap,
}
ACTING = ("sampled", "commanded")  # the two protocols that the headline shows


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

    Tasks without modes are in none, and unfinished runs neither.
    """
    done = finished(frame)
    done = done[done["num_modes"] > 0] if len(done) else done
    if done.empty:
        return []
    found: list[Scope] = []
    budgets = list(done.groupby(done["budget"].astype(str)))
    for budget, part in budgets:
        tail = f", budget {budget}" if len(budgets) > 1 else ""
        families = list(part.groupby(part["family"].astype(str)))
        if len(families) > 1:
            found.append(Scope(f"all tasks{tail}", part))
        found += [Scope(f"{family}{tail}", own) for family, own in families]
    return found


def mixed_budgets(frame: pd.DataFrame) -> list[str]:
    """Return what is not averaged because budgets differ; empty where all are alike."""
    done = finished(frame)
    done = done[done["num_modes"] > 0] if len(done) else done
    if done.empty or done["budget"].nunique() < 2:
        return []
    tasks = done.groupby(done["budget"].astype(str))["task"].unique()
    named = "; ".join(f"{budget}: {', '.join(sorted(names))}" for budget, names in tasks.items())
    return [f"not averaged over budgets ({named})"]


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

    Raises:
        ValueError: if the runs differ in budget.
    """
    if (budgets := frame["budget"].nunique()) > 1:
        raise ValueError(f"scores of {budgets} budgets are not averaged")
    scores = final_scores(frame)
    scores = scores[(scores["protocol"] == protocol) & scores[metric].notna()]
    algos = sorted(scores["algo"].unique())
    having = [set(scores.loc[scores["algo"] == algo, "task"]) for algo in algos]
    tasks = sorted(set.intersection(*having)) if having else []
    found = {}
    for algo in algos if tasks else []:
        part = scores[(scores["algo"] == algo) & scores["task"].isin(tasks)].sort_values("seed")
        columns = [part.loc[part["task"] == task, metric].to_numpy() for task in tasks]
        seeds = min(map(len, columns))
        found[algo] = np.stack([column[:seeds] for column in columns], axis=1)
    return tasks, found


def left_out(scope: Scope, metric: str = "solved_modes") -> list[str]:
    """Return which tasks an average leaves out, because some algorithm has not done them."""
    tasks, _ = matrices(scope.frame, metric)
    missing = sorted(set(scope.frame["task"]) - set(tasks))
    if not missing:
        return []
    return [f"{scope.name}: averages leave out {', '.join(missing)}, which not all have done"]


def points(frame: pd.DataFrame) -> pd.DataFrame:
    """Return mean success and mode coverage over tasks with intervals, by algorithm and protocol.

    Both protocols are averaged over the same tasks.

    Columns: algo, protocol, tasks, seeds and for both metrics x: x, x_low, x_high (NaN for one
    seed).
    """
    rows, rng = [], np.random.default_rng(0)
    shared, _ = matrices(frame, "mode_coverage")
    frame = frame[frame["task"].isin(shared)]
    for protocol in ACTING:
        tasks, coverage = matrices(frame, "mode_coverage", protocol)
        _, success = matrices(frame, "success", protocol)
        for algo in coverage if tasks == shared else ():
            row = {"algo": algo, "protocol": protocol, "tasks": len(tasks),
                   "seeds": len(success[algo])}  # fmt: skip
            for metric, scores in (("mode_coverage", coverage), ("success", success)):
                ends = stats.interval(scores[algo], stats.mean, rng=rng)
                low, high = ends or (np.nan, np.nan)
                row |= {metric: float(stats.mean(scores[algo])), f"{metric}_low": low,
                        f"{metric}_high": high}  # fmt: skip
            rows.append(row)
    return pd.DataFrame(rows)


def headline(found: list[Scope]) -> Figure | None:
    """Return success against mode coverage, averaged over tasks, with 95 % intervals.

    One panel per scope. Filled: as the policy acts by itself. Hollow: each of its modes commanded
    in turn.
    """
    shown = [(scope, points(scope.frame)) for scope in found]
    shown = [(scope, table) for scope, table in shown if len(table)]
    if not shown:
        return None
    algos = sorted({algo for _, table in shown for algo in table["algo"]})
    colors, marks = algo_colors(algos), algo_markers(algos)
    columns = 2 if len(shown) == 4 else min(len(shown), 3)
    rows = -(-len(shown) // columns)
    figure = new_figure(3.5 * columns + 0.4, 3.3 * rows + 0.25 * -(-len(algos) // 6))
    grid = np.ravel(figure.subplots(rows, columns, sharex=True, sharey=True))
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    for axes, (scope, table) in zip(grid, shown, strict=False):
        for row in table.to_dict("records"):
            color, hollow = colors[row["algo"]], row["protocol"] == "commanded"
            at = row["mode_coverage"], row["success"]
            for k, metric in enumerate(("mode_coverage", "success")):
                ends = [row[f"{metric}_low"], row[f"{metric}_high"]]
                across = [at[1 - k]] * 2
                axes.plot(*((ends, across) if k == 0 else (across, ends)), color=color, lw=1.1,
                          alpha=0.7)  # fmt: skip
            axes.plot(*at, marks[row["algo"]], ms=8, mew=1.7, color=color,
                      mfc="white" if hollow else color)  # fmt: skip
        count = int(table["tasks"].max())
        axes.set_title(f"{scope.name} ({count} task{'s' * (count > 1)})")
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        axes.set(xlabel="mode coverage", ylabel="success rate")
        axes.tick_params(labelbottom=True)  # also where the row below is shorter
        axes.grid(alpha=0.25)
    named = [Line2D([], [], color=colors[a], marker=marks[a], ls="", ms=7, label=a) for a in algos]
    seen = {protocol for _, table in shown for protocol in table["protocol"]}
    kinds = [
        Line2D([], [], color=INK, marker="o", ls="", ms=7, label=protocol, mfc=face)
        for protocol, face in zip(ACTING, (INK, "white"), strict=True)
        if protocol in seen
    ]
    figure.legend(handles=named + kinds, loc="outside lower center", ncols=6)
    return figure


def aggregates(frame: pd.DataFrame, metric: str = "solved_modes") -> Figure | None:
    """Return IQM, mean, median and optimality gap of a metric with 95 % intervals."""
    tasks, scores = matrices(frame, metric)
    if not tasks:
        return None
    algos, colors = list(scores), algo_colors(scores)
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


def aggregate_table(found: list[Scope], metric: str = "solved_modes") -> pd.DataFrame:
    """Return IQM, mean, median and optimality gap with intervals, by scope and algorithm."""
    rows, rng = [], np.random.default_rng(0)
    for scope in found:
        tasks, scores = matrices(scope.frame, metric)
        for algo, own in scores.items():
            row: dict[str, str] = {
                "tasks": scope.name,
                "algorithm": algo,
                "metric": metric.replace("_", " "),
            }
            for name, statistic in AGGREGATES.items():
                ends = stats.interval(own, statistic, rng=rng)
                tail = f"[{ends[0]:.2f}, {ends[1]:.2f}]" if ends else "(1 seed)"
                row[name] = f"{float(statistic(own)):.2f} {tail}"
            rows.append(row | {"number of tasks": str(len(tasks)), "seeds": str(len(own))})
    return pd.DataFrame(rows)


def profiles(frame: pd.DataFrame, metric: str = "solved_modes") -> Figure | None:
    """Return performance profiles: the share of runs above every threshold, with intervals."""
    tasks, scores = matrices(frame, metric)
    if not tasks:
        return None
    figure = new_figure(5.6, 2.9)
    axes, thresholds = figure.subplots(), np.linspace(0, 1, 101)
    colors, rng = algo_colors(scores), np.random.default_rng(0)
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
    figure.legend(fontsize=7.5, loc="outside right upper")
    return figure


def improvement(frame: pd.DataFrame, metric: str = "solved_modes") -> pd.DataFrame:
    """Return P(row's algorithm scores higher than column's), averaged over tasks."""
    _, scores = matrices(frame, metric)
    return pd.DataFrame(stats.improvements(scores), index=list(scores), columns=list(scores))


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


def training(
    frame: pd.DataFrame, algo: str, metric: str, protocol: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return an algorithm's scores in the course of training, on every task alike.

    Tasks are given different numbers of env steps, so that scores are aligned by the share of them
    that is spent; between two evaluations the earlier one counts. Before the first mode is known
    nothing can be commanded, so nothing is solved on command: those scores are 0.

    Args:
        frame: evaluations of finished runs.
        algo: whose.
        metric: column of it, 0 where nothing is solved.
        protocol: sampled | commanded.

    Returns:
        Shares (P,) of a task's env steps, and scores (seeds, tasks, P), seeds cut to the fewest
        that a task has; both empty if the algorithm was never evaluated so.
    """
    own = frame[frame["algo"] == algo]
    own = own.assign(share=own["env_steps"] / own.groupby("task")["env_steps"].transform("max"))
    if protocol not in set(own["protocol"]):
        return np.empty(0), np.empty((0, 0, 0))
    run = ["task", "seed"]
    evaluated = own.pivot_table(index="share", columns=run, values="success").notna()
    wide = own[own["protocol"] == protocol].pivot_table(index="share", columns=run, values=metric)
    wide = wide.reindex_like(evaluated).fillna(0.0).where(evaluated).ffill().dropna()
    tasks = sorted(set(wide.columns.get_level_values(0)))
    seeds = min(wide[task].shape[1] for task in tasks)
    return wide.index.to_numpy(), np.stack(
        [wide[task].to_numpy()[:, :seeds].T for task in tasks], axis=1
    )


def efficiency(frame: pd.DataFrame, metric: str = "solved_modes") -> Figure | None:
    """Return sample efficiency: IQM over tasks and seeds in the course of training, 95 % intervals.

    Against env steps, or the share of each task's env steps where tasks differ in these.
    """
    tasks, scores = matrices(frame, metric)
    if not tasks:
        return None
    frame = frame[frame["task"].isin(tasks)]
    lengths = frame.groupby("task")["env_steps"].max()
    alike = lengths.nunique() == 1
    unit = lengths.iloc[0] / 1e6 if alike else 1.0
    figure = new_figure(5.6, 2.9)
    axes, colors, rng = figure.subplots(), algo_colors(scores), np.random.default_rng(0)
    drawn = set()
    for algo in scores:
        for protocol in ACTING:
            at, curves = training(frame, algo, metric, protocol)
            if not len(at):
                continue
            drawn.add(protocol)
            centre, ends = stats.sample_efficiency(curves, rng=rng, draws=500)
            axes.plot(at * unit, centre, color=colors[algo], lw=1.8, ls=PROTOCOLS[protocol])
            if ends:
                axes.fill_between(at * unit, *ends, color=colors[algo], alpha=0.15, lw=0)
    axes.set(xlabel="env steps (million)" if alike else "share of each task's env steps",
             ylabel=f"{metric.replace('_', ' ')}, IQM", ylim=(-0.02, 1.02))  # fmt: skip
    axes.grid(alpha=0.25)
    named = [Line2D([], [], color=colors[algo], lw=2, label=algo) for algo in scores]
    dashes = [Line2D([], [], color=INK, lw=1.2, ls=PROTOCOLS[p], label=p)
              for p in ACTING if p in drawn]  # fmt: skip
    figure.legend(handles=named + dashes, loc="outside right upper", fontsize=7.5)
    return figure
