"""Behaviour modes as clusters of successful paths: loop erasure, DTW, average linkage.

The idea is DDiffPG's (Li et al. 2024, arXiv 2406.00681, section 4.1). Paths are first freed of
loops and resampled to equal arc lengths, so that a distance measures the route and neither the
time spent on it nor the detours on the way, and an absolute threshold has a meaning in metres.
"""

from __future__ import annotations

import numpy as np
from dtaidistance import dtw_ndim
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform


def erase_loops(path: np.ndarray, radius: float) -> np.ndarray:
    """Return the path without the stretches between two visits to the same place.

    From each kept point the path jumps to just after its last point within `radius`.

    Args:
        path: (T, P) positions in m.
        radius: m; two points nearer than this are the same place.
    """
    kept, here = [0], 0
    while here < len(path) - 1:
        near = np.square(path[here + 1 :] - path[here]).sum(1) < radius**2
        last = np.flatnonzero(near)
        here += int(last[-1]) + 2 if len(last) else 1
        kept.append(min(here, len(path) - 1))
    if kept[-1] != len(path) - 1:
        kept.append(len(path) - 1)
    return path[kept]


def resample(path: np.ndarray, points: int) -> np.ndarray:
    """Return `points` positions (points, P) at equal arc lengths along a path (T, P)."""
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    along = np.concatenate([[0.0], steps.cumsum()])
    places = np.linspace(0, along[-1], points)
    return np.stack([np.interp(places, along, column) for column in path.T], axis=1)


def summarize(path: np.ndarray, points: int, radius: float) -> np.ndarray:
    """Return what clustering compares of a path (T, P): (points, P) float64."""
    path = np.asarray(path, dtype=np.float64)
    return resample(erase_loops(path, radius), points)


def distances(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return distances of new paths to all paths, in m: DTW, or that of their ends if larger.

    The squared distances of matched points are summed, as DDiffPG does, then divided by the
    number of points: a root mean square, the same for any number of points. A mean hides that
    paths part at the very end, so two goals also tell paths apart by themselves.

    Args:
        old: (n, L, P) resampled paths.
        new: (m, L, P).

    Returns:
        (m, n + m); the last m columns are the distances among the new ones.
    """
    n, m, points = len(old), len(new), new.shape[1]
    if n + m == 1:  # the library cannot
        return np.zeros((1, 1))
    every = np.ascontiguousarray(np.concatenate([old, new]) if n else new)
    block = ((0, n + m), (n, n + m))  # rows < columns: each pair with a new path once
    matrix = dtw_ndim.distance_matrix_fast(list(every), block=block, parallel=False)
    columns = np.where(np.isfinite(matrix), matrix, 0.0)[:, n:]  # pairs not asked for are inf
    among = np.maximum(columns[n:], columns[n:].T)
    warped = np.concatenate([columns[:n].T, among], axis=1) / np.sqrt(points)
    return np.maximum(warped, np.linalg.norm(new[:, None, -1] - every[None, :, -1], axis=-1))


def partition(matrix: np.ndarray, threshold: float, most: int) -> np.ndarray:
    """Return cluster numbers from 0 of n paths, (n,) int64.

    Args:
        matrix: (n, n) distances in m.
        threshold: m; average linkage merges clusters nearer than this. 0 cuts at 0.7 times
            the largest merge, which is DDiffPG's rule and always cuts at least once.
        most: largest number of clusters; beyond it the nearest ones are merged further.
    """
    if len(matrix) == 1:
        return np.zeros(1, np.int64)
    tree = average_linkage(matrix)
    labels = fcluster(tree, cut_height(tree, threshold), "distance")
    if labels.max() > most:
        labels = fcluster(tree, most, "maxclust")
    return labels.astype(np.int64) - 1


def cut_height(tree: np.ndarray, threshold: float) -> float:
    """Return the distance in m at which a linkage (n - 1, 4) is cut (see `partition`)."""
    return threshold if threshold > 0 else 0.7 * float(tree[-1, 2])


def average_linkage(matrix: np.ndarray) -> np.ndarray:
    """Return scipy's linkage (n - 1, 4) of (n, n) distances, n >= 2."""
    return linkage(squareform(matrix, checks=False), "average")


def match(new: list[set[int]], old: list[set[int]]) -> tuple[list[int], list[bool], list[int]]:
    """Say what every new cluster inherits from which old one.

    Args:
        new: sets of episode numbers, one per new cluster.
        old: the same of the clusters before.

    Returns:
        For each new cluster: the old one it shares most episodes with (-1: none; the first of
        equals); whether its optimiser starts afresh (all but the first claimant of an old
        cluster); the old cluster whose embedding it takes (-1: a new embedding), which of
        several claimants is the one with the largest overlap.
    """
    overlap = np.array([[len(a & b) for b in old] for a in new]).reshape(len(new), len(old))
    parents, fresh, embeddings = [], [], [-1] * len(new)
    for row in overlap:
        best = int(row.argmax()) if len(row) and row.max() > 0 else -1
        fresh.append(best == -1 or best in parents)
        parents.append(best)
    for j in range(len(old)):
        claimants = [i for i, parent in enumerate(parents) if parent == j]
        if claimants:
            embeddings[max(claimants, key=lambda i: overlap[i, j])] = j
    return parents, fresh, embeddings
