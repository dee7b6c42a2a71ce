"""Every claim of the documentation has records behind it, or says why it has none."""

import numpy as np

import docs.claims
from bench.analysis.claims import read
from docs.claims import claims
from docs.marks import read as marked


def test_every_claim_is_measured_or_says_why_it_is_not():
    made = claims()
    assert len(made) == len(read()) and (made["experiment"].str.len() > 0).all()
    untested = made["verdict"] == "not testable here"
    assert untested.tolist() == [bool(claim.untested) for claim in read()]
    assert (made.loc[~untested, "number"].str.contains(r"\[|1 seed")).all()


def test_the_page_says_what_the_records_do():
    page = marked("docs/claims.md", "claims", "docs.claims")
    assert page.count("\n") == len(read()) + 2
    for verdict, count in claims()["verdict"].value_counts().items():
        assert page.count(f"| {verdict} |\n") == count


def test_a_claim_is_asked_of_one_build_that_with_most_seeds(monkeypatch):
    seeds = {"new": [1.0, 1.0], "old": [2.0, 2.0, 2.0], "other": []}
    monkeypatch.setattr(docs.claims, "numbers", lambda claim, runs, *_: np.array(seeds[runs]))
    asked = [(name, None) for name in seeds]
    assert docs.claims.measured(None, asked).tolist() == [2.0, 2.0, 2.0]
    seeds["new"] = [1.0, 1.0, 1.0]
    assert docs.claims.measured(None, asked).tolist() == [1.0, 1.0, 1.0], "the first of equals"
