"""Imitation of given actions, from which a policy can begin (`bench.api.Imitates`)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .networks import gradient_step

RATE = 1e-2  # of Adam at first, for every class alike; with 3e-3 all need several times the steps
Loss = Callable[[Tensor, Tensor], Tensor]  # of standardised states (B, O) and actions (B, A)


def fit(
    network: nn.Module,
    loss: Loss,
    norm_obs: Tensor,
    action: Tensor,
    steps: int,
    batch: int,
    clip: float,
    rng: torch.Generator,
) -> None:
    """Let a network minimise a loss on minibatches of R rows.

    By an Adam of its own, so that the network's is as fresh afterwards as it was. Its rate falls to
    0: at a constant one the last steps' noise stays in the policy.

    Args:
        network: learns.
        loss: of a minibatch, ().
        norm_obs: (R, O).
        action: (R, A).
        steps: of Adam.
        batch: rows of a minibatch, drawn with replacement.
        clip: bound on the gradient's norm; 0: none.
        rng: draws the rows.
    """
    optimizer = torch.optim.Adam(network.parameters(), RATE, fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)
        rows = torch.randint(len(action), (batch,), device=action.device, generator=rng)
        gradient_step(optimizer, loss(norm_obs[rows], action[rows]), clip)
