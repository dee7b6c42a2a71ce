"""Records and policies of earlier builds are read under today's names."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import bench
from bench.configuration import as_dict, resolve, understand
from bench.errors import UsageError
from bench.policy import settings_of, spec_of
from bench.records import Record
from bench.settings import flat
from bench.standing import as_read_now, run_dir, state_of

REFERENCE = Path(__file__).parents[2] / "results/reference"
POLICIES = sorted(REFERENCE.glob("quick/pointmaze-v3/*/seed=*/policy.pt"))


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.parts[-3])
def test_committed_policies_act_and_obey(path):
    policy = bench.load_policy(path.parent)
    obs = np.zeros((20, 4), np.float32)
    torch.manual_seed(0)
    free = policy.act(obs)
    assert free.shape == (20, 2) and np.abs(free).max() <= 1
    commanded = []
    for mode in range(policy.num_modes):
        torch.manual_seed(0)
        commanded.append(policy.act(obs, mode=mode).mean(axis=0))
    apart = [np.linalg.norm(a - b) for i, a in enumerate(commanded) for b in commanded[:i]]
    assert not apart or max(apart) > 0.5, "commands lead to different ways out of the start"


def test_there_are_committed_policies_of_every_kind():
    assert {path.parts[-3] for path in POLICIES} >= {"ddiffpg", "sac", "ppo", "dipo", "qvpo"}


def test_settings_of_an_older_run_are_compared_under_their_names_now():
    was = yaml.safe_load((REFERENCE / "quick/pointmaze-v3/ppo/seed=10/config.yaml").read_text())
    assert "trace" in was["algo"] and "ratio" in was["algo"]
    request = understand(["algo=ppo", "task=pointmaze-v3", "seed=10"])
    settings = resolve(request.overrides("ppo", "pointmaze-v3", "10"))
    named, now = as_read_now(was, settings), flat(as_dict(settings))
    assert named["algo.gae_lambda"] == now["algo.gae_lambda"] == was["algo"]["trace"]
    assert named["algo.clip_ratio"] == now["algo.clip_ratio"]
    assert not {"algo.trace", "algo.ratio"} & named.keys()


def test_a_setting_that_came_later_stands_at_its_default_in_an_older_run(tmp_path):
    request = understand(["algo=sac", "task=pointmaze-v1", f"results={tmp_path}"])
    settings = resolve(request.overrides("sac", "pointmaze-v1", "0"))
    config = as_dict(settings)
    assert config["algo"]["novelty"].pop("kind") == "noveld", "the default"
    record = Record(run_dir(settings))
    record.path.mkdir(parents=True)
    record.write_config(config)
    record.write({"status": "done", "env_steps": settings.env_steps})
    assert state_of(settings) == "done"
    settings.algo.novelty.kind = "visits"
    with pytest.raises(UsageError, match=r"algo.novelty.kind was 'noveld', is 'visits'. Use"):
        state_of(settings)


def test_a_setting_that_moved_into_another_is_read_there():
    entry = bench.algos.registry["ddiffpg"]
    settings = settings_of(entry, {"gamma": 0.9, "explore_share": 0.4, "modes": {"most": 3}})
    assert (settings.gamma, settings.explorer.share, settings.modes.most) == (0.9, 0.4, 3)
    assert settings.explorer.until == entry.config().explorer.until, "what it does not name stays"


def test_a_position_that_was_a_slice_of_the_observation_is_its_size():
    stored = {"obs_dim": 29, "act_dim": 8, "num_envs": 64, "horizon": 500, "max_return": 10.0,
              "seed": 1}  # fmt: skip
    assert spec_of(stored | {"position": [0, 2, None]}).position_dim == 2
    assert spec_of(stored | {"position": None}).position_dim == 0
    assert spec_of(stored | {"position_dim": 3}).position_dim == 3
