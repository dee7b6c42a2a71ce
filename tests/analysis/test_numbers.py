"""Metrics and statistics against cases worked by hand."""

import numpy as np
import pytest

from bench.analysis import metrics, stats

MODE = np.array([0] * 6 + [1] * 3 + [2] + [-1] * 8 + [3] * 2)  # K = 3: 10 named, 2 other


def test_metrics_by_hand():
    scores = metrics.evaluation(
        MODE, MODE >= 0, np.where(MODE >= 0, 10.0, 0.0), np.full(20, 50), np.full(20, -1), 3
    )
    assert scores["success"] == 0.6 and scores["return"] == 6.0
    assert scores["modes_found"] == 2 and scores["mode_coverage"] == pytest.approx(2 / 3)
    p = np.array([0.6, 0.3, 0.1])
    nats = -(p * np.log(p)).sum() + 2 / 20
    assert scores["mode_entropy"] == pytest.approx(nats / np.log(3))
    assert scores["effective_modes"] == pytest.approx(np.exp(nats))
    assert scores["solved_modes"] == pytest.approx(0.6 * np.exp(nats) / 3)
    assert scores["coverage_return"] == pytest.approx(4.0)
    assert np.isnan(scores["control_success"])


def test_edges_of_the_entropy():
    assert metrics.mode_entropy(np.array([0, -1]), 2) == 0  # fewer than two named successes
    assert np.isnan(metrics.mode_entropy(np.array([0, 0]), 1))
    assert metrics.mode_entropy(np.array([0, 1]), 2) == 1  # the correction is capped
    assert metrics.effective_modes(np.array([-1, -1]), 2) == 0


def test_control_by_hand():
    commanded = np.repeat([0, 1, 2], 4)
    mode = np.array([1, 1, 1, -1, 0, 0, 1, -1, -1, -1, -1, -1])
    share, reached = metrics.control(commanded, mode, 2)
    assert share == pytest.approx((0.75 + 0.5 + 0) / 3) and reached == 2


def test_aggregates_by_hand():
    scores = np.array([[0.0, 4.0], [1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])
    assert stats.iqm(scores) == 3.5 and stats.mean(scores) == 3.5 and stats.median(scores) == 3.5
    assert stats.iqm(np.array([[0.0], [0], [0], [1]])) == 0
    assert stats.optimality_gap(np.array([[0.5, 2.0]])) == 0.25
    assert stats.probability_of_improvement(scores[:, :1], scores[:, 1:]) == 0
    assert stats.probability_of_improvement(scores, scores) == 0.5
    profile = stats.performance_profile(scores, np.array([-1.0, 3.5, 8.0]))
    assert profile.tolist() == [1.0, 0.5, 0.0]


def test_one_seed_has_no_interval_and_nan_is_refused():
    rng = np.random.default_rng(0)
    assert stats.interval(np.ones((1, 3)), stats.iqm, rng=rng) is None
    with pytest.raises(ValueError, match="NaN"):
        stats.interval(np.array([[np.nan], [1.0]]), stats.iqm, rng=rng)


@pytest.mark.parametrize(("runs", "low", "high"), [(3, 0.72, 0.95), (10, 0.87, 0.985)])
def test_intervals_cover_about_what_the_note_says(runs, low, high):
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        scores = rng.normal(0.5, 0.2, (runs, 4))
        ends = stats.interval(scores, stats.mean, rng=rng, draws=300)
        hits += ends[0] <= 0.5 <= ends[1]
    assert low < hits / 300 < high


def test_intervals_depend_on_the_generator_alone():
    scores = np.random.default_rng(0).random((5, 3))
    first, second = (
        stats.interval(scores, stats.iqm, rng=np.random.default_rng(7)) for _ in range(2)
    )
    assert first == second
