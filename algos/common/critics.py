"""Twin critics, categorical (C51) or scalar, for G groups at once in one batched module.

C51: Bellemare et al. 2017, arXiv 1707.06887. The twin target takes, per row, the whole
distribution of the head with the lower expectation (Duan et al. 2021 do so for DSAC): an
elementwise minimum of two distributions is no distribution and holds no pessimism.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from bench.ranges import require

from .networks import (
    ACTIVATIONS,
    DERIVATIVES,
    WITHOUT_GRADIENT,
    StackedLinear,
    require_activation,
    rows_at_once,
)

Slope = Callable[[Tensor], tuple[Tensor, Tensor]]


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
            raise ValueError(f"kind={self.kind!r}: valid are c51, scalar")
        require_activation(self.activation)
        require(self, "[1, inf)", "hidden")
        require(self, "[2, inf)", "atoms")
        require(self, "(-inf, inf)", "v_min", "v_max")
        if not self.hidden:
            raise ValueError(f"hidden={self.hidden}: valid are one or more sizes")
        if not self.v_min < self.v_max:
            raise ValueError(f"v_min={self.v_min}: valid are numbers below v_max={self.v_max}")


class ExactValues:
    """A critic that can be told the values."""

    exact: Callable[[Tensor], Tensor] | None = None

    def use_exact_values(self, values: Callable[[Tensor], Tensor]) -> None:
        """Let both heads return known values; what they learn is then unused.

        For tasks whose values are known, where an actor is judged without its critic.

        Args:
            values: of actions, (G, B, A) to (G, B), differentiable.
        """
        self.exact = values


class TwinCritic(ExactValues, nn.Module):
    """Two heads for each of up to `groups` groups; group g sees only rows [g] of its inputs.

    Every method takes inputs with a leading group dimension of any G <= `groups` and uses the
    first G groups. The state's share of the first layer can be computed once by `features`
    and used for several actions: gradient ascent on actions does so, and so do candidates.

    Where values are asked for, a batch is columns, not rows: sums over atoms then run along the
    batch, which takes a CPU half of the time that sums along rows of 51 take.
    """

    support: Tensor
    moments: Tensor

    def __init__(self, groups: int, obs_dim: int, act_dim: int, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        stack, first = 2 * groups, config.hidden[0]
        outputs = config.atoms if config.kind == "c51" else 1
        bound = (obs_dim + act_dim) ** -0.5
        self.obs_layer = StackedLinear(stack, obs_dim, first, bound)
        self.obs_layer.is_first = True
        self.act_weight = nn.Parameter(torch.empty(stack, act_dim, first).uniform_(-bound, bound))
        sizes = [*config.hidden, outputs]
        self.layers = nn.ModuleList(
            StackedLinear(stack, before, after) for before, after in itertools.pairwise(sizes)
        )
        self.derivative = DERIVATIVES[config.activation]
        self.activate_ = ACTIVATIONS[config.activation](inplace=True)
        support = torch.linspace(config.v_min, config.v_max, config.atoms)
        self.register_buffer("support", support)
        moments = torch.stack([support, torch.ones_like(support)])
        self.register_buffer("moments", moments, persistent=False)  # (2, n), see `mean`

    def features(self, obs: Tensor) -> Tensor:
        """Return the state's share of the first layer: (G, B, O) to (2G, H, B)."""
        return self.obs_layer(for_both_heads(obs))

    def first(self, features: Tensor, columns: Tensor) -> Tensor:
        """Return the first layer before its activation, (2G, H, BK).

        Args:
            features: (2G, H, B) of states.
            columns: (2G, A, BK), K actions for each state in turn.
        """
        weight = self.act_weight[: len(features)].mT
        if features.shape[-1] == columns.shape[-1]:
            return torch.baddbmm(features, weight, columns)
        share = torch.bmm(weight, columns).unflatten(-1, (features.shape[-1], -1))
        return share.add_(features[..., None]).flatten(-2)

    def later(self, hidden: Tensor) -> Tensor:
        """Return logits (or one value) of both heads, (G, 2, n, B), of the first layer."""
        return self.through(hidden).unflatten(0, (-1, 2))

    def through(self, hidden: Tensor) -> Tensor:
        """Return what the later layers make of the first S heads' first layer, (S, n, B)."""
        for layer in self.layers:
            hidden = layer(self.activate_(hidden))
        return hidden.float()

    def outputs(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return logits (or one value) of both heads: (G, B, O), (G, B, A) to (G, 2, n, B)."""
        columns = for_both_heads(torch.cat([obs, action], dim=-1))
        bias, used = self.obs_layer.bias, len(columns)
        weight = torch.cat([self.obs_layer.weight, self.act_weight], dim=1)
        return self.later(torch.baddbmm(bias[:used].mT, weight[:used].mT, columns))

    def values(self, features: Tensor, action: Tensor) -> Tensor:
        """Return expected returns of both heads, (G, 2, BK).

        Args:
            features: (2G, H, B) of states.
            action: (G, BK, A), K actions for each state in turn.
        """
        if self.exact is not None:
            return self.exact(action)[:, None].expand(-1, 2, -1)
        columns, states = for_both_heads(action), features.shape[-1]
        count, width = columns.shape[-1] // states, len(features) * max(self.config.hidden)
        at_once = max(1, rows_at_once(action, width) // count)
        if at_once >= states:
            return self.expectation(self.later(self.first(features, columns)))
        parts = zip(features.split(at_once, -1), columns.split(at_once * count, -1), strict=True)
        return torch.cat([self.expectation(self.later(self.first(*p))) for p in parts], dim=-1)

    def first_value(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the expected return of the first group's first head alone, (B, O), (B, A) to (B,).

        For actors that climb one head: the other would double what they compute.
        """
        if self.exact is not None:
            return self.exact(action[None])[0]
        features = self.obs_layer(obs.mT[None])  # (1, H, B): as many heads as it has
        return self.expectation(self.through(self.first(features, action.mT[None])))[0]

    def expectation(self, outputs: Tensor) -> Tensor:
        """Return the expected return of (..., n, B) outputs, (..., B)."""
        if self.config.kind == "scalar":
            return outputs.squeeze(-2)
        return self.mean(relative_odds(outputs))[0]

    def mean(self, odds: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means (..., B) of atoms with odds (..., n, B), and the odds' sums (..., B).

        One product with the atoms and with ones: normalising all odds first, as a softmax does,
        would write them once more than the mean needs.
        """
        moment, total = torch.matmul(self.moments, odds).unbind(-2)
        return moment / total, total

    @torch.no_grad()
    def slope(self, features: Tensor) -> Slope:
        """Return a function of actions: the lower head's value of them, and its gradient.

        The backward pass to the actions is written out. It is that of autograd, whose book-keeping
        made an ascent take 1.2 times as long.

        Args:
            features: (2G, H, B) of states.

        Returns:
            Of actions (G, B, A) a function that returns values (G, B) and derivatives (G, B, A).
        """
        if self.exact is not None:
            return self.exact_slope
        used = len(features)
        layers = [cast(StackedLinear, layer).first_of(used) for layer in self.layers]
        activate = WITHOUT_GRADIENT[self.config.activation]
        # In parts that stay in the cache, a slope at the paper's size takes three quarters of the
        # time; half as wide numbers leave room for twice as many.
        width = used * max(self.config.hidden) * layers[0][0].element_size() // 4
        at_once = rows_at_once(features, width)
        parts = [part.contiguous() for part in features.split(at_once, dim=-1)]

        def slope_of(features: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            inputs = [self.first(features, for_both_heads(action))]  # (2G, H, B) of activations
            outputs = []
            for weight, bias in layers:
                outputs.append(activate(inputs[-1]))
                inputs.append(torch.baddbmm(bias.mT, weight.mT, outputs[-1].to(weight.dtype)))
            value, slope = self.lower(inputs.pop().float().unflatten(0, (-1, 2)))
            kept = zip(layers[::-1], inputs[::-1], outputs[::-1], strict=True)
            for (weight, _), before, after in kept:
                slope = torch.bmm(weight, slope.to(weight.dtype)).to(before.dtype)
                slope = self.derivative(slope, before, after)
            grad = torch.bmm(self.act_weight[:used], slope)  # (2G, A, B)
            return value, grad.unflatten(0, (-1, 2)).sum(1).mT

        @torch.no_grad()
        def slope(action: Tensor) -> tuple[Tensor, Tensor]:
            if len(parts) == 1:
                return slope_of(features, action)
            found = map(slope_of, parts, action.split(at_once, dim=1))
            value, grad = zip(*found, strict=True)
            return torch.cat(value, dim=1), torch.cat(grad, dim=1)

        return slope

    def lower(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lower head's values (G, B) and their slopes (2G, n, B) by all outputs."""
        if self.config.kind == "scalar":
            value, slope = outputs.squeeze(-2), torch.ones_like(outputs)
        else:  # dv/dlogit_i = p_i (z_i - v)
            odds = relative_odds(outputs)
            value, total = self.mean(odds)
            slope = (self.support[:, None] - value[:, :, None]).mul_(odds)
            slope.div_(total[:, :, None])
        return value.amin(1), slope.mul_(lower_head(value)[:, :, None]).flatten(0, 1)

    def exact_slope(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return known values of actions (G, B, A), (G, B), and their derivatives (G, B, A)."""
        assert self.exact is not None
        with torch.enable_grad():
            action = action.detach().requires_grad_()
            value = self.exact(action)
            (grad,) = torch.autograd.grad(value.sum(), action)
        return value.detach(), grad

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
        outputs = self.outputs(next_obs, next_action)
        if self.config.kind == "scalar":
            return reward + discount * outputs.squeeze(-2).amin(1)
        odds = relative_odds(outputs)
        value, total = self.mean(odds)
        is_first = lower_head(value)[:, :1]  # (G, 1, B)
        lower = torch.where(is_first, odds[:, 0], odds[:, 1])
        lower /= torch.where(is_first, total[:, :1], total[:, 1:])[:, 0, None]
        return self.project(lower.mT, reward, discount)

    def project(self, probability: Tensor, reward: Tensor, discount: Tensor) -> Tensor:
        """Return the distribution of reward + discount * Z on the fixed atoms, (G, B, n)."""
        config, shape = self.config, list(probability.shape)
        width = (config.v_max - config.v_min) / (config.atoms - 1)
        moved = reward[..., None] + discount[..., None] * self.support  # (G, B, n)
        place = ((moved - config.v_min) / width).clamp(0, config.atoms - 1)
        low = place.long()
        upper = (place - low) * probability  # what goes to the next atom; 0 at the last one
        projected = probability.new_zeros(*shape[:-1], config.atoms + 1)
        projected.scatter_add_(-1, low, probability - upper)
        projected.scatter_add_(-1, low + 1, upper)
        return projected[..., :-1]

    def loss(self, obs: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Return each group's loss, (G,): cross-entropy or squared error, summed over heads.

        On rows, so that gradients come to lie as the weights do: 1.2 times as fast as on columns.
        """
        rows = torch.cat([obs, action], dim=-1)
        rows = rows[:, None].expand(-1, 2, -1, -1).flatten(0, 1)
        weight = torch.cat([self.obs_layer.weight, self.act_weight], dim=1)[: len(rows)]
        hidden = torch.baddbmm(self.obs_layer.bias[: len(rows)], rows, weight)
        for layer in self.layers:
            assert isinstance(layer, StackedLinear)
            hidden = layer.on_rows(self.activate_(hidden))
        outputs = hidden.float().unflatten(0, (-1, 2))  # (G, 2, B, n)
        if self.config.kind == "scalar":
            return (outputs.squeeze(-1) - target[:, None]).square().mean(-1).sum(-1)
        return -(target[:, None] * outputs.log_softmax(-1)).sum(-1).mean(-1).sum(-1)


def relative_odds(logits: Tensor) -> Tensor:
    """Return exp(logits) (..., n, B) divided by the largest of each column."""
    return (logits - logits.detach().amax(-2, keepdim=True)).exp_()


def for_both_heads(rows: Tensor) -> Tensor:
    """Return (G, B, n) rows as columns, once for each head, (2G, n, B)."""
    return rows.mT[:, None].expand(-1, 2, -1, -1).flatten(0, 1)


def lower_head(value: Tensor) -> Tensor:
    """Say of two heads' values (G, 2, B) which is the lower, the first of equals: (G, 2, B)."""
    is_first = value[:, 0] <= value[:, 1]
    return torch.stack([is_first, ~is_first], dim=1)


def clip_by_group(critic: TwinCritic, groups: int, limit: float) -> None:
    """Bound the gradient norm of each of the first G groups by itself, in place; 0: no bound."""
    if limit <= 0:
        return
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
        parents: (G,) int64, from 0.
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
