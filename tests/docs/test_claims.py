"""Every claim of the documentation has records behind it, or says why it has none."""

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
