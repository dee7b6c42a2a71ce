"""What a run asks its algorithm for figures, on algorithms whose answers are known."""

import numpy as np
import pytest
import torch

from bench.analysis.metrics import Evaluations, branch_entropy
from bench.finite import NotFinite
from bench.probes import SAMPLES, cluster_tree, headings, value_maps
from bench.tasks import make_env, make_task


class Believer:
    """Values states by their place and by a draw, and has two clusters."""

    value_names = ("east", "drawn")

    def values(self, obs):
        return torch.stack([obs[:, 0], torch.rand(len(obs))])

    def clusters(self):
        return {"linkage": [[0, 1, 0.5, 2]], "labels": [0, 0], "cut": 2.5}


def test_values_are_asked_for_over_the_arena_and_the_stream_goes_on():
    env = make_env("pointmaze-v1", 2, seed=0)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    maps = value_maps(Believer(), env, "cpu")
    assert torch.equal(torch.rand(3), expected), "torch's generator is left as it was"
    x0, x1, y0, y1 = maps["extent"]
    assert maps["values"].shape == (2, round(y1 - y0), round(x1 - x0))
    assert maps["names"].tolist() == ["east", "drawn"]
    east = maps["values"][0]
    assert np.allclose(east, np.arange(x0 + 0.5, x1), atol=1e-5), "x grows with the column"
    assert np.array_equal(value_maps(Believer(), env, "cpu")["values"], maps["values"])


def test_what_an_algorithm_or_a_task_lacks_is_left_out():
    maze, arm = make_env("pointmaze-v1", 1), make_env("reach", 1)
    assert value_maps(object(), maze, "cpu") == {} == value_maps(Believer(), arm, "cpu")
    assert cluster_tree(object()) == {}
    tree = cluster_tree(Believer())
    assert tree["linkage"].shape == (1, 4) and tree["labels"].tolist() == [0, 0]
    assert float(tree["cut"]) == 2.5


class Walker:
    """Goes one way, or draws one of the directions in which modes part where it stands."""

    def __init__(self, task, one_way=None):
        self.ways = {branch.point: branch.directions for branch in task.branches}
        self.one_way = one_way

    def act(self, obs, explore=False, mode=None):
        assert not explore and mode is None and not obs[:, 2:].any(), "by itself, at rest"
        if self.one_way is not None:
            return torch.tensor(self.one_way).expand(len(obs), 2)
        ways = [self.ways[tuple(point)] for point in obs[:, :2].tolist()]
        draws = torch.rand(len(obs)).tolist()
        chosen = [own[int(draw * len(own))] for own, draw in zip(ways, draws, strict=True)]
        return 0.7 * torch.tensor(chosen) + 0.2 * (torch.rand(len(obs), 2) - 0.5)


def probed(name, one_way=None, seed=0):
    """Return what a walker's headings are in a maze, and their branch entropy."""
    task, env = make_task(name), make_env(name, 2, seed=0)
    found = headings(Walker(task, one_way), task, env, "cpu", seed)
    one = np.zeros(1)
    episode = Evaluations(
        np.zeros(1, int), one - 1, one > 0, one, one, one - 1, len(task.modes), one,
        found["counts"][None],
    )  # fmt: skip
    return found, branch_entropy(episode).item()


@pytest.mark.parametrize("name", [f"pointmaze-v{version}" for version in (1, 2, 3, 4)])
def test_branch_entropy_is_0_for_one_way_and_1_for_all_ways_alike(name):
    for way in [(1.0, 0.1), (-0.1, 0.9), (0.0, -1.0), (-0.6, 0.5)]:
        found, entropy = probed(name, way)
        assert entropy == 0 and (found["counts"].max(axis=1) == SAMPLES).all()
    found, entropy = probed(name)
    assert 0.98 < entropy <= 1
    task, counts = make_task(name), found["counts"]
    ways = [len(branch.directions) for branch in task.branches]
    assert (counts >= 0).sum(axis=1).tolist() == ways, "no count where there is no direction"
    assert np.maximum(counts, 0).sum(axis=1).tolist() == [SAMPLES] * len(ways)
    assert found["points"].tolist() == [list(branch.point) for branch in task.branches]


def test_a_heading_counts_for_the_nearest_direction():
    found, entropy = probed("pointmaze-v3", (0.3, 0.8))
    chosen = found["directions"][range(2), found["counts"].argmax(axis=1)]
    assert chosen.tolist() == [[0, 1], [0, 1]] and entropy == 0
    found, _ = probed("pointmaze-v3", (0.8, 0.3))  # to the right; of down and left it is down
    chosen = found["directions"][range(2), found["counts"].argmax(axis=1)]
    assert chosen.tolist() == [[1, 0], [0, 1]]


def test_headings_are_drawn_anew_and_leave_the_stream_as_it_was():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first = probed("pointmaze-v1", seed=1)[0]["counts"]
    assert torch.equal(torch.rand(3), expected), "torch's generator is left as it was"
    assert np.array_equal(first, probed("pointmaze-v1", seed=1)[0]["counts"])
    assert not np.array_equal(first, probed("pointmaze-v1", seed=2)[0]["counts"])


def test_without_a_heading_or_a_branch_there_is_nothing_to_ask():
    class Still:
        def act(self, obs, explore=False, mode=None):
            return torch.zeros(len(obs), 8)

    for name in ("antmaze-v1", "reach"):
        task, env = make_task(name), make_env(name, 1)
        assert headings(Still(), task, env, "cpu", 0) == {}


def test_a_branch_state_s_action_that_is_not_finite_is_named():
    with pytest.raises(NotFinite, match="a branch state's action is nan"):
        probed("pointmaze-v1", (float("nan"), 0.0))
