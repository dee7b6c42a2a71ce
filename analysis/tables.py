"""The tables of results and settings, as data, Markdown and LaTeX."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis import stats
from bench.analysis.comparison import SHARE
from bench.analysis.load import algorithms, final_scores, finished
from bench.analysis.metrics import METRICS
from bench.analysis.runs import RunRecord

SETTINGS = {  # that a fair comparison holds equal, by their keys in config.yaml
    "algo.novelty.kind": "kind of bonus",
    "algo.novelty.coef": "novelty bonus",
    "algo.novelty.anneal": "bonus falls to 0 within (env steps)",
    "algo.novelty.rare": "share of rows drawn by rarity",
    "algo.explorer.scale": "bonus of what explores, times",
    "algo.exploration.warmup": "random exploration (env steps)",
    "algo.critic.kind": "critic",
    "algo.critic.hidden": "critic layers",
    "algo.n_step": "n-step",
    "algo.gamma": "discount",
    "algo.batch": "batch",
    "algo.success_share": "share of successes in it",
    "algo.replay": "replay",
    "algo.tau": "rate of target networks",
    "algo.updates": "updates per vector step",
    "num_envs": "environments",
    "algo.act_candidates": "candidates in evaluation",
}

AS_SPECIFIED = ("success", "solved_modes")  # shown beside what is sampled, where a source says how

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins so is one to a spreadsheet

SPECIAL = {mark: f"\\{mark}" for mark in "_%&#${}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    ">": "$>$", "<": "$<$", "–": "--",
}  # fmt: skip


def result_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per task, algorithm and protocol; cells are `mean [low, high]`.

    With one seed there is no interval: the cell says `1 seed` in its place. Only finished runs
    have a score, and a metric that none of them defines has no column. What the protocol
    `specified` gives stands beside what is sampled, in columns of its own, `–` for algorithms whose
    source acts by a plain sample too.
    """
    done = finished(frame)
    if done.empty:
        return pd.DataFrame()
    scores = final_scores(done)
    apart = scores["protocol"] == "specified"
    specified, scores = scores[apart], scores[~apart]
    defined = {name: metric.label for name, metric in METRICS.items() if scores[name].notna().any()}
    rows = []
    for (task, algo, protocol), part in scores.groupby(["task", "algo", "protocol"]):
        row = {"task": task, "algorithm": algo, "protocol": protocol}
        for name, label in defined.items():
            row[label] = cell(part[name].dropna().to_numpy())
        own = specified[(specified["task"] == task) & (specified["algo"] == algo)]
        for name in (name for name in AS_SPECIFIED if specified[name].notna().any()):
            beside = cell(own[name].dropna().to_numpy()) or "–"
            row[f"{METRICS[name].label}, as specified"] = beside if protocol == "sampled" else ""
        row |= {
            "modes": f"{part['num_modes'].iloc[0]:.0f}",
            "seeds": str(len(part)),
            "env steps": f"{part['env_steps'].max():,.0f}",
            "minutes": f"{part['minutes'].mean():.1f}",
        }
        rows.append(row)
    order = algorithms(done)
    rows.sort(key=lambda row: (row["task"], order.index(str(row["algorithm"])), row["protocol"]))
    return pd.DataFrame(rows)


def matrix(frame: pd.DataFrame) -> tuple[dict[str, list[str]], list[dict[str, Any]]]:
    """Return the share of modes that every algorithm solves on every task (see `SHARE`).

    Tasks that random play alone has done are left out, where there is another.

    Returns:
        The protocols of every algorithm, random play last; and a row per task: its name, number of
        modes and cells, for every algorithm and protocol the mean over seeds (None where nothing
        was run) and a text with its interval, tasks with most of them first. Both empty without
        finished runs.
    """
    done = finished(frame)
    done = done[done["num_modes"] > 0] if len(done) else done
    if done.empty:
        return {}, []
    learned = set(done.loc[~done["floor"].astype(bool), "task"])
    done = done[done["task"].isin(learned)] if learned else done
    scores = final_scores(done)
    measured = set(zip(scores["algo"], scores["protocol"], strict=True))
    columns = {a: [p for p in SHARE if (a, p) in measured] for a in algorithms(done)}
    rows: list[dict[str, Any]] = []
    for task, part in scores.groupby("task"):
        cells = []
        for algo, protocol in ((a, p) for a, protocols in columns.items() for p in protocols):
            own = part[(part["algo"] == algo) & (part["protocol"] == protocol)]
            values, label = own[SHARE[protocol]].to_numpy(), METRICS[SHARE[protocol]].label
            seeds = f", {len(values)} seeds" if len(values) > 1 else ""
            cells.append({
                "algo": algo, "protocol": protocol,
                "mean": float(values.mean()) if len(values) else None,
                "text": f"{algo}, {protocol}: {label} {cell(values) or 'not run'}{seeds}",
            })  # fmt: skip
        rows.append({"task": task, "modes": int(part["num_modes"].iloc[0]), "cells": cells})
    rows.sort(key=lambda row: sum(one["mean"] is None for one in row["cells"]))
    return columns, rows


def settings_table(runs: list[RunRecord]) -> pd.DataFrame:
    """Return what every algorithm ran with, a row per task and algorithm.

    Where runs of one row differ the values are listed; `–` is a setting that an algorithm lacks.
    """
    rows: dict[tuple[str, str], dict[str, list[str]]] = {}
    for run in runs:
        row = rows.setdefault((run.facts["task"], run.facts["algo"]), {})
        for key, title in SETTINGS.items():
            value, values = str(run.settings.get(key, "–")), row.setdefault(title, [])
            if value not in values:
                values.append(value)
    return pd.DataFrame([
        {"task": task, "algorithm": algo} | {title: " | ".join(v) for title, v in row.items()}
        for (task, algo), row in sorted(rows.items())
    ])  # fmt: skip


def cell(values: np.ndarray) -> str:
    """Return the mean over seeds with its interval, or `1 seed`, or nothing for no value.

    The draws begin anew for every cell, so that no other row of a table changes its interval.
    """
    if not len(values):
        return ""
    ends = stats.interval(values[:, None], stats.mean, rng=np.random.default_rng(0))
    tail = f"[{ends[0]:.2f}, {ends[1]:.2f}]" if ends else "(1 seed)"
    return f"{values.mean():.2f} {tail}"


def markdown(table: pd.DataFrame) -> str:
    """Return a Markdown table."""

    def escape(value: object) -> str:
        text = " ".join(str(value).split())  # a row is one line
        text = re.sub(r"[\\`*|]", r"\\\g<0>", text).replace("<", "&lt;")
        return text.replace("](", r"]\(")  # no link

    rows = [list(table.columns), *table.to_numpy().tolist()]
    lines = [[escape(value) for value in row] for row in rows]
    lines.insert(1, ["---"] * len(table.columns))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def csv(table: pd.DataFrame) -> str:
    """Return a CSV in which no cell is a formula to a spreadsheet: text that begins like one is
    text, after an apostrophe; numbers stay as they are.
    """

    def plain(value: object) -> object:
        if not isinstance(value, str) or not value.startswith(FORMULA):
            return value
        try:
            float(value)
        except ValueError:
            return f"'{value}"
        return value

    return table.map(plain).rename(columns=plain).to_csv(index=False)


def latex(table: pd.DataFrame) -> str:
    """Return a LaTeX table in booktabs style."""

    def escape(value: object) -> str:
        text = " ".join(str(value).split())  # an empty line would end the table
        return "".join(SPECIAL.get(mark, mark) for mark in text)

    body = [" & ".join(map(escape, row)) + r" \\" for row in table.to_numpy().tolist()]
    return "\n".join([
        rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}", r"\toprule",
        " & ".join(map(escape, table.columns)) + r" \\", r"\midrule", *body, r"\bottomrule",
        r"\end{tabular}", "",
    ])  # fmt: skip
