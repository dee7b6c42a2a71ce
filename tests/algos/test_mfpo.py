"""Mean flows against closed forms: of Gaussians every velocity, jump and density is known."""

import math

import pytest
import torch

import bench.algos
from bench.algos.common.critics import CriticConfig
from bench.algos.common.networks import gradient_step
from bench.algos.mfpo import MeanField, Times, mean_field_loss
from bench.testing import SPEC

bench.algos.discover()
MEAN, STD = 0.1, 0.2  # of the Gaussian that actions have


def build(**settings):
    torch.manual_seed(0)
    entry = bench.algos.registry["mfpo"]
    return entry.factory(SPEC, entry.config(**{"batch": 32, **settings}), "cpu")


def spread(time):
    """Return the standard deviation of x_t = (1 - t) a + t e."""
    return (((1 - time) * STD).square() + time.square()).sqrt()


def moved(point, time, span):
    """Return where the flow of the Gaussian has a point (B, A) a span of time earlier."""
    early = time - span
    share = (point - (1 - time) * MEAN) / spread(time)
    return (1 - early) * MEAN + spread(early) * share


class ExactVelocity(MeanField):
    def forward(self, point, time, span, condition):
        safe = span.clamp(min=1e-3)  # over so short a span it hardly changes
        return (point - moved(point, time, safe)) / safe


class ExactDivergence(MeanField):
    def forward(self, point, time, span, condition):
        safe = span.clamp(min=1e-3)
        return point.shape[-1] * (spread(time).log() - spread(time - safe).log()) / safe


def exact(kind, algo):
    return kind(SPEC.act_dim, SPEC.obs_dim, 1, algo.config.actor)


def boltzmann(algo):
    """Give it the value whose Boltzmann policy is the Gaussian, but for the box far away."""
    temperature = float(algo.log_temperature.detach().exp())
    algo.critic.use_exact_values(
        lambda action: -temperature * ((action - MEAN) / STD).square().sum(-1) / 2
    )


def velocity_of(point, time):
    """Return dx_t/dt of the Gaussian's flow."""
    rate = (time - (1 - time) * STD**2) / spread(time).square()
    return (point - (1 - time) * MEAN) * rate - MEAN


@pytest.mark.parametrize("own_std", [STD, 0.35])  # a policy that is right, and a wider one
@pytest.mark.parametrize("time", [0.1, 0.4, 0.8])
def test_the_velocity_is_that_of_the_boltzmann_policy(time, own_std):
    algo = build(own=2000, uniform=4000, temperature=0.05)
    boltzmann(algo)
    times = torch.full((8, 1), time)
    own = MEAN + own_std * torch.randn(8, 2000, SPEC.act_dim)
    log_density = torch.distributions.Normal(MEAN, own_std).log_prob(own).sum(-1)
    noisy = (1 - times) * (MEAN + STD * torch.randn(8, SPEC.act_dim)) + times * torch.randn(8, 2)
    found, _ = algo.velocity(torch.zeros(8, SPEC.obs_dim), noisy, times, own, log_density)
    assert (time * (found - velocity_of(noisy, times))).abs().max() < 0.03, "in clean actions"


def test_a_field_that_is_right_has_no_loss():
    """Both the way and the divergence of a whole flow satisfy what their networks learn."""
    torch.manual_seed(0)
    algo = build(instant=0.5)
    times, point = algo.times(500), torch.randn(500, SPEC.act_dim)
    velocity, rate = velocity_of(point, times.time), velocity_of(point + 1, times.time)
    divergence = SPEC.act_dim * (rate - velocity)[:, :1]  # the flow is linear
    nothing = torch.zeros(500, SPEC.obs_dim)
    for kind, instant in ((ExactVelocity, velocity), (ExactDivergence, divergence)):
        field = exact(kind, algo)
        right = mean_field_loss(field, point, times, nothing, velocity, instant)
        still = Times(times.time, times.span, times.rows[:0])  # without the derivative
        wrong = mean_field_loss(field, point, still, nothing, velocity, instant)
        assert right < 1e-4 and wrong > 30 * right


def test_the_derivative_is_that_along_the_flow_with_the_start_held():
    algo = build()
    point, condition = torch.randn(6, SPEC.act_dim), torch.randn(6, SPEC.obs_dim)
    time, span = torch.full((6, 1), 0.7), torch.full((6, 1), 0.4)
    velocity, step = torch.randn(6, SPEC.act_dim), 1e-2
    with torch.no_grad():
        found = algo.actor.along(point, time, span, condition, velocity)
        after, before = (
            algo.actor(point + move * velocity, time + move, span + move, condition)
            for move in (step, -step)
        )
    torch.testing.assert_close(found, (after - before) / (2 * step), rtol=1e-2, atol=1e-2)


def test_exact_fields_draw_the_gaussian_and_know_its_density(monkeypatch):
    algo = build()
    field = exact(ExactVelocity, algo)
    monkeypatch.setattr(algo.actor, "forward", field.forward)
    rng = torch.Generator().manual_seed(3)
    action, found = algo.actor.draw(torch.zeros(4000, 4), rng, exact(ExactDivergence, algo))
    assert (action.mean(0) - MEAN).abs().max() < 0.02 and (action.std(0) - STD).abs().max() < 0.02
    wanted = torch.distributions.Normal(MEAN, STD).log_prob(action).sum(-1)
    inside = (action.abs() < 1).all(-1)
    torch.testing.assert_close(found[inside], wanted[inside], atol=1e-3, rtol=1e-3)


def test_learned_divergences_are_the_gaussians(monkeypatch):
    """From a flow that is known, at once and over the first of two jumps.

    Spans that end near time 0 are learned late: see the module.
    """
    algo = build()
    field, known = exact(ExactVelocity, algo), exact(ExactDivergence, algo)
    monkeypatch.setattr(algo.actor, "forward", field.forward)
    optimizer, obs = torch.optim.Adam(algo.divergence.parameters(), 3e-3), torch.zeros(256, 4)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / 300)
        action = MEAN + STD * torch.randn(256, SPEC.act_dim)
        loss = algo.divergence_loss(obs, action)
        gradient_step(optimizer, loss)
    for when, how_long in ((0.2, 0.0), (0.5, 0.0), (0.9, 0.0), (1.0, 0.5)):
        time, span = torch.full((256, 1), when), torch.full((256, 1), how_long)
        point = (1 - time) * MEAN + spread(time) * torch.randn(256, SPEC.act_dim)
        with torch.no_grad():
            found = algo.divergence(point, time, span, obs).mean()
        assert float(found) == pytest.approx(float(known(point, time, span, obs).mean()), abs=0.8)


def test_spans_are_as_many_as_asked_for_and_end_at_their_times():
    algo = build(instant=0.75)
    time, span, rows = algo.times(1000)
    assert len(rows) == 250 and len(rows.unique()) == 250
    assert int((span > 0).sum()) == 250 and (span[rows] > 0).all()
    assert (time > 0).all() and (time < 1).all() and (span < time).all()


def test_the_temperature_falls_where_the_policy_is_too_random_and_rises_where_it_is_too_sure():
    for target, sign in ((-20.0, -1), (20.0, 1)):
        algo = build(target_entropy=target, temperature=0.1, temperature_lr=0.1)
        batch = {"norm_obs": torch.randn(32, 4), "action": torch.rand(32, SPEC.act_dim)}
        for _ in range(3):
            algo.step_actor(batch)
        assert sign * (float(algo.log_temperature.detach()) - math.log(0.1)) > 0.2


@pytest.mark.parametrize("kind", ["scalar", "c51"])
def test_the_critics_target_holds_the_entropy(kind, monkeypatch):
    """Of a policy whose density is known everywhere: reward + discount (Q + temperature H)."""
    critic = CriticConfig(kind=kind, v_min=-2.0, v_max=2.0)
    targets = []
    for backup in (False, True):
        algo = build(critic=critic, entropy_backup=backup, temperature=0.2)
        monkeypatch.setattr(
            algo.ema_actor, "draw",
            lambda condition, rng=None, divergence=None: (
                torch.zeros(len(condition), SPEC.act_dim), torch.full((len(condition),), 1.5)
            ),
        )  # fmt: skip
        batch = {
            "norm_bootstrap_obs": torch.ones(5, 4), "n_step_reward": torch.full((5,), 0.1),
            "discount": torch.tensor([0.9, 0.9, 0.0, 0.0, 0.9]),
        }  # fmt: skip
        target = algo.critic_target(batch)
        targets.append(target[0] if kind == "scalar" else target[0] @ algo.critic.support)
    wanted = -0.2 * 1.5 * batch["discount"]
    torch.testing.assert_close(targets[1] - targets[0], wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"own": 0}, "own=0"),
        ({"uniform": 0}, "uniform=0"),
        ({"probes": 0}, "probes=0"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"instant": 1.5}, "instant=1.5"),
        ({"entropy_backup": True}, "entropy_backup=True: valid only with critic.v_min below 0"),
    ],
)
def test_bad_settings_are_named(settings, word):
    with pytest.raises(ValueError, match=word):
        bench.algos.registry["mfpo"].config(**settings)


def test_a_flow_has_at_least_one_step():
    with pytest.raises(ValueError, match=r"^steps=0"):
        build(actor=bench.algos.mfpo.FlowConfig(steps=0))
