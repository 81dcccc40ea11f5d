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
from geoseg.footprints.network import Bytes
from geoseg.footprints.walls import ALONG, OTHER, find_walls

RIGHT = math.pi / 2

LIKELY = 3
"""Directions that are tried."""

APART = math.radians(8)
"""Their least difference."""

LONGEST = 48
"""Edges, the longest ones, whose directions may be tried."""

ROUNDS = 2
"""How often the direction is said anew from the walls, and the walls from the direction."""


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
    found, least_cost = 0.0, np.inf
    for angle in _likely(x, y):
        cost = _walls(x, y, angle, tolerance)[0]
        if cost < least_cost:
            found, least_cost = angle, cost
    for _ in range(ROUNDS):
        found = _exact(x, y, found, tolerance)
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
def _walls(x: Floats, y: Floats, angle: float, tolerance: float) -> tuple[float, Integers, Bytes, Floats, Floats]:
    u, v, _ = framed(x, y, angle, True)
    cost, first, kind = find_walls(u, v, True, tolerance)
    return cost, first, kind, u, v


@njit(cache=True, nogil=True)
def _exact(x: Floats, y: Floats, angle: float, tolerance: float) -> float:
    """The direction of all points of walls at right angles, each wall about its own middle, and turned to lie along."""
    _, first, kind, u, v = _walls(x, y, angle, tolerance)
    sums = integrate(u, v)
    xx, xy, yy = 0.0, 0.0, 0.0
    for wall in range(first.size):
        if kind[wall] == OTHER:
            continue
        end = first[wall + 1] if wall + 1 < first.size else u.size - 1
        part = stretch(sums, first[wall], end)
        if kind[wall] == ALONG:
            xx, xy, yy = xx + part.xx, xy + part.xy, yy + part.yy
        else:
            xx, xy, yy = xx + part.yy, xy - part.xy, yy + part.xx
    return angle + direction(xx, xy, yy) if xx > yy else angle


@njit(cache=True, nogil=True)
def _likely(x: Floats, y: Floats) -> Floats:
    """Directions of edges in which the outline is shortest along the axes, the best ones that are not near another."""
    dx, dy = np.diff(x), np.diff(y)
    longest = np.argsort(-np.hypot(dx, dy), kind="mergesort")[:LONGEST]
    angles, lengths = np.empty(longest.size), np.empty(longest.size)
    for place, edge in enumerate(longest):
        angle = math.atan2(dy[edge], dx[edge]) % RIGHT
        cos, sin = math.cos(angle), math.sin(angle)
        angles[place] = angle
        lengths[place] = np.abs(cos * dx + sin * dy).sum() + np.abs(cos * dy - sin * dx).sum()
    found, count = np.empty(LIKELY), 0
    for place in np.argsort(lengths, kind="mergesort"):
        gap = np.abs(found[:count] - angles[place])
        if not (np.minimum(gap, RIGHT - gap) < APART).any():
            found[count] = angles[place]
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
