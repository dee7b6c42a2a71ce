"""The consistency model against closed forms, and the algorithm by the suite's own checks."""

import pytest
import torch
from consistency_ac import Config
from consistency_ac.model import LEAST, ConsistencyConfig, ConsistencyPolicy, levels

import bench.algos
from bench.algos.common.networks import gradient_step
from bench.commands import bandit
from bench.configuration import resolve, understand
from bench.testing import SPEC, check_algorithm, feed

GOLDEN = {  # of the first three updates, and an action after them: torch 2.13.0 on a CPU
    "critic_loss": [7.805368, 7.772370, 7.767030],
    "actor_loss": [-0.994502, -0.994305, -0.991311],
    "clone_loss": [0.007869, 0.004750, 0.006855],
    "value": [0.604716, 0.606396, 0.606030],
    "novelty_loss": [0.685556, 0.648173, 0.646868],
    "action": [-0.012275, -0.086541],
}


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


def shares(updates, **settings):
    """Train the actor alone on actions of four narrow peaks; return what the bandit measures.

    Five network calls, and each peak's data of std 0.05, as in the toy task of Diffusion-QL.
    """
    actor = ConsistencyConfig(steps=5, hidden=(64, 64, 64))
    algo = build(actor=actor, actor_lr=3e-3, ema=0.02, **settings)
    algo.critic.use_exact_values(lambda action: bandit.height(action, (1.0,) * 4))
    for _ in range(updates):
        peak = bandit.PEAKS[torch.randint(4, (256,))]
        action = peak + 0.05 * torch.randn(256, 2)
        algo.step_actor({"action": action, "norm_obs": torch.zeros(256, SPEC.obs_dim)})
        algo.follow()
    torch.manual_seed(1)
    return bandit.measure(algo.act(torch.zeros(bandit.SAMPLES, SPEC.obs_dim)))


def test_the_consistency_loss_alone_recovers_four_modes():
    """The named check of this class: cloning by itself, offline, keeps what the data hold."""
    found = shares(1250, eta=0.0)
    assert found["in_mode"] > 0.8
    assert all(0.15 < found[f"mode_{k}"] < 0.35 for k in range(4)), found


@pytest.mark.parametrize("clone", [0.0, 1.0])
def test_q_leaves_one_of_four_equal_modes(clone):
    """Its other half: by Q alone, as the code is online, or with the clone that is kept here."""
    found = shares(150, clone=clone)
    assert found["kept"] == 1 and max(found[f"mode_{k}"] for k in range(4)) > 0.8, found


def test_golden_values():
    """A change that is meant renews GOLDEN by what this test finds."""
    config = Config(batch=32)
    config.exploration.warmup = 31 * SPEC.num_envs
    torch.manual_seed(0)
    algo = bench.algos.registry["consistency-ac"].factory(SPEC, config, "cpu")
    seen, update = [], algo.update

    def recorded():
        scalars = update()
        seen.extend([{key: float(value) for key, value in scalars.items()}] if scalars else [])
        return scalars

    algo.update = recorded
    feed(algo, 33, seed=1)
    action = algo.act(torch.linspace(-1, 1, SPEC.obs_dim)[None])[0].tolist()
    found = {key: [scalars[key] for scalars in seen] for key in seen[0]} | {"action": action}
    assert found.keys() == GOLDEN.keys(), found
    for key, values in GOLDEN.items():
        assert found[key] == pytest.approx(values, rel=1e-4, abs=1e-4), key


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
