"""The bandit's command: what it writes, keeps and refuses."""

import pandas as pd
import pytest

import bench.algos
from bench.__main__ import main
from bench.commands import bandit


def test_a_result_replaces_its_own_kind_alone(tmp_path):
    out = f"out={tmp_path}"
    assert main(["bandit", "algo=td3,dipo", "case=equal", "updates=1", out]) == 0
    assert main(["bandit", "algo=td3", "case=equal,unequal", "updates=2", "seed=3", out]) == 0
    table = pd.read_csv(tmp_path / "bandit.csv")
    rows = list(zip(table["algo"], table["case"], table["updates"], table["seed"], strict=True))
    assert rows == [("dipo", "equal", 1, 0), ("td3", "equal", 2, 3), ("td3", "unequal", 2, 3)]
    assert len((tmp_path / "bandit.md").read_text().splitlines()) == 2 + len(rows)
    assert (tmp_path / "bandit.png").stat().st_size > 10_000
    assert set(bandit.stored_samples(tmp_path)) == {"dipo.equal", "td3.equal", "td3.unequal"}


def test_settings_can_be_changed():
    bench.algos.discover()
    entry = bench.algos.registry["dipo"]
    changed = bandit.settings(entry, ["algo.actor.steps=3", "algo.actor.hidden=[8]", "algo.ema=1"])
    assert (changed.actor.steps, changed.actor.hidden, changed.ema) == (3, [8], 1.0)
    assert changed.actor.activation == bandit.settings(entry).actor.activation == "mish"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["algo=dipo", "algo.actor.stesp=3"], "Did you mean 'algo.actor.steps'"),
        (["algo=dipo,td3", "algo.actor.steps=3"], "unknown setting 'algo.actor'"),
        (["algo=dipo", "algo.actor.steps=1"], "actor.steps=1"),
        (["algo=dipo", "algo.ema=fast"], "ema"),
        (["algo=dipo", "case=equals"], "Did you mean 'equal'"),
        (["algo=dipo", "critic=true"], "exact, learned"),
        (["algo=dipo", "updates=none"], "updates=none"),
        (["algo=dipo", "lopsided"], "not 'lopsided'"),
    ],
)
def test_bad_input_is_one_line_status_2_and_nothing_written(tmp_path, capsys, words, message):
    assert main(["bandit", f"out={tmp_path / 'b'}", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
    assert not (tmp_path / "b").exists()
