"""The public checks pass what is right and catch what is not."""

from dataclasses import dataclass

import pytest
import torch

import bench.algos
from bench.testing import check_algorithm, check_task


@pytest.mark.parametrize("name", sorted(bench.algos.discover()))
def test_every_algorithm_passes(name):
    check_algorithm(name, {"batch": 16})


@pytest.mark.parametrize("name", ["pointmaze-v1", "antmaze-v2", "gym"])
def test_tasks_pass(name):
    check_task(name, steps=80)


@dataclass
class Config:
    defect: str = ""


class Counter:
    """Acts by how often it has learned."""

    num_modes = 0

    def __init__(self, spec, config, device):
        self.spec, self.defect, self.seen = spec, config.defect, 0

    def act(self, obs, explore=False, mode=None):
        self.seen += self.defect == "changes" and not explore
        scale = 3.0 if self.defect == "bounds" else 1e-3
        return torch.full((len(obs), self.spec.act_dim), scale * self.seen)

    def observe(self, step):
        pass

    def update(self):
        self.seen += 1
        return {"loss": float("nan") if self.defect == "loss" else 0.0}

    def state_dict(self):
        return {} if self.defect == "forgets" else {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state.get("seen", 0)


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        ("changes", "no function|changes the state"),
        ("bounds", r"leave \[-1, 1\]"),
        ("loss", "loss is nan"),
        ("forgets", "state_dict"),
    ],
)
def test_defects_are_caught(monkeypatch, defect, message):
    registry = bench.algos.discover()
    monkeypatch.setattr(registry, "entries", dict(registry.entries))
    registry.register("counter", config=Config)(Counter)
    check_algorithm("counter")
    with pytest.raises(AssertionError, match=message):
        check_algorithm("counter", {"defect": defect})
