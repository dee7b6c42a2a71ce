"""Draw the README's figures and write the tables of README and docs, from results/reference alone.

python -m docs.write_results
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis import comparison, mazes, ranking, survival, tables
from bench.analysis.load import LAST, algorithms, final_scores, table
from bench.analysis.runs import RunRecord, read_runs
from bench.analysis.style import INK, algo_colors, new_figure, steps_axis
from bench.commands.bandit import over_seeds
from bench.tasks.bandit import CASES
from bench.words import parse
from docs import withdrawn
from docs.marks import write
from docs.studies import start

REFERENCE = Path("results/reference")
FOLDERS = ("quick", "hour")
FAMILIES = ("pointmaze", "manipulation", "antmaze")  # from top to bottom
SHOWN = ("ddiffpg", "sac")  # in the figure and on every task
CAMPAIGN = "campaign"
CLASSES = f"{CAMPAIGN}/classes"  # what every algorithm ran
ANTS = f"{CAMPAIGN}/ants"
ANEW = (CLASSES, f"{CAMPAIGN}/mazes", f"{CAMPAIGN}/arms", ANTS)  # blocks of the twelve tasks
FLOOR = "random"
FLOORS = (f"{CAMPAIGN}/floor", f"{CAMPAIGN}/ant-floor")  # where it plays
ABLATED = "ddiffpg"
ABLATIONS = {  # of it, which stand below the policy classes
    f"{CAMPAIGN}/without-clusters": "ddiffpg, without clusters",
    f"{CAMPAIGN}/oracle-labels": "ddiffpg, the task's labels for clusters",
}
HOUR = " (hour)"  # after a task's name, of runs of that budget
EARLIER = {"quick": "earlier build", "hour": "earlier build, hour"}  # what they are of
COMMON = ("pointmaze-v1", "pointmaze-v3", "reach")  # of these tasks
SEEDS = 3  # with which a class is tested
PUBLISHED = ("ddiffpg",)  # whose paper has scores on this suite's tasks: named by its preset
DRAWN = "pointmaze-v3"  # the paths of every algorithm
CONTROL_TASKS = {"pendulum": "Pendulum-v1", "hopper": "Hopper-v5"}
HEAD = (
    "task", "algorithm", "seeds", "solved modes, sampled", "command coverage", "success, sampled",
    "command success", "modes found, sampled", "reachable modes",
)  # fmt: skip


def done(folder: str) -> list[RunRecord]:
    """Return an experiment's finished runs."""
    return [r for r in read_runs(REFERENCE / folder) if r.facts["status"] == "done"]


def anew() -> list[RunRecord]:
    """Return the campaign's runs of the twelve tasks, each once, whichever block has made it.

    All are of one experiment, `campaign`, so that seeds of one block go with those of another.
    """
    runs = {(r.facts["algo"], r.facts["task"], r.facts["seed"]): r
            for folder in ANEW for r in done(folder)}  # fmt: skip
    for run in runs.values():
        run.facts["experiment"] = CAMPAIGN
    return list(runs.values())


def by_build(*algos: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the scores of the campaign's runs, then of those of earlier builds, after their label.

    Args:
        algos: only of these; of all if none is named.
    """
    builds = [("", anew() + [r for floor in FLOORS for r in done(floor)])]
    builds += [(label, [r for r in done(folder) if r.facts["algo"] != FLOOR])
               for folder, label in EARLIER.items()]  # fmt: skip
    for label, runs in builds:
        chosen = [r for r in runs if r.modes and (not algos or r.facts["algo"] in algos)]
        if chosen:
            yield label, scores_of(chosen)


def scores_of(runs: list[RunRecord]) -> pd.DataFrame:
    """Return the final scores of runs, and each task's name with its budget, if not the quick."""
    frame = table(runs)
    long = frame["budget"].eq("hour") & ~frame["floor"].astype(bool)
    named = frame["task"].where(~frame["task"].isin(frame.loc[long, "task"]), frame["task"] + HOUR)
    return final_scores(frame.assign(task=named))


def results() -> pd.DataFrame:
    """Return the table of every task."""
    rows = []
    for label, scores in by_build(*SHOWN, FLOOR):
        for (task, algo), part in scores.groupby(["task", "algo"]):
            name = f"{task.removesuffix(HOUR)} ({label})" if label else str(task)
            rows.append([name, str(algo), *details(part)])
    rows.sort(key=lambda row: family(row[0]))
    return pd.DataFrame(rows, columns=list(HEAD))


def details(part: pd.DataFrame) -> list[str]:
    """Return the further cells of an algorithm's row."""
    commanded, free = (part[part["protocol"] == p] for p in ("commanded", "sampled"))
    modes = int(free["num_modes"].iloc[0])

    def cell(of: pd.DataFrame, metric: str) -> str:
        return tables.cell(of[metric].dropna().to_numpy()) or "–"

    return [
        str(len(free)), cell(free, "solved_modes"), cell(commanded, "command_coverage"),
        cell(free, "success"), cell(commanded, "command_success"),
        f"{free['modes_found'].mean():.1f} of {modes}",
        f"{commanded['reachable_modes'].mean():.1f} of {modes}" if len(commanded) else "–",
    ]  # fmt: skip


def every_task() -> pd.DataFrame:
    """Return the README's table of every task: a row each, a column per algorithm.

    A cell of an earlier build, marked, stands where the campaign has none. Of tasks with runs of
    the hour budget there are no others.
    """
    found: dict[str, dict[str, str]] = {}
    for label, scores in by_build(*SHOWN, FLOOR):
        for (task, algo), part in scores.groupby(["task", "algo"]):
            cells = found.setdefault(str(task), {})
            cells.setdefault(str(algo), shares(part) + (" *" if label else ""))
    names = [name for name in sorted(found, key=family) if name + HOUR not in found]
    rows = [{"task": name} | found[name] for name in names]
    return pd.DataFrame(rows, columns=["task", *SHOWN, FLOOR]).fillna("–")


def family(task: str) -> int:
    """Return the place of a task's family in tables."""
    return FAMILIES.index(task.split("-v")[0] if "maze" in task else "manipulation")


def policies() -> pd.DataFrame:
    """Return the table of every algorithm: bandit and common tasks."""
    runs = [*done(CLASSES), *(r for r in done(FLOORS[0]) if r.facts["task"] in COMMON)]
    classes = {r.facts["algo"]: r.facts["algo_info"]["policy"] for r in runs}
    presets = {r.facts["algo"]: r.facts["preset"] for r in runs}
    scores = final_scores(table(runs))
    bandit = pd.read_csv(REFERENCE / "bandit" / "bandit.csv")
    kept_of = {key: over_seeds(of) for key, of in bandit.groupby(["algo", "case"])["kept"]}
    rows = []
    for algo in algorithms(table(runs)):
        policy = classes[algo]
        name = f"{algo} ({presets[algo]})" if algo in PUBLISHED else algo
        row = {"algorithm": name, "policy class": policy}
        kept = [kept_of.get((algo, case), "–") for case in CASES]
        row["bandit"] = " / ".join(kept) if algo in set(bandit["algo"]) else "–"
        for task in COMMON:
            part = scores[(scores["algo"] == algo) & (scores["task"] == task)]
            row[task] = shares(part)
        rows.append(row)
    for folder, name in ABLATIONS.items():
        if not (REFERENCE / folder).exists():
            continue
        own = final_scores(table(done(folder)))
        row = {"algorithm": name, "policy class": classes[ABLATED], "bandit": "–"}
        for task in COMMON:
            row[task] = shares(own[own["task"] == task])
        rows.append(row)
    return pd.DataFrame(rows)


def shares(part: pd.DataFrame) -> str:
    """Return an algorithm's solved modes and command coverage on one task, and its success."""
    if part.empty:
        return "–"
    commanded, free = (part[part["protocol"] == p] for p in ("commanded", "sampled"))
    text = f"{free['solved_modes'].mean():.2f}"
    if len(commanded):
        text += f" / {commanded['command_coverage'].mean():.2f}"
    text += f" ({free['success'].mean():.2f})"
    seeds = {1: ", 1 seed", 2: ", 2 seeds"}
    return text + seeds.get(len(free), "")


def classes() -> Figure:
    """Return the figure of every algorithm: one line each, a panel for every common task."""
    runs = done(CLASSES)
    frame = table(runs)
    found = [comparison.Scope(task, frame[frame["task"] == task]) for task in COMMON]
    picture = ranking.ranking(runs, found)
    assert picture is not None
    return picture


def scatter() -> Figure:
    """Return the figure of every algorithm's success against its solved modes, on one task."""
    runs = [r for r in done(CLASSES) if r.facts["task"] == DRAWN]
    picture = comparison.headline(runs, [comparison.Scope(DRAWN, table(runs))])
    assert picture is not None
    return picture


def control_tasks() -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Return by task of control tasks this suite's evaluations and Stable-Baselines3's returns."""
    found = {}
    for folder, task in CONTROL_TASKS.items():
        frame = table(done(folder))
        found[task] = (
            frame[frame["protocol"] == "sampled"],
            pd.read_csv(REFERENCE / folder / "stable-baselines3.csv"),
        )
    return found


def returns() -> pd.DataFrame:
    """Return the table of control tasks: returns after some env steps, by algorithm.

    After as many as every algorithm has on a task, and after as many as some have.
    """
    rows: dict[str, dict[str, str]] = {}
    for task, (ours, theirs) in control_tasks().items():
        most = ours.groupby(["algo", "seed"])["env_steps"].max()
        for steps in sorted({most.min(), most.max()}):
            column = f"{task}, {steps:,} steps"
            for algo, part in ours[ours["env_steps"] == steps].groupby("algo"):
                rows.setdefault(str(algo), {})[column] = spread(part["return"])
        for algo, part in theirs.groupby("algo"):
            rows.setdefault(f"{algo} (Stable-Baselines3)", {})[column] = spread(part["return"])
    frame = pd.DataFrame.from_dict(rows, orient="index").fillna("–").sort_index()
    return frame.rename_axis("algorithm").reset_index()


def return_curves() -> Figure:
    """Return the curves of control tasks: each seed, their mean, Stable-Baselines3's last mean."""
    found = control_tasks()
    colors = algo_colors({algo for ours, _ in found.values() for algo in ours["algo"]})
    figure = new_figure(9, 0.17 * len(colors) + 1)
    for axes, (task, (ours, theirs)) in zip(
        figure.subplots(1, len(found)), found.items(), strict=True
    ):
        for algo, part in ours.groupby("algo"):
            wide = part.pivot_table(index="env_steps", columns="seed", values="return")
            if wide.shape[1] > 1:
                axes.plot(wide.index, wide, color=colors[algo], lw=0.5, alpha=0.35)
            axes.plot(wide.index, wide.mean(axis=1), color=colors[algo], lw=1.8)
        for algo, part in theirs.groupby("algo"):
            axes.plot(part["env_steps"].max(), part["return"].mean(), "*", ms=11, mew=0.6,
                      color=colors[algo], mec=INK, clip_on=False, zorder=5)  # fmt: skip
        axes.set_title(task)
        axes.set_xlabel(steps_axis(axes))
        axes.set_ylabel("return")
    handles = [Line2D([], [], color=color, lw=2, label=algo) for algo, color in colors.items()]
    star = Line2D([], [], color="w", marker="*", ms=10, mec=INK, label="Stable-Baselines3, at last")
    figure.legend(handles=[*handles, star], loc="outside right center")
    return figure


def spread(values: pd.Series) -> str:
    """Return mean and range over seeds."""
    if len(values) == 1:
        return f"{values.iloc[0]:.0f} (1 seed)"
    return f"{values.mean():.0f} ({values.min():.0f} to {values.max():.0f}, {len(values)} seeds)"


def before_and_after() -> pd.DataFrame:
    """Return what the committed runs score by the withdrawn metrics and by today's, `old → new`."""
    rows = []
    for folder in FOLDERS:
        runs = [r for r in done(folder) if r.modes]
        scores = final_scores(table(runs)).groupby(["task", "algo", "protocol"])
        new = scores.mean(numeric_only=True)
        for task, algo in sorted({(r.facts["task"], r.facts["algo"]) for r in runs}):
            own = [r for r in runs if (r.facts["task"], r.facts["algo"]) == (task, algo)]
            row = {
                "task": task if folder == FOLDERS[0] else f"{task} ({folder})",
                "algorithm": algo, "seeds": str(len(own)),
            }  # fmt: skip
            if (task, algo, "commanded") in new.index:
                now, old = new.loc[(task, algo, "commanded")], before(own, "commanded")
                row |= {
                    "control success → command coverage":
                        f"{old['control_success']:.2f} → {now['command_coverage']:.2f}",
                    "command information": f"{now['command_information']:.2f}",
                    "command success": f"{now['command_success']:.2f}",
                    "modes found on command": f"{old['found']:.1f} → {now['modes_found']:.1f}",
                }  # fmt: skip
            now, old = new.loc[(task, algo, "sampled")], before(own, "sampled")
            row |= {
                "solved modes, sampled": f"{old['solved_modes']:.3f} → {now['solved_modes']:.3f}",
                "modes lost, all seeds": f"{count_lost(own, withdrawn.lost)} → "
                                         f"{count_lost(own, survival.lost)}",
            }  # fmt: skip
            rows.append({key: text.replace("nan", "–") for key, text in row.items()})
    return pd.DataFrame(rows, columns=list(max(rows, key=len))).fillna("–")


def before(runs: list[RunRecord], protocol: str) -> pd.Series:
    """Return the withdrawn metrics of runs: means over their last evaluations; NaN for none."""
    values = []
    for run in runs:
        own = run.episodes[run.episodes["protocol"] == protocol]
        for _, part in list(own.groupby("env_steps"))[-LAST:]:
            mode, commanded = part["mode"].to_numpy(), part["commanded"].to_numpy()
            values.append({
                "control_success": withdrawn.control_success(mode, commanded),
                "found": withdrawn.found(mode, len(run.modes)).sum(),
                "solved_modes": withdrawn.solved_modes(mode, len(run.modes)),
            })  # fmt: skip
    return pd.DataFrame(values, columns=["control_success", "found", "solved_modes"]).mean()


def tests() -> pd.DataFrame:
    """Return the permutation tests of DDiffPG against the others over the tasks that all did.

    They are rows of the report's table, whose correction is for all of its comparisons.
    """
    scopes = comparison.scopes(table(done(FOLDERS[0])))
    found = comparison.tests_table(scopes)
    ours = (found["algorithm"] == SHOWN[0]) | (found["against"] == SHOWN[0])
    return found[ours & (found["tasks"] == scopes[0].name)].drop(columns="tasks")


def campaign_tests() -> pd.DataFrame:
    """Return those of DDiffPG against every class that the campaign has with as many seeds.

    Corrected twice: over these comparisons, and as the report does, over all pairs of classes.
    """
    frame = table(done(CLASSES))
    frame = frame[frame["task"].isin(COMMON)]
    seeds = frame.groupby(["algo", "task"])["seed"].nunique().unstack(fill_value=0).min(axis=1)
    scope = [comparison.Scope("common", frame[frame["algo"].map(seeds) >= SEEDS])]
    found = comparison.tests_table(scope, of=SHOWN[0])
    every = comparison.tests_table(scope)
    pairs = zip(every["algorithm"], every["against"], strict=True)
    over_all = dict(zip(map(frozenset, pairs), every["p, Holm"], strict=True))
    ours = [frozenset(pair) for pair in zip(found["algorithm"], found["against"], strict=True)]
    beside = found.columns.get_loc("p, Holm") + 1
    found.insert(beside, f"over all {len(every)} pairs", [over_all[pair] for pair in ours])
    return found.drop(columns="tasks", errors="ignore")


def as_specified() -> str:
    """Return the table of what is sampled and what is specified, or that no record has it."""
    found = tables.result_table(table(done(CLASSES)))
    beside = [column for column in found if column.endswith(", as specified")]
    if not beside:
        return "No committed record has it yet.\n"
    pairs = [name for column in beside for name in (column.partition(",")[0], column)]
    some = found[(found[beside] != "–").any(axis=1) & (found["protocol"] == "sampled")]
    return tables.markdown(some[["task", "algorithm", "seeds", *pairs]])


def evenness() -> pd.DataFrame:
    """Return how even policies are without commands, and by a command drawn for every episode.

    The commanded episodes, equally many of each command, are what a drawn command samples.
    """
    columns, rows = ["effective_modes", "reachable_modes", "seed", "num_modes"], []
    ways = dict.fromkeys(columns, "mean") | {"seed": "count"}
    for label, scores in by_build():
        found = scores.pivot_table(
            index=["task", "algo"], columns="protocol", values=columns, aggfunc=ways
        )
        for (task, algo), row in found.iterrows():
            if "commanded" not in row["seed"] or not row["reachable_modes"]["commanded"] >= 1:
                continue
            drawn = row["effective_modes"]["commanded"]
            reached = row["reachable_modes"]["commanded"]
            rows.append({
                "task": f"{task.removesuffix(HOUR)} ({label})" if label else task,
                "algorithm": algo, "seeds": f"{row['seed']['commanded']:.0f}",
                "reached on command": f"{reached:.1f} of {row['num_modes']['commanded']:.0f}",
                "effective, no command": f"{row['effective_modes']['sampled']:.2f}",
                "effective, drawn command": f"{drawn:.2f}", "ratio": f"{drawn / reached:.2f}",
            })  # fmt: skip
    return pd.DataFrame(rows)


def spent() -> pd.DataFrame:
    """Return what the campaign has cost so far, by algorithm, and in all."""
    facts = pd.DataFrame([
        {"algorithm": r.facts["algo"], "hours": sum(r.facts["seconds"].values()) / 3600,
         "steps": r.facts["env_steps"] / 1e6, "updates": r.facts["updates"] / 1e3}
        for r in done(CAMPAIGN)
    ])  # fmt: skip
    groups = facts.groupby("algorithm")
    sums = groups.sum().assign(runs=groups.size())
    sums.loc["all"] = sums.sum()
    return pd.DataFrame({
        "algorithm": sums.index, "runs": sums["runs"].map("{:.0f}".format),
        "hours of one core": sums["hours"].map("{:.1f}".format),
        "million env steps": sums["steps"].map("{:.1f}".format),
        "thousand updates": sums["updates"].map("{:.0f}".format),
    })  # fmt: skip


def count_lost(runs: list[RunRecord], lost: Callable[[np.ndarray], bool]) -> int:
    """Return how many modes runs have lost, sampled, by a rule on where they were found, (E,)."""
    return sum(lost(found.to_numpy()) for r in runs for _, found in r.found("sampled").items())


def main(words: list[str]) -> int:
    """Draw the figures and write the tables."""
    parse(words, {})
    shown = [r for r in anew()
             if r.facts["family"] == "pointmaze" and r.facts["algo"] in SHOWN]  # fmt: skip
    mazes.hero(shown, table(shown)).savefig("docs/hero.png", dpi=110)
    classes().savefig("docs/classes.png", dpi=110)
    scatter().savefig("docs/scatter.png", dpi=110)
    for name, folder, task in (("policies", CLASSES, DRAWN), ("ants", ANTS, "antmaze-v1")):
        every = [r for r in done(folder) if r.facts["task"] == task]
        picture = mazes.path_map(every, table(every))
        assert picture is not None
        picture.savefig(f"docs/{name}.png", dpi=80)
    return_curves().savefig("docs/control_tasks.png", dpi=110)
    write("README.md", "every task", tables.markdown(every_task()))
    write("docs/results.md", "results", tables.markdown(results()))
    write("README.md", "policies", tables.markdown(policies()))
    write("docs/fairness.md", "before and after", tables.markdown(before_and_after()))
    write("docs/fairness.md", "tests", tables.markdown(tests()))
    write("docs/fairness.md", "campaign tests", tables.markdown(campaign_tests()))
    write("docs/fairness.md", "as specified", as_specified())
    write("docs/algorithms.md", "bandit", (REFERENCE / "bandit" / "bandit.md").read_text())
    write("docs/algorithms.md", "evenness", tables.markdown(evenness()))
    write("docs/algorithms.md", "control tasks", tables.markdown(returns()))
    write("docs/campaign.md", "spent", tables.markdown(spent()))
    return 0


if __name__ == "__main__":
    start(main)
