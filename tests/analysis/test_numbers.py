"""Metrics and statistics against cases worked by hand."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from bench.analysis import metrics, stats
from bench.evaluation import summarise

MODE = np.array([0] * 6 + [1] * 3 + [2] + [-1] * 8 + [3] * 2)  # K = 3: 10 named, 2 other


def one(mode, num_modes, commanded=None, returns=None, lengths=None, detours=None):
    """Return all metrics of one evaluation."""
    mode = np.asarray(mode)
    scores = metrics.evaluations(metrics.Evaluations(
        np.zeros(len(mode), int), mode, mode >= 0,
        np.zeros(len(mode)) if returns is None else returns,
        np.ones(len(mode)) if lengths is None else lengths,
        np.full(len(mode), -1) if commanded is None else np.asarray(commanded), num_modes,
        np.full(len(mode), np.nan) if detours is None else detours,
    ))  # fmt: skip
    return {name: float(values[0]) for name, values in scores.items()}


def test_metrics_by_hand():
    detours = np.where(MODE == 0, 1.5, np.where(MODE == 1, 1.2, np.nan))
    scores = one(MODE, 3, returns=np.where(MODE >= 0, 10.0, 0.0), detours=detours)
    assert scores["success"] == 0.6 and scores["return"] == 6.0 and scores["other"] == 0.1
    assert scores["modes_found"] == 2 and scores["mode_coverage"] == pytest.approx(2 / 3)
    p = np.array([0.6, 0.3, 0.1])
    nats = -(p * np.log(p)).sum() + 2 / 20
    assert scores["mode_entropy"] == pytest.approx(nats / np.log(3))
    assert scores["effective_modes"] == pytest.approx(np.exp(nats))
    assert scores["solved_modes"] == pytest.approx(0.5 * np.exp(nats) / 3), "named successes only"
    assert scores["multi_goal_score"] == pytest.approx(0.3 + 0.15 + 0.05)
    assert scores["coverage_return"] == pytest.approx(4.0)
    assert scores["detour"] == pytest.approx((6 * 1.5 + 3 * 1.2) / 9)
    for name in ("command_coverage", "command_information", "command_success", "reachable_modes"):
        assert np.isnan(scores[name]), name


def test_edges_of_the_entropy():
    assert one([0, -1], 2)["mode_entropy"] == 0  # fewer than two named successes
    assert np.isnan(one([0, 0], 1)["mode_entropy"])
    assert one([0, 1], 2)["mode_entropy"] == 1  # the correction is capped
    assert one([-1, -1], 2)["effective_modes"] == 0
    assert one([0, 1], 8)["effective_modes"] == pytest.approx(2), "never more than were seen"


@pytest.mark.parametrize("num_modes", [2, 4, 8])
def test_an_obedient_policy_scores_full_marks_for_control(num_modes):
    commanded = np.repeat(np.arange(num_modes), 20)
    scores = one(commanded, num_modes, commanded, np.full(len(commanded), 10.0))
    assert scores["command_coverage"] == scores["command_success"] == 1
    assert scores["command_information"] == 1 and scores["reachable_modes"] == num_modes
    assert scores["modes_found"] == num_modes and scores["mode_coverage"] == 1
    assert scores["effective_modes"] == pytest.approx(num_modes)
    assert scores["mode_entropy"] == pytest.approx(1)
    assert scores["multi_goal_score"] == 1 and scores["solved_modes"] == pytest.approx(1)
    assert scores["coverage_return"] == 10


@pytest.mark.parametrize("num_modes", [2, 4, 8])
def test_a_policy_that_ignores_commands_and_goes_one_way_controls_nothing(num_modes):
    commanded = np.repeat(np.arange(num_modes), 20)
    scores = one(np.full(len(commanded), 1), num_modes, commanded, np.full(len(commanded), 10.0))
    assert scores["command_coverage"] == pytest.approx(1 / num_modes)
    assert scores["command_information"] == 0 and scores["reachable_modes"] == 1
    assert scores["command_success"] == 1, "how well, not whether, commands are obeyed"
    assert scores["modes_found"] == 1 and scores["mode_coverage"] == pytest.approx(1 / num_modes)
    assert scores["coverage_return"] == pytest.approx(10 / num_modes)
    assert scores["effective_modes"] == pytest.approx(1) and scores["mode_entropy"] == 0
    assert scores["solved_modes"] == scores["multi_goal_score"] == pytest.approx(1 / num_modes)


@pytest.mark.parametrize("num_modes", [2, 4, 8])
def test_a_uniform_policy_that_ignores_commands_is_diverse_and_controls_nothing(num_modes):
    rng, commanded = np.random.default_rng(0), np.repeat(np.arange(num_modes), 20)
    episodes = len(commanded)
    returns = np.full(episodes, 10.0)
    runs = [one(rng.integers(num_modes, size=episodes), num_modes, commanded, returns)
            for _ in range(400)]  # fmt: skip
    mean = {name: np.mean([run[name] for run in runs]) for name in runs[0] if name != "detour"}
    assert mean["command_coverage"] == pytest.approx(1 / num_modes, abs=0.015)
    assert mean["command_information"] < 0.02
    assert mean["command_success"] == mean["mode_coverage"] == 1
    assert mean["modes_found"] == num_modes and mean["coverage_return"] == 10
    count = np.arange(episodes + 1)  # of one mode: binomial with a mean of 20
    least = (np.minimum(count, 20) * binom.pmf(count, episodes, 1 / num_modes)).sum() / 20
    assert mean["multi_goal_score"] == pytest.approx(least, abs=0.01)
    assert mean["mode_entropy"] == pytest.approx(
        1, abs=0.01
    )  # the plain estimate is up to 0.012 low
    assert mean["solved_modes"] == pytest.approx(mean["effective_modes"] / num_modes)
    assert mean["effective_modes"] == pytest.approx(num_modes, rel=0.02)
    lucky = num_modes * binom.sf(9, 20, 1 / num_modes)  # a command's 20 episodes, half of them k
    assert mean["reachable_modes"] == pytest.approx(lucky, abs=0.08)


def test_branch_entropy_by_hand():
    mode, each = np.array([0, 1, 1]), np.ones(3)
    headings = np.array([
        [[192, 64, -1], [256, 0, 0]],  # 3 : 1 of two ways, and one of three
        [[128, 128, -1], [86, 85, 85]],
        [[-1, -1, -1], [-1, -1, -1]],  # not asked
    ])  # fmt: skip
    scores = metrics.evaluations(metrics.Evaluations(
        np.arange(3), mode, mode >= 0, each, each, -each, 2, each, headings,
    ))["branch_entropy"]  # fmt: skip
    nats = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) + 1 / 512
    assert scores[0] == pytest.approx((nats / np.log(2) + 0) / 2)
    assert scores[1] == pytest.approx(1, abs=1e-4) and scores[1] <= 1
    assert np.isnan(scores[2]) and np.isnan(one([0, 1], 2)["branch_entropy"])


@pytest.mark.parametrize("num_modes", [2, 4, 8])
def test_where_modes_part_only_who_heads_for_all_of_them_has_entropy(num_modes):
    """One way, uniform, and obedient: of 256 actions without a command as it has learned them."""
    mode, each = np.arange(3) % 2, np.ones(3)
    ways = np.zeros((3, 1, num_modes), int)
    ways[0, 0, 1] = 256
    ways[1:, 0] = 256 // num_modes
    scores = metrics.evaluations(metrics.Evaluations(
        np.arange(3), mode, mode >= 0, each, each, -each, num_modes, each, ways,
    ))["branch_entropy"]  # fmt: skip
    assert scores.tolist() == pytest.approx([0, 1, 1])


def test_no_command_is_no_command_for_a_mode():
    """Free episodes of one table with commanded ones, and a mode that one half never obtains."""
    evaluation, command = np.repeat([0, 1], [4, 6]), np.array([-1] * 4 + [0] * 2 + [1] * 4)
    label = np.array([0, 0, 1, 1, -1, 0, 1, 1, 1, 1])
    each = np.ones(10)
    both = metrics.Evaluations(evaluation, label, label >= 0, each, each, command, 2, each)
    own = evaluation == 1
    alone = metrics.Evaluations(np.zeros(6, int), label[own], label[own] >= 0, each[own],
                                each[own], command[own], 2, each[own])  # fmt: skip
    assert metrics.obtained(both)[1] == pytest.approx(metrics.obtained(alone)[0])


def test_command_metrics_by_hand():
    # command 0 obtains A in 3 of 4 of either half, command 1 obtains B in all, nothing obtains C
    labels = [0, 0, 0, 0, 0, 0, -1, -1] + [1] * 8
    scores = one(labels, 3, [0] * 8 + [1] * 8)
    assert scores["command_coverage"] == pytest.approx((0.75 + 1 + 0) / 3)
    assert scores["reachable_modes"] == 2 and scores["command_success"] == 14 / 16
    failures_one_label = -(0.375 * np.log(0.375) + 0.5 * np.log(0.5) + 0.125 * np.log(0.125))
    given = -0.5 * (0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    information = failures_one_label - given - (3 - 3 - 2 + 1) / 32
    assert scores["command_information"] == pytest.approx(min(information / np.log(2), 1))


def test_found_on_command_needs_one_command_that_obtains_it():
    # over 12 commands a mode that one of them reaches in half of its episodes is found
    commanded = np.repeat(np.arange(12), 10)
    mode = np.where(commanded == 3, np.tile([1, 0], 60), 0)
    assert one(mode, 2, commanded)["modes_found"] == 2
    assert one(mode, 2)["modes_found"] == 1, "5 of 120 episodes, sampled, are too few"


def test_permutations_are_exact_and_holm_is_by_hand():
    rng = np.random.default_rng(0)
    x, y = np.array([[3.0], [4.0], [5.0]]), np.array([[0.0], [1.0], [2.0]])
    assert stats.permutation_test(x, y, rng=rng) == pytest.approx(2 / 20), "3 seeds: 0.10 at best"
    assert stats.permutation_test(x, x, rng=rng) == 1
    five = np.arange(10.0)[:, None]
    assert stats.permutation_test(five[5:], five[:5], rng=rng) == pytest.approx(2 / 252)
    assert stats.smallest_p(3, 3, 1) == pytest.approx(0.1)
    assert stats.smallest_p(5, 5, 1) == pytest.approx(2 / 252)
    assert stats.smallest_p(2, 3, 1) == 0.1, "of 10 deals none mirrors another"
    one_way = stats.permutation_test(y[:2], x, rng=rng)
    assert one_way == stats.smallest_p(2, 3, 1), "the bound is reached"
    x, y = rng.normal(size=(2, 3)), rng.normal(0.7, size=(3, 3))
    assert stats.permutation_test(x, y, rng=rng) == pytest.approx(enumerated(x, y)), "10^3 deals"
    sampled = stats.permutation_test(x, y, rng=rng, draws=999)
    assert sampled == pytest.approx(enumerated(x, y), abs=0.06) and sampled != enumerated(x, y)
    same = [stats.permutation_test(*rng.normal(size=(2, 5, 2)), rng=rng, draws=200)
            for _ in range(200)]  # fmt: skip
    assert 0.4 < np.mean(same) < 0.6, "p is uniform where there is no difference"
    assert np.allclose(stats.holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    assert stats.holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]


def enumerated(x, y):
    """Return the p-value of `stats.permutation_test`, every deal of every task tried in turn."""
    pooled, size = np.concatenate([x, y]), len(x)
    deals = [set(deal) for deal in itertools.combinations(range(len(pooled)), size)]

    def gap(dealt):
        ours = [[pooled[i, task] for i in deal] for task, deal in enumerate(dealt)]
        theirs = [[pooled[i, task] for i in range(len(pooled)) if i not in deal]
                  for task, deal in enumerate(dealt)]  # fmt: skip
        return abs(np.mean(ours) - np.mean(theirs))

    seen = gap([set(range(size))] * x.shape[1])
    gaps = [gap(dealt) for dealt in itertools.product(deals, repeat=x.shape[1])]
    return np.mean(np.array(gaps) >= seen - 1e-9)


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


@pytest.mark.parametrize("commands", [0, 6])
def test_progress_and_report_find_the_same_modes(commands):
    rng = np.random.default_rng(commands)
    for _ in range(50):
        mode = rng.choice([-1, 0, 1, 2, 3], p=[0.3, 0.4, 0.2, 0.07, 0.03], size=60)
        commanded = np.repeat(np.arange(commands), 10) if commands else np.full(60, -1)
        rows = [{"success": m >= 0, "mode": m, "commanded": c}
                for m, c in zip(mode.tolist(), commanded.tolist(), strict=True)]  # fmt: skip
        assert summarise(rows, 3)["modes_found"] == one(mode, 3, commanded)["modes_found"]
