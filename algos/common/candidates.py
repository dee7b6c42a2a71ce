"""Several actions per state: draw them from a policy, judge them, keep one."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from .critics import TwinCritic


class Sampler(Protocol):
    """A policy that draws actions."""

    def sample(self, condition: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Draw one action per row of the condition, (B, C) to (B, A)."""
        ...


def candidate_values(critic: TwinCritic, norm_obs: Tensor, action: Tensor) -> Tensor:
    """Return both heads' values of K actions per state: (B, O), (B, K, A) to (2, B, K)."""
    features = critic.features(norm_obs[None])
    return critic.values(features, action.flatten(0, 1)[None])[0].view(2, *action.shape[:2])


def candidates(
    actor: Sampler, norm_obs: Tensor, count: int, rng: torch.Generator | None = None
) -> Tensor:
    """Draw K actions per state, (B, O) to (B, K, A)."""
    return actor.sample(norm_obs.repeat_interleave(count, dim=0), rng).unflatten(0, (-1, count))


@torch.no_grad()
def best_of(
    actor: Sampler,
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
