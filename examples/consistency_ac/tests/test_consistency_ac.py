"""The consistency model against closed forms, and the algorithm by the suite's own checks."""

import pytest
import torch
from consistency_ac import Config
from consistency_ac.model import LEAST, ConsistencyConfig, ConsistencyPolicy, levels

import bench.algos
from bench.algos.common.networks import gradient_step
from bench.configuration import resolve, understand
from bench.testing import SPEC, check_algorithm


def build(**settings):
    torch.manual_seed(0)
    entry = bench.algos.registry["consistency-ac"]
    return entry.factory(SPEC, Config(**{"batch": 32, **settings}), "cpu")


def settings(*words):
    request = understand(["algo=consistency-ac", *words])
    (combination,) = request.combinations()
    return resolve(request.overrides(*combination)).algo


def test_it_keeps_the_contract():
    check_algorithm("consistency-ac", {"batch": 32})


def test_levels_are_those_of_karras_et_al():
    found = levels(18, 80.0)
    assert found[0] == pytest.approx(LEAST) and found[-1] == pytest.approx(80, rel=1e-5)
    middle = (LEAST ** (1 / 7) + 6 / 17 * (80 ** (1 / 7) - LEAST ** (1 / 7))) ** 7
    assert found[6] == pytest.approx(middle, rel=1e-5)


def test_an_action_with_the_least_noise_is_its_own_answer():
    policy = ConsistencyPolicy(2, 3, ConsistencyConfig())
    noisy = torch.randn(9, 2)
    found = policy(noisy, torch.zeros(9, dtype=torch.int64), torch.randn(9, 3))
    assert torch.equal(found, noisy)


def test_the_solution_for_a_single_action_is_consistent():
    """Where all data are one action c, f(x, k) = c + (x - c) LEAST / k along the flow's paths."""
    policy = ConsistencyPolicy(2, 1, ConsistencyConfig())
    single = torch.tensor([[0.3, -0.5]])
    policy.forward = lambda noisy, level, _: (
        single + (noisy - single) * LEAST / policy.noise[level, None]
    )
    assert policy.loss(single.expand(500, 2), torch.zeros(500, 1)).max() < 1e-8
    assert policy.loss(-single.expand(500, 2), torch.zeros(500, 1)).mean() > 1e-4


def test_the_loss_divides_the_square_by_the_levels_distance():
    policy = ConsistencyPolicy(1, 1, ConsistencyConfig(levels=2, steps=1, max_noise=0.502))
    policy.forward = lambda noisy, level, _: level[:, None].float() * torch.ones_like(noisy)
    assert policy.loss(torch.zeros(3, 1), torch.zeros(3, 1)).tolist() == pytest.approx([2.0] * 3)


@pytest.mark.parametrize("steps", [1, 3])
def test_two_peaks_are_cloned_in_few_network_calls(steps):
    torch.manual_seed(0)
    policy = ConsistencyPolicy(1, 1, ConsistencyConfig(steps=steps, hidden=(64, 64)))
    optimizer = torch.optim.Adam(policy.parameters(), 2e-3)
    for _ in range(800):
        action = 0.6 * (2 * torch.randint(2, (256, 1)) - 1.0) + 0.1 * torch.randn(256, 1)
        gradient_step(optimizer, policy.loss(action, torch.zeros(256, 1)).mean())
    calls, real = [], policy.network.forward
    policy.network.forward = lambda inputs: calls.append(len(inputs)) or real(inputs)
    with torch.no_grad():
        sample = policy.sample(torch.zeros(2000, 1))
    assert calls == [2000] * steps and sample.abs().max() <= 1
    near = (sample.abs() - 0.6).abs() < 0.3
    assert near.float().mean() > 0.8 and 0.4 < (sample > 0).float().mean() < 0.6


def test_the_gradient_of_q_runs_through_every_call():
    algo = build(clone=0.0)
    algo.actor.times.requires_grad_()
    loss, _ = algo.actor_loss(dict.fromkeys(("norm_obs", "action"), torch.randn(16, SPEC.obs_dim)))
    (grad,) = torch.autograd.grad(loss, algo.actor.times)
    assert (grad.abs().sum(1) > 0).nonzero().flatten().tolist() == sorted(algo.actor.chain)


def test_without_q_it_clones_alone():
    algo = build(eta=0.0)
    batch = {"norm_obs": torch.randn(16, SPEC.obs_dim), "action": torch.zeros(16, SPEC.act_dim)}
    loss, scalars = algo.actor_loss(batch)
    assert scalars.keys() == {"clone_loss"} and torch.equal(loss.detach(), scalars["clone_loss"])


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"eta": -1.0}, "eta=-1.0"),
        ({"clone": 0.0, "eta": 0.0}, "clone=0, eta=0"),
        ({"explore_candidates": 0}, "explore_candidates=0"),
    ],
)
def test_bad_settings_are_named(settings, word):
    with pytest.raises(ValueError, match=word):
        Config(**settings)


def test_its_presets_are_found_beside_the_suites():
    assert settings("task=bandit").actor.steps == 3, "the suite's own value for the bandit is 20"
    assert settings("task=antmaze-v1").actor.hidden == [256, 256]
    assert settings("task=pointmaze-v1", "preset=paper").explore_candidates == 50
    assert settings("task=pointmaze-v1").exploration.hold == 12, "the suite's, alike for all"
