"""Consistency model of actions: one network call leads from any noise level to the action.

Song et al. 2023, arXiv 2303.01469; noise levels and scaling: Karras et al. 2022, arXiv 2206.00364.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.algos.common.networks import mlp, require_activation

LEAST = 0.002  # std of the lowest noise level, at which an action is its own answer
SPREAD = 0.5  # std of actions, as the scaling assumes it


@dataclass
class ConsistencyConfig:
    """Settings of a consistency model."""

    steps: int = 3  # network calls per action
    levels: int = 80  # noise levels between which it is made consistent
    max_noise: float = 5.0  # std of the highest one; actions lie in a box of half-width 1
    hidden: tuple[int, ...] = (128, 128)
    activation: str = "silu"

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        require_activation(self.activation)
        if self.levels < 2:
            raise ValueError(f"levels={self.levels}: valid are integers from 2")
        if not 1 <= self.steps < self.levels:
            raise ValueError(f"steps={self.steps}: valid are integers from 1, below levels")
        if self.max_noise <= LEAST:
            raise ValueError(f"max_noise={self.max_noise}: valid are numbers above {LEAST}")


class ConsistencyPolicy(nn.Module):
    """Draws actions in [-1, 1]^A: from noise to an action, back to less noise, and so on.

    `forward` is f(x, k) = c_skip(k) x + c_out(k) F(c_in(k) x, k), the identity at the lowest
    level k = LEAST (equation 9 of Song et al., with Karras et al.'s c_in).
    """

    noise: Tensor
    scales: Tensor
    times: Tensor

    def __init__(self, act_dim: int, condition_dim: int, config: ConsistencyConfig) -> None:
        super().__init__()
        self.config, self.act_dim = config, act_dim
        noise = levels(config.levels, config.max_noise)
        size = (noise.square() + SPREAD**2).sqrt()
        skip = SPREAD**2 / ((noise - LEAST).square() + SPREAD**2)
        out = SPREAD * (noise - LEAST) / size
        place = torch.linspace(0, torch.pi, config.levels)[:, None] * torch.arange(1, 5)
        self.register_buffer("noise", noise)  # (L,) ascending
        self.register_buffer("scales", torch.stack([skip, out, 1 / size], dim=1))  # (L, 3)
        self.register_buffer("times", place.cos())  # (L, 4) what the network is told of a level
        sizes = [condition_dim + act_dim + 4, *config.hidden, act_dim]
        self.network = mlp(sizes, config.activation)
        last = config.levels - 1
        self.chain = [last - round(last * i / config.steps) for i in range(config.steps)]

    def forward(self, noisy: Tensor, level: Tensor, condition: Tensor) -> Tensor:
        """Return the action (B, A) behind noisy ones (B, A) at levels (B,) int64."""
        skip, out, inward = self.scales[level].split(1, dim=-1)
        inputs = torch.cat([condition, inward * noisy, self.times[level]], dim=-1)
        return skip * noisy + out * self.network(inputs)

    def sample(self, condition: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Draw one action per row, (B, C) to (B, A) in [-1, 1], in `steps` network calls."""
        shape, device = (len(condition), self.act_dim), condition.device
        action = torch.zeros(shape, device=device)
        for index in self.chain:
            spread = float(self.noise[index].square() - LEAST**2) ** 0.5
            noisy = action + spread * torch.randn(shape, device=device, generator=rng)
            level = torch.full(shape[:1], index, device=device)
            action = self(noisy, level, condition)
        return action.clamp(-1, 1)

    def loss(self, action: Tensor, condition: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return each row's inconsistency between two neighbouring levels, (B,).

        The lower level's answer is the teacher; the square is divided by the levels' distance.
        """
        level = torch.randint(
            self.config.levels - 1, (len(action),), device=action.device, generator=rng
        )
        noise = torch.randn_like(action, generator=rng)
        below, above = self.noise[level, None], self.noise[level + 1, None]
        with torch.no_grad():
            wanted = self(action + below * noise, level, condition)
        found = self(action + above * noise, level + 1, condition)
        return ((found - wanted).square() / (above - below)).mean(-1)


def levels(count: int, most: float) -> Tensor:
    """Return noise levels from LEAST to `most`, (count,), close together where they are low."""
    ends = LEAST ** (1 / 7), most ** (1 / 7)
    found = torch.linspace(*ends, count).pow(7)
    found[0] = LEAST  # to the digit: there an action is its own answer
    return found
