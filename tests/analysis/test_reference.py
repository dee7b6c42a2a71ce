"""The suite's own records below a user's results, and records that have lost their settings."""

import pytest
from test_report import make_run

import bench.reference
from bench.__main__ import main
from bench.analysis.report import chosen
from bench.records import Record


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    """Results in the working directory: a run of the suite's, none of the user's."""
    monkeypatch.chdir(tmp_path)
    reference = tmp_path.resolve() / "results" / "reference"
    monkeypatch.setattr(bench.reference, "REFERENCE", reference)
    make_run(reference, algo="beta")
    return tmp_path


def test_the_suites_own_records_are_left_out_unless_they_are_named(mixed, capsys):
    make_run(mixed / "results", algo="alpha")
    line = "left out: {0} (the suite's own 1 runs); results={0} shows them"
    for results in ("results", "."):
        apart = line.format("results/reference")
        assert main(["status", f"results={results}"]) == 0
        shown = capsys.readouterr().out
        assert "alpha" in shown and "beta" not in shown and shown.splitlines()[-1] == apart
    assert main(["report", "out=out"]) == 0
    shown = capsys.readouterr().out
    assert "alpha" in shown and "beta" not in shown
    assert shown.splitlines()[-1] == line.format("results/reference")
    for results in ("results/reference", "results/reference/exp"):
        assert main(["status", f"results={results}"]) == 0
        shown = capsys.readouterr().out
        assert "beta" in shown and "left out" not in shown
    assert main(["report", "results=results/reference", "out=out"]) == 0
    shown = capsys.readouterr().out
    assert "beta" in shown and "left out" not in shown


def test_where_there_is_nothing_else_the_line_says_what_was_left_out(mixed, capsys):
    assert main(["report"]) == 2
    error = capsys.readouterr().err
    assert "no runs below results; left out: results/reference" in error
    assert error.count("\n") == 1


def test_an_experiment_of_that_name_is_found_by_its_name(mixed):
    make_run(mixed / "results", algo="alpha")
    results = mixed / "results"
    (results / "exp/maze-v1").rename(results / "reference/maze-v1")
    runs, _ = chosen("results", ["reference"])
    assert [run.facts["algo"] for run in runs] == ["alpha"]


def test_a_run_that_has_lost_its_settings_is_damaged(tmp_path, capsys):
    place = make_run(tmp_path)
    assert main(["status", f"results={tmp_path}"]) == 0
    assert "done" in capsys.readouterr().out, "it has never had a config.yaml"
    Record(place).write_config({"num_envs": 8})
    sums = Record(place).sums
    sums.save({name: values[-1:] for name, values in sums.read().items()})  # as the next change
    (place / "config.yaml").unlink()
    assert main(["status", f"results={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert "damaged" in shown and "config.yaml is missing, which checksums.json lists" in shown
