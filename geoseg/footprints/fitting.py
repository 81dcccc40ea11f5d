"""The walls of arcs as lines, or a circle where that tells an outline better.

An arc between nodes is fitted like a whole outline; a wall that two buildings share takes the direction of that one of
them which gives the cheaper walls. It knows arcs as polylines and the directions of the faces on their sides.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import Coordinates, Integers
from geoseg.footprints.directions import RIGHT, framed
from geoseg.footprints.moments import Floats, direction, integrate, stretch
from geoseg.footprints.walls import ACROSS, ALONG, OTHER, box, find_walls

CIRCLE = 2
"""A circle costs as much as so many walls askew, so that only an outline that is round without doubt becomes one."""


class Walls(NamedTuple):
    """Walls of arcs; those of an arc begin where its vertices do, for there are fewer.

    Attributes
    ----------
    counts : int64, shape (arc,)
        Walls of each arc; 0 where it is a circle, -1 where it was not fitted.
    vertex : int64, shape (vertex,)
        The vertex of the chain at which a wall begins.
    angle : float64, shape (vertex,)
        The direction in which the chain runs along it.
    x, y : float64, shape (vertex,)
        The mean of its points; of a circle the centre.
    length : float64, shape (vertex,)
        Of the outline along it; of a circle the radius.
    """

    counts: Integers
    vertex: Integers
    angle: Floats
    x: Floats
    y: Floats
    length: Floats

    @classmethod
    def empty(cls, arcs: int, vertices: int) -> Walls:
        """No walls yet."""
        values = (np.zeros(vertices) for _ in range(4))
        return cls(np.full(arcs, -1, np.int64), np.zeros(vertices, np.int64), *values)


@njit(cache=True, nogil=True)
def fit(
    walls: Walls,
    chosen: Integers,
    offsets: Integers,
    x: Floats,
    y: Floats,
    is_closed: NDArray[np.bool_],
    faces: Coordinates,
    directions: Floats,
    turns: Floats,
    tolerance: float,
    askew: float,
) -> None:
    """Fit walls to some arcs.

    Parameters
    ----------
    walls : Walls
        Where to write them.
    chosen : int64
        The arcs.
    offsets, x, y
        Chains of the arcs, without stairs.
    is_closed : bool, shape (arc,)
    faces : int32, shape (arc, 2)
        The face on each side; negative where there is none.
    directions : float64, shape (face,)
        Of the faces; NaN where a face has none.
    turns : float64, shape (face,)
        By how much the walls of a face are turned then, each about its own middle.
    tolerance : float
        In the units of x and y.
    askew : float
        As in `find_walls`.
    """
    for arc in chosen:
        here = slice(offsets[arc], offsets[arc + 1])
        own = Walls(
            walls.counts[arc : arc + 1],
            walls.vertex[here],
            walls.angle[here],
            walls.x[here],
            walls.y[here],
            walls.length[here],
        )
        _fit_arc(own, x[here], y[here], is_closed[arc], faces[arc], directions, turns, tolerance, askew)


@njit(cache=True, nogil=True)
def _fit_arc(
    own: Walls,
    x: Floats,
    y: Floats,
    is_closed: bool,
    faces: Coordinates,
    directions: Floats,
    turns: Floats,
    tolerance: float,
    askew: float,
) -> None:
    own.counts[0] = -1
    left, top = x[0], y[0]
    x, y = x - left, y - top
    least_cost = np.inf
    for face in faces:
        if face < 0 or np.isnan(directions[face]):
            continue
        u, v, turn = framed(x, y, directions[face], is_closed)
        cost, first, kind = find_walls(u, v, is_closed, tolerance, askew)
        if is_closed and first.size < 4 and not (first.size == 3 and (kind == OTHER).any()):
            first, kind = box(u, v)  # what is so small is told by fewer walls than enclose it
        if cost < least_cost and first.size:
            least_cost = cost
            _describe(own, u, v, directions[face], first, kind)
            own.angle[: first.size] += turns[face]
            own.vertex[: first.size] = (first + turn) % (x.size - 1)
    if is_closed and least_cost < np.inf:
        _try_circle(own, x, y, least_cost, tolerance, CIRCLE * askew)
    own.x[:], own.y[:] = own.x + left, own.y + top


@njit(cache=True, nogil=True)
def _describe(own: Walls, u: Floats, v: Floats, angle: float, first: Integers, kind: NDArray[np.uint8]) -> None:
    """Lines of walls, from the frame of a direction back to the plane."""
    sums = integrate(u, v)
    cos, sin = math.cos(angle), math.sin(angle)
    own.counts[0] = first.size
    for wall in range(first.size):
        end = first[wall + 1] if wall + 1 < first.size else u.size - 1
        part = stretch(sums, first[wall], end)
        turned = direction(part.xx, part.xy, part.yy)
        if kind[wall] == ALONG:
            turned = 0.0
        elif kind[wall] == ACROSS:
            turned = RIGHT
        forth = (u[end] - u[first[wall]]) * math.cos(turned) + (v[end] - v[first[wall]]) * math.sin(turned)
        own.angle[wall] = angle + turned + (math.pi if forth < 0 else 0.0)
        own.x[wall], own.y[wall] = cos * part.x - sin * part.y, sin * part.x + cos * part.y
        own.length[wall] = part.length


@njit(cache=True, nogil=True)
def _try_circle(own: Walls, x: Floats, y: Floats, cost: float, tolerance: float, circle: float) -> None:
    """Write the circle with the outline's middle and area where that costs less than its walls."""
    area, mx, my = 0.0, 0.0, 0.0
    for vertex in range(x.size - 1):
        cross = x[vertex] * y[vertex + 1] - x[vertex + 1] * y[vertex]
        area += cross / 2
        mx += cross * (x[vertex] + x[vertex + 1]) / 6
        my += cross * (y[vertex] + y[vertex + 1]) / 6
    if area == 0:
        return
    mx, my, radius = mx / area, my / area, math.sqrt(abs(area) / math.pi)
    rest = 0.0
    for vertex in range(x.size - 1):  # Simpson's rule along each edge
        ax, ay, bx, by = x[vertex] - mx, y[vertex] - my, x[vertex + 1] - mx, y[vertex + 1] - my
        at_a, at_b = math.hypot(ax, ay) - radius, math.hypot(bx, by) - radius
        between = math.hypot((ax + bx) / 2, (ay + by) / 2) - radius
        rest += math.hypot(bx - ax, by - ay) * (at_a * at_a + 4 * between * between + at_b * at_b) / 6
    if circle + rest / tolerance**3 < cost:
        own.counts[0] = 0
        own.x[0], own.y[0], own.length[0] = mx, my, radius
        own.angle[0] = math.pi / 2 if area > 0 else -math.pi / 2
