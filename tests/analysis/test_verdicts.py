"""A claim's verdict follows from records alone: confirmed, refuted, not settled, or not tested."""

import html
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.analysis import claims, report
from bench.analysis.claims import REPLANNED, Claim, numbers, read, table
from bench.analysis.load import table as evaluations
from bench.analysis.metrics import METRICS
from bench.analysis.runs import read_runs
from tests.analysis.test_report import NASTY, make_run

TASKS = ("maze-v1", "maze-v2")


def claim(**settings):
    given = {"algo": "alpha", "tasks": TASKS[:1], "metric": "modes_found", "at_least": 2}
    return Claim("a paper", "a sentence", "an experiment", **(given | settings))


@pytest.mark.parametrize(
    ("values", "bound", "said"),
    [
        ([2.0, 2.0, 2.0], {"at_least": 2.0}, "confirmed"),
        ([1.0, 1.0, 1.0], {"at_least": 2.0}, "refuted here"),
        ([1.0, 2.0, 3.0], {"at_least": 1.5}, "not settled"),
        ([1.0, 1.0, 1.0], {"at_least": None, "at_most": 1.0}, "confirmed"),
        ([2.0, 1.9, 2.0], {"at_least": None, "at_most": 1.5}, "refuted here"),
        ([1.0, 1.5, 2.0], {"at_least": None, "at_most": 1.5}, "not settled"),
        ([4.0], {"at_least": 2.0}, "no verdict: fewer than 3 runs"),
        ([4.0, 4.0], {"at_least": 2.0}, "no verdict: fewer than 3 runs"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(values, bound, said):
    assert claim(**bound).verdict(np.array(values)) == said


@pytest.mark.parametrize(
    "settings", [{"at_least": None}, {"at_most": 1.0}, {"tasks": ()}, {"case": "equal"}]
)
def test_a_claim_that_cannot_be_judged_is_refused(settings):
    with pytest.raises(ValueError, match="'a sentence': needs one bound, and tasks or a case"):
        claim(**settings)
    with pytest.raises(ValueError, match="'a sentence': counts='worst': valid are lowest, highest"):
        claim(counts="worst")


def test_the_suites_claims_ask_for_what_records_have():
    found = read()
    assert len(found) > 10
    for one in found:
        assert one.untested or one.case or one.metric in {*METRICS, REPLANNED}


@pytest.fixture
def records(tmp_path):
    """Three seeds: alpha takes both ways of maze-v1 and one of maze-v2, beta one of maze-v1."""
    for seed in range(3):
        make_run(tmp_path, "alpha", seed)
        make_run(tmp_path, "alpha", seed, shares=(1.0, 0.0), task="maze-v2")
        make_run(tmp_path, "beta", seed, shares=(1.0, 0.0))
    make_run(tmp_path, "alpha", 7, shares=(1.0, 0.0), status="failed")
    make_run(tmp_path, "gamma", 0)
    return tmp_path


def asked(place, one, notes=None):
    runs = read_runs(place)
    return numbers(one, runs, evaluations(runs), [] if notes is None else notes).tolist()


def test_numbers_are_those_of_the_runs_that_a_claim_names(records):
    assert asked(records, claim()) == [2, 2, 2], "without the failed run"
    assert asked(records, claim(algo="beta")) == [1, 1, 1]
    assert asked(records, claim(algo="beta", protocol="commanded")) == [2, 2, 2]
    assert asked(records, claim(tasks=TASKS)) == [1, 1, 1], "each seed by its worst task"
    most = {"tasks": TASKS, "at_least": None, "at_most": 1}
    assert asked(records, claim(**most)) == [2, 2, 2], "which is the best one for such a bound"
    assert asked(records, claim(**most, counts="lowest")) == [1, 1, 1]
    assert asked(records, claim(tasks=TASKS, counts="highest")) == [2, 2, 2]
    for other in ({"algo": "delta"}, {"budget": "hour"}, {"preset": "paper"}, {"tasks": ("reach",)},
                  {"algo": "beta", "tasks": TASKS}):  # fmt: skip
        assert asked(records, claim(**other)) == [], "not tested"


def test_experiments_without_a_seed_in_common_are_one(tmp_path):
    for seed in range(3):
        make_run(tmp_path, "alpha", seed, experiment="first")
        make_run(tmp_path, "alpha", seed, shares=(1.0, 0.0), task="maze-v2", experiment="second")
    for task in TASKS:
        make_run(tmp_path, "alpha", 3, shares=(1.0, 0.0), task=task, experiment="second")
    runs, both = read_runs(tmp_path), claim(tasks=TASKS)
    row = both.row(numbers(both, runs, evaluations(runs), []))
    assert row["records"] == "first and second, seeds 0 to 2; second, seed 3"
    assert row["number"] == "1.00 [1.00, 1.00]" and row["verdict"] == "refuted here"
    make_run(tmp_path, "alpha", 3, experiment="first")  # a seed in common: they are not the same
    runs = read_runs(tmp_path)
    found = numbers(both, runs, evaluations(runs), [])
    assert found.index.tolist() == [("second", 3)], "the only one with both tasks"


def test_what_was_replanned_is_a_number_too(records):
    own = claim(algo="beta", metric=REPLANNED)
    assert asked(records, own) == []
    for seed, successes in enumerate([(1.0, 0.5), (0.75, 1.0), None]):
        place = records / f"exp/maze-v1/beta/seed={seed}/replan"
        place.mkdir()
        variants = [{"success": share} for share in successes or ()]
        (place / "replan.json").write_text(json.dumps({"variants": variants}))
    notes = []
    assert asked(records, own, notes) == [0.5, 0.75]
    assert len(notes) == 1 and "seed=2" in notes[0], "a damaged record is named"
    assert asked(records, replace(own, at_least=None, at_most=0.8)) == [1.0, 1.0]


def test_a_row_says_which_runs_its_number_is_of():
    index = pd.MultiIndex.from_tuples([("new", 102), ("new", 100), ("new", 101), ("old", 7),
                                       ("old", 9)], names=["experiment", "seed"])  # fmt: skip
    row = claim().row(pd.Series(2.0, index=index))
    assert row["records"] == "new, seeds 100 to 102; old, seeds 7, 9"
    assert claim().row(pd.Series(2.0, index=index[3:4]))["records"] == "old, seed 7"


def test_the_report_has_the_claims_that_its_runs_test(records, monkeypatch):
    said = [claim(), claim(algo="beta"), claim(algo="gamma"), claim(algo="delta"),
            claim(algo="alpha", tasks=TASKS[1:], at_least=None, at_most=1)]  # fmt: skip
    said.append(Claim(NASTY, NASTY, NASTY, "alpha", TASKS[:1], "modes_found", at_least=2))
    monkeypatch.setattr(claims, "read", lambda: said)
    monkeypatch.setattr(report, "draw_all", lambda *_: [])  # figures are not asked for
    runs = read_runs(records)
    made = table(runs, evaluations(runs), [])
    assert made["verdict"].tolist() == [
        "confirmed", "refuted here", "no verdict: fewer than 3 runs", "confirmed", "confirmed",
    ]  # fmt: skip
    page = report.write(records, records / "out").read_text()
    part = page.split(">What papers claim</h2>")[1].split("<h2")[0]
    assert part.count("<tr") == 1 + len(made)
    text = html.escape(NASTY).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    assert part.count(text) == 3 and "<!--" not in page and "[/red]|" not in part.split(text)[0]
    assert "2.00 [2.00, 2.00]" in part and "at most 1" in part
    for suffix in ("csv", "md", "tex"):
        assert (records / "out" / f"claims.{suffix}").stat().st_size > 0
    monkeypatch.setattr(claims, "read", lambda: [claim(algo="delta")])
    assert "What papers claim" not in report.write(records, records / "out").read_text()
