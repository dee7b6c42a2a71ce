"""The campaign's plan: what runs, how long it takes, and that something is expected of it."""

from dataclasses import replace

import pandas as pd
import pytest

from bench.algos import discover
from bench.configuration import as_dict, resolve, understand
from bench.errors import UsageError
from bench.records import Record
from docs import campaign, compact_records, studies


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
    monkeypatch.setattr(compact_records, "main", lambda words: 0)
    monkeypatch.setattr(campaign, "FOLDER", tmp_path / "campaign")
    monkeypatch.setattr(campaign, "LOG", tmp_path / "log.md")
    with pytest.raises(UsageError, match=r"add a line `\* floor: ...`"):
        campaign.main(["block=floor", "run=true"])
    assert not started
    block = replace(campaign.BLOCKS["floor"], tasks=("pointmaze-v1", "reach"), seeds=2)
    monkeypatch.setitem(campaign.BLOCKS, "floor", block)
    gone = ("random", "reach", 101)
    for run in campaign.runs(block, ()):
        if run != gone:
            made("floor", block, *run)
    assert campaign.missing("floor", block, ()) == ([gone], [])
    assert campaign.measure("floor", block, [gone], 2) == 0
    assert [w for words in started for w in words if w.startswith(("task=", "seed=", "algo="))] == [
        "algo=random", "task=reach", "seed=101",
    ]  # fmt: skip


def test_what_another_block_has_made_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "FOLDER", tmp_path / "campaign")
    classes = replace(campaign.BLOCKS["classes"], algos=("sac",), tasks=("pointmaze-v1",), seeds=3)
    mazes = replace(campaign.BLOCKS["mazes"], algos=("sac",), tasks=("pointmaze-v1",), seeds=4)
    monkeypatch.setattr(campaign, "BLOCKS", {"classes": classes, "mazes": mazes})
    made("classes", classes, "sac", "pointmaze-v1", 100)
    made("classes", classes, "sac", "pointmaze-v1", 101, n_step=2)  # of other settings, no such run
    made("mazes", mazes, "sac", "pointmaze-v1", 103)
    left, refused = campaign.missing("mazes", mazes, ())
    assert left == [("sac", "pointmaze-v1", 101), ("sac", "pointmaze-v1", 102)] and not refused
    assert len(campaign.missing("classes", classes, ())[1]) == 1, "where it is refused"


def test_a_run_of_other_settings_than_todays_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "FOLDER", tmp_path / "campaign")
    block = replace(campaign.BLOCKS["classes"], algos=("sac",), tasks=("pointmaze-v1",), seeds=2)
    monkeypatch.setitem(campaign.BLOCKS, "classes", block)
    made("classes", block, "sac", "pointmaze-v1", 100)
    made("classes", block, "sac", "pointmaze-v1", 101, n_step=2)
    left, (refused,) = campaign.missing("classes", block, ())
    assert left == [("sac", "pointmaze-v1", 101)], "and the other one is done"
    assert "seed=101 was made with other settings: algo.n_step was 2, is " in refused
    with pytest.raises(UsageError, match=r"seed=101 was made with other settings"):
        campaign.main(["block=classes", "run=true"])


def made(name, block, algo, task, seed, **changed):
    """Write what is left of a finished run of a block, with some of its settings changed."""
    config = as_dict(replace(campaign.settings(block, algo, task), seed=seed))
    config["algo"] |= changed
    record = Record(campaign.FOLDER / name / task / algo / f"seed={seed}")
    record.path.mkdir(parents=True)
    record.write_config(config)
    record.write({"status": "done", "env_steps": config["env_steps"]})


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="unknown block 'foo'"):
        campaign.main(["block=foo"])
    with pytest.raises(UsageError, match="unknown algo 'foo'"):
        campaign.main(["others=foo"])
