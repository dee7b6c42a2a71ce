"""DIPO: diffusion policy by action gradient (Yang et al. 2023, arXiv 2305.13122).

Every stored action is improved, again and again, by gradient ascent on Q; a diffusion policy
imitates the improved ones. Differences from the authors' code, settings where they are choices
(`preset=paper` has the code's):
 1. `critic.kind=c51`, `n_step`, the novelty bonus and random exploration, as the comparison gives
    them to every algorithm.
 2. Actions are improved where critic and actor learn: one batch for all three, not three.
 3. Only a termination stops bootstrapping; the code stores time limits as terminations.
 4. The actor predicts the clean action in five steps, and an average of it acts, explores with
    `noise` and gives the next actions, as in DDiffPG, of which this is the part without modes.
 5. Evaluation samples the whole chain; the code's keeps only the first noise: that is the protocol
    `specified`.
 6. `ascent_clip` bounds the gradient of the whole batch, as in the code; off, as Adam's step does
    not depend on its size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import Spec, Transition
from bench.ranges import require

from . import register
from .common.ascent import climb
from .common.exploration import BehaviourNoise
from .common.learner import Scalars
from .common.offpolicy import Batch, DiffusionLearner, DiffusionLearnerConfig


@dataclass
class Config(DiffusionLearnerConfig):
    """Settings of DIPO."""

    ascent_steps: int = 5  # of Adam on a stored action, each time it is drawn
    ascent_lr: float = 0.03
    ascent_clip: float = 0.0  # bound on the batch's gradient norm, times A; 0: none
    noise: tuple[float, float] = (0.05, 0.6)  # std of behaviour noise, first to last environment

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "[1, inf)", "ascent_steps")
        require(self, "[0, inf)", "ascent_lr", "ascent_clip", "noise")


@register(
    "dipo",
    config=Config,
    policy="diffusion, action gradient",
    data="off-policy",
    commanded="no",
    source="Yang et al. 2023, arXiv 2305.13122",
)
class DIPO(DiffusionLearner):
    """Diffusion policy that imitates stored actions improved by gradient ascent on Q."""

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__(spec, config, device)
        self.noise = BehaviourNoise(config.noise, spec.num_envs).to(device)

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the policy, with noise if it explores."""
        rng = self.rng if explore else None
        action = self.policy.sample(self.norm(obs), rng)
        return self.explore(self.noise(action, rng)) if explore else action

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Denoise without further noise, as the code does in evaluation."""
        return self.policy.sample(self.norm(obs), renoise=False)

    def observe(self, step: Transition, **extra: Tensor) -> None:
        """Remember a vector step; the executed action is the first of the improved ones."""
        super().observe(step, best=step.action, **extra)

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return the denoising loss of the stored actions, improved and written back."""
        best, value = self.improve(batch["norm_obs"], batch["best"])
        self.replay.fields["best"][batch["index"]] = best
        loss = self.actor.loss(best, batch["norm_obs"], self.rng).mean()
        return loss, {"value": value.mean()}

    def improve(self, norm_obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Climb min Q from actions (B, A); return the new ones and their last values (B,)."""
        config = self.config
        with torch.no_grad():
            slope = self.critic.slope(self.critic.features(norm_obs[None]))
        limit = config.ascent_clip * action.shape[-1]
        best, value = climb(slope, action[None], config.ascent_steps, config.ascent_lr, limit)
        return best[0], value[0]
