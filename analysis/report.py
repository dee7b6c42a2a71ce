"""One self-contained HTML page, and every figure and table of it as files."""

from __future__ import annotations

import base64
import html
import io
import warnings
from pathlib import Path

import jinja2
import pandas as pd
from bench.analysis import figures, stats, tables
from bench.analysis.load import LAST, RunRecord, read_runs, refusals
from bench.analysis.load import table as evaluations
from matplotlib.figure import Figure
from rich.table import Table

TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"


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
    for run in runs:
        if run.facts["status"] != "done":
            error = run.facts.get("error") or "no error"
            notes.append(f"{run.path} is {run.facts['status']} at {run.facts.get('env_steps', 0):,}"
                         f" env steps ({error})")  # fmt: skip
    frame = evaluations(runs)
    page = {"notes": notes, "blocks": [], "last": LAST, "table": "", "headline": ""}
    if not frame.empty:
        blocked = {line.split(":")[0] for line in refusals(frame)}
        notes += [f"not compared: {line}" for line in refusals(frame)]
        comparable = frame[~frame["task"].isin(blocked)]
        if not comparable.empty:
            page |= overview(comparable, out)
        page["blocks"] = [
            block(task, [r for r in runs if r.facts["task"] == task], part, out, task in blocked)
            for task, part in frame.groupby("task")
        ]
        fewest = int(frame.groupby(["task", "algo"])["seed"].nunique().min())
        if note := stats.coverage_note(fewest):
            notes.append(note)
    page["manifest"] = manifest(runs)
    template = jinja2.Template(TEMPLATE.read_text(), autoescape=False)
    index = out / "index.html"
    index.write_text(template.render(page))
    return index


def overview(frame: pd.DataFrame, out: Path) -> dict[str, str]:
    """Return the headline figure and the result table, also written as files."""
    result = tables.result_table(frame)
    (out / "table.csv").write_text(result.to_csv(index=False))
    (out / "table.md").write_text(tables.markdown(result))
    (out / "table.tex").write_text(tables.latex(result))
    shown = result.to_html(index=False, border=0, classes="results")
    picture = ""
    if frame["num_modes"].max() > 0:
        picture = embed(figures.headline(frame[frame["num_modes"] > 0]), out / "headline")
    return {"table": shown, "headline": picture}


def block(
    task: str, runs: list[RunRecord], frame: pd.DataFrame, out: Path, blocked: bool
) -> dict[str, str]:
    """Return one task's figures."""
    pictures = {"task": task, "curves": "", "paths": "", "exploration": ""}
    if not blocked:
        pictures["curves"] = embed(figures.curves(frame), out / f"{task}-curves")
    if any(run.facts["task_info"].get("layout") for run in runs):
        pictures["paths"] = embed(figures.path_map(runs, frame), out / f"{task}-paths")
        if any((run.path / "exploration.npz").exists() for run in runs):
            name = out / f"{task}-exploration"
            pictures["exploration"] = embed(figures.exploration(runs), name)
    return pictures


def embed(figure: Figure, path: Path) -> str:
    """Save a figure as PNG and PDF; return an <img> that holds the PNG."""
    figure.savefig(path.with_name(path.name + ".pdf"), dpi=200)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    path.with_name(path.name + ".png").write_bytes(buffer.getvalue())
    code = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(path.name)}" src="data:image/png;base64,{code}">'


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
