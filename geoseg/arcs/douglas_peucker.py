"""Douglas-Peucker on arcs: split a piece at its farthest vertex until the chord may stand for it.

After D. H. Douglas and T. K. Peucker, "Algorithms for the reduction of the number of points required to represent a
digitized line or its caricature", Cartographica 10 (2), 1973. A chord that the guard refuses is split like one that is
too far, so what stays of an arc depends on the arc and the original vertices around it alone. An arc of n vertices
takes O(n log n) when splits fall near the middle, as on coastlines and noise, and O(n^2) at worst, on a long spiral.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import Coordinates, Integers
from geoseg.arcs.guard import Guard
from geoseg.arcs.hulls import is_clear
from geoseg.arcs.metric import Gram, farthest


@njit(cache=True, nogil=True)
def keep_farthest(
    guard: Guard,
    offsets: Integers,
    x: Coordinates,
    y: Coordinates,
    chosen: Integers,
    least: NDArray[np.uint8],
    kept: NDArray[np.bool_],
) -> None:
    """Mark the vertices of the chosen chains that stay.

    Parameters
    ----------
    guard : Guard
        What a chord must meet.
    offsets, x, y
        The chains.
    chosen : int64
        Numbers of chains.
    least : uint8, shape (chain,)
        How many vertices stay between the ends of a chain in any case, if it has them: 0, 1 or 2.
    kept : bool, shape (vertex,)
        Where to mark them; False before, for the chosen chains.
    """
    ends = np.empty(2 + np.max(offsets[1:] - offsets[:-1]), np.int64)
    for chain in chosen:
        here = slice(offsets[chain], offsets[chain + 1])
        _keep_of_chain(guard, x[here], y[here], least[chain], kept[here], ends)


@njit(cache=True, nogil=True, inline="always")  # for the reason given in `hulls`
def _keep_of_chain(
    guard: Guard, x: Coordinates, y: Coordinates, least: int, kept: NDArray[np.bool_], ends: Integers
) -> None:
    """Work from the first vertex to the last: ``ends`` are those of the pieces that follow, the next one on top."""
    first, waiting = 0, _first_ends(guard.gram, x, y, least, ends)
    kept[0] = True
    while waiting > 0:
        last = split = ends[waiting - 1]
        if last - first > 1:
            distance, vertex = farthest(guard.gram, x, y, first, last)
            if distance > guard.limit or not is_clear(guard, x, y, first, last):
                split = vertex
        if split < last:
            ends[waiting] = split
            waiting += 1
        else:
            kept[last] = True
            first, waiting = last, waiting - 1


@njit(cache=True, nogil=True)
def _first_ends(gram: Gram, x: Coordinates, y: Coordinates, least: int, ends: Integers) -> int:
    """Cut a chain at the vertices that stay in any case; return the number of pieces.

    One vertex is the farthest from the chord. Two are a triangle with the start: in a closed chain the farthest vertex
    from there, then the farthest from the line between these.
    """
    last = x.size - 1
    ends[0] = last
    if least == 0 or last < 2:
        return 1
    vertex = farthest(gram, x, y, 0, last)[1]
    if least == 1 or last < 3:
        ends[1] = vertex
        return 2
    other = _farthest_from_line(x, y, vertex)
    ends[1], ends[2] = max(vertex, other), min(vertex, other)
    return 3


@njit(cache=True, nogil=True)
def _farthest_from_line(x: Coordinates, y: Coordinates, through: int) -> int:
    """Find the vertex farthest from the line through the first and another one, of equal ones the first.

    Every metric scales the areas of parallelograms alike, so pixels do.
    """
    most, place = -1, 0
    for vertex in range(1, x.size - 1):
        area = abs((x[vertex] - x[0]) * (y[through] - y[0]) - (y[vertex] - y[0]) * (x[through] - x[0]))
        if area > most and vertex != through:
            most, place = area, vertex
    return place
