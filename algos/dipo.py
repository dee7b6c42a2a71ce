"""DIPO: diffusion policy by action gradient (Yang et al. 2023, arXiv 2305.13122).

Every stored action is improved, again and again, by gradient ascent on Q; a diffusion policy
imitates the improved ones. Differences from the authors' code, settings where they are choices
(`preset=paper` has the code's):
 1. `critic.kind=c51`, `n_step`, the novelty bonus and random play, as the comparison gives them to
    every algorithm.
 2. Actions are improved where critic and actor learn: one batch for all three, not three.
 3. Only a termination stops bootstrapping; the code stores time limits as terminations.
 4. The actor predicts the clean action in five steps, and an average of it acts, explores with
    `noise` and gives the next actions, as in DDiffPG, of which this is the part without modes.
 5. Evaluation samples the whole chain; the code's keeps only the first noise.
 6. `ascent_clip` bounds the gradient of the whole batch, as in the code; off, as Adam's step does
    not depend on its size.
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
from .offpolicy import Experience, regress, restore


@dataclass
class Config:
    """Settings of DIPO."""

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
    ascent_steps: int = 5  # of Adam on a stored action, each time it is drawn
    ascent_lr: float = 0.03
    ascent_clip: float = 0.0  # bound on the batch's gradient norm, times A; 0: none
    noise: tuple[float, float] = (0.05, 0.6)  # std of behaviour noise, first to last environment
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if self.ascent_steps < 1:
            raise ValueError(f"ascent_steps={self.ascent_steps}: valid are whole numbers from 1")
        if self.ascent_clip < 0:
            raise ValueError(f"ascent_clip={self.ascent_clip}: valid are numbers from 0")


@register(
    "dipo",
    config=Config,
    policy="diffusion, action gradient",
    data="off-policy",
    commanded="no",
    source="Yang et al. 2023, arXiv 2305.13122",
)
class DIPO(nn.Module):
    """Diffusion policy that imitates stored actions improved by gradient ascent on Q."""

    num_modes = 0
    std: Tensor

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__()
        self.config = config
        self.experience = Experience(spec, config, device)
        self.actor = DiffusionPolicy(spec.act_dim, spec.obs_dim, config.actor)
        self.slow_actor = deepcopy(self.actor).requires_grad_(False)
        self.critic = TwinCritic(1, spec.obs_dim, spec.act_dim, config.critic)
        self.slow_critic = deepcopy(self.critic).requires_grad_(False)
        self.register_buffer("std", torch.linspace(*config.noise, spec.num_envs)[:, None])
        self.to(device)
        self.actor_opt = torch.optim.Adam(self.actor.parameters(), config.actor_lr, fused=True)
        self.critic_opt = torch.optim.Adam(self.critic.parameters(), config.critic_lr, fused=True)

    @torch.no_grad()
    def act(self, obs: Tensor, explore: bool = False, mode: Tensor | None = None) -> Tensor:
        """Sample the averaged actor, with noise if it explores."""
        action = self.slow_actor.sample(self.experience.norm(obs))
        if explore:
            action = action + self.std * torch.randn_like(action)
            action = self.experience.play.replace(action).clamp(-1, 1)
        return action

    def observe(self, step: Transition) -> None:
        """Remember a vector step; the executed action is the first of the improved ones."""
        self.experience.observe(step, best=step.action)

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
        with torch.no_grad():
            action = self.slow_actor.sample(batch["seen_after"])
        critic_loss = regress(
            self.critic, self.slow_critic, self.critic_opt, batch, action, self.config.clip
        )
        scalars = self.learn_actor(batch) | self.experience.learn_novelty()
        track(self.slow_critic, self.critic, self.config.tau)
        track(self.slow_actor, self.actor, self.config.ema)
        return scalars | {"critic_loss": critic_loss}

    def learn_actor(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Improve the stored actions, write them back and imitate them."""
        best, value = self.improve(batch["seen"], batch["best"])
        self.experience.replay.fields["best"][batch["index"]] = best
        loss = self.actor.loss(best, batch["seen"]).mean()
        descend(self.actor_opt, loss, self.actor.parameters(), self.config.clip)
        return {"actor_loss": loss.detach(), "value": value.mean()}

    def improve(self, seen: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Climb min Q from actions (B, A) by Adam; return the new ones and values (B,)."""
        config = self.config
        with torch.no_grad():
            features = self.critic.features(seen[None])
        first, second = torch.zeros_like(action), torch.zeros_like(action)
        for i in range(1, config.ascent_steps + 1):
            action = action.detach().requires_grad_()
            value = self.critic.values(features, action[None])[0].min(dim=0).values
            (grad,) = torch.autograd.grad(value.sum(), action)
            if config.ascent_clip:
                limit = config.ascent_clip * action.shape[-1]
                grad = grad * (limit / (grad.norm() + 1e-6)).clamp(max=1.0)
            first = 0.9 * first + 0.1 * grad
            second = 0.999 * second + 0.001 * grad.square()
            stride = (first / (1 - 0.9**i)) / ((second / (1 - 0.999**i)).sqrt() + 1e-5)
            action = (action.detach() + config.ascent_lr * stride).clamp(-1, 1)
        return action, value.detach()

    def policy_state_dict(self) -> dict[str, Any]:
        """Return what acting needs: the averaged actor and the normalisation."""
        return {
            "slow_actor": self.slow_actor.state_dict(),
            "norm": self.experience.norm.state_dict(),
        }

    def load_policy_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `policy_state_dict` returned."""
        self.slow_actor.load_state_dict(state["slow_actor"])
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
