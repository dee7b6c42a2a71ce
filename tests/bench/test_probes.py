"""What a run asks its algorithm for figures, on algorithms whose answers are known."""

import numpy as np
import torch

from bench.probes import cluster_tree, value_maps
from bench.tasks import make_env


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
