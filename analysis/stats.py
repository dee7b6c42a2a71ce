"""Statistics over seeds and tasks, on numpy with an explicit generator.

Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice",
arXiv 2108.13264. Scores are (runs, tasks): every task resampled on its own.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]  # (..., runs, tasks) to (...)
DRAWS = 10_000  # random deals of a permutation test
COVERS = {3: 0.88, 5: 0.89, 10: 0.94}  # of a nominal 0.95, simulated for bimodal scores


def iqm(scores: np.ndarray) -> np.ndarray:
    """Return the mean of the middle half of all scores; the outer quarters are trimmed."""
    pooled = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = int(0.25 * pooled.shape[-1])
    return pooled[..., cut : pooled.shape[-1] - cut].mean(axis=-1)


def mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean over runs and tasks."""
    return scores.mean(axis=(-2, -1))


def median(scores: np.ndarray) -> np.ndarray:
    """Return the median over tasks of the mean over runs."""
    return np.median(scores.mean(axis=-2), axis=-1)


def optimality_gap(scores: np.ndarray, best: float = 1.0) -> np.ndarray:
    """Return how far scores, those above `best` counted as `best`, stay below it on average."""
    return best - np.minimum(scores, best).mean(axis=(-2, -1))


def resample(scores: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return (draws, runs, tasks): runs drawn with replacement, for each task on its own."""
    runs, tasks = scores.shape
    rows = rng.integers(runs, size=(draws, runs, tasks))
    return scores[rows, np.arange(tasks)]


def interval(
    scores: np.ndarray,
    statistic: Statistic,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    draws: int = 2_000,
) -> tuple[float, float] | None:
    """Return the percentile interval of a statistic by stratified bootstrap.

    Intervals of few runs are too narrow: see `COVERS`.

    Args:
        scores: (runs, tasks), without NaN.
        statistic: maps (draws, runs, tasks) to (draws,).
        rng: the only source of randomness.
        level: nominal coverage.
        draws: bootstrap samples.

    Returns:
        Lower and upper end, or None for a single run, from which no interval can be had.

    Raises:
        ValueError: if a score is missing.
    """
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN")
    if len(scores) < 2:
        return None
    values = statistic(resample(scores, draws, rng))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def sample_efficiency(
    curves: np.ndarray,
    statistic: Statistic = iqm,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    draws: int = 1_000,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """Return a statistic at every point of training and its interval.

    Whole runs are resampled, so that the points of one run stay together.

    Args:
        curves: (runs, tasks, points), without NaN.
        statistic: maps (..., runs, tasks) to (...).
        rng: the only source of randomness.
        level: nominal coverage, of each point on its own.
        draws: bootstrap samples.

    Returns:
        (points,) and the lower and upper ends (points,), or None in their place for a single run.

    Raises:
        ValueError: if a score is missing.
    """
    if np.isnan(curves).any():
        raise ValueError("curves contain NaN")
    runs, tasks, points = curves.shape
    centre = statistic(np.moveaxis(curves, -1, 0))
    if runs < 2:
        return centre, None
    rows = rng.integers(runs, size=(draws, runs, tasks))
    drawn = [statistic(curves[rows, np.arange(tasks), point]) for point in range(points)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=1)
    return centre, (low, high)


def coverage_note(runs: int) -> str:
    """Return what to print beside intervals of fewer than ten runs, or nothing."""
    if runs >= 10 or runs < 2:
        return ""
    nearest = max((n for n in COVERS if n <= max(runs, 3)), default=3)
    return f"with {runs} seeds a nominal 95 % interval covers about {COVERS[nearest]:.0%}"


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the share of runs above each threshold, averaged over tasks, (thresholds,)."""
    return (scores[..., None] > thresholds).mean(axis=(-3, -2))


def performance_profile_draws(
    scores: np.ndarray, thresholds: np.ndarray, *, rng: np.random.Generator, draws: int = 500
) -> np.ndarray:
    """Return bootstrap draws of the performance profile, (draws, thresholds)."""
    drawn = resample(scores, draws, rng)
    return np.stack([(drawn > t).mean(axis=(-2, -1)) for t in thresholds], axis=1)


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> float:
    """Return P(X > Y) + P(X = Y) / 2, averaged over tasks (Mann and Whitney).

    Args:
        x: (runs, tasks).
        y: (other runs, tasks).
    """
    above = x[:, None] > y[None]
    equal = x[:, None] == y[None]
    return float((above + 0.5 * equal).mean(axis=(0, 1)).mean())


def improvement_interval(
    x: np.ndarray,
    y: np.ndarray,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    draws: int = 1_000,
) -> tuple[float, float] | None:
    """Return the interval of `probability_of_improvement`, both resampled; None for one run.

    Args:
        x: (runs, tasks).
        y: (other runs, tasks).
        rng: the only source of randomness.
        level: nominal coverage.
        draws: bootstrap samples.
    """
    if min(len(x), len(y)) < 2:
        return None
    ours, theirs = resample(x, draws, rng)[:, :, None], resample(y, draws, rng)[:, None]
    values = ((ours > theirs) + 0.5 * (ours == theirs)).mean(axis=(1, 2, 3))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def improvements(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the matrix of P(row > column), 0.5 on its diagonal, for scores (runs, tasks)."""
    return np.array([
        [probability_of_improvement(x, y) for y in scores.values()] for x in scores.values()
    ])  # fmt: skip


def permutation_test(
    x: np.ndarray, y: np.ndarray, *, rng: np.random.Generator, draws: int = DRAWS
) -> float:
    """Return the two-sided p-value of a difference in means over seeds, permuted within tasks.

    Exact where seeds can be dealt to the two sides in at most `draws` ways, else by that many
    random deals, the one that was seen among them. See `smallest_p`.

    Args:
        x: (runs, tasks).
        y: (other runs, tasks).
        rng: the only source of randomness.
        draws: random deals where not all can be tried.
    """
    pooled = np.concatenate([x, y])  # (n, tasks)
    total, size, tasks = len(pooled), len(x), pooled.shape[1]
    if math.comb(total, size) ** tasks <= draws:
        chosen = np.array(list(itertools.combinations(range(total), size)))
        by_task = pooled[chosen].sum(axis=1).T  # (tasks, deals of one task)
        ours = functools.reduce(np.add.outer, by_task).ravel()
    else:
        order = rng.permuted(np.tile(np.arange(total)[:, None], (draws, 1, tasks)), axis=1)
        order[0] = np.arange(total)[:, None]
        ours = np.take_along_axis(pooled[None], order[:, :size], axis=1).sum(axis=(1, 2))
    gap = ours / size - (pooled.sum() - ours) / (total - size)
    seen = x.sum() / size - y.sum() / (total - size)
    return float((np.abs(gap) >= abs(seen) - 1e-9).mean())


def smallest_p(runs: int, others: int, tasks: int, draws: int = DRAWS) -> float:
    """Return the smallest p-value that `permutation_test` can give with so few seeds.

    With as many on both sides, the mirror image of the most extreme deal is as extreme: on one
    task 3 seeds a side reach 0.10, 5 reach 0.008.
    """
    extreme = 2 if runs == others else 1
    return float(max(extreme / math.comb(runs + others, runs) ** tasks, 1 / draws))


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values (n,) corrected for n comparisons by Holm's step-down method."""
    order = np.argsort(p)
    scaled = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected
