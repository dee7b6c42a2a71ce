"""RPG: latents are held, stored, told from actions and commanded, and find what a Gaussian misses.

The landscape is that of the authors' tutorial: a narrow high peak left, a broad low one right, and
an actor that is given the true values.
"""

import math

import pytest
import torch

import bench.algos
from bench.algos.common.critics import CriticConfig
from bench.algos.common.skills import Codes
from bench.api import Spec, Transition
from bench.testing import SPEC, feed

bench.algos.discover()
N, D, K = SPEC.num_envs, 3, 4
LINE = Spec(obs_dim=1, act_dim=1, num_envs=8, horizon=1, position_dim=1, max_return=1.0, seed=0)


def build(name="rpg", spec=SPEC, warmup=0, **settings):
    torch.manual_seed(spec.seed)
    entry = bench.algos.registry[name]
    own = {"latent": D, "codes": K} if name == "rpg" else {}
    config = entry.config(**{"batch": 64, "normalize": False, **own, **settings})
    config.exploration.warmup, config.novelty.coef = warmup, 0.0
    return entry.factory(spec, config, "cpu")


def play(algo, steps):
    """Play episodes of four steps without reward."""
    obs, no = torch.randn(N, SPEC.obs_dim), torch.zeros(N, dtype=torch.bool)
    for t in range(steps):
        action, after = algo.act(obs, explore=True), torch.randn(N, SPEC.obs_dim)
        last = torch.full((N,), t % 4 == 3)
        algo.observe(Transition(obs, action, torch.zeros(N), after, no, last, no, obs[:, :2],
                                after[:, :2]))  # fmt: skip
        obs = after


def fixed(network, mean, log_std=None):
    """Give a network the same output for all inputs."""
    torch.nn.init.zeros_(network[-1].weight)
    spread = [] if log_std is None else [torch.full_like(mean, log_std)]
    network[-1].bias.data = torch.cat([mean, *spread])


def follow(algo):
    """Let actions be the first two dimensions of the latent, without noise."""
    algo.policy = lambda state, rng=None: (state[:, -D:][:, :2].tanh(), None)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("latent", 0), ("codes", 1), ("information", -0.1), ("std", 0.0), ("noise", -1.0),
     ("recent", 0)],
)  # fmt: skip
def test_bad_settings_are_named(setting, value):
    with pytest.raises(ValueError, match=rf"{setting}={value!r}: valid are"):
        bench.algos.registry["rpg"].config(**{setting: value})


def test_a_latent_is_held_for_an_episode_and_random_play_follows_none():
    algo = build(warmup=6 * N)
    play(algo, 24)
    latent = algo.replay.fields["latent"][: 24 * N].view(6, 4, N, D)  # episode, step, environment
    assert (latent == latent[:, :1]).all()
    assert (latent[1:, 0] != latent[:-1, 0]).all(), "episodes begin with draws of their own"
    assert len(latent[0, 0].unique(dim=0)) == N
    follows = algo.replay.fields["follows"][: 24 * N].view(6, 4, N)
    assert (follows[:2] == 0).all(), "the warm-up ends within an episode, which goes on at random"
    assert (follows[2:] == 1).all()


def test_latents_are_drawn_from_the_prior_and_only_where_an_episode_ended():
    torch.manual_seed(0)
    codes, rng = Codes(D, K, 4000), torch.Generator().manual_seed(1)
    before, done = codes.held.clone(), torch.arange(4000) % 2 == 0
    codes.observe(done, rng)
    changed = (codes.held != before).all(-1)
    assert torch.equal(changed, done)
    assert torch.allclose(codes.held.mean(0), torch.zeros(D), atol=0.06)
    assert torch.allclose(codes.held.T.cov(), torch.eye(D), atol=0.08)


def test_training_follows_the_latents_that_are_held():
    algo = build()
    follow(algo)
    action = algo.act(torch.zeros(N, SPEC.obs_dim), explore=True)
    assert torch.equal(action, algo.latents.held[:, :2].tanh())


def test_a_command_is_the_same_latent_for_ever():
    algo, mode = build(), torch.arange(8) % K
    follow(algo)
    obs = torch.randn(8, SPEC.obs_dim)
    action = algo.act(obs, mode=mode)
    assert torch.equal(action, algo.latents.listed[mode][:, :2].tanh())
    play(algo, 8)
    assert torch.equal(algo.act(-obs, mode=mode), action)
    other = build()
    other.latents.listed.zero_()
    other.load_policy_state_dict(algo.policy_state_dict())
    follow(other)
    assert torch.equal(other.act(obs, mode=mode), action), "a stored policy holds its codes"


def test_no_command_draws_from_the_posterior_which_begins_as_the_prior():
    algo, obs = build(), torch.randn(4000, SPEC.obs_dim)
    follow(algo)
    raw = algo.act(obs).atanh()
    assert torch.allclose(raw.mean(0), torch.zeros(2), atol=0.06)
    assert torch.allclose(raw.std(0), torch.ones(2), atol=0.06)
    fixed(algo.posterior, torch.tensor([0.5, -0.5, 0.0]), math.log(0.1))
    raw = algo.act(obs).atanh()
    assert torch.allclose(raw.mean(0), torch.tensor([0.5, -0.5]), atol=0.02)
    assert torch.allclose(raw.std(0), torch.tensor([0.1, 0.1]), atol=0.02)


def test_the_density_of_latents_is_that_of_a_gaussian_of_fixed_width():
    algo = build(std=0.5)
    fixed(algo.information, torch.tensor([1.0, 0.0, -1.0]))
    latent = torch.tensor([[1.0, 0.0, -1.0], [1.5, 0.0, -1.0]])
    found = algo.recognised(torch.zeros(2, SPEC.obs_dim), torch.zeros(2, 2), latent)
    peak = -D * math.log(0.5 * math.sqrt(2 * math.pi))
    assert found.tolist() == pytest.approx([peak, peak - 0.5])


def test_actions_are_seen_through_noise():
    algo, seen = build(noise=0.3), []
    algo.information.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    zeros = torch.zeros(4000, SPEC.obs_dim)
    algo.recognised(zeros, torch.full((4000, 2), 0.5), torch.zeros(4000, D))
    assert (seen[0][:, : SPEC.obs_dim] == 0).all()
    noisy = seen[0][:, SPEC.obs_dim :]
    assert torch.allclose(noisy.mean(0), torch.full((2,), 0.5), atol=0.02)
    assert torch.allclose(noisy.std(0), torch.full((2,), 0.3), atol=0.02)


def test_the_loss_is_entropy_value_and_information():
    algo = build(information=0.5, temperature=0.25, noise=0.0)
    play(algo, 8)
    fixed(algo.actor, torch.tensor([0.3, -0.2]), -5.0)
    fixed(algo.information, torch.zeros(D))
    algo.critic.use_exact_values(lambda action: action[..., 0])
    batch = algo.sample()
    loss, scalars = algo.actor_loss(batch)
    peak = -D * math.log(0.38 * math.sqrt(2 * math.pi))
    information = peak - (batch["latent"].square().sum(-1) / (2 * 0.38**2)).mean()
    assert float(scalars["information"]) == pytest.approx(float(information), rel=1e-4)
    expected = -0.25 * float(scalars["entropy"]) - math.tanh(0.3) - 0.5 * float(information)
    assert loss.item() == pytest.approx(expected, abs=2e-3)
    assert float(scalars["value"]) == pytest.approx(math.tanh(0.3), abs=2e-3)


@pytest.mark.parametrize("entropy_backup", [False, True])
def test_the_critic_bootstraps_from_the_latent_that_was_held(entropy_backup):
    scalar = CriticConfig(kind="scalar")
    algo = build(entropy_backup=entropy_backup, temperature=0.5, critic=scalar)
    play(algo, 8)
    algo.policy = lambda state, rng=None: (state, torch.full((64,), 3.0))
    algo.backup = lambda batch, action, reward: reward + batch["discount"] * action.sum(-1)
    batch = algo.sample()
    followed = batch["bootstrap_obs"].sum(-1) + batch["latent"].sum(-1)
    expected = batch["n_step_reward"] + batch["discount"] * (followed - 1.5 * entropy_backup)
    assert torch.allclose(algo.critic_target(batch), expected, atol=1e-5)
    assert (batch["discount"] > 0).all() and batch["state"].shape == (64, SPEC.obs_dim + D)


def test_the_posterior_learns_from_those_who_followed_their_latent():
    algo = build(recognition_lr=1e-2)
    feed(algo, 20, seed=1)
    fields, rows = algo.replay.fields, slice(0, 20 * N)
    side = fields["obs"][rows, 0].sign()
    fields["latent"][rows] = 0.1 * fields["latent"][rows]
    fields["latent"][rows, 0] += side
    fields["follows"][rows] = (fields["obs"][rows, 1] > 0).float()
    fields["latent"][rows] *= torch.where(fields["follows"][rows] > 0, 1.0, -100.0)[:, None]
    for _ in range(150):
        algo.step_recognition(algo.sample())
    obs = torch.tensor([[1.5, 0.5, 0.0, 0.0], [-1.5, 0.5, 0.0, 0.0]])
    believed = algo.believed(obs)
    assert believed.mean[0, 0] > 0.4 and believed.mean[1, 0] < -0.4
    assert (believed.stddev < 1.5).all(), "what those who follow none held is ten times as far"


def height(action):
    """Return the reward of the tutorial's bandit at actions (..., 1), (...)."""
    x = action[..., 0]
    narrow = (1.1 - 18 * (2 * x + 1.2).square()).clamp(min=0)
    broad = (0.5 - 0.125 * (2 * x - 1.75).square()).clamp(min=0)
    return narrow + broad * (x < 0.875)


def trained(name, updates, **settings):
    """Return an actor that has learned the tutorial's bandit, from its true values."""
    algo = build(name, LINE, batch=128, **settings)
    algo.critic.use_exact_values(height)
    obs, no = torch.zeros(8, 1), torch.zeros(8, dtype=torch.bool)
    for _ in range(64):
        action = 2 * torch.rand(8, 1) - 1
        algo.observe(Transition(obs, action, height(action), obs, ~no, no, no, obs, obs))
    for _ in range(updates):
        algo.step_actor(algo.sample())
    return algo


def on_the_high_peak(action):
    return ((action[:, 0] + 0.6).abs() < 0.12).float()


@pytest.mark.slow
def test_latents_find_the_narrow_peak_where_a_gaussian_stays_on_the_broad_one():
    gaussian = trained("sac", 300).act(torch.zeros(500, 1))
    assert (gaussian > 0).all() and height(gaussian).mean() < 0.45
    algo = trained("rpg", 1500, latent=2, information=0.2)
    free = algo.act(torch.zeros(500, 1))
    assert on_the_high_peak(free).mean() > 0.3 and height(free).mean() > 0.55
    mode = torch.arange(500) % K
    commanded = on_the_high_peak(algo.act(torch.zeros(500, 1), mode=mode))
    shares = torch.stack([commanded[mode == k].mean() for k in range(K)])
    assert (shares > 0.9).any(), "some command is obeyed where the high peak is"
    without = trained("rpg", 300, latent=2, information=0.0).act(torch.zeros(500, 1))
    assert (without > 0).all(), "all z act alike"
