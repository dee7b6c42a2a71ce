"""Mixtures of squashed Gaussians with a gate, and their exact density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .networks import mlp

LOG_STD = (-5.0, 2.0)
INSIDE = 0.999  # an action nearer to the border of the box is taken for one so near


class Mixture(NamedTuple):
    """Gate and Gaussians of B states, before the squashing."""

    log_gate: Tensor  # (B, K), normalised
    mean: Tensor  # (B, K, A)
    log_std: Tensor  # (B, K, A)

    def draw(self, rng: torch.Generator | None = None) -> Tensor:
        """Draw every component once, reparameterised, (B, K, A)."""
        return self.mean + self.log_std.exp() * torch.randn_like(self.mean, generator=rng)

    def choose(self, rng: torch.Generator | None = None) -> Tensor:
        """Draw a component for each state, (B,)."""
        return torch.multinomial(self.log_gate.exp(), 1, generator=rng)[:, 0]

    def log_components(self, raw: Tensor) -> Tensor:
        """Return every component's log-density of tanh(raw): (B, J, A) to (B, J, K)."""
        scaled = (raw[:, :, None] - self.mean[:, None]) * (-self.log_std[:, None]).exp()
        normal = -0.5 * scaled.square() - self.log_std[:, None] - 0.5 * math.log(2 * math.pi)
        squash = 2 * (math.log(2) - raw - F.softplus(-2 * raw))  # log(1 - tanh^2), stable
        return normal.sum(-1) - squash.sum(-1)[..., None]

    def log_density(self, raw: Tensor) -> Tensor:
        """Return log sum_k gate_k pi_k of actions tanh(raw): (B, J, A) to (B, J)."""
        return (self.log_gate[:, None] + self.log_components(raw)).logsumexp(-1)

    def surprise(self, action: Tensor, hard: bool = False) -> Tensor:
        """Return the mean of -log density of one action (B, A) per state, (): what imitates it.

        Of the whole mixture or, where `hard`, of the component that is likeliest to have drawn it.
        """
        raw = action.clamp(-INSIDE, INSIDE).atanh()
        log_share = self.log_gate + self.log_components(raw[:, None])[:, 0]  # (B, K)
        return -(log_share.amax(-1) if hard else log_share.logsumexp(-1)).mean()


class MixturePolicy(nn.Module):
    """One network of states that returns a mixture of K Gaussians.

    Args:
        obs_dim: O.
        act_dim: A.
        count: K.
        hidden: sizes of the hidden layers.
        activation: between them.
    """

    def __init__(
        self, obs_dim: int, act_dim: int, count: int, hidden: Sequence[int], activation: str
    ) -> None:
        super().__init__()
        self.count, self.act_dim = count, act_dim
        self.network = mlp([obs_dim, *hidden, count * (1 + 2 * act_dim)], activation)

    def forward(self, norm_obs: Tensor) -> Mixture:
        """Return the mixture in standardised states (B, O)."""
        sizes = [self.count, self.count * self.act_dim, self.count * self.act_dim]
        gate, mean, log_std = self.network(norm_obs).split(sizes, dim=-1)
        shape = (self.count, self.act_dim)
        return Mixture(
            gate.log_softmax(-1), mean.unflatten(-1, shape),
            log_std.unflatten(-1, shape).clamp(*LOG_STD),
        )  # fmt: skip

    def surprise(self, norm_obs: Tensor, action: Tensor) -> Tensor:
        """Return the mean of -log density of actions (B, A) in states (B, O), ()."""
        return self(norm_obs).surprise(action)


def even_mixture(output: Tensor) -> Mixture:
    """Return the mixture of K equally likely Gaussians that a network's outputs (B, K, 2A) say."""
    mean, log_std = output.chunk(2, dim=-1)
    log_gate = mean.new_full(mean.shape[:2], -math.log(mean.shape[1]))
    return Mixture(log_gate, mean, log_std.clamp(*LOG_STD))


def pick(rows: Tensor, component: Tensor) -> Tensor:
    """Return each row's entry of one component: (B, K, ...) and (B,) to (B, ...)."""
    return rows[torch.arange(len(rows), device=rows.device), component]
