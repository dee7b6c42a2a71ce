"""Evaluation as an algorithm's source acts: who has it, what it does, and what it leaves alone."""

import numpy as np
import pandas as pd
import pytest
import torch

import bench
import bench.algos
from bench.__main__ import main
from bench.evaluation import protocols
from bench.tasks import make_task
from bench.testing import SPEC

OTHERWISE = [
    "categorical", "dacer", "diffusion-ql", "dipo", "dpmd", "dsac-d", "fpmd", "latent-sac",
    "maxentdp", "mfpo", "pmoe", "ppo", "qvpo", "sac",
]  # fmt: skip
PLAIN = ["cppo", "ddiffpg", "qsm", "random", "rpg", "td3"]


def learner(name):
    torch.manual_seed(0)
    entry = bench.algos.discover()[name]
    return entry.factory(SPEC, entry.config(), "cpu")


def draws(act, obs, seeds=2):
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        found.append(act(obs))
    return found


def test_those_whose_source_acts_otherwise_have_one_more_protocol():
    own = {
        n for n, e in bench.algos.discover().items() if e.factory.__module__.startswith("bench.")
    }
    assert sorted(own) == sorted(OTHERWISE + PLAIN), "other tests register some of their own"
    task = make_task("pointmaze-v2")
    for name in OTHERWISE + PLAIN:
        names = [protocol.name for protocol in protocols(task, learner(name), 5)]
        plain = ["sampled", "commanded"] if learner(name).num_modes else ["sampled"]
        assert names == ([*plain, "specified"] if name in OTHERWISE else plain)
        assert [p.name for p in protocols(task, learner(name), 5, specified=False)] == plain


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_a_gaussian_acts_by_its_mean(name):
    algo, obs = learner(name), torch.randn(6, SPEC.obs_dim)
    *_, bias = algo.actor.parameters()
    bias.data[: SPEC.act_dim] += 0.6
    one, other = draws(algo.act_as_specified, obs)
    assert torch.equal(one, other) and one.mean() > 0.3
    sampled = torch.stack(draws(algo.act, obs, 400))
    inverse = torch.atanh if name == "sac" else torch.Tensor.clone
    middle = inverse(sampled.clamp(-1 + 1e-6, 1 - 1e-6)).median(dim=0).values
    assert torch.allclose(middle, inverse(one), atol=0.25)


@pytest.mark.parametrize(
    ("name", "count"),
    [("qvpo", 32), ("maxentdp", 10), ("mfpo", 10), ("diffusion-ql", 50), ("dpmd", 32)],
)
def test_candidates_are_judged_by_q(name, count, monkeypatch):
    algo, obs = learner(name), torch.randn(200, SPEC.obs_dim)
    seen = []

    def values(features, action):
        seen.append(action.shape)
        judged = 1e4 * action[..., 0]  # candidates of an untrained denoiser hardly differ
        return torch.stack([judged, judged + 1], dim=1)

    monkeypatch.setattr(algo.target_critic, "values", values)
    one, other = (action[:, 0] for action in draws(algo.act, obs))
    assert not seen, "a plain sample asks no critic"
    (chosen,) = (action[:, 0] for action in draws(algo.act_as_specified, obs, 1))
    assert sum(shape[1] for shape in seen) == count * len(obs)
    assert (chosen - one).mean() > 0.5 * (other - one).std()


def test_only_the_first_noise_is_drawn():
    algo, obs = learner("dipo"), torch.randn(6, SPEC.obs_dim)
    torch.manual_seed(0)
    algo.act_as_specified(obs)
    after = torch.rand(3)
    torch.manual_seed(0)
    torch.randn(6, SPEC.act_dim)
    assert torch.equal(after, torch.rand(3))
    assert not torch.equal(draws(algo.act, obs, 1)[0], draws(algo.act_as_specified, obs, 1)[0])


def test_the_last_evaluations_have_it_and_the_others_stay_what_they_are(tmp_path, capsys):
    place = "default/pointmaze-v2/sac/seed=0/episodes.parquet"

    def run(name, *words):
        more = ["budget=smoke", "threads=1", "eval.every=1000", "eval.episodes=4", *words]
        task = ["algo=sac", "task=pointmaze-v2", f"results={tmp_path / name}"]
        assert main(["run", *task, *more]) == 0
        return pd.read_parquet(tmp_path / name / place)

    rows, without = run("with"), run("without", "eval.specified=0")
    apart = rows["protocol"] == "specified"
    assert rows.loc[apart, "env_steps"].tolist() == np.repeat([2000, 3000, 4000], 4).tolist()
    assert (rows.loc[apart, "commanded"] == -1).all() and rows.loc[apart, "distance"].nunique() == 3
    pd.testing.assert_frame_equal(rows[~apart].reset_index(drop=True), without)
    capsys.readouterr()
    run("without")
    assert "done already" in capsys.readouterr().err, "a run goes on with another value"
    assert main(["eval", str((tmp_path / "without" / place).parent), "episodes=2"]) == 0
    assert "specified" in capsys.readouterr().out
