"""Modes of a maze: (goal, homotopy class of the path in the plane minus the obstacles).

Obstacles are the 8-connected groups of wall cells that do not touch the outer wall. From each a
ray goes to infinity; a path is spelled by the rays it crosses, signed by direction, and reduced by
cancelling neighbours that undo each other. The reduced word is the class: the h-signature of
Bhattacharya et al. 2010 ("Search-based path planning with homotopy class constraints").

A maze has infinitely many classes, and the short ones of a field of pillars run into thousands. The
named modes are the shortest of each goal, found one after the other; every other class is `other`.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from scipy.ndimage import label as connected

from . import taut
from .layout import CELL, GOAL_RADIUS, Layout

Cell = tuple[int, int]  # row, column
Word = tuple[int, ...]  # +k: obstacle k's ray crossed towards larger x, -k: towards smaller
State = tuple[Cell, Word]


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
    right = path[:, 0] > origins[:, :1]  # (obstacles, T)
    ray, step = np.nonzero(right[:, 1:] != right[:, :-1])
    before, after = path[step], path[step + 1]
    share = (origins[ray, 0] - before[:, 0]) / (after[:, 0] - before[:, 0])
    hit = before[:, 1] + share * (after[:, 1] - before[:, 1]) < origins[ray, 1]
    order = np.argsort((step + share)[hit], kind="stable")
    signed = np.where(right[ray, step + 1], ray + 1, -ray - 1)
    return tuple(signed[hit][order].tolist())


def reduce(word: Word) -> Word:
    """Cancel neighbours that undo each other."""
    kept: list[int] = []
    for letter in word:
        if kept and kept[-1] == -letter:
            kept.pop()
        else:
            kept.append(letter)
    return tuple(kept)


def letters(number: int) -> str:
    """Return the name of a goal as a spreadsheet names its columns: A to Z, AA, AB, ..."""
    name = ""
    while number >= 0:
        number, letter = divmod(number, 26)
        name, number = chr(ord("A") + letter) + name, number - 1
    return name


class Modes:
    """The named modes of a maze, and the label of any path.

    A mode is named by its goal, a letter in reading order, and its rank among the goal's routes
    from the shortest: `A1`, `A2`, `B1`.

    Args:
        layout: the maze.
        stretch: a named mode's shortest route is at most so many times the goal's shortest.
        most: named modes of one goal; which of equally long ones are named is the search's choice.

    Attributes:
        names: K names.
        routes: for each mode the cells of a shortest route.
    """

    def __init__(self, layout: Layout, stretch: float, most: int) -> None:
        self.layout = layout
        self.origins = ray_origins(layout)
        self.names: list[str] = []
        self.routes: list[list[Cell]] = []
        self.index: dict[tuple[int, Word], int] = {}
        self.letters: dict[tuple[Cell, Cell], Word] = {}
        for goal in range(len(layout.goals)):
            found = itertools.islice(self.classes(goal, stretch), most)
            ranked = sorted(found, key=lambda one: (len(one[1]), one[0]))
            for rank, (word, route) in enumerate(ranked, start=1):
                self.index[goal, word] = len(self.names)
                self.names.append(f"{letters(goal)}{rank}")
                self.routes.append(route)

    def classes(self, goal: int, stretch: float) -> Iterator[tuple[Word, list[Cell]]]:
        """Yield (word, shortest route) of a goal's classes from the shortest, up to the stretch.

        A best-first search over (cell, word), guided by the moves that are left whatever the word
        is: no more is looked at than the classes that are asked for need.
        """
        layout, end = self.layout, self.layout.goals[goal]
        ahead = layout.steps_from(end, through_goals=False)
        bound = stretch * ahead[layout.start] + 1e-9
        parents: dict[State, State | None] = {}
        order = itertools.count()  # of discovery, between equals: states are never compared
        start: State = (layout.start, ())
        queue: list[tuple[int, int, int, State, State | None]] = [
            (int(ahead[layout.start]), 0, next(order), start, None)
        ]
        while queue:
            total, _, _, state, parent = heapq.heappop(queue)
            if state in parents:
                continue
            parents[state] = parent
            cell, word = state
            if cell == end:
                yield word, self.trace(parents, state)
                continue
            for other in layout.neighbours(cell):
                through = other in layout.goals and other != end  # an episode would end there
                moves = 1 + total - int(ahead[cell])
                whole = moves + int(ahead[other])
                new = other, reduce(word + self.crossed(cell, other))
                if not through and ahead[other] >= 0 and whole <= bound and new not in parents:
                    heapq.heappush(queue, (whole, -moves, next(order), new, state))

    @cached_property
    def lengths(self) -> list[float]:
        """Lengths of the modes' shortest paths in m, of a point, from the start to a goal's rim.

        They keep out of other goals' cells, as routes do: an episode would end there.
        """
        layout, found = self.layout, []
        for route in self.routes:
            closed = layout.walls.copy()
            for goal in layout.goals:
                closed[goal] = goal != route[-1]
            offset = layout.centre((0, 0))
            places = taut.corners(closed, CELL) + offset
            path = taut.pulled(np.stack([layout.centre(cell) for cell in route]), places)
            length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
            found.append(round(float(length) - GOAL_RADIUS, 3))  # of what `taut.INTO` blurs
        return found

    def crossed(self, cell: Cell, other: Cell) -> Word:
        """Return the rays that a move between neighbouring cells crosses."""
        if (cell, other) not in self.letters:
            ends = np.stack([self.layout.centre(cell), self.layout.centre(other)])
            self.letters[cell, other] = crossings(ends, self.origins)
        return self.letters[cell, other]

    @staticmethod
    def trace(parents: dict[State, State | None], state: State | None) -> list[Cell]:
        """Return the cells from the start to a state of the search."""
        cells = []
        while state is not None:
            cells.append(state[0])
            state = parents[state]
        return cells[::-1]

    @cached_property
    def branches(self) -> dict[Cell, list[Cell]]:
        """Cells from which named modes part, and the neighbours that they go on to from there.

        Modes part where their routes, alike from the start up to a cell, leave it for different
        ones; of several shortest routes the named one counts. Routes may come to a cell in several
        ways and part there each time: it is one cell, as an agent at rest there is the same.
        """
        after: dict[tuple[Cell, ...], list[Cell]] = {}
        for route in self.routes:
            for moves in range(1, len(route)):
                after.setdefault(tuple(route[:moves]), []).append(route[moves])
        found: dict[Cell, list[Cell]] = {}
        for way, onwards in after.items():
            if len(set(onwards)) > 1:
                known = found.get(way[-1], [])
                found[way[-1]] = list(dict.fromkeys([*known, *onwards]))
        return found

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
