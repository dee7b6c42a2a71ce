"""Gradient ascent on actions, the policy improvement of DIPO and DDiffPG."""

from __future__ import annotations

import torch
from torch import Tensor

from .critics import Slope


@torch.no_grad()
def climb(
    slope: Slope,
    action: Tensor,
    steps: int,
    lr: float | Tensor,
    limit: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Climb a value from actions by Adam, every row for itself, inside the box.

    The gradient is that of the sum over rows, so that a step does not depend on their number.

    Args:
        slope: of actions (..., A), returns their values (...) and the derivatives (..., A).
        action: (..., A) where the ascent begins.
        steps: of Adam.
        lr: its learning rate, or one for each row, (..., 1).
        limit: bound on the gradient's norm over all rows; 0: none.

    Returns:
        The last actions, (..., A) in [-1, 1], and the values (...) from which the last step began.
    """
    first, second = torch.zeros_like(action), torch.zeros_like(action)
    for i in range(1, steps + 1):
        reached, grad = slope(action)
        if limit:
            grad = grad * (limit / (grad.norm() + 1e-6)).clamp(max=1.0)
        first.lerp_(grad, 0.1)
        second.lerp_(grad.square(), 0.001)
        stride = (first / (1 - 0.9**i)) / ((second / (1 - 0.999**i)).sqrt_() + 1e-5)
        action = (action + stride.mul_(lr)).clamp_(-1, 1)
    return action, reached
