"""The shortest path of a homotopy class, found as one finds it with a string: by pulling.

In the plane minus obstacles each class has one shortest path, and a path that nothing local makes
shorter is it. So a route through cells is pulled until every bend of it lies at a wall's corner and
turns around it (Hershberger and Snoeyink 1994, "Computing minimum length paths of a given homotopy
class").
"""

from __future__ import annotations

import numpy as np

INTO = 1e-4  # m; corners lie so far inside their walls, each a little farther than the one before:
# of no three of them on a line must be said on which side of the string the middle one is


def corners(walls: np.ndarray, cell: float) -> np.ndarray:
    """Return the corners around which a string can bend, (C, 2) as (column, row) in m.

    Args:
        walls: (rows, columns), True where a cell is a wall; the outermost cells are.
        cell: m, the side of one.
    """
    found = []
    for row, column in np.argwhere(walls[1:-1, 1:-1]) + 1:
        for down in (-1, 1):
            for right in (-1, 1):
                if not walls[row + down, column] and not walls[row, column + right]:
                    found.append((column, row, right, down))
    places = np.array(found, float).reshape(-1, 4)
    inward = INTO * (1 + np.arange(len(places)) / max(len(places), 1))[:, None]
    return cell * (places[:, :2] + places[:, 2:] / 2) - places[:, 2:] * inward


def pulled(route: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the shortest path (n, 2) that a route can be pulled to without crossing points.

    Args:
        route: (m, 2), none of whose bends is on a line between points.
        points: (C, 2), no three of which are on a line.
    """
    path, sides = list(route), [0.0] * len(route)  # on which side of a bend its corner is
    at = 1
    while at < len(path) - 1:
        before, bend, after = path[at - 1 : at + 2]
        turn = np.sign(cross(bend - before, after - bend))
        if turn and turn == sides[at]:
            at += 1
            continue
        held = around(before, bend, after, points) if turn else []
        path[at : at + 1], sides[at : at + 1] = held, [turn] * len(held)
        at = max(at - 1, 1)  # what is before it may have got loose
    return np.array(path)


def around(
    before: np.ndarray, bend: np.ndarray, after: np.ndarray, points: np.ndarray
) -> list[np.ndarray]:
    """Return the points that a string along two sides of a triangle is held by, pulled tight.

    They are the hull of the points inside, as seen from the bend.
    """
    turn = np.sign(cross(bend - before, after - bend))
    inside = np.ones(len(points), bool)
    for start, end in ((before, bend), (bend, after), (after, before)):
        inside &= turn * cross(end - start, points - start) > 0
    along = sorted(points[inside], key=lambda point: float((point - before) @ (after - before)))
    hull = [before]
    for point in [*along, after]:
        while len(hull) > 1 and turn * cross(hull[-1] - hull[-2], point - hull[-1]) <= 0:
            hull.pop()
        hull.append(point)
    return hull[1:-1]


def cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the third component of the cross product of vectors in the plane, (..., 2)."""
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
