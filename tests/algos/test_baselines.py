"""Every baseline does what its source says, on cases with known answers."""

import json

import pytest
import torch

import bench.algos
from bench.algos.common.critics import CriticConfig
from bench.algos.common.diffusion import DiffusionConfig
from bench.algos.common.onpolicy import advantages
from bench.algos.maxentdp import truncated_normal
from bench.api import Transition
from bench.commands import bandit
from bench.testing import SPEC, check_algorithm, feed
from tests.algos import golden

bench.algos.discover()
GOLDEN = json.loads(golden.PATH.read_text())
BASELINES = (
    "categorical", "cppo", "dacer", "diffusion-ql", "dipo", "dpmd", "dsac-d", "fpmd", "latent-sac",
    "maxentdp", "mfpo", "pmoe", "ppo", "qsm", "qvpo", "rpg", "td3",
)  # fmt: skip


def build(name, **settings):
    torch.manual_seed(0)
    entry = bench.algos.registry[name]
    return entry.factory(SPEC, entry.config(**{"batch": 32, **settings}), "cpu")


def shares(name, case, updates, *changes):
    algo = bandit.train(name, case, updates, changes=changes)
    found = bandit.measure(bandit.samples(algo))
    return [found[f"mode_{k}"] for k in range(4)], found["in_mode"]


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_golden_values(name):
    found = golden.numbers(name)
    assert found.keys() == GOLDEN[name].keys()
    for key, value in GOLDEN[name].items():
        assert found[key] == pytest.approx(value, rel=1e-4, abs=1e-4), key


def test_every_learner_of_the_suite_has_golden_values():
    own = {name for name, entry in bench.algos.registry.items()
           if entry.factory.__module__.startswith("bench.algos.")}  # fmt: skip
    assert GOLDEN.keys() == own - {"random"}


@pytest.mark.parametrize(
    ("name", "settings", "word"),
    [
        ("td3", {"delay": 0}, "delay=0"),
        ("dipo", {"ascent_steps": 0}, "ascent_steps=0"),
        ("diffusion-ql", {"eta": -1.0}, "eta=-1.0"),
        ("qvpo", {"candidates": 0}, "candidates=0"),
        ("maxentdp", {"target": "dqs"}, "target='dqs': valid are noise, gradient"),
        ("ppo", {"gae_lambda": 2.0}, "gae_lambda=2.0"),
    ],
)
def test_bad_settings_are_named(name, settings, word):
    with pytest.raises(ValueError, match=word):
        bench.algos.registry[name].config(**settings)


@pytest.mark.parametrize("name", BASELINES)
def test_the_bonus_can_be_turned_off(name):
    config = bench.algos.registry[name].config(batch=32)
    config.novelty.coef = 0.0
    algo = bench.algos.registry[name].factory(SPEC, config, "cpu")
    scalars = {}
    feed(algo, 34, seed=2)
    scalars = algo.update()
    assert "novelty_loss" not in scalars


def test_td3_is_deterministic_and_delays_its_actor():
    algo = build("td3", delay=2)
    feed(algo, 1, seed=1)  # one critic step so far
    obs = torch.randn(4, SPEC.obs_dim)
    before = algo.act(obs)
    assert torch.equal(before, algo.act(obs))
    algo.learn()
    middle = algo.act(obs)
    algo.learn()
    assert not torch.equal(before, middle) and torch.equal(middle, algo.act(obs))


def test_dipo_writes_improved_actions_back():
    algo = build("dipo", ascent_steps=20)
    feed(algo, 20, seed=1)
    batch = algo.sample()
    low = algo.improve(batch["norm_obs"], batch["action"])[0]
    first = algo.critic.values(algo.critic.features(batch["norm_obs"][None]), batch["action"][None])
    last = algo.critic.values(algo.critic.features(batch["norm_obs"][None]), low[None])
    assert (last.min(1).values >= first.min(1).values - 1e-3).float().mean() > 0.95
    algo.actor_loss(batch)
    stored = algo.replay.fields["best"][batch["index"]]
    assert not torch.equal(stored, batch["action"]) and stored.abs().max() <= 1


def test_dipo_does_not_care_how_many_rows_climb_together():
    algo = build("dipo")
    feed(algo, 4, seed=1)
    norm_obs, action = torch.randn(8, SPEC.obs_dim), torch.zeros(8, SPEC.act_dim)
    alone = torch.cat([algo.improve(norm_obs[i : i + 1], action[i : i + 1])[0] for i in range(8)])
    assert torch.allclose(algo.improve(norm_obs, action)[0], alone, atol=1e-4)


def test_diffusion_ql_differentiates_through_the_chain():
    algo = build("diffusion-ql", actor=DiffusionConfig(steps=3))
    action = algo.actor.sample(torch.randn(16, SPEC.obs_dim))
    (grad,) = torch.autograd.grad(action.sum(), algo.actor.step_bias.weight)
    assert (grad.abs().sum(1) > 0).all()  # every denoising step takes part


def test_qvpo_weighs_the_best_by_its_advantage_over_the_mean():
    algo = build("qvpo", normalize_weights=False, candidates=8)
    norm_obs = torch.randn(6, SPEC.obs_dim)
    algo.rng.manual_seed(4)
    best, weight = algo.weigh(norm_obs)
    algo.rng.manual_seed(4)
    action = algo.actor.sample(norm_obs.repeat_interleave(8, 0), algo.rng).detach()
    value = algo.critic.values(algo.critic.features(norm_obs.repeat_interleave(8, 0)[None]),
                               action[None])[0].min(0).values.view(6, 8)  # fmt: skip
    assert torch.allclose(weight, value.max(1).values - value.mean(1), atol=1e-5)
    assert torch.allclose(best, action.view(6, 8, -1)[torch.arange(6), value.argmax(1)])


def test_proposals_follow_the_cut_off_normal():
    torch.manual_seed(0)
    drawn = truncated_normal(torch.tensor([[[0.0]], [[3.0]], [[-200.0]]]),
                             torch.tensor([[[10.0]], [[0.5]], [[200.0]]]), 20_000)  # fmt: skip
    assert drawn.isfinite().all() and drawn.abs().max() <= 1
    assert abs(float(drawn[0].mean())) < 0.02 and abs(float(drawn[0].std()) - 3**-0.5) < 0.01
    assert float(drawn[1].min()) > 0.2 and float(drawn[1].mean()) > 0.85
    assert abs(float(drawn[2].mean())) < 0.03


@pytest.mark.parametrize(("target", "error"), [("noise", 0.03), ("gradient", 0.06)])
def test_both_boltzmann_targets_agree_with_the_integral(target, error):
    """On a one-dimensional quadratic Q the mean clean action is known by integration."""
    torch.manual_seed(0)
    algo = build("maxentdp", target=target, temperature=0.2, proposals=20_000)
    algo.target_critic.values = lambda _, action: (  # type: ignore[method-assign]
        -(action - 0.3).square().sum(-1)[:, None].expand(-1, 2, -1)
    )
    signal, sigma = torch.full((3, 1), 0.9), torch.full((3, 1), 0.19**0.5)
    noisy = torch.tensor([[-0.3, 0.5], [0.0, 0.2], [0.4, -0.1]])
    mean, _ = algo.denoise(torch.zeros(3, SPEC.obs_dim), noisy, signal, sigma)
    grid = torch.linspace(-1, 1, 2001)
    log = -((grid - 0.3) ** 2) / 0.2 - (noisy[..., None] - 0.9 * grid) ** 2 / (2 * 0.19)
    assert torch.allclose(mean, (log.softmax(-1) * grid).sum(-1), atol=error)


def test_advantages_by_hand():
    error = torch.tensor([[1.0], [2.0], [4.0]])
    decay = torch.tensor([[0.5], [0.0], [0.5]])  # the second step ends an episode
    assert advantages(error, decay).flatten().tolist() == [2.0, 2.0, 4.0]


def test_ppo_bootstraps_at_a_time_limit_and_not_at_a_termination():
    algo = build("ppo", rollout=2, gae_lambda=1.0, gamma=0.5, normalize=False)
    torch.nn.init.zeros_(algo.value[-1].weight)
    torch.nn.init.constant_(algo.value[-1].bias, 8.0)  # V = 8 everywhere
    algo.novelty.config.coef = 0.0
    returns = {}
    algo.step = lambda rows: returns.setdefault("return", rows["return"]) is None or {}
    algo.config.epochs, algo.config.batch = 1, 64
    no = torch.zeros(8, dtype=torch.bool)
    ended = torch.arange(8) < 4
    for last in (False, True):
        obs = torch.zeros(8, SPEC.obs_dim)
        action = algo.act(obs, explore=True)
        algo.observe(Transition(obs, action, torch.full((8,), 10.0), obs, ended & last,
                                ~ended & last, no, obs[:, :2], obs[:, :2]))  # fmt: skip
    algo.update()
    assert sorted(returns["return"].round(decimals=3).tolist()) == (
        [1.0] * 4 + [1.5] * 4 + [3.5] * 4 + [5.0] * 4
    )  # terminated: 1, 1 + .5; time limit: 1 + .5 (1 + .5 8), 1 + .5 8


def test_ppo_leaves_random_exploration_out_of_its_loss():
    algo = build("ppo", rollout=4)
    algo.exploration.random[:] = torch.arange(8) < 3
    algo.exploration.config.share = 1.0
    seen = []
    algo.step = lambda rows: seen.append(len(rows["norm_obs"])) or {}
    feed(algo, 4, seed=1)
    assert sum(seen) == algo.config.epochs * 4 * 5


@pytest.mark.slow
@pytest.mark.parametrize("case", ["equal", "lopsided"])
def test_ddiffpg_has_equal_shares_whatever_the_replay_holds(case):
    mass, _ = shares("ddiffpg", case, 1000)
    assert min(mass) >= 0.05 and max(mass) < 3 * min(mass)


@pytest.mark.slow
def test_sac_and_td3_keep_one_mode_or_stay_wide():
    for name in ("sac", "td3"):
        mass, inside = shares(name, "equal", 1000)
        assert sum(m >= 0.05 for m in mass) <= 2 or inside < 0.5


@pytest.mark.slow
def test_dipo_copies_the_replay():
    even, _ = shares("dipo", "equal", 1000)
    assert min(even) > 0.1 and max(even) < 2 * min(even)
    lopsided, _ = shares("dipo", "lopsided", 1000)
    assert lopsided[0] > 0.6


@pytest.mark.slow
def test_maxentdp_follows_heights_and_not_the_replay():
    for case in ("equal", "lopsided"):
        mass, _ = shares("maxentdp", case, 1000)
        assert min(mass) > 0.1 and max(mass) < 2 * min(mass)
    mass, _ = shares("maxentdp", "unequal", 1000)
    assert mass[0] > 1.5 * mass[1] > 1.5 * mass[2]


@pytest.mark.slow
def test_diffusion_ql_without_q_clones_the_replay():
    """Rare peaks come last: 1,000 updates gave them a fifth of their share, 2,500 about a half."""
    algo = bandit.train("diffusion-ql", "lopsided", 2500, changes=["algo.eta=0"])
    memory = algo.replay
    stored = bandit.measure(memory.fields["action"][: len(memory)])
    cloned = bandit.measure(bandit.samples(algo))
    assert abs(cloned["mode_0"] - stored["mode_0"]) < 0.12
    rare, kept = (sum(of[f"mode_{k}"] for k in (1, 2, 3)) for of in (stored, cloned))
    assert rare / 3 < kept < 3 * rare, "2,000 samples are few for each by itself"
    assert min(cloned[f"mode_{k}"] for k in (1, 2, 3)) > 0


@pytest.mark.slow
def test_diffusion_ql_collapses_with_q():
    climbed, _ = shares("diffusion-ql", "equal", 1000)
    assert sum(m >= 0.05 for m in climbed) <= 2


@pytest.mark.slow
def test_qvpo_widens_with_its_uniform_rows():
    few = "algo.batch=48"  # every row has 16 candidates of 20 denoising steps
    narrow, _ = shares("qvpo", "equal", 600, few)
    wide, inside = shares("qvpo", "equal", 600, few, "algo.entropy=[0.5,0.5]")
    assert max(wide) < max(narrow) and inside < 0.9


OTHER_CRITICS = ("cppo", "dsac-d", "ppo")  # a value of states, drawn returns


@pytest.mark.parametrize("name", [name for name in BASELINES if name not in OTHER_CRITICS])
def test_scalar_critics_learn_too(name):
    check_algorithm(name, {"batch": 32, "critic": CriticConfig(kind="scalar")}, steps=20)
