"""Hold what papers say of several modes against the committed records; write docs/claims.md.

  python -m docs.claims

A claim is tested by a number that every seed of a folder of records gives, and a bound. It is
*confirmed* where the 95 % interval of the mean over seeds lies on the claim's side of the bound,
*refuted here* where it lies on the other, *not settled* where it holds the bound; a single run has
no interval, and gets no verdict. Nothing here is written by hand but the claims and their bounds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from bench.analysis import stats, tables
from bench.analysis.load import final_scores, table
from docs.marks import write
from docs.write_results import REFERENCE, done

Values = Callable[[], np.ndarray]  # of each seed
MAZES = tuple(f"pointmaze-v{i}" for i in (1, 2, 3, 4))
ARMS = ("reach", "peg-in-hole", "drawer-close", "cabinet-open")
TWO = 2.0  # modes found: several
MOST = 0.8  # of commands, of episodes


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper on several modes, in our words, and what would bear it out.

    Attributes:
        source: method and paper.
        says: the sentence.
        experiment: what is measured here, on what.
        values: of each seed; or, in words, why it is not tested here.
        bound: which the mean over seeds has at least, or at most.
        most: whether the bound is the largest value that bears the claim out.
    """

    source: str
    says: str
    experiment: str
    values: Values | str
    bound: float = 0.0
    most: bool = False


@cache
def last(folder: str) -> pd.DataFrame:
    """Return the final scores of a folder's finished runs."""
    return final_scores(table(done(folder)))


def scores(folder: str, algo: str, protocol: str, metric: str, tasks: Sequence[str]) -> Values:
    """Return how to get, of each seed, the lowest final score over some tasks."""

    def values() -> np.ndarray:
        frame = last(folder)
        own = frame[(frame["algo"] == algo) & (frame["protocol"] == protocol)]
        of_tasks = own[own["task"].isin(tasks)].pivot(index="seed", columns="task", values=metric)
        missing = set(tasks) - set(of_tasks.columns)
        if missing:
            raise ValueError(f"{folder}: no finished run of {algo} on {', '.join(sorted(missing))}")
        return of_tasks.dropna().min(axis=1).to_numpy()

    return values


def found(folder: str, algo: str, *tasks: str) -> Values:
    """Return how to get the fewest modes that each seed finds by itself on some tasks."""
    return scores(folder, algo, "sampled", "modes_found", tasks)


def replanned(algo: str) -> Values:
    """Return how to get each seed's success before unseen obstacles, the worst of the variants."""

    def values() -> np.ndarray:
        places = (REFERENCE / "quick" / "pointmaze-v3" / algo).glob("*/replan/replan.json")
        records = [json.loads(place.read_text()) for place in sorted(places)]
        return np.array([min(v["success"] for v in one["variants"]) for one in records])

    return values


def kept(algo: str, case: str) -> Values:
    """Return how to get the peaks of four that a policy keeps on the bandit."""

    def values() -> np.ndarray:
        frame = pd.read_csv(REFERENCE / "bandit" / "bandit.csv")
        return frame[(frame["algo"] == algo) & (frame["case"] == case)]["kept"].to_numpy(float)

    return values


DDIFFPG = "DDiffPG (arXiv 2406.00681)"
FIRST = "tried/new-classes"  # one run each
CLAIMS = (
    Claim(DDIFFPG, "finds several ways of solving a maze, and its policy keeps them",
          "modes that it finds by itself, the fewest over the four point mazes",
          found("quick", "ddiffpg", *MAZES), TWO),
    Claim(DDIFFPG, "the same on arms", "the fewest over the four arm tasks",
          found("quick", "ddiffpg", *ARMS), TWO),
    Claim(DDIFFPG, "its modes can be commanded",
          "command coverage, the lowest over the four point mazes",
          scores("quick", "ddiffpg", "commanded", "command_coverage", MAZES), MOST),
    Claim(DDIFFPG, "the same on arms", "command coverage, the lowest over the four arm tasks",
          scores("quick", "ddiffpg", "commanded", "command_coverage", ARMS), MOST),
    Claim(DDIFFPG, "an ant solves its maze in several ways",
          "command coverage on antmaze-v1 and v2 after 4 M steps, the lower",
          scores("hour", "ddiffpg", "commanded", "command_coverage", ("antmaze-v1", "antmaze-v2")),
          MOST),
    Claim(DDIFFPG, "trying its modes in turn, it gets past obstacles that training never saw",
          "success on the three blocked variants of pointmaze-v3, the lowest",
          replanned("ddiffpg"), MOST),
    Claim(DDIFFPG, "a policy of one mode does not", "SAC on the same variants, the lowest",
          replanned("sac"), MOST, most=True),
    Claim(DDIFFPG, "a diffusion policy without modes (DIPO) keeps one",
          "modes that DIPO finds by itself on pointmaze-v3", found("quick", "dipo", "pointmaze-v3"),
          1.5, most=True),
    Claim("SAC (arXiv 1801.01290)", "actions that are equally good get equal probability",
          "modes that it finds by itself on pointmaze-v1, whose two ways are alike",
          found("quick", "sac", "pointmaze-v1"), TWO),
    Claim("DIPO (arXiv 2305.13122)", "its policy represents several modes",
          "peaks of four equal ones kept on the bandit", kept("dipo", "equal"), TWO),
    Claim("DIPO (arXiv 2305.13122)", "the same, where actions have consequences",
          "modes that it finds by itself on pointmaze-v1", found("quick", "dipo", "pointmaze-v1"),
          TWO),
    Claim("Diffusion-QL (arXiv 2208.06193)", "its policy keeps the several modes of its data",
          "", "the claim is of offline data, which this suite does not train on yet"),
    Claim("Diffusion-QL, online", "the same class, trained online, keeps several modes",
          "modes that it finds by itself on pointmaze-v1",
          found("quick", "diffusion-ql", "pointmaze-v1"), TWO),
    Claim("QVPO (NeurIPS 2024)", "a diffusion policy with an entropy term keeps several modes",
          "modes that it finds by itself on pointmaze-v1", found("quick", "qvpo", "pointmaze-v1"),
          TWO),
    Claim("MaxEntDP (arXiv 2502.11612)", "a maximum-entropy diffusion policy has all good modes",
          "modes that it finds by itself on pointmaze-v1, whose two ways are alike",
          found("quick", "maxentdp", "pointmaze-v1"), TWO),
    Claim("MaxEntDP (arXiv 2502.11612)", "the same where ways differ in length",
          "modes that it finds by itself on pointmaze-v3",
          found("quick", "maxentdp", "pointmaze-v3"), TWO),
    Claim("QSM (arXiv 2312.11752)", "policies learned by score matching are often multimodal",
          "modes that it finds by itself on pointmaze-v1", found(FIRST, "qsm", "pointmaze-v1"),
          TWO),
    Claim("DACER (arXiv 2405.15177)", "its diffusion policy represents several modes",
          "modes that it finds by itself on pointmaze-v1", found(FIRST, "dacer", "pointmaze-v1"),
          TWO),
    Claim("DPMD (arXiv 2502.00361)", "its diffusion policy represents several modes",
          "modes that it finds by itself on pointmaze-v1", found(FIRST, "dpmd", "pointmaze-v1"),
          TWO),
    Claim("SMERL (arXiv 2010.14484)", "skills solve one task in several ways, and can be chosen",
          "command coverage of latent-sac on pointmaze-v1",
          scores(FIRST, "latent-sac", "commanded", "command_coverage", ("pointmaze-v1",)), MOST),
    Claim("DSAC-D (arXiv 2507.01381)", "a diffusion value distribution has several peaks of return",
          "", "a claim on returns, not on ways of solving a task: a test holds it, with rewards of "
          "0 and 1 (tests/algos/test_dsac_d.py)"),
    Claim("CPPO (arXiv 2603.04790)", "it produces multimodal policy behaviours",
          "modes that it finds by itself on pointmaze-v1", found(FIRST, "cppo", "pointmaze-v1"),
          TWO),
    Claim("FPMD (arXiv 2507.23675), PMOE (2104.09122), categorical policies (2508.13922), "
          "Consistency-AC (2309.16984)", "the policy class represents several modes", "",
          "implemented, and not yet seen learning on a task with several modes"),
)  # fmt: skip


def verdict(values: np.ndarray, bound: float, most: bool) -> tuple[str, str]:
    """Return the mean over seeds with its interval, in words, and what follows of the claim."""
    number = tables.cell(values, np.random.default_rng(0))
    ends = stats.interval(values[:, None], stats.mean, rng=np.random.default_rng(0))
    if ends is None:
        return number, "no verdict: one run"
    low, high = (bound - ends[1], bound - ends[0]) if most else (ends[0] - bound, ends[1] - bound)
    if low >= 0:
        return number, "confirmed"
    return number, "refuted here" if high < 0 else "not settled"


def claims() -> pd.DataFrame:
    """Return the table: one row per claim."""
    rows = []
    for claim in CLAIMS:
        row = {"claim of": claim.source, "claim": claim.says}
        if isinstance(claim.values, str):
            row |= {"experiment": claim.values, "bound": "–", "number": "–",
                    "verdict": "not testable here"}  # fmt: skip
        else:
            number, said = verdict(claim.values(), claim.bound, claim.most)
            bound = f"{'at most' if claim.most else 'at least'} {claim.bound:g}"
            row |= {"experiment": claim.experiment, "bound": bound, "number": number,
                    "verdict": said}  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> int:
    """Write the table."""
    write("docs/claims.md", "claims", tables.markdown(claims()), "docs.claims")
    return 0


if __name__ == "__main__":
    sys.exit(main())
