"""SAC: soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905).

A squashed diagonal Gaussian with automatic temperature. Differences from the paper, all settings:
 1. `critic.kind=c51`, the critic that the comparison gives to every algorithm; a twin scalar
    critic is the paper's. A categorical support holds returns, not entropies, so with c51
    `entropy_backup` is off: entropy is then sought by the actor alone (as RLPD does on sparse
    mazes, Ball et al. 2023, arXiv 2302.02948).
 2. The novelty bonus and random play that the comparison gives to every algorithm.
 3. `n_step` returns, as the algorithms it is compared with have; 1 is the paper's.
 4. `act` samples in evaluation too, as for every stochastic policy of the comparison.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import Spec, Transition

from . import register
from .critics import CriticConfig, TwinCritic
from .exploration import ExplorationConfig, RandomPlay
from .networks import RunningNorm, descend, mlp, track
from .novelty import NovelD, NoveltyConfig
from .replay import Replay

LOG_STD = (-5.0, 2.0)


@dataclass
class Config:
    """Settings of SAC."""

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
    tau: float = 0.01  # rate of the slow critics
    clip: float = 1.0  # bound on gradient norms; 0: none
    temperature: float = 0.01  # initial weight of the entropy
    temperature_lr: float = 1e-3
    target_entropy: float | None = None  # None: -A
    entropy_backup: bool = False  # whether the critic's target includes the entropy
    deterministic: bool = False  # whether evaluation acts by the mean instead of a sample
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if self.entropy_backup and self.critic.kind != "scalar":
            raise ValueError("entropy_backup=True: valid only with critic.kind=scalar")


@register(
    "sac",
    config=Config,
    policy="squashed Gaussian",
    data="off-policy",
    commanded="no",
    source="Haarnoja et al. 2018, arXiv 1812.05905",
)
class SAC(nn.Module):
    """Soft actor-critic: one Gaussian per state, so one way per state."""

    num_modes = 0

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__()
        self.spec, self.config, self.device = spec, config, device
        self.norm = RunningNorm(spec.obs_dim, config.normalize)
        self.novelty = NovelD(spec.obs_dim, spec.position, config.novelty)
        self.play = RandomPlay(spec.num_envs, spec.act_dim, config.exploration)
        self.actor = mlp([spec.obs_dim, *config.hidden, 2 * spec.act_dim], config.activation)
        self.critic = TwinCritic(1, spec.obs_dim, spec.act_dim, config.critic)
        self.slow_critic = deepcopy(self.critic).requires_grad_(False)
        self.log_temperature = nn.Parameter(torch.tensor(config.temperature).log())
        self.to(device)
        self.replay = Replay(spec, config.replay, device)
        self.actor_opt = torch.optim.Adam(self.actor.parameters(), config.actor_lr, fused=True)
        self.critic_opt = torch.optim.Adam(self.critic.parameters(), config.critic_lr, fused=True)
        self.temperature_opt = torch.optim.Adam([self.log_temperature], config.temperature_lr)
        entropy = config.target_entropy
        self.target_entropy = -float(spec.act_dim) if entropy is None else entropy
        self.reward_scale = 1 / (spec.max_return or 1.0)

    @torch.no_grad()
    def act(self, obs: Tensor, explore: bool = False, mode: Tensor | None = None) -> Tensor:
        """Sample the Gaussian, or take its mean in evaluation if so configured."""
        if self.config.deterministic and not explore:
            return self.actor(self.norm(obs)).chunk(2, dim=-1)[0].tanh()
        action, _ = self.policy(obs)
        return self.play.replace(action) if explore else action

    @torch.no_grad()
    def values(self, obs: Tensor) -> Tensor:
        """Return what the critic expects of the policy, (1, B)."""
        action, _ = self.policy(obs)
        features = self.critic.features(self.norm(obs)[None])
        return self.critic.values(features, action[None]).min(dim=1).values

    def policy(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return reparameterised actions (B, A) and their log-densities (B,)."""
        mean, log_std = self.actor(self.norm(obs)).chunk(2, dim=-1)
        log_std = log_std.clamp(*LOG_STD)
        noise = torch.randn_like(mean)
        raw = mean + log_std.exp() * noise
        normal = -0.5 * noise.square() - log_std - 0.9189385332046727  # log sqrt(2 pi)
        squash = 2 * (0.6931471805599453 - raw - F.softplus(-2 * raw))  # log(1 - tanh^2), stable
        return raw.tanh(), (normal - squash).sum(-1)

    @torch.no_grad()
    def observe(self, step: Transition) -> None:
        """Remember a vector step."""
        self.norm.observe(step.obs)
        self.replay.add(step._replace(reward=step.reward * self.reward_scale))
        self.play.observe(step.terminated | step.truncated)

    def update(self) -> dict[str, Tensor | float]:
        """Learn `updates` times, once the warm-up is over."""
        scalars: dict[str, Tensor | float] = {}
        if not self.play.warming_up:
            for _ in range(self.config.updates):
                scalars = self.learn()
        return scalars

    def learn(self) -> dict[str, Tensor | float]:
        """Take one step of the critic, the actor, the temperature and the novelty model."""
        index = self.replay.draw(self.config.batch)
        batch = self.replay.rows(index)
        batch["gain"], batch["after"], batch["discount"] = self.replay.n_step(
            index, self.config.n_step, self.config.gamma
        )
        critic_loss = self.learn_critic(batch)
        scalars = self.learn_actor(batch["obs"])
        track(self.slow_critic, self.critic, self.config.tau)
        scalars |= self.novelty.learn_recent(self.replay, self.norm)
        return scalars | {"critic_loss": critic_loss}

    def learn_critic(self, batch: dict[str, Tensor]) -> Tensor:
        """Regress on the n-step reward + bonus + gamma^n [min Q(s', a') - temperature log pi]."""
        with torch.no_grad():
            bonus = self.novelty.bonus(batch["obs"], batch["next_obs"], self.norm)
            action, log_density = self.policy(batch["after"])
            reward, discount = batch["gain"] + bonus, batch["discount"]
            if self.config.entropy_backup:
                reward = reward - discount * self.log_temperature.exp() * log_density
            target = self.slow_critic.target(
                self.norm(batch["after"])[None], action[None], reward[None], discount[None]
            )
        loss = self.critic.loss(self.norm(batch["obs"])[None], batch["action"][None], target).sum()
        descend(self.critic_opt, loss, self.critic.parameters(), self.config.clip)
        return loss.detach()

    def learn_actor(self, obs: Tensor) -> dict[str, Tensor | float]:
        """Minimise E[temperature log pi - min Q], then move the temperature to the target."""
        action, log_density = self.policy(obs)
        features = self.critic.features(self.norm(obs)[None])
        value = self.critic.values(features, action[None]).min(dim=1).values[0]
        temperature = self.log_temperature.exp().detach()
        loss = (temperature * log_density - value).mean()
        descend(self.actor_opt, loss, self.actor.parameters(), self.config.clip)
        gap = (log_density.detach() + self.target_entropy).mean()
        descend(self.temperature_opt, -self.log_temperature * gap, [self.log_temperature])
        return {
            "actor_loss": loss.detach(),
            "value": value.mean().detach(),
            "entropy": -log_density.mean().detach(),
            "temperature": temperature,
        }

    def policy_state_dict(self) -> dict[str, Any]:
        """Return what acting needs: the actor and the normalisation."""
        return {"actor": self.actor.state_dict(), "norm": self.norm.state_dict()}

    def load_policy_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `policy_state_dict` returned."""
        self.actor.load_state_dict(state["actor"])
        self.norm.load_state_dict(state["norm"])

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return networks, memory and optimisers."""
        return {
            "modules": super().state_dict(*args, **kwargs),
            "optimizers": [o.state_dict() for o in self.optimizers()],
        }

    def load_state_dict(self, state: dict[str, Any], *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Take back what `state_dict` returned."""
        super().load_state_dict(state["modules"])
        for optimizer, saved in zip(self.optimizers(), state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return all optimisers, in the order of their states in `state_dict`."""
        return [self.actor_opt, self.critic_opt, self.temperature_opt, self.novelty.optimizer]
