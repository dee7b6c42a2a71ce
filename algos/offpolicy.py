"""What the off-policy baselines do alike: remember, play at random, be curious, regress on Q."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition

from .critics import TwinCritic
from .diffusion import DiffusionPolicy
from .exploration import ExplorationConfig, RandomPlay
from .networks import RunningNorm, descend
from .novelty import NovelD, NoveltyConfig
from .replay import Replay

CACHED = 1_024  # actions whose intermediate results stay in a CPU core's cache


class ExperienceConfig(Protocol):
    """The settings of an algorithm that `Experience` reads."""

    gamma: float
    n_step: int
    batch: int
    replay: int
    normalize: bool
    novelty: NoveltyConfig
    exploration: ExplorationConfig


class Experience(nn.Module):
    """Replay, normalisation, novelty bonus and random play of one learner."""

    def __init__(self, spec: Spec, config: ExperienceConfig, device: str | torch.device) -> None:
        super().__init__()
        self.config = config
        self.norm = RunningNorm(spec.obs_dim, config.normalize)
        self.novelty = NovelD(spec.obs_dim, spec.position, config.novelty)
        self.play = RandomPlay(spec.num_envs, spec.act_dim, config.exploration)
        self.replay = Replay(spec, config.replay, device)
        self.reward_scale = 1 / (spec.max_return or 1.0)

    @torch.no_grad()
    def observe(self, step: Transition, **extra: Tensor) -> None:
        """Remember a vector step, with further (N, ...) fields."""
        self.norm.observe(step.obs)
        self.replay.add(step._replace(reward=step.reward * self.reward_scale), **extra)
        self.play.observe(step.terminated | step.truncated)

    @torch.no_grad()
    def sample(self) -> dict[str, Tensor]:
        """Draw a batch.

        Returns:
            Every stored field, and index (B,), gain (B,) the n-step reward with the bonus of the
            first step, after (B, O) the state that is bootstrapped from, discount (B,), and the
            standardised seen and seen_after (B, O).
        """
        index = self.replay.draw(self.config.batch)
        batch = self.replay.rows(index)
        gain, after, discount = self.replay.n_step(index, self.config.n_step, self.config.gamma)
        bonus = self.novelty.bonus(batch["obs"], batch["next_obs"], self.norm)
        seen = {"seen": self.norm(batch["obs"]), "seen_after": self.norm(after)}
        return batch | seen | {
            "index": index, "gain": gain + bonus, "after": after, "discount": discount,
        }  # fmt: skip

    def learn_novelty(self) -> dict[str, Tensor | float]:
        """Take one step of the novelty model, unless it is turned off."""
        return self.novelty.learn_recent(self.replay, self.norm)


def regress(
    critic: TwinCritic,
    slow: TwinCritic,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Tensor],
    action: Tensor,
    clip: float,
) -> Tensor:
    """Step the critic towards gain + discount * min Q_slow(s', action), action (B, A)."""
    target = slow.target(
        batch["seen_after"][None], action[None], batch["gain"][None], batch["discount"][None]
    )
    loss = critic.loss(batch["seen"][None], batch["action"][None], target).sum()
    descend(optimizer, loss, critic.parameters(), clip)
    return loss.detach()


def values(critic: TwinCritic, seen: Tensor, action: Tensor) -> Tensor:
    """Return both heads' values of K actions per state: (B, O), (B, K, A) to (2, B, K)."""
    count, parts = action.shape[1], []
    states = states_at_once(seen, count)
    for part, actions in zip(seen.split(states), action.split(states), strict=True):
        features = critic.features(part[None]).repeat_interleave(count, dim=1)
        value = critic.values(features, actions.flatten(0, 1)[None])[0]
        parts.append(value.view(2, len(part), count))
    return torch.cat(parts, dim=1)


def candidates(actor: DiffusionPolicy, seen: Tensor, count: int) -> Tensor:
    """Draw K actions per state, (B, O) to (B, K, A)."""
    return torch.cat([
        actor.sample(part.repeat_interleave(count, dim=0)).unflatten(0, (-1, count))
        for part in seen.split(states_at_once(seen, count))
    ])  # fmt: skip


def states_at_once(seen: Tensor, count: int) -> int:
    """Return how many states to judge or draw K actions for at once: as a CPU's cache holds."""
    return max(1, CACHED // count) if seen.device.type == "cpu" else max(1, len(seen))


@torch.no_grad()
def best_of(
    actor: DiffusionPolicy, critic: TwinCritic, seen: Tensor, count: int, temperature: float = 0.0
) -> Tensor:
    """Draw K actions per state and keep one, (B, O) to (B, A).

    Args:
        actor: draws.
        critic: judges, by the lower of its heads.
        seen: (B, O) standardised observations.
        count: K; 1 is one plain sample.
        temperature: 0 keeps the best; else one is drawn by softmax(Q / temperature).
    """
    if count == 1:
        return actor.sample(seen)
    action = candidates(actor, seen, count)
    value = values(critic, seen, action).min(dim=0).values
    if temperature:
        chosen = torch.multinomial((value / temperature).softmax(-1), 1)[:, 0]
    else:
        chosen = value.argmax(-1)
    return action[torch.arange(len(action), device=action.device), chosen]


def restore(optimizers: list[torch.optim.Optimizer], states: list[dict]) -> None:
    """Take back the states of optimisers, in the order they were saved in."""
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict(state)
