"""From walls to outlines: each arc from its start to its end, with a corner wherever two walls cross.

The first and the last wall of an arc run through the nodes at its ends. What is not drawn by walls is a polyline that
is given, bent near its ends where the nodes there have moved. Walls are lines in a plane of right angles; what is drawn
is in pixels, so that a polyline that is given stays what it is, bit for bit. It does not know which form of an arc is
wanted.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from geoseg.arcs.chains import Coordinates, Integers
from geoseg.footprints.fitting import Walls
from geoseg.footprints.moments import Floats
from geoseg.footprints.network import NOBODY, Flags
from geoseg.footprints.plane import Plane, to_pixels

BY_WALLS = -1
"""The form of an arc that is drawn by its walls; other forms are numbers of polylines."""

SHALLOW = math.sin(math.radians(10))
"""Walls that cross at a smaller angle meet near the vertex between them, not where their lines cross."""

BEND = 4.0
"""How far from a moved node a polyline is as it was, in tolerances, along it."""

SHORT = 0.25
"""A wall that comes out shorter, in tolerances, is dropped in any case."""

SIDES = 16, 64
"""The fewest and the most sides of a circle, multiples of 4."""


class Polylines(NamedTuple):
    """Polylines one after another, px.

    Attributes
    ----------
    offsets : int64, shape (polyline + 1,)
    x, y : float64, shape (vertex,)
    """

    offsets: Integers
    x: Floats
    y: Floats


@njit(cache=True, nogil=True)
def draw(
    walls: Walls,
    form: Integers,
    nodes: Coordinates,
    chains: Polylines,
    given: Polylines,
    shift: Floats,
    is_bent: Flags,
    node_x: Floats,
    node_y: Floats,
    plane: Plane,
    tolerance: float,
    shortest: float,
) -> Polylines:
    """Draw every arc from its start to its end.

    Parameters
    ----------
    walls, nodes, shift, plane, tolerance
        As in `place_nodes`.
    form : int64, shape (arc,)
        `BY_WALLS`, or the number of a polyline of ``given``.
    chains : Polylines
        What the walls were fitted to.
    given : Polylines
        What arcs may be instead.
    is_bent : bool, shape (arc,)
        Where walls that end at a node keep their places and not their directions.
    node_x, node_y : float64, shape (node,)
        Where nodes are now, px.
    shortest : float
        In the plane: walls that come out shorter are dropped, as far as an arc has others.
    """
    offsets = np.zeros(form.size + 1, np.int64)
    for arc in range(form.size):
        most = max(walls.counts[arc], SIDES[1]) + 1
        if form[arc] != BY_WALLS:
            most = given.offsets[form[arc] + 1] - given.offsets[form[arc]] + 2
        offsets[arc + 1] = offsets[arc] + most
    x, y = np.empty(offsets[-1]), np.empty(offsets[-1])
    count = 0
    for arc in range(form.size):
        is_open = nodes[arc, 0] != NOBODY
        ends = np.empty((2, 2))
        for end in range(2 if is_open else 0):
            ends[end, 0], ends[end, 1] = node_x[nodes[arc, end]], node_y[nodes[arc, end]]
        if form[arc] == BY_WALLS:
            here = slice(chains.offsets[arc], chains.offsets[arc + 1])
            size = _draw_walls(
                x[count:], y[count:], _own(walls, arc, here), chains.x[here], chains.y[here], shift[arc], is_bent[arc],
                is_open, ends, plane, tolerance, max(SHORT * tolerance, shortest),
            )  # fmt: skip
        else:
            here = slice(given.offsets[form[arc]], given.offsets[form[arc] + 1])
            size = _draw_given(x[count:], y[count:], given.x[here], given.y[here], is_open, ends, plane, tolerance)
        offsets[arc] = count
        count += size
    offsets[form.size] = count
    return Polylines(offsets, x[:count].copy(), y[:count].copy())


@njit(cache=True, nogil=True)
def _own(walls: Walls, arc: int, here: slice) -> Walls:
    """The walls of one arc."""
    count = walls.counts[arc : arc + 1]
    return Walls(count, walls.vertex[here], walls.angle[here], walls.x[here], walls.y[here], walls.length[here])


@njit(cache=True, nogil=True)
def _draw_walls(
    x: Floats,
    y: Floats,
    own: Walls,
    chain_x: Floats,
    chain_y: Floats,
    shift: float,
    is_bent: bool,
    is_open: bool,
    ends: Floats,
    plane: Plane,
    tolerance: float,
    shortest: float,
) -> int:
    """The corners of an arc's walls, and its nodes; return how many vertices these are."""
    count = int(own.counts[0])
    if count == 0:
        return _draw_circle(x, y, own, plane, tolerance)
    angle, length = own.angle[:count].copy(), own.length[:count].copy()
    px, py = own.x[:count] - shift * np.sin(angle), own.y[:count] + shift * np.cos(angle)
    at_x = plane.a * chain_x[own.vertex[:count]] + plane.b * chain_y[own.vertex[:count]]
    at_y = plane.d * chain_x[own.vertex[:count]] + plane.e * chain_y[own.vertex[:count]]
    end_x, end_y = plane.a * ends[:, 0] + plane.b * ends[:, 1], plane.d * ends[:, 0] + plane.e * ends[:, 1]
    while True:
        if is_open:
            x[0], y[0], x[count], y[count] = end_x[0], end_y[0], end_x[1], end_y[1]
            if not is_bent:
                px[0], py[0], px[count - 1], py[count - 1] = end_x[0], end_y[0], end_x[1], end_y[1]
        for wall in range(1 if is_open else 0, count):
            before = (wall if wall else count) - 1
            x[wall], y[wall] = _corner(
                px[before], py[before], angle[before], px[wall], py[wall], angle[wall], at_x[wall], at_y[wall]
            )
        if not is_open:
            x[count], y[count] = x[0], y[0]
        forth = np.diff(x[: count + 1]) * np.cos(angle[:count]) + np.diff(y[: count + 1]) * np.sin(angle[:count])
        least = int(np.argmin(forth))
        if forth[least] >= shortest or count <= (1 if is_open else 4):
            break
        count = _drop(least, count, is_open, (px, py, angle, length, at_x, at_y))
    for vertex in range(count + 1):
        x[vertex], y[vertex] = to_pixels(plane, x[vertex], y[vertex])
    if is_open:
        x[0], y[0], x[count], y[count] = ends[0, 0], ends[0, 1], ends[1, 0], ends[1, 1]
    return count + 1


@njit(cache=True, nogil=True)
def _drop(wall: int, count: int, is_open: bool, walls: tuple[Floats, Floats, Floats, Floats, Floats, Floats]) -> int:
    """Drop a wall that came out too short, or runs back; return how many are left.

    Those before and after it become one where they run the same way.
    """
    px, py, angle, length, _, _ = walls
    before, after = (wall if wall else count) - 1, (wall + 1) % count
    is_inner = not is_open or 0 < wall < count - 1
    gone = 1
    if is_inner and abs(math.sin(angle[before] - angle[after])) < SHALLOW:
        share = length[after] / (length[before] + length[after])
        px[before] += share * (px[after] - px[before])
        py[before] += share * (py[after] - py[before])
        length[before] += length[after]
        gone = 2
    for values in walls:
        left = values[before]
        for place in range(wall, count - gone):
            values[place] = values[place + gone]
        if gone == 2 and after < wall:  # the last wall is dropped, and the first one with it
            values[: count - 2] = values[1 : count - 1].copy()
            values[count - 3] = left
    return count - gone


@njit(cache=True, nogil=True)
def _corner(
    ax: float, ay: float, alpha: float, bx: float, by: float, beta: float, x: float, y: float
) -> tuple[float, float]:
    """Where two lines cross; where they hardly do, the mean of their points nearest to a place."""
    ux, uy, vx, vy = math.cos(alpha), math.sin(alpha), math.cos(beta), math.sin(beta)
    sine = ux * vy - uy * vx
    if abs(sine) >= SHALLOW:
        along = ((bx - ax) * vy - (by - ay) * vx) / sine
        return ax + along * ux, ay + along * uy
    s, t = (x - ax) * ux + (y - ay) * uy, (x - bx) * vx + (y - by) * vy
    return (ax + s * ux + bx + t * vx) / 2, (ay + s * uy + by + t * vy) / 2


@njit(cache=True, nogil=True)
def _draw_circle(x: Floats, y: Floats, own: Walls, plane: Plane, tolerance: float) -> int:
    """A regular polygon with a circle's area, whose sides stray from it by a quarter of the tolerance at most."""
    radius = own.length[0]
    half = math.acos(max(1 - tolerance / 4 / radius, 0.0))  # of the angle that a side spans
    sides = 4 * math.ceil(min(max(math.pi / half, SIDES[0]), SIDES[1]) / 4)
    radius *= math.sqrt(math.pi / (sides / 2 * math.sin(2 * math.pi / sides)))
    forth = 1 if own.angle[0] > 0 else -1
    for side in range(sides):
        angle = forth * 2 * math.pi * side / sides
        x[side], y[side] = to_pixels(plane, own.x[0] + radius * math.cos(angle), own.y[0] + radius * math.sin(angle))
    x[sides], y[sides] = x[0], y[0]
    return sides + 1


@njit(cache=True, nogil=True)
def _draw_given(
    x: Floats,
    y: Floats,
    given_x: Floats,
    given_y: Floats,
    is_open: bool,
    ends: Floats,
    plane: Plane,
    tolerance: float,
) -> int:
    """A polyline that leads to where its nodes are now; return how many vertices it has."""
    last = given_x.size - 1
    along = np.zeros(last + 1)
    for vertex in range(last):
        dx, dy = given_x[vertex + 1] - given_x[vertex], given_y[vertex + 1] - given_y[vertex]
        along[vertex + 1] = along[vertex] + math.hypot(plane.a * dx + plane.b * dy, plane.d * dx + plane.e * dy)
    is_moved = np.zeros(2, np.bool_)
    for end in range(2 if is_open else 0):
        is_moved[end] = given_x[last * end] != ends[end, 0] or given_y[last * end] != ends[end, 1]
    # What is too short to be bent keeps all its vertices but the moved ones.
    reach = BEND * tolerance if along[last] > 2 * BEND * tolerance else 0.0
    begin, end = reach if is_moved[0] else 0.0, along[last] - (reach if is_moved[1] else 0.0)
    count = 0
    if is_moved[0]:
        x[0], y[0], count = ends[0, 0], ends[0, 1], 1
    for vertex in range(last + 1):
        is_replaced = (vertex == 0 and is_moved[0]) or (vertex == last and is_moved[1])
        if begin <= along[vertex] <= end and not is_replaced:
            x[count], y[count] = given_x[vertex], given_y[vertex]
            count += 1
        for place in (begin, end):
            if vertex < last and along[vertex] < place < along[vertex + 1]:
                share = (place - along[vertex]) / (along[vertex + 1] - along[vertex])
                x[count] = given_x[vertex] + share * (given_x[vertex + 1] - given_x[vertex])
                y[count] = given_y[vertex] + share * (given_y[vertex + 1] - given_y[vertex])
                count += 1
    if is_moved[1]:
        x[count], y[count] = ends[1, 0], ends[1, 1]
        count += 1
    return count
