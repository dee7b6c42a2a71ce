"""Checks of what callers hand to a vector environment, alike for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np


def action_array(action: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return an action or a batch of them as an array.

    Raises:
        ValueError: if it has another shape.
    """
    array = np.asarray(action)
    if array.shape != shape:
        raise ValueError(f"action has shape {array.shape}; expected {shape}")
    return array


def reset_mask(options: dict[str, Any] | None, num_envs: int) -> np.ndarray:
    """Return which environments a reset restarts, (N,) bool: all without `reset_mask`.

    Raises:
        ValueError: if the mask has another shape or type.
    """
    mask = np.asarray((options or {}).get("reset_mask", np.ones(num_envs, bool)))
    if mask.shape != (num_envs,) or mask.dtype != bool:
        raise ValueError(
            f"reset_mask has shape {mask.shape} and type {mask.dtype}; expected ({num_envs},) bool"
        )
    return mask
