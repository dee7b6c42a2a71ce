"""The figure with one line per algorithm."""

import pandas as pd
import pytest

from bench.analysis import comparison, ranking
from bench.analysis.load import load_results
from bench.analysis.runs import read_runs
from tests.analysis.test_report import make_run


@pytest.fixture
def drawn(tmp_path):
    """One algorithm that has both modes, one that has one, one that has both on command alone."""
    for seed in (0, 1):
        make_run(tmp_path, "both", seed, shares=(0.5, 0.5))
        make_run(tmp_path, "one", seed, shares=(1.0, 0.0))
    return ranking.ranking(read_runs(tmp_path), comparison.scopes(load_results(tmp_path)))


def dots(axes):
    """Return every dot by its place from the top, and whether it is hollow: its x."""
    found = {}
    for line in axes.lines:
        if line.get_marker() == "o":
            x, y = float(line.get_xdata()[0]), float(line.get_ydata()[0])
            found[round(y), line.get_markerfacecolor() == "white"] = x
    return found


def test_a_dot_is_where_the_share_of_modes_is_and_the_best_is_first(drawn):
    (axes,) = drawn.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["both", "one"]
    found = dots(axes)
    assert found[0, False] > 0.9 and found[1, False] == pytest.approx(0.5)
    assert found[0, True] == found[1, True] == 1.0, "on command both have both"
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first is at the top"


def test_the_better_protocol_decides_then_both_then_success():
    rows = [("a", "sampled", 0.2, 1.0), ("b", "sampled", 0.5, 0.4), ("c", "sampled", 0.2, 0.9),
            ("d", "sampled", 0.1, 1.0), ("d", "commanded", 0.9, 1.0),
            ("e", "sampled", 0.3, 1.0), ("e", "commanded", 0.9, 0.8)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["algo", "protocol", "modes", "success"])
    assert ranking.order([table]) == ["e", "d", "b", "a", "c"]
    lacking = table[table["algo"] != "e"]
    assert ranking.order([table, lacking]) == ["d", "b", "a", "c", "e"], "what ran on one is last"


def test_success_stands_beside_each_algorithm(drawn):
    texts = [text.get_text() for text in drawn.axes[0].texts]
    assert texts.count("1.00") == 2 and "success" in texts


def test_without_runs_there_is_no_figure():
    assert ranking.ranking([], []) is None
