"""MaxEntDP: maximum entropy RL with a diffusion policy (Dong et al. 2025, arXiv 2502.11612).

The denoiser learns what the clean action behind a noisy one would be if the policy were the
Boltzmann policy exp(Q / temperature): an importance-weighted mean over clean actions drawn from
the posterior under a uniform policy. Nothing is imitated, so the replay's shares do not matter.
Differences from the authors' code, settings where they are choices (`preset=paper`):
 1. `critic.kind=c51`, `n_step`, the novelty bonus and random exploration, as the comparison gives
    them to every algorithm.
 2. No entropy in the critic's target: a categorical support holds returns, not entropies (as for
    the other maximum-entropy method of the comparison). The code estimates it by an integral.
 3. A discrete cosine schedule that all diffusion policies here share, instead of a continuous one.
    The clean action is predicted (`actor.predict`); an average of the actor acts (`ema`).
 4. `proposals`: 64 instead of 500.
 5. Evaluation takes one plain sample (`act_candidates`); the code takes the best of 10: that is the
    protocol `specified`, with `preset=paper` too.
 6. `target=gradient`: the target of DQS (Jain et al. 2024, arXiv 2410.01312), a weighted mean of
    gradients of Q instead of one of actions, with this module's proposals and schedule and the
    clean action it implies kept in the box. Its variance grows with the noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.ranges import require

from . import register
from .common.candidates import best_of, candidate_values
from .common.learner import Scalars
from .common.offpolicy import Batch, DiffusionLearner, DiffusionLearnerConfig

SPECIFIED = 10  # candidates of the code's evaluation


@dataclass
class Config(DiffusionLearnerConfig):
    """Settings of MaxEntDP."""

    temperature: float = 0.01  # of the Boltzmann policy, in units of the largest return
    proposals: int = 64  # clean actions weighed per noisy action
    target: str = "noise"  # noise | gradient: a weighted mean of actions, or of gradients of Q
    act_candidates: int = 1  # actions drawn in evaluation, the best of which is kept

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "(0, inf)", "temperature")
        require(self, "[1, inf)", "proposals", "act_candidates")
        if self.target not in ("noise", "gradient"):
            raise ValueError(f"target={self.target!r}: valid are noise, gradient")


@register(
    "maxentdp",
    config=Config,
    policy="diffusion, Boltzmann target",
    data="off-policy",
    commanded="no",
    source="Dong et al. 2025, arXiv 2502.11612",
)
class MaxEntDP(DiffusionLearner):
    """Diffusion policy fitted to the Boltzmann policy of Q."""

    acting = ("ema_actor", "target_critic", "norm")

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the policy, and keep the best of some in evaluation if so configured."""
        if explore:
            return self.explore(self.policy.sample(self.norm(obs), self.rng))
        count = self.config.act_candidates
        return best_of(self.policy, self.target_critic, self.norm(obs), count)

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Keep the best of 10 samples, as the code does in evaluation."""
        return best_of(self.policy, self.target_critic, self.norm(obs), SPECIFIED)

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return the squared distance of the denoiser's output to the Boltzmann policy's."""
        actor, norm_obs, action = self.actor, batch["norm_obs"], batch["action"]
        step = torch.randint(
            actor.config.steps, (len(norm_obs),), device=norm_obs.device, generator=self.rng
        )
        signal, sigma = actor.signal[step, None], actor.noise[step, None]
        noisy = signal * action + sigma * torch.randn_like(action, generator=self.rng)
        clean, effective = self.denoise(norm_obs, noisy, signal, sigma)
        if actor.config.predict == "eps":
            clean = (noisy - signal * clean) / sigma
        output = actor.predict(noisy, step, norm_obs)
        return (output - clean).square().mean(), {"effective_proposals": effective}

    def denoise(
        self, norm_obs: Tensor, noisy: Tensor, signal: Tensor, sigma: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Estimate the mean clean action behind noisy ones under the Boltzmann policy.

        Args:
            norm_obs: (B, O).
            noisy: (B, A) = signal * clean + sigma * noise.
            signal: (B, 1).
            sigma: (B, 1).

        Returns:
            Clean actions (B, A), and the mean effective number of proposals ().
        """
        config = self.config
        centre, std = (noisy / signal)[:, None], (sigma / signal)[:, None]
        clean = truncated_normal(centre, std, config.proposals, self.rng)  # (B, K, A)
        if config.target == "noise":
            with torch.no_grad():
                value = candidate_values(self.target_critic, norm_obs, clean).min(dim=0).values
            weight = (value / config.temperature).softmax(-1)  # (B, K)
            mean = (weight[..., None] * clean).sum(1)
        else:
            clean.requires_grad_()
            value = candidate_values(self.target_critic, norm_obs, clean).min(dim=0).values
            (grad,) = torch.autograd.grad(value.sum(), clean)
            weight = (value.detach() / config.temperature).softmax(-1)
            score = (weight[..., None] * grad).sum(1) / (config.temperature * signal)
            mean = ((noisy + sigma.square() * score) / signal).clamp(-1, 1)  # Tweedie's formula
        return mean, 1 / weight.square().sum(-1).mean()


@torch.no_grad()
def truncated_normal(
    centre: Tensor, std: Tensor, count: int, rng: torch.Generator | None = None
) -> Tensor:
    """Draw K actions in [-1, 1]^A from normals cut off there: (B, 1, A), (B, 1, 1) to (B, K, A)."""
    low = torch.special.ndtr((-1 - centre) / std)
    high = torch.special.ndtr((1 - centre) / std)
    shape = len(centre), count, centre.shape[-1]
    share = torch.rand(shape, device=centre.device, generator=rng)
    place = (low + share * (high - low)).clamp(1e-6, 1 - 1e-6)
    return (centre + std * torch.special.ndtri(place)).clamp(-1, 1)
