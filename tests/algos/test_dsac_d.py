"""DSAC-D: a critic that draws returns, against distributions and means that are known."""

import pytest
import torch

import bench.algos
from bench.algos.common.candidates import candidate_values
from bench.algos.common.diffusion import DiffusionConfig
from bench.algos.common.networks import gradient_step
from bench.algos.dsac_d import ReturnConfig, ReturnCritic
from bench.api import Transition
from bench.testing import SPEC

bench.algos.discover()


def build(**settings):
    torch.manual_seed(0)
    entry = bench.algos.registry["dsac-d"]
    return entry.factory(SPEC, entry.config(**{"batch": 32, **settings}), "cpu")


def near(returns, value):
    return (returns - value).abs() < 0.1


def constant(critic, *returns):
    """Let each head draw one return always, whatever the state."""
    for head, value in zip(critic.heads, returns, strict=True):
        scaled = (value - critic.middle) / critic.reach
        head.sample = lambda condition, rng, scaled=scaled: condition.new_full(
            (len(condition), 1), scaled
        )


def test_returns_of_a_bandit_have_both_peaks():
    """Reward 1 with probability .3, else 0: 30 % of what is drawn lies within .1 of 1."""
    torch.manual_seed(0)
    critic = ReturnCritic(1, 1, ReturnConfig())
    optimizer, steps = torch.optim.Adam(critic.parameters(), 3e-3, fused=True), 1500
    nothing = torch.zeros(1, 256, 1)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        reward = (torch.rand(1, 256) < 0.3).float()
        gradient_step(optimizer, critic.loss(nothing, nothing, reward).sum(), 1.0)
    with torch.no_grad():
        drawn = critic.draw(torch.zeros(1, 1), torch.zeros(1, 1), 4000)[:, 0]
    for head in drawn:
        assert float(near(head, 1).float().mean()) == pytest.approx(0.3, abs=0.06)
        assert float(near(head, 0).float().mean()) == pytest.approx(0.7, abs=0.08)
        assert float(head.mean()) == pytest.approx(0.3, abs=0.04)


def test_a_target_is_a_return_of_the_head_with_the_lower_mean():
    """By another sample than those that chose the head; moved, discounted and cut to the range."""
    critic = ReturnCritic(4, 2, ReturnConfig(samples=2, v_min=-1.0, v_max=2.0))
    draws = torch.tensor([  # heads, states, the two that judge and the one that is kept
        [[0.1, 0.3, 0.9], [0.6, 0.8, 0.2], [0.5, 0.5, 1.9], [0.0, 0.0, -0.9]],
        [[0.3, 0.3, 0.5], [0.4, 0.4, 0.7], [0.6, 0.6, 0.1], [0.1, 0.1, 0.0]],
    ])  # fmt: skip
    critic.draw = lambda obs, action, count: draws[..., :count]
    reward, discount = torch.tensor([[0.1, 0.1, 1.0, -0.5]]), torch.tensor([[0.5, 0.0, 1.0, 1.0]])
    found = critic.target(torch.zeros(1, 4, 4), torch.zeros(1, 4, 2), reward, discount)
    torch.testing.assert_close(found, torch.tensor([[0.1 + 0.45, 0.1, 2.0, -1.0]]))


def test_the_choice_of_a_head_does_not_lower_what_is_kept():
    """Of two heads that are alike, 1 with probability .3: the mean target is .3."""
    critic = ReturnCritic(1, 1, ReturnConfig(v_min=-1.0, v_max=1.0))
    for head in critic.heads:
        head.sample = lambda condition, rng: (torch.rand(len(condition), 1) < 0.3).float()
    torch.manual_seed(0)
    nothing = torch.zeros(1, 20_000, 1)
    zeros = torch.zeros(1, 20_000)
    found = critic.target(nothing, nothing, zeros, zeros + 1)
    assert float(found.mean()) == pytest.approx(0.3, abs=0.01)


def test_a_value_is_the_mean_of_drawn_returns_of_every_candidate():
    critic = ReturnCritic(2, 2, ReturnConfig(samples=3))
    seen = []

    def sample(condition, rng):
        seen.append(condition)
        return condition[:, 2:3] / critic.reach - critic.middle / critic.reach

    for head in critic.heads:
        head.sample = sample
    obs, action = torch.arange(4.0).view(2, 2), torch.rand(2, 5, 2)
    found = candidate_values(critic, obs, action)
    torch.testing.assert_close(found, action[..., 0].expand(2, 2, 5))
    assert len(seen[0]) == 2 * 5 * 3
    assert torch.equal(seen[0][:, :2], obs.repeat_interleave(15, dim=0))


def test_both_nets_draw_from_the_learners_generator():
    algo = build()
    assert algo.critic.rng is algo.rng and algo.target_critic.rng is algo.rng
    assert "rng" not in algo.state_dict()


def test_a_termination_leaves_the_reward_and_n_steps_are_discounted():
    algo = build(gamma=0.5, n_step=2, normalize=False)
    algo.novelty.config.coef = 0.0
    constant(algo.target_critic, 0.8, 0.9)
    no, place = torch.zeros(8, dtype=torch.bool), torch.zeros(8, 2)
    ends = torch.arange(8) < 4
    for last in (False, True):
        obs = torch.zeros(8, SPEC.obs_dim)
        action = algo.act(obs, explore=True)
        reward = torch.full((8,), 1.0)  # 0.1 of the largest return
        algo.observe(Transition(obs, action, reward, obs, ends & last, no, no, place, place))
    algo.replay.draw = lambda count, rng=None, recent=None: torch.tensor([0, 7, 8, 15])
    found = algo.critic_target(algo.sample())
    wanted = [0.1 + 0.05, 0.1 + 0.05 + 0.25 * 0.8, 0.1, 0.1 + 0.5 * 0.8]
    torch.testing.assert_close(found[0], torch.tensor(wanted))


def test_the_policys_entropy_is_part_of_the_target():
    critic = ReturnConfig(v_min=-2.0, v_max=2.0)
    algo = build(critic=critic, temperature=0.1, entropy_samples=50, entropy_states=4)
    batch = {
        "norm_bootstrap_obs": torch.zeros(3, SPEC.obs_dim),
        "n_step_reward": torch.tensor([0.2, 0.2, 0.2]), "discount": torch.tensor([0.9, 0.5, 0.0]),
    }  # fmt: skip
    constant(algo.target_critic, 1.0, 1.1)
    torch.testing.assert_close(algo.critic_target(batch)[0], torch.tensor([1.1, 0.7, 0.2]))
    entropy = algo.entropy(torch.zeros(4, SPEC.obs_dim))
    found = algo.critic_target(batch)[0]
    wanted = torch.tensor([1.1, 0.7, 0.2]) + batch["discount"] * 0.1 * entropy
    torch.testing.assert_close(found, wanted)
    assert abs(float(entropy)) > 0.1


def test_the_policys_gradient_runs_through_both_chains():
    algo = build(actor=DiffusionConfig(steps=3), critic=ReturnConfig(steps=4, predict="x0"))
    loss, _ = algo.actor_loss({"norm_obs": torch.randn(16, SPEC.obs_dim)})
    weights = [algo.actor.step_bias.weight, algo.critic.first.step_bias.weight]
    for grad in torch.autograd.grad(loss, weights):
        assert (grad.abs().sum(1) > 0).all()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="samples=0"):
        ReturnConfig(samples=0)
    with pytest.raises(ValueError, match=r"v_min=1\.5"):
        ReturnConfig(v_min=1.5)
    config = bench.algos.registry["dsac-d"].config
    with pytest.raises(ValueError, match=r"temperature=0\.1: valid only with critic\.v_min below"):
        config(temperature=0.1)
