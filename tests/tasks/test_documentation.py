"""What docs/ecosystem.md shows is run."""

import importlib
import re
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from bench.configuration import resolve, understand
from bench.rollout import play_episodes
from bench.tasks import make_task

TEXT = (Path(__file__).parents[2] / "docs" / "ecosystem.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMAND = re.search(r"python -m bench run (.*)", TEXT)[1]


@pytest.mark.parametrize("block", PYTHON[:2], ids=["gymnasium", "torchrl"])
def test_the_examples_run(block):
    for module in set(re.findall(r"^(?:from|import) (\w+)", block, re.MULTILINE)):
        pytest.importorskip(module)
    seen = {}
    exec(block, seen)
    if "envs" in seen:
        assert seen["env"].spec.max_episode_steps == 700 and seen["envs"].num_envs == 2


def test_the_users_own_environment_trains_by_the_command_that_is_shown(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    (tmp_path / "my_fork.py").write_text(PYTHON[2])
    try:
        words = understand([*COMMAND.split(), "budget=smoke"])
        (combination,) = words.combinations()
        settings = resolve(words.overrides(*combination)).task
        task = make_task("gym", **vars(settings))
        assert task.modes == ("left", "right") and task.horizon == 20
        action = np.array([[1.0], [-1.0], [0.0]], np.float32)
        episodes = play_episodes(task.make(3, seed=0), lambda obs, slots: action[slots], 0)
        assert [episode.mode for episode in episodes] == [0, 1, -1]
        assert importlib.import_module("my_fork").side(episodes[0].path) == "left"
    finally:
        sys.modules.pop("my_fork", None)
