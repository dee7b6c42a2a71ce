"""Hold what papers say of several modes against the committed records; write docs/claims.md.

  python -m docs.claims

Claims and bounds stand in bench/conf/claims.yaml, and `bench.analysis.claims` judges them, as it
does for the report. Two kinds are in this table alone: those of the bandit, whose record is of no
run, and those that nothing here tests, with the reason.
"""

from __future__ import annotations

import pandas as pd

from bench.analysis import tables
from bench.analysis.claims import COLUMNS, Claim, numbers, read
from bench.analysis.load import table
from bench.analysis.runs import RunRecord
from bench.words import parse
from docs.marks import write
from docs.studies import start
from docs.write_results import FOLDERS, REFERENCE, anew, done

Asked = list[tuple[list[RunRecord], pd.DataFrame]]  # runs of each build, and their evaluations


def kept(claim: Claim) -> pd.Series:
    """Return the peaks of four that the claim's policy keeps on the bandit, of each seed, (S,)."""
    frame = pd.read_csv(REFERENCE / "bandit" / "bandit.csv")
    own = frame[(frame["algo"] == claim.algo) & (frame["case"] == claim.case)]
    return own.assign(experiment="bandit").set_index(["experiment", "seed"])["kept"]


def measured(claim: Claim, asked: Asked) -> pd.Series:
    """Return the number that each seed of one build gives, of the build where most do, (S,).

    Raises:
        ValueError: if a record is damaged.
    """
    notes: list[str] = []
    found = [numbers(claim, runs, frame, notes) for runs, frame in asked]
    if notes:
        raise ValueError(f"claim {claim.says!r} of {claim.of}: {notes}")
    return max(found, key=len)


def claims() -> pd.DataFrame:
    """Return the table: one row per claim.

    Raises:
        ValueError: if the records no longer have what a claim is tested by, or are damaged.
    """
    asked = [(runs, table(runs)) for runs in (anew(), *map(done, FOLDERS))]
    rows = []
    for claim in read():
        if claim.untested:
            cells = (claim.of, claim.says, claim.untested, "–", "–", "–", "not testable here")
            rows.append(dict(zip(COLUMNS, cells, strict=True)))
            continue
        values = kept(claim) if claim.case else measured(claim, asked)
        if not len(values):
            raise ValueError(f"claim {claim.says!r} of {claim.of}: no record")
        rows.append(claim.row(values))
    return pd.DataFrame(rows)


def main(words: list[str]) -> int:
    """Write the table."""
    parse(words, {})
    write("docs/claims.md", "claims", tables.markdown(claims()), "docs.claims")
    return 0


if __name__ == "__main__":
    start(main)
