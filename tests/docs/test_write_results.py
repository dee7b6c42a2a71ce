"""The README's tables, from the committed records."""

from docs import write_results


def test_an_algorithm_whose_paper_has_scores_here_is_named_by_its_preset():
    table = write_results.policies().set_index("algorithm")
    assert "ddiffpg" not in table.index and table.loc["ddiffpg (suite)", "bandit"] != "–"
    assert "sac" in table.index and len(table) >= 8
