"""Mazes drawn as text: `#` wall, `.` free, `R` start, `G` goal; cells of 4 m.

x grows with the column, y with the row, and the start cell's centre is the origin.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.errors import UsageError

CELL = 4.0  # m
GOAL_RADIUS = 0.5  # m, in the plane
BIN = 0.4  # m, of the state coverage

LAYOUTS: dict[str, tuple[str, ...]] = {
    "v1": ("#####", "#...#", "#G#R#", "#...#", "#####"),
    "v2": ("#######", "#.###.#", "#.###.#", "#..R.G#", "#.###.#", "#G###.#", "#######"),
    "v3": (
        "#########",
        "#.....#G#",
        "#.##....#",
        "#.....#.#",
        "#.#.R...#",
        "#.....#.#",
        "#.##..#.#",
        "#G......#",
        "#########",
    ),
    "v4": ("#######", "#...#.#", "#G#...#", "#...#R#", "#G#...#", "#...#.#", "#######"),
}  # fmt: skip


def block(name: str, *cells: tuple[int, int]) -> tuple[str, ...]:
    """Return a named layout with further wall cells (row, column)."""
    rows = [list(row) for row in LAYOUTS[name]]
    for i, j in cells:
        rows[i][j] = "#"
    return tuple("".join(row) for row in rows)


LAYOUTS |= {  # obstacles for replanning, never trained on
    "v3-block1": block("v3", (5, 2), (7, 3)),
    "v3-block2": block("v3", (2, 6), (5, 1)),
    "v3-block3": block("v3", (4, 6), (5, 3)),
}


@dataclass(frozen=True)
class Layout:
    """A parsed maze.

    Attributes:
        rows: the text.
        walls: (rows, columns) bool.
        start: (row, column).
        goals: (row, column) of each goal, in reading order.
    """

    rows: tuple[str, ...]
    walls: np.ndarray
    start: tuple[int, int]
    goals: tuple[tuple[int, int], ...]

    def centre(self, cell: tuple[int, int]) -> np.ndarray:
        """Return the position (2,) in m of a cell's centre."""
        return CELL * np.array([cell[1] - self.start[1], cell[0] - self.start[0]], dtype=float)

    @cached_property
    def goal_positions(self) -> np.ndarray:
        """Positions of the goals, (goals, 2) in m."""
        return np.stack([self.centre(goal) for goal in self.goals])

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Where the maze begins and ends along x and y: (x0, x1, y0, y1) in m."""
        rows, columns = self.walls.shape
        x0, y0 = self.centre((0, 0)) - CELL / 2
        return x0, x0 + CELL * columns, y0, y0 + CELL * rows

    def goal_at(self, position: np.ndarray) -> np.ndarray:
        """Return the goal within reach of positions (..., 2) in m, -1 none, (...) int.

        The one place where a goal is judged to be reached, in float64 whatever it is given: reward,
        end of episode and mode label cannot disagree.
        """
        offset = np.asarray(position, np.float64)[..., None, :2] - self.goal_positions
        distance = np.hypot(offset[..., 0], offset[..., 1])
        nearest = distance.argmin(-1)
        reached = distance.min(-1) <= GOAL_RADIUS
        return np.where(reached, nearest, -1)

    def inside_wall(self, position: np.ndarray) -> np.ndarray:
        """Say which positions (..., 2) in m lie in a wall cell (or outside the maze)."""
        x0, _, y0, _ = self.extent
        column = ((position[..., 0] - x0) / CELL).astype(np.int64)
        row = ((position[..., 1] - y0) / CELL).astype(np.int64)
        rows, columns = self.walls.shape
        return self.walls[row.clip(0, rows - 1), column.clip(0, columns - 1)]

    def neighbours(self, cell: tuple[int, int]) -> list[tuple[int, int]]:
        """Return the free 4-neighbours of a free cell."""
        i, j = cell
        around = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
        return [other for other in around if not self.walls[other]]

    def steps_from(self, cell: tuple[int, int], through_goals: bool = True) -> np.ndarray:
        """Return the number of moves from a cell to every cell, (rows, columns), -1 unreachable.

        Args:
            cell: where the walk begins.
            through_goals: whether it may go on from another goal's cell.
        """
        steps = np.full(self.walls.shape, -1)
        steps[cell] = 0
        queue = deque([cell])
        while queue:
            here = queue.popleft()
            if not through_goals and here in self.goals and here != cell:
                continue
            for other in self.neighbours(here):
                if steps[other] < 0:
                    steps[other] = steps[here] + 1
                    queue.append(other)
        return steps


def parse(rows: list[str] | tuple[str, ...]) -> Layout:
    """Return the maze drawn by `rows`.

    Raises:
        UsageError: one line on what is wrong and where.
    """
    rows = tuple(rows)
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise UsageError(f"task.layout: rows differ in length: {[len(row) for row in rows]}")
    strange = sorted(set("".join(rows)) - set("#.RG"))
    if strange:
        raise UsageError(f"task.layout: unknown character {strange[0]!r}; valid are # . R G")
    grid = np.array([list(row) for row in rows])
    walls = grid == "#"
    border = np.concatenate([walls[0], walls[-1], walls[:, 0], walls[:, -1]])
    if not border.all():
        raise UsageError("task.layout: the outer border must be all walls (#)")
    starts = [(int(i), int(j)) for i, j in np.argwhere(grid == "R")]
    goals = tuple((int(i), int(j)) for i, j in np.argwhere(grid == "G"))
    if len(starts) != 1:
        raise UsageError(f"task.layout: {len(starts)} start cells R; exactly 1 is needed")
    if not goals:
        raise UsageError("task.layout: no goal cell G; at least 1 is needed")
    layout = Layout(rows, walls, starts[0], goals)
    steps, through = (layout.steps_from(starts[0], through_goals=t) for t in (False, True))
    for goal in goals:
        if steps[goal] < 0:
            behind = through[goal] >= 0
            raise UsageError(
                f"task.layout: the goal in row {goal[0]}, column {goal[1]} cannot be reached from "
                + ("the start but through another goal, where an episode ends" if behind
                   else "the start")
            )  # fmt: skip
    return layout
