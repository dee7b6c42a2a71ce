"""What a run asks its algorithm at every evaluation, for figures: values over a maze, clusters.

Both are optional parts of an algorithm:
    values(obs): (B, O) -> (1 + M, B), what each of its Q-functions expects of acting from there;
    clusters(): {"linkage": (n - 1, 4), "labels": (n,), "threshold": float} of its successes, or {}.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bench.api import Algorithm, Task

SPACING = 1.0  # m between grid points


def value_maps(algo: Algorithm, env: Any, task: Task, device: str) -> dict[str, np.ndarray]:
    """Return the Q-functions' values on a grid over a maze, in units of its largest return.

    Every other number of the observation is that of an episode's start.

    Returns:
        values (1 + M, rows, columns) float32 and extent (x0, x1, y0, y1) in m; empty if the
        algorithm has no `values` or the task no extent.
    """
    ask, extent = getattr(algo, "values", None), getattr(env, "extent", None)
    if ask is None or extent is None or task.position is None:
        return {}
    x0, x1, y0, y1 = extent
    columns, rows = round((x1 - x0) / SPACING), round((y1 - y0) / SPACING)
    x = x0 + (np.arange(columns) + 0.5) * SPACING
    y = y0 + (np.arange(rows) + 0.5) * SPACING
    start = task.make(1, seed=0, training=False)
    obs = np.repeat(start.reset()[0], rows * columns, axis=0)
    start.close()
    obs[:, task.position] = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        values = ask(torch.as_tensor(obs, device=device)).cpu().numpy()
    maps = values.reshape(-1, rows, columns).astype(np.float32)
    return {"values": maps, "extent": np.array(extent)}


def cluster_tree(algo: Algorithm) -> dict[str, np.ndarray]:
    """Return an algorithm's clusters as arrays; empty if it has none."""
    ask = getattr(algo, "clusters", None)
    return {key: np.asarray(value) for key, value in (ask() if ask else {}).items()}
