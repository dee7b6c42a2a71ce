"""What the withdrawn metrics said of policies, as the audit found it, beside today's."""

import numpy as np
import pytest

from bench.analysis import metrics, survival
from docs import withdrawn


def today(mode, num_modes, commanded):
    unknown = np.full(len(mode), np.nan)
    scores = metrics.evaluations(metrics.Evaluations(
        np.zeros(len(mode), int), mode, mode >= 0, unknown, unknown, commanded, num_modes, unknown
    ))  # fmt: skip
    return {name: values[0] for name, values in scores.items()}


def test_control_of_policies_that_ignore_commands():
    rng, commanded = np.random.default_rng(0), np.repeat(np.arange(4), 25)
    same = np.zeros(100, int)
    assert withdrawn.control_success(same, commanded) == 1
    assert today(same, 4, commanded)["command_coverage"] == 0.25
    drawn = [rng.integers(4, size=100) for _ in range(300)]
    old = np.mean([withdrawn.control_success(mode, commanded) for mode in drawn])
    new = np.mean([today(mode, 4, commanded)["command_coverage"] for mode in drawn])
    assert old == pytest.approx(0.36, abs=0.02) and new == pytest.approx(0.25, abs=0.02)
    assert withdrawn.control_success(np.full(100, -1), commanded) == 0


def test_modes_found_solved_and_lost():
    commanded = np.repeat(np.arange(12), 10)
    mode = np.where(commanded == 3, np.tile([1, 0], 60), 0)
    assert withdrawn.found(mode, 2).tolist() == [True, False]
    assert today(mode, 2, commanded)["modes_found"] == 2
    two, free = np.array([0, 1]), np.full(2, -1)
    assert withdrawn.solved_modes(two, 8) * 8 == pytest.approx(2.57, abs=0.005)
    assert today(two, 8, free)["solved_modes"] * 8 == pytest.approx(2)
    others = np.array([0, 0, 2, 2])  # two of the named mode, two in none
    assert withdrawn.solved_modes(others, 2) == 0.5
    assert today(others, 2, np.full(4, -1))["solved_modes"] == 0.25
    present = np.array([True, True, False])
    assert withdrawn.lost(present) and not survival.lost(present)
