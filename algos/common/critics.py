"""Twin critics, categorical (C51) or scalar, for G groups at once in one batched module.

C51: Bellemare et al. 2017, arXiv 1707.06887. The twin target takes, per row, the whole
distribution of the head with the lower expectation (Duan et al. 2021 do so for DSAC): an
elementwise minimum of two distributions is no distribution and holds no pessimism.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .networks import ACTIVATIONS, StackedLinear, require_activation


@dataclass
class CriticConfig:
    """Settings of a twin critic."""

    kind: str = "c51"  # c51 | scalar
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    atoms: int = 51
    v_min: float = 0.0  # support of c51, in units of the task's largest return
    v_max: float = 1.2

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if self.kind not in ("c51", "scalar"):
            raise ValueError(f"critic.kind={self.kind!r}: valid are c51, scalar")
        require_activation(self.activation, "critic.activation")
        if self.kind == "c51" and not (self.v_min < self.v_max and self.atoms >= 2):
            raise ValueError("critic: c51 needs v_min < v_max and at least 2 atoms")


class TwinCritic(nn.Module):
    """Two heads for each of up to `groups` groups; group g sees only rows [g] of its inputs.

    Every method takes inputs with a leading group dimension of any G <= `groups` and uses the
    first G groups. The state's share of the first layer can be computed once by `features`
    and used for several actions: gradient ascent on actions does so.
    """

    support: Tensor
    exact: Callable[[Tensor], Tensor] | None = None  # see `use_exact_values`

    def __init__(self, groups: int, obs_dim: int, act_dim: int, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        stack, first = 2 * groups, config.hidden[0]
        outputs = config.atoms if config.kind == "c51" else 1
        bound = (obs_dim + act_dim) ** -0.5
        self.obs_layer = StackedLinear(stack, obs_dim, first, bound)
        self.act_weight = nn.Parameter(torch.empty(stack, act_dim, first).uniform_(-bound, bound))
        sizes = [*config.hidden, outputs]
        self.layers = nn.ModuleList(
            StackedLinear(stack, before, after) for before, after in itertools.pairwise(sizes)
        )
        self.activate = ACTIVATIONS[config.activation]()
        self.register_buffer("support", torch.linspace(config.v_min, config.v_max, config.atoms))

    def features(self, obs: Tensor) -> Tensor:
        """Return the state's share of the first layer: (G, B, O) to (2G, B, H)."""
        return self.obs_layer(obs.repeat_interleave(2, dim=0))

    def outputs(self, features: Tensor, action: Tensor) -> Tensor:
        """Return logits (or one value) of both heads: (2G, B, H), (G, B, A) to (G, 2, B, n)."""
        action = action.repeat_interleave(2, dim=0)
        hidden = torch.baddbmm(features, action, self.act_weight[: len(features)])
        for layer in self.layers:
            hidden = layer(self.activate(hidden))
        return hidden.unflatten(0, (-1, 2))

    def use_exact_values(self, values: Callable[[Tensor], Tensor]) -> None:
        """Let both heads return known values; what they learn is then unused.

        For tasks whose values are known, where an actor is judged without its critic.

        Args:
            values: of actions, (G, B, A) to (G, B), differentiable.
        """
        self.exact = values

    def values(self, features: Tensor, action: Tensor) -> Tensor:
        """Return expected returns of both heads, (G, 2, B)."""
        if self.exact is not None:
            return self.exact(action)[:, None].expand(-1, 2, -1)
        return self.expectation(self.outputs(features, action))

    def expectation(self, outputs: Tensor) -> Tensor:
        """Return the expected return of (..., n) outputs."""
        if self.config.kind == "scalar":
            return outputs.squeeze(-1)
        return outputs.softmax(-1) @ self.support

    @torch.no_grad()
    def target(
        self, next_obs: Tensor, next_action: Tensor, reward: Tensor, discount: Tensor
    ) -> Tensor:
        """Return what `loss` regresses on; call it on the target network.

        Args:
            next_obs: (G, B, O) the states that are bootstrapped from.
            next_action: (G, B, A).
            reward: (G, B) the n-step reward.
            discount: (G, B) gamma^n, and 0 after a termination.

        Returns:
            (G, B, n) probabilities of the atoms, or (G, B) values of a scalar critic.
        """
        outputs = self.outputs(self.features(next_obs), next_action)
        values = self.expectation(outputs)  # (G, 2, B)
        if self.config.kind == "scalar":
            return reward + discount * values.min(dim=1).values
        lower = values.argmin(dim=1)[:, None, :, None].expand(-1, 1, -1, self.config.atoms)
        probability = outputs.gather(1, lower).squeeze(1).softmax(-1)
        return self.project(probability, reward, discount)

    def project(self, probability: Tensor, reward: Tensor, discount: Tensor) -> Tensor:
        """Return the distribution of reward + discount * Z on the fixed atoms, (G, B, n)."""
        config = self.config
        width = (config.v_max - config.v_min) / (config.atoms - 1)
        moved = reward[..., None] + discount[..., None] * self.support  # (G, B, n)
        place = ((moved - config.v_min) / width).clamp(0, config.atoms - 1)
        low = place.floor()
        share = place - low
        low = low.long()
        high = (low + 1).clamp(max=config.atoms - 1)  # its share is 0 where low is the last atom
        projected = torch.zeros_like(probability)
        projected.scatter_add_(-1, low, probability * (1 - share))
        projected.scatter_add_(-1, high, probability * share)
        return projected

    def loss(self, obs: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Return each group's loss, (G,): cross-entropy or squared error, summed over heads."""
        outputs = self.outputs(self.features(obs), action)  # (G, 2, B, n)
        if self.config.kind == "scalar":
            return (
                F.mse_loss(outputs.squeeze(-1), target[:, None].expand(-1, 2, -1), reduction="none")
                .mean(-1)
                .sum(-1)
            )
        return -(target[:, None] * outputs.log_softmax(-1)).sum(-1).mean(-1).sum(-1)


def clip_by_group(critic: TwinCritic, groups: int, limit: float) -> None:
    """Bound the gradient norm of each of the first G groups by itself, in place."""
    grads = [
        p.grad[: 2 * groups].view(groups, -1) for p in critic.parameters() if p.grad is not None
    ]
    norm = torch.stack([g.square().sum(1) for g in grads]).sum(0).sqrt()
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)[:, None]
    for grad in grads:
        grad.mul_(scale)


@torch.no_grad()
def inherit(
    critic: TwinCritic, parents: Tensor, fresh: Tensor, optimizer: torch.optim.Optimizer | None
) -> None:
    """Rebuild groups 0..G-1 from those of the same critic before: group g becomes a copy of
    group `parents[g]`.

    Args:
        critic: changed in place.
        parents: (G,) int64.
        fresh: (G,) bool; where true the copy starts with no momentum (its curvature estimate,
            which belongs to the inherited weights, is kept).
        optimizer: Adam of this critic, or None for a target network.
    """
    source = torch.stack([2 * parents, 2 * parents + 1], dim=1).flatten()
    still = fresh.repeat_interleave(2)
    for parameter in critic.parameters():
        parameter[: len(source)] = parameter[source]
        state = optimizer.state.get(parameter) if optimizer else None
        if state:
            for key in ("exp_avg", "exp_avg_sq"):
                state[key][: len(source)] = state[key][source]
            state["exp_avg"][: len(source)][still] = 0
