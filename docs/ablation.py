"""Show what each departure from the paper's choices buys: `preset=paper`, one repair at a time.

  python -m docs.ablation [seeds=10,11,12] [until=8]

DDiffPG on pointmaze-v3. Row 0 is `preset=paper` with the suite's network and batch sizes: the
paper's are a GPU's. Every further row also takes the suite's values for one group of settings; the
last is `preset=suite`, whose runs are those of results/reference/quick. All rows make 8,000
updates; the first has the paper's shorter random exploration and so fewer env steps. Writes
results/reference/ablation/: one experiment per row, ablation.csv and the figure. What is done is
skipped; `until` stops after that row. The committed records of these runs lack paths and policies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis import comparison, tables
from bench.analysis.load import final_scores, finished, load_results
from bench.configuration import as_dict, resolve, understand
from bench.settings import flat
from bench.words import integer, parse
from docs.studies import start, train

FOLDER, SUITE = Path("results/reference/ablation"), Path("results/reference/quick")
ALGO, TASK = "ddiffpg", "pointmaze-v3"
LEARNING = 512_000  # env steps after the random exploration: 8,000 updates
SIZES = (
    "batch", "updates", "replay", "actor.hidden", "actor.activation", "critic.hidden",
    "critic.activation", "novelty.hidden", "novelty.features", "novelty.batch", "modes.capacity",
)  # fmt: skip
REPAIRS = (
    ("play", "held random actions, scaled bonus", (
        "normalize", "exploration.warmup", "exploration.hold", "novelty.coef", "novelty.anneal",
        "novelty.normalize", "novelty.frequencies", "novelty.lr", "novelty.recent",
        "explorer.scale")),
    ("ascent", "ascent from executed actions and samples", (
        "target_start", "ascent_steps", "ascent_lr")),
    ("batches", "half successes, shared failures", (
        "success_share", "mask_failures", "modes.failures")),
    ("critics", "10-step critics without the bonus", (
        "n_step", "mode_novelty", "critic.v_max", "critic_lr", "weight_decay")),
    ("actor", "clean action predicted, average acts", ("actor.predict", "actor_lr", "ema")),
    ("clusters", "clusters of loop-free paths", (
        "modes.loop_radius", "modes.threshold", "modes.smallest", "modes.most", "modes.every",
        "modes.evict")),
    ("commands", "commanded training episodes", (
        "command_share", "explorer.share", "explorer.until")),
    ("suite", "tubes and rivals (preset=suite)", ("modes.tube", "rival_share")),
)  # fmt: skip


def settings(preset: str) -> dict[str, Any]:
    """Return the algorithm's settings under a preset, with dotted keys."""
    request = understand([f"algo={ALGO}", f"task={TASK}", f"preset={preset}"])
    return flat(as_dict(resolve(request.overrides(ALGO, TASK, "0")))["algo"])


def rows() -> list[tuple[str, str, list[str]]]:
    """Return every row's experiment, label and words for `run`.

    Raises:
        AssertionError: if paper and suite differ in a setting that no row repairs.
    """
    paper, suite = settings("paper"), settings("suite")
    taken = list(SIZES)
    found = [("0-paper", "paper's choices")]
    words = [[f"algo.{key}={suite[key]}" for key in taken]]
    for i, (name, label, keys) in enumerate(REPAIRS, 1):
        taken += keys
        found.append((f"{i}-{name}", f"+ {label}"))
        words.append([f"algo.{key}={suite[key]}" for key in taken])
    missing = {key for key in suite if suite[key] != paper[key]} - set(taken)
    assert not missing, f"no row repairs {', '.join(sorted(missing))}"
    for i, line in enumerate(words):
        play = (suite if i else paper)["exploration.warmup"]
        line.append(f"env_steps={play + LEARNING}")
    return [(*names, line) for names, line in zip(found, words, strict=True)]


def draw(every: list[tuple[str, str, list[str]]]) -> None:
    """Write figure and table of the rows that have finished runs."""
    frame = finished(pd.concat([load_results(FOLDER), load_results(SUITE)]))
    frame = frame[(frame["task"] == TASK) & (frame["algo"] == ALGO)]
    last = every[-1][0]
    frame = frame.assign(experiment=frame["experiment"].replace(SUITE.name, last))
    shown = [row for row in every if row[0] in set(frame["experiment"])]
    figure = comparison.ablation(frame, [row[0] for row in shown], [row[1] for row in shown])
    for suffix in ("png", "pdf"):
        figure.savefig(FOLDER / f"ablation.{suffix}", dpi=150)
    scores = final_scores(frame)
    columns = ["success", "mode_coverage", "effective_modes", "command_coverage",
               "command_success", "reachable_modes"]  # fmt: skip
    means = scores.groupby(["experiment", "protocol"])[columns].mean().round(3)
    seeds = scores.groupby(["experiment", "protocol"])["seed"].nunique().rename("seeds")
    table = means.join(seeds).reset_index()
    table.to_csv(FOLDER / "ablation.csv", index=False)
    print(tables.markdown(table))


def main(words: list[str]) -> int:
    """Run all rows but the last, whose runs are the reference; draw."""
    _, values = parse(words, {"seeds": "10,11,12", "until": str(len(REPAIRS))})
    until = integer("until", values["until"], least=0)
    every = rows()
    for seed in values["seeds"].split(","):
        for name, _, line in every[: min(until + 1, len(REPAIRS))]:
            words = [f"algo={ALGO}", f"task={TASK}", f"seed={seed}", "preset=paper", *line]
            if status := train(FOLDER, name, words):
                return status
    draw(every)
    return 0


if __name__ == "__main__":
    start(main)
