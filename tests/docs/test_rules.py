"""The studies of what the comparison's rules cost."""

import pandas as pd
import pytest

from bench.configuration import as_dict, resolve, understand
from bench.errors import UsageError
from bench.settings import flat
from docs import rules

ALGOS = ["ddiffpg", "maxentdp", "ppo", "sac"]  # each with other studies than the rest


def test_every_run_of_every_study_composes_and_has_a_place_of_its_own():
    places = {}
    for variant, algo, task, words in rules.runs("all", ALGOS):
        place = variant, algo, task
        assert places.setdefault(place, words) == words, f"{place}: two runs"
        request = understand([f"algo={algo}", f"task={task}", *words])
        settings = resolve(request.overrides(algo, task, "0"))
        learning = settings.env_steps - settings.algo.exploration.warmup
        annealed = variant in {*rules.SUCCESSES, *rules.FAMILY_S}
        assert settings.algo.novelty.anneal == (learning // 2 if annealed else 0)
    tried = {variant for variant, *_ in places}
    assert tried == {*rules.BONUS, *rules.SUCCESSES, *rules.KNOBS, *rules.FAMILY_S}
    assert len({tuple(words) for _, words in rules.KNOBS.values()}) == len(rules.KNOBS)


@pytest.mark.parametrize("task", rules.OWN)
def test_without_its_own_preset_a_task_has_what_its_family_has(task):
    plain = "pointmaze-v3" if "maze" in task else "cabinet-open"  # tasks without one

    def settings(*words):
        return resolve(understand([*words]).overrides("ddiffpg", words[1][5:], "0"))

    own, without, family = (
        flat(as_dict(settings("algo=ddiffpg", *words))["algo"])
        for words in ([f"task={task}"], [f"task={task}", *rules.OWN[task]], [f"task={plain}"])
    )
    changed = {word.partition("=")[0].removeprefix("algo.") for word in rules.OWN[task]}
    assert {key for key in own if own[key] != without[key]} == changed
    assert {key: without[key] for key in changed} == {key: family[key] for key in changed}


def test_a_cell_is_of_its_own_variant():
    free = {"algo": "sac", "task": rules.MAZE, "protocol": "sampled", "command_coverage": None}
    found = pd.DataFrame([
        free | {"experiment": "fixed", "seed": 0, "solved_modes": 0.2, "success": 1.0},
        free | {"experiment": "none", "seed": 0, "solved_modes": 0.4, "success": 0.5},
        free | {"experiment": "none", "seed": 1, "solved_modes": 0.2, "success": 0.7},
    ])  # fmt: skip
    (row,) = rules.compared(found, list(rules.BONUS), ["sac", "td3"]).to_dict("records")
    assert row == {"algorithm": "sac", "task": rules.MAZE, "fixed": "0.20 (1.00)",
                   "annealed": "–", "none": "0.30 (0.60)", "seeds": "1 to 2"}  # fmt: skip


def test_what_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="unknown study 'foo'"):
        rules.main(["study=foo"])
    monkeypatch.setattr(rules, "FOLDER", tmp_path)
    with pytest.raises(UsageError, match="no finished run"):
        rules.main(["run=false"])
