"""Random play before and beside learning; alike for all algorithms of a comparison."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class ExplorationConfig:
    """Settings of random play.

    White noise hardly moves a point mass; an action that is held moves it far. An ant is the
    other way round. So the holding time is a setting of the task family.
    """

    warmup: int = 0  # env steps of random play before the first update
    hold: float = 1.0  # mean number of steps that a random action is held; 1 is white noise
    share: float = 0.0  # share of the training episodes after the warm-up that are random play

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if self.warmup < 0:
            raise ValueError(f"exploration.warmup={self.warmup}: valid are whole numbers from 0")
        if self.hold < 1:
            raise ValueError(f"exploration.hold={self.hold}: valid are numbers from 1")
        if not 0 <= self.share <= 1:
            raise ValueError(f"exploration.share={self.share}: valid are numbers in [0, 1]")


class RandomPlay(nn.Module):
    """Says which environments play at random now, and with which actions."""

    held: Tensor
    playing: Tensor

    def __init__(self, num_envs: int, act_dim: int, config: ExplorationConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("held", 2 * torch.rand(num_envs, act_dim) - 1)
        first = 1.0 if config.warmup else config.share
        self.register_buffer("playing", torch.rand(num_envs) < first)
        self.steps = 0

    @property
    def warming_up(self) -> bool:
        """Whether all environments still play at random and nothing is learned."""
        return self.steps < self.config.warmup

    def draw(self) -> Tensor:
        """Return one action per environment, (N, A): the held one, or a new uniform one."""
        renew = torch.rand(len(self.held), 1, device=self.held.device) < 1 / self.config.hold
        self.held = torch.where(renew, 2 * torch.rand_like(self.held) - 1, self.held)
        return self.held

    def replace(self, action: Tensor) -> Tensor:
        """Return (N, A) actions with those of randomly playing environments replaced."""
        return torch.where(self.playing[:, None], self.draw(), action)

    def observe(self, done: Tensor) -> None:
        """Count a vector step; draw anew, where an episode ended (N,), who plays at random."""
        self.steps += len(done)
        if self.warming_up:
            return
        chosen = torch.rand(len(done), device=done.device) < self.config.share
        self.playing = torch.where(done, chosen, self.playing)

    def get_extra_state(self) -> int:
        """Return the number of env steps seen, for `state_dict`."""
        return self.steps

    def set_extra_state(self, state: int) -> None:
        """Take back what `get_extra_state` returned."""
        self.steps = state
