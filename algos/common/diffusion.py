"""Denoising diffusion policy: few steps, conditioned on observation and mode embedding.

DDPM: Ho et al. 2020, arXiv 2006.11239; cosine schedule: Nichol & Dhariwal 2021, arXiv 2102.09672.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .networks import ACTIVATIONS, mlp, require_activation


@dataclass
class DiffusionConfig:
    """Settings of a diffusion policy."""

    steps: int = 5
    hidden: tuple[int, ...] = (128, 128)
    activation: str = "silu"
    predict: str = "x0"  # x0 | eps: what the network outputs

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if self.predict not in ("x0", "eps"):
            raise ValueError(f"actor.predict={self.predict!r}: valid are x0, eps")
        require_activation(self.activation, "actor.activation")
        if self.steps < 2:
            raise ValueError(f"actor.steps={self.steps}: valid are integers from 2")


class DiffusionPolicy(nn.Module):
    """Draws actions in [-1, 1]^A by denoising Gaussian noise in `steps` steps.

    The step enters as a learned bias of the first layer. For a fixed number of steps this is what
    a sinusoidal embedding followed by linear layers amounts to, at no cost per sample.
    """

    signal: Tensor
    noise: Tensor
    keep_x0: Tensor
    keep_xt: Tensor
    spread: Tensor

    def __init__(self, act_dim: int, condition_dim: int, config: DiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.act_dim = act_dim
        first = config.hidden[0]
        self.condition_layer = nn.Linear(condition_dim, first)
        self.action_layer = nn.Linear(act_dim, first, bias=False)
        self.step_bias = nn.Embedding(config.steps, first)
        self.trunk = mlp([*config.hidden, act_dim], config.activation)
        self.activate = ACTIVATIONS[config.activation]()
        for name, values in schedule(config.steps).items():
            self.register_buffer(name, values)

    def predict(self, noisy: Tensor, step: Tensor, features: Tensor) -> Tensor:
        """Return the network's output (B, A) for noisy actions (B, A) at steps (B,) or ()."""
        hidden = features + self.action_layer(noisy) + self.step_bias(step)
        return self.trunk(self.activate(hidden))

    def sample(
        self, condition: Tensor, rng: torch.Generator | None = None, renoise: bool = True
    ) -> Tensor:
        """Draw one action per row of the condition, (B, C) to (B, A) in [-1, 1].

        Args:
            condition: (B, C).
            rng: of all noise; None for torch's own generator.
            renoise: whether noise is added between the steps, not only at first.
        """
        features = self.condition_layer(condition)
        shape = len(condition), self.act_dim
        noisy = torch.randn(shape, device=condition.device, generator=rng)
        steps = torch.arange(self.config.steps, device=condition.device)
        for t in range(self.config.steps - 1, -1, -1):
            output = self.predict(noisy, steps[t], features)
            if self.config.predict == "eps":
                output = (noisy - self.noise[t] * output) / self.signal[t]
            clean = output.clamp(-1, 1)
            noisy = self.keep_x0[t] * clean + self.keep_xt[t] * noisy
            if t > 0 and renoise:
                noisy = noisy + self.spread[t] * torch.randn_like(noisy, generator=rng)
        return noisy

    def loss(self, action: Tensor, condition: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return the denoising loss of each row, (B,), mean over action dimensions."""
        step = torch.randint(self.config.steps, (len(action),), device=action.device, generator=rng)
        noise = torch.randn_like(action, generator=rng)
        noisy = self.signal[step, None] * action + self.noise[step, None] * noise
        output = self.predict(noisy, step, self.condition_layer(condition))
        wanted = noise if self.config.predict == "eps" else action
        return (output - wanted).square().mean(-1)


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
