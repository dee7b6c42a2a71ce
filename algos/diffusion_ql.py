"""Diffusion-QL, online (Wang et al. 2022, arXiv 2208.06193).

The denoising loss on replayed actions, less the Q-value of actions that the policy draws: its
gradient runs back through the whole denoising chain. Written for offline data; this is its online
form with the cloning term kept. Differences from the authors' code, settings where they are
choices (`preset=paper` has the code's):
 1. Online: the data cloned are the replay's. `critic.kind=c51`, `n_step`, the novelty bonus and
    random play, as the comparison gives them to every algorithm.
 2. Q is divided by max(mean |Q|, 0.001): before the first success the mean is nearly 0.
 3. The cosine schedule of the other diffusion policies instead of the VP schedule, and the clean
    action is predicted (`actor.predict`).
 4. The average moves at every step from the first, instead of every fifth from the thousandth.
 5. No "max backup", no decay of the learning rate.
 6. `act_candidates`: 1 is one plain sample; the code resamples one of 50 by softmax(Q).
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
from .offpolicy import Experience, best_of, regress, restore


@dataclass
class Config:
    """Settings of Diffusion-QL."""

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
    eta: float = 1.0  # weight of the normalised Q-value; 0 clones the replay
    act_candidates: int = 1  # actions drawn per step, one of which is kept by softmax(Q)
    noise: tuple[float, float] = (0.0, 0.0)  # std of behaviour noise, first to last environment
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if self.eta < 0:
            raise ValueError(f"eta={self.eta}: valid are numbers from 0")
        if self.act_candidates < 1:
            raise ValueError(
                f"act_candidates={self.act_candidates}: valid are whole numbers from 1"
            )


@register(
    "diffusion-ql",
    config=Config,
    policy="diffusion, Q-gradient through the chain",
    data="off-policy",
    commanded="no",
    source="Wang et al. 2022, arXiv 2208.06193",
)
class DiffusionQL(nn.Module):
    """Diffusion policy that clones replayed actions and climbs Q."""

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
        seen, count = self.experience.norm(obs), self.config.act_candidates
        action = best_of(self.slow_actor, self.slow_critic, seen, count, temperature=1.0)
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
        """Minimise the denoising loss - eta mean Q_i / mean |Q_j|, heads (i, j) at random."""
        seen = batch["seen"]
        loss = clone_loss = self.actor.loss(batch["action"], seen).mean()
        scalars: dict[str, Tensor | float] = {"clone_loss": clone_loss.detach()}
        if self.config.eta:
            action = self.actor.sample(seen)
            value = self.critic.values(self.critic.features(seen[None]), action[None])[0].mean(-1)
            size = self.critic.values(self.critic.features(seen[None]), action[None].detach())[0]
            scale = size.detach().abs().mean(-1).clamp(min=1e-3)
            ratio = value / scale.flip(0)  # (2,) either head over the other's size
            which = torch.randint(2, (), device=seen.device)
            loss = clone_loss - self.config.eta * ratio[which]
            scalars["value"] = value.detach().min()
        descend(self.actor_opt, loss, self.actor.parameters(), self.config.clip)
        return scalars | {"actor_loss": loss.detach()}

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
