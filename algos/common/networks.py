"""Networks that several algorithms share, and the few lines that train and track them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

PRECISIONS = ("fp32", "bf16", "auto")
ALL = 1 << 30  # rows, more than there ever are
CACHED = 1 << 17  # numbers between two layers, see `rows_at_once`
ACTIVATIONS: dict[str, Any] = {
    "elu": nn.ELU,
    "mish": nn.Mish,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}
Derivative = Callable[[Tensor, Tensor, Tensor], Tensor]
DERIVATIVES: dict[str, Derivative] = {  # of slopes behind an activation, its inputs and outputs
    # From the outputs it needs no exp, and takes a third of the time.
    "elu": lambda slope, _, outputs: torch.ops.aten.elu_backward(slope, 1, 1, 1, True, outputs),
    "mish": lambda slope, inputs, _: torch.ops.aten.mish_backward(slope, inputs),
    "relu": lambda slope, inputs, _: torch.ops.aten.threshold_backward(slope, inputs, 0),
    "silu": lambda slope, inputs, _: torch.ops.aten.silu_backward(slope, inputs),
}


def require_activation(name: str, setting: str = "activation") -> None:
    """Check that an activation is known.

    Raises:
        ValueError: naming the setting, its value and the valid ones.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"{setting}={name!r}: valid are {', '.join(ACTIVATIONS)}")


def rows_at_once(rows: Tensor, width: int) -> int:
    """Return how many rows to put at once through layers so wide, where no gradient is asked for.

    A CPU is fastest where what lies between two layers stays in its core's cache.
    """
    return max(1, CACHED // width) if rows.device.type == "cpu" else ALL


def fast_elu(hidden: Tensor) -> Tensor:
    """Return ELU from exp, which takes half the time of torch's expm1; has no gradient."""
    below = hidden.clamp(max=0).exp_().sub_(1)
    return torch.maximum(hidden, below, out=below)


class MixedPrecision(nn.Module):
    """A layer whose product can be computed in bfloat16, with weights that stay in float32.

    Takes inputs of either type, returns outputs of the type that its product has. The first layer
    of a network stays in float32: a position in a maze needs its digits, and products with so few
    columns are no faster.
    """

    dtype = torch.float32
    is_first = False  # of its network

    def cast(self, parameter: Tensor) -> Tensor:
        """Return a parameter in the type of the product; its gradient comes back in its own."""
        return parameter.to(self.dtype)


class Linear(MixedPrecision, nn.Linear):
    """`nn.Linear`, in the type of its product."""

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows (..., in) to (..., out)."""
        return F.linear(rows.to(self.dtype), self.cast(self.weight), self.cast(self.bias))


class LastLinear(Linear):
    """The last of a network, whose outputs are float32 again."""

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows (..., in) to (..., out)."""
        return super().forward(rows).float()


def compute_in(precision: str, device: str | torch.device, *networks: nn.Module) -> None:
    """Let the products of networks be computed in float32 (fp32) or bfloat16 (bf16).

    `auto` is bf16 where a device multiplies it by instructions of its own: two to four times as
    fast as float32 then, and slower elsewhere, where it is converted back and forth.
    """
    low = precision == "bf16" or (precision == "auto" and multiplies_bf16(torch.device(device)))
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, MixedPrecision) and not layer.is_first:
                layer.dtype = torch.bfloat16 if low else torch.float32


def multiplies_bf16(device: torch.device) -> bool:
    """Return whether a device has instructions that multiply matrices of bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16") or found.get("bf16"))


def fast_mish(hidden: Tensor) -> Tensor:
    """Return Mish from one exp, which takes a third of the time of torch's; has no gradient.

    tanh(log(1 + e^x)) = 1 - 2 / ((1 + e^x)^2 + 1).
    """
    below = hidden.exp().add_(1).square_().add_(1).reciprocal_()
    return torch.addcmul(hidden, hidden, below, value=-2, out=below)


FAST: dict[str, Callable[[Tensor], Tensor]] = {"elu": fast_elu, "mish": fast_mish}
# Activations that have no gradient, by themselves and where what they are given may be overwritten.
WITHOUT_GRADIENT = {name: FAST.get(name, kind()) for name, kind in ACTIVATIONS.items()}
IN_PLACE = {name: FAST.get(name, kind(inplace=True)) for name, kind in ACTIVATIONS.items()}


def mlp(sizes: Sequence[int], activation: str = "silu", first: bool = True) -> nn.Sequential:
    """Return linear layers of the given sizes with an activation between each two.

    Args:
        sizes: of the inputs, and of every layer's outputs.
        activation: a name in `ACTIVATIONS`.
        first: whether the first of them is that of the whole network.
    """
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(itertools.pairwise(sizes)):
        kind = nn.Linear if first and i == 0 else LastLinear if i == len(sizes) - 2 else Linear
        layers += [kind(before, after), ACTIVATIONS[activation](inplace=True)]
    return nn.Sequential(*layers[:-1])


def linear_layers(network: nn.Module) -> list[nn.Linear]:
    """Return the linear layers of an `mlp`."""
    return [layer for layer in network.children() if isinstance(layer, nn.Linear)]


class StackedLinear(MixedPrecision):
    """S independent linear layers, evaluated as one batched product."""

    def __init__(self, stack: int, fan_in: int, fan_out: int, bound: float | None = None) -> None:
        super().__init__()
        bound = 1 / math.sqrt(fan_in) if bound is None else bound  # nn.Linear's initialisation
        self.weight = nn.Parameter(torch.empty(stack, fan_in, fan_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(stack, 1, fan_out).uniform_(-bound, bound))

    def forward(self, columns: Tensor) -> Tensor:
        """Map columns (S', in, B) to (S', out, B) with the first S' layers of the stack."""
        weight, bias = self.first_of(len(columns))
        return torch.baddbmm(bias.mT, weight.mT, columns.to(self.dtype))

    def on_rows(self, rows: Tensor) -> Tensor:
        """Map rows (S', B, in) to (S', B, out) with the first S' layers of the stack."""
        weight, bias = self.first_of(len(rows))
        return torch.baddbmm(bias, rows.to(self.dtype), weight)

    def first_of(self, used: int) -> tuple[Tensor, Tensor]:
        """Return weights (S', in, out) and biases (S', 1, out) of the first S' layers."""
        return self.cast(self.weight[:used]), self.cast(self.bias[:used])


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


def gradient_step(optimizer: torch.optim.Optimizer, loss: Tensor, clip: float = 0.0) -> None:
    """Take one gradient step; `clip` > 0 bounds the norm of the gradient.

    torch's fused Adam reads a gradient as if it lay in memory as its parameter does, and steps
    elsewhere without a word where it does not (2.13 on a CPU): slices of a joined weight's.
    """
    parameters = optimizer.param_groups[0]["params"]
    grads = [grad.contiguous() for grad in torch.autograd.grad(loss, parameters)]
    if clip > 0:  # as nn.utils.clip_grad_norm_, which goes from tensor to tensor on a CPU
        norm = torch.stack(torch._foreach_norm(grads)).norm()
        torch._foreach_mul_(grads, (clip / (norm + 1e-6)).clamp(max=1.0))
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad
    optimizer.step()
