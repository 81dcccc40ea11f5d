"""Buildings that touch, in one direction: their walls on common lines, so that corners where they meet are right too.

Strategy. Faces that share arcs or nodes, and whose directions are nearly the same, are a group with one direction. In
that direction a wall has one coordinate, and so has a node across each of its walls. A wall that is all of an arc gives
both of its nodes the same coordinate: such nodes are on one line, and the line lies where all walls that end there do
in the mean. Lines are found once, before anything is drawn, so what becomes of one face moves no other.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from geoseg.arcs.chains import Coordinates, Integers
from geoseg.footprints.directions import RIGHT
from geoseg.footprints.fitting import Walls
from geoseg.footprints.moments import Floats
from geoseg.footprints.network import NOBODY, Bytes, Flags
from geoseg.footprints.nodes import ANY_WAY, STAY, STILL
from geoseg.footprints.plane import Plane, to_pixels

ALIKE = math.radians(12)
"""Directions in a group differ by no more."""

EXACT = 1e-6
"""Right angles by which a wall of a group's direction may differ from it: rounding."""

FIRM = 1e6
"""Weight of a node that stays, beside the length of a wall, in tolerances."""

NONE, UNKNOWN = -2, -1
"""Groups of a face without a direction, and of a node around which there is no face that has one."""

AROUND = 8
"""Sides of the arcs that meet at a node, at most."""


def group(one: Integers, other: Integers, directions: Floats, lengths: Floats) -> tuple[Integers, Floats]:
    """Group faces that touch and have nearly the same direction.

    Parameters
    ----------
    one, other : int64, shape (pair,)
        Faces that touch.
    directions : float64, shape (face,)
        Their own, from 0 to a right angle; NaN where a face has none.
    lengths : float64, shape (face,)
        Weights of the directions.

    Returns
    -------
    groups : int64, shape (face,)
        The first face of the group of each; `NONE` where it has no direction.
    turns : float64, shape (face,)
        From the direction of a face to that of its group, modulo a right angle, within `ALIKE`.
    """
    gap = np.abs(_turn(directions[one] - directions[other]))
    near = np.flatnonzero(gap <= ALIKE)
    near = near[np.lexsort((other[near], one[near], gap[near]))]
    groups = _united(one[near], other[near], directions)
    own = np.nan_to_num(_turn(directions - directions[groups]))
    weight = np.where(np.isnan(directions), 0.0, lengths)
    total, turned = (np.bincount(groups, values, minlength=len(groups)) for values in (weight, weight * own))
    turns = (turned / np.maximum(total, np.finfo(float).tiny))[groups] - own
    return np.where(np.isnan(directions), NONE, groups), turns


def _turn(angle: Floats) -> Floats:
    """An angle modulo a right one, from minus a half to a half of that."""
    return (angle + RIGHT / 2) % RIGHT - RIGHT / 2


@njit(cache=True, nogil=True)
def _united(one: Integers, other: Integers, directions: Floats) -> Integers:
    """Unite faces, pair by pair, as long as the directions of a group stay together; the first face of each group."""
    root = np.arange(directions.size)
    low, high = np.zeros(directions.size), np.zeros(directions.size)  # from the direction of the root
    for pair in range(one.size):
        a, b = _root(root, one[pair]), _root(root, other[pair])
        a, b = min(a, b), max(a, b)
        turn = (directions[b] - directions[a] + RIGHT / 2) % RIGHT - RIGHT / 2
        least, most = min(low[a], low[b] + turn), max(high[a], high[b] + turn)
        if a != b and most - least <= ALIKE:
            root[b], low[a], high[a] = a, least, most
    for item in range(root.size):
        root[item] = _root(root, item)
    return root


@njit(cache=True, nogil=True)
def _root(root: Integers, item: int) -> int:
    while root[item] != item:
        root[item] = root[root[item]]
        item = root[item]
    return item


@njit(cache=True, nogil=True)
def align(
    walls: Walls,
    is_drawn: Flags,
    nodes: Coordinates,
    faces: Coordinates,
    offsets: Integers,
    groups: Integers,
    directions: Floats,
    x: Floats,
    y: Floats,
    way: Bytes,
    plane: Plane,
    tolerance: float,
    shortest: float,
) -> tuple[Flags, Floats, Floats]:
    """Find common lines of walls, and the places of nodes on them.

    Parameters
    ----------
    walls, is_drawn, nodes, offsets, x, y, way, plane, tolerance
        As in `place_nodes`; walls run in the directions of groups.
    faces : int32, shape (arc, 2)
        The face on each side; negative where there is none.
    groups : int64, shape (face,)
        `NONE` where a face has no direction.
    directions : float64, shape (face,)
        Of the group of each face.
    shortest : float
        In the plane: nodes that a shorter wall joins become one.

    Returns
    -------
    is_aligned : bool, shape (node,)
        Nodes that may move, and around which a face has a group.
    x, y : float64, shape (node,)
        Their places, px.
    """
    group = _groups_of_nodes(walls, is_drawn, nodes, faces, offsets, groups, directions, x.size)
    is_aligned = (group >= 0) & (way == ANY_WAY)
    while _drop_spurs(walls, is_drawn, nodes, offsets, group, is_aligned, directions):
        pass
    root = np.arange(2 * x.size)
    total, weight = np.zeros(2 * x.size), np.zeros(2 * x.size)
    for arc in range(is_drawn.size):
        for end in range(2):
            node, there = nodes[arc, end], nodes[arc, 1 - end]
            if node == NOBODY or not is_drawn[arc] or not is_aligned[node]:
                continue
            wall, frame = offsets[arc] + (walls.counts[arc] - 1) * end, directions[group[node]]
            quarter = _quarter(walls.angle[wall], frame)
            if quarter == NOBODY:
                continue
            axis = 1 - quarter % 2  # the coordinate that is the same along the wall
            item = 2 * node + axis
            total[item] += walls.length[wall] * _across(walls.x[wall], walls.y[wall], frame, axis)
            weight[item] += walls.length[wall]
            if walls.counts[arc] == 1 and is_aligned[there] and group[there] == group[node]:
                _unite(root, item, 2 * there + axis)
            elif walls.counts[arc] == 1 and way[there] == STAY:
                at_x, at_y = plane.a * x[there] + plane.b * y[there], plane.d * x[there] + plane.e * y[there]
                total[item] += FIRM * tolerance * _across(at_x, at_y, frame, axis)
                weight[item] += FIRM * tolerance
    placed_x, placed_y = _placed(is_aligned, group, directions, root, total, weight, x, y, plane, tolerance)
    if shortest > 0:
        is_short = is_drawn & (walls.counts == 1)
        _unite_near(root, np.flatnonzero(is_short), nodes, is_aligned, group, placed_x, placed_y, plane, shortest)
        placed_x, placed_y = _placed(is_aligned, group, directions, root, total, weight, x, y, plane, tolerance)
    return is_aligned, placed_x, placed_y


@njit(cache=True, nogil=True)
def _unite_near(
    root: Integers,
    arcs: Integers,
    nodes: Coordinates,
    is_aligned: Flags,
    group: Integers,
    x: Floats,
    y: Floats,
    plane: Plane,
    shortest: float,
) -> None:
    """Let nodes become one that a wall joins which is too short."""
    for arc in arcs:
        one, other = nodes[arc]
        if one == NOBODY or not (is_aligned[one] and is_aligned[other] and group[one] == group[other]):
            continue
        dx, dy = x[one] - x[other], y[one] - y[other]
        if math.hypot(plane.a * dx + plane.b * dy, plane.d * dx + plane.e * dy) < shortest:
            for axis in range(2):
                _unite(root, 2 * one + axis, 2 * other + axis)


@njit(cache=True, nogil=True)
def _unite(root: Integers, one: int, other: int) -> None:
    one, other = _root(root, one), _root(root, other)
    root[max(one, other)] = min(one, other)


@njit(cache=True, nogil=True)
def _groups_of_nodes(
    walls: Walls,
    is_drawn: Flags,
    nodes: Coordinates,
    faces: Coordinates,
    offsets: Integers,
    groups: Integers,
    directions: Floats,
    count: int,
) -> Integers:
    """The group of the faces around each node; of several groups that one which has the longest walls there."""
    known, length = np.full((count, AROUND), UNKNOWN), np.zeros((count, AROUND))
    for arc in range(nodes.shape[0]):
        if nodes[arc, 0] == NOBODY or not is_drawn[arc]:
            continue
        for end in range(2):
            node, wall = nodes[arc, end], offsets[arc] + (walls.counts[arc] - 1) * end
            for side in range(2):
                face = faces[arc, side]
                if face < 0 or groups[face] == NONE or (side == 1 and groups[face] == groups[faces[arc, 0]]):
                    continue
                place = 0
                while known[node, place] not in (UNKNOWN, groups[face]):
                    place += 1
                known[node, place] = groups[face]
                if _quarter(walls.angle[wall], directions[face]) != NOBODY:
                    length[node, place] += walls.length[wall]
    found = np.full(count, UNKNOWN)
    for node in range(count):
        found[node] = known[node, np.argmax(length[node])]
    return found


@njit(cache=True, nogil=True)
def _quarter(angle: float, frame: float) -> int:
    """By how many right angles a wall is turned from a direction, from 0 to 3; `NOBODY` where it is askew."""
    turned = (angle - frame) / RIGHT
    return NOBODY if abs(turned - round(turned)) > EXACT else round(turned) % 4


@njit(cache=True, nogil=True)
def _drop_spurs(
    walls: Walls,
    is_drawn: Flags,
    nodes: Coordinates,
    offsets: Integers,
    group: Integers,
    is_aligned: Flags,
    directions: Floats,
) -> bool:
    """Drop walls that leave a node the same way as another one: on its line they would lie upon it.

    Of two the longer one is left, or the one that is all of its arc. Return whether any was dropped.
    """
    kept = np.full((is_aligned.size, 4), NOBODY)
    is_any = False
    for half_arc in range(2 * is_drawn.size):
        arc, end = divmod(half_arc, 2)
        node = nodes[arc, end]
        if node == NOBODY or not is_drawn[arc] or not is_aligned[node] or walls.counts[arc] < 1:
            continue
        wall = offsets[arc] + (walls.counts[arc] - 1) * end
        quarter = _quarter(walls.angle[wall], directions[group[node]])
        if quarter == NOBODY:
            continue
        way = (quarter + 2 * end) % 4
        other, kept[node, way] = kept[node, way], half_arc
        if other == NOBODY:
            continue
        lengths = _last_length(walls, offsets, half_arc), _last_length(walls, offsets, other)
        loser = half_arc
        if lengths[1] < lengths[0]:
            loser = other
        else:
            kept[node, way] = other
        if min(lengths) < np.inf:
            _drop(walls, loser // 2, offsets[loser // 2], loser % 2)
            is_any = True
    return is_any


@njit(cache=True, nogil=True)
def _last_length(walls: Walls, offsets: Integers, half_arc: int) -> float:
    """Length of the wall at an end of an arc; without end where it is all of the arc."""
    arc, end = divmod(half_arc, 2)
    return np.inf if walls.counts[arc] == 1 else walls.length[offsets[arc] + (walls.counts[arc] - 1) * end]


@njit(cache=True, nogil=True)
def _drop(walls: Walls, arc: int, offset: int, end: int) -> None:
    """Drop the first or the last wall of an arc."""
    count = walls.counts[arc]
    if end == 0:
        for place in range(offset, offset + count - 1):
            walls.vertex[place], walls.angle[place] = walls.vertex[place + 1], walls.angle[place + 1]
            walls.x[place], walls.y[place] = walls.x[place + 1], walls.y[place + 1]
            walls.length[place] = walls.length[place + 1]
    walls.counts[arc] = count - 1


@njit(cache=True, nogil=True)
def _across(x: float, y: float, angle: float, axis: int) -> float:
    """A coordinate in a direction."""
    cos, sin = math.cos(angle), math.sin(angle)
    return cos * y - sin * x if axis else cos * x + sin * y


@njit(cache=True, nogil=True)
def _placed(
    is_aligned: Flags,
    group: Integers,
    directions: Floats,
    root: Integers,
    total: Floats,
    weight: Floats,
    x: Floats,
    y: Floats,
    plane: Plane,
    tolerance: float,
) -> tuple[Floats, Floats]:
    """Nodes on their lines: the mean of what is said of them, and by a little of where the nodes were, px."""
    total, weight, least = total.copy(), weight.copy(), STILL * tolerance
    for node in range(x.size):
        if not is_aligned[node]:
            continue
        at_x, at_y = plane.a * x[node] + plane.b * y[node], plane.d * x[node] + plane.e * y[node]
        for axis in range(2):
            total[2 * node + axis] += least * _across(at_x, at_y, directions[group[node]], axis)
            weight[2 * node + axis] += least
    for item in range(root.size):
        first = _root(root, item)
        if first != item:
            total[first] += total[item]
            weight[first] += weight[item]
    placed_x, placed_y = x.copy(), y.copy()
    for node in range(x.size):
        if not is_aligned[node]:
            continue
        one, other = _root(root, 2 * node), _root(root, 2 * node + 1)
        u, v = total[one] / weight[one], total[other] / weight[other]
        cos, sin = math.cos(directions[group[node]]), math.sin(directions[group[node]])
        placed_x[node], placed_y[node] = to_pixels(plane, cos * u - sin * v, sin * u + cos * v)
    return placed_x, placed_y
