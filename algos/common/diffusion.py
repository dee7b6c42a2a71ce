"""Denoising diffusion policy: few steps, conditioned on observation and mode embedding.

DDPM: Ho et al. 2020, arXiv 2006.11239; cosine schedule: Nichol & Dhariwal 2021, arXiv 2102.09672.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.ranges import require

from .networks import (
    ACTIVATIONS,
    IN_PLACE,
    Linear,
    mlp,
    require_activation,
    rows_at_once,
)


@dataclass
class DiffusionConfig:
    """Settings of a diffusion policy."""

    steps: int = 5
    hidden: tuple[int, ...] = (128, 128)
    activation: str = "silu"
    predict: str = "x0"  # x0 | eps | velocity (of flows alone): what the network outputs
    inward: bool = False  # whether gradients through the chain lead back into the box (`Inward`)

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if self.predict not in ("x0", "eps", "velocity"):
            raise ValueError(f"predict={self.predict!r}: valid are x0, eps, velocity")
        require_activation(self.activation)
        require(self, "[2, inf)", "steps")
        require(self, "[1, inf)", "hidden")
        if not self.hidden:
            raise ValueError(f"hidden={self.hidden}: valid are one or more sizes")


class Inward(torch.autograd.Function):
    """Clamp to [-1, 1] whose gradient, of what is minimised, leads back from beyond.

    That of a plain clamp is 0 there. An actor that climbs an untrained critic through its chain
    may leave the box in every state, and then stays out for good.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        """Return the inputs, in the box."""
        ctx.save_for_backward(inputs)
        return inputs.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        """Return the gradient, 0 where following it would lead further out."""
        (inputs,) = ctx.saved_tensors
        return grad * ((inputs.abs() <= 1) | (grad * inputs > 0))


class DiffusionPolicy(nn.Module):
    """Draws actions in [-1, 1]^A by denoising Gaussian noise in `steps` steps.

    The step enters as a learned bias of the first layer. For a fixed number of steps this is what
    a sinusoidal embedding followed by linear layers amounts to, at no cost per sample.

    Raises:
        ValueError: if the network is to output what is not among `outputs`.
    """

    outputs: tuple[str, ...] = ("x0", "eps")
    signal: Tensor
    noise: Tensor
    keep_x0: Tensor
    keep_xt: Tensor
    spread: Tensor

    def __init__(self, act_dim: int, condition_dim: int, config: DiffusionConfig) -> None:
        super().__init__()
        self.check(config, "actor")
        self.config = config
        self.act_dim = act_dim
        first = config.hidden[0]
        self.condition_layer = nn.Linear(condition_dim, first)
        self.action_layer = nn.Linear(act_dim, first, bias=False)
        self.step_bias = nn.Embedding(config.steps, first)
        self.trunk = mlp([*config.hidden, act_dim], config.activation, first=False)
        self.activate = ACTIVATIONS[config.activation](inplace=True)
        coefficients = self.coefficients()
        for name, values in coefficients.items():
            self.register_buffer(name, values)
        self.constants = [  # by step, on the host: sampling multiplies by numbers, not by tensors
            {name: float(values[t]) for name, values in coefficients.items()}
            for t in range(config.steps)
        ]

    @classmethod
    def check(cls, config: DiffusionConfig, name: str) -> None:
        """Check that its network can output what a config asks for.

        Args:
            config: of the policy.
            name: what the config is called among an algorithm's settings.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if config.predict not in cls.outputs:
            valid = ", ".join(cls.outputs)
            raise ValueError(f"{name}.predict={config.predict!r}: valid are {valid}")

    def coefficients(self) -> dict[str, Tensor]:
        """Return those of the noising and denoising steps (see `schedule`)."""
        return schedule(self.config.steps)

    def predict(self, noisy: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        """Return the network's output (B, A) for noisy actions (B, A) at steps (B,) int64.

        The first layer is one product with all that it takes: a step's bias is its weight for a
        one where the step is, which is cheaper to learn than to look up.
        """
        at_step = F.one_hot(step, self.config.steps).to(noisy.dtype)
        inputs = torch.cat([condition, noisy, at_step], dim=-1)
        layer = self.condition_layer
        weight = torch.cat([layer.weight, self.action_layer.weight, self.step_bias.weight.T], dim=1)
        return self.trunk(self.activate(F.linear(inputs, weight, layer.bias)))

    def sample(
        self, condition: Tensor, rng: torch.Generator | None = None, renoise: bool = True
    ) -> Tensor:
        """Draw one action per row of the condition, (B, C) to (B, A) in [-1, 1].

        Args:
            condition: (B, C).
            rng: of all noise; None for torch's own generator.
            renoise: whether noise is added between the steps, not only at first.
        """
        parts = condition.split(rows_at_once(condition, max(self.config.hidden)))
        return torch.cat([self.denoise(part, rng, renoise) for part in parts])

    def denoise(self, condition: Tensor, rng: torch.Generator | None, renoise: bool) -> Tensor:
        """Sample a part of the rows.

        On columns: products with narrow layers take a CPU a third of the time that they take on
        rows, those with square ones three quarters.
        """

        def draw() -> Tensor:
            shape = len(condition), self.act_dim
            return torch.randn(shape, device=condition.device, generator=rng).T

        def through(weight: Tensor, bias: Tensor, hidden: Tensor) -> Tensor:
            return torch.mm(weight, hidden.to(weight.dtype)).add_(bias[:, None])

        first = self.condition_layer
        features, noisy = through(first.weight, first.bias, condition.T), draw()
        graph = torch.is_grad_enabled()
        clamp = Inward.apply if graph and self.config.inward else in_box
        activate = self.activate if graph else IN_PLACE[self.config.activation]
        layers = [layer for layer in self.trunk if isinstance(layer, Linear)]
        later = [(layer.cast(layer.weight), layer.cast(layer.bias)) for layer in layers]
        for t in range(self.config.steps - 1, -1, -1):
            bias = self.step_bias.weight[t, :, None]
            hidden = torch.addmm(features, self.action_layer.weight, noisy).add_(bias)
            for weight, bias in later:
                hidden = through(weight, bias, activate(hidden))
            clean, now = hidden.float(), self.constants[t]
            if self.config.predict == "eps":
                clean = torch.add(noisy, clean, alpha=-now["noise"]).div_(now["signal"])
            elif self.config.predict == "velocity":
                clean = torch.add(noisy, clean, alpha=now["noise"])
            noisy = clamp(clean).mul_(now["keep_x0"]).add(noisy, alpha=now["keep_xt"])
            if t > 0 and renoise:
                noisy = noisy.add_(draw(), alpha=now["spread"])
        return noisy.T.contiguous()

    def loss(self, action: Tensor, condition: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return the denoising loss of each row, (B,), mean over action dimensions."""
        step = torch.randint(self.config.steps, (len(action),), device=action.device, generator=rng)
        noise = torch.randn_like(action, generator=rng)
        noisy = self.signal[step, None] * action + self.noise[step, None] * noise
        output = self.predict(noisy, step, condition)
        wanted = {"x0": action, "eps": noise, "velocity": action - noise}[self.config.predict]
        return (output - wanted).square().mean(-1)


def in_box(inputs: Tensor) -> Tensor:
    """Return numbers clamped to [-1, 1]."""
    return inputs.clamp(-1, 1)


def schedule(steps: int) -> dict[str, Tensor]:
    """Return the cosine schedule's coefficients, each (steps,), index 0 the least noisy.

    `signal`, `noise`: of the forward process. `keep_x0`, `keep_xt`, `spread`: of the posterior
    q(x_{t-1} | x_t, x_0); at step 0 they are 1, 0 and 0, so a sample lies in the box.
    """
    f = [math.cos((u / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for u in range(steps + 1)]
    beta = torch.tensor([min(1 - f[t + 1] / f[t], 0.999) for t in range(steps)])
    kept = (1 - beta).cumprod(0)
    before = torch.cat([torch.ones(1), kept[:-1]])
    return {
        "signal": kept.sqrt(),
        "noise": (1 - kept).sqrt(),
        "keep_x0": before.sqrt() * beta / (1 - kept),
        "keep_xt": (1 - before) * (1 - beta).sqrt() / (1 - kept),
        "spread": (beta * (1 - before) / (1 - kept)).sqrt(),
    }
