"""The public checks pass what is right and catch what is not."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import bench.algos
from bench.tasks.maze import MazeWorld
from bench.testing import check_algorithm, check_task


@pytest.mark.parametrize("name", sorted(bench.algos.discover()))
def test_every_algorithm_passes(name):
    small = "batch" in bench.algos.registry[name].config.__dataclass_fields__
    check_algorithm(name, {"batch": 16} if small else None)


@pytest.mark.parametrize("name", ["pointmaze-v1", "antmaze-v2", "gym"])
def test_tasks_pass(name):
    check_task(name, steps=80)


@dataclass
class Config:
    defect: str = ""


class Counter:
    """Acts by how often it has learned, a little further for the second of its two modes."""

    num_modes = 2

    def __init__(self, spec, config, device):
        self.spec, self.defect, self.seen = spec, config.defect, 0

    def act(self, obs, explore=False, mode=None):
        self.seen += self.defect == "changes" and not explore
        scale = 3.0 if self.defect == "bounds" else 1e-3
        action = torch.full((len(obs), self.spec.act_dim), scale * self.seen)
        return action if mode is None or self.defect == "disobeys" else action + 0.1 * mode[:, None]

    def act_as_specified(self, obs):
        self.seen += self.defect == "changes as specified"
        scale = 3.0 if self.defect == "bounds as specified" else 1e-3
        return torch.full((len(obs), self.spec.act_dim), scale * self.seen)

    def observe(self, step):
        pass

    def update(self):
        self.seen += 1
        return {"loss": float("nan") if self.defect == "loss" else 0.0}

    def state_dict(self):
        if self.defect == "code":
            return {"seen": self.seen, "runs": [Path.cwd]}
        return {} if self.defect == "forgets" else {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state.get("seen", 0)

    def policy_state_dict(self):
        if self.defect == "code in the policy":
            return {"seen": self.seen, "where": Path()}
        return {"seen": 0 if self.defect == "half" else self.seen}

    def load_policy_state_dict(self, state):
        self.seen = state["seen"]


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        ("changes", "no function|changes the state"),
        ("changes as specified", "no function|changes the state"),
        ("bounds", r"leave \[-1, 1\]"),
        ("bounds as specified", r"leave \[-1, 1\]"),
        ("loss", "loss is nan"),
        ("forgets", "state_dict does not hold all of the policy"),
        ("half", "policy_state_dict does not hold"),
        ("code", r"state_dict\['runs'\]\[0\] is a builtins.method"),
        ("code in the policy", r"policy_state_dict\['where'\] is a pathlib"),
        ("disobeys", "two commands lead to the same actions"),
    ],
)
def test_defects_of_algorithms_are_caught(monkeypatch, defect, message):
    registry = bench.algos.discover()
    monkeypatch.setattr(registry, "entries", dict(registry.entries))
    registry.register("counter", config=Config)(Counter)
    check_algorithm("counter")
    with pytest.raises(AssertionError, match=message):
        check_algorithm("counter", {"defect": defect})


def unseeded(world, count):
    qpos = np.tile(world.model.qpos0, (count, 1))
    qpos[:, :2] += np.random.default_rng().uniform(-1, 1, (count, 2))
    return qpos, np.zeros((count, world.model.nv))


@pytest.mark.parametrize(
    ("method", "broken", "message"),
    [
        ("control", lambda world, action, qpos: 0 * action, "actions are ignored"),
        ("label", lambda world, path, goal: -1, "labelled iff successful"),
        ("reset", lambda world, rng, count: unseeded(world, count), "reset is not seeded"),
    ],
)
def test_defects_of_tasks_are_caught(monkeypatch, method, broken, message):
    monkeypatch.setattr(MazeWorld, method, broken)
    with pytest.raises(AssertionError, match=message):
        check_task("pointmaze", steps=300, layout=["####", "#RG#", "####"])
