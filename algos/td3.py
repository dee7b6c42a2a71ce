"""TD3: twin delayed deep deterministic policy gradient (Fujimoto et al. 2018, arXiv 1802.09477).

A deterministic actor with Gaussian exploration. Differences from the paper, all settings:
 1. `critic.kind=c51`, the critic that the comparison gives to every algorithm; a twin scalar
    critic is the paper's. The actor climbs the first head's expectation in both.
 2. The novelty bonus and random play that the comparison gives to every algorithm.
 3. `n_step` returns, as the algorithms it is compared with have; 1 is the paper's.
 4. `noise` differs between environments, as in DDiffPG's comparison; equal ends are the paper's.
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
from .exploration import ExplorationConfig
from .networks import ACTIVATIONS, descend, mlp, track
from .novelty import NoveltyConfig
from .offpolicy import Experience, regress, restore


@dataclass
class Config:
    """Settings of TD3."""

    gamma: float = 0.99
    n_step: int = 10  # of the critic's target
    batch: int = 512
    updates: int = 1  # per vector step
    replay: int = 1_000_000  # transitions
    normalize: bool = True  # observations, by running mean and variance
    hidden: tuple[int, ...] = (128, 128)
    activation: str = "silu"
    actor_lr: float = 1e-3
    critic: CriticConfig = field(default_factory=CriticConfig)
    critic_lr: float = 1e-3
    tau: float = 0.01  # rate of the slow networks
    clip: float = 1.0  # bound on gradient norms; 0: none
    delay: int = 2  # critic steps per step of the actor and of the slow networks
    smoothing: float = 0.2  # std of the noise on next actions
    smoothing_clip: float = 0.5
    noise: tuple[float, float] = (0.05, 0.6)  # std of behaviour noise, first to last environment
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation={self.activation!r}: valid are {', '.join(ACTIVATIONS)}")
        for name in ("n_step", "delay"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: valid are whole numbers from 1")


@register(
    "td3",
    config=Config,
    policy="deterministic",
    data="off-policy",
    commanded="no",
    source="Fujimoto et al. 2018, arXiv 1802.09477",
)
class TD3(nn.Module):
    """Twin delayed deterministic policy gradient: one action per state."""

    num_modes = 0
    std: Tensor

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__()
        self.config = config
        self.experience = Experience(spec, config, device)
        self.actor = mlp([spec.obs_dim, *config.hidden, spec.act_dim], config.activation)
        self.slow_actor = deepcopy(self.actor).requires_grad_(False)
        self.critic = TwinCritic(1, spec.obs_dim, spec.act_dim, config.critic)
        self.slow_critic = deepcopy(self.critic).requires_grad_(False)
        self.register_buffer("std", torch.linspace(*config.noise, spec.num_envs)[:, None])
        self.to(device)
        self.actor_opt = torch.optim.Adam(self.actor.parameters(), config.actor_lr, fused=True)
        self.critic_opt = torch.optim.Adam(self.critic.parameters(), config.critic_lr, fused=True)
        self.learned = 0  # critic steps

    @torch.no_grad()
    def act(self, obs: Tensor, explore: bool = False, mode: Tensor | None = None) -> Tensor:
        """Return the actor's action, with noise if it explores."""
        action = self.actor(self.experience.norm(obs)).tanh()
        if explore:
            action = action + self.std * torch.randn_like(action)
            action = self.experience.play.replace(action).clamp(-1, 1)
        return action

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
        """Take one step of the critic and the novelty model, and every `delay` of the actor."""
        batch = self.experience.sample()
        action = self.next_action(batch["seen_after"])
        critic_loss = regress(
            self.critic, self.slow_critic, self.critic_opt, batch, action, self.config.clip
        )
        scalars = {"critic_loss": critic_loss} | self.experience.learn_novelty()
        self.learned += 1
        if self.learned % self.config.delay == 0:
            scalars["value"] = self.learn_actor(batch["seen"])
            track(self.slow_critic, self.critic, self.config.tau)
            track(self.slow_actor, self.actor, self.config.tau)
        return scalars

    @torch.no_grad()
    def next_action(self, seen: Tensor) -> Tensor:
        """Return the slow actor's actions (B, A) with clipped noise."""
        action = self.slow_actor(seen).tanh()
        limit = self.config.smoothing_clip
        noise = (self.config.smoothing * torch.randn_like(action)).clamp(-limit, limit)
        return (action + noise).clamp(-1, 1)

    def learn_actor(self, seen: Tensor) -> Tensor:
        """Climb the first head; return the mean value."""
        action = self.actor(seen).tanh()
        value = self.critic.values(self.critic.features(seen[None]), action[None])[0, 0].mean()
        descend(self.actor_opt, -value, self.actor.parameters(), self.config.clip)
        return value.detach()

    def policy_state_dict(self) -> dict[str, Any]:
        """Return what acting needs: the actor and the normalisation."""
        return {"actor": self.actor.state_dict(), "norm": self.experience.norm.state_dict()}

    def load_policy_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `policy_state_dict` returned."""
        self.actor.load_state_dict(state["actor"])
        self.experience.norm.load_state_dict(state["norm"])

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return all optimisers, in the order of their states in `state_dict`."""
        return [self.actor_opt, self.critic_opt, self.experience.novelty.optimizer]

    def get_extra_state(self) -> dict[str, Any]:
        """Return what `state_dict` holds beside networks and memory."""
        return {
            "optimizers": [o.state_dict() for o in self.optimizers()],
            "learned": self.learned,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_extra_state` returned."""
        restore(self.optimizers(), state["optimizers"])
        self.learned = state["learned"]
