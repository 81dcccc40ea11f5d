"""Visvalingam-Whyatt on arcs: remove the vertex with the smallest triangle, again and again.

After M. Visvalingam and J. D. Whyatt, "Line generalisation by repeated elimination of points", The Cartographic Journal
30 (1), 1993. The effective area of a vertex is that of the triangle with its two neighbours, and no less than that of
those that went before it there. A removal that the guard refuses is tried again when a neighbour goes. Areas are whole
numbers of half pixels and ties go to the vertex that comes first in the arc, so the order is the same everywhere.

An arc of n vertices takes O(n log n) for the order, and each removal looks at all original vertices under the new
chord: O(n log n) again where pieces grow evenly, O(n^2) at worst, when one long piece grows by a vertex at a time.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import Coordinates, Integers
from geoseg.arcs.guard import Guard
from geoseg.arcs.hulls import is_clear, is_near


@njit(cache=True, nogil=True)
def remove_smallest(
    guard: Guard,
    offsets: Integers,
    x: Coordinates,
    y: Coordinates,
    chosen: Integers,
    least: NDArray[np.uint8],
    most: float,
    kept: NDArray[np.bool_],
) -> None:
    """Unmark the vertices of the chosen chains that go.

    Parameters
    ----------
    guard : Guard
        What a chord must meet.
    offsets, x, y
        The chains.
    chosen : int64
        Numbers of chains.
    least : uint8, shape (chain,)
        How many vertices stay between the ends of a chain in any case, if it has them.
    most : float
        Largest effective area of a vertex that may go, half pixels.
    kept : bool, shape (vertex,)
        Where to unmark them; True before.
    """
    longest = np.max(offsets[1:] - offsets[:-1])
    before, after, areas = np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest, np.int64)
    # Each vertex enters at the start, and two when one leaves for good: twice as many as vertices are never exceeded.
    heap = np.empty((2 * longest, 2), np.int64)
    for chain in chosen:
        here = slice(offsets[chain], offsets[chain + 1])
        _remove_of_chain(guard, x[here], y[here], least[chain], most, kept[here], before, after, areas, heap)


@njit(cache=True, nogil=True, inline="always")  # for the reason given in `hulls`
def _remove_of_chain(
    guard: Guard,
    x: Coordinates,
    y: Coordinates,
    least: int,
    most: float,
    kept: NDArray[np.bool_],
    before: Integers,
    after: Integers,
    areas: Integers,
    heap: Integers,
) -> None:
    """Work through one chain; entries of the heap that a later one for the same vertex replaced are passed over."""
    last, waiting = x.size - 1, 0
    for vertex in range(1, last):
        before[vertex], after[vertex] = vertex - 1, vertex + 1
        areas[vertex] = _triangle(x, y, vertex - 1, vertex, vertex + 1)
        waiting = _push(heap, waiting, areas[vertex], vertex, most)
    spare = last - 1 - np.int64(least)
    while waiting > 0 and spare > 0:
        waiting = _pop(heap, waiting)
        area, vertex = heap[waiting, 0], heap[waiting, 1]
        if not kept[vertex] or area != areas[vertex]:
            continue
        left, right = before[vertex], after[vertex]
        if is_near(guard.gram, guard.limit, x, y, left, right) and is_clear(guard, x, y, left, right):
            kept[vertex] = False
            spare -= 1
            after[left], before[right] = right, left
            for neighbour in (left, right):
                if 0 < neighbour < last:
                    triangle = _triangle(x, y, before[neighbour], neighbour, after[neighbour])
                    areas[neighbour] = max(area, triangle)
                    waiting = _push(heap, waiting, areas[neighbour], neighbour, most)


@njit(cache=True, nogil=True)
def _triangle(x: Coordinates, y: Coordinates, a: int, b: int, c: int) -> int:
    """Area of the triangle of three vertices, half pixels."""
    return int(abs((x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a])))


@njit(cache=True, nogil=True)
def _push(heap: Integers, size: int, area: int, vertex: int, most: float) -> int:
    """Add a vertex to a binary heap by area, then by number, unless its area is too large; return the new size."""
    if area > most:
        return size
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if _precedes(heap, parent, area, vertex):
            break
        heap[place, 0], heap[place, 1] = heap[parent, 0], heap[parent, 1]
        place = parent
    heap[place, 0], heap[place, 1] = area, vertex
    return size + 1


@njit(cache=True, nogil=True)
def _pop(heap: Integers, size: int) -> int:
    """Move the smallest entry behind the others; return how many these are."""
    size -= 1
    area, vertex = heap[size, 0], heap[size, 1]
    heap[size, 0], heap[size, 1] = heap[0, 0], heap[0, 1]
    place, child = 0, 1
    while child < size:
        if child + 1 < size and _precedes(heap, child + 1, heap[child, 0], heap[child, 1]):
            child += 1
        if not _precedes(heap, child, area, vertex):
            break
        heap[place, 0], heap[place, 1] = heap[child, 0], heap[child, 1]
        place, child = child, 2 * child + 1
    if size > 0:
        heap[place, 0], heap[place, 1] = area, vertex
    return size


@njit(cache=True, nogil=True)
def _precedes(heap: Integers, place: int, area: int, vertex: int) -> bool:
    """Whether the entry at a place of the heap comes before this one."""
    return bool(heap[place, 0] < area or (heap[place, 0] == area and heap[place, 1] < vertex))
