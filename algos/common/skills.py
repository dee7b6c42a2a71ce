"""Skills: a discrete latent that a training episode follows from its first step to its last."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

NONE = -1  # of an episode that follows no skill


class Skills(nn.Module):
    """Which of K skills each training episode follows, drawn uniformly where an episode begins.

    Args:
        count: K.
        num_envs: N.
        size: of a skill's 1 among the 0s, as networks see it. Where it is larger than what they
            see of the state, skills act differently from the first step on.
    """

    held: Tensor

    def __init__(self, count: int, num_envs: int, size: float = 1.0) -> None:
        super().__init__()
        self.count, self.size = count, size
        self.register_buffer("held", torch.randint(count, (num_envs,)))

    def followed(self, random: Tensor) -> Tensor:
        """Return the skills (N,) that are acted by, NONE where an environment acts at random."""
        return torch.where(random, NONE, self.held)

    def observe(self, done: Tensor, rng: torch.Generator) -> None:
        """Draw the skills of the episodes that begin, where one has ended (N,)."""
        self.held = torch.where(done, self.draw(len(done), rng), self.held)

    def draw(self, rows: int, rng: torch.Generator) -> Tensor:
        """Return uniform skills (rows,)."""
        return torch.randint(self.count, (rows,), device=self.held.device, generator=rng)

    def given(self, norm_obs: Tensor, skill: Tensor) -> Tensor:
        """Return what a network that follows skills (B,) in states (B, O) sees, (B, O + K)."""
        return torch.cat([norm_obs, self.size * F.one_hot(skill, self.count)], dim=-1)


def sample_categorical(logits: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Draw one index per row of (B, K) logits, (B,)."""
    return torch.multinomial(logits.softmax(-1), 1, generator=rng)[:, 0]


def recognition_loss(logits: Tensor, skill: Tensor) -> Tensor:
    """Return the mean cross-entropy of the rows that follow a skill (B,), 0 if there are none."""
    total = F.cross_entropy(logits, skill, ignore_index=NONE, reduction="sum")
    return total / (skill != NONE).sum().clamp(min=1)
