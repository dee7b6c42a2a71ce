"""DPMD: diffusion policy mirror descent (Ma et al. 2025, arXiv 2502.00361).

A step of mirror descent multiplies the policy's density by exp(Q / temperature): the denoiser
learns from the policy's own samples, each weighted so. Equal modes drift apart at random, as
nothing restores their shares, and a lower one dies out. Differences from the authors' code,
settings where they are choices (`preset=paper` has the code's):
 1. `critic.kind=c51`, `n_step`, the novelty bonus and random exploration, as the comparison gives
    them to every algorithm.
 2. `particles` samples of each state are compared with one another: values less their state's
    mean, over the batch's spread of these differences. The code has one sample per state, and
    compares it with the batch's (`particles=1`): between states values differ far more than
    between actions of one. The batch has so many fewer states that rows are as many as for the
    other algorithms. The code's running mean and spread are the batch's here, and its clipping
    comes after the division by the spread, as in the paper.
 3. The samples are drawn anew, with noise of std `particle_noise`; the code takes the next actions
    that the critic bootstraps from, and so the best of 32 with noise.
 4. One plain sample bootstraps and acts in training, with noise that differs between environments
    (`noise`); in the code it is the best of 32, with noise whose scale is tuned to an entropy.
 5. Five denoising steps on the cosine schedule of the other diffusion policies, started at std 1,
    instead of 20 on a linear one started at 0.5; the clean action is predicted (`actor.predict`).
 6. Rates do not decay; the actor steps as often as the critic.
 7. Evaluation takes one plain sample; the code takes the best of 32: that is the protocol
    `specified`, with `preset=paper` too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import Spec
from bench.ranges import require

from . import register
from .common.candidates import best_of, candidate_values, candidates
from .common.exploration import BehaviourNoise
from .common.learner import Scalars
from .common.offpolicy import Batch, DiffusionLearner, DiffusionLearnerConfig

SPECIFIED = 32  # candidates of the code's evaluation
BOUND = 3.0  # on standardised values, the code's


@dataclass
class Config(DiffusionLearnerConfig):
    """Settings of mirror descent."""

    ema: float = 0.01  # the average is the policy that a step of mirror descent begins from
    temperature: float = 0.3  # in units of the values' spread
    particles: int = 8  # own samples per state, compared with one another; 1: with the batch's
    particle_noise: float = 0.2  # std of the noise on them
    noise: tuple[float, float] = (0.05, 0.6)  # std of behaviour noise, first to last environment

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "[1, inf)", "particles")
        require(self, "(0, inf)", "temperature")
        require(self, "[0, inf)", "particle_noise", "noise")


@register(
    "dpmd",
    config=Config,
    policy="diffusion, mirror descent",
    data="off-policy",
    commanded="no",
    source="Ma et al. 2025, arXiv 2502.00361",
)
class DPMD(DiffusionLearner):
    """Diffusion policy that imitates its own samples, exponentially weighted by Q."""

    acting: tuple[str, ...] = ("ema_actor", "target_critic", "norm")

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__(spec, config, device)
        self.noise = BehaviourNoise(config.noise, spec.num_envs).to(device)

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the policy, with noise if it explores."""
        if not explore:
            return self.policy.sample(self.norm(obs))
        action = self.policy.sample(self.norm(obs), self.rng)
        return self.explore(self.noise(action, self.rng))

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Keep the best of 32 samples, as the code does wherever it acts."""
        return best_of(self.policy, self.target_critic, self.norm(obs), SPECIFIED)

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return the weighted denoising loss of the averaged actor's samples."""
        count = self.config.particles
        norm_obs = batch["norm_obs"][::count]  # as many rows as a batch has
        action, weight = self.weigh(norm_obs)
        condition = norm_obs.repeat_interleave(count, dim=0)
        loss = self.actor.loss(action.flatten(0, 1), condition, self.rng)
        effective = 1 / weight.square().mean()  # as a share of them, for weights of mean 1
        return (weight.flatten() * loss).mean(), {"effective_particles": effective}

    @torch.no_grad()
    def weigh(self, norm_obs: Tensor) -> tuple[Tensor, Tensor]:
        """Draw K actions per state, (B, O) to (B, K, A), and weigh them by exp(Q), (B, K).

        The weights' mean is 1 in each state, or over the batch with one action per state.
        """
        config = self.config
        action = candidates(self.ema_actor, norm_obs, config.particles, self.rng)
        noise = torch.randn_like(action, generator=self.rng)
        action = torch.add(action, noise, alpha=config.particle_noise).clamp(-1, 1)
        value = candidate_values(self.critic, norm_obs, action).min(dim=0).values
        rivals = 1 if config.particles > 1 else 0  # the dimension along which values compete
        gain = value - value.mean(rivals, keepdim=True)
        gain = (gain / (gain.square().mean().sqrt() + 1e-8)).clamp(-BOUND, BOUND)
        weight = (gain / config.temperature).softmax(rivals)
        return action, weight * value.shape[rivals]
