"""One self-contained HTML page, and every figure and table of it as files."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from joblib import Parallel, delayed
from matplotlib.colors import to_hex
from plotly.offline import get_plotlyjs
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from bench import divergence
from bench.analysis import catalogue, claims, comparison, stats, survival, tables
from bench.analysis.load import LAST, final_scores, finished, floors, refusals
from bench.analysis.load import table as evaluations
from bench.analysis.metrics import METRICS
from bench.analysis.outputs import Job, Picture, draw_all, first_drawn, packed, sheet
from bench.analysis.runs import RunRecord, read_runs
from bench.analysis.style import algo_colors, algo_markers, palette
from bench.analysis.variants import KEYS, names_apart, tell_apart
from bench.known import Known
from bench.reference import REFERENCE, reference_below
from bench.storage import atomic

TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"
PARALLEL = 50  # runs beyond which tasks are drawn side by side
LISTED = 200  # runs up to which their table is plain on the page; it is packed beyond
HOVERED = {name: metric.title for name, metric in METRICS.items()}  # that the page can chart
SYMBOLS = dict(zip("osD^vP*Xp<>h", (
    "circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "x", "pentagon",
    "triangle-left", "triangle-right", "hexagon",
), strict=True))  # fmt: skip


def write(
    results: str | Path,
    out: str | Path,
    experiments: list[str] | None = None,
    tasks: list[str] | None = None,
    algos: list[str] | None = None,
) -> Path:
    """Write figures, tables and index.html of the records below `results`; return the page.

    Args:
        results: folder of records.
        out: folder to write; made if missing.
        experiments: only these experiments; None: all that are there.
        tasks: only these tasks.
        algos: only these algorithms.

    Raises:
        ValueError: if there are no records.
    """
    read = chosen(results, experiments, tasks, algos)
    return write_page(*read, out, command(results, out, experiments, tasks, algos))


def write_page(
    runs: list[RunRecord],
    notes: list[str],
    out: str | Path,
    again: str = "",
    frame: pd.DataFrame | None = None,
) -> Path:
    """Write figures, tables and index.html of runs; return the page.

    Args:
        runs: of `chosen`.
        notes: of `chosen`.
        out: folder to write; made if missing.
        again: the command that writes the page again.
        frame: the runs' evaluations, where they are known.
    """
    out, notes = Path(out), list(notes)
    out.mkdir(parents=True, exist_ok=True)
    notes += [unfinished(run) for run in runs if run.facts["status"] != "done"]
    notes += diverged(runs)
    page: dict[str, Any] = {
        "notes": notes, "blocks": [], "overview": [], "sheets": [], "last": LAST, "chart": "",
        "plotly": "", "tasks": [], "algos": [], "metrics": HOVERED, "matrix": ({}, []),
        "floors": set(), "claims": [], "manifest": manifest(runs), "packed_manifest": "",
        "command": again,
    }  # fmt: skip
    frame = evaluations(runs) if frame is None else frame
    if not frame.empty:
        page |= content(runs, frame, out, notes)
    if len(runs) > LISTED:
        page |= {"manifest": "", "packed_manifest": packed(page["manifest"])}
    template = jinja2.Template(TEMPLATE.read_text(), autoescape=True)
    index = out / "index.html"
    with atomic(index) as file:  # a browser never sees half a page
        file.write(template.render(page).encode())
    return index


def chosen(
    results: str | Path,
    experiments: list[str] | None = None,
    tasks: list[str] | None = None,
    algos: list[str] | None = None,
    known: Known | None = None,
) -> tuple[list[RunRecord], list[str]]:
    """Return the runs below `results` that are asked for (see `write`), told apart by name.

    The suite's own are left out (see `bench.reference`), unless an experiment that is asked for has
    their folder's name. What is known of records, if that is given, need not be read.

    Returns:
        The runs, and a line on each record that was skipped and each name that was split.

    Raises:
        ValueError: if there are none.
    """
    asked = experiments is not None and REFERENCE.name in experiments
    apart = None if asked else reference_below(Path(results))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runs = read_runs(results, known, apart)
    runs = [
        run for run in runs
        if (experiments is None or run.facts["experiment"] in experiments)
        and (tasks is None or run.facts["task"] in tasks)
        and (algos is None or run.facts["algo"] in algos)
    ]  # fmt: skip
    notes = [str(w.message) for w in caught if "skipped" in str(w.message)]
    if not runs:
        raise ValueError("; ".join([f"no runs below {results}", *notes]))
    runs, split = tell_apart(runs)
    return runs, notes + split


def content(
    runs: list[RunRecord], frame: pd.DataFrame, out: Path, notes: list[str]
) -> dict[str, Any]:
    """Return what the page shows of evaluations; say in `notes` what it leaves out."""
    reasons, names = refusals(frame), sorted(frame["algo"].unique())
    blocked = {line.split(":")[0] for line in reasons}
    notes += [f"not compared: {line}" for line in reasons]
    comparable = frame[~frame["task"].isin(blocked)]
    page: dict[str, Any] = {
        "tasks": sorted(frame["task"].unique()), "algos": names, "plotly": packed(get_plotlyjs()),
        "chart": packed(chart_data(frame, comparable)), "floors": floors(frame),
    }  # fmt: skip
    with palette(names):
        page |= overview(runs, comparable, out, notes)
    parts = [
        (str(task), [r for r in runs if r.facts["task"] == task], part, out, task in blocked, names)
        for task, part in frame.groupby("task")
    ]
    # drawing is most of the time; a few tasks are drawn sooner than workers start
    jobs = min(len(parts), os.cpu_count() or 1) if len(runs) > PARALLEL else 1
    drawn = Parallel(n_jobs=jobs)(delayed(block)(*part) for part in parts)
    page["blocks"] = []
    for part, (pictures, missing) in zip(parts, drawn, strict=True):
        page["blocks"].append({"task": part[0], "pictures": pictures})
        notes += missing
    done = finished(comparable)
    if not done.empty:
        seeds = done.groupby(["task", "algo"])["seed"].nunique()
        notes += filter(None, map(stats.coverage_note, sorted(set(seeds.astype(int)))))
    return page


def unfinished(run: RunRecord) -> str:
    """Return how far a run that is not done has come."""
    error = run.facts.get("error")
    why = f" ({error})" if error else ""
    state = f"{run.path} is {run.facts['status']} at {run.steps:,}"
    if target := run.facts.get("target_env_steps"):
        state += f" of {target:,}"
    return f"{state} env steps{why}: its curves are shown, it is in no table"


def diverged(runs: list[RunRecord]) -> list[str]:
    """Return what is said of evaluations whose simulation diverged: a line, or none."""
    frames = [run.episodes for run in runs if "diverged" in run.episodes]
    of = sum(map(len, frames))
    count = sum(int(frame["diverged"].eq(True).sum()) for frame in frames)
    return [divergence.text(count, of, "evaluation episodes")] if count else []


def command(
    results: str | Path,
    out: str | Path,
    experiments: list[str] | None,
    tasks: list[str] | None,
    algos: list[str] | None,
) -> str:
    """Return the command that writes this page again."""
    chosen = {"experiment": experiments, "task": tasks, "algo": algos}
    words = [f"results={results}", f"out={out}",
             *(f"{key}={','.join(names)}" for key, names in chosen.items() if names)]  # fmt: skip
    return "python -m bench report " + " ".join(map(shlex.quote, words))


def overview(
    runs: list[RunRecord], frame: pd.DataFrame, out: Path, notes: list[str]
) -> dict[str, Any]:
    """Return the figures and tables over all tasks, also written as files."""
    found = comparison.scopes(frame)
    notes += comparison.not_averaged(frame)
    done = [run for run in runs if run.facts["status"] == "done"]
    jobs = [
        Job(e.name, e.title, e.caption, partial(e.make, done, found))
        for e in catalogue.figures("report")
    ]
    for place, scope in enumerate(found):
        notes += comparison.left_out(scope)
        tail = f"-{slug(scope.name)}" if place else ""
        jobs += [
            Job(f"{e.name}{tail}", f"{e.title}: {scope.name}", e.caption,
                partial(e.make, scope.frame))
            for e in catalogue.figures("scope")
        ]  # fmt: skip
    pictures = draw_all(jobs, out, [str(run.path) for run in done], notes)
    made = [
        ("table", "Results: every metric of every task, algorithm and protocol",
         tables.result_table(frame)),
        ("aggregates", "Solved modes, averaged", comparison.aggregate_table(found)),
        ("improvement", "Probability of improvement", comparison.improvement_table(found)),
        ("tests", "Permutation tests over seeds, within tasks, with Holm's correction over the "
         "table; smallest p: what so few seeds can reach at best, uncorrected",
         comparison.tests_table(found)),
        ("survival", "Modes: when first found, whether lost", survival.survival_table(done)),
        ("settings", "Settings: what was held equal", tables.settings_table(done)),
    ]  # fmt: skip
    claimed = ("claims", "What papers claim", claims.table(runs, frame, notes))
    sheets, tested = (
        [sheet(table, out / name, title) for name, title, table in some if len(table)]
        for some in (made, [claimed])
    )
    return {
        "sheets": sheets, "claims": tested, "overview": pictures, "matrix": tables.matrix(frame),
    }  # fmt: skip


def slug(name: str) -> str:
    """Return a name as part of a file's."""
    return re.sub(r"[^\w.]+", "-", name).strip("-")


def block(
    task: str,
    runs: list[RunRecord],
    frame: pd.DataFrame,
    out: Path,
    blocked: bool,
    algos: list[str],
) -> tuple[list[Picture], list[str]]:
    """Return one task's figures, and which could not be drawn; what records lack is left out."""
    jobs = [
        Job(e.name, e.title, e.caption, partial(e.make, runs, frame))
        for e in catalogue.figures("task")
        if not (e.compares and blocked)
    ]
    notes: list[str] = []
    for algo in sorted({run.facts["algo"] for run in runs}):
        own = [run for run in runs if run.facts["algo"] == algo]
        for e in catalogue.figures("run"):
            first = partial(first_drawn, e.make, own, notes)
            name, title = f"{e.name}-{slug(algo)}", f"{e.title} of {algo}"
            jobs.append(Job(name, title, e.caption, first, algo))
    for job in jobs:
        job.name = f"{slug(task)}-{job.name}"
    with palette(algos):
        pictures = draw_all(jobs, out, [str(run.path) for run in runs], notes)
    return pictures, notes


def chart_data(frame: pd.DataFrame, comparable: pd.DataFrame) -> str:
    """Return what the page's own charts need as JSON.

    Args:
        frame: all evaluations: `lines` has one entry per run and protocol, and `scores` by metric
            the values of all lines one after the other, which packs to a third.
        comparable: those of tasks that may be compared: `points` has one entry per finished run
            and protocol, its score.
    """
    algos = sorted(frame["algo"].unique())
    colors, markers = algo_colors(algos), algo_markers(algos)
    keys = ["experiment", "task", "algo", "seed", "protocol"]
    rounded = frame.assign(**frame[list(HOVERED)].round(4)).sort_values("env_steps")
    lines = []
    values: dict[str, list[Any]] = {metric: [] for metric in HOVERED}
    for key, part in rounded.groupby(keys):
        line: dict[str, Any] = dict(zip(keys, key, strict=True))
        line |= {"seed": int(line["seed"]), "env_steps": part["env_steps"].astype(int).tolist()}
        for metric, own in values.items():
            own += known(part[metric].tolist())
        lines.append(line)
    done, points = finished(comparable), []
    if not done.empty:
        scores = final_scores(done)[[*keys, "env_steps", *HOVERED]].round(4)
        points = [dict(zip(row, known(list(row.values())), strict=True))
                  for row in scores.to_dict("records")]  # fmt: skip
    data = {
        "lines": lines, "scores": values, "points": points,
        "colors": {a: to_hex(c) for a, c in colors.items()},
        "symbols": {a: SYMBOLS[mark] for a, mark in markers.items()},
    }  # fmt: skip
    return json.dumps(data, separators=(",", ":"))


def known(values: list[Any]) -> list[Any]:
    """Return values with None for NaN, which JSON does not have."""
    return [None if isinstance(v, float) and math.isnan(v) else v for v in values]


def manifest(runs: list[RunRecord]) -> str:
    """Return the table of runs: where each is, how it ended and what made it."""
    rows = [
        {
            "run": f"{r.facts['experiment']}/{r.facts['task']}/{r.facts['algo']}"
                   f"/seed={r.facts['seed']}",
            "status": r.facts["status"], "budget": r.facts.get("budget"),
            "preset": r.facts.get("preset"), "env steps": f"{r.steps:,}",
            "minutes": f"{sum(r.facts.get('seconds', {}).values()) / 60:.1f}",
            "revision": r.facts.get("git"), "settings": r.facts.get("digest"),
            **{key: r.facts.get("versions", {}).get(key) for key in ("torch", "mujoco")},
            "record": str(r.path),
        }
        for r in runs
    ]  # fmt: skip
    table = pd.DataFrame(rows).to_html(index=False, border=0, classes="manifest")
    return re.sub(r"\n\s*", "\n", table)  # indentation is a third of it


def summary(frame: pd.DataFrame) -> Table:
    """Return the result table for the terminal."""
    shown = Table(
        title=f"mean over seeds of the last evaluations, up to {LAST}, 95 % intervals",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    if frame.empty:
        return shown
    known = zip(*(frame[key] for key in (*KEYS, "seed")), [""] * len(frame), strict=True)
    frame = frame.assign(algo=names_apart(known))
    blocked = {line.split(":")[0] for line in refusals(frame)}
    if blocked:
        shown.caption = f"not compared: {escape(', '.join(sorted(blocked)))}; the page says why"
    result = tables.result_table(frame[~frame["task"].isin(blocked)])
    if result.empty:
        return shown
    metrics = ("success", "mode_coverage", "effective_modes", "command_coverage")
    labels = [METRICS[name].label for name in metrics if METRICS[name].label in result]
    columns = ["task", "algorithm", "protocol", *labels, "seeds"]
    for column in columns:
        longest = max(map(len, column.split()))
        shown.add_column(column, overflow="fold", min_width=longest)
    for row in result[columns].to_numpy().tolist():
        # the column of seeds says it; brackets in a name are no markup
        cells = (escape(str(cell)).replace(" (1 seed)", "") for cell in row)
        shown.add_row(*(cell.replace(" [", "\n[") for cell in cells))  # an interval in one piece
    return shown
