"""Intervals against closed forms and simulation; curves and pairs against hand-worked arrays."""

import numpy as np
import pytest
from scipy.stats import trim_mean

from bench.analysis import stats


def test_iqm_is_the_trimmed_mean_and_its_weights():
    scores = np.random.default_rng(0).random((10, 7))
    assert stats.iqm(scores) == pytest.approx(trim_mean(scores, 0.25, axis=None))
    assert stats.iqm(np.array([[0.0, 1, 2, 3, 4, 5, 6, 100]]).T) == 3.5


def test_two_seeds_have_the_exact_bootstrap_interval():
    """Of {0, 1} the mean is 0, 1/2, 1 with probability 1/4, 1/2, 1/4."""
    scores, rng = np.array([[0.0], [1.0]]), np.random.default_rng(0)
    assert stats.interval(scores, stats.mean, rng=rng) == (0.0, 1.0)
    assert stats.interval(scores, stats.mean, rng=rng, level=0.4) == (0.5, 0.5)
    drawn = stats.mean(stats.resample(scores, 40_000, rng))
    shares = [(drawn == value).mean() for value in (0, 0.5, 1)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.01)


def test_tasks_are_resampled_on_their_own():
    """Tasks that differ but whose seeds agree leave no uncertainty."""
    scores = np.tile([[0.0, 0.5, 1.0]], (5, 1))
    assert stats.interval(scores, stats.mean, rng=np.random.default_rng(0)) == (0.5, 0.5)


def test_many_normal_scores_give_the_interval_of_the_normal():
    rng = np.random.default_rng(0)
    scores = rng.normal(0.5, 0.2, (400, 1))
    low, high = stats.interval(scores, stats.mean, rng=rng, draws=20_000)
    half = 1.96 * scores.std() / 20
    np.testing.assert_allclose(
        [low, high], [scores.mean() - half, scores.mean() + half], atol=0.001
    )


@pytest.mark.parametrize("runs", sorted(stats.COVERS))
def test_coverage_for_bimodal_scores_is_what_the_report_says(runs):
    """Runs of a sparse task fail (0) or succeed (near 1): four tasks, 3 of 5 runs succeed."""
    rng = np.random.default_rng(runs)
    hits, trials = 0, 800
    for _ in range(trials):
        solved = rng.random((runs, 4)) < 0.6
        scores = np.where(solved, rng.uniform(0.8, 1.0, (runs, 4)), 0.0)
        low, high = stats.interval(scores, stats.mean, rng=rng, draws=400)
        hits += low <= 0.6 * 0.9 <= high
    assert hits / trials == pytest.approx(stats.COVERS[runs], abs=0.05)
    assert f"{stats.COVERS[runs]:.0%}" in stats.coverage_note(runs) or runs >= 10


def test_sample_efficiency_by_hand():
    first = np.array([[0.0, 0.2], [0.0, 0.4], [0.0, 0.6], [1.0, 0.8]])[:, None]  # (4, 1, 2)
    centre, ends = stats.sample_efficiency(first, rng=np.random.default_rng(0))
    np.testing.assert_allclose(centre, [0.0, 0.5])
    low, high = ends
    assert low.shape == (2,) and (low <= centre).all() and (centre <= high).all()
    centre, ends = stats.sample_efficiency(first[:1], rng=np.random.default_rng(0))
    assert ends is None and centre.tolist() == [0.0, 0.2]
    with pytest.raises(ValueError, match="NaN"):
        stats.sample_efficiency(first * np.nan, rng=np.random.default_rng(0))


def test_improvement_by_hand_and_its_interval():
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])
    matrix = stats.improvements({"x": x, "y": y})
    np.testing.assert_allclose(matrix, [[0.5, 0.875], [0.125, 0.5]])  # 3 wins and a tie of 4
    rng = np.random.default_rng(0)
    low, high = stats.improvement_interval(x, y, rng=rng, draws=4000)
    assert low == 0.5 and high == 1.0  # y drawn twice as 1, x as 1 and 2 or 1 twice: P >= 1/2
    assert stats.improvement_interval(x + 5, y, rng=rng) == (1.0, 1.0)
    assert stats.improvement_interval(x[:1], y, rng=rng) is None


def test_the_chance_of_normal_scores_is_the_closed_form():
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    x, y = rng.normal(0.5, 1, (2000, 1)), rng.normal(0, 1, (2000, 1))
    exact = norm.cdf(0.5 / np.sqrt(2))
    assert stats.probability_of_improvement(x, y) == pytest.approx(exact, abs=0.02)
