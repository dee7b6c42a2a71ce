"""Random exploration before and beside learning; alike for all algorithms of a comparison."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.ranges import require


@dataclass
class ExplorationConfig:
    """Settings of random exploration.

    White noise hardly moves a point mass; an action that is held moves it far. An ant is the
    other way round. So the holding time is a setting of the task family.
    """

    warmup: int = 0  # env steps of random actions before the first update
    hold: float = 1.0  # mean number of steps that a random action is held; 1 is white noise
    share: float = 0.0  # share of the training episodes after the warm-up that are random

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        require(self, "[0, inf)", "warmup")
        require(self, "[1, inf)", "hold")
        require(self, "[0, 1]", "share")


class RandomExploration(nn.Module):
    """Says which environments act at random now, and with which actions."""

    held: Tensor
    random: Tensor

    def __init__(self, num_envs: int, act_dim: int, config: ExplorationConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("held", 2 * torch.rand(num_envs, act_dim) - 1)
        first = 1.0 if config.warmup else config.share
        self.register_buffer("random", torch.rand(num_envs) < first)  # (N,) who acts at random
        self.steps = 0

    @property
    def warming_up(self) -> bool:
        """Whether all environments still act at random and nothing is learned."""
        return self.steps < self.config.warmup

    def draw(self, rng: torch.Generator | None) -> Tensor:
        """Return one action per environment, (N, A): the held one, or a new uniform one."""
        held = self.held
        chance = torch.rand(len(held), 1, device=held.device, generator=rng)
        fresh = 2 * torch.rand_like(held, generator=rng) - 1
        self.held = torch.where(chance < 1 / self.config.hold, fresh, held)
        return self.held

    def replace(self, action: Tensor, rng: torch.Generator | None) -> Tensor:
        """Return (N, A) actions with those of randomly acting environments replaced."""
        return torch.where(self.random[:, None], self.draw(rng), action)

    def observe(self, done: Tensor, rng: torch.Generator | None) -> None:
        """Count a vector step; draw anew, where an episode ended (N,), who acts at random."""
        self.steps += len(done)
        if self.warming_up:
            return
        chance = torch.rand(len(done), device=done.device, generator=rng)
        self.random = torch.where(done, chance < self.config.share, self.random)

    def get_extra_state(self) -> int:
        """Return the number of env steps seen, for `state_dict`."""
        return self.steps

    def set_extra_state(self, state: int) -> None:
        """Take back what `get_extra_state` returned."""
        self.steps = state


class BehaviourNoise(nn.Module):
    """Gaussian noise of another standard deviation in each training environment (Ape-X's ladder).

    Args:
        ends: standard deviations of the first and the last environment.
        num_envs: N; those between are evenly spaced.
    """

    std: Tensor

    def __init__(self, ends: tuple[float, float], num_envs: int) -> None:
        super().__init__()
        self.register_buffer("std", torch.linspace(*ends, num_envs)[:, None])

    def forward(self, action: Tensor, rng: torch.Generator | None) -> Tensor:
        """Return actions (N, A) with noise added."""
        return action + self.std * torch.randn_like(action, generator=rng)
