"""Mixtures of Gaussians: their density, how one is chosen, held and kept alive, and who climbs."""

import pytest
import torch
from torch import distributions as dist

import bench.algos
from bench.algos.common.mixture import Mixture, MixturePolicy
from bench.api import Transition
from bench.testing import SPEC, feed

bench.algos.discover()
N, K = SPEC.num_envs, 4


def build(name="categorical", warmup=0, **settings):
    torch.manual_seed(0)
    entry = bench.algos.registry[name]
    config = entry.config(**{"batch": 64, "normalize": False, **settings})
    config.exploration.warmup = warmup
    return entry.factory(SPEC, config, "cpu")


def fixed(actor, mean, gate=None, log_std=-5.0):
    """Give an actor the same mixture in every state: means (K, A), gate (K,)."""
    last = actor.network[-1]
    torch.nn.init.zeros_(last.weight)
    gate = torch.zeros(len(mean)) if gate is None else torch.tensor(gate).log()
    spread = torch.full((mean.numel(),), log_std)
    last.bias.data = torch.cat([gate, torch.as_tensor(mean).flatten(), spread])


CORNERS = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])


def corner(action):
    """Say which Gaussian of `fixed(..., CORNERS)` actions are of."""
    return (action[..., None, :] - CORNERS.tanh()).square().sum(-1).argmin(-1)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("categorical", "categories", 1),
        ("categorical", "category_entropy", 1.5),
        ("categorical", "category_temperature", 0.0),
        ("categorical", "gumbel", -1.0),
        ("pmoe", "experts", 1),
        ("pmoe", "estimator", "worst"),
    ],
)
def test_bad_settings_are_named(name, setting, value):
    with pytest.raises(ValueError, match=rf"{setting}={value!r}: valid are"):
        bench.algos.registry[name].config(**{setting: value})


def test_the_density_is_that_of_torch_distributions():
    torch.manual_seed(0)
    mixture = Mixture(
        torch.randn(5, K).log_softmax(-1), torch.randn(5, K, 3), 0.5 * torch.randn(5, K, 3)
    )
    raw = torch.randn(5, 7, 3)
    one = dist.MixtureSameFamily(
        dist.Categorical(logits=mixture.log_gate),
        dist.Independent(dist.Normal(mixture.mean, mixture.log_std.exp()), 1),
    )
    squash = torch.log1p(-raw.double().tanh().square()).sum(-1)
    for j in range(7):
        expected = one.log_prob(raw[:, j]) - squash[:, j]
        found = mixture.log_density(raw)[:, j]
        assert torch.allclose(found.double(), expected.double(), atol=1e-4)
    component = dist.Normal(mixture.mean[:, 2], mixture.log_std[:, 2].exp())
    expected = component.log_prob(raw[:, 0]).sum(-1) - squash[:, 0]
    assert torch.allclose(mixture.log_components(raw)[:, 0, 2].double(), expected, atol=1e-4)


def test_draws_are_of_their_component():
    torch.manual_seed(0)
    actor = MixturePolicy(SPEC.obs_dim, 2, K, (8,), "silu")
    fixed(actor, CORNERS, [0.1, 0.2, 0.3, 0.4], log_std=-1.0)
    mixture = actor(torch.zeros(4000, SPEC.obs_dim))
    drawn = mixture.draw()
    assert torch.allclose(drawn.mean(0), CORNERS, atol=0.03)
    assert torch.allclose(drawn.std(0), torch.tensor(-1.0).exp(), atol=0.03)
    share = torch.bincount(mixture.choose(), minlength=K) / 4000
    assert torch.allclose(share, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.03)


def test_a_choice_is_hard_and_yet_differentiable():
    algo = build(categories=K)
    fixed(algo.actor, CORNERS)
    obs = torch.randn(2000, SPEC.obs_dim)
    action, log_density = algo.policy(obs, algo.rng)
    near = (action[:, None] - CORNERS.tanh()).abs().amax(-1).min(-1).values
    assert near.max() < 0.05, "an action is of one Gaussian, between none"
    assert torch.allclose(torch.bincount(corner(action)) / 2000, torch.tensor(0.25), atol=0.04)
    (grad,) = torch.autograd.grad(action[:, 0].sum(), algo.actor.network[-1].bias)
    assert grad[0] > 0 > grad[1] and grad[3] > 0 > grad[2], "the gate turns to where x is larger"
    raw = action.detach().clamp(-1 + 1e-6, 1 - 1e-6).atanh()
    again = algo.actor(obs).log_density(raw[:, None])[:, 0]
    assert torch.allclose(again, log_density, atol=0.1), "the density is that of the action"


@pytest.mark.parametrize("hold", [True, False])
def test_a_training_episode_keeps_its_category(hold):
    algo = build(categories=K, hold=hold, warmup=2 * N)
    fixed(algo.actor, CORNERS)
    algo.exploration.config.share = 0.0
    obs, no = torch.zeros(N, SPEC.obs_dim), torch.zeros(N, dtype=torch.bool)
    seen = []
    for t in range(60):  # the warm-up ends within the first episode
        action = algo.act(obs, explore=True)
        seen.append(corner(action))
        last = torch.full((N,), t % 6 == 5)
        algo.observe(Transition(obs, action, torch.zeros(N), obs, no, last, no, obs[:, :2],
                                obs[:, :2]))  # fmt: skip
    seen = torch.stack(seen).view(10, 6, N)[1:]
    assert (seen == seen[:, :1]).all() == hold
    assert len(seen[:, 0].unique()) == K and (seen[0, 0] != seen[1, 0]).any()


@pytest.mark.parametrize(("name", "count"), [("categorical", "categories"), ("pmoe", "experts")])
def test_a_command_picks_its_gaussian_and_none_draws_by_the_gate(name, count):
    algo = build(name, **{count: K})
    fixed(algo.actor, CORNERS, [0.1, 0.2, 0.3, 0.4])
    obs, mode = torch.zeros(2000, SPEC.obs_dim), torch.arange(2000) % K
    assert torch.equal(corner(algo.act(obs, mode=mode)), mode)
    share = torch.bincount(corner(algo.act(obs)), minlength=K) / 2000
    assert torch.allclose(share, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.04)
    assert (corner(algo.act_as_specified(obs)) == 3).all()


@pytest.mark.parametrize(("gate", "rises"), [([0.97, 0.01, 0.01, 0.01], True), (None, False)])
def test_the_gates_entropy_is_sought_as_far_as_its_target(gate, rises):
    algo = build(categories=K, category_entropy=0.7, warmup=5 * N)
    feed(algo, 4, seed=1)
    fixed(algo.actor, CORNERS, gate)
    before = algo.log_category_temperature.item()
    algo.learn()
    assert (algo.log_category_temperature.item() > before) == rises


def test_the_gates_entropy_is_part_of_the_loss():
    algo = build(categories=K, category_temperature=1e4)
    feed(algo, 4, seed=1)
    gate = torch.tensor([0.7, 0.1, 0.1, 0.1])
    fixed(algo.actor, CORNERS, gate.tolist())
    loss, scalars = algo.actor_loss(algo.sample())
    entropy = dist.Categorical(gate).entropy()
    assert float(scalars["category_entropy"]) == pytest.approx(float(entropy), rel=1e-4)
    assert loss.item() == pytest.approx(-1e4 * float(entropy), rel=1e-2)


def climbing(estimator, gate, values):
    """Return a PMOE of four corners whose Q is known, a batch, and its loss without entropy."""
    algo = build("pmoe", experts=K, estimator=estimator, temperature=1e-12, warmup=100)
    feed(algo, 4, seed=1)
    fixed(algo.actor, CORNERS, gate)
    algo.critic.use_exact_values(lambda action: values(action))
    loss, scalars = algo.actor_loss(algo.sample())
    (grad,) = torch.autograd.grad(loss, algo.actor.network[-1].bias)
    return loss.item(), grad[:K], grad[K:].view(2, K, 2)[0], scalars


GATE = [0.1, 0.2, 0.3, 0.4]
BEST = 1  # corner (-1, 1)


def slope(action):
    return action[..., 1] - 0.5 * action[..., 0]


def test_only_the_best_expert_climbs_and_the_gate_turns_to_it():
    _, gate, mean, scalars = climbing("best", GATE, slope)
    climbs = (mean != 0).any(-1)
    assert climbs.tolist() == [k == BEST for k in range(K)]
    assert (mean[BEST] * torch.tensor([1.0, -1.0]) > 0).all(), "down the loss is up Q"
    assert gate[BEST] < 0, "its gate rises"
    g, best = torch.tensor(GATE, requires_grad=True), torch.eye(K)[BEST]
    logits = g.log().detach().requires_grad_()
    (expected,) = torch.autograd.grad((logits.softmax(-1) - best).square().sum(), logits)
    assert torch.allclose(gate, expected, atol=1e-5)
    assert float(scalars["value"]) == pytest.approx(float(slope(CORNERS.tanh())[BEST]), abs=0.01)


def test_the_marginal_estimator_takes_the_sum_over_experts():
    loss, gate, mean, _ = climbing("marginal", GATE, slope)
    g, value = torch.tensor(GATE), slope(CORNERS.tanh())
    expected = (g * value).sum()
    assert loss == pytest.approx(-float(expected), abs=2e-3)
    assert torch.allclose(gate, -g * (value - expected), atol=2e-3)
    by_action = (1 - CORNERS.tanh().square()) * torch.tensor([-0.5, 1.0])
    assert torch.allclose(mean, -g[:, None] * by_action, atol=2e-3), "all climb, by their gates"


@pytest.mark.parametrize("estimator", ["best", "marginal"])
def test_experts_pay_for_their_own_density_or_the_mixtures(estimator):
    algo = build("pmoe", experts=K, estimator=estimator)
    fixed(algo.actor, torch.zeros(K, 2), log_std=-1.0)  # all in one place
    mixture = algo.actor(torch.zeros(3, SPEC.obs_dim))
    raw = mixture.draw()
    found = algo.log_densities(mixture, raw)
    own = torch.stack([mixture.log_components(raw)[:, k, k] for k in range(K)], dim=1)
    assert torch.allclose(found, own, atol=1e-5), "experts in one place are one Gaussian"
    fixed(algo.actor, 3 * CORNERS, log_std=-1.0)
    mixture = algo.actor(torch.zeros(3, SPEC.obs_dim))
    raw = mixture.draw()
    own = torch.stack([mixture.log_components(raw)[:, k, k] for k in range(K)], dim=1)
    apart = torch.log(torch.tensor(K)) if estimator == "marginal" else 0.0
    assert torch.allclose(algo.log_densities(mixture, raw), own - apart, atol=1e-3)
