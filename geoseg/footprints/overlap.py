"""How much two outlines of the same face have in common, by lines across them: the same for any two polygons.

On each line the parts that lie in a polygon are known exactly; between lines the length of what is common changes
evenly, but where an outline has a corner or two cross. So half a pixel between lines gives the area within two percent,
mostly within a tenth of one, for a fraction of the time of an exact overlay.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from geoseg.arcs.chains import Integers
from geoseg.footprints.moments import Floats

FINE = 0.5
"""Px between lines, at most."""

LINES = 48
"""Lines across a face, at least."""


@njit(cache=True, nogil=True)
def common_areas(
    xy: Floats, rings: Integers, polygons: Integers, other_xy: Floats, other_rings: Integers, other_polygons: Integers
) -> Floats:
    """Areas that pairs of polygons share, squared px.

    Parameters
    ----------
    xy, rings, polygons
        The first polygon of each pair, as `Rings` has them.
    other_xy, other_rings, other_polygons
        The second one of each.
    """
    found = np.empty(polygons.size - 1)
    for polygon in range(found.size):
        first, last = polygons[polygon], polygons[polygon + 1]
        outline = xy[rings[first] : rings[first + 1], 1]
        top, bottom = outline.min(), outline.max()
        count = max(math.ceil((bottom - top) / FINE), LINES)
        step = (bottom - top) / count
        others = other_polygons[polygon], other_polygons[polygon + 1]
        most = max(rings[last] - rings[first], other_rings[others[1]] - other_rings[others[0]])
        one, other = np.empty(most), np.empty(most)
        length = 0.0
        for line in range(count):
            y = top + (line + 0.5) * step
            length += _common(
                one[: _crossings(xy, rings, first, last, y, one)],
                other[: _crossings(other_xy, other_rings, others[0], others[1], y, other)],
            )
        found[polygon] = length * step
    return found


@njit(cache=True, nogil=True)
def _crossings(xy: Floats, rings: Integers, first: int, last: int, y: float, found: Floats) -> int:
    """Where a line enters and leaves a polygon, in order; return how many places these are."""
    count = 0
    for ring in range(first, last):
        for vertex in range(rings[ring], rings[ring + 1] - 1):
            above, below = xy[vertex, 1], xy[vertex + 1, 1]
            if (above <= y) != (below <= y):
                x = xy[vertex, 0] + (y - above) / (below - above) * (xy[vertex + 1, 0] - xy[vertex, 0])
                place = count
                while place > 0 and found[place - 1] > x:
                    found[place] = found[place - 1]
                    place -= 1
                found[place] = x
                count += 1
    return count


@njit(cache=True, nogil=True)
def _common(one: Floats, other: Floats) -> float:
    """The length that two sets of intervals share, each given by its ends in order."""
    length, i, j = 0.0, 0, 0
    while i + 1 < one.size and j + 1 < other.size:
        length += max(min(one[i + 1], other[j + 1]) - max(one[i], other[j]), 0.0)
        if one[i + 1] < other[j + 1]:
            i += 2
        else:
            j += 2
    return length
