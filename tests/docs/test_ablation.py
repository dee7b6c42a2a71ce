"""The ablation leads from the paper's settings to the suite's, whatever either has become."""

from docs import ablation


def test_the_rows_of_the_ablation_lead_from_the_paper_to_the_suite():
    rows = ablation.rows()
    assert [name for name, *_ in rows] == [
        "0-paper", *(f"{i}-{name}" for i, (name, *_) in enumerate(ablation.REPAIRS, 1))
    ]  # fmt: skip
    paper, suite = ablation.settings("paper"), ablation.settings("suite")
    changed = {word.split("=")[0].removeprefix("algo.") for word in rows[-1][2]}
    assert changed >= {key for key in suite if suite[key] != paper[key]}
