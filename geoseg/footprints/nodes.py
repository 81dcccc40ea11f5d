"""Where nodes come to lie: where the last walls of their arcs meet as nearly as they can.

These walls are then drawn through the node, so faces still meet in one point, and both sides of a wall are one line. It
knows lines that end at nodes; not which faces they bound.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from geoseg.arcs.chains import Coordinates, Integers
from geoseg.footprints.fitting import Walls
from geoseg.footprints.moments import Floats
from geoseg.footprints.network import NOBODY, Bytes, Flags
from geoseg.footprints.plane import Plane, to_pixels

STAY, ANY_WAY, BY_ROW, BY_COLUMN = range(4)
"""How a node may move."""

FARTHEST = 3.0
"""How far a node moves at most, in tolerances."""

NEAREST = 0.4
"""How far it does in shares of the shortest arc that ends there, so that nodes do not pass one another."""

LONG = 20.0
"""A wall longer than that, in tolerances, says no more of where a node lies."""

STILL = 0.01
"""Weight of where a node was, beside that of its walls: it does not slide along walls that all run one way."""


@njit(cache=True, nogil=True)
def place_nodes(
    walls: Walls,
    is_drawn: Flags,
    nodes: Coordinates,
    offsets: Integers,
    length: Floats,
    shift: Floats,
    x: Floats,
    y: Floats,
    way: Bytes,
    plane: Plane,
    tolerance: float,
) -> tuple[Floats, Floats]:
    """Where nodes come to lie: least squares of the distances from the walls that end there, weighted by their lengths.

    Parameters
    ----------
    walls : Walls
    is_drawn : bool, shape (arc,)
        Only arcs that are drawn by walls say where a node lies.
    nodes : int32, shape (arc, 2)
        The nodes at the start and the end of each arc.
    offsets : int64, shape (arc + 1,)
        Where the walls of each arc begin.
    length : float64, shape (arc,)
        Of the arcs, in the plane.
    shift : float64, shape (arc,)
        How far the walls of an arc are moved to their left, in the plane.
    x, y : float64, shape (node,)
        Where the nodes are, px.
    way : uint8, shape (node,)
        `STAY`, `ANY_WAY`, or `BY_ROW` and `BY_COLUMN` alone.
    plane : Plane
    tolerance : float
        In the plane.

    Returns
    -------
    x, y : float64, shape (node,)
        px.
    """
    xx, xy, yy, bx, by, weight, room = _equations(
        walls, is_drawn, nodes, offsets, length, shift, x, y, plane, tolerance
    )
    placed_x, placed_y = x.copy(), y.copy()
    for node in range(x.size):
        if way[node] == STAY or weight[node] == 0:
            continue
        p, q, r = xx[node] + STILL * weight[node], xy[node], yy[node] + STILL * weight[node]
        if way[node] == ANY_WAY:
            determinant = p * r - q * q
            dx, dy = (r * bx[node] - q * by[node]) / determinant, (p * by[node] - q * bx[node]) / determinant
        else:
            ux, uy = (plane.b, plane.e) if way[node] == BY_ROW else (plane.a, plane.d)
            along = (ux * bx[node] + uy * by[node]) / (ux * ux * p + 2 * ux * uy * q + uy * uy * r)
            dx, dy = along * ux, along * uy
        part = min(1.0, room[node] / max(math.hypot(dx, dy), 1e-12 * room[node]))
        step_x, step_y = to_pixels(plane, part * dx, part * dy)
        if way[node] != BY_ROW:
            placed_x[node] = x[node] + step_x
        if way[node] != BY_COLUMN:
            placed_y[node] = y[node] + step_y
    return placed_x, placed_y


@njit(cache=True, nogil=True)
def _equations(
    walls: Walls,
    is_drawn: Flags,
    nodes: Coordinates,
    offsets: Integers,
    length: Floats,
    shift: Floats,
    x: Floats,
    y: Floats,
    plane: Plane,
    tolerance: float,
) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats, Floats]:
    """The normal equations of nodes, in steps from where they are; the weights of walls, and how far nodes may go."""
    xx, xy, yy = np.zeros(x.size), np.zeros(x.size), np.zeros(x.size)
    bx, by, weight, room = np.zeros(x.size), np.zeros(x.size), np.zeros(x.size), np.full(x.size, FARTHEST * tolerance)
    for arc in range(is_drawn.size):
        if nodes[arc, 0] == NOBODY:
            continue
        for end in range(2):
            node, wall = nodes[arc, end], offsets[arc] + (walls.counts[arc] - 1) * end
            room[node] = min(room[node], NEAREST * length[arc])
            if not is_drawn[arc]:
                continue
            nx, ny = -math.sin(walls.angle[wall]), math.cos(walls.angle[wall])
            from_x = walls.x[wall] - plane.a * x[node] - plane.b * y[node]
            from_y = walls.y[wall] - plane.d * x[node] - plane.e * y[node]
            away = from_x * nx + from_y * ny + shift[arc]
            w = min(walls.length[wall], LONG * tolerance)
            xx[node] += w * nx * nx
            xy[node] += w * nx * ny
            yy[node] += w * ny * ny
            bx[node] += w * nx * away
            by[node] += w * ny * away
            weight[node] += w
    return xx, xy, yy, bx, by, weight, room
