"""QVPO: Q-weighted variational policy optimisation (Ding et al. 2024, arXiv 2405.16173).

The policy imitates the best of several of its own samples, weighted by how much better than their
mean it is, and, weakly, uniform actions: those are its entropy. Differences from the authors'
code, settings where they are choices (`preset=paper` has the code's):
 1. `critic.kind=c51`, `n_step`, the novelty bonus and random exploration, as the comparison gives
    them to every algorithm.
 2. `normalize_weights`: weights are divided by their mean over the batch; where returns are sparse
    all weights are nearly 0 and the actor would not learn.
 3. 16 candidates instead of 64, and five denoising steps instead of 20: 64 x 20 network calls per
    row take nearly all of the time. The suite's preset predicts the noise, as the code does: an
    untrained prediction of the clean action hardly varies, and leaves nothing to choose from.
 4. An average of the actor acts (`ema`).
 5. Evaluation takes one plain sample (`act_candidates`); the code takes the best of 32: that is the
    protocol `specified`, with `preset=paper` too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.ranges import require

from . import register
from .common.candidates import best_of, candidate_values, candidates
from .common.learner import Scalars
from .common.offpolicy import Batch, DiffusionLearner, DiffusionLearnerConfig

SPECIFIED = 32  # candidates of the code's evaluation


@dataclass
class Config(DiffusionLearnerConfig):
    """Settings of QVPO."""

    candidates: int = 16  # own samples per state, the best of which is imitated
    uniform: int = 10  # uniform actions per state
    entropy: tuple[float, float] = (0.02, 0.002)  # weight of them, at first and at last
    entropy_steps: int = 100_000  # gradient steps over which it falls
    normalize_weights: bool = True  # by their mean over the batch
    target_candidates: int = 4  # the critic's next action is the best of so many
    explore_candidates: int = 4  # so is the action in training
    act_candidates: int = 1  # and in evaluation

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "[0, inf)", "uniform", "entropy")
        require(self, "[1, inf)", "candidates", "target_candidates", "explore_candidates",
                "act_candidates", "entropy_steps")  # fmt: skip


@register(
    "qvpo",
    config=Config,
    policy="diffusion, Q-weighted denoising",
    data="off-policy",
    commanded="no",
    source="Ding et al. 2024, arXiv 2405.16173",
)
class QVPO(DiffusionLearner):
    """Diffusion policy that imitates the best of its own samples."""

    acting = ("ema_actor", "target_critic", "norm")

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the policy, and keep the best of some samples if so configured."""
        rng, config = self.rng if explore else None, self.config
        count = config.explore_candidates if explore else config.act_candidates
        action = best_of(self.policy, self.target_critic, self.norm(obs), count, rng)
        return self.explore(action) if explore else action

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Keep the best of 32 samples, as the code does in evaluation."""
        return best_of(self.policy, self.target_critic, self.norm(obs), SPECIFIED)

    def next_action(self, norm_obs: Tensor) -> Tensor:
        """Return the best of some samples of the averaged actor, (B, A)."""
        count = self.config.target_candidates
        return best_of(self.ema_actor, self.target_critic, norm_obs, count, self.rng)

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return the weighted denoising loss of the best and of uniform actions."""
        config, norm_obs = self.config, batch["norm_obs"]
        best, weight = self.weigh(norm_obs)
        share = min((self.gradient_steps - 1) / config.entropy_steps, 1.0)
        alpha = config.entropy[0] + share * (config.entropy[1] - config.entropy[0])
        shape = config.uniform * len(norm_obs), best.shape[-1]
        uniform = 2 * torch.rand(shape, device=norm_obs.device, generator=self.rng) - 1
        action = torch.cat([best, uniform])
        weights = torch.cat([weight, (alpha * weight).repeat(config.uniform)])
        condition = norm_obs.repeat(config.uniform + 1, 1)
        loss = (weights * self.actor.loss(action, condition, self.rng)).mean()
        return loss, {"weight": weight.mean(), "entropy_weight": alpha}

    @torch.no_grad()
    def weigh(self, norm_obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best of the actor's own actions (B, A) and relu(Q - V) of it (B,)."""
        action = candidates(self.actor, norm_obs, self.config.candidates, self.rng)
        value = candidate_values(self.critic, norm_obs, action).min(dim=0).values  # (B, K)
        top, chosen = value.max(dim=-1)
        weight = top - value.mean(dim=-1)
        if self.config.normalize_weights:
            weight = weight / (weight.mean() + 1e-8)
        return action[torch.arange(len(norm_obs), device=norm_obs.device), chosen], weight
