"""Rectified flow policy: straight paths from noise to actions, integrated in few Euler steps.

Liu et al. 2022, arXiv 2209.03003; flow matching: Lipman et al. 2022, arXiv 2210.02747.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .diffusion import DiffusionPolicy


class FlowPolicy(DiffusionPolicy):
    """Draws actions in [-1, 1]^A by following a velocity from Gaussian noise in `steps` steps.

    A path runs from noise e to an action a as x = u a + (1 - u) e, with velocity
    v = E[a - e | x] = (E[a | x] - x) / (1 - u). The network predicts E[a | x], as a diffusion
    policy's does, or v: Euler's step is a denoising step with other coefficients and no noise.
    Times are the multiples of 1 / steps at which sampling asks for the velocity.

    An error of a predicted v counts (1 - u) times as much in E[a | x], so that little is lost close
    to an action: a flow that learns from its own samples again and again needs that.
    """

    outputs = ("x0", "velocity")

    def coefficients(self) -> dict[str, Tensor]:
        """Return those of straight paths, each (steps,), index 0 the time closest to the action.

        `signal`, `noise`: u and 1 - u. `keep_x0`, `keep_xt`: x + v / steps in terms of E[a | x]
        and x.
        """
        noise = torch.arange(1, self.config.steps + 1) / self.config.steps
        share = 1 / torch.arange(1, self.config.steps + 1)
        return {
            "signal": 1 - noise, "noise": noise, "keep_x0": share, "keep_xt": 1 - share,
            "spread": torch.zeros_like(noise),
        }  # fmt: skip

    def sample(
        self, condition: Tensor, rng: torch.Generator | None = None, renoise: bool = False
    ) -> Tensor:
        """Draw one action per row, (B, C) to (B, A) in [-1, 1]; all noise is the first."""
        return super().sample(condition, rng, renoise=False)

    def one_step(self, condition: Tensor) -> Tensor:
        """Follow the first velocity from no noise at all to the end, (B, C) to (B, A).

        One network call. At u = 0 the noise says nothing of the action, so that whatever it is,
        one step leads to the mean action E[a].
        """
        start = condition.new_zeros(len(condition), self.act_dim)
        step = torch.full((len(condition),), self.config.steps - 1, device=condition.device)
        return self.predict(start, step, condition).clamp(-1, 1)
