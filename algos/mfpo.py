"""MFPO: mean-flow policy optimisation (Dong et al. 2026, arXiv 2604.14698).

A flow that learns not how fast a point moves but how far it comes within a span of time goes from
noise to an action in two steps. It is fitted to the flow of the Boltzmann policy exp(Q /
temperature), and a second network of spans learns how the density changes on the way: from this
comes the policy's entropy, towards whose target the temperature is tuned. Differences from the
authors' code; 1, 2, 6 and the entropy's target are settings, of which `preset=paper` has the
code's, the others hold there too:
 1. `critic.kind=c51`, `n_step`, the novelty bonus and random exploration, as the comparison gives
    them to every algorithm. The code's C51 critic has 101 atoms from -1600 to 1600.
 2. `entropy_backup` is off: a support that begins at 0 holds returns, not entropies (as for the
    other maximum-entropy methods of the comparison). The code has it on.
 3. The flow is learned at noised actions of the replay, as for `maxentdp`; the code noises the
    policy's own, so that a policy that has narrowed learns nothing of what it left.
 4. The clean action that a velocity leads to is predicted, and its error weighs alike at all
    times, as that of the other flow here; the code predicts the velocity, whose error weighs
    1 / t^2 as much at time t. So it is with the divergence, and with its error.
 5. Times are given to the networks as they are and in waves of fixed length; the code learns the
    waves' lengths and an embedding of them. No layer normalisation; SiLU instead of GELU.
 6. An average of both networks acts, bootstraps and proposes actions (`ema`).
 7. The rows that learn of spans longer than 0 are drawn at random; the code takes the last ones of
    the batch. Only for them is the derivative along the flow computed: elsewhere it counts 0 times.
 8. The probes of the divergence and the noise of the points where it is asked for are independent;
    the code draws both with one key.
 9. Evaluation takes one plain sample; the code takes the best of 10: that is the protocol
    `specified`, with `preset=paper` too.
As in the code, an action that the flow carries out of the box is cut off at its border, and its
log-density is that of the point where it was: where the best actions are extreme the entropy is
that of a policy before the cut. Means over spans that end near time 0, as the last jump's does,
were learned last in what was tried; few rows ask for them, which may be why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.api import Spec
from bench.ranges import require

from . import register
from .common.candidates import best_of, candidate_values
from .common.learner import LearnerConfig, Scalars
from .common.networks import compute_in, gradient_step, mlp, require_activation
from .common.offpolicy import Batch, OffPolicy
from .maxentdp import truncated_normal

SPECIFIED = 10  # candidates of the code's evaluation
WAVES = 4  # of a time: half a period to two of them within the unit of time


@dataclass
class FlowConfig:
    """Settings of a mean flow."""

    steps: int = 2  # from noise to an action
    hidden: tuple[int, ...] = (128, 128)
    activation: str = "silu"

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        require_activation(self.activation)
        require(self, "[1, inf)", "steps", "hidden")


@dataclass
class Config(LearnerConfig):
    """Settings of MFPO."""

    actor: FlowConfig = field(default_factory=FlowConfig)
    ema: float = 0.005  # rate of the averaged networks that act; 1: the networks themselves
    temperature: float = 0.01  # initial, of the Boltzmann policy, in units of the largest return
    temperature_lr: float = 1e-3  # 0: it stays as it is
    target_entropy: float | None = None  # None: -0.5 A
    entropy_backup: bool = False  # whether the critic's target includes the entropy
    own: int = 16  # proposals per noisy action that the policy draws
    uniform: int = 32  # proposals from the posterior under a uniform policy
    instant: float = 0.75  # share of the rows whose span is 0: plain flow matching
    probes: int = 2  # random directions in which a divergence is estimated

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "[1, inf)", "own", "uniform", "probes")
        require(self, "(0, inf)", "temperature")
        require(self, "(0, 1]", "ema")
        require(self, "[0, 1]", "instant")
        require(self, "[0, inf)", "temperature_lr")
        require(self, "(-inf, inf)", "target_entropy")
        if self.entropy_backup and self.critic.kind == "c51" and self.critic.v_min >= 0:
            raise ValueError("entropy_backup=True: valid only with critic.v_min below 0")


class Times(NamedTuple):
    """When points are asked about: `time` (B, 1) and `span` (B, 1), 0 but in `rows` (n,)."""

    time: Tensor
    span: Tensor
    rows: Tensor


class MeanField(nn.Module):
    """Means over a span of time, the last one before a given time, of what a flow does to a point.

    Time runs from actions at 0 to noise at 1: x_t = (1 - t) a + t e.
    """

    waves: Tensor

    def __init__(self, act_dim: int, condition_dim: int, outputs: int, config: FlowConfig) -> None:
        super().__init__()
        self.register_buffer("waves", math.pi * torch.arange(1, WAVES + 1), persistent=False)
        inputs = condition_dim + act_dim + 2 * (1 + 2 * WAVES)
        self.network = mlp([inputs, *config.hidden, outputs], config.activation)

    def forward(self, point: Tensor, time: Tensor, span: Tensor, condition: Tensor) -> Tensor:
        """Return the mean (B, out) of points (B, A) over the spans (B, 1) that end at a time."""
        times = [f(t * self.waves) for t in (time, span) for f in (torch.cos, torch.sin)]
        inputs = torch.cat([condition, point, time, span, *times], dim=-1)
        return self.scaled(point, self.network(inputs)) / time

    def scaled(self, point: Tensor, output: Tensor) -> Tensor:
        """Return the mean times the time, given what the network says of points (B, A)."""
        return output

    def along(
        self, point: Tensor, time: Tensor, span: Tensor, condition: Tensor, velocity: Tensor
    ) -> Tensor:
        """Return how fast the mean (B, out) changes as point and time move on, the start stays."""
        one = torch.ones_like(time)
        moved = torch.func.jvp(
            lambda *now: self(*now, condition), (point, time, span), (velocity, one, one)
        )
        return moved[1]


class MeanFlowPolicy(MeanField):
    """Draws actions in [-1, 1]^A by `steps` jumps from Gaussian noise, by mean velocities."""

    def __init__(self, act_dim: int, condition_dim: int, config: FlowConfig) -> None:
        super().__init__(act_dim, condition_dim, act_dim, config)
        self.act_dim, self.steps = act_dim, config.steps

    def scaled(self, point: Tensor, output: Tensor) -> Tensor:
        """Return the way to a point from the clean action, which is what the network says."""
        return point - output

    def sample(self, condition: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Draw one action per row of the condition, (B, C) to (B, A)."""
        return self.draw(condition, rng)[0]

    def draw(
        self,
        condition: Tensor,
        rng: torch.Generator | None = None,
        divergence: MeanField | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw actions (B, A) and return their log-densities (B,), given mean divergences.

        Without these, the log-densities are those of the noise.
        """
        shape = len(condition), self.act_dim
        point = torch.randn(shape, device=condition.device, generator=rng)
        log_density = -0.5 * (point.square() + math.log(2 * math.pi)).sum(-1)
        span = condition.new_full((len(condition), 1), 1 / self.steps)
        for step in range(self.steps, 0, -1):
            time = step * span
            if divergence is not None:
                log_density += (divergence(point, time, span, condition) * span)[:, 0]
            point = point - span * self(point, time, span, condition)
        return point.clamp(-1, 1), log_density


@register(
    "mfpo",
    config=Config,
    policy="mean flow, Boltzmann target",
    data="off-policy",
    commanded="no",
    source="Dong et al. 2026, arXiv 2604.14698",
)
class MFPO(OffPolicy):
    """Mean-flow policy fitted to the Boltzmann policy of Q in few steps."""

    actor: MeanFlowPolicy
    acting = ("ema_actor", "target_critic", "norm")

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__(spec, config, device)
        self.divergence = MeanField(spec.act_dim, spec.obs_dim, 1, config.actor).to(device)
        compute_in(config.precision, device, self.divergence)
        self.log_temperature = nn.Parameter(torch.tensor(config.temperature, device=device).log())
        self.divergence_opt = torch.optim.Adam(
            self.divergence.parameters(), config.actor_lr, fused=True
        )
        self.temperature_opt = torch.optim.Adam(
            [self.log_temperature], config.temperature_lr, fused=True
        )
        self.optimizers |= {"divergence": self.divergence_opt, "temperature": self.temperature_opt}
        self.ema_actor = self.average(self.actor, config.ema)
        self.ema_divergence = self.average(self.divergence, config.ema)
        entropy = config.target_entropy
        self.target_entropy = -0.5 * spec.act_dim if entropy is None else entropy

    def make_actor(self) -> MeanFlowPolicy:
        """Return a mean flow conditioned on the observation."""
        return MeanFlowPolicy(self.spec.act_dim, self.spec.obs_dim, self.config.actor)

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the averaged policy."""
        if explore:
            return self.explore(self.ema_actor.sample(self.norm(obs), self.rng))
        return self.ema_actor.sample(self.norm(obs))

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Keep the best of 10 samples, as the code does in evaluation."""
        return best_of(self.ema_actor, self.target_critic, self.norm(obs), SPECIFIED)

    def next_action(self, norm_obs: Tensor) -> Tensor:
        """Sample the averaged policy."""
        return self.ema_actor.sample(norm_obs, self.rng)

    @torch.no_grad()
    def critic_target(self, batch: Batch) -> Tensor:
        """Return n-step reward + gamma^n [min Q_target(s', a') - temperature log pi(a'|s')]."""
        if not self.config.entropy_backup:
            return super().critic_target(batch)
        action, log_density = self.ema_actor.draw(
            batch["norm_bootstrap_obs"], self.rng, self.ema_divergence
        )
        entropy = -self.log_temperature.exp() * log_density
        return self.backup(batch, action, batch["n_step_reward"] + batch["discount"] * entropy)

    def step_actor(self, batch: Batch) -> Scalars:
        """Step the policy, the divergence that its density comes from, and the temperature."""
        norm_obs, count = batch["norm_obs"], self.config.own
        with torch.no_grad():
            action, log_density = self.ema_actor.draw(
                norm_obs.repeat_interleave(count, dim=0), self.rng, self.ema_divergence
            )
        action, log_density = action.unflatten(0, (-1, count)), log_density.view(-1, count)
        scalars = super().step_actor(batch | {"own": action, "own_log_density": log_density})
        loss = self.divergence_loss(norm_obs, action[:, 0])
        gradient_step(self.divergence_opt, loss, self.config.clip)
        entropy = -log_density.mean()
        gradient_step(self.temperature_opt, self.log_temperature * (entropy - self.target_entropy))
        return scalars | {
            "divergence_loss": loss.detach(),
            "entropy": entropy,
            "temperature": self.log_temperature.detach().exp(),
        }

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return the squared distance of the field to the mean flow of the Boltzmann policy."""
        norm_obs, own = batch["norm_obs"], batch["own"]
        times = self.times(len(norm_obs))
        noisy = self.noised(batch["action"], times.time)
        velocity, effective = self.velocity(
            norm_obs, noisy, times.time, own, batch["own_log_density"]
        )
        loss = mean_field_loss(self.actor, noisy, times, norm_obs, velocity, velocity)
        return loss, {"effective_proposals": effective}

    def divergence_loss(self, norm_obs: Tensor, action: Tensor) -> Tensor:
        """Return the squared distance to the mean divergence of the policy's flow.

        A divergence is estimated by the mean of p . (dv/dx p) over random directions p (Hutchinson
        1989), as many as there are probes.
        """
        times, count = self.times(len(action)), self.config.probes
        noisy = self.noised(action, times.time)
        time, condition = (rows.repeat_interleave(count, dim=0) for rows in (times.time, norm_obs))
        still = torch.zeros_like(time)
        with torch.no_grad():
            point = noisy.repeat_interleave(count, dim=0)
            probe = torch.randn_like(point, generator=self.rng)
            velocity, push, *_ = torch.func.jvp(
                lambda place: self.actor(place, time, still, condition), (point,), (probe,)
            )
            instant = (push * probe).sum(-1).view(-1, count).mean(-1, keepdim=True)
        return mean_field_loss(self.divergence, noisy, times, norm_obs, velocity[::count], instant)

    def imitate(self, obs: Tensor, action: Tensor, steps: int) -> None:
        """Learn the mean flow to actions (R, A) of states (R, O), then its divergences.

        A straight path's own velocity stands for the flow's, of which it is the mean: for the rest
        the losses are those of learning (see `bench.api.Imitates`).
        """

        def loss(norm_obs: Tensor, action: Tensor) -> Tensor:
            times = self.times(len(action))
            noisy = self.noised(action, times.time)
            velocity = (noisy - action) / times.time
            return mean_field_loss(self.actor, noisy, times, norm_obs, velocity, velocity)

        self.fit(self.actor, loss, obs, action, steps)
        self.fit(self.divergence, self.divergence_loss, obs, action, steps)

    def times(self, count: int) -> Times:
        """Draw times, the later of two each, and spans that reach back to the earlier ones."""
        normal = torch.randn(2, count, 1, device=self.device, generator=self.rng)
        early, late = (normal - 0.4).sigmoid().sort(dim=0).values
        longer = count - round(self.config.instant * count)
        rows = torch.randperm(count, device=self.device, generator=self.rng)[:longer]
        span = torch.zeros_like(late)
        span[rows] = (late - early)[rows]
        return Times(late, span, rows)

    def noised(self, action: Tensor, time: Tensor) -> Tensor:
        """Return where actions (B, A) are at times (B, 1) on their way to noise, (B, A)."""
        return (1 - time) * action + time * torch.randn_like(action, generator=self.rng)

    @torch.no_grad()
    def velocity(
        self, norm_obs: Tensor, noisy: Tensor, time: Tensor, own: Tensor, own_log_density: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Estimate the velocity of the Boltzmann policy's flow, E[(x_t - a) / t].

        Twice, by importance sampling with proposals of the policy's own, and with those from the
        posterior under a uniform policy; each estimate counts by its effective proposals.

        Args:
            norm_obs: (B, O).
            noisy: (B, A), at times (B, 1).
            time: (B, 1).
            own: (B, K, A) actions of the policy.
            own_log_density: (B, K).

        Returns:
            Velocities (B, A), and the mean effective number of proposals ().
        """
        kept, point, apart = (1 - time)[:, None], noisy[:, None], time[:, None]  # (B, 1, ...)
        drawn = truncated_normal(point / kept, apart / kept, self.config.uniform, self.rng)
        action = torch.cat([own, drawn], dim=1)
        value = candidate_values(self.critic, norm_obs, action).min(dim=0).values
        log_weight = value / self.log_temperature.exp()
        count = own.shape[1]
        off = ((point - kept * own) / apart).square().sum(-1) / 2
        weights = (
            (log_weight[:, :count] - off - own_log_density).softmax(-1),
            log_weight[:, count:].softmax(-1),
        )
        effective = torch.stack([1 / weight.square().sum(-1) for weight in weights])  # (2, B)
        share = (effective / effective.sum(0))[..., None]
        weight = torch.cat([share[0] * weights[0], share[1] * weights[1]], dim=-1)
        mean = (weight[..., None] * action).sum(1)
        return (noisy - mean) / time, effective.sum(0).mean()


def mean_field_loss(
    field: MeanField,
    noisy: Tensor,
    times: Times,
    condition: Tensor,
    velocity: Tensor,
    instant: Tensor,
) -> Tensor:
    """Return the squared distance () of a field to what its own derivative says that it is.

    A mean m over the span h that ends at t, of what is f at once, changes by d(h m)/dt = f along
    the flow, so that m = f - h dm/dt (Geng et al. 2025, arXiv 2505.13447). Distances count by time.

    Args:
        field: m, learns.
        noisy: (B, A) points of the flow.
        times: theirs.
        condition: (B, C).
        velocity: (B, A) of the flow there.
        instant: (B, out) f there.
    """
    time, span, rows = times
    with torch.no_grad():
        inputs = (values[rows] for values in (noisy, time, span, condition, velocity))
        wanted = instant.index_add(0, rows, -span[rows] * field.along(*inputs))
    return (time * (field(noisy, time, span, condition) - wanted)).square().mean()
