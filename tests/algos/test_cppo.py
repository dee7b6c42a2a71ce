"""CPPO: what the Gaussian and the flow learn from, and what becomes of modes."""

import math

import pytest
import torch

import bench.algos
from bench.api import Spec, Transition
from bench.commands import bandit
from bench.rollout import Rollout
from bench.tasks import make_task
from bench.testing import SPEC, feed

bench.algos.discover()


def build(**settings):
    torch.manual_seed(0)
    entry = bench.algos.registry["cppo"]
    config = entry.config(**{"batch": 32, **settings})
    config.novelty.coef = 0.0
    return entry.factory(SPEC, config, "cpu")


def test_the_ratio_is_that_of_the_gaussian_around_the_reference():
    """log N(a; a0 + drift, std): of the flow that drew a0 nothing is asked."""
    algo = build(std=0.3)
    norm_obs, reference = torch.randn(6, SPEC.obs_dim), 2 * torch.rand(6, SPEC.act_dim) - 1
    action = torch.randn(6, SPEC.act_dim)
    rows = {"norm_obs": norm_obs, "reference": reference, "action": action}
    with torch.no_grad():
        drift = algo.actor(torch.cat([norm_obs, reference], dim=-1))
        found = algo.log_density(rows)
    wanted = torch.distributions.Normal(reference + drift, 0.3).log_prob(action).sum(-1)
    torch.testing.assert_close(found, wanted)


def test_a_rollout_keeps_the_references_that_its_actions_were_drawn_around(monkeypatch):
    algo = build(rollout=4, std=0.01)
    drawn, seen = [], []
    monkeypatch.setattr(
        algo.flow, "sample",
        lambda condition, rng=None: (
            drawn.append(2 * torch.rand(len(condition), SPEC.act_dim) - 1) or drawn[-1]
        ),
    )  # fmt: skip
    monkeypatch.setattr(algo, "learn", lambda rollout: seen.append(rollout) or {})
    feed(algo, 4, seed=1)
    (rollout,) = seen
    assert torch.equal(rollout["reference"], torch.stack(drawn))
    assert torch.equal(algo.own_rows(rollout)["reference"], torch.cat(drawn))
    assert (rollout["action"] - rollout["reference"]).abs().max() < 0.2
    assert (rollout["action"] - rollout["reference"]).abs().min() > 0


def test_the_marginal_is_that_of_flow_and_gaussian():
    """Of references that are N(0, .3^2) and a drift of .1: N(.1, .3^2 + std^2)."""
    algo = build(std=0.2)
    torch.nn.init.zeros_(algo.actor[-1].weight)
    torch.nn.init.constant_(algo.actor[-1].bias, 0.1)
    algo.flow.sample = lambda condition, rng=None: 0.3 * torch.randn(len(condition), SPEC.act_dim)
    found = algo.marginal(torch.zeros(20_000, SPEC.obs_dim))
    inside = torch.distributions.Normal(0.1, math.hypot(0.3, 0.2)).sample((20_000,)).clamp(-1, 1)
    assert found.abs().max() <= 1
    assert float(found.mean()) == pytest.approx(float(inside.mean()), abs=0.01)
    assert float(found.std()) == pytest.approx(float(inside.std()), abs=0.01)


def test_the_flow_learns_when_due_from_references_of_before_it_moved(monkeypatch):
    algo = build(rollout=4, frozen=2, flow_epochs=3, flow_batch=16)
    order, drifts = [], []
    marginal, loss = algo.marginal, algo.flow.loss
    monkeypatch.setattr(
        algo, "marginal", lambda rows, rng: order.append(len(rows)) or marginal(rows, rng)
    )
    monkeypatch.setattr(algo.flow, "loss", lambda *rows: order.append("step") or loss(*rows))
    for rollout in range(4):
        feed(algo, 4, seed=rollout)
        drifts.append(float(algo.actor[-1].bias.detach().abs().sum()))
    assert order == 2 * [3 * 4 * SPEC.num_envs, *["step"] * 6]
    assert drifts[0] > 0 and drifts[2] > 0 and drifts[1] == drifts[3] == 0


def test_the_first_flow_imitates_random_exploration():
    algo = build(imitated=400, imitation_epochs=60, flow_batch=64)
    algo.exploration.config.warmup = 600
    rng, no = torch.Generator().manual_seed(0), torch.zeros(8, dtype=torch.bool)
    for i in range(75):  # the first 25 vector steps are too old to be imitated
        obs = torch.randn(8, SPEC.obs_dim, generator=rng)
        action = (0.5 if i >= 25 else -0.9) + 0.1 * torch.randn(8, SPEC.act_dim, generator=rng)
        place = obs[:, :2]
        algo.observe(Transition(obs, action, torch.zeros(8), obs, no, no, no, place, place))
        assert algo.update() == {}
    drawn = algo.flow.sample(torch.randn(2000, SPEC.obs_dim))
    assert drawn.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.1)
    assert not algo.explored


def iterations(count, *changes):
    """Return every mode's share and the mean height, at first and after each iteration.

    The first flow imitates four narrow clusters beside the peaks of the bandit.
    """
    task = make_task("bandit", case="equal")
    settings = bandit.settings("cppo", ["algo.std=0.1", "algo.lr=1e-3", *changes]).algo
    torch.manual_seed(0)
    entry = bench.algos.registry["cppo"]
    algo = entry.factory(Spec.of(task, bandit.NUM_ENVS, 0), settings, "cpu")
    rng = torch.Generator().manual_seed(0)
    beside = bandit.PEAKS[torch.arange(4000) % 4] + 0.2 + 0.05 * torch.randn(4000, 2, generator=rng)
    play = Rollout(task.make(bandit.NUM_ENVS, 0))
    for action in beside.clamp(-1, 1).split(bandit.NUM_ENVS):
        algo.observe(play.step(action.numpy()).transition("cpu"))
    algo.update()
    found = []
    for iteration in range(count + 1):
        for _ in range(settings.frozen * settings.rollout if iteration else 0):
            action = algo.act(torch.as_tensor(play.obs), explore=True)
            algo.observe(play.step(action.numpy()).transition("cpu"))
            algo.update()
        action = algo.flow.sample(torch.zeros(bandit.SAMPLES, 2)).detach()
        shares = [bandit.measure(action)[f"mode_{k}"] for k in range(4)]
        found.append((shares, float(bandit.height(action, (1.0,) * 4).mean())))
    return found


@pytest.mark.slow
def test_modes_persist_over_ten_iterations_and_move_to_higher_reward():
    (_, before), *later = iterations(10)
    assert min(min(shares) for shares, _ in later) > 0.1
    assert min(height for _, height in later) > before + 0.1
