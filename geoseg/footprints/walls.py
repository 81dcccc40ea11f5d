"""An outline as walls: the fewest straight lines that tell what the outline says, most of them at right angles.

Method. A description that is short and fits is the best one (minimum description length; U. Weidner and W. Förstner,
"Towards automatic building extraction from high-resolution digital elevation models", ISPRS Journal of Photogrammetry
and Remote Sensing 50 (4), 1995, chose ground plans of buildings by it). A wall along the building's direction or across
it is told by its place alone and costs `WALL`; one askew needs an angle too and costs `ASKEW`. What a wall leaves of
the outline costs the integral of the squared distance along the outline, in units of the cubed tolerance. The cheapest
sequence of walls is found exactly, by dynamic programming over the vertices at which a wall may end (J.-C. Perez and E.
Vidal, "Optimum polygonal approximation of digitized curves", Pattern Recognition Letters 15 (8), 1994). So a recess
stays when it is large for the tolerance, a wall askew when right angles would need stairs of more walls, and noise
goes.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from geoseg.arcs.chains import Integers
from geoseg.footprints.moments import Floats, integrate, least, stretch
from geoseg.footprints.network import Bytes

WALL = 4.0
"""Cost of a wall at right angles: a step of an outline stays from about two tolerances' depth and four's width."""

ASKEW = 12.0
"""Cost of any other wall, unless right angles are asked for."""

SLANT = math.radians(6)
"""A wall askew is at least so far from right angles; one that is nearer is made right."""

STEEP = math.tan(2 * SLANT)
"""Twice the angle of the best line has the tangent ``2 xy / (xx - yy)``."""

LOST = 4
"""A wall that leaves more of the outline than so many walls askew cost is not considered."""

ALONG, ACROSS, OTHER = range(3)
"""Kinds of walls: in the direction of the building, at a right angle to it, askew."""


@njit(cache=True, nogil=True)
def find_walls(
    x: Floats, y: Floats, is_closed: bool, tolerance: float, askew: float = ASKEW
) -> tuple[float, Integers, Bytes]:
    """Divide an outline into walls.

    Parameters
    ----------
    x, y : float64, shape (vertex,)
        In the frame of the building: x along its direction. A closed outline repeats its first vertex, which is a
        corner.
    is_closed : bool
    tolerance : float
        In the units of x and y.
    askew : float
        Cost of a wall that is not at right angles.

    Returns
    -------
    cost : float
    first : int64, shape (wall,)
        The vertex at which each wall begins.
    kind : uint8, shape (wall,)
    """
    sums = integrate(x, y)
    cost, first, kind = _cheapest(sums, 1, tolerance, askew)
    if is_closed and first.size and kind[0] == kind[-1] != OTHER:  # the last wall is the first one's beginning
        return _cheapest(sums, 3, tolerance, askew)
    return cost, first, kind


@njit(cache=True, nogil=True)
def _cheapest(sums: Floats, firsts: int, tolerance: float, askew: float) -> tuple[float, Integers, Bytes]:
    """The cheapest walls; with 3 firsts of those whose last wall is of another kind than the first, unless askew."""
    count, unit = len(sums), tolerance**3
    # What the best walls from the start to each vertex cost, by the first wall's kind, where that counts, and the last
    # one's; where the last one begins, and the kind of the one before.
    cost = np.full((count, firsts, 3), np.inf)
    begin, before = np.zeros((count, firsts, 3), np.int64), np.zeros((count, firsts, 3), np.uint8)
    for end in range(1, count):
        for start in range(end - 1, -1, -1):
            part = stretch(sums, start, end)
            rest = least(part.xx, part.xy, part.yy) / unit
            if rest > LOST * askew:
                break
            _lengthen(cost, begin, before, start, end, ALONG, WALL + part.yy / unit)
            _lengthen(cost, begin, before, start, end, ACROSS, WALL + part.xx / unit)
            if abs(2 * part.xy) >= STEEP * abs(part.xx - part.yy):
                _lengthen(cost, begin, before, start, end, OTHER, askew + rest)
    return _traced_back(cost, begin, before)


@njit(cache=True, nogil=True)
def _lengthen(cost: Floats, begin: Integers, before: Bytes, start: int, end: int, kind: int, own: float) -> None:
    """Let a wall follow the cheapest ones that lead to its start, of another kind unless askew."""
    if start == 0:
        first = kind % cost.shape[1]
        if own < cost[end, first, kind]:
            cost[end, first, kind], begin[end, first, kind] = own, 0
        return
    for first in range(cost.shape[1]):
        for other in range(3):
            total = cost[start, first, other] + own
            if total < cost[end, first, kind] and (kind != other or kind == OTHER):
                cost[end, first, kind], begin[end, first, kind] = total, start
                before[end, first, kind] = other


@njit(cache=True, nogil=True)
def _traced_back(cost: Floats, begin: Integers, before: Bytes) -> tuple[float, Integers, Bytes]:
    """The walls of the cheapest way to the last vertex."""
    end, best, way, kind = cost.shape[0] - 1, np.inf, 0, 0
    for first in range(cost.shape[1]):
        for last in range(3):
            is_one_wall = cost.shape[1] > 1 and first == last and last != OTHER
            if cost[end, first, last] < best and not is_one_wall:
                best, way, kind = cost[end, first, last], first, last
    firsts, kinds, count = np.empty(end, np.int64), np.empty(end, np.uint8), 0
    if best == np.inf:
        return best, firsts[:0].copy(), kinds[:0].copy()
    while end > 0:
        firsts[count], kinds[count] = begin[end, way, kind], kind
        count += 1
        end, kind = begin[end, way, kind], before[end, way, kind]
    return best, firsts[:count][::-1].copy(), kinds[:count][::-1].copy()


@njit(cache=True, nogil=True)
def box(x: Floats, y: Floats) -> tuple[Integers, Bytes]:
    """Four walls of a closed outline, from one extreme corner to the next; none where there are not four corners.

    Parameters
    ----------
    x, y : float64, shape (vertex,)
        As in `find_walls`; the first vertex is the corner with the largest sum.
    """
    corners = np.array([0, np.argmax(y - x), np.argmin(x + y), np.argmax(x - y)])
    kinds = np.array([ALONG, ACROSS, ALONG, ACROSS], np.uint8)
    if corners[1] > corners[3]:
        corners[1], corners[3] = corners[3], corners[1]
        kinds = kinds[::-1].copy()
    if not 0 < corners[1] < corners[2] < corners[3]:
        return corners[:0].copy(), kinds[:0].copy()
    return corners, kinds
