"""QSM: Q-score matching (Psenka et al. 2023, arXiv 2312.11752).

The policy's score at a noisy action is fitted to the gradient of Q there: nothing is imitated, and
nothing is differentiated through the denoising chain. Differences from the authors' code, settings
where they are choices (`preset=paper` has the code's):
 1. `critic.kind=c51`, `n_step`, the novelty bonus and random exploration, as the comparison gives
    them to every algorithm.
 2. `scale_by_noise`: the noise that is matched is the score times -sigma_t, as a denoiser of
    exp(Q / temperature) has it; the code leaves sigma_t out, and its samples overshoot.
 3. `normalize_gradient`: gradients are divided by their mean norm over the batch, so that the
    temperature is free of the scale of Q (as in flow-rl, the second implementation).
 4. Q is asked at the action in the box that is nearest to the noisy one: outside it never learned.
 5. The clean action that the score implies is predicted (`actor.predict`), in the box as a sample's
    is; the code predicts the noise, and cuts the noisy action to the box at every step.
 6. The cosine schedule of the other diffusion policies; an average of the actor acts (`ema`).
 7. `noise` differs between environments, as in DDiffPG's comparison.
As in the code, and unlike the score of the diffused Boltzmann policy, the target at a noisy action
is the gradient there, however large the noise: the policy is sharper than Boltzmann's, its shares
are those of the basins of Q, and heights hardly matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import Spec
from bench.ranges import require

from . import register
from .common.exploration import BehaviourNoise
from .common.learner import Scalars
from .common.offpolicy import Batch, DiffusionLearner, DiffusionLearnerConfig


@dataclass
class Config(DiffusionLearnerConfig):
    """Settings of QSM."""

    temperature: float = 0.1  # of the policy, in units of the mean gradient of Q or of Q itself
    normalize_gradient: bool = True  # by its mean norm over the batch
    scale_by_noise: bool = True  # whether the matched noise is the score times sigma_t
    noise: tuple[float, float] = (0.05, 0.6)  # std of behaviour noise, first to last environment

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "(0, inf)", "temperature")
        require(self, "[0, inf)", "noise")


@register(
    "qsm",
    config=Config,
    policy="diffusion, score matched to the gradient of Q",
    data="off-policy",
    commanded="no",
    source="Psenka et al. 2023, arXiv 2312.11752",
)
class QSM(DiffusionLearner):
    """Diffusion policy whose score is the action gradient of Q."""

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__(spec, config, device)
        self.noise = BehaviourNoise(config.noise, spec.num_envs).to(device)

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the policy, with noise if it explores."""
        if not explore:
            return self.policy.sample(self.norm(obs))
        action = self.policy.sample(self.norm(obs), self.rng)
        return self.explore(self.noise(action, self.rng))

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return the squared distance of the denoiser's output to what the score implies."""
        actor, norm_obs, action = self.actor, batch["norm_obs"], batch["action"]
        step = torch.randint(
            actor.config.steps, (len(action),), device=action.device, generator=self.rng
        )
        signal, sigma = actor.signal[step, None], actor.noise[step, None]
        noisy = signal * action + sigma * torch.randn_like(action, generator=self.rng)
        score, size = self.score(norm_obs, noisy)
        wanted = -sigma * score if self.config.scale_by_noise else -score  # the noise
        if actor.config.predict == "x0":
            wanted = ((noisy - sigma * wanted) / signal).clamp(-1, 1)
        output = actor.predict(noisy, step, norm_obs)
        return (output - wanted).square().mean(), {"gradient": size}

    def score(self, norm_obs: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor]:
        """Return the policy's score at noisy actions (B, A), and Q's mean gradient norm ().

        The gradient is that of the mean of both heads.
        """
        action = noisy.clamp(-1, 1).requires_grad_()
        with torch.no_grad():
            features = self.critic.features(norm_obs[None])
        value = self.critic.values(features, action[None])[0].mean(0)
        (grad,) = torch.autograd.grad(value.sum(), action)
        size = grad.norm(dim=-1).mean()
        scale = size + 1e-8 if self.config.normalize_gradient else 1.0
        return grad / (scale * self.config.temperature), size
