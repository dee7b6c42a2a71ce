"""TD3: twin delayed deep deterministic policy gradient (Fujimoto et al. 2018, arXiv 1802.09477).

A deterministic actor with Gaussian exploration. Differences from the paper, all settings:
 1. `critic.kind=c51`, the critic that the comparison gives to every algorithm; a twin scalar
    critic is the paper's. The actor climbs the first head's expectation in both.
 2. The novelty bonus and random exploration that the comparison gives to every algorithm.
 3. `n_step` returns, as the algorithms it is compared with have; 1 is the paper's.
 4. `noise` differs between environments, as in DDiffPG's comparison; equal ends are the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import Spec
from bench.ranges import require

from . import register
from .common.exploration import BehaviourNoise
from .common.learner import LearnerConfig, Scalars
from .common.networks import mlp, require_activation
from .common.offpolicy import Batch, OffPolicy


@dataclass
class Config(LearnerConfig):
    """Settings of TD3."""

    hidden: tuple[int, ...] = (128, 128)
    activation: str = "silu"
    delay: int = 2  # gradient steps of the critic per step of the actor and the target networks
    smoothing: float = 0.2  # std of the noise on next actions
    smoothing_clip: float = 0.5
    noise: tuple[float, float] = (0.05, 0.6)  # std of behaviour noise, first to last environment

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require_activation(self.activation)
        require(self, "[1, inf)", "hidden", "delay")
        require(self, "[0, inf)", "smoothing", "smoothing_clip", "noise")


@register(
    "td3",
    config=Config,
    policy="deterministic",
    data="off-policy",
    commanded="no",
    source="Fujimoto et al. 2018, arXiv 1802.09477",
)
class TD3(OffPolicy):
    """Twin delayed deterministic policy gradient: one action per state."""

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__(spec, config, device)
        self.delay = config.delay
        self.target_actor = self.average(self.actor, config.tau)
        self.noise = BehaviourNoise(config.noise, spec.num_envs).to(device)

    def make_actor(self) -> nn.Module:
        """Return a network of actions before they are squashed."""
        sizes = [self.spec.obs_dim, *self.config.hidden, self.spec.act_dim]
        return mlp(sizes, self.config.activation)

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Return the actor's action, with noise if it explores."""
        action = self.actor(self.norm(obs)).tanh()
        return self.explore(self.noise(action, self.rng)) if explore else action

    def next_action(self, norm_obs: Tensor) -> Tensor:
        """Return the target actor's actions (B, A) with clipped noise."""
        action, limit = self.target_actor(norm_obs).tanh(), self.config.smoothing_clip
        noise = self.config.smoothing * torch.randn_like(action, generator=self.rng)
        return (action + noise.clamp(-limit, limit)).clamp(-1, 1)

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return -E[Q_1]."""
        norm_obs = batch["norm_obs"]
        value = self.critic.first_value(norm_obs, self.actor(norm_obs).tanh()).mean()
        return -value, {"value": value.detach()}
