"""The direction of a building: that of most of its walls, or at a right angle to it.

Turned to the direction of its walls, a building of right angles measures along the axes what it measures around; turned
any other way it measures more (a norm of the first kind, which long walls decide and odd ones hardly disturb). That
names a few likely directions, all of them of edges; what walls each would give decides between them, and then all
points of these walls together say it exactly. It knows closed outlines, one by one.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from geoseg.arcs.chains import Integers
from geoseg.footprints.moments import Floats, direction, integrate, stretch
from geoseg.footprints.walls import ALONG, OTHER, find_walls

RIGHT = math.pi / 2

LIKELY = 3
"""Directions that are tried."""

APART = math.radians(8)
"""Their least difference."""

ABOUT = math.radians(15)
"""Edges that differ by less run about the same way."""

LONGEST = 48
"""Edges, the longest ones, whose directions may be tried."""

ROUNDS = 2
"""How often the direction is said anew from the walls, and the walls from the direction."""

EXACT = math.radians(0.1)
"""A direction that is nearer to another is the same."""


@njit(cache=True, nogil=True)
def find_direction(x: Floats, y: Floats, tolerance: float) -> float:
    """Find the direction of a building.

    Parameters
    ----------
    x, y : float64, shape (vertex,)
        Its outline, closed, near the origin; the last vertex repeats the first.
    tolerance : float
        In the units of x and y.

    Returns
    -------
    float
        The angle from x towards y, from 0 to a right one.
    """
    found, least_cost, exact, askew = 0.0, np.inf, 0.0, 0.0
    for angle in _likely(x, y):
        cost, said, other = _walls_say(x, y, angle, tolerance)
        if cost < least_cost:
            found, least_cost, exact, askew = angle, cost, said, other
    for _ in range(ROUNDS):
        for angle in (exact, askew):
            if abs(angle - found) >= EXACT:
                cost, said, other = _walls_say(x, y, angle, tolerance)
                if cost < least_cost:
                    found, least_cost, exact, askew = angle, cost, said, other
    if abs(exact - found) < EXACT:
        found = exact
    return found % RIGHT


@njit(cache=True, nogil=True)
def framed(x: Floats, y: Floats, angle: float, is_closed: bool) -> tuple[Floats, Floats, int]:
    """Turn an outline so that a direction is that of x; a closed one begins at its corner farthest up and right.

    Returns
    -------
    x, y : float64, shape (vertex,)
    first : int
        The vertex that is the first one now.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    u, v = cos * x + sin * y, cos * y - sin * x
    if not is_closed:
        return u, v, 0
    first = int(np.argmax(u[:-1] + v[:-1]))
    along, across = np.empty_like(u), np.empty_like(v)
    rest = u.size - 1 - first
    along[:rest], across[:rest] = u[first:-1], v[first:-1]
    along[rest:], across[rest:] = u[: first + 1], v[: first + 1]
    return along, across, first


@njit(cache=True, nogil=True)
def _walls_say(x: Floats, y: Floats, angle: float, tolerance: float) -> tuple[float, float, float]:
    """What walls in a direction cost, and which directions they ask for.

    Returns
    -------
    cost : float
    exact : float
        The direction of all points of walls at right angles, each wall about its own middle, and turned to lie along.
    askew : float
        That of the longest wall askew, or the former.
    """
    u, v, _ = framed(x, y, angle, True)
    cost, first, kind = find_walls(u, v, True, tolerance)
    sums = integrate(u, v)
    xx, xy, yy, longest, askew = 0.0, 0.0, 0.0, 0.0, 0.0
    for wall in range(first.size):
        end = first[wall + 1] if wall + 1 < first.size else u.size - 1
        part = stretch(sums, first[wall], end)
        if kind[wall] == ALONG:
            xx, xy, yy = xx + part.xx, xy + part.xy, yy + part.yy
        elif kind[wall] != OTHER:
            xx, xy, yy = xx + part.yy, xy - part.xy, yy + part.xx
        elif part.length > longest:
            longest, askew = part.length, angle + direction(part.xx, part.xy, part.yy)
    exact = angle + direction(xx, xy, yy) if xx > yy else angle
    return cost, exact, askew if longest > 0 else exact


@njit(cache=True, nogil=True)
def _likely(x: Floats, y: Floats) -> Floats:
    """Directions in which the outline is shortest along the axes, the best ones that are not near another.

    Each is an edge's, or rather the mean of all edges that run about that way.
    """
    dx, dy = np.diff(x), np.diff(y)
    length, angle = np.hypot(dx, dy), np.arctan2(dy, dx) % RIGHT
    longest = np.argsort(-length, kind="mergesort")[:LONGEST]
    measure = np.empty(longest.size)
    for place, edge in enumerate(longest):
        cos, sin = math.cos(angle[edge]), math.sin(angle[edge])
        measure[place] = np.abs(cos * dx + sin * dy).sum() + np.abs(cos * dy - sin * dx).sum()
    found, count = np.empty(LIKELY), 0
    for edge in longest[np.argsort(measure, kind="mergesort")]:
        gap = (angle - angle[edge] + RIGHT / 2) % RIGHT - RIGHT / 2
        share = length * (np.abs(gap) < ABOUT)
        mean = (angle[edge] + (gap * share).sum() / share.sum()) % RIGHT
        others = np.abs(found[:count] - mean)
        if not (np.minimum(others, RIGHT - others) < APART).any():
            found[count] = mean
            count += 1
        if count == LIKELY:
            break
    return found[:count]


@njit(cache=True, nogil=True)
def find_directions(x: Floats, y: Floats, rings: Integers, chosen: Integers, tolerance: float) -> Floats:
    """Find the directions of some outlines of many.

    Parameters
    ----------
    x, y : float64, shape (vertex,)
        All outlines, closed.
    rings : int64, shape (outline + 1,)
        Where each begins, and the end.
    chosen : int64
        Which are wanted.
    tolerance : float
        In the units of x and y.
    """
    found = np.empty(chosen.size)
    for place, ring in enumerate(chosen):
        here = slice(rings[ring], rings[ring + 1])
        found[place] = find_direction(x[here] - x[rings[ring]], y[here] - y[rings[ring]], tolerance)
    return found
