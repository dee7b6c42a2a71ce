"""Mirror descent weighs a policy's samples by exp(Q); a flow is followed by Euler's method."""

import pytest
import torch

import bench.algos
from bench.algos.common.diffusion import DiffusionConfig
from bench.algos.common.flow import FlowPolicy
from bench.testing import SPEC

bench.algos.discover()
BOTH = pytest.mark.parametrize("name", ["dpmd", "fpmd"])


def build(name, **settings):
    torch.manual_seed(0)
    entry = bench.algos.registry[name]
    return entry.factory(SPEC, entry.config(**{"batch": 32, **settings}), "cpu")


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_weights_shift_a_gaussian_as_a_linear_value_says(temperature, monkeypatch):
    """exp(c a / t) moves N(m, s^2) by s^2 c / t: by s / t where c s, the values' spread, is 1."""
    algo = build("dpmd", particles=20_000, particle_noise=0.0, temperature=temperature)
    algo.critic.use_exact_values(lambda action: 7.0 * action[..., 0] - 2.0)
    drawn = 0.1 * torch.randn(2 * 20_000, SPEC.act_dim)
    monkeypatch.setattr(algo.ema_actor, "sample", lambda condition, rng: drawn)
    action, weight = algo.weigh(torch.zeros(2, SPEC.obs_dim))
    torch.testing.assert_close(weight.mean(1), torch.ones(2))
    mean = (weight[..., None] * action).mean(1) - action.mean(1)
    assert (mean[:, 0] - 0.1 / temperature).abs().max() < 0.015 / temperature
    assert mean[:, 1].abs().max() < 0.01


@pytest.mark.parametrize("particles", [5, 1])
def test_values_compete_within_a_state_or_over_the_batch(particles):
    algo = build("dpmd", particles=particles, temperature=0.7)
    algo.critic.use_exact_values(lambda action: action.sin().sum(-1))
    action, weight = algo.weigh(torch.randn(12, SPEC.obs_dim))
    assert action.shape == (12, particles, SPEC.act_dim) and action.abs().max() <= 1
    value = action.sin().sum(-1)
    if particles == 1:  # as one state with twelve actions
        value, weight = value.T, weight.T
    gain = torch.stack([row - row.mean() for row in value])
    gain = gain / gain.square().mean().sqrt()
    for row, found in zip(gain, weight, strict=True):
        wanted = torch.exp(row.clamp(-3, 3) / 0.7)
        torch.testing.assert_close(found, wanted / wanted.mean(), rtol=1e-4, atol=1e-5)


@BOTH
def test_as_many_rows_are_learned_from_as_a_batch_has(name, monkeypatch):
    algo, seen = build(name, particles=4), []

    def loss(action, condition, rng):
        seen.append((action, condition))
        return torch.arange(32.0)

    weights = torch.rand(8, 4)
    monkeypatch.setattr(algo.actor, "loss", loss)
    drawn = torch.randn(8, 4, SPEC.act_dim)
    monkeypatch.setattr(algo, "weigh", lambda norm_obs: (drawn, weights))
    norm_obs = torch.randn(32, SPEC.obs_dim)
    found, _ = algo.actor_loss({"norm_obs": norm_obs})
    ((action, condition),) = seen
    for state in range(8):
        for particle in range(4):
            assert torch.equal(action[4 * state + particle], drawn[state, particle])
            assert torch.equal(condition[4 * state + particle], norm_obs[4 * state])
    torch.testing.assert_close(found, (weights.flatten() * torch.arange(32.0)).mean())


@BOTH
@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"particles": 0}, "particles=0"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"particle_noise": -0.1}, "particle_noise=-0.1"),
    ],
)
def test_bad_settings_are_named(name, settings, word):
    with pytest.raises(ValueError, match=word):
        bench.algos.registry[name].config(**settings)


def test_a_flow_predicts_no_noise():
    with pytest.raises(ValueError, match=r"actor\.predict='eps': valid are x0, velocity"):
        build("fpmd", actor=DiffusionConfig(predict="eps"))
    with pytest.raises(ValueError, match=r"actor\.predict='velocity': valid are x0, eps"):
        build("dpmd", actor=DiffusionConfig(predict="velocity"))


@pytest.mark.parametrize("predict", ["x0", "velocity"])
def test_a_sample_follows_the_velocity_by_eulers_method(predict):
    torch.manual_seed(0)
    config, condition = DiffusionConfig(6, (16,), predict=predict), torch.randn(20, 4)
    flow = FlowPolicy(2, 4, config)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(2)
    place = start = torch.randn(20, 2, generator=torch.Generator().manual_seed(3))
    for k in range(6):
        time, step = k / 6, torch.full((20,), 5 - k)
        assert float(flow.signal[5 - k]) == pytest.approx(time)
        assert float(flow.noise[5 - k]) == pytest.approx(1 - time)
        output = flow.predict(place, step, condition)
        mean = (output if predict == "x0" else place + (1 - time) * output).clamp(-1, 1)
        place = place + (mean - place) / (1 - time) / 6
    drawn = flow.sample(condition, torch.Generator().manual_seed(3))
    torch.testing.assert_close(drawn, place, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(drawn, start, atol=0.1)


def test_many_steps_find_both_modes_and_one_the_point_between():
    torch.manual_seed(0)
    flow = FlowPolicy(1, 1, DiffusionConfig(steps=10, hidden=(64, 64)))
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    nothing = torch.zeros(256, 1)
    for _ in range(400):
        modes = 0.6 * (2 * torch.randint(2, (256, 1)) - 1)
        optimizer.zero_grad()
        flow.loss(modes + 0.05 * torch.randn(256, 1), nothing).mean().backward()
        optimizer.step()
    drawn = flow.sample(torch.zeros(1000, 1))
    near = [(drawn - mode).abs() < 0.3 for mode in (-0.6, 0.6)]
    assert all(0.25 < share.float().mean() < 0.6 for share in near)
    assert flow.one_step(nothing[:1]).abs() < 0.2


def test_as_specified_a_flow_takes_one_step_from_no_noise(monkeypatch):
    algo, calls = build("fpmd"), []
    obs, predict = torch.randn(6, SPEC.obs_dim), algo.ema_actor.predict
    monkeypatch.setattr(
        algo.ema_actor, "predict", lambda *given: calls.append(given) or predict(*given)
    )
    one, other = algo.act_as_specified(obs), algo.act_as_specified(obs)
    assert torch.equal(one, other) and len(calls) == 2
    noisy, step, _ = calls[0]
    assert not noisy.any() and (step == algo.config.actor.steps - 1).all()
