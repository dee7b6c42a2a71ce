"""Success while learning is drawn beside success in evaluation, from records alone."""

import json

import numpy as np
import pytest
from test_report import make_run

from bench.analysis.load import table
from bench.analysis.runs import read_runs
from bench.analysis.training import learning


@pytest.fixture
def records(tmp_path):
    """Return a folder with two seeds of alpha and one of beta, which has no lines of progress."""
    for seed, last in enumerate((0.6, 0.8)):
        place = make_run(tmp_path, "alpha", seed)
        lines = [{"env_steps": 50}, {"env_steps": 200, "train_success": 0.2},
                 {"env_steps": 400, "train_success": last}]  # fmt: skip
        (place / "progress.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    make_run(tmp_path, "beta")
    return tmp_path


def drawn(folder):
    runs = read_runs(folder)
    return learning(runs, table(runs))


def test_training_and_evaluation_stand_in_one_panel_per_algorithm(records):
    (panel,) = drawn(records).axes
    assert panel.get_title() == "alpha"
    thick = {line.get_linestyle(): line for line in panel.get_lines() if line.get_linewidth() > 1}
    acted, evaluated = thick[":"], thick["-"]
    assert np.allclose(acted.get_xdata(), [200, 400])
    assert np.allclose(acted.get_ydata(), [0.2, 0.7]), "mean over seeds"
    assert np.allclose(evaluated.get_ydata(), 1.0) and len(evaluated.get_xdata()) == 4


@pytest.mark.parametrize("line", ["no json", "[1]", '{"env_steps": 1, "train_success": 0.0}'])
def test_without_a_success_in_training_nothing_is_drawn(records, line):
    for place in (records / "exp/maze-v1/alpha").iterdir():
        (place / "progress.jsonl").write_text(line + "\n")
    assert drawn(records) is None
