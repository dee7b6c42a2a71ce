"""The campaign's plan: what runs, how long it takes, and that something is expected of it."""

import pandas as pd
import pytest

from bench.algos import discover
from bench.configuration import resolve, understand
from bench.errors import UsageError
from docs import campaign, studies


def test_every_block_is_of_known_names_and_has_an_expectation():
    for name, block in campaign.BLOCKS.items():
        assert len(campaign.expected(name)) > 20, name
        words = [f"algo={block.algos[0] if block.algos else 'sac'}", f"budget={block.budget}"]
        request = understand([*words, f"task={','.join(block.tasks)}"])
        assert {resolve(request.overrides(*c)).names.task for c in request.combinations()} == {
            *block.tasks
        }


def test_all_algorithms_that_learn_are_in_classes_and_others_join_in():
    made = list(campaign.runs(campaign.BLOCKS["classes"], ("td3",)))
    assert {algo for algo, _, _ in made} == set(discover()) - {campaign.FLOOR}
    assert len(made) == len(set(made)) == 4 * 5 * (len(discover()) - 1)
    assert min(seed for *_, seed in made) == campaign.FIRST_SEED
    joined = list(campaign.runs(campaign.BLOCKS["mazes"], ("td3",)))
    assert len(joined) == 4 * 10 * 3 and ("td3", "pointmaze-v4", 109) in joined


def test_hours_come_from_runs_that_were_made():
    row = {"experiment": "quick", "budget": "quick"}
    frame = pd.DataFrame([
        row | {"algo": "sac", "task": "reach", "seed": 10, "minutes": 30.0},
        row | {"algo": "sac", "task": "reach", "seed": 10, "minutes": 30.0},  # an evaluation each
        row | {"algo": "sac", "task": "reach", "seed": 11, "minutes": 90.0},
        row | {"algo": "td3", "task": "reach", "seed": 10, "minutes": 180.0},
    ])  # fmt: skip
    known = campaign.minutes(frame)
    assert campaign.hours([("sac", "reach", 100), ("sac", "reach", 101)], "quick", known) == 2.0
    unknown = campaign.hours([("ppo", "reach", 100)], "quick", known)
    assert unknown == pytest.approx(100 / 60), "as long as a mean run"


def test_nothing_runs_unexpected_or_twice(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(studies, "run", lambda words: started.append(words) or 0)
    monkeypatch.setattr(campaign, "FOLDER", tmp_path / "campaign")
    monkeypatch.setattr(campaign, "LOG", tmp_path / "log.md")
    with pytest.raises(UsageError, match=r"add a line `\* floor: ...`"):
        campaign.main(["block=floor", "run=true"])
    assert not started
    block = campaign.BLOCKS["floor"]
    every = set(campaign.runs(block, ()))
    places = {(a, t, s): tmp_path / "campaign" / "floor" / t / a / f"seed={s}" for a, t, s in every}
    gone = ("random", "reach", 101)
    left = campaign.missing("floor", block, (), {p for key, p in places.items() if key != gone})
    assert left == [gone]
    (tmp_path / "campaign" / "floor").mkdir(parents=True)
    assert campaign.measure("floor", block, left, 2) == 0
    assert [w for words in started for w in words if w.startswith(("task=", "seed=", "algo="))] == [
        "algo=random", "task=reach", "seed=101",
    ]  # fmt: skip


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="unknown block 'foo'"):
        campaign.main(["block=foo"])
    with pytest.raises(UsageError, match="unknown algo 'foo'"):
        campaign.main(["others=foo"])
