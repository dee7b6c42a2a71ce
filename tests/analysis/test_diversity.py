"""The life of modes and the comparisons over tasks, against numbers worked by hand."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from test_report import make_run

from bench.analysis import beliefs, comparison, control, stats, survival, training
from bench.analysis.load import load_results
from bench.analysis.runs import read_runs
from bench.found import MIN_COUNT, MIN_SHARE


def test_control_matrix_by_hand(tmp_path):
    place = make_run(tmp_path)
    table = pd.read_parquet(place / "episodes.parquet")
    last = (table["env_steps"] == 400) & (table["commanded"] == 1)
    where = table.index[last]
    table.loc[where[:5], ["success", "mode"]] = [False, -1]  # 5 of 20 fail, 5 go elsewhere
    table.loc[where[5:10], "mode"] = 2
    table.to_parquet(place / "episodes.parquet")
    (run,) = read_runs(tmp_path)
    np.testing.assert_allclose(control.control_matrix(run), [[1, 0, 0, 0], [0, 0.5, 0.25, 0.25]])


def test_a_mode_lives_until_two_evaluations_in_a_row_miss_it():
    at = np.array([10, 20, 30, 40, 50])
    assert survival.spans(np.array([0, 1, 0, 1, 1], bool), at) == [(20, 50)]
    assert survival.spans(np.array([1, 1, 0, 0, 1], bool), at) == [(10, 30), (50, 50)]
    assert survival.spans(np.zeros(5, bool), at) == []
    assert survival.spans(np.ones(5, bool), at) == [(10, 50)]
    assert not survival.lost(np.array([1, 1, 1, 1, 0], bool))
    assert survival.lost(np.array([0, 1, 1, 0, 0], bool)) and not survival.lost(np.zeros(5, bool))


@pytest.mark.parametrize(("share", "once", "twice"), [(0.05, 0.43, 0.19), (0.07, 0.16, 0.03)])
def test_a_steady_share_is_seldom_called_lost(share, once, twice):
    """Of 100 successes per evaluation; the chance to miss is q, lost with q (1 - q^7) by one miss
    at the end, with q^2 (1 - q^6) by two."""
    rng = np.random.default_rng(0)
    present = rng.binomial(100, share, (10_000, 8)) >= max(MIN_COUNT, MIN_SHARE * 100)
    q = binom.cdf(4, 100, share)
    assert q * (1 - q**7) == pytest.approx(once, abs=0.01)
    old = np.mean(present.any(axis=1) & ~present[:, -1])
    new = np.mean([survival.lost(row) for row in present])
    assert old == pytest.approx(once, abs=0.02) and new == pytest.approx(twice, abs=0.02)
    assert new == pytest.approx(q**2 * (1 - q**6), abs=0.02)


def test_presence_follows_the_one_rule(tmp_path):
    place = make_run(tmp_path, shares=(1.0, 0.0))
    table = pd.read_parquet(place / "episodes.parquet")
    late = table.index[(table["env_steps"] == 400) & (table["protocol"] == "sampled")]
    table.loc[late[:1], "mode"] = 1  # one episode is not enough
    table.to_parquet(place / "episodes.parquet")
    (run,) = read_runs(tmp_path)
    free = run.found("sampled")
    assert free["A1"].all() and not free["A2"].any()
    assert run.found("commanded").to_numpy().all()
    frame = load_results(tmp_path).set_index(["env_steps", "protocol"])
    assert frame.loc[(400, "sampled"), "modes_found"] == free.iloc[-1].sum() == 1


def test_only_tasks_that_all_have_done_are_compared():
    def rows(algo, task, values):
        return [
            {"experiment": "e", "algo": algo, "task": task, "seed": s, "protocol": "sampled",
             "env_steps": 1, "family": "f", "budget": "b", "preset": "p", "status": "done",
             "mujoco": "4", "floor": algo == "luck", "score": v} for s, v in enumerate(values)
        ]  # fmt: skip

    frame = pd.DataFrame(
        rows("a", "x", [1.0, 0.5]) + rows("b", "x", [0.5, 0.0]) + rows("a", "y", [1.0, 1.0])
    )
    tasks, scores = comparison.matrices(frame, "score")
    assert tasks == ["x"] and scores["a"].tolist() == [[1.0], [0.5]]
    lucky = pd.concat([frame, pd.DataFrame(rows("luck", "x", [0.0, 0.0]))])
    assert list(comparison.matrices(lucky, "score")[1]) == ["a", "b", "luck"]
    elsewhere = pd.concat([frame, pd.DataFrame(rows("luck", "z", [0.0, 0.0]))])
    tasks, scores = comparison.matrices(elsewhere, "score")
    assert tasks == ["x"] and list(scores) == ["a", "b"], "random play leaves out no task"
    table = comparison.improvement(frame, "score")
    assert table.loc["a", "b"] == pytest.approx(0.875)  # of 4 pairs, 3 wins and a tie
    assert table.loc["b", "a"] == pytest.approx(0.125)


def test_training_aligns_tasks_by_their_share_of_env_steps():
    scores = {  # task: env steps, sampled, commanded
        "short": ([100, 200, 300, 400], [0.0, 0.2, 0.4, 0.6], [0.0, 0.5, 0.7, 0.9]),
        "long": ([400, 800], [0.1, 0.3], [0.0, 0.8]),
    }
    frame = pd.DataFrame([
        {"algo": "alpha", "task": task, "seed": 0, "env_steps": at, "protocol": protocol,
         "solved_modes": value}
        for task, (steps, sampled, commanded) in scores.items()
        for protocol, values in (("sampled", sampled), ("commanded", commanded))
        for at, value in zip(steps, values, strict=True)
    ])  # fmt: skip
    shares, free = training.training(frame, "alpha", "solved_modes", "sampled")
    assert shares.tolist() == [0.5, 0.75, 1.0]  # before 0.5 the long task is unknown
    np.testing.assert_allclose(free, [[[0.1, 0.1, 0.3], [0.2, 0.4, 0.6]]])
    shares, commanded = training.training(frame, "alpha", "solved_modes", "commanded")
    assert shares.tolist() == [0.5, 0.75, 1.0]
    np.testing.assert_allclose(commanded, [[[0.0, 0.0, 0.8], [0.5, 0.7, 0.9]]])
    assert len(training.training(frame, "beta", "solved_modes", "sampled")[0]) == 0


def test_profile_draws_are_around_the_profile():
    rng = np.random.default_rng(0)
    scores, at = rng.random((10, 4)), np.linspace(0, 1, 5)
    drawn = stats.performance_profile_draws(scores, at, rng=rng, draws=2000)
    assert drawn.shape == (2000, 5)
    exact = stats.performance_profile(scores, at)
    np.testing.assert_allclose(drawn.mean(axis=0), exact, atol=0.02)


def test_values_and_clusters_are_drawn_where_recorded(tmp_path):
    place = make_run(tmp_path)
    (run,) = read_runs(tmp_path)
    assert beliefs.value_maps(run) is None and beliefs.cluster_tree(run) is None
    np.savez(place / "values.npz", values=np.random.default_rng(0).random((3, 5, 5)),
             extent=[-10, 10, -10, 10])  # fmt: skip
    np.savez(place / "clusters.npz", linkage=[[0, 1, 0.5, 2], [2, 3, 3.0, 3]], labels=[0, 0, 1],
             threshold=2.5)  # fmt: skip
    figure = beliefs.value_maps(run)
    assert figure is not None, "older records name no Q-function"
    assert [a.get_title() for a in figure.axes[:3]] == [f"Q-function {i}" for i in range(3)]
    with np.load(place / "values.npz") as stored:
        np.savez(place / "values.npz", names=["curious", "greedy", "lazy"], **stored)
    named = beliefs.value_maps(run)
    assert named is not None
    assert [a.get_title() for a in named.axes[:3]] == ["curious", "greedy", "lazy"]
    tree = beliefs.cluster_tree(run)
    assert tree is not None and "3 successes in 2 clusters" in tree.axes[0].get_title()
    np.savez(place / "clusters.npz", linkage=[[0, 1, 0.5, 2]], labels=[0, 0], cut=2.5)
    near = beliefs.cluster_tree(run)
    assert near is not None and "2 successes in 1 cluster" in near.axes[0].get_title()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a layout that collapses
        near.draw_without_rendering()
    assert near.axes[0].get_ylim()[1] > 2.5, "the cut is out of sight"
    assert len(near.axes[0].lines) == 1
    np.savez(place / "clusters.npz", linkage=[[0, 1, 0.5, 2]], labels=[0, 0], threshold=0.0)
    unknown = beliefs.cluster_tree(run)
    assert unknown is not None and not unknown.axes[0].lines, "no cut is known, so none is drawn"
    assert load_results(tmp_path)["task"].eq("maze-v1").all()
