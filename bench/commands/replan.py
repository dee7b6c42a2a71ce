"""Meet obstacles that a trained policy has never seen.

  python -m bench replan RUN_DIR [layout=NAME or "['#####','#R.G#','#####']"] [episodes=50]
                                 [horizon=4] [window=0] [seed=0] [plugins=[MODULE,...]]

A policy that takes commands follows its modes, that with the shortest known successes first. When
an agent has moved less than half a cell within `window` steps (0: a tenth of the task's horizon),
or a mode takes 1.5 x its usual length, the next is commanded from where the agent stands. Other
policies keep sampling. An episode lasts `horizon` x the task's horizon. Without `layout`, the
task's own variants are met. Writes RUN_DIR/replan/: replan.json and a figure of the paths.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from bench.analysis.pictures import Panel, paths_by_group
from bench.api import Task
from bench.configuration import names
from bench.divergence import silence_mujoco, tell
from bench.errors import UsageError
from bench.policy import load_policy, load_task
from bench.printing import show
from bench.records import atomic
from bench.replanning import Outcome, make_plan, replan
from bench.settings import check_writable
from bench.storage import tell_unchecked
from bench.words import integer, one_run, parse, seed_of

LONGEST = 1000  # times the task's horizon


def main(words: list[str]) -> int:
    """Print success, switches and steps to success per variant; write the same, and a figure."""
    if not words or {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    defaults = {
        "layout": "",
        "episodes": "50",
        "horizon": "4",
        "window": "0",
        "seed": "0",
        "plugins": "",
    }
    plain, values = parse(words, defaults)
    folder = one_run("replan", plain)
    out = Path(folder) / "replan"
    check_writable(out, "replan")
    episodes = integer("episodes", values["episodes"])
    factor = integer("horizon", values["horizon"], most=LONGEST)
    seed, window = seed_of(values["seed"]), integer("window", values["window"], 0)
    plugins = names(values["plugins"])
    policy, known = load_policy(folder, plugins=plugins), load_task(folder, plugins)
    tell_unchecked(Path(folder))
    tasks = {
        name: load_task(folder, plugins, layout=layout, horizon=factor * known.horizon)
        for name, layout in layouts(values["layout"], known).items()
    }
    silence_mujoco()
    plan = make_plan(folder, policy, known, window)
    lines, panels, diverged = [], [], []
    for name, task in tasks.items():
        outcome = replan(policy, task, plan, episodes, seed)
        diverged += outcome.diverged.tolist()
        line = summary(name, task, outcome)
        lines.append(line)
        panels.append(
            Panel(f"{name}: {line['success']:.0%}", task.layout or (), task.cell or 1.0,
                  outcome.paths, outcome.commands, outcome.success)
        )  # fmt: skip
    out.mkdir(exist_ok=True)
    facts = {
        "horizon": factor * known.horizon, "window": plan.window, "progress": plan.progress,
        "seed": seed, "order": plan.order.tolist(), "variants": lines,
    }  # fmt: skip
    with atomic(out / "replan.json") as file:
        file.write(json.dumps(facts, indent=1).encode())
    paths_by_group(panels, "mode").savefig(out / "replan.png", dpi=160)
    show(table_of(folder, lines))
    tell(diverged)
    print(f"Figure and numbers: {out}")
    return 0


def layouts(word: str, task: Task) -> dict[str, list[str]]:
    """Return the layouts to meet by name: those of the word, or the task's own variants.

    Raises:
        UsageError: if the task has no layout, or no variants and none is given, or it is no list.
    """
    if task.layout is None:
        raise UsageError(f"replan: task {task.name!r} has no layout to put obstacles in")
    if not word:
        if not task.variants:
            raise UsageError(f"replan: no variants of {task.name!r} are known; give layout=")
        return {name: [name] for name in task.variants}
    if not word.startswith("["):
        return {name: [name] for name in word.split(",")}
    try:
        rows = ast.literal_eval(word)
    except (SyntaxError, ValueError):
        rows = None
    if not (isinstance(rows, list) and rows and all(isinstance(row, str) for row in rows)):
        raise UsageError(f"layout={word}: valid are a known name or a list of rows")
    return {"your layout": rows}


def summary(name: str, task: Task, outcome: Outcome) -> dict[str, Any]:
    """Return one variant's numbers; steps are those of the successes, None without any."""
    steps = outcome.length[outcome.success]
    return {
        "variant": name,
        "layout": list(task.layout or ()),
        "episodes": len(outcome.success),
        "success": float(outcome.success.mean()),
        "switches": float(outcome.switches.mean()),
        "steps_to_success": float(np.mean(steps)) if len(steps) else None,
    }


def table_of(title: str, lines: list[dict[str, Any]]) -> Table:
    """Return the numbers as a table."""
    table = Table("variant", "episodes", "success", "switches", "steps to success", title=title)
    for line in lines:
        steps = line["steps_to_success"]
        table.add_row(
            line["variant"], str(line["episodes"]), f"{line['success']:.0%}",
            f"{line['switches']:.1f}", "–" if steps is None else f"{steps:.0f}",
        )  # fmt: skip
    return table
