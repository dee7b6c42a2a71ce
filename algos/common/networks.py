"""Networks that several algorithms share, and the few lines that train and track them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "mish": nn.Mish,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}


def require_activation(name: str, setting: str = "activation") -> None:
    """Check that an activation is known.

    Raises:
        ValueError: naming the setting, its value and the valid ones.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"{setting}={name!r}: valid are {', '.join(ACTIVATIONS)}")


def mlp(sizes: Sequence[int], activation: str = "silu") -> nn.Sequential:
    """Return linear layers of the given sizes with an activation between each two."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class StackedLinear(nn.Module):
    """S independent linear layers, evaluated as one batched product."""

    def __init__(self, stack: int, fan_in: int, fan_out: int, bound: float | None = None) -> None:
        super().__init__()
        bound = 1 / math.sqrt(fan_in) if bound is None else bound  # nn.Linear's initialisation
        self.weight = nn.Parameter(torch.empty(stack, fan_in, fan_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(stack, 1, fan_out).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (S', B, in) to (S', B, out) with the first S' layers of the stack."""
        used = len(inputs)
        return torch.baddbmm(self.bias[:used], inputs, self.weight[:used])


class RunningNorm(nn.Module):
    """Standardises observations by the mean and variance of all rows seen so far."""

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, size: int, enabled: bool = True) -> None:
        super().__init__()
        self.enabled = enabled
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))
        self.register_buffer("count", torch.zeros(()))

    @torch.no_grad()
    def observe(self, rows: Tensor) -> None:
        """Take in (B, size) rows (Chan et al. 1983, the parallel update of mean and variance)."""
        if not self.enabled:
            return
        var, mean = torch.var_mean(rows, dim=0, correction=0)
        total = self.count + len(rows)
        delta = mean - self.mean
        spread = self.var * self.count + var * len(rows)
        self.var.copy_((spread + delta.square() * self.count * len(rows) / total) / total)
        self.mean.add_(delta * len(rows) / total)
        self.count.copy_(total)

    def forward(self, rows: Tensor) -> Tensor:
        """Return (..., size) standardised rows; entries that never varied are left at 0."""
        if not self.enabled:
            return rows
        return (rows - self.mean) * (self.var + 1e-6).rsqrt()


@torch.no_grad()
def soft_update(target: nn.Module, source: nn.Module, rate: float) -> None:
    """Move every parameter of `target` towards `source` by the share `rate`."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), rate)


def gradient_step(
    optimizer: torch.optim.Optimizer, loss: Tensor, parameters: Iterable[Tensor], clip: float = 0.0
) -> None:
    """Take one gradient step; `clip` > 0 bounds the norm of the gradient."""
    parameters = list(parameters)
    for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = grad
    if clip > 0:
        nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()
