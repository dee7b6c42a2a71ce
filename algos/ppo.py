"""PPO: proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347).

A diagonal Gaussian with one standard deviation for all states, learned on-policy with generalised
advantages (Schulman et al. 2016, arXiv 1506.02438). Differences from the paper:
 1. A time limit bootstraps from the value of the true last observation; only a termination has
    none.
 2. The novelty bonus and random exploration that the comparison gives to all. Nothing is
    learned during the warm-up; rows acted at random are left out of the loss.
 3. Observations are standardised, by statistics that move only between rollouts.
 4. Actor and value function are separate networks; there is no clipping of the value function.
 5. `act` samples in evaluation too, as for every stochastic policy of the comparison; the mean, by
    which PPO is commonly evaluated, is the protocol `specified`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import register
from .common.networks import mlp
from .common.onpolicy import OnPolicy, OnPolicyConfig, Rows


@dataclass
class Config(OnPolicyConfig):
    """Settings of PPO."""

    deterministic: bool = False  # whether evaluation acts by the mean instead of a sample


@register(
    "ppo",
    config=Config,
    renamed={"trace": "gae_lambda", "ratio": "clip_ratio"},
    policy="Gaussian",
    data="on-policy",
    commanded="no",
    source="Schulman et al. 2017, arXiv 1707.06347",
)
class PPO(OnPolicy):
    """Proximal policy optimisation: one Gaussian per state, learned on-policy."""

    def make_actor(self) -> nn.Module:
        """Return a network of means."""
        sizes = [self.spec.obs_dim, *self.config.hidden, self.spec.act_dim]
        return mlp(sizes, self.config.activation)

    def mean(self, rows: Rows) -> Tensor:
        """Return what the network makes of the observation."""
        return self.actor(rows["norm_obs"])

    def choose(self, obs: Tensor) -> Tensor:
        """Sample the Gaussian, cut to the box, or take its mean if so configured."""
        if self.config.deterministic:
            return self.act_as_specified(obs)
        return self.perturb(self.actor(self.norm(obs))).clamp(-1, 1)

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Return the mean, cut to the box."""
        return self.actor(self.norm(obs)).clamp(-1, 1)
