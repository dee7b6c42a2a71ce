"""Metrics as they were before they were withdrawn, so that old and new can be laid side by side.

Each is of one evaluation: labels (E,), 0..K-1 named modes, K another success, -1 failure.
"""

from __future__ import annotations

import numpy as np


def control_success(mode: np.ndarray, commanded: np.ndarray) -> float:
    """Return the share of episodes with the label that their command most often yields.

    Averaged over commands, and judged on the episodes that the label is chosen by: 1 for a policy
    that ignores commands and always does the same.
    """
    parts = [mode[commanded == command] for command in np.unique(commanded)]
    return float(np.mean([np.bincount(own[own >= 0], minlength=1).max() / len(own)
                          for own in parts]))  # fmt: skip


def found(mode: np.ndarray, num_modes: int) -> np.ndarray:
    """Return which modes have max(2, 5 % of all successes) episodes, of all commands, (K,)."""
    count = np.bincount(mode[mode >= 0], minlength=num_modes + 1)
    return count[:num_modes] >= max(2, 0.05 * count.sum())


def solved_modes(mode: np.ndarray, num_modes: int) -> float:
    """Return success x effective modes / K, with other successes, the entropy capped at log K."""
    count = np.bincount(mode[mode >= 0], minlength=num_modes + 1)
    named, total = count[:num_modes], max(int(count[:num_modes].sum()), 1)
    p = named[named > 0] / total
    nats = -(p * np.log(p)).sum() + (len(p) - 1) / (2 * total)
    effective = np.exp(min(nats, np.log(num_modes)) if total > 1 else 0.0) if len(p) else 0.0
    return float(count.sum() / len(mode) * effective / num_modes)


def lost(present: np.ndarray) -> bool:
    """Say whether a mode that was ever found is missing in the last evaluation, of (E,) bool."""
    return bool(present.any() and not present[-1])
