"""Off-policy actor-critic: what such algorithms do alike; a file of theirs holds what differs."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.api import Spec
from bench.ranges import require

from .critics import TwinCritic
from .diffusion import DiffusionConfig, DiffusionPolicy
from .learner import Learner, LearnerConfig, Scalars
from .networks import compute_in, gradient_step

Batch = dict[str, Tensor]


@dataclass
class DiffusionLearnerConfig(LearnerConfig):
    """Settings of every off-policy algorithm whose actor is a diffusion policy."""

    actor: DiffusionConfig = field(default_factory=DiffusionConfig)
    ema: float = 0.005  # rate of the averaged actor that acts; 1: the actor itself
    average_acts: bool = True  # else the actor itself acts, and the average only bootstraps

    actor_class: ClassVar[type[DiffusionPolicy]] = DiffusionPolicy

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "(0, 1]", "ema")
        self.actor_class.check(self.actor, "actor")


class OffPolicy(Learner):
    """A learner with a twin critic, its target network and an actor that climbs it.

    An algorithm says which actor it has (`make_actor`), how it acts (`choose`), which action its
    critic bootstraps from (`next_action`) and what its actor minimises (`actor_loss`).

    Attributes:
        gradient_steps: of the critic, so far.
        delay: gradient steps of the critic per step of the actor and of the target networks.
    """

    delay = 1

    def __init__(self, spec: Spec, config: Any, device: str | torch.device) -> None:
        super().__init__(spec, config, device)
        if config.success_share:
            self.replay.note_successes()
        self.actor = self.make_actor()
        self.critic = self.make_critic()
        compute_in(config.precision, device, self.actor, self.critic)
        self.to(device)
        self.actor_opt = torch.optim.Adam(self.actor.parameters(), config.actor_lr, fused=True)
        self.critic_opt = torch.optim.Adam(self.critic.parameters(), config.critic_lr, fused=True)
        self.optimizers |= {"actor": self.actor_opt, "critic": self.critic_opt}
        self.target_critic = self.average(self.critic, config.tau)
        self.gradient_steps = 0

    @abstractmethod
    def make_actor(self) -> nn.Module:
        """Return the actor's network."""

    def make_critic(self) -> TwinCritic:
        """Return the critic's network."""
        return TwinCritic(1, self.spec.obs_dim, self.spec.act_dim, self.config.critic)

    @abstractmethod
    def next_action(self, norm_obs: Tensor) -> Tensor:
        """Return the actions (B, A) that the critic bootstraps from in states (B, O)."""

    @abstractmethod
    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return what the actor minimises on a batch (see `sample`), and scalars to log."""

    def learn(self) -> Scalars:
        """Take one step of the critic, the actor (when due), their averages and the novelty."""
        batch = self.sample()
        loss = self.critic.loss(
            batch["norm_obs"][None], batch["action"][None], self.critic_target(batch)
        ).sum()
        gradient_step(self.critic_opt, loss, self.config.clip)
        scalars: Scalars = {"critic_loss": loss.detach()}
        self.gradient_steps += 1
        if self.gradient_steps % self.delay == 0:
            scalars |= self.step_actor(batch)
            self.follow()
        return scalars | self.step_novelty()

    @torch.no_grad()
    def sample(self) -> Batch:
        """Draw a batch.

        Returns:
            Every stored field, and index (B,), n_step_reward (B,) with the bonus of every step,
            bootstrap_obs (B, O), discount (B,), and the standardised norm_obs and
            norm_bootstrap_obs (B, O).
        """
        rows, own = self.config.batch, round(self.config.success_share * self.config.batch)
        index = self.novelty.draw(self.replay, rows - own, self.rng)
        if own:
            index = torch.cat([index, self.replay.draw_successes(own, self.rng)])
        batch = self.replay.rows(index)
        reward, bootstrap_obs, discount = self.replay.n_step(
            index, self.config.n_step, self.config.gamma,
            self.step_bonus if self.novelty.coef else None,
        )  # fmt: skip
        return batch | {
            "index": index, "n_step_reward": reward, "bootstrap_obs": bootstrap_obs,
            "discount": discount, "norm_obs": self.norm(batch["obs"]),
            "norm_bootstrap_obs": self.norm(bootstrap_obs),
        }  # fmt: skip

    @torch.no_grad()
    def critic_target(self, batch: Batch) -> Tensor:
        """Return what the critic learns: n-step reward + gamma^n min Q_target(s', a')."""
        action = self.next_action(batch["norm_bootstrap_obs"])
        return self.backup(batch, action, batch["n_step_reward"])

    def backup(self, batch: Batch, action: Tensor, reward: Tensor) -> Tensor:
        """Return the critic's target for next actions (B, A) and n-step rewards (B,)."""
        return self.target_critic.target(
            batch["norm_bootstrap_obs"][None], action[None], reward[None], batch["discount"][None]
        )

    def step_actor(self, batch: Batch) -> Scalars:
        """Take one gradient step of the actor."""
        loss, scalars = self.actor_loss(batch)
        gradient_step(self.actor_opt, loss, self.config.clip)
        return {"actor_loss": loss.detach(), **scalars}

    def value(self, norm_obs: Tensor, action: Tensor) -> Tensor:
        """Return min Q of states (B, O) and actions (B, A), (B,)."""
        features = self.critic.features(norm_obs[None])
        return self.critic.values(features, action[None])[0].min(dim=0).values

    def get_extra_state(self) -> dict[str, Any]:
        """Return what `state_dict` holds beside networks and memory."""
        return super().get_extra_state() | {"gradient_steps": self.gradient_steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_extra_state` returned."""
        super().set_extra_state(state)
        self.gradient_steps = state["gradient_steps"]


class DiffusionLearner(OffPolicy):
    """An off-policy learner with a diffusion policy, whose average acts and bootstraps."""

    actor: DiffusionPolicy
    acting: tuple[str, ...] = ("ema_actor", "norm")

    def __init__(
        self, spec: Spec, config: DiffusionLearnerConfig, device: str | torch.device
    ) -> None:
        super().__init__(spec, config, device)
        self.ema_actor: DiffusionPolicy = self.average(self.actor, config.ema)
        acts = "ema_actor" if config.average_acts else "actor"
        self.acting = (acts, *self.acting[1:])

    @property
    def policy(self) -> DiffusionPolicy:
        """What acts, in training and evaluation."""
        return self.ema_actor if self.config.average_acts else self.actor

    def make_actor(self) -> DiffusionPolicy:
        """Return a diffusion policy conditioned on the observation."""
        return DiffusionPolicy(self.spec.act_dim, self.spec.obs_dim, self.config.actor)

    def next_action(self, norm_obs: Tensor) -> Tensor:
        """Sample the averaged actor."""
        return self.ema_actor.sample(norm_obs, self.rng)

    def imitate(self, obs: Tensor, action: Tensor, steps: int) -> None:
        """Denoise actions (R, A) of states (R, O) (see `bench.api.Imitates`)."""

        def loss(norm_obs: Tensor, action: Tensor) -> Tensor:
            return self.actor.loss(action, norm_obs, self.rng).mean()

        self.fit(self.actor, loss, obs, action, steps)
