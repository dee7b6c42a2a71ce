"""Uniformly random actions: the floor that every algorithm must beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.api import Spec, Transition
from bench.seeding import TRAINING, derive, put_back

from . import register


@dataclass
class Config:
    """Settings of random actions: there are none."""


@register(
    "random", config=Config, policy="uniform", data="none", commanded="no", source="this suite"
)
class Random:
    """Acts uniformly at random, anew at every step."""

    num_modes = 0

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        self.act_dim, self.seed = spec.act_dim, spec.seed
        self.rng = torch.Generator(device).manual_seed(derive(spec.seed, TRAINING))

    def act(self, obs: Tensor, explore: bool = False, mode: Tensor | None = None) -> Tensor:
        """Draw an action for every row."""
        rng, shape = self.rng if explore else None, (len(obs), self.act_dim)
        return 2 * torch.rand(shape, device=obs.device, generator=rng) - 1

    def observe(self, step: Transition) -> None:
        """Remember nothing."""

    def update(self) -> Mapping[str, Tensor | float]:
        """Learn nothing."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state."""
        return {"rng": self.rng.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        put_back(self.rng, state["rng"], self.seed)
