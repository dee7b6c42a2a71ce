"""What one evaluation says: success, which modes, and how evenly. Pure functions on arrays.

Mode labels are those of the task: 0..K-1 named modes, K another way of succeeding, -1 failure.
"""

from __future__ import annotations

import numpy as np

MIN_COUNT, MIN_SHARE = 2, 0.05  # a mode is found with so many successes, and this share of them


def counts(mode: np.ndarray, num_modes: int) -> np.ndarray:
    """Return how many episodes (E,) succeeded in each named mode, (K,)."""
    return np.bincount(mode[(mode >= 0) & (mode < num_modes)], minlength=num_modes)


def modes_found(mode: np.ndarray, num_modes: int) -> int:
    """Return how many named modes have at least max(2, 5 % of the successes) episodes."""
    needed = max(MIN_COUNT, MIN_SHARE * int((mode >= 0).sum()))
    return int((counts(mode, num_modes) >= needed).sum())


def entropy(n: np.ndarray) -> float:
    """Return the entropy of counts (K,) in nats, corrected by Miller and Madow, at most log K.

    The plain estimate is low: with 8 equal modes, 10 episodes give 0.80 of the truth. The
    correction adds (modes seen - 1) / 2n.
    """
    total = n.sum()
    if total < 2:
        return 0.0
    p = n[n > 0] / total
    corrected = -(p * np.log(p)).sum() + (len(p) - 1) / (2 * total)
    return float(min(corrected, np.log(len(n))))


def mode_entropy(mode: np.ndarray, num_modes: int) -> float:
    """Return the entropy over named successes as a share of log K; NaN for K < 2."""
    if num_modes < 2:
        return float("nan")
    return entropy(counts(mode, num_modes)) / float(np.log(num_modes))


def effective_modes(mode: np.ndarray, num_modes: int) -> float:
    """Return exp(entropy): the number of equally used modes that would be as even; 0 for none."""
    n = counts(mode, num_modes)
    return float(np.exp(entropy(n))) if n.sum() else 0.0


def control(commanded: np.ndarray, mode: np.ndarray, num_modes: int) -> tuple[float, int]:
    """Return how well commands are followed.

    Args:
        commanded: (E,) the policy's mode that each episode was asked for.
        mode: (E,) labels.
        num_modes: K.

    Returns:
        Share of the episodes that carry the label that their command most often yields, averaged
        over commands; and how many named modes are the usual result of some command that
        succeeds in that mode at least half of the time.
    """
    shares, reached = [], set()
    for command in np.unique(commanded):
        labels = mode[commanded == command]
        won = labels[labels >= 0]
        if not len(won):
            shares.append(0.0)
            continue
        usual = int(np.bincount(won).argmax())
        share = float((labels == usual).mean())
        shares.append(share)
        if usual < num_modes and share >= 0.5:
            reached.add(usual)
    return (float(np.mean(shares)) if shares else float("nan")), len(reached)


def evaluation(
    mode: np.ndarray,
    success: np.ndarray,
    returns: np.ndarray,
    lengths: np.ndarray,
    commanded: np.ndarray,
    num_modes: int,
) -> dict[str, float]:
    """Return all metrics of one evaluation by one protocol; inputs are (E,).

    Those of modes are NaN for a task without any, those of control where nothing was commanded.
    """
    nan = float("nan")
    scores = {
        "episodes": float(len(mode)),
        "return": float(returns.mean()),
        "length": float(lengths.mean()),
        "success": float(success.mean()) if num_modes else nan,
    }
    found = modes_found(mode, num_modes)
    effective = effective_modes(mode, num_modes)
    of_modes = {
        "modes_found": float(found),
        "mode_coverage": found / max(num_modes, 1),
        "mode_entropy": mode_entropy(mode, num_modes),
        "effective_modes": effective,
        "solved_modes": scores["success"] * effective / max(num_modes, 1),
        "coverage_return": scores["return"] * found / max(num_modes, 1),
    }
    scores |= of_modes if num_modes else dict.fromkeys(of_modes, nan)
    follows, reached = nan, nan
    if num_modes and (commanded >= 0).any():
        follows, reached = control(commanded, mode, num_modes)
    return scores | {"control_success": follows, "reachable_modes": float(reached)}
