"""Diffusion-QL, online (Wang et al. 2022, arXiv 2208.06193).

The denoising loss on replayed actions, less the Q-value of actions that the policy draws: its
gradient runs back through the whole denoising chain. Written for offline data; this is its online
form with the cloning term kept. Differences from the authors' code, settings where they are
choices (`preset=paper` has the code's):
 1. Online: the data cloned are the replay's. `critic.kind=c51`, `n_step`, the novelty bonus and
    random exploration, as the comparison gives them to every algorithm.
 2. Q is divided by max(mean |Q|, 0.001): before the first success the mean is nearly 0.
 3. The cosine schedule of the other diffusion policies instead of the VP schedule, and the clean
    action is predicted (`actor.predict`).
 4. The average moves at every step from the first, instead of every fifth from the thousandth.
 5. No "max backup", no decay of the learning rate.
 6. One plain sample acts; the code resamples one of 50 by softmax(Q): in training that is
    `explore_candidates`, in evaluation the protocol `specified`, with `preset=paper` too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import Spec
from bench.ranges import require

from . import register
from .common.candidates import best_of
from .common.exploration import BehaviourNoise
from .common.learner import Scalars
from .common.offpolicy import Batch, DiffusionLearner, DiffusionLearnerConfig

SPECIFIED = 50  # candidates of the code


@dataclass
class Config(DiffusionLearnerConfig):
    """Settings of Diffusion-QL."""

    eta: float = 1.0  # weight of the normalised Q-value; 0 clones the replay
    explore_candidates: int = 1  # actions drawn per step of training: softmax(Q) keeps one
    noise: tuple[float, float] = (0.0, 0.0)  # std of behaviour noise, first to last environment

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "[0, inf)", "eta", "noise")
        require(self, "[1, inf)", "explore_candidates")


@register(
    "diffusion-ql",
    config=Config,
    renamed={"act_candidates": "explore_candidates"},
    policy="diffusion, Q-gradient through the chain",
    data="off-policy",
    commanded="no",
    source="Wang et al. 2022, arXiv 2208.06193",
)
class DiffusionQL(DiffusionLearner):
    """Diffusion policy that clones replayed actions and climbs Q."""

    acting = ("ema_actor", "target_critic", "norm")

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__(spec, config, device)
        self.noise = BehaviourNoise(config.noise, spec.num_envs).to(device)

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the policy, with noise if it explores."""
        if not explore:
            return self.policy.sample(self.norm(obs))
        action = self.resample(obs, self.config.explore_candidates, self.rng)
        return self.explore(self.noise(action, self.rng))

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Keep one of 50 samples by softmax(Q), as the code does wherever it acts."""
        return self.resample(obs, SPECIFIED)

    def resample(self, obs: Tensor, count: int, rng: torch.Generator | None = None) -> Tensor:
        """Draw so many actions per state and keep one by softmax(Q), (B, O) to (B, A)."""
        norm_obs = self.norm(obs)
        return best_of(self.policy, self.target_critic, norm_obs, count, rng, temperature=1.0)

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return the denoising loss - eta mean Q_i / mean |Q_j|, heads (i, j) at random."""
        norm_obs = batch["norm_obs"]
        loss = clone_loss = self.actor.loss(batch["action"], norm_obs, self.rng).mean()
        scalars: Scalars = {"clone_loss": clone_loss.detach()}
        if self.config.eta:
            action = self.actor.sample(norm_obs, self.rng)
            value = self.critic.values(self.critic.features(norm_obs[None]), action[None])[0]
            scale = value.detach().abs().mean(-1).clamp(min=1e-3)
            ratio = value.mean(-1) / scale.flip(0)  # (2,) either head over the other's size
            which = torch.randint(2, (), device=norm_obs.device, generator=self.rng)
            loss = clone_loss - self.config.eta * ratio[which]
            scalars["value"] = value.detach().mean(-1).min()
        return loss, scalars
