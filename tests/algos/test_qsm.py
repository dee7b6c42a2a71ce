"""Q-score matching: its score is Q's gradient, and samples go where that leads."""

import pytest
import torch

import bench.algos
from bench.algos.common.critics import CriticConfig
from bench.algos.common.diffusion import DiffusionConfig
from bench.algos.common.networks import gradient_step
from bench.testing import SPEC

bench.algos.discover()
NARROW = DiffusionConfig(steps=10, hidden=(64, 64))


def build(**settings):
    torch.manual_seed(0)
    entry = bench.algos.registry["qsm"]
    return entry.factory(SPEC, entry.config(**{"batch": 32, **settings}), "cpu")


def quadratic(action):
    return -(action - 0.3).square().sum(-1)


def test_the_score_is_the_mean_gradient_of_both_heads():
    algo = build(temperature=0.5, critic=CriticConfig(kind="scalar"), normalize_gradient=False)
    obs, action = torch.randn(9, SPEC.obs_dim), 2 * torch.rand(9, SPEC.act_dim) - 1
    score, size = algo.score(obs, action)
    inputs = action.requires_grad_()
    heads = algo.critic.outputs(obs[None], inputs[None]).squeeze()  # (2, B)
    (slope,) = torch.autograd.grad(heads.mean(0).sum(), inputs)
    torch.testing.assert_close(score, slope / 0.5)
    torch.testing.assert_close(size, slope.norm(dim=-1).mean())


def test_outside_the_box_the_gradient_is_that_at_its_border():
    algo = build(temperature=2.0, normalize_gradient=False)
    algo.critic.use_exact_values(quadratic)
    score, _ = algo.score(torch.zeros(2, SPEC.obs_dim), torch.tensor([[4.0, 0.1], [-3.0, 0.3]]))
    torch.testing.assert_close(score, torch.tensor([[-0.7, 0.2], [1.3, 0.0]]))


def test_the_normalised_score_is_free_of_the_scale_of_q():
    found = []
    for scale in (1.0, 1e-3):
        algo = build(temperature=0.1)
        algo.critic.use_exact_values(lambda action, scale=scale: scale * quadratic(action))
        score, size = algo.score(torch.zeros(50, SPEC.obs_dim), torch.rand(50, SPEC.act_dim))
        assert float(score.norm(dim=-1).mean()) == pytest.approx(10, rel=1e-3)
        found.append((score, size / scale))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("predict", ["eps", "x0"])
def test_what_is_matched_implies_the_score(predict, scaled, monkeypatch):
    """At a denoiser that answers 0 the loss is the mean square of what is wanted."""
    actor = DiffusionConfig(predict=predict)
    algo = build(actor=actor, temperature=0.4, normalize_gradient=False, scale_by_noise=scaled)
    algo.critic.use_exact_values(quadratic)
    seen = []
    monkeypatch.setattr(
        algo.actor, "predict", lambda *given: seen.append(given) or torch.zeros(40, SPEC.act_dim)
    )
    action = 2 * torch.rand(40, SPEC.act_dim) - 1
    loss, _ = algo.actor_loss({"norm_obs": torch.zeros(40, SPEC.obs_dim), "action": action})
    ((noisy, step, _),) = seen
    kept, noise = algo.actor.signal[step, None] ** 2, algo.actor.noise[step, None]
    wanted = 2 * (noisy.clamp(-1, 1) - 0.3) / 0.4 * (noise if scaled else 1)
    if predict == "x0":
        wanted = ((noisy - (1 - kept).sqrt() * wanted) / kept.sqrt()).clamp(-1, 1)
    torch.testing.assert_close(loss, wanted.square().mean(), rtol=1e-4, atol=1e-5)


def test_samples_centre_at_the_highest_value():
    algo = build(temperature=0.1, actor=NARROW)
    algo.critic.use_exact_values(quadratic)
    for _ in range(400):
        action = 2 * torch.rand(64, SPEC.act_dim) - 1
        loss, _ = algo.actor_loss({"norm_obs": torch.zeros(64, SPEC.obs_dim), "action": action})
        gradient_step(algo.actor_opt, loss)
    drawn = algo.actor.sample(torch.zeros(500, SPEC.obs_dim))
    assert (drawn.mean(0) - 0.3).abs().max() < 0.15 and drawn.std(0).max() < 0.3


@pytest.mark.parametrize("setting", ["temperature=0.0", "temperature=-1.0"])
def test_bad_settings_are_named(setting):
    name, _, value = setting.partition("=")
    with pytest.raises(ValueError, match=setting):
        bench.algos.registry["qsm"].config(**{name: float(value)})
