"""What a run asks its algorithm at every evaluation beside episodes.

Where it heads to where modes part, for the branch entropy; for figures values over a maze and
clusters, both optional parts of an algorithm: `bench.api.HasValues` and `HasClusters`.
"""

from __future__ import annotations

import numpy as np
import torch

from bench.api import Algorithm, HasClusters, HasValues, Task, TaskEnv
from bench.evaluation import isolated_generator
from bench.finite import ACTION_BOUND, check

SPACING = 1.0  # m between grid points
SAMPLES = 256  # actions drawn at every branch state
NO_WAY = -1  # stands for the count of a direction that a branch state does not have


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


def headings(
    algo: Algorithm, task: Task, env: TaskEnv, device: str, seed: int
) -> dict[str, np.ndarray]:
    """Return which way 256 sampled actions head at each branch state of a task.

    A branch state is an episode's start, at rest, moved to a place where named modes part
    (`Task.branches`). The policy acts by itself. A heading counts for the nearest of the directions
    in which modes go on from there: the choice between them is measured, not the scatter about one.

    Args:
        algo: whose `act` is asked.
        task: that says where modes part and how an action heads.
        env: of the task.
        device: of the algorithm.
        seed: of the draws; torch's own generator is left as it was.

    Returns:
        counts (B, D) int64 of B branch states and at most D directions, NO_WAY where one has fewer;
        points (B, 2) in m and directions (B, D, 2), 0 where there is none. Empty if the task has
        no branch states, or its actions no heading.

    Raises:
        NotFinite: if an action is not finite, or not in [-1, 1].
    """
    branches = task.branches
    if not branches:
        return {}
    points = np.array([branch.point for branch in branches])
    obs = torch.as_tensor(env.observe_at(points), dtype=torch.float32, device=device)
    with isolated_generator(device):
        torch.manual_seed(seed)
        action = algo.act(obs.repeat_interleave(SAMPLES, dim=0), explore=False).cpu().numpy()
    check("a branch state's action", action, ACTION_BOUND)
    heading = task.heading(action)
    if heading is None:
        return {}
    most = max(len(branch.directions) for branch in branches)
    counts = np.full((len(branches), most), NO_WAY)
    directions = np.zeros((len(branches), most, 2))
    for i, own in enumerate(heading.reshape(len(branches), SAMPLES, 2)):
        ways = np.array(branches[i].directions)
        nearest = (own @ ways.T).argmax(axis=1)
        directions[i, : len(ways)] = ways
        counts[i, : len(ways)] = np.bincount(nearest, minlength=len(ways))
    return {"counts": counts, "points": points, "directions": directions}


def cluster_tree(algo: Algorithm) -> dict[str, np.ndarray]:
    """Return an algorithm's clusters as arrays; empty if it has none."""
    found = algo.clusters() if isinstance(algo, HasClusters) else {}
    return {key: np.asarray(value) for key, value in found.items()}
