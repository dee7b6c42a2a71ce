"""Draw the README's figures and write the tables of README and docs, from results/reference alone.

python -m docs.write_results
"""

from pathlib import Path

import numpy as np
import pandas as pd
from bench.analysis import figures, tables
from bench.analysis.load import RunRecord, final_scores, read_runs, table

REFERENCE = Path("results/reference")
FOLDERS = ("quick", "hour")
FAMILIES = ("pointmaze", "manipulation", "antmaze")  # from top to bottom
SHOWN = ("ddiffpg", "sac")  # in the figure and on every task
COMMON = ("pointmaze-v1", "pointmaze-v3", "reach")  # tasks of every algorithm
DRAWN = COMMON[1]  # with every algorithm
GROUND = {"known-ground": "Pendulum-v1", "hopper": "Hopper-v5"}
HEAD = ("task", "algorithm", "seeds", "modes reached on command", "command success",
        "success, sampled", "modes found, sampled", "effective modes, sampled")  # fmt: skip


def done(folder: str) -> list[RunRecord]:
    """Return an experiment's finished runs."""
    return [r for r in read_runs(REFERENCE / folder) if r.facts["status"] == "done"]


def lines(folder: str) -> list[list[str]]:
    """Return the rows of one experiment's runs of the algorithms that are shown everywhere."""
    runs = [r for r in done(folder) if r.facts["algo"] in SHOWN]
    scores, rng = final_scores(table(runs)), np.random.default_rng(0)
    rows = []
    for (task, algo), part in scores.groupby(["task", "algo"]):
        told, free = (part[part["protocol"] == p] for p in ("commanded", "sampled"))
        modes = int(free["num_modes"].iloc[0])
        name = str(task) if folder == FOLDERS[0] else f"{task} ({folder})"
        reached = f"{told['reachable_modes'].mean():.1f} of {modes}"
        rows.append([
            name, str(algo), str(len(free)), "–" if told.empty else reached,
            tables.cell(told["control_success"].dropna().to_numpy(), rng) or "–",
            tables.cell(free["success"].to_numpy(), rng),
            f"{free['modes_found'].mean():.1f} of {modes}",
            tables.cell(free["effective_modes"].to_numpy(), rng),
        ])  # fmt: skip
    return rows


def results() -> pd.DataFrame:
    """Return the table of every task."""
    rows = [row for folder in FOLDERS for row in lines(folder)]
    rows.sort(
        key=lambda row: FAMILIES.index(
            row[0].split("-v")[0] if "maze" in row[0] else "manipulation"
        )
    )
    return pd.DataFrame(rows, columns=list(HEAD))


def policies() -> pd.DataFrame:
    """Return the table of every algorithm: bandit and common tasks."""
    runs = [r for r in done(FOLDERS[0]) if r.facts["task"] in COMMON]
    classes = {r.facts["algo"]: r.facts["algo_info"]["policy"] for r in runs}
    scores = final_scores(table(runs))
    bandit = pd.read_csv(REFERENCE / "bandit" / "bandit.csv").set_index(["algo", "case"])["kept"]
    cases = list(dict.fromkeys(bandit.index.get_level_values("case")))
    rows = []
    for algo, policy in sorted(classes.items()):
        row = {"algorithm": algo, "policy class": policy}
        row["bandit"] = (
            " / ".join(str(bandit[algo, case]) for case in cases) if algo in bandit else "–"
        )
        for task in COMMON:
            part = scores[(scores["task"] == task) & (scores["algo"] == algo)]
            row[task] = ways(part) if len(part) else "–"
        rows.append(row)
    return pd.DataFrame(rows)


def ways(part: pd.DataFrame) -> str:
    """Return how many modes one algorithm finds on one task, and how often it succeeds."""
    told, free = (part[part["protocol"] == p] for p in ("commanded", "sampled"))
    text = f"{free['modes_found'].mean():.1f}"
    if len(told):
        text += f" (told {told['reachable_modes'].mean():.1f})"
    text += f" of {int(free['num_modes'].iloc[0])}, {free['success'].mean():.2f}"
    seeds = {1: " (1 seed)", 2: " (2 seeds)"}
    return text + seeds.get(len(free), "")


def ground() -> pd.DataFrame:
    """Return the table of known ground: the return at the last evaluation, by algorithm."""
    rows: dict[str, dict[str, str]] = {}
    for folder, task in GROUND.items():
        runs = done(folder)
        if not runs:
            continue
        frame = table(runs)
        frame = frame[(frame["protocol"] == "sampled")]
        last = frame[
            frame["env_steps"] == frame.groupby(["algo", "seed"])["env_steps"].transform("max")
        ]
        for algo, part in last.groupby("algo"):
            rows.setdefault(str(algo), {})[task] = spread(part["return"])
        theirs = REFERENCE / folder / "stable-baselines3.csv"
        if theirs.exists():
            for algo, part in pd.read_csv(theirs).groupby("algo"):
                rows.setdefault(f"{algo} (Stable-Baselines3)", {})[task] = spread(part["return"])
    frame = pd.DataFrame.from_dict(rows, orient="index").fillna("–").sort_index()
    return frame.rename_axis("algorithm").reset_index()


def spread(values: pd.Series) -> str:
    """Return mean and range over seeds."""
    if len(values) == 1:
        return f"{values.iloc[0]:.0f} (1 seed)"
    return f"{values.mean():.0f} ({values.min():.0f} to {values.max():.0f}, {len(values)} seeds)"


def write(path: str, name: str, text: str) -> None:
    """Put a text between the marks of that name in a Markdown file."""
    begin, end = f"<!-- {name}: python -m docs.write_results -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = Path(path).read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{path} has no marks for {name}")
    Path(path).write_text(before + begin + text + end + after)


def main() -> None:
    """Draw the figures and write the tables."""
    shown = [r for r in done(FOLDERS[0])
             if r.facts["family"] == "pointmaze" and r.facts["algo"] in SHOWN]  # fmt: skip
    figures.hero(shown, table(shown)).savefig("docs/hero.png", dpi=110)
    every = [r for r in done(FOLDERS[0]) if r.facts["task"] == DRAWN]
    figures.path_map(every, table(every)).savefig("docs/policies.png", dpi=80)
    write("README.md", "results", tables.markdown(results()))
    write("README.md", "policies", tables.markdown(policies()))
    write("docs/algorithms.md", "bandit", (REFERENCE / "bandit" / "bandit.md").read_text())
    write("docs/algorithms.md", "known ground", tables.markdown(ground()))


if __name__ == "__main__":
    main()
