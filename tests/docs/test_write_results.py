"""The README's tables: from the committed records, and from some made here."""

import pandas as pd
import pytest

from bench.analysis.runs import read_runs
from docs import write_results
from tests.analysis.test_report import make_run


def test_an_algorithm_whose_paper_has_scores_here_is_named_by_its_preset():
    table = write_results.policies().set_index("algorithm")
    assert "ddiffpg" not in table.index and table.loc["ddiffpg (suite)", "bandit"] != "–"
    assert "sac" in table.index and len(table) >= 8


@pytest.fixture
def campaign(tmp_path, monkeypatch):
    """Runs of two algorithms, three seeds of one; both obey commands, `skewed` draws one mode."""
    for seed in range(3):
        make_run(tmp_path, "even", seed)
    make_run(tmp_path, "skewed", 0, shares=(1.0, 0.0))
    runs = read_runs(tmp_path)
    monkeypatch.setattr(write_results, "done", lambda folder: runs if "campaign" in folder else [])
    monkeypatch.setattr(write_results, "ANTS", "none")
    monkeypatch.setattr(write_results, "CLASSES", "campaign/exp")
    return runs


def test_what_the_campaign_has_cost_is_what_its_runs_took(campaign):
    cost = write_results.spent().set_index("algorithm")
    assert cost["runs"].to_dict() == {"even": "3", "skewed": "1", "all": "4"}
    assert cost.loc["even", "hours of one core"] == "0.1"  # three times two minutes
    assert cost["million env steps"].tolist() == ["0.0"] * 3
    assert [len(r.facts["seconds"]) for r in campaign] == [3] * 4, "evaluation counts, too"


def test_a_drawn_command_samples_what_all_commands_together_do(campaign):
    table = write_results.evenness().set_index("algorithm")
    assert table["reached on command"].unique().tolist() == ["2.0 of 2"]
    assert table["effective, drawn command"].unique().tolist() == ["2.00"]
    assert table.loc["skewed", "effective, no command"] == "1.00"
    assert float(table.loc["even", "effective, no command"]) > 1.9
    assert table["seeds"].to_dict() == {"even": "3", "skewed": "1"}


def test_runs_of_several_blocks_are_one_campaign_and_come_before_an_earlier_build(
    tmp_path, monkeypatch
):
    make_run(tmp_path / "1", "ddiffpg", 100)
    make_run(tmp_path / "2", "ddiffpg", 100)  # which another block has, too
    make_run(tmp_path / "2", "ddiffpg", 101)
    make_run(tmp_path / "3", "ddiffpg", 10, shares=(1.0, 0.0))
    make_run(tmp_path / "3", "sac", 10, shares=(1.0, 0.0))
    monkeypatch.setattr(write_results, "FAMILIES", ("maze",))
    blocks = {write_results.CLASSES: "1", write_results.ANEW[1]: "2", "quick": "3"}
    monkeypatch.setattr(
        write_results, "done",
        lambda folder: read_runs(tmp_path / blocks[folder]) if folder in blocks else [],
    )  # fmt: skip
    seeds = [(r.facts["experiment"], r.facts["seed"]) for r in write_results.anew()]
    assert sorted(seeds) == [("campaign", 100), ("campaign", 101)]
    (row,) = write_results.every_task().to_dict("records")
    assert row["ddiffpg"].endswith(", 2 seeds") and row["sac"].endswith(", 1 seed *")
    table = write_results.results()
    assert table["task"].tolist() == [row["task"], *[f"{row['task']} (earlier build)"] * 2]
    assert table["seeds"].tolist() == ["2", "1", "1"]


def test_a_comparison_is_corrected_over_its_own_and_over_all_pairs(tmp_path, monkeypatch):
    for seed in range(3):
        make_run(tmp_path, "even", seed)
        make_run(tmp_path, "skewed", seed, shares=(1.0, 0.0))
        make_run(tmp_path, "uneven", seed, shares=(0.9, 0.1))
    make_run(tmp_path, "once", 0)
    runs = read_runs(tmp_path)
    monkeypatch.setattr(write_results, "done", lambda folder: runs)
    monkeypatch.setattr(write_results, "COMMON", [runs[0].facts["task"]])
    monkeypatch.setattr(write_results, "SHOWN", ("even", "skewed"))
    table = write_results.campaign_tests().set_index("against")
    assert set(table["algorithm"]) == {"even"} and set(table.index) == {"skewed", "uneven"}
    # Three seeds a side on one task: p = 0.1, times two comparisons and times three pairs.
    assert table["p, Holm"].tolist() == ["0.2"] * 2
    assert table["over all 3 pairs"].tolist() == ["0.3"] * 2


def test_returns_are_of_as_many_steps_as_all_have_and_as_some_have(monkeypatch):
    ours = pd.DataFrame(
        [("a", 0, 10, -3.0), ("a", 0, 20, -1.0), ("b", 0, 10, -5.0), ("b", 1, 10, -7.0)],
        columns=["algo", "seed", "env_steps", "return"],
    )
    theirs = pd.DataFrame({"algo": ["a"], "env_steps": [20], "return": [-2.0]})
    monkeypatch.setattr(write_results, "control_tasks", lambda: {"T": (ours, theirs)})
    table = write_results.returns().set_index("algorithm")
    assert list(table) == ["T, 10 steps", "T, 20 steps"]
    assert table.loc["a"].tolist() == ["-3 (1 seed)", "-1 (1 seed)"]
    assert table.loc["b"].tolist() == ["-6 (-7 to -5, 2 seeds)", "–"]
    assert table.loc["a (Stable-Baselines3)"].tolist() == ["–", "-2 (1 seed)"]
