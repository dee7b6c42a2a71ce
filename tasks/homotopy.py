"""Modes of a maze: (goal, homotopy class of the path in the plane minus the obstacles).

Obstacles are the 8-connected groups of wall cells that do not touch the outer wall. From each a
ray goes to infinity; a path is spelled by the rays it crosses, signed by direction, and reduced by
cancelling neighbours that undo each other. The reduced word is the class: the h-signature of
Bhattacharya et al. 2010 ("Search-based path planning with homotopy class constraints").
"""

from __future__ import annotations

from collections import deque

import numpy as np
from scipy.ndimage import label as connected

from .layout import CELL, Layout

Word = tuple[int, ...]  # +k: obstacle k's ray crossed towards larger x, -k: towards smaller


def ray_origins(layout: Layout) -> np.ndarray:
    """Return one point per obstacle, (obstacles, 2) in m; its ray goes towards smaller y.

    Points of one column get different x, so that no two rays overlap.
    """
    groups, count = connected(layout.walls, np.ones((3, 3)))
    outer = groups[0, 0]
    points = []
    for group in range(1, count + 1):
        if group != outer:
            cells = np.argwhere(groups == group)
            points.append(layout.centre(tuple(cells[len(cells) // 2])))
    origins = np.array(points).reshape(-1, 2)
    origins[:, 0] += CELL * 0.4 * (np.arange(len(origins)) + 1) / (len(origins) + 1)
    return origins


def crossings(path: np.ndarray, origins: np.ndarray) -> Word:
    """Return the signed rays that a path (T, 2) crosses, in order, not reduced."""
    times, letters = [], []
    for k, (x, y) in enumerate(origins, start=1):
        right = path[:, 0] > x
        steps = np.flatnonzero(right[1:] != right[:-1])
        before, after = path[steps], path[steps + 1]
        share = (x - before[:, 0]) / (after[:, 0] - before[:, 0])
        hit = before[:, 1] + share * (after[:, 1] - before[:, 1]) < y
        times.append((steps + share)[hit])
        letters.append(np.where(right[steps + 1], k, -k)[hit])
    if not times:
        return ()
    order = np.argsort(np.concatenate(times), kind="stable")
    return tuple(np.concatenate(letters)[order].tolist())


def reduce(word: Word) -> Word:
    """Cancel neighbours that undo each other."""
    kept: list[int] = []
    for letter in word:
        if kept and kept[-1] == -letter:
            kept.pop()
        else:
            kept.append(letter)
    return tuple(kept)


class Modes:
    """The named modes of a maze, and the label of any path.

    A mode is named by its goal, a letter in reading order, and its rank among the goal's routes
    from the shortest: `A1`, `A2`, `B1`.

    Attributes:
        names: K names.
        routes: for each mode the cells (row, column) of a shortest route.
    """

    def __init__(self, layout: Layout, stretch: float) -> None:
        self.layout = layout
        self.origins = ray_origins(layout)
        self.names: list[str] = []
        self.routes: list[list[tuple[int, int]]] = []
        self.index: dict[tuple[int, Word], int] = {}
        found = self.classes(stretch)
        for goal in range(len(layout.goals)):
            classes = [(len(route), word, route) for g, word, route in found if g == goal]
            for rank, (_, word, route) in enumerate(sorted(classes), start=1):
                self.index[goal, word] = len(self.names)
                self.names.append(f"{chr(ord('A') + goal)}{rank}")
                self.routes.append(route)

    def classes(self, stretch: float) -> list[tuple[int, Word, list[tuple[int, int]]]]:
        """Return (goal, word, shortest route) of every class within `stretch` of the shortest.

        A breadth-first search over (cell, word); a branch ends at a goal, or where no goal can be
        reached within its bound any more.
        """
        layout = self.layout
        ahead = [layout.steps_from(goal, through_goals=False) for goal in layout.goals]
        bounds = [stretch * steps[layout.start] for steps in ahead]
        first: tuple[tuple[int, int], Word] = (layout.start, ())
        parents: dict[tuple[tuple[int, int], Word], tuple[tuple[int, int], Word] | None] = {
            first: None
        }
        queue, found = deque([(first, 0)]), []
        while queue:
            state, length = queue.popleft()
            cell, word = state
            if cell in layout.goals:
                goal = layout.goals.index(cell)
                if length <= bounds[goal] + 1e-9:
                    found.append((goal, word, self.trace(parents, state)))
                continue
            for other in layout.neighbours(cell):
                step = np.stack([layout.centre(cell), layout.centre(other)])
                new = (other, reduce(word + crossings(step, self.origins)))
                within = any(
                    steps[other] >= 0 and length + 1 + steps[other] <= bound + 1e-9
                    for steps, bound in zip(ahead, bounds, strict=True)
                )
                if within and new not in parents:
                    parents[new] = state
                    queue.append((new, length + 1))
        return found

    @staticmethod
    def trace(parents: dict, state: tuple | None) -> list[tuple[int, int]]:
        """Return the cells from the start to a state of the search."""
        cells = []
        while state is not None:
            cells.append(state[0])
            state = parents[state]
        return cells[::-1]

    def label(self, path: np.ndarray) -> int:
        """Return the mode of a path (T, 2): its index, K for another class, -1 for no success.

        The path is extended to the start cell's centre and the goal's, so that a random start and
        the place where the goal's rim is touched make no difference.
        """
        path = np.asarray(path, dtype=float)[:, :2]
        goal = int(self.layout.goal_at(path[-1]))
        if goal < 0:
            return -1
        ends = self.layout.goal_positions[goal][None]
        whole = np.concatenate([np.zeros((1, 2)), path, ends])
        word = reduce(crossings(whole, self.origins))
        return self.index.get((goal, word), len(self.names))
