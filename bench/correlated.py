"""Draws of a policy that resemble, within an episode, those it made a step before.

A stochastic policy draws anew at every step, and where it has two ways it chooses between them
anew as well: what it does in the long run is what most of its draws lead to. With draws that last
an episode keeps to what it has begun, while in every state each action is as likely as before.
Noise that is correlated in time is known from exploration (Ornstein-Uhlenbeck noise, Lillicrap et
al. 2015, arXiv 1509.02971; coloured noise, Eberhard et al. 2023); here it is all that a policy
draws, a denoiser's noise and the choice of a mixture's component among it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class CorrelatedDraws(TorchFunctionMode):
    """While it is active, all random numbers of rows follow a process of their slot.

    Normal numbers are those of a stationary autoregressive process of first order for each slot
    and each place where a step draws; others are such numbers' quantiles. So each by itself has
    the distribution that was asked for.

    Args:
        correlation: rho in [0, 1], of normal numbers of two consecutive steps of a slot.
        slots: E, of episodes that are played side by side.
    """

    def __init__(self, correlation: float, slots: int) -> None:
        super().__init__()
        self.correlation, self.slots = correlation, slots
        self.last: list[Tensor] = []  # (E, ...) of each draw of a step, the numbers before
        self.now = np.arange(slots)
        self.place = 0

    def step(self, slots: np.ndarray) -> CorrelatedDraws:
        """Be told which slots (n,) the next rows are of; return what is to be entered."""
        self.now, self.place = slots, 0
        return self

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Replace what draws; a draw that is not one of the slots' rows raises ValueError."""
        kwargs = kwargs or {}
        if func in (torch.randn, torch.randn_like):
            return self.normal(func(*args, **kwargs))
        if func in (torch.rand, torch.rand_like):
            return self.uniform(func(*args, **kwargs))
        if func is torch.normal:
            drawn = func(*args, **kwargs)
            mean, std = args
            return mean + std * self.normal(torch.randn_like(drawn))
        if func is torch.randint:
            drawn = func(*args, **kwargs)
            low, high = (0, args[0]) if isinstance(args[1], tuple) else args[:2]
            share = self.uniform(torch.rand(drawn.shape, device=drawn.device))
            return (low + (high - low) * share).floor().to(drawn.dtype)
        if func is torch.multinomial:
            probability = args[0] / args[0].sum(-1, keepdim=True)
            share = self.uniform(torch.rand(len(probability), 1, device=probability.device))
            index = (probability.cumsum(-1) < share).sum(-1, keepdim=True)
            return index.clamp(max=probability.shape[-1] - 1)
        return func(*args, **kwargs)

    def normal(self, drawn: Tensor) -> Tensor:
        """Return normal numbers (n, ...) as they follow from the slots' last ones and new ones."""
        if len(drawn) != len(self.now):
            raise ValueError(f"{len(drawn)} rows are drawn for {len(self.now)} slots")
        if self.place == len(self.last):
            # A slot that has drawn nothing yet begins with numbers as random as any.
            self.last.append(torch.randn(self.slots, *drawn.shape[1:], device=drawn.device))
        rho = self.correlation
        last = self.last[self.place]
        now = rho * last[self.now] + (1 - rho**2) ** 0.5 * drawn
        last[self.now] = now
        self.place += 1
        return now.to(drawn.dtype)

    def uniform(self, drawn: Tensor) -> Tensor:
        """Return uniform numbers (n, ...) in [0, 1), as `normal` does."""
        return torch.special.ndtr(self.normal(torch.randn_like(drawn))).clamp(max=1 - 1e-6)
