"""What off-policy algorithms do alike; a file of theirs holds what sets them apart."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition
from bench.seeding import TRAINING, derive

from .critics import CriticConfig, TwinCritic
from .diffusion import DiffusionConfig, DiffusionPolicy
from .exploration import ExplorationConfig, RandomExploration
from .networks import RunningNorm, gradient_step, soft_update
from .novelty import NovelD, NoveltyConfig
from .replay import Replay

CACHED = 1_024  # actions whose intermediate results stay in a CPU core's cache
Scalars = dict[str, Tensor | float]
Batch = dict[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)


@dataclass
class OffPolicyConfig:
    """Settings of every off-policy algorithm."""

    gamma: float = 0.99
    n_step: int = 10  # of the critic's target
    batch: int = 512
    updates: int = 1  # gradient steps per vector step
    replay: int = 1_000_000  # transitions
    normalize: bool = True  # observations, by running mean and variance
    actor_lr: float = 1e-3
    critic: CriticConfig = field(default_factory=CriticConfig)
    critic_lr: float = 1e-3
    tau: float = 0.01  # rate of the target networks
    clip: float = 1.0  # bound on gradient norms; 0: none
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        require_counts(self, "n_step", "batch", "updates", "replay")


@dataclass
class DiffusionLearnerConfig(OffPolicyConfig):
    """Settings of every off-policy algorithm whose actor is a diffusion policy."""

    actor: DiffusionConfig = field(default_factory=DiffusionConfig)
    ema: float = 0.005  # rate of the averaged actor that acts; 1: the actor itself
    average_acts: bool = True  # else the actor itself acts, and the average only bootstraps


def require_counts(config: Any, *names: str) -> None:
    """Check that settings are at least 1.

    Raises:
        ValueError: naming the setting, its value and the valid ones.
    """
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name}={getattr(config, name)}: valid are integers from 1")


class OffPolicy(nn.Module):
    """Replay, normalisation, bonus, random exploration, critic and target networks of a learner.

    An algorithm says which actor it has (`make_actor`), how it acts (`act`), which action its
    critic bootstraps from (`next_action`) and what its actor minimises (`actor_loss`).

    Args:
        spec: of the task.
        config: of the algorithm.
        device: of all tensors.

    Attributes:
        rng: generator of everything random in training. Networks are initialised from torch's own
            generator, and so are the draws of `act(explore=False)`.
        gradient_steps: of the critic, so far.
        delay: gradient steps of the critic per step of the actor and of the target networks.
        acting: names of the modules that acting needs.
    """

    num_modes = 0
    delay = 1
    acting: tuple[str, ...] = ("actor", "norm")

    def __init__(self, spec: Spec, config: Any, device: str | torch.device) -> None:
        super().__init__()
        self.spec, self.config, self.device = spec, config, device
        self.norm = RunningNorm(spec.obs_dim, config.normalize)
        self.novelty = NovelD(spec.obs_dim, spec.position_dim, config.novelty)
        self.exploration = RandomExploration(spec.num_envs, spec.act_dim, config.exploration)
        self.actor = self.make_actor()
        self.critic = TwinCritic(1, spec.obs_dim, spec.act_dim, config.critic)
        self.to(device)
        self.replay = Replay(spec, config.replay, device)
        self.actor_opt = torch.optim.Adam(self.actor.parameters(), config.actor_lr, fused=True)
        self.critic_opt = torch.optim.Adam(self.critic.parameters(), config.critic_lr, fused=True)
        self.optimizers = [self.actor_opt, self.critic_opt, self.novelty.optimizer]
        self.averages: list[tuple[nn.Module, nn.Module, float]] = []
        self.target_critic = self.average(self.critic, config.tau)
        self.reward_scale = 1 / (spec.max_return or 1.0)
        self.gradient_steps = 0
        self.rng = torch.Generator(device).manual_seed(derive(spec.seed, TRAINING))

    def average(self, source: Module, rate: float) -> Module:
        """Return a copy of a network that follows it at a rate per gradient step of the actor."""
        copy = deepcopy(source).requires_grad_(False)
        self.averages.append((copy, source, rate))
        return copy

    def make_actor(self) -> nn.Module:
        """Return the actor's network."""
        raise NotImplementedError

    def next_action(self, norm_obs: Tensor) -> Tensor:
        """Return the actions (B, A) that the critic bootstraps from in states (B, O)."""
        raise NotImplementedError

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return what the actor minimises on a batch (see `sample`), and scalars to log."""
        raise NotImplementedError

    @torch.no_grad()
    def observe(self, step: Transition, **extra: Tensor) -> None:
        """Remember a vector step, with further (N, ...) fields."""
        self.norm.observe(step.obs)
        self.novelty.observe(step.position)
        self.replay.add(step._replace(reward=step.reward * self.reward_scale), **extra)
        self.exploration.observe(step.terminated | step.truncated, self.rng)

    def update(self) -> Scalars:
        """Learn `updates` times, once the warm-up is over."""
        scalars: Scalars = {}
        if not self.exploration.warming_up:
            for _ in range(self.config.updates):
                scalars = self.learn()
        return scalars

    def learn(self) -> Scalars:
        """Take one step of the critic, the actor (when due), their averages and the novelty."""
        batch = self.sample()
        loss = self.critic.loss(
            batch["norm_obs"][None], batch["action"][None], self.critic_target(batch)
        ).sum()
        gradient_step(self.critic_opt, loss, self.critic.parameters(), self.config.clip)
        scalars: Scalars = {"critic_loss": loss.detach()}
        self.gradient_steps += 1
        if self.gradient_steps % self.delay == 0:
            scalars |= self.step_actor(batch)
            for copy, source, rate in self.averages:
                soft_update(copy, source, rate)
        return scalars | self.step_novelty()

    @torch.no_grad()
    def sample(self) -> Batch:
        """Draw a batch.

        Returns:
            Every stored field, and index (B,), n_step_reward (B,) with the bonus of every step,
            bootstrap_obs (B, O), discount (B,), and the standardised norm_obs and
            norm_bootstrap_obs (B, O).
        """
        index = self.replay.draw(self.config.batch, self.rng)
        batch = self.replay.rows(index)
        reward, bootstrap_obs, discount = self.replay.n_step(
            index, self.config.n_step, self.config.gamma, self.bonus if self.novelty.coef else None
        )
        return batch | {
            "index": index, "n_step_reward": reward, "bootstrap_obs": bootstrap_obs,
            "discount": discount, "norm_obs": self.norm(batch["obs"]),
            "norm_bootstrap_obs": self.norm(bootstrap_obs),
        }  # fmt: skip

    def bonus(self, obs: Tensor, position: Tensor, counted: Tensor) -> Tensor:
        """Return the bonus of the steps between successive states (see `NovelD.bonus`)."""
        return self.novelty.bonus(self.norm(obs), position, counted)

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
        gradient_step(self.actor_opt, loss, self.actor.parameters(), self.config.clip)
        return {"actor_loss": loss.detach(), **scalars}

    def step_novelty(self) -> Scalars:
        """Take one gradient step of the novelty model on the latest transitions, if it is on."""
        config = self.config.novelty
        if self.novelty.coef == 0:
            return {}
        recent = self.replay.draw(config.batch, self.rng, config.recent)
        obs, position = (self.replay.fields[key][recent] for key in ("next_obs", "next_position"))
        return {"novelty_loss": self.novelty.learn(self.norm(obs), position)}

    def value(self, norm_obs: Tensor, action: Tensor) -> Tensor:
        """Return min Q of states (B, O) and actions (B, A), (B,)."""
        features = self.critic.features(norm_obs[None])
        return self.critic.values(features, action[None])[0].min(dim=0).values

    def policy_state_dict(self) -> dict[str, Any]:
        """Return the states of the modules that acting needs."""
        return {name: self.get_submodule(name).state_dict() for name in self.acting}

    def load_policy_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `policy_state_dict` returned."""
        for name in self.acting:
            self.get_submodule(name).load_state_dict(state[name])

    def get_extra_state(self) -> dict[str, Any]:
        """Return what `state_dict` holds beside networks and memory."""
        return {
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "gradient_steps": self.gradient_steps,
            "rng": self.rng.get_state(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_extra_state` returned."""
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.gradient_steps = state["gradient_steps"]
        self.rng.set_state(state["rng"].cpu())


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


def candidate_values(critic: TwinCritic, norm_obs: Tensor, action: Tensor) -> Tensor:
    """Return both heads' values of K actions per state: (B, O), (B, K, A) to (2, B, K)."""
    count, parts = action.shape[1], []
    states = states_at_once(norm_obs, count)
    for part, actions in zip(norm_obs.split(states), action.split(states), strict=True):
        features = critic.features(part[None]).repeat_interleave(count, dim=1)
        value = critic.values(features, actions.flatten(0, 1)[None])[0]
        parts.append(value.view(2, len(part), count))
    return torch.cat(parts, dim=1)


def candidates(
    actor: DiffusionPolicy, norm_obs: Tensor, count: int, rng: torch.Generator | None = None
) -> Tensor:
    """Draw K actions per state, (B, O) to (B, K, A)."""
    return torch.cat([
        actor.sample(part.repeat_interleave(count, dim=0), rng).unflatten(0, (-1, count))
        for part in norm_obs.split(states_at_once(norm_obs, count))
    ])  # fmt: skip


def states_at_once(norm_obs: Tensor, count: int) -> int:
    """Return how many states to judge or draw K actions for at once: as a CPU's cache holds."""
    return max(1, CACHED // count) if norm_obs.device.type == "cpu" else max(1, len(norm_obs))


@torch.no_grad()
def best_of(
    actor: DiffusionPolicy,
    critic: TwinCritic,
    norm_obs: Tensor,
    count: int,
    rng: torch.Generator | None = None,
    temperature: float = 0.0,
) -> Tensor:
    """Draw K actions per state and keep one, (B, O) to (B, A).

    Args:
        actor: draws.
        critic: judges, by the lower of its heads.
        norm_obs: (B, O) standardised observations.
        count: K; 1 is one plain sample.
        rng: None for torch's own generator.
        temperature: 0 keeps the best; else one is drawn by softmax(Q / temperature).
    """
    if count == 1:
        return actor.sample(norm_obs, rng)
    action = candidates(actor, norm_obs, count, rng)
    value = candidate_values(critic, norm_obs, action).min(dim=0).values
    if temperature:
        chosen = torch.multinomial((value / temperature).softmax(-1), 1, generator=rng)[:, 0]
    else:
        chosen = value.argmax(-1)
    return action[torch.arange(len(action), device=action.device), chosen]
