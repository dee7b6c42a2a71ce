"""Latents that a training episode follows from its first step to its last: skills and codes."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

NONE = -1  # of an episode that follows no skill


class Held(nn.Module):
    """What each training episode follows, drawn from a prior where an episode begins.

    Attributes:
        held: by each environment now, (N, ...).
    """

    held: Tensor

    def __init__(self, held: Tensor) -> None:
        super().__init__()
        self.register_buffer("held", held)

    @abstractmethod
    def draw(self, rows: int, rng: torch.Generator) -> Tensor:
        """Draw from the prior, (rows, ...)."""

    def observe(self, done: Tensor, rng: torch.Generator) -> None:
        """Draw what the episodes that begin follow, where one has ended (N,)."""
        ended = done.view(-1, *[1] * (self.held.dim() - 1))
        self.held = torch.where(ended, self.draw(len(done), rng), self.held)


class Skills(Held):
    """Which of K skills each training episode follows; the prior is uniform.

    Args:
        count: K.
        num_envs: N.
        size: of a skill's 1 among the 0s, as networks see it. Where it is larger than what they
            see of the state, skills act differently from the first step on.
    """

    def __init__(self, count: int, num_envs: int, size: float = 1.0) -> None:
        super().__init__(torch.randint(count, (num_envs,)))
        self.count, self.size = count, size

    def followed(self, random: Tensor) -> Tensor:
        """Return the skills (N,) that are acted by, NONE where an environment acts at random."""
        return torch.where(random, NONE, self.held)

    def draw(self, rows: int, rng: torch.Generator) -> Tensor:
        """Return uniform skills (rows,)."""
        return torch.randint(self.count, (rows,), device=self.held.device, generator=rng)

    def given(self, norm_obs: Tensor, skill: Tensor) -> Tensor:
        """Return what a network that follows skills (B,) in states (B, O) sees, (B, O + K)."""
        return torch.cat([norm_obs, self.size * F.one_hot(skill, self.count)], dim=-1)


class Codes(Held):
    """Which code, a point z of D dimensions, each training episode follows; the prior is N(0, I).

    Args:
        size: D.
        count: K, of the codes that can be commanded.
        num_envs: N.

    Attributes:
        listed: those codes, (K, D): draws of the prior, made once, by torch's own generator.
    """

    listed: Tensor

    def __init__(self, size: int, count: int, num_envs: int) -> None:
        super().__init__(torch.randn(num_envs, size))
        self.register_buffer("listed", torch.randn(count, size))

    def draw(self, rows: int, rng: torch.Generator) -> Tensor:
        """Draw codes (rows, D)."""
        size = rows, self.held.shape[1]
        return torch.randn(size, device=self.held.device, generator=rng)


def sample_categorical(logits: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Draw one index per row of (B, K) logits, (B,)."""
    return torch.multinomial(logits.softmax(-1), 1, generator=rng)[:, 0]


def recognition_loss(logits: Tensor, skill: Tensor) -> Tensor:
    """Return the mean cross-entropy of the rows that follow a skill (B,), 0 if there are none."""
    total = F.cross_entropy(logits, skill, ignore_index=NONE, reduction="sum")
    return total / (skill != NONE).sum().clamp(min=1)
