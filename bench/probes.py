"""What a run asks its algorithm at every evaluation, for figures: values over a maze, clusters.

Both are optional parts of an algorithm: `bench.api.HasValues` and `HasClusters`.
"""

from __future__ import annotations

import numpy as np
import torch

from bench.api import Algorithm, HasClusters, HasValues, TaskEnv
from bench.evaluation import isolated_generator

SPACING = 1.0  # m between grid points


def value_maps(algo: Algorithm, env: TaskEnv, device: str) -> dict[str, np.ndarray]:
    """Return the Q-functions' values on a grid over an arena, in units of its largest return.

    Every other number of the observation is that of an episode's start.

    Returns:
        values (Q, rows, columns) float32, names (Q,) of the Q-functions and extent
        (x0, x1, y0, y1) in m; empty if the algorithm has no values or the task no arena.
    """
    if not isinstance(algo, HasValues) or env.extent is None:
        return {}
    x0, x1, y0, y1 = env.extent
    columns, rows = round((x1 - x0) / SPACING), round((y1 - y0) / SPACING)
    x = x0 + (np.arange(columns) + 0.5) * SPACING
    y = y0 + (np.arange(rows) + 0.5) * SPACING
    obs = env.observe_at(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    with isolated_generator(device):
        torch.manual_seed(0)
        values = algo.values(torch.as_tensor(obs, device=device)).cpu().numpy()
    maps = values.reshape(-1, rows, columns).astype(np.float32)
    return {"values": maps, "names": np.array(algo.value_names), "extent": np.array(env.extent)}


def cluster_tree(algo: Algorithm) -> dict[str, np.ndarray]:
    """Return an algorithm's clusters as arrays; empty if it has none."""
    found = algo.clusters() if isinstance(algo, HasClusters) else {}
    return {key: np.asarray(value) for key, value in found.items()}
