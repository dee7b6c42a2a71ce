"""One self-contained HTML page, and every figure and table of it as files."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import os
import shlex
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from bench.analysis import comparison, diversity, figures, stats, tables
from bench.analysis.load import LAST, RunRecord, read_runs, refusals
from bench.analysis.load import table as evaluations
from bench.analysis.style import algo_colors
from joblib import Parallel, delayed
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from plotly.offline import get_plotlyjs
from rich.table import Table

TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"
PARALLEL = 50  # runs beyond which tasks are drawn side by side
HOVERED = {  # metrics that the page's own chart can show
    "success": "success rate",
    "solved_modes": "solved modes",
    "mode_coverage": "mode coverage",
    "effective_modes": "effective modes",
    "mode_entropy": "mode entropy",
    "control_success": "control success",
    "reachable_modes": "modes reached on command",
    "return": "return",
    "coverage_return": "coverage × return",
    "length": "episode length",
}


@dataclass
class Picture:
    """A figure as the page shows it.

    Attributes:
        name: of its files beside the page, without suffix.
        title: above it.
        code: its PNG, base64.
        records: run directories that it is made from.
    """

    name: str
    title: str
    code: str
    records: list[str] = field(default_factory=list)


def write(
    results: str | Path,
    out: str | Path,
    experiment: str | None = None,
    tasks: list[str] | None = None,
    algos: list[str] | None = None,
) -> Path:
    """Write figures, tables and index.html of the records below `results`; return the page.

    Args:
        results: folder of records.
        out: folder to write; made if missing.
        experiment: only this experiment; None: all that are there.
        tasks: only these tasks.
        algos: only these algorithms.

    Raises:
        ValueError: if there are no records.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runs = read_runs(results)
    runs = [
        run for run in runs
        if (experiment is None or run.facts["experiment"] == experiment)
        and (tasks is None or run.facts["task"] in tasks)
        and (algos is None or run.facts["algo"] in algos)
    ]  # fmt: skip
    if not runs:
        raise ValueError(f"no runs below {results}")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    notes = [str(w.message) for w in caught if "passed over" in str(w.message)]
    notes += [unfinished(run) for run in runs if run.facts["status"] != "done"]
    frame = evaluations(runs)
    page: dict[str, Any] = {
        "notes": notes, "blocks": [], "overview": [], "last": LAST, "table": "", "chart": "null",
        "plotly": "", "tasks": [], "algos": [], "metrics": HOVERED,
        "command": command(results, out, experiment, tasks, algos),
    }  # fmt: skip
    if not frame.empty:
        blocked = {line.split(":")[0] for line in refusals(frame)}
        notes += [f"not compared: {line}" for line in refusals(frame)]
        comparable = frame[~frame["task"].isin(blocked)]
        if not comparable.empty:
            page |= overview(runs, comparable, out)
        parts = [
            (str(task), [r for r in runs if r.facts["task"] == task], part, out, task in blocked)
            for task, part in frame.groupby("task")
        ]
        # drawing is most of the time; a few tasks are drawn sooner than workers start
        jobs = min(len(parts), os.cpu_count() or 1) if len(runs) > PARALLEL else 1
        drawn = Parallel(n_jobs=jobs)(delayed(block)(*part) for part in parts)
        page["blocks"] = [
            {"task": part[0], "pictures": pictures}
            for part, pictures in zip(parts, drawn, strict=True)
        ]
        page |= {
            "tasks": sorted(frame["task"].unique()), "algos": sorted(frame["algo"].unique()),
            "chart": chart_data(frame), "plotly": get_plotlyjs(),
        }  # fmt: skip
        fewest = int(frame.groupby(["task", "algo"])["seed"].nunique().min())
        if note := stats.coverage_note(fewest):
            notes.append(note)
    page["manifest"] = manifest(runs)
    template = jinja2.Template(TEMPLATE.read_text(), autoescape=False)
    index = out / "index.html"
    beside = out / "index.html.tmp"  # a browser never sees half a page
    beside.write_text(template.render(page))
    beside.replace(index)
    return index


def unfinished(run: RunRecord) -> str:
    """Return how far a run that is not done has come."""
    error = run.facts.get("error") or "no error"
    steps = run.facts.get("env_steps", 0)
    return f"{run.path} is {run.facts['status']} at {steps:,} env steps ({error})"


def command(
    results: str | Path,
    out: str | Path,
    experiment: str | None,
    tasks: list[str] | None,
    algos: list[str] | None,
) -> str:
    """Return the command that writes this page again."""
    chosen = {"experiment": experiment, "task": tasks and ",".join(tasks),
              "algo": algos and ",".join(algos)}  # fmt: skip
    words = [f"results={results}", f"out={out}", *(f"{k}={v}" for k, v in chosen.items() if v)]
    return "python -m bench report " + " ".join(map(shlex.quote, words))


def overview(runs: list[RunRecord], frame: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Return the figures over all tasks and the result table, also written as files."""
    result = tables.result_table(frame)
    (out / "table.csv").write_text(result.to_csv(index=False))
    (out / "table.md").write_text(tables.markdown(result))
    (out / "table.tex").write_text(tables.latex(result))
    pictures: list[Picture | None] = []
    sources = [str(run.path) for run in runs]
    with_modes = frame[frame["num_modes"] > 0]
    if not with_modes.empty:
        made: list[tuple[str, str, Figure | None]] = [
            ("headline", "Success against mode coverage, over tasks", figures.headline(with_modes)),
            ("aggregates", "Solved modes over tasks", comparison.aggregates(with_modes)),
            ("profiles", "Performance profiles", comparison.profiles(with_modes)),
            ("improvement", "Probability of improvement", comparison.improvement_map(with_modes)),
        ]
        pictures += [draw(figure, out / name, title, sources) for name, title, figure in made]
    pictures.append(draw(diversity.speed(runs), out / "speed", "Time", sources))
    rows = [
        {"cells": list(map(str, row)), "task": row[0], "algo": row[1]}
        for row in result.to_numpy().tolist()
    ]
    return {
        "table": {"columns": list(result.columns), "rows": rows},
        "overview": [picture for picture in pictures if picture],
    }


def block(
    task: str, runs: list[RunRecord], frame: pd.DataFrame, out: Path, blocked: bool
) -> list[Picture]:
    """Return one task's figures; what its records do not hold is left out."""
    sources = [str(run.path) for run in runs]
    made: list[tuple[str, str, Figure | None]] = []
    maze = any(run.facts["task_info"].get("layout") for run in runs)
    if maze:
        made.append(("paths", "Paths of the last evaluation", figures.path_map(runs, frame)))
    if not blocked:
        made.append(("curves", "Over training", figures.curves(frame)))
    made += [
        ("survival", "When modes were found, kept and lost", diversity.survival(runs, frame)),
        ("modes", "Which modes the policy takes by itself", diversity.by_mode(runs)),
        ("control", "Commanded and obtained modes", diversity.control(runs, frame)),
    ]
    if maze and any((run.path / "exploration.npz").exists() for run in runs):
        made.append(("exploration", "Where training went", figures.exploration(runs)))
    for algo in sorted({run.facts["algo"] for run in runs}):
        own = [run for run in runs if run.facts["algo"] == algo]
        maps = next(filter(None, map(diversity.value_maps, own)), None)  # of the first that has
        tree = next(filter(None, map(diversity.cluster_tree, own)), None)
        made.append((f"values-{algo}", f"Q-functions of {algo}", maps))
        made.append((f"clusters-{algo}", f"Clusters of {algo}", tree))
    drawn = [draw(figure, out / f"{task}-{name}", title, sources) for name, title, figure in made]
    return [picture for picture in drawn if picture]


def draw(figure: Figure | None, path: Path, title: str, records: list[str]) -> Picture | None:
    """Save a figure as PNG, SVG and PDF; return it for the page, or None for none."""
    if figure is None:
        return None
    figure.draw_without_rendering()  # lays out
    figure.set_layout_engine("none")  # once for all formats: it takes longer than drawing
    for suffix in ("svg", "pdf"):
        figure.savefig(path.with_name(f"{path.name}.{suffix}"), dpi=160)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144)
    path.with_name(f"{path.name}.png").write_bytes(buffer.getvalue())
    return Picture(path.name, title, base64.b64encode(buffer.getvalue()).decode(), records)


def chart_data(frame: pd.DataFrame) -> str:
    """Return what the page's own chart needs as JSON: one entry per run and protocol."""
    colors = {algo: to_hex(color) for algo, color in
              algo_colors(sorted(frame["algo"].unique())).items()}  # fmt: skip
    keys = ["experiment", "task", "algo", "seed", "protocol"]
    lines = []
    for key, part in frame.sort_values("env_steps").groupby(keys):
        line: dict[str, Any] = dict(zip(keys, key, strict=True))
        line["seed"] = int(line["seed"])
        line["env_steps"] = part["env_steps"].astype(int).tolist()
        for metric in HOVERED:
            line[metric] = [None if math.isnan(v) else round(float(v), 4) for v in part[metric]]
        lines.append(line)
    # inside a <script> element "</" would end it
    return json.dumps({"lines": lines, "colors": colors}).replace("</", "<\\/")


def manifest(runs: list[RunRecord]) -> str:
    """Return the table of runs: where each is, how it ended and what made it."""
    rows = [
        {
            "run": f"{r.facts['experiment']}/{r.facts['task']}/{r.facts['algo']}"
                   f"/seed={r.facts['seed']}",
            "status": r.facts["status"], "budget": r.facts.get("budget"),
            "preset": r.facts.get("preset"), "env steps": f"{r.facts.get('env_steps', 0):,}",
            "minutes": f"{sum(r.facts.get('seconds', {}).values()) / 60:.1f}",
            "revision": r.facts.get("git"), "settings": r.facts.get("digest"),
            **{key: r.facts.get("versions", {}).get(key) for key in ("torch", "mujoco")},
            "record": html.escape(str(r.path)),
        }
        for r in runs
    ]  # fmt: skip
    return pd.DataFrame(rows).to_html(index=False, border=0, classes="manifest")


def summary(frame: pd.DataFrame) -> Table:
    """Return the result table for the terminal."""
    shown = Table(title=f"mean over seeds of the last {LAST} evaluations, 95 % intervals")
    if frame.empty:
        return shown
    result = tables.result_table(frame)
    columns = ["task", "algorithm", "protocol", "success", "mode coverage", "effective modes",
               "control success", "seeds", "minutes"]  # fmt: skip
    for column in columns:
        shown.add_column(column)
    for row in result[columns].to_numpy().tolist():
        shown.add_row(*map(str, row))
    return shown
