"""Smoothing of simplified arcs: corners become curves, such that faces still share their borders and no two cross.

Strategy. Where Chaikin's corner cutting ends (G. M. Chaikin, "An algorithm for high speed curve generation", Computer
Graphics and Image Processing 3, 1974) is known: a quadratic B-spline (R. F. Riesenfeld, "On Chaikin's algorithm",
ibid. 4, 1975), that is one parabola a corner, from its place on the edge before to its place on the edge after, and
tangent to both. So it is drawn at once, by two chords in a gentle corner and four in a sharp one. Both places are at
most half an edge away, and so near that the curve stays within the tolerance of simplification of the corner::

          corner         The curve lies in the triangle of corner, first and last place. Where the triangle, closed,
          .'^'.          holds no other vertex of the map, no edge of the map comes into it: it would have to come in
        .'     '.        and leave by the third side, which a straight edge cannot. By the same argument two triangles
      .' _---_ '.        do not meet. So no two curves do. Where it holds one, the curve is drawn half as large, and
    first       last     if that does not help often enough, the corner stays.

Like simplification, this looks at the *original* vertices of the map only, within three times the tolerance of the arc,
so it depends neither on other arcs nor on blocks. Curves lie inside of corners, so what is convex becomes smaller.
Therefore curves of one arc that turn left and those that turn right are balanced: what an arc takes from one side and
gives to the other is at most `AREA_SHARE` of what lies between the simplified arc and its chord, so that an island
keeps its area up to that share. Curves are places in 1 / `UNIT` of an edge: their coordinates are exact, and the same
wherever the arc lies.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import Chains, Coordinates, Corners, Floats, Integers
from geoseg.arcs.guard import Guard, LatticeVertices, VertexIndex
from geoseg.arcs.metric import ROUNDING, Gram, Metric, inner

UNIT = 1024
"""Parts of an edge, in which is said how far a curve goes."""

AREA_SHARE = 0.05
"""How much of the area between an arc and its chord may change sides."""

FLATNESS = 1 / 16
"""Corners that a curve would leave by less than this share of the tolerance stay."""

TRIES = 4
"""How often a curve is halved before its corner stays."""

GENTLE = math.cos(math.radians(45)) - ROUNDING
"""Cosine of the turn up to which two chords make a curve."""

BEFORE, AFTER, CHORDS = range(3)
"""Columns of `Chains.corners`."""


def round_corners(
    raw: Chains,
    simple: Chains,
    chosen: NDArray[np.bool_],
    is_closed: NDArray[np.bool_],
    index: VertexIndex,
    metric: Metric,
    tolerance: float,
) -> Chains:
    """Say how the corners of arcs are rounded; arcs that are not chosen stay as they are.

    Parameters
    ----------
    raw : Chains
        Arcs before simplification.
    simple : Chains
        The same arcs simplified, with some of the vertices of each.
    chosen : bool, shape (arc,)
        Which to round.
    is_closed : bool, shape (arc,)
        Those that meet no other arc, so that their first vertex is a corner like others.
    index : VertexIndex
        The map's original vertices: those of the chosen arcs, and all within three times the tolerance of them.
    metric : Metric
        The raster's.
    tolerance : float
        CRS units. No point of the simplified arc is farther from the curve, and none of the curve from the arc.

    Returns
    -------
    Chains
        The simplified arcs, with `Chains.corners`.
    """
    corners = simple.corners if len(simple.corners) else np.zeros((len(simple.x), 3), np.uint16)
    numbers = np.flatnonzero(chosen)
    if numbers.size:
        guard = index.guard(metric, tolerance)
        _round_all(
            guard, tolerance, raw.offsets, raw.x, raw.y, simple.offsets, simple.x, simple.y, numbers, is_closed, corners
        )
    return replace(simple, corners=corners)


@njit(cache=True, nogil=True)
def _round_all(
    guard: Guard,
    tolerance: float,
    raw_offsets: Integers,
    raw_x: Coordinates,
    raw_y: Coordinates,
    offsets: Integers,
    x: Coordinates,
    y: Coordinates,
    chosen: Integers,
    is_closed: NDArray[np.bool_],
    corners: Corners,
) -> None:
    for chain in chosen:
        here, there = slice(offsets[chain], offsets[chain + 1]), slice(raw_offsets[chain], raw_offsets[chain + 1])
        if x[here].size > 2:
            _round_chain(
                guard, tolerance, raw_x[there], raw_y[there], x[here], y[here], is_closed[chain], corners[here]
            )


@njit(cache=True, nogil=True)
def _round_chain(
    guard: Guard,
    tolerance: float,
    raw_x: Coordinates,
    raw_y: Coordinates,
    x: Coordinates,
    y: Coordinates,
    is_closed: bool,
    corners: Corners,
) -> None:
    """Round each corner as far as it may, and then balance left and right."""
    place = _places(raw_x, raw_y, x, y)
    last = x.size - 1
    left = right = 0.0
    for vertex in range(0 if is_closed else 1, last):
        before = last - 1 if vertex == 0 else vertex - 1
        ux, uy = float(x[before] - x[vertex]), float(y[before] - y[vertex])
        vx, vy = float(x[vertex + 1] - x[vertex]), float(y[vertex + 1] - y[vertex])
        length, chords = _reach(guard.gram, tolerance, ux, uy, vx, vy)
        for _ in range(TRIES):
            corners[vertex, BEFORE] = UNIT * length / math.sqrt(inner(guard.gram, ux, uy, ux, uy))
            corners[vertex, AFTER] = UNIT * length / math.sqrt(inner(guard.gram, vx, vy, vx, vy))
            if corners[vertex, BEFORE] == 0 or corners[vertex, AFTER] == 0:
                break
            begin, middle, end = place[before], place[vertex], place[vertex + 1]
            if _is_clear(guard.rows, raw_x, raw_y, begin, middle, end, corners[vertex], ux, uy, vx, vy):
                corners[vertex, CHORDS] = chords
                break
            length /= 2
        if corners[vertex, CHORDS] == 0:
            corners[vertex] = 0
        area = _cut_off(corners[vertex], ux, uy, vx, vy)
        left, right = left + max(area, 0.0), right + max(-area, 0.0)
    _balance(x, y, left, right, corners)


@njit(cache=True, nogil=True)
def _places(raw_x: Coordinates, raw_y: Coordinates, x: Coordinates, y: Coordinates) -> Integers:
    """Find the vertices of a simplified chain among those that it had."""
    place = np.empty(x.size, np.int64)
    raw = 0
    for vertex in range(x.size):
        while raw_x[raw] != x[vertex] or raw_y[raw] != y[vertex]:
            raw += 1
        place[vertex] = raw
        raw += 1
    return place


@njit(cache=True, nogil=True)
def _reach(gram: Gram, tolerance: float, ux: float, uy: float, vx: float, vy: float) -> tuple[float, int]:
    """How far from a corner its curve may begin, CRS units, and how many chords draw it; 0 where it turns little.

    ``u`` and ``v`` lead to the vertices before and after. Of a curve that begins and ends at the distance c, the point
    nearest to the corner is ``c |u / |u| + v / |v|| / 4`` away.
    """
    before = float(math.sqrt(inner(gram, ux, uy, ux, uy)))
    after = float(math.sqrt(inner(gram, vx, vy, vx, vy)))
    cosine = float(-inner(gram, ux, uy, vx, vy) / (before * after))
    lift = math.sqrt(max(0.0, 2 - 2 * cosine)) / 4
    length = min(before, after) / 2
    if lift * length < FLATNESS * tolerance:
        return 0.0, 0
    return min(length, tolerance / lift), 2 if cosine >= GENTLE else 4


@njit(cache=True, nogil=True)
def _cut_off(corner: NDArray[np.uint16], ux: float, uy: float, vx: float, vy: float) -> float:
    """Area between a corner and the chords of its curve, squared px; positive where ``v`` turns left of ``u`` on a map.

    A parabola leaves a third of the triangle; n chords add a share of ``1 / n ** 2`` of the rest.
    """
    chords = float(corner[CHORDS])
    if chords == 0:
        return 0.0
    triangle = float(corner[BEFORE]) * float(corner[AFTER]) / UNIT**2 * (ux * vy - uy * vx) / 2
    return triangle * (1 + 2 / (chords * chords)) / 3


@njit(cache=True, nogil=True)
def _balance(x: Coordinates, y: Coordinates, left: float, right: float, corners: Corners) -> None:
    """Make the curves of that side smaller which takes more than the other, and more than it may."""
    twice, last = np.int64(0), x.size - 1
    for vertex in range(1, last):
        twice += np.int64(x[vertex] - x[0]) * (y[vertex + 1] - y[0])
        twice -= np.int64(y[vertex] - y[0]) * (x[vertex + 1] - x[0])
    allowed = AREA_SHARE * abs(twice) / 2
    if abs(left - right) <= allowed:
        return
    scale = math.sqrt((min(left, right) + allowed) / max(left, right))
    for vertex in range(last):
        before = last - 1 if vertex == 0 else vertex - 1
        ux, uy = float(x[before] - x[vertex]), float(y[before] - y[vertex])
        vx, vy = float(x[vertex + 1] - x[vertex]), float(y[vertex + 1] - y[vertex])
        area = _cut_off(corners[vertex], ux, uy, vx, vy)
        if (area > 0) == (left > right) and area != 0:
            corners[vertex, BEFORE] = scale * corners[vertex, BEFORE]
            corners[vertex, AFTER] = scale * corners[vertex, AFTER]
            if corners[vertex, BEFORE] == 0 or corners[vertex, AFTER] == 0:
                corners[vertex] = 0


@njit(cache=True, nogil=True)
def _is_clear(
    rows: LatticeVertices,
    x: Coordinates,
    y: Coordinates,
    begin: int,
    middle: int,
    end: int,
    corner: NDArray[np.uint16],
    ux: float,
    uy: float,
    vx: float,
    vy: float,
) -> bool:
    """Whether the triangle of a curve holds no vertex of the map but those of the arc's two pieces, which are gone.

    Both are counted by one test. In a closed chain the piece before its first vertex is that at its end.
    """
    before, after = corner[BEFORE] / UNIT, corner[AFTER] / UNIT
    ax, ay, bx, by = before * ux, before * uy, after * vx, after * vy
    own = 0
    for vertex in range(begin, x.size - 1 if middle == 0 else middle):
        own += _holds(ax, ay, bx, by, x[vertex] - x[middle], y[vertex] - y[middle])
    for vertex in range(middle, end + 1):
        own += _holds(ax, ay, bx, by, x[vertex] - x[middle], y[vertex] - y[middle])
    found = 0
    for row in range(math.ceil(min(ay, by, 0.0)), math.floor(max(ay, by, 0.0)) + 1):
        low, high = _interval(ax, ay, bx, by, row)
        line = (row + y[middle] - rows.first) * rows.stretches
        first = rows.starts[line + ((low + x[middle] - rows.base) >> rows.bits)]
        stop = rows.starts[line + ((high + x[middle] - rows.base) >> rows.bits) + 1]
        for vertex in range(first, stop):
            found += (low + x[middle] <= rows.places[vertex]) & (rows.places[vertex] <= high + x[middle])
    return found == own


@njit(cache=True, nogil=True)
def _holds(ax: float, ay: float, bx: float, by: float, x: int, y: int) -> bool:
    """Whether the triangle of the origin, a and b holds a point."""
    if y < min(ay, by, 0.0) or max(ay, by, 0.0) < y:
        return False
    low, high = _interval(ax, ay, bx, by, y)
    return low <= x <= high


@njit(cache=True, nogil=True)
def _interval(ax: float, ay: float, bx: float, by: float, row: int) -> tuple[int, int]:
    """The least and the largest column of the triangle of the origin, a and b on a row that it meets, rounded inwards.

    Rounding errors must not let a vertex on a side escape.
    """
    low, high = math.inf, -math.inf
    for px, py, qx, qy in ((0.0, 0.0, ax, ay), (0.0, 0.0, bx, by), (ax, ay, bx, by)):
        if min(py, qy) <= row <= max(py, qy):
            one = px + (row - py) * (qx - px) / (qy - py) if py != qy else px
            other = one if py != qy else qx
            low, high = min(low, one, other), max(high, one, other)
    return math.ceil(low - ROUNDING), math.floor(high + ROUNDING)


def draw_curves(
    chains: Chains, is_closed: NDArray[np.bool_], wanted: NDArray[np.bool_]
) -> tuple[Integers, Floats, Floats]:
    """Draw the curves of rounded corners.

    Parameters
    ----------
    chains : Chains
        Arcs with corners.
    is_closed : bool, shape (arc,)
        As of `round_corners`.
    wanted : bool, shape (arc,)
        Which to draw; others get no vertices.

    Returns
    -------
    offsets : int64, shape (arc + 1,)
        Where each arc begins, and the end.
    x, y : float64, shape (vertex,)
        Pixels. First and last vertices of arcs that are not closed are what they were.
    """
    corners = chains.corners
    size = int(np.repeat(wanted, np.diff(chains.offsets)) @ (1 + corners[:, CHORDS].astype(np.int64)))
    return _draw_all(chains.offsets, chains.x, chains.y, corners, is_closed, wanted, size + len(chains))


@njit(cache=True, nogil=True)
def _draw_all(
    offsets: Integers,
    x: Coordinates,
    y: Coordinates,
    corners: Corners,
    is_closed: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    size: int,
) -> tuple[Integers, Floats, Floats]:
    begins, curve = np.empty(offsets.size, np.int64), np.empty((2, size), np.float64)
    count = 0
    for chain in range(offsets.size - 1):
        begins[chain] = count
        if wanted[chain]:
            here = slice(offsets[chain], offsets[chain + 1])
            count = _draw(x[here], y[here], corners[here], is_closed[chain], curve, count)
    begins[-1] = count
    return begins, curve[0, :count].copy(), curve[1, :count].copy()


@njit(cache=True, nogil=True)
def _draw(x: Coordinates, y: Coordinates, corners: Corners, is_closed: bool, curve: Floats, count: int) -> int:
    """Draw a chain; a closed one whose first corner is rounded begins and ends behind that corner."""
    begin, last = count, x.size - 1
    is_round = is_closed and corners[0, CHORDS] > 0
    share = corners[0, AFTER] / UNIT if is_round else 0.0
    curve[0, count], curve[1, count] = x[0] + share * (x[1] - x[0]), y[0] + share * (y[1] - y[0])
    count += 1
    for vertex in range(1, last):
        count = _draw_corner(x, y, corners, vertex - 1, vertex, vertex + 1, curve, count)
    if is_round:
        return _draw_corner(x, y, corners, last - 1, 0, 1, curve, count)
    curve[:, count] = x[last], y[last]
    return count + 1 if begin < count else count


@njit(cache=True, nogil=True)
def _draw_corner(
    x: Coordinates, y: Coordinates, corners: Corners, before: int, vertex: int, after: int, curve: Floats, count: int
) -> int:
    """Append a corner or its curve, whose first point is the last one of the curve before where they meet."""
    chords = corners[vertex, CHORDS]
    ux, uy = (
        (x[before] - x[vertex]) * (corners[vertex, BEFORE] / UNIT),
        (y[before] - y[vertex]) * (corners[vertex, BEFORE] / UNIT),
    )
    vx, vy = (
        (x[after] - x[vertex]) * (corners[vertex, AFTER] / UNIT),
        (y[after] - y[vertex]) * (corners[vertex, AFTER] / UNIT),
    )
    meets = corners[before, AFTER] + corners[vertex, BEFORE] == UNIT
    for step in range(1 if chords == 0 or meets else 0, chords + 1):
        along = step / chords
        back = 1 - along
        curve[0, count] = x[vertex] + back * back * ux + along * along * vx
        curve[1, count] = y[vertex] + back * back * uy + along * along * vy
        count += 1
    if chords == 0:
        curve[0, count], curve[1, count] = x[vertex], y[vertex]
        count += 1
    return count
