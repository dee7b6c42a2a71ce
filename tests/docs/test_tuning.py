"""The small grid by which every method is tuned alike."""

import pandas as pd
import pytest

from bench.algos import discover
from bench.configuration import resolve, understand
from bench.errors import UsageError
from docs import tuning

TASK = "pointmaze-v1"


def test_every_method_has_a_knob():
    own = {
        name
        for name, entry in discover().items()
        if entry.factory.__module__.startswith("bench.algos.")
    }  # others' tests add to them
    assert tuning.KNOBS.keys() | tuning.LEFT_OUT == own


def test_every_change_composes_and_changes_what_it_says():
    seen = {}
    for change, algo, words in tuning.runs(["ddiffpg", "sac", "ppo"], TASK, "0"):
        request = understand([f"algo={algo}", f"task={TASK}", *words])
        seen[algo, change] = resolve(request.overrides(algo, TASK, "0")).algo
    assert len(seen) == 7 + 7 + 5, "ppo has no target networks"
    sac, changed = seen["sac", tuning.CENTRE], seen["sac", "lr-low"]
    for rate in ("actor_lr", "critic_lr", "temperature_lr"):
        assert getattr(changed, rate) == pytest.approx(getattr(sac, rate) / 3)
    assert (changed.tau, changed.target_entropy) == (sac.tau, sac.target_entropy)
    assert seen["sac", "tau-high"].tau == pytest.approx(3 * sac.tau)
    assert seen["sac", "knob-low"].target_entropy < -2 < seen["sac", "knob-high"].target_entropy
    ours = seen["ddiffpg", tuning.CENTRE].ascent_lr
    assert seen["ddiffpg", "knob-low"].ascent_lr == pytest.approx(ours / 3)
    assert seen["ppo", "lr-high"].lr == pytest.approx(3 * seen["ppo", tuning.CENTRE].lr)


def test_a_change_is_better_only_by_more_than_a_tie():
    row = {"algo": "sac", "task": TASK, "protocol": "sampled", "seed": 0, "success": 1.0}
    scores = {tuning.CENTRE: 0.50, "lr-low": 0.54, "lr-high": 0.30}
    found = pd.DataFrame([row | {"experiment": n, "solved_modes": s} for n, s in scores.items()])
    (line,) = tuning.table(found).to_dict("records")
    assert line["preset"] == "0.50 (1.00)" and line["tau × 3"] == "–"
    assert line["gain, one seed"] == "none"
    found.loc[2, "solved_modes"] = 0.60
    (line,) = tuning.table(found).to_dict("records")
    assert line["gain, one seed"] == "rates × 3, +0.10"
    assert tuning.table(found[found["experiment"] != tuning.CENTRE]).empty


def test_what_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="unknown algo 'foo'"):
        tuning.main(["algo=foo"])
    monkeypatch.setattr(tuning, "FOLDER", tmp_path)
    with pytest.raises(UsageError, match="no finished run"):
        tuning.main(["run=false"])
