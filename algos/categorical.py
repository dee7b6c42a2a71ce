"""Categorical policy: a category picks a Gaussian (Islam and Huber 2025, arXiv 2508.13922).

A categorical latent of the state chooses one of K squashed Gaussians; the straight-through
Gumbel-softmax makes the choice differentiable. SAC trains it, with the mixture's exact density.
Of the paper only the abstract was at hand: a categorical latent for the mode, a conditional
Gaussian for the action, differentiable sampling by straight-through or Gumbel-softmax. What it
does not say was filled in, and is ours:
 1. The entropy that SAC pays for is the mixture's, log sum_k p(k|s) pi_k(a|s), computed exactly. By
    that of the chosen Gaussian, several in one place would be worth as much as several apart.
 2. Categories are kept alive by an entropy of their own, p(k|s)'s, whose weight is learned towards
    a share of log K (`category_entropy`).
 3. `hold`: a training episode keeps the category that was drawn in its first state, so that
    exploration does not jitter between modes. What is held is behaviour alone; critic and actor
    learn of the mixture that draws at every step. So it acts in evaluation too, where no episode
    can be told from another: without a command a category is drawn at every step. A command
    holds one.
 4. `gumbel`, the temperature of the softmax, is fixed.
 5. `specified` is the mean of the likeliest category, after SAC's.
 6. SAC's own four differences, in its module.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import Spec, Transition
from bench.ranges import require

from . import register
from .common.learner import Scalars
from .common.mixture import MixturePolicy, pick
from .common.networks import gradient_step
from .common.offpolicy import Batch
from .sac import SAC
from .sac import Config as SACConfig


@dataclass
class Config(SACConfig):
    """Settings of the categorical policy."""

    categories: int = 8
    category_entropy: float = 0.7  # that is sought, a share of log K
    category_temperature: float = 0.01  # initial weight of it
    category_lr: float = 1e-3
    gumbel: float = 1.0  # temperature of the softmax whose gradient is taken
    hold: bool = True  # whether a training episode keeps its category

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "[2, inf)", "categories")
        require(self, "[0, 1]", "category_entropy")
        require(self, "(0, inf)", "category_temperature", "gumbel")
        require(self, "[0, inf)", "category_lr")


@register(
    "categorical",
    config=Config,
    policy="Gaussians, categorical gate",
    data="off-policy",
    commanded="yes",
    source="Islam and Huber 2025, arXiv 2508.13922",
)
class Categorical(SAC):
    """SAC with a category per state that picks one of K Gaussians."""

    held: Tensor
    fresh: Tensor
    actor: MixturePolicy

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        self.num_modes = config.categories
        super().__init__(spec, config, device)
        start = torch.tensor(config.category_temperature, device=device).log()
        self.log_category_temperature = nn.Parameter(start)
        self.category_opt = torch.optim.Adam(
            [self.log_category_temperature], config.category_lr, fused=True
        )
        self.optimizers["category"] = self.category_opt
        share = config.category_entropy
        self.target_category_entropy = share * float(torch.tensor(config.categories).log())
        self.register_buffer("held", torch.zeros(spec.num_envs, dtype=torch.int64, device=device))
        self.register_buffer("fresh", torch.ones(spec.num_envs, dtype=torch.bool, device=device))

    def make_actor(self) -> MixturePolicy:
        """Return a network of a gate and K Gaussians."""
        spec, config = self.spec, self.config
        return MixturePolicy(
            spec.obs_dim, spec.act_dim, config.categories, config.hidden, config.activation
        )

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the Gaussian of the held, the commanded or a drawn category."""
        mixture, rng = self.actor(self.norm(obs)), self.rng if explore else None
        category = mixture.choose(rng) if mode is None else mode
        if explore and self.config.hold:
            category = self.held = torch.where(self.fresh, category, self.held)
            self.fresh = torch.zeros_like(self.fresh)
        if self.config.deterministic and not explore:
            return pick(mixture.mean, category).tanh()
        action = pick(mixture.draw(rng), category).tanh()
        return self.explore(action) if explore else action

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Return the squashed mean of the likeliest category."""
        mixture = self.actor(self.norm(obs))
        return pick(mixture.mean, mixture.log_gate.argmax(-1)).tanh()

    def imitate(self, obs: Tensor, action: Tensor, steps: int) -> None:
        """Let actions (R, A) of states (R, O) become likely (see `bench.api.Imitates`)."""
        self.fit(self.actor, self.actor.surprise, obs, action, steps)

    @torch.no_grad()
    def observe(self, step: Transition, **extra: Tensor) -> None:
        """Remember a vector step; the episodes that begin have no category yet."""
        super().observe(step, **extra)
        self.fresh = self.fresh | step.terminated | step.truncated

    def policy(self, norm_obs: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return actions (B, A), differentiable through the category too, and log-densities."""
        action, log_density, _ = self.drawn(norm_obs, rng)
        return action, log_density

    def drawn(
        self, norm_obs: Tensor, rng: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return actions (B, A), the mixture's log-densities (B,) and the gate's entropies (B,)."""
        mixture = self.actor(norm_obs)
        uniform = torch.rand_like(mixture.log_gate, generator=rng).clamp(1e-7, 1 - 1e-7)
        gumbel = mixture.log_gate - (-uniform.log()).log()
        soft = (gumbel / self.config.gumbel).softmax(-1)
        hard = F.one_hot(gumbel.argmax(-1), soft.shape[-1]) + soft - soft.detach()
        raw = (hard[..., None] * mixture.draw(rng)).sum(1)
        entropy = -(mixture.log_gate.exp() * mixture.log_gate).sum(-1)
        return raw.tanh(), mixture.log_density(raw[:, None])[:, 0], entropy

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return E[temperature log pi - min Q - category temperature H(category)]."""
        action, log_density, entropy = self.drawn(batch["norm_obs"], self.rng)
        value = self.value(batch["norm_obs"], action)
        temperature = self.log_temperature.exp().detach()
        weight = self.log_category_temperature.exp().detach()
        return (temperature * log_density - value - weight * entropy).mean(), {
            "value": value.mean().detach(),
            "entropy": -log_density.mean().detach(),
            "temperature": temperature,
            "category_entropy": entropy.mean().detach(),
            "category_temperature": weight,
        }

    def step_actor(self, batch: Batch) -> Scalars:
        """Step the actor, then both temperatures towards their target entropies."""
        scalars = super().step_actor(batch)
        gap = self.target_category_entropy - scalars["category_entropy"]
        gradient_step(self.category_opt, -self.log_category_temperature * gap)
        return scalars
