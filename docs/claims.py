"""Hold what papers say of several modes against the committed records; write docs/claims.md.

  python -m docs.claims

Claims and bounds stand in bench/conf/claims.yaml, and `bench.analysis.claims` judges them, as it
does for the report. Two kinds are in this table alone: those of the bandit, whose record is of no
run, and those that nothing here tests, with the reason.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from bench.analysis import tables
from bench.analysis.claims import COLUMNS, Claim, numbers, read
from bench.analysis.load import RunRecord, table
from docs.marks import write
from docs.write_results import CLASSES, REFERENCE, done

FOLDERS = (CLASSES, "quick", "hour")  # whose runs are asked: those of most seeds


def kept(claim: Claim) -> np.ndarray:
    """Return the peaks of four that the claim's policy keeps on the bandit, of each seed, (S,)."""
    frame = pd.read_csv(REFERENCE / "bandit" / "bandit.csv")
    own = frame[(frame["algo"] == claim.algo) & (frame["case"] == claim.case)]
    return own["kept"].to_numpy(float)


def asked() -> list[RunRecord]:
    """Return the runs that claims are held against: of no method and task those of two builds."""
    found: dict[tuple[str, ...], list[list[RunRecord]]] = {}
    for folder in FOLDERS:
        runs: dict[tuple[str, ...], list[RunRecord]] = {}
        for run in done(folder):
            what = tuple(run.facts[key] for key in ("algo", "task", "budget"))
            runs.setdefault(what, []).append(run)
        for what, own in runs.items():
            found.setdefault(what, []).append(own)
    return [run for several in found.values() for run in max(several, key=len)]


def claims() -> pd.DataFrame:
    """Return the table: one row per claim.

    Raises:
        ValueError: if the records no longer have what a claim is tested by, or are damaged.
    """
    runs = asked()
    frame, notes, rows = table(runs), [], []
    for claim in read():
        if claim.untested:
            cells = (claim.of, claim.says, claim.untested, "–", "–", "not testable here")
            rows.append(dict(zip(COLUMNS, cells, strict=True)))
            continue
        values = kept(claim) if claim.case else numbers(claim, runs, frame, notes)
        if notes or not len(values):
            raise ValueError(f"claim {claim.says!r} of {claim.of}: {notes or 'no record'}")
        rows.append(claim.row(values))
    return pd.DataFrame(rows)


def main() -> int:
    """Write the table."""
    write("docs/claims.md", "claims", tables.markdown(claims()), "docs.claims")
    return 0


if __name__ == "__main__":
    sys.exit(main())
