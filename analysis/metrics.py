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


def entropy(n: np.ndarray) -> np.ndarray:
    """Return the entropy of counts (..., K) in nats, corrected by Miller and Madow, at most log K.

    The plain estimate is low: with 8 equal modes, 10 episodes give 0.80 of the truth. The
    correction adds (modes seen - 1) / 2n. Fewer than two counts have an entropy of 0.
    """
    total = n.sum(axis=-1)
    p = n / np.maximum(total, 1)[..., None]
    plain = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)
    corrected = plain + ((n > 0).sum(axis=-1) - 1) / (2 * np.maximum(total, 1))
    return np.where(total < 2, 0.0, np.minimum(corrected, np.log(n.shape[-1])))


def mode_entropy(mode: np.ndarray, num_modes: int) -> float:
    """Return the entropy over named successes as a share of log K; NaN for K < 2."""
    if num_modes < 2:
        return float("nan")
    return float(entropy(counts(mode, num_modes)) / np.log(num_modes))


def effective_modes(mode: np.ndarray, num_modes: int) -> float:
    """Return exp(entropy): the number of equally used modes that would be as even; 0 for none."""
    n = counts(mode, num_modes)
    return float(np.exp(entropy(n))) if n.sum() else 0.0


def control(commanded: np.ndarray, mode: np.ndarray, num_modes: int) -> tuple[float, int]:
    """Return how well commands are followed in one evaluation.

    Args:
        commanded: (E,) the policy's mode that each episode was asked for.
        mode: (E,) labels.
        num_modes: K.

    Returns:
        Share of the episodes that carry the label that their command most often yields, averaged
        over commands; and how many named modes are the usual result of some command that
        succeeds in that mode at least half of the time.
    """
    share, reached = controls(np.zeros(len(mode), int), commanded, mode, num_modes, 1)
    return float(share[0]), int(reached[0])


def controls(
    group: np.ndarray, commanded: np.ndarray, mode: np.ndarray, num_modes: int, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `control` does, for each of G evaluations: (G,) and (G,).

    Args:
        group: (E,) which evaluation an episode is of.
        commanded: (E,).
        mode: (E,) labels.
        num_modes: K.
        groups: G.
    """
    commands, command = np.unique(commanded, return_inverse=True)
    tally = np.zeros((groups, len(commands), num_modes + 2), int)  # failures last
    np.add.at(tally, (group, command, mode), 1)
    episodes = tally.sum(axis=-1)
    won = tally[..., :-1]
    share = won.max(axis=-1) / np.maximum(episodes, 1)  # (G, C)
    usual = won.argmax(axis=-1)
    asked = (episodes > 0).sum(axis=-1)
    mean = np.where(asked > 0, share.sum(axis=-1) / np.maximum(asked, 1), np.nan)
    steady = (share >= 0.5)[..., None] & (usual[..., None] == np.arange(num_modes))
    return mean, steady.any(axis=-2).sum(axis=-1)


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
    group = np.zeros(len(mode), int)
    scores = evaluations(group, mode, success, returns, lengths, commanded, num_modes)
    return {name: float(values[0]) for name, values in scores.items()}


def evaluations(
    group: np.ndarray,
    mode: np.ndarray,
    success: np.ndarray,
    returns: np.ndarray,
    lengths: np.ndarray,
    commanded: np.ndarray,
    num_modes: int,
) -> dict[str, np.ndarray]:
    """Return all metrics of G evaluations at once, each (G,).

    Args:
        group: (E,) which evaluation an episode is of, 0..G-1, none of them empty.
        mode: (E,) labels.
        success: (E,) bool.
        returns: (E,).
        lengths: (E,).
        commanded: (E,) the mode that was asked for, -1 for none.
        num_modes: K.
    """
    episodes = np.bincount(group)
    groups, unknown = len(episodes), np.full(len(episodes), np.nan)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(group, weights=values, minlength=groups) / episodes

    scores = {
        "episodes": episodes.astype(float),
        "return": mean(returns),
        "length": mean(lengths),
        "success": mean(success) if num_modes else unknown,
    }
    names = ("modes_found", "mode_coverage", "mode_entropy", "effective_modes", "solved_modes",
             "coverage_return", "control_success", "reachable_modes")  # fmt: skip
    if not num_modes:
        return scores | dict.fromkeys(names, unknown)
    tally = np.zeros((groups, num_modes + 2), int)  # others, then failures last
    np.add.at(tally, (group, mode), 1)
    named, won = tally[:, :num_modes], tally[:, :-1].sum(axis=-1)
    needed = np.maximum(MIN_COUNT, MIN_SHARE * won)
    found = (named >= needed[:, None]).sum(axis=-1)
    nats = entropy(named)
    effective = np.where(named.sum(axis=-1) > 0, np.exp(nats), 0.0)
    told = mean(commanded >= 0) > 0
    follows, reached = unknown, unknown
    if told.any():
        share, count = controls(group, commanded, mode, num_modes, groups)
        follows, reached = np.where(told, share, np.nan), np.where(told, count, np.nan)
    found_share = found / num_modes
    values = (found, found_share, nats / np.log(num_modes) if num_modes > 1 else unknown, effective,
              scores["success"] * effective / num_modes, scores["return"] * found_share, follows,
              reached)  # fmt: skip
    return scores | {k: np.asarray(v, float) for k, v in zip(names, values, strict=True)}
