"""Consistency-AC, online (Ding and Jin 2023, arXiv 2309.16984).

Diffusion-QL with a consistency model in place of the diffusion: the loss that clones replayed
actions asks neighbouring noise levels for the same action, and Q's gradient runs back through a
chain of few network calls. Differences from the authors' code, settings where they are choices
(`preset=paper` has the code's):
 1. `critic.kind=c51`, `n_step`, the novelty bonus and random exploration, as the comparison gives
    them to every algorithm.
 2. The cloning term is kept online (`clone`), as the suite's Diffusion-QL keeps its own: without
    it, as in the code's online form, nothing makes the model consistent.
 3. Three network calls per action, at noise levels that are evenly spaced among those learned; the
    code takes five, linearly spaced from 80 to 2, so that the last call still removes noise of
    std 2.
 4. Noise up to std 5 instead of 80, between 80 fixed levels instead of 2 that grow to 150; the
    input is scaled by the noise. The square of an inconsistency is divided by the levels' distance
    as in the code, less its factor of 100, which is `eta`'s to make up for.
 5. The model itself is the lower level's teacher (Song and Dhariwal 2023, arXiv 2310.14189, and an
    option of the code); its average acts and bootstraps (`ema`).
 6. Q is divided by max(mean |Q|, 0.001): before the first success the mean is nearly 0.
 7. One plain sample acts; the code resamples one of 50 by softmax(Q): in training that is
    `explore_candidates`, in evaluation the protocol `specified`.
 8. The average moves at every step from the first, instead of every fifth from the thousandth. No
    max backup, no decay of rates.
 9. A noise level is told by four cosines of its place among the levels, instead of a learned
    embedding of its std.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from bench.algos import register
from bench.algos.common.candidates import best_of
from bench.algos.common.exploration import BehaviourNoise
from bench.algos.common.learner import LearnerConfig, Scalars
from bench.algos.common.offpolicy import Batch, OffPolicy
from bench.api import Spec
from bench.ranges import require

from .model import ConsistencyConfig, ConsistencyPolicy

SPECIFIED = 50  # candidates of the code


@dataclass
class Config(LearnerConfig):
    """Settings of Consistency-AC."""

    actor: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    ema: float = 0.005  # rate of the averaged actor that acts; 1: the actor itself
    clone: float = 1.0  # weight of the consistency loss on replayed actions
    eta: float = 1.0  # weight of the normalised Q-value
    explore_candidates: int = 1  # actions drawn per step of training: softmax(Q) keeps one
    noise: tuple[float, float] = (0.0, 0.0)  # std of behaviour noise, first to last environment

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "(0, 1]", "ema")
        require(self, "[0, inf)", "clone", "eta", "noise")
        require(self, "[1, inf)", "explore_candidates")
        if self.clone == self.eta == 0:
            raise ValueError("clone=0, eta=0: one of them must be above 0, or nothing is learned")


@register(
    "consistency-ac",
    config=Config,
    presets=Path(__file__).parent / "presets",
    policy="consistency model, Q-gradient through the chain",
    data="off-policy",
    commanded="no",
    source="Ding and Jin 2023, arXiv 2309.16984",
)
class ConsistencyAC(OffPolicy):
    """Consistency model that clones replayed actions and climbs Q."""

    actor: ConsistencyPolicy
    acting = ("ema_actor", "target_critic", "norm")

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__(spec, config, device)
        self.ema_actor: ConsistencyPolicy = self.average(self.actor, config.ema)
        self.noise = BehaviourNoise(config.noise, spec.num_envs).to(device)

    def make_actor(self) -> ConsistencyPolicy:
        """Return a consistency model conditioned on the observation."""
        return ConsistencyPolicy(self.spec.act_dim, self.spec.obs_dim, self.config.actor)

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the policy, with noise if it explores."""
        if not explore:
            return self.ema_actor.sample(self.norm(obs))
        action = self.resample(obs, self.config.explore_candidates, self.rng)
        return self.explore(self.noise(action, self.rng))

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Keep one of 50 samples by softmax(Q), as the code does wherever it acts."""
        return self.resample(obs, SPECIFIED)

    def resample(self, obs: Tensor, count: int, rng: torch.Generator | None = None) -> Tensor:
        """Draw so many actions per state and keep one by softmax(Q), (B, O) to (B, A)."""
        norm_obs = self.norm(obs)
        return best_of(self.ema_actor, self.target_critic, norm_obs, count, rng, temperature=1.0)

    def next_action(self, norm_obs: Tensor) -> Tensor:
        """Sample the averaged actor."""
        return self.ema_actor.sample(norm_obs, self.rng)

    def imitate(self, obs: Tensor, action: Tensor, steps: int) -> None:
        """Learn to be consistent about actions (R, A) of states (R, O) (see `bench.api`)."""

        def loss(norm_obs: Tensor, action: Tensor) -> Tensor:
            return self.actor.loss(action, norm_obs, self.rng).mean()

        self.fit(self.actor, loss, obs, action, steps)

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return clone * consistency loss - eta mean Q_i / mean |Q_j|, heads (i, j) at random."""
        config, norm_obs = self.config, batch["norm_obs"]
        loss, scalars = norm_obs.new_zeros(()), dict[str, Tensor | float]()
        if config.clone:
            clone_loss = self.actor.loss(batch["action"], norm_obs, self.rng).mean()
            loss = config.clone * clone_loss
            scalars["clone_loss"] = clone_loss.detach()
        if config.eta:
            action = self.actor.sample(norm_obs, self.rng)
            value = self.critic.values(self.critic.features(norm_obs[None]), action[None])[0]
            scale = value.detach().abs().mean(-1).clamp(min=1e-3)
            ratio = value.mean(-1) / scale.flip(0)  # (2,) either head over the other's size
            which = torch.randint(2, (), device=norm_obs.device, generator=self.rng)
            loss = loss - config.eta * ratio[which]
            scalars["value"] = value.detach().mean(-1).min()
        return loss, scalars
