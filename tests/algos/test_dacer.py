"""DACER: entropies of known distributions, noise that meets a target, Q's gradient in the chain."""

import math

import pytest
import torch

import bench.algos
from bench.algos.common.diffusion import DiffusionConfig
from bench.algos.dacer import mixture_entropy
from bench.testing import SPEC, feed

bench.algos.discover()


def build(**settings):
    torch.manual_seed(0)
    entry = bench.algos.registry["dacer"]
    return entry.factory(SPEC, entry.config(**{"batch": 32, **settings}), "cpu")


@pytest.mark.parametrize("dim", [2, 7])
def test_the_entropy_of_a_gaussian_is_found(dim):
    torch.manual_seed(0)
    factor = 0.1 * torch.eye(dim) + 0.05 * torch.randn(dim, dim).tril(-1)
    normal = torch.distributions.MultivariateNormal(torch.zeros(dim), scale_tril=factor)
    found = mixture_entropy(normal.sample((4, 2000)), 1)
    assert (found - normal.entropy()).abs().max() < 0.15
    bound = mixture_entropy(normal.sample((4, 2000)), 3)
    assert (bound > normal.entropy() - 0.2).all() and (bound < normal.entropy() + 1.1).all()


def test_the_entropy_of_clusters_counts_them():
    torch.manual_seed(0)
    which = torch.randint(3, (8, 1500))
    centres = torch.tensor([[-0.8, 0.0], [0.0, 0.8], [0.8, 0.0]])
    samples = centres[which] + 0.02 * torch.randn(8, 1500, 2)
    alone = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.02))
    found = mixture_entropy(samples, 3)
    assert found.median() == pytest.approx(math.log(3) + alone, abs=0.1)
    assert found.min() > math.log(3) + alone - 0.1, "a start that misses a cluster finds more"


def test_samples_that_are_all_alike_have_a_finite_entropy():
    assert mixture_entropy(torch.full((2, 50, 3), 0.4), 3).isfinite().all()


def unmoved(weights):
    """Return a loss that moves nothing."""
    return 0 * sum(weight.sum() for weight in weights)


def test_the_noise_comes_to_meet_the_target(monkeypatch):
    """Of an actor that hardly varies: entropy A (1.42 + log std), so the std it must have."""
    for start in (0.02, 6.0):
        algo = build(scale=start, scale_lr=0.2, entropy_states=4, target_entropy=-2.5)
        norm_obs = torch.zeros(4, SPEC.obs_dim)
        algo.actor.sample = lambda condition, rng: torch.zeros(len(condition), SPEC.act_dim)
        weights = list(algo.actor.parameters())
        monkeypatch.setattr(algo, "actor_loss", lambda batch, w=weights: (unmoved(w), {}))
        algo.gradient_steps = algo.config.entropy_every
        for _ in range(60):
            scalars = algo.step_actor({"norm_obs": norm_obs})
        assert float(scalars["entropy"]) == pytest.approx(-2.5, abs=0.3)
        std = algo.config.noise * float(algo.log_scale.detach().exp())
        bound = math.exp(-2.5 / 2 - 0.5 * math.log(2 * math.pi * math.e))
        assert 0.5 * bound < std < 1.3 * bound, "the bound is up to log 3 above the entropy"


def test_the_entropy_is_estimated_now_and_then():
    algo = build(entropy_every=10, entropy_samples=8, entropy_states=2)
    feed(algo, 1, seed=1)
    steps = [i for i in range(2, 41) if "entropy" in algo.learn()]
    assert steps == [10, 20, 30, 40]


def test_noise_is_of_the_tuned_scale_and_part_of_what_bootstraps():
    algo = build(scale=2.0, noise=0.05)
    algo.ema_actor.sample = lambda condition, rng: torch.zeros(len(condition), SPEC.act_dim)
    drawn = algo.next_action(torch.zeros(4000, SPEC.obs_dim))
    assert float(drawn.std()) == pytest.approx(0.1, rel=0.05)


def test_the_gradient_runs_through_every_step_of_the_chain():
    algo = build(actor=DiffusionConfig(steps=3))
    algo.critic.use_exact_values(lambda action: action.sum(-1))
    loss, scalars = algo.actor_loss({"norm_obs": torch.randn(16, SPEC.obs_dim)})
    assert float(loss.detach()) == -float(scalars["value"])
    (grad,) = torch.autograd.grad(loss, algo.actor.step_bias.weight)
    assert (grad.abs().sum(1) > 0).all()


def test_evaluation_has_no_noise_and_as_specified_no_chance():
    algo, obs = build(), torch.randn(6, SPEC.obs_dim)
    torch.manual_seed(1)
    found = algo.act(obs)
    torch.manual_seed(1)
    assert torch.equal(found, algo.ema_actor.sample(algo.norm(obs)))
    assert not torch.equal(found, algo.act(obs))
    assert torch.equal(algo.act_as_specified(obs), algo.act_as_specified(obs))


@pytest.mark.parametrize(
    ("settings", "word"), [({"components": 0}, "components=0"), ({"scale": 0.0}, "scale=0.0")]
)
def test_bad_settings_are_named(settings, word):
    with pytest.raises(ValueError, match=word):
        bench.algos.registry["dacer"].config(**settings)
