"""SAC: soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905).

A squashed diagonal Gaussian with automatic temperature. Differences from the paper, all settings:
 1. `critic.kind=c51`, the critic that the comparison gives to every algorithm; a twin scalar
    critic is the paper's. A categorical support holds returns, not entropies, so with c51
    `entropy_backup` is off: entropy is then sought by the actor alone (as RLPD does on sparse
    mazes, Ball et al. 2023, arXiv 2302.02948).
 2. The novelty bonus and random exploration that the comparison gives to every algorithm.
 3. `n_step` returns, as the algorithms it is compared with have; 1 is the paper's.
 4. `act` samples in evaluation too, as for every stochastic policy of the comparison; the paper's
    mean is the protocol `specified`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import Spec
from bench.ranges import require

from . import register
from .common.learner import LearnerConfig, Scalars
from .common.networks import gradient_step, mlp, require_activation
from .common.offpolicy import Batch, OffPolicy

LOG_STD = (-5.0, 2.0)


@dataclass
class Config(LearnerConfig):
    """Settings of SAC."""

    hidden: tuple[int, ...] = (128, 128)
    activation: str = "silu"
    temperature: float = 0.01  # initial weight of the entropy
    temperature_lr: float = 1e-3
    target_entropy: float | None = None  # None: -A
    entropy_backup: bool = False  # whether the critic's target includes the entropy
    deterministic: bool = False  # whether evaluation acts by the mean instead of a sample

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require_activation(self.activation)
        require(self, "[1, inf)", "hidden")
        require(self, "(0, inf)", "temperature")
        require(self, "[0, inf)", "temperature_lr")
        require(self, "(-inf, inf)", "target_entropy")
        if self.entropy_backup and self.critic.kind != "scalar":
            raise ValueError("entropy_backup=True: valid only with critic.kind=scalar")


@register(
    "sac",
    config=Config,
    policy="squashed Gaussian",
    data="off-policy",
    commanded="no",
    source="Haarnoja et al. 2018, arXiv 1812.05905",
)
class SAC(OffPolicy):
    """Soft actor-critic: one Gaussian per state, so one mode per state."""

    value_names = ("critic",)

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__(spec, config, device)
        start = torch.tensor(config.temperature, device=device).log()
        self.log_temperature = nn.Parameter(start)
        self.temperature_opt = torch.optim.Adam(
            [self.log_temperature], config.temperature_lr, fused=True
        )
        self.optimizers["temperature"] = self.temperature_opt
        entropy = config.target_entropy
        self.target_entropy = -float(spec.act_dim) if entropy is None else entropy

    def make_actor(self) -> nn.Module:
        """Return a network of means and log standard deviations."""
        sizes = [self.spec.obs_dim, *self.config.hidden, 2 * self.spec.act_dim]
        return mlp(sizes, self.config.activation)

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the Gaussian, or take its mean in evaluation if so configured."""
        if explore:
            return self.explore(self.policy(self.norm(obs), self.rng)[0])
        if self.config.deterministic:
            return self.act_as_specified(obs)
        return self.policy(self.norm(obs))[0]

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Return the squashed mean, by which the paper evaluates."""
        return self.mean(self.norm(obs))

    def mean(self, norm_obs: Tensor) -> Tensor:
        """Return the squashed means (B, A)."""
        return self.actor(norm_obs).chunk(2, dim=-1)[0].tanh()

    def policy(self, norm_obs: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return reparameterised actions (B, A) and their log-densities (B,)."""
        mean, log_std = self.actor(norm_obs).chunk(2, dim=-1)
        log_std = log_std.clamp(*LOG_STD)
        noise = torch.randn_like(mean, generator=rng)
        raw = mean + log_std.exp() * noise
        normal = -0.5 * noise.square() - log_std - 0.9189385332046727  # log sqrt(2 pi)
        squash = 2 * (0.6931471805599453 - raw - F.softplus(-2 * raw))  # log(1 - tanh^2), stable
        return raw.tanh(), (normal - squash).sum(-1)

    def next_action(self, norm_obs: Tensor) -> Tensor:
        """Sample the Gaussian."""
        return self.policy(norm_obs, self.rng)[0]

    @torch.no_grad()
    def critic_target(self, batch: Batch) -> Tensor:
        """Return n-step reward + gamma^n [min Q_target(s', a') - temperature log pi(a'|s')]."""
        if not self.config.entropy_backup:
            return super().critic_target(batch)
        action, log_density = self.policy(batch["norm_bootstrap_obs"], self.rng)
        entropy = -self.log_temperature.exp() * log_density
        return self.backup(batch, action, batch["n_step_reward"] + batch["discount"] * entropy)

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return E[temperature log pi - min Q]."""
        action, log_density = self.policy(batch["norm_obs"], self.rng)
        value = self.value(batch["norm_obs"], action)
        temperature = self.log_temperature.exp().detach()
        return (temperature * log_density - value).mean(), {
            "value": value.mean().detach(),
            "entropy": -log_density.mean().detach(),
            "temperature": temperature,
        }

    def step_actor(self, batch: Batch) -> Scalars:
        """Step the actor, then the temperature towards the target entropy."""
        scalars = super().step_actor(batch)
        gap = self.target_entropy - scalars["entropy"]
        gradient_step(self.temperature_opt, -self.log_temperature * gap)
        return scalars

    @torch.no_grad()
    def values(self, obs: Tensor) -> Tensor:
        """Return what the critic expects of the policy, (1, B)."""
        norm_obs = self.norm(obs)
        return self.value(norm_obs, self.policy(norm_obs)[0])[None]
