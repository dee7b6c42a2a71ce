"""Draw docs/hero.png and write the README's result table, from results/reference alone.

python -m docs.write_results
"""

from pathlib import Path

import numpy as np
import pandas as pd
from bench.analysis import figures, tables
from bench.analysis.load import final_scores, read_runs, table

FOLDERS = ("quick", "hour")
FAMILIES = ("pointmaze", "manipulation", "antmaze")  # from top to bottom
SHOWN = ("ddiffpg", "sac")  # in the figure
HEAD = ("task", "algorithm", "seeds", "modes reached on command", "command success",
        "success, sampled", "modes found, sampled", "effective modes, sampled")  # fmt: skip
BEGIN, END = "<!-- results: python -m docs.write_results -->\n", "<!-- end of results -->\n"


def lines(folder: str) -> list[list[str]]:
    """Return the rows of one experiment's finished runs."""
    runs = [r for r in read_runs(f"results/reference/{folder}") if r.facts["status"] == "done"]
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


def main() -> None:
    """Write both."""
    quick = [r for r in read_runs("results/reference/quick") if r.facts["status"] == "done"]
    done = [r for r in quick if r.facts["family"] == "pointmaze" and r.facts["algo"] in SHOWN]
    figures.hero(done, table(done)).savefig("docs/hero.png", dpi=110)
    rows = sorted(
        (row for folder in FOLDERS for row in lines(folder)),
        key=lambda row: FAMILIES.index(
            row[0].split("-v")[0] if "maze" in row[0] else "manipulation"
        ),
    )
    text = tables.markdown(pd.DataFrame(rows, columns=list(HEAD)))
    readme = Path("README.md")
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(before + BEGIN + text + END + after)


if __name__ == "__main__":
    main()
