"""Numbers that a fixed small update of every algorithm reproduces.

python -m tests.algos.golden    renew tests/algos/golden.json, after a change that is meant
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

import bench.algos
from bench.testing import SPEC, feed

PATH = Path(__file__).with_name("golden.json")
STEPS = 34  # vector steps: a default on-policy rollout fits in


def numbers(name: str) -> dict[str, float]:
    """Return the last scalars and an action of a few updates on random transitions."""
    entry = bench.algos.discover()[name]
    config = entry.config()
    config.exploration.warmup = 31 * SPEC.num_envs
    config.batch = 32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        algo = entry.factory(SPEC, config, "cpu")
        seen: dict[str, float] = {}
        update = algo.update

        def recorded():
            scalars = update()
            seen.update({key: float(value) for key, value in scalars.items()})
            return scalars

        algo.update = recorded
        feed(algo, STEPS + getattr(config, "rollout", 0), seed=1)
        action = algo.act(torch.linspace(-1, 1, SPEC.obs_dim)[None])[0]
    return seen | {f"action_{i}": float(value) for i, value in enumerate(action)}


if __name__ == "__main__":
    learners = (n for n, e in bench.algos.discover().items() if e.info["data"] != "none")
    found = {name: numbers(name) for name in sorted(learners)}
    PATH.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{len(found)} algorithms: {PATH}")
