"""What keeps simplified arcs apart: a chord may stand for a piece of an arc only where nothing lies between the two.

Strategy. Arcs are simplified one by one, in any order, perhaps in other blocks than their neighbours; so the test looks
only at the *original* vertices of the map, never at what became of other arcs. Between a piece and its chord lie
pockets. An edge of another arc cannot cross the piece, so to come into a pocket and out again it would cross the chord
twice, which a straight edge cannot: it ends in the pocket. Without a vertex in its pockets, therefore, a chord crosses
no original edge, and by the same argument, used once more, no other such chord. The pockets lie in the row hull of
piece and chord, and in the column hull. It is enough that one of the two holds no vertex but the piece's own:

    piece and chord    row hull

    a──┐               a##┐      {(x, y) : y whole, min X(y) <= x <= max X(y)},
     ·  │               ###      X(y) = {x : (x, y) on the piece or on the chord}
      · └──┐             #####┐
        ·  │              ####   each lattice row from its leftmost to its rightmost point; for columns the same with
         · │               ###   the axes exchanged. Vertices are whole numbers, so nothing between rows counts.
           b                 b

The hulls are closed, so no chord touches a vertex of another arc. What is left is two arcs on one and the same chord;
they share both end nodes, and who simplifies keeps a vertex of each. A hull is as near to its chord as the piece is,
for what is near to a segment is convex, and the chord is as near to the piece: the test never depends on a vertex
farther from the piece than twice the tolerance.
"""

from __future__ import annotations

from numba import njit

from geoseg.arcs.chains import Coordinates
from geoseg.arcs.guard import FARTHEST, Guard, LatticeVertices
from geoseg.arcs.metric import Gram, squared_distance


@njit(cache=True, nogil=True)
def is_near(gram: Gram, limit: float, x: Coordinates, y: Coordinates, first: int, last: int) -> bool:
    """Whether no vertex of a piece is farther from the chord than a limit, squared; the piece as in `is_clear`."""
    ux, uy = float(x[last] - x[first]), float(y[last] - y[first])
    for vertex in range(first + 1, last):
        if squared_distance(gram, float(x[vertex] - x[first]), float(y[vertex] - y[first]), ux, uy) > limit:
            return False
    return True


# A call counts the references of every array it is given, and would cost as much here as the work: so all is inlined.


@njit(cache=True, nogil=True, inline="always")
def is_clear(guard: Guard, x: Coordinates, y: Coordinates, first: int, last: int) -> bool:
    """Whether the row hull or the column hull of a piece and its chord holds no vertex but the piece's own.

    It takes O(h) for a piece h pixels long, and looks at all vertices of the stretches where the hull's lines end.

    Parameters
    ----------
    guard : Guard
        Of an index that holds all vertices within twice the tolerance of the piece, the piece's own included.
    x, y : int32, shape (vertex,)
        A chain of horizontal and vertical edges.
    first, last : int
        The ends of the piece.
    """
    return _is_hull_clear(guard.rows, guard.low, guard.high, y, x, first, last) or _is_hull_clear(
        guard.columns, guard.low, guard.high, x, y, first, last
    )


@njit(cache=True, nogil=True, inline="always")
def _is_hull_clear(
    lines: LatticeVertices,
    low: Coordinates,
    high: Coordinates,
    line: Coordinates,
    place: Coordinates,
    first: int,
    last: int,
) -> bool:
    """One hull: its vertices are counted, and compared with those of the piece, which are all in it."""
    start = stop = line[first]
    for vertex in range(first + 1, last + 1):
        start, stop = min(start, line[vertex]), max(stop, line[vertex])
    for k in range(stop - start + 1):
        low[k], high[k] = FARTHEST, -FARTHEST
    _widen_by_piece(low, high, line, place, first, last, start)
    _widen_by_chord(low, high, line, place, first, last, start)
    return _held(lines, low, high, start, stop) == last - first + 1


@njit(cache=True, nogil=True, inline="always")
def _widen_by_piece(
    low: Coordinates, high: Coordinates, line: Coordinates, place: Coordinates, first: int, last: int, start: int
) -> None:
    """Make room for the piece: each vertex on its own line, and an edge across lines on those between its ends."""
    for vertex in range(first, last + 1):
        here = place[vertex]
        low[line[vertex] - start] = min(low[line[vertex] - start], here)
        high[line[vertex] - start] = max(high[line[vertex] - start], here)
        following = min(vertex + 1, last)
        for crossed in range(min(line[vertex], line[following]) + 1, max(line[vertex], line[following])):
            low[crossed - start] = min(low[crossed - start], here)
            high[crossed - start] = max(high[crossed - start], here)


@njit(cache=True, nogil=True, inline="always")
def _widen_by_chord(
    low: Coordinates, high: Coordinates, line: Coordinates, place: Coordinates, first: int, last: int, start: int
) -> None:
    """Make room for the chord, rounded inwards: only whole places between the two ends of an interval count.

    A chord that stays on one line adds nothing to its ends.
    """
    upper, lower = (first, last) if line[first] < line[last] else (last, first)
    rise, run = line[lower] - line[upper], place[lower] - place[upper]
    for step in range(rise + 1 if rise else 0):
        floor = step * run // rise
        ceiling = floor + (floor * rise < step * run)
        k = line[upper] - start + step
        low[k], high[k] = min(low[k], place[upper] + ceiling), max(high[k], place[upper] + floor)


@njit(cache=True, nogil=True, inline="always")
def _held(lines: LatticeVertices, low: Coordinates, high: Coordinates, start: int, stop: int) -> int:
    """Count the vertices in the intervals of these lines."""
    held, cell = 0, (start - lines.first) * lines.stretches
    for k in range(stop - start + 1):
        least, most = low[k], high[k]
        begin = lines.starts[cell + ((least - lines.base) >> lines.bits)]
        end = lines.starts[cell + ((most - lines.base) >> lines.bits) + 1]
        for vertex in range(begin, end):
            held += (least <= lines.places[vertex]) & (lines.places[vertex] <= most)
        cell += lines.stretches
    return held
