"""The table of trials on ants says what their records say, and none is left out."""

import pandas as pd
from omegaconf import OmegaConf

from docs import trials
from docs.marks import read


def test_the_page_has_the_table_of_all_trials():
    assert read(trials.PAGE, "trials", trials.SCRIPT) == trials.table()
    known = {f"{name}-{task}" for name in OmegaConf.load(trials.FOLDER / "trials.yaml")
             for task in trials.TASKS}  # fmt: skip
    kept = {folder.name for folder in trials.FOLDER.iterdir() if folder.is_dir()}
    assert kept <= known


def test_a_mode_is_first_known_once():
    counts = enumerate([0.0, 1.0, 0.8, 1.0, 3.0, 2.0])
    progress = [{"env_steps": 10.0 * at, "modes": count} for at, count in counts]
    assert trials.first_known([{"env_steps": 0.0}, *progress]) == [10, 40, 40]


def test_what_a_trial_did_not_get_to_is_not_told():
    progress = [{"env_steps": 16_000.0 * at, "state_coverage": at / 100} for at in range(10)]
    assert trials.covered(progress, 144_000) == "0.09"
    assert trials.covered(progress, 384_000) == trials.NONE


def test_commands_are_ordered_by_what_they_obtain():
    names = ["A2", "A2", "A1", "A1", "failure", "failure", "A1", "failure"]
    command = [0, 0, 0, 1, 1, 2, 3, 3]  # 0 obtains A2 twice of three, 1 and 3 A1, 2 nothing
    episodes = pd.DataFrame({
        "env_steps": 400_000, "protocol": "commanded", "commanded": command, "mode_name": names,
        "success": [name != "failure" for name in names],
    })  # fmt: skip
    free = episodes.assign(protocol="sampled")
    told = trials.succeeded(pd.concat([episodes, free]), 400_000)
    assert told == "0.62 / 0.50, 0.50, 0.67, 0.00"


def test_of_commands_for_a_mode_the_best_is_drawn():
    names = ["A2", "failure", "A1", "A1", "A1", "failure", "failure"]
    command = [0, 0, 1, 1, 2, 2, 3]  # 1 and 2 obtain A1, 3 nothing
    episodes = pd.DataFrame({
        "env_steps": 400_000, "protocol": "commanded", "commanded": command,
        "mode_name": names, "success": [name != "failure" for name in names],
    })  # fmt: skip
    free = episodes.assign(protocol="sampled").head(2)
    sampled, best = trials.evaluated(pd.concat([episodes, free]))
    assert sampled.to_dict() == {400_000: 0.5}
    assert best.loc[400_000].to_dict() == {"A1": 1.0, "A2": 0.5}
