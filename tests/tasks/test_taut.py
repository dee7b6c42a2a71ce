"""Shortest paths of homotopy classes, against geometry and a search of another kind."""

import heapq
import itertools

import numpy as np
import pytest

from bench.errors import UsageError
from bench.tasks import taut
from bench.tasks.homotopy import Modes, crossings, reduce
from bench.tasks.layout import CELL, GOAL_RADIUS, parse
from bench.tasks.maze import LAYOUTS


def modes_of(*rows):
    return Modes(parse(rows), 1.5, 16)


def lengths(*rows):
    return [length + GOAL_RADIUS for length in modes_of(*rows).lengths]


def test_by_hand():
    assert lengths("######", "#R..G#", "######") == pytest.approx([12])
    assert lengths("#####", "#R..#", "#...#", "#..G#", "#####") == pytest.approx(
        [8 * 2**0.5], abs=1e-3
    )
    around = 2 * 8**0.5 + 4  # to a corner of one cell's obstacle, along it, and on
    assert lengths("#####", "#...#", "#R#G#", "#...#", "#####") == pytest.approx(
        [around] * 2, abs=1e-3
    )
    turn = ("######", "#R...#", "####.#", "####G#", "######")
    assert lengths(*turn) == pytest.approx([(10**2 + 2**2) ** 0.5 + (6**2 + 2**2) ** 0.5], abs=1e-3)


def test_another_goal_s_cell_is_no_way():
    near, behind = lengths("#######", "#R.G.G#", "#.....#", "#######")
    assert near == pytest.approx(8)
    assert behind == pytest.approx(2 * 40**0.5 + 4, abs=1e-3), "16 straight through the first goal"


def shortest(modes, mode):
    """Return the length of a mode's shortest path by search over corners and words."""
    layout = modes.layout
    goal, word = next(key for key, value in modes.index.items() if value == mode)
    closed = layout.walls.copy()
    for other in layout.goals:
        closed[other] = other != layout.goals[goal]
    cells = np.argwhere(closed)[:, ::-1] * CELL + layout.centre((0, 0))
    ways = np.array(list(itertools.product((-1, 1), (-1, 1))))
    beside = (cells[:, None] + ways * (CELL / 2 + 0.002)).reshape(
        -1, 2
    )  # nodes in walls lead nowhere
    nodes = np.concatenate([np.zeros((1, 2)), layout.goal_positions[goal][None], beside])
    low, high = (
        cells - CELL / 2 - 0.001,
        cells + CELL / 2 + 0.001,
    )  # none fits between diagonal walls

    def free(a, b):
        """Say whether a segment meets no wall, by where it enters and leaves each."""
        step = np.where(b == a, 1e-12, b - a)
        one, other = (low - a) / step, (high - a) / step
        enter = np.minimum(one, other).max(1).clip(0)
        return (enter >= np.maximum(one, other).min(1).clip(max=1)).all()

    seen = {}
    for i, j in itertools.permutations(range(len(nodes)), 2):
        if free(nodes[i], nodes[j]):
            letters = crossings(np.stack([nodes[i], nodes[j]]), modes.origins)
            seen.setdefault(i, []).append((j, letters, np.linalg.norm(nodes[i] - nodes[j])))
    best, queue = {}, [(0.0, 0, ())]
    while queue:
        length, node, spelled = heapq.heappop(queue)
        if (node, spelled) == (1, word):
            return length
        if (node, spelled) in best or len(spelled) > len(word) + 2:
            continue
        best[node, spelled] = length
        for other, letters, far in seen.get(node, []):
            heapq.heappush(queue, (length + far, other, reduce(spelled + letters)))
    raise AssertionError("not found")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_search_over_corners_finds_none_that_is_shorter(name):
    modes = Modes(parse(LAYOUTS[name]), 1.5, 16)
    for mode, length in enumerate(modes.lengths):
        assert length + GOAL_RADIUS == pytest.approx(shortest(modes, mode), abs=0.02)


def test_what_is_pulled_stays_of_its_class():
    modes = Modes(parse(LAYOUTS["v4"]), 1.5, 16)
    points = taut.corners(modes.layout.walls, CELL) + modes.layout.centre((0, 0))
    for mode, route in enumerate(modes.routes):
        path = taut.pulled(np.stack([modes.layout.centre(cell) for cell in route]), points)
        assert modes.label(path) == mode and len(path) < len(route)


def test_in_any_maze_a_shortest_path_is_between_the_straight_line_and_the_route():
    rng, tried = np.random.default_rng(0), 0
    while tried < 100:
        grid = np.full(rng.integers(5, 12, 2), "#")
        inner = rng.random((len(grid) - 2, len(grid[0]) - 2)) < rng.uniform(0.05, 0.4)
        grid[1:-1, 1:-1] = np.where(inner, "#", ".")
        free = rng.permutation(np.argwhere(grid == "."))
        if len(free) < 3:
            continue
        for mark, cell in zip("RGG", free, strict=False):
            grid[tuple(cell)] = mark
        try:
            modes = Modes(parse(["".join(row) for row in grid]), 1.5, 16)
        except UsageError:  # a goal that cannot be reached
            continue
        tried += 1
        for route, length in zip(modes.routes, modes.lengths, strict=True):
            straight = np.linalg.norm(modes.layout.centre(route[-1]))
            whole = CELL * (len(route) - 1)
            assert straight - 0.01 <= length + GOAL_RADIUS <= whole + 0.01
