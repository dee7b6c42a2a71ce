"""Skills: who follows which, what being recognised pays, and what no command means."""

import math

import pytest
import torch

import bench.algos
from bench.algos.common.skills import NONE, recognition_loss
from bench.api import Transition
from bench.testing import SPEC, feed

bench.algos.discover()
N, K = SPEC.num_envs, 4


def build(warmup=0, **settings):
    torch.manual_seed(0)
    entry = bench.algos.registry["latent-sac"]
    config = entry.config(**{"batch": 64, "skills": K, "normalize": False, **settings})
    config.exploration.warmup, config.novelty.coef = warmup, 0.0
    return entry.factory(SPEC, config, "cpu")


def play(algo, steps, succeed=lambda env: env < 2):
    """Play episodes of four steps, without reward; those of some environments succeed."""
    obs, played = torch.zeros(N, SPEC.obs_dim), algo.replay.added // N
    for t in range(played, played + steps):
        action = algo.act(obs, explore=True)
        last = torch.full((N,), t % 4 == 3)
        success = last & torch.tensor([succeed(env) for env in range(N)])
        algo.observe(Transition(obs, action, torch.zeros(N), obs, success, last & ~success, success,
                                obs[:, :2], obs[:, :2]))  # fmt: skip


def sure_of(algo, name, skill, by=50.0):
    """Make a discriminator so sure of one skill; of none with by=0."""
    last = getattr(algo, name)[-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    last.bias.data[skill] = by


@pytest.mark.parametrize(
    ("setting", "value"),
    [("skills", 1), ("skill_size", 0.0), ("diversity", -0.1), ("judge", "action"), ("recent", 0)],
)
def test_bad_settings_are_named(setting, value):
    with pytest.raises(ValueError, match=rf"{setting}={value!r}: valid are"):
        bench.algos.registry["latent-sac"].config(**{setting: value})


def test_a_skill_is_held_for_an_episode_and_random_play_follows_none():
    algo = build(warmup=6 * N)
    play(algo, 24)
    skill = algo.replay.fields["skill"][: 24 * N].view(6, 4, N)  # episode, step, environment
    assert (skill[:2] == NONE).all(), "the warm-up ends within an episode, which goes on at random"
    assert (skill[2:] >= 0).all() and (skill[2:] == skill[2:, :1]).all()
    assert (skill[2:, 0].diff(dim=0) != 0).any() and len(skill[2:].unique()) == K


def test_training_follows_the_skills_that_are_held():
    algo = build(deterministic=True)
    algo.policy = lambda state, rng=None: (state[:, -K:][:, :2], None)
    algo.skills.held = torch.arange(N) % K
    action = algo.act(torch.zeros(N, SPEC.obs_dim), explore=True)
    assert torch.equal(action, torch.eye(K)[algo.skills.held][:, :2])


def test_skills_start_apart():
    obs = torch.randn(1, SPEC.obs_dim).expand(K, -1)
    near, far = (
        build(deterministic=True, skill_size=size).act(obs, mode=torch.arange(K)).std(0).mean()
        for size in (1.0, 5.0)
    )
    assert far > 3 * near


def test_only_the_steps_of_successful_episodes_are_marked():
    algo = build()
    play(algo, 11)  # two episodes, and three steps of a third
    solved = algo.replay.fields["solved"][: 11 * N].view(11, N)
    assert (solved[:8, :2] == 1).all() and (solved[8:] == 0).all() and (solved[:, 2:] == 0).all()
    play(algo, 1, lambda env: False)
    play(algo, 4, lambda env: env == 7)
    solved = algo.replay.fields["solved"][8 * N : 16 * N].view(8, N)
    assert (solved[4:, 7] == 1).all() and solved.sum() == 4, "a failure before it stays one"


def test_marks_find_their_rows_when_the_replay_begins_anew():
    algo = build(replay=6 * N)
    play(algo, 8)  # the second episode lies in rows 4, 5, 0 and 1
    solved = algo.replay.fields["solved"].view(6, N)[:, 0]
    assert solved.tolist() == [1, 1, 1, 1, 1, 1]
    play(algo, 2, lambda env: False)
    assert algo.replay.fields["solved"].view(6, N)[:, 0].tolist() == [1, 1, 0, 0, 1, 1]


def test_an_untrained_discriminator_pays_nothing_and_a_sure_one_the_most():
    algo = build(diversity=0.01)
    play(algo, 4)
    rows, skill = torch.zeros(1, K, dtype=torch.int64), torch.arange(K)
    sure_of(algo, "discriminator", 0, by=0.0)
    assert torch.allclose(algo.diversity(rows, skill), torch.zeros(1, K), atol=1e-8)
    sure_of(algo, "discriminator", 2)
    assert algo.diversity(rows, skill)[0].tolist() == pytest.approx([-0.01, -0.01, 0.01, -0.01])
    sure_of(algo, "discriminator", 2, by=1.0)
    q = math.e / (math.e + K - 1)
    paid = 0.01 * (math.log(q) + math.log(K)) / math.log(K)
    assert algo.diversity(rows, skill)[0, 2].item() == pytest.approx(paid)


@pytest.mark.parametrize("gate", [True, False])
def test_every_step_is_paid_and_with_the_gate_those_of_successes_alone(gate):
    algo = build(diversity=0.01, gate=gate, gamma=0.5, n_step=3)
    play(algo, 4)
    sure_of(algo, "discriminator", 2)
    batch = algo.sample()
    skill = batch["norm_obs"][:, -K:].argmax(-1)
    assert torch.equal(skill, batch["skill"].long())
    left = torch.tensor([1.75, 1.75, 1.5, 1.0])[batch["index"] // N]  # sum of discounts to the end
    expected = torch.where(skill == 2, 0.01, -0.01) * left
    expected = expected * batch["solved"] if gate else expected
    assert torch.allclose(batch["n_step_reward"], expected, atol=1e-7)
    assert 0 < batch["solved"].mean() < 1


def test_what_random_play_found_is_learned_under_any_skill():
    algo = build(warmup=1000)
    play(algo, 4)
    drawn = algo.sample()["norm_obs"][:, -K:]
    drawn = drawn / algo.config.skill_size
    assert (drawn.sum(-1) == 1).all() and (drawn.mean(0) > 0.1).all()


def test_discriminators_learn_from_those_who_follow_a_skill():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, 0.0]])
    skill = torch.tensor([0, NONE, 1])
    expected = torch.nn.functional.cross_entropy(logits[[0, 2]], skill[[0, 2]])
    assert float(recognition_loss(logits, skill)) == pytest.approx(float(expected))
    assert float(recognition_loss(logits, torch.full((3,), NONE))) == 0
    algo = build(discriminator_lr=1e-2)
    feed(algo, 20, seed=1)
    side = algo.replay.fields["next_position"][: 20 * N, 0] > 0
    algo.replay.fields["skill"][: 20 * N] = side.float()  # right is skill 1, left is skill 0
    for _ in range(100):
        scalars = algo.step_discriminators()
    assert float(scalars["skill_loss"]) < 0.05
    assert float(scalars["posterior_loss"]) > 0.3, "observations are noise: half of them either"


def test_no_command_draws_the_skill_that_may_have_led_there():
    algo, obs = build(deterministic=True), torch.randn(300, SPEC.obs_dim)
    sure_of(algo, "posterior", 3)
    commanded = algo.act(obs, mode=torch.full((300,), 3))
    assert torch.equal(algo.act(obs), commanded)
    assert torch.equal(algo.act_as_specified(obs), commanded)
    sure_of(algo, "posterior", 3, by=0.0)
    share = (algo.act(obs) == commanded).all(-1).float().mean()
    assert 0.15 < share < 0.35, "a quarter of all draws"
