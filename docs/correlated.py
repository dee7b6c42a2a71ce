"""Measure what committed policies do where their draws last from step to step.

  python -m docs.correlated [episodes=200] [run=true]

Plays every policy that the campaign keeps of mazes, ants and arms as `python -m bench eval RUN_DIR
correlation=RHO` does, by itself. What is known of the same policy is not played again, what is
known of others goes; `run=false` plays nothing. Writes results/reference/correlated.csv, and from
it the tables and the figure of docs/correlated.md.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

import bench.algos
from bench.analysis import metrics, tables
from bench.analysis.load import load_results
from bench.analysis.style import algo_colors, algo_markers, new_figure, palette
from bench.divergence import silence_mujoco
from bench.evaluation import FREE, Protocol, evaluate
from bench.policy import load_policy, load_task
from bench.settings import cores
from bench.words import integer, parse
from docs.marks import write
from docs.studies import start

CAMPAIGN = Path("results/reference/campaign")
BLOCKS = ("classes", "mazes", "ants")
RECORD = Path("results/reference/correlated.csv")
PAGE, SCRIPT = "docs/correlated.md", "docs.correlated"
CORRELATIONS = (0.0, 0.5, 0.9, 0.99)
SHOWN = ("pointmaze-v1", "pointmaze-v3", "reach")  # in the figure: where every class was trained
UNTOUCHED = 2**41  # counts as env steps, so that its seeds are those of no evaluation
KEYS = ["task", "algo", "seed"]
COLUMNS = [*KEYS, "policy", "correlation", "modes", "mode", "episodes"]
MORE = 0.05  # effective modes, and share of successes: what counts as a difference
PERMUTATIONS = 2000


def policies() -> Iterator[Path]:
    """Yield the run directories with a policy of the suite's own algorithms."""
    for block in BLOCKS:
        for path in sorted((CAMPAIGN / block).glob("*/*/seed=*/policy.pt")):
            if path.parts[-3] in bench.algos.discover():
                yield path.parent


def place_of(run: Path) -> tuple[str, str, int, str]:
    """Return a policy's task, algorithm, seed and the beginning of its file's digest."""
    task, algo, seed = run.parts[-3:]
    digest = hashlib.sha256((run / "policy.pt").read_bytes()).hexdigest()
    return task, algo, int(seed.removeprefix("seed=")), digest[:8]


def play(run: Path, correlation: float, episodes: int) -> pd.DataFrame:
    """Return how many episodes ended in each mode, `other` or `failure`, a row each."""
    place = place_of(run)
    policy, played = load_policy(run), load_task(run)
    protocol = Protocol("sampled", np.full(episodes, FREE), correlation=correlation)
    rows, _ = evaluate(policy.algo, played, protocol, seed=place[2], env_steps=UNTOUCHED,
                       threads=cores(), device="cpu")  # fmt: skip
    counts = Counter(row["mode_name"] for row in rows)
    return pd.DataFrame(
        [(*place, correlation, len(played.modes), *one) for one in counts.items()],
        columns=COLUMNS,
    )


def measure(episodes: int) -> None:
    """Play what is not known yet, and keep it."""
    silence_mujoco()
    known = pd.read_csv(RECORD, dtype={"policy": str}) if RECORD.exists() else None
    played = {} if known is None else dict(list(known.groupby([*KEYS, "policy", "correlation"])))
    found: list[pd.DataFrame] = []
    for run in policies():
        for correlation in CORRELATIONS:
            before = played.get((*place_of(run), correlation))
            if before is None or before["episodes"].sum() != episodes:
                before = play(run, correlation, episodes)
            found.append(before)
    pd.concat(found).sort_values(COLUMNS[:-1]).to_csv(RECORD, index=False)


def named(own: pd.DataFrame) -> np.ndarray:
    """Return how many episodes ended in each named mode that there was one in, (n,)."""
    return own.loc[~own["mode"].isin(["other", "failure"]), "episodes"].to_numpy()


def effective(counts: np.ndarray) -> np.ndarray:
    """Return effective modes of counts (..., n), as everywhere (docs/metrics.md)."""
    return np.where(counts.sum(axis=-1) > 0, np.exp(metrics.entropy(counts)), 0.0)


def scores(found: pd.DataFrame) -> pd.DataFrame:
    """Return effective modes and success of each policy and correlation."""
    rows = []
    for key, own in found.groupby([*KEYS, "correlation"]):
        count = own.set_index("mode")["episodes"]
        rows.append({
            **dict(zip([*KEYS, "correlation"], key, strict=True)), "of": int(own["modes"].iloc[0]),
            "effective": float(effective(named(own))),
            "successes": int(count.sum() - count.get("failure", 0)),
            "other": int(count.get("other", 0)), "episodes": int(count.sum()),
        })  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(success=table["successes"] / table["episodes"])


def chance(before: pd.DataFrame, after: pd.DataFrame) -> float:
    """Return how often as many effective modes are gained where episodes change their sides.

    A permutation test, one-sided, on the successes in named modes of two sets of episodes.
    """
    modes = sorted({*before["mode"], *after["mode"]} - {"other", "failure"})
    counts = [own.set_index("mode")["episodes"].reindex(modes, fill_value=0).to_numpy()
              for own in (before, after)]  # fmt: skip
    gained = effective(counts[1]) - effective(counts[0])
    rng = np.random.default_rng(0)
    first = rng.multivariate_hypergeometric(sum(counts), int(counts[0].sum()), PERMUTATIONS)
    return float((effective(sum(counts) - first) - effective(first) >= gained - 1e-9).mean())


def summary(found: pd.DataFrame) -> str:
    """Return by correlation how many policies of point mazes and arms gain modes or lose success.

    What takes one way or none cannot lose one, and so counts apart.
    """
    found = found[~found["task"].str.startswith("antmaze")]
    every = scores(found).pivot_table(index=KEYS, columns="correlation")
    modes, successes, episodes = every["effective"], every["successes"], every["episodes"]
    several = modes[0.0] > 1
    of = {key: own for key, own in found.groupby([*KEYS, "correlation"])}
    rows = []
    for rho in CORRELATIONS[1:]:
        gain = modes[rho] - modes[0.0]
        certain = sum(
            chance(of[*key, 0.0], of[*key, rho]) < 0.05 for key in gain[gain > MORE].index
        )
        less = (successes[0.0] - successes[rho]) / episodes[0.0]
        rows.append({
            "rho": f"{rho:g}",
            f"more modes, of {several.sum()} with several":
                f"{(gain[several] > MORE).sum()} (fewer: {(gain[several] < -MORE).sum()})",
            f"of {(~several).sum()} with one or none": str((gain[~several] > MORE).sum()),
            "of all, beyond chance": str(certain),
            "less success": str((less > MORE + 1e-9).sum()),
            "more success": str((less < -MORE - 1e-9).sum()),
        })  # fmt: skip
    return tables.markdown(pd.DataFrame(rows))


def table(found: pd.DataFrame) -> str:
    """Return a row per algorithm: of each task effective modes by correlation, and success."""
    of = found.groupby("task")["of"].first()
    rows = []
    for algo, own in found.groupby("algo"):
        row = {"algorithm": algo}
        for task in of.index:
            means = own[own["task"] == task].groupby("correlation")[["effective", "success"]].mean()
            row[f"{task}, of {of[task]}"] = " / ".join(
                f"{line.effective:.2f} ({line.success:.2f})" for line in means.itertuples()
            ) or "–"  # fmt: skip
        rows.append(row)
    return tables.markdown(pd.DataFrame(rows))


def agreement(found: pd.DataFrame) -> str:
    """Return how well a policy's actions where ways part foretell what it gains, by task.

    The rank correlation over classes, and its p-value, of the branch entropy at the end of training
    with the effective modes that are gained by a correlation; over all, and over those whose
    actions are undecided at all.
    """
    frame = load_results(CAMPAIGN / BLOCKS[0])
    probed = frame[(frame["protocol"] == "sampled") & frame["branch_entropy"].notna()]
    last = probed.sort_values("env_steps").groupby(KEYS)["branch_entropy"].last()
    modes = found.pivot_table(index=KEYS, columns="correlation", values="effective")
    both = modes.join(last, how="inner")
    rows = []
    for task, own in both.groupby("task"):
        undecided = own[own["branch_entropy"] > MORE]
        for name, those in (("all", own), ("undecided", undecided)):
            row = {"task": task, "policies": f"{len(those)}, {name}"}
            for rho in CORRELATIONS[1:]:
                of = spearmanr(those["branch_entropy"], those[rho] - those[0.0])
                row[f"rho = {rho:g}"] = f"{of.statistic:.2f} (p = {of.pvalue:.1g})"
            rows.append(row)
    return tables.markdown(pd.DataFrame(rows))


def figure(found: pd.DataFrame) -> Figure:
    """Return effective modes by correlation, a panel per task and a line per algorithm."""
    drawn = new_figure(3.0 * len(SHOWN) + 1.4, 3.0)
    algos = sorted(found["algo"].unique())
    with palette(algos):
        colors, markers = algo_colors(algos), algo_markers(algos)
        for axes, task in zip(drawn.subplots(1, len(SHOWN)), SHOWN, strict=True):
            for algo in algos:
                own = found[(found["task"] == task) & (found["algo"] == algo)]
                mean = own.groupby("correlation")["effective"].mean()
                axes.plot(range(len(mean)), mean, color=colors[algo], marker=markers[algo],
                          ms=4, lw=1.2, label=algo)  # fmt: skip
            axes.set_xticks(range(len(CORRELATIONS)), [f"{rho:g}" for rho in CORRELATIONS])
            axes.set_title(task)
            axes.grid(alpha=0.25)
    first = drawn.axes[0]
    first.set_ylabel("effective modes, sampled")
    drawn.supxlabel("correlation of a policy's draws from step to step", fontsize=8)
    drawn.legend(*first.get_legend_handles_labels(), loc="outside right center", fontsize=6)
    return drawn


def main(words: list[str]) -> int:
    """Play, keep the record, write the table and the figure."""
    _, values = parse(words, {"episodes": "200", "run": "true"})
    if values["run"] == "true":
        measure(integer("episodes", values["episodes"]))
    played = pd.read_csv(RECORD, dtype={"policy": str})
    found = scores(played)
    write(PAGE, "summary", summary(played), SCRIPT)
    write(PAGE, "correlated", table(found), SCRIPT)
    write(PAGE, "agreement", agreement(found), SCRIPT)
    figure(found).savefig("docs/correlated.png", dpi=110)
    return 0


if __name__ == "__main__":
    start(main)
