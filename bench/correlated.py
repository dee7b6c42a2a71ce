"""Draws of a policy that resemble, within an episode, those it made a step before.

A stochastic policy draws anew at every step, and where it has two ways it chooses between them
anew as well: what it does in the long run is what most of its draws lead to. With draws that last
an episode goes on as it has begun. Every number has the distribution that was asked for, whatever
it was before that; but where an episode is tells of its earlier draws, and so of the next ones, so
that in the states that it reaches this is another policy, with a memory. Noise that is correlated
in time is known from exploration (Ornstein-Uhlenbeck noise, Lillicrap et al. 2015, arXiv
1509.02971; coloured noise, Eberhard et al. 2023); here it is all that a policy draws, a denoiser's
noise and the choice of a mixture's component among it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

REFUSED = {  # other ways to draw: independent numbers among correlated ones would go unnoticed
    Tensor.bernoulli_, Tensor.cauchy_, Tensor.exponential_, Tensor.geometric_, Tensor.log_normal_,
    Tensor.normal_, Tensor.random_, Tensor.uniform_, torch.bernoulli, torch.poisson,
    torch.randint_like, torch.randperm,
}  # fmt: skip


class CorrelatedDraws(TorchFunctionMode):
    """While it is active, random numbers of rows follow a process of their slot.

    Normal numbers are those of a stationary autoregressive process of first order for each slot
    and each place where a step draws; others are such numbers' quantiles.

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
        """Replace what draws.

        Raises:
            ValueError: if a draw is not one of the slots' rows, or of a kind that is not known.
        """
        kwargs = kwargs or {}
        if func in REFUSED:
            raise ValueError(f"{func.__name__} cannot be correlated from step to step")
        if func in (torch.randn, torch.randn_like):
            return self.normal(func(*args, **kwargs))
        if func in (torch.rand, torch.rand_like):
            return self.uniform(func(*args, **kwargs))
        if func in (torch.normal, torch.randint, torch.multinomial):
            drawn = func(*args, **kwargs)
            known: dict[Any, Callable[..., Tensor | None]] = {
                torch.normal: self.scaled, torch.randint: self.whole, torch.multinomial: self.index
            }  # fmt: skip
            found = known[func](drawn, *args)
            if found is None:
                raise ValueError(f"{func.__name__}, as it is called, cannot be correlated")
            return found
        return func(*args, **kwargs)

    def normal(self, drawn: Tensor) -> Tensor:
        """Return normal numbers (n, ...) as they follow from the slots' last ones and new ones."""
        if drawn.shape[:1] != (len(self.now),):
            shape = tuple(drawn.shape)
            raise ValueError(f"numbers {shape} are drawn for {len(self.now)} slots")
        if self.place == len(self.last):
            # A slot that has drawn nothing yet begins with numbers as random as any.
            first = torch.randn(self.slots, *drawn.shape[1:], device=drawn.device)
            self.last.append(first.to(drawn.dtype))
        rho = self.correlation
        last = self.last[self.place]
        now = rho * last[self.now] + (1 - rho**2) ** 0.5 * drawn
        last[self.now] = now
        self.place += 1
        return now

    def uniform(self, drawn: Tensor) -> Tensor:
        """Return uniform numbers (n, ...) in [0, 1), as `normal` does."""
        return torch.special.ndtr(self.normal(torch.randn_like(drawn))).clamp(max=1 - 1e-6)

    def scaled(self, drawn: Tensor, *args: Any) -> Tensor | None:
        """Return what `torch.normal(mean, std)` does, None for another call of it."""
        if len(args) != 2 or not all(isinstance(one, Tensor) for one in args):
            return None
        mean, std = args
        return mean + std * self.normal(torch.randn_like(drawn))

    def whole(self, drawn: Tensor, *args: Any) -> Tensor | None:
        """Return what `torch.randint([low,] high, size)` does, None for another call of it."""
        if len(args) not in (2, 3) or not isinstance(args[-1], tuple):
            return None
        low, high = (0, args[0]) if len(args) == 2 else args[:2]
        share = self.uniform(torch.rand(drawn.shape, device=drawn.device))
        return (low + (high - low) * share).floor().to(drawn.dtype)

    def index(self, drawn: Tensor, *args: Any) -> Tensor | None:
        """Return what `torch.multinomial(weights (n, K), 1)` does, None for another call of it."""
        if len(args) != 2 or args[0].ndim != 2 or args[1] != 1:
            return None
        probability = args[0] / args[0].sum(-1, keepdim=True)
        share = self.uniform(torch.rand(drawn.shape, device=drawn.device))
        # The last of those that can be drawn at all, where rounding leaves the sum below 1.
        most = (probability > 0).cumsum(-1).argmax(-1, keepdim=True)
        return (probability.cumsum(-1) < share).sum(-1, keepdim=True).minimum(most)
