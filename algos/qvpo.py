"""QVPO: Q-weighted variational policy optimisation (Ding et al. 2024, arXiv 2405.16173).

The policy imitates the best of several of its own samples, weighted by how much better than their
mean it is, and, weakly, uniform actions: those are its entropy. Differences from the authors'
code, settings where they are choices (`preset=paper` has the code's):
 1. `critic.kind=c51`, `n_step`, the novelty bonus and random play, as the comparison gives them to
    every algorithm.
 2. `normalize_weights`: weights are divided by their mean over the batch; where returns are sparse
    all weights are nearly 0 and the actor would not learn.
 3. 16 candidates instead of 64, and five denoising steps instead of 20: 64 x 20 network calls per
    row take nearly all of the time. The suite's preset predicts the noise, as the code does: an
    untrained prediction of the clean action hardly varies, and leaves nothing to choose from.
 4. An average of the actor acts (`ema`).
 5. `act_candidates`: evaluation takes one plain sample; the code takes the best of 32.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition

from . import register
from .critics import CriticConfig, TwinCritic
from .diffusion import DiffusionConfig, DiffusionPolicy
from .exploration import ExplorationConfig
from .networks import descend, track
from .novelty import NoveltyConfig
from .offpolicy import Experience, best_of, candidates, regress, restore, values


@dataclass
class Config:
    """Settings of QVPO."""

    gamma: float = 0.99
    n_step: int = 10  # of the critic's target
    batch: int = 512
    updates: int = 1  # per vector step
    replay: int = 1_000_000  # transitions
    normalize: bool = True  # observations, by running mean and variance
    actor: DiffusionConfig = field(default_factory=DiffusionConfig)
    actor_lr: float = 1e-3
    ema: float = 0.005  # rate of the averaged actor that acts; 1: the actor itself
    critic: CriticConfig = field(default_factory=CriticConfig)
    critic_lr: float = 1e-3
    tau: float = 0.01  # rate of the slow critics
    clip: float = 1.0  # bound on gradient norms; 0: none
    candidates: int = 16  # own samples per state, the best of which is imitated
    uniform: int = 10  # uniform actions per state
    entropy: tuple[float, float] = (0.02, 0.002)  # weight of them, at first and at last
    entropy_steps: int = 100_000  # updates over which it falls
    normalize_weights: bool = True  # by their mean over the batch
    target_candidates: int = 4  # the critic's next action is the best of so many
    explore_candidates: int = 4  # so is the action in training
    act_candidates: int = 1  # and in evaluation
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        counts = ("candidates", "target_candidates", "explore_candidates", "act_candidates")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: valid are whole numbers from 1")
        if self.entropy_steps < 1:
            raise ValueError(f"entropy_steps={self.entropy_steps}: valid are whole numbers from 1")
        if self.uniform < 0:
            raise ValueError(f"uniform={self.uniform}: valid are whole numbers from 0")


@register(
    "qvpo",
    config=Config,
    policy="diffusion, Q-weighted denoising",
    data="off-policy",
    commanded="no",
    source="Ding et al. 2024, arXiv 2405.16173",
)
class QVPO(nn.Module):
    """Diffusion policy that imitates the best of its own samples."""

    num_modes = 0
    learned: Tensor

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__()
        self.config = config
        self.experience = Experience(spec, config, device)
        self.actor = DiffusionPolicy(spec.act_dim, spec.obs_dim, config.actor)
        self.slow_actor = deepcopy(self.actor).requires_grad_(False)
        self.critic = TwinCritic(1, spec.obs_dim, spec.act_dim, config.critic)
        self.slow_critic = deepcopy(self.critic).requires_grad_(False)
        self.register_buffer("learned", torch.zeros(()))  # updates
        self.to(device)
        self.actor_opt = torch.optim.Adam(self.actor.parameters(), config.actor_lr, fused=True)
        self.critic_opt = torch.optim.Adam(self.critic.parameters(), config.critic_lr, fused=True)

    @torch.no_grad()
    def act(self, obs: Tensor, explore: bool = False, mode: Tensor | None = None) -> Tensor:
        """Sample the averaged actor, and keep the best of some samples if so configured."""
        config = self.config
        count = config.explore_candidates if explore else config.act_candidates
        action = best_of(self.slow_actor, self.slow_critic, self.experience.norm(obs), count)
        return self.experience.play.replace(action) if explore else action

    def observe(self, step: Transition) -> None:
        """Remember a vector step."""
        self.experience.observe(step)

    def update(self) -> dict[str, Tensor | float]:
        """Learn `updates` times, once the warm-up is over."""
        scalars: dict[str, Tensor | float] = {}
        if not self.experience.play.warming_up:
            for _ in range(self.config.updates):
                scalars = self.learn()
        return scalars

    def learn(self) -> dict[str, Tensor | float]:
        """Take one step of the critic, the actor, their averages and the novelty model."""
        batch = self.experience.sample()
        action = best_of(
            self.slow_actor,
            self.slow_critic,
            batch["seen_after"],
            self.config.target_candidates,
        )
        critic_loss = regress(
            self.critic, self.slow_critic, self.critic_opt, batch, action, self.config.clip
        )
        scalars = self.learn_actor(batch) | self.experience.learn_novelty()
        track(self.slow_critic, self.critic, self.config.tau)
        track(self.slow_actor, self.actor, self.config.ema)
        return scalars | {"critic_loss": critic_loss}

    def learn_actor(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Minimise the weighted denoising loss of the best and of uniform actions."""
        config, seen = self.config, batch["seen"]
        best, weight = self.weigh(seen)
        share = (self.learned / config.entropy_steps).clamp(max=1.0)
        alpha = config.entropy[0] + share * (config.entropy[1] - config.entropy[0])
        self.learned += 1
        rows = len(seen)
        action = torch.cat(
            [best, 2 * torch.rand(config.uniform * rows, best.shape[-1], device=seen.device) - 1]
        )
        weights = torch.cat([weight, (alpha * weight).repeat(config.uniform)])
        loss = (weights * self.actor.loss(action, seen.repeat(config.uniform + 1, 1))).mean()
        descend(self.actor_opt, loss, self.actor.parameters(), config.clip)
        return {"actor_loss": loss.detach(), "weight": weight.mean(), "entropy_weight": alpha}

    @torch.no_grad()
    def weigh(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best of the actor's own actions (B, A) and relu(Q - V) of it (B,)."""
        action = candidates(self.actor, seen, self.config.candidates)
        value = values(self.critic, seen, action).min(dim=0).values  # (B, K)
        top, chosen = value.max(dim=-1)
        weight = top - value.mean(dim=-1)
        if self.config.normalize_weights:
            weight = weight / (weight.mean() + 1e-8)
        return action[torch.arange(len(seen), device=seen.device), chosen], weight

    def policy_state_dict(self) -> dict[str, Any]:
        """Return what acting needs: the averaged actor, its judge, the normalisation."""
        return {
            "slow_actor": self.slow_actor.state_dict(),
            "slow_critic": self.slow_critic.state_dict(),
            "norm": self.experience.norm.state_dict(),
        }

    def load_policy_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `policy_state_dict` returned."""
        self.slow_actor.load_state_dict(state["slow_actor"])
        self.slow_critic.load_state_dict(state["slow_critic"])
        self.experience.norm.load_state_dict(state["norm"])

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return all optimisers, in the order of their states in `state_dict`."""
        return [self.actor_opt, self.critic_opt, self.experience.novelty.optimizer]

    def get_extra_state(self) -> list[dict[str, Any]]:
        """Return what `state_dict` holds beside networks and memory: the optimisers."""
        return [o.state_dict() for o in self.optimizers()]

    def set_extra_state(self, state: list[dict[str, Any]]) -> None:
        """Take back what `get_extra_state` returned."""
        restore(self.optimizers(), state)
