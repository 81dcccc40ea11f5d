"""Polygons as rings of pixel corners: chained from arcs, canonical, without a Python object per vertex.

A canonical polygon is the same array of bits however it came to be: each ring starts at its smallest (y, x), exteriors
run counter-clockwise as seen on a screen (rows downwards) and holes clockwise, and holes are sorted by their start.
It knows arcs and nodes; it does not know labels, blocks or the earth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import Coordinates, Floats, Integers, gather, offsets_of
from geoseg.arcs.smoothing import draw_curves
from geoseg.arcs.tracing import CROSSING, Arcs, Nodes

Filling = Callable[[Floats, "Coordinates | Floats"], NDArray[np.bool_]]
"""Says of holes of some areas, squared px, that start at some places, shape (hole, 2), whether they are filled."""


@dataclass(frozen=True)
class Rings:
    """Polygons as ragged arrays.

    Attributes
    ----------
    xy : int32, shape (vertex, 2)
        Column and row of pixel corners; the last vertex of a ring repeats its first. Smoothed polygons, and those that
        were cut elsewhere, have float64.
    rings : int64, shape (ring + 1,)
        Where each ring begins in ``xy``, and the end.
    polygons : int64, shape (polygon + 1,)
        Where each polygon begins in ``rings``, and the end; the first ring of a polygon is its exterior.
    """

    xy: Coordinates | NDArray[np.float64]
    rings: Integers
    polygons: Integers

    def __len__(self) -> int:
        """Count the polygons."""
        return len(self.polygons) - 1

    @classmethod
    def empty(cls) -> Rings:
        """No polygons."""
        return cls(np.empty((0, 2), np.int32), np.zeros(1, np.int64), np.zeros(1, np.int64))

    @classmethod
    def concatenate(cls, parts: Sequence[Rings]) -> Rings:
        """Put polygons one after another."""
        parts = [cls.empty(), *parts]
        return cls(
            np.concatenate([part.xy for part in parts]),
            offsets_of(np.concatenate([np.diff(part.rings) for part in parts])),
            offsets_of(np.concatenate([np.diff(part.polygons) for part in parts])),
        )

    def to_polygons(self, xy: NDArray[np.float64] | None = None) -> NDArray[np.object_]:
        """Make shapely polygons, in pixel coordinates or of other coordinates for the same vertices."""
        if len(self) == 0:
            return np.empty(0, object)
        polygons: NDArray[np.object_] = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, self.xy.astype(np.float64) if xy is None else xy, (self.rings, self.polygons)
        )
        return polygons

    def take(self, index: Integers) -> Rings:
        """Return some of the polygons."""
        ring, polygons = gather(self.polygons, index)
        vertex, rings = gather(self.rings, ring)
        return Rings(self.xy[vertex], rings, polygons)


def reverse(rings: Rings) -> Rings:
    """Run through every ring the other way, from the same start."""
    ring = np.repeat(np.arange(len(rings.rings) - 1), np.diff(rings.rings))
    mirrored = rings.rings[ring] + rings.rings[ring + 1] - 1 - np.arange(len(rings.xy))
    return Rings(rings.xy[mirrored], rings.rings, rings.polygons)


@dataclass(frozen=True)
class Fillable:
    """Holes that may be filled.

    Attributes
    ----------
    void : bool, shape (part + 1,)
        Parts that are void and border one face only; False at the end, for parts that are gone.
    fills : Filling
        Which of the holes that they are go.
    """

    void: NDArray[np.bool_]
    fills: Filling


def chain_rings(arcs: Arcs, nodes: Nodes, unit: Coordinates, count: int, holes: Fillable | None = None) -> Rings:
    """Chain arcs to the polygons of some units.

    Parameters
    ----------
    arcs, nodes : Arcs, Nodes
        All arcs of the wanted units, complete.
    unit : int32, shape (part + 1,)
        The polygon that each part belongs to; -1 for parts that are not wanted, and at the end, where parts that are
        void or gone find theirs.
    count : int
        Number of polygons.
    holes : Fillable, optional
        Which holes are filled; none unless given.

    Returns
    -------
    Rings
        One polygon for each unit, canonical.
    """
    left, right = _units_of(arcs.left, unit), _units_of(arcs.right, unit)
    half_edges = _without_inner(nodes.half_edges, (left == right) & (left >= 0))
    around = _around_units(nodes, unit)
    ends = np.stack([arcs.start, arcs.end, arcs.start_direction, arcs.end_direction])
    members, rings, owner = _walk_all(ends, left, right, half_edges, around)
    xy, offsets, area = _gather_rings(members, rings, *_lines(arcs, (left >= 0) | (right >= 0)))
    start = xy[offsets[:-1]]
    order = np.lexsort((start[:, 0], start[:, 1], area > 0, owner))
    if holes is not None:
        is_filled = _is_beside(holes.void, arcs, members, rings) & (area > 0) & holes.fills(area / 2, start)
        order = order[~is_filled[order]]
    polygons = offsets_of(np.bincount(owner[order], minlength=count))
    vertex, offsets = gather(offsets, order)
    return Rings(xy[vertex], offsets, polygons)


def _is_beside(flags: NDArray[np.bool_], arcs: Arcs, members: Coordinates, rings: Integers) -> NDArray[np.bool_]:
    """Which rings have only parts with a flag on their other side."""
    if len(rings) == 1:
        return np.zeros(0, bool)
    other = np.where(members & 1, arcs.left[members >> 1], arcs.right[members >> 1])
    found: NDArray[np.bool_] = np.logical_and.reduceat(flags[np.maximum(other, -1)], rings[:-1])
    return found


def _lines(arcs: Arcs, wanted: NDArray[np.bool_]) -> tuple[Integers, Coordinates | Floats, Coordinates | Floats]:
    """Vertices of arcs, and those of their curves where there are any."""
    chains = arcs.chains
    if len(chains.corners):
        return draw_curves(chains, arcs.start < 0, wanted)
    return chains.offsets, chains.x, chains.y


def _units_of(part: Coordinates, unit: Coordinates) -> Coordinates:
    return unit[np.where(part >= 0, part, len(unit) - 1)]


def _without_inner(half_edges: Coordinates, is_inner: NDArray[np.bool_]) -> Coordinates:
    """Drop arcs inside of a polygon, which only a cutting line made."""
    if not is_inner.any():
        return half_edges
    dropped = (half_edges >= 0) & is_inner[half_edges >> 1]
    return np.where(dropped, np.int32(-1), half_edges)


def _around_units(nodes: Nodes, unit: Coordinates) -> Coordinates:
    """Polygons around each crossing; what is void, gone or not wanted is nobody's."""
    around = nodes.around.copy()
    crossing = nodes.code == CROSSING
    around[crossing] = _units_of(nodes.around[crossing], unit)
    return around


@njit(cache=True, nogil=True)
def _walk_all(
    ends: Coordinates, left: Coordinates, right: Coordinates, half_edges: Coordinates, around: Coordinates
) -> tuple[Coordinates, Integers, Coordinates]:
    """Chain half-edges, each with its polygon on the left, to rings; in the order of their first half-edges."""
    total = 2 * left.size
    members, rings, owner = np.empty(total, np.int32), np.empty(total + 1, np.int64), np.empty(total, np.int32)
    is_seen = np.zeros(total, np.bool_)
    count, ring_count = 0, 0
    for first in range(total):
        unit = right[first >> 1] if first & 1 else left[first >> 1]
        if is_seen[first] or unit < 0 or left[first >> 1] == right[first >> 1]:
            continue
        rings[ring_count], owner[ring_count] = count, unit
        ring_count += 1
        half_edge = first
        while True:
            is_seen[half_edge] = True
            members[count] = half_edge
            count += 1
            half_edge = _next(half_edge, ends, half_edges, around)
            if half_edge < 0 or half_edge == first:
                break
    rings[ring_count] = count
    return members[:count].copy(), rings[: ring_count + 1].copy(), owner[:ring_count].copy()


@njit(cache=True, nogil=True)
def _next(half_edge: int, ends: Coordinates, half_edges: Coordinates, around: Coordinates) -> Any:
    """The half-edge that follows on the boundary of the polygon to the left: as far left as there is one.

    Where four cracks meet and the pixel on the left and the one across belong to one polygon, it turns right instead::

        A | b        who comes from the west with A on the left goes on to the south, around c,
        --+--        and not to the north, around b: so b and c get rings of their own that touch
        c | A        at this corner, and no ring touches itself, which GEOS would refuse
    """
    arc = half_edge >> 1
    if half_edge & 1:
        node, direction = ends[0, arc], (ends[2, arc] + 2) & 3
    else:
        node, direction = ends[1, arc], ends[3, arc]
    if node < 0:
        return -1
    exits = half_edges[node]
    is_crossing = exits[0] >= 0 and exits[1] >= 0 and exits[2] >= 0 and exits[3] >= 0
    if is_crossing and _is_same_across(direction, around[node]):
        return exits[(direction + 1) & 3]
    for turn in (3, 0, 1):
        leaving = exits[(direction + turn) & 3]
        if leaving >= 0:
            return leaving
    return -1


@njit(cache=True, nogil=True)
def _is_same_across(direction: int, around: Coordinates) -> Any:
    """Whether the pixel on the left of who arrives, and the one across the corner from it, are one polygon's."""
    north_west, north_east, south_west, south_east = around
    if direction & 1:
        return north_west == south_east and north_west >= 0
    return south_west == north_east and south_west >= 0


@njit(cache=True, nogil=True)
def _gather_rings(
    members: Coordinates, rings: Integers, offsets: Integers, x: Coordinates | Floats, y: Coordinates | Floats
) -> tuple[Coordinates | Floats, Integers, Floats]:
    """Vertices of each ring from its smallest (y, x), and twice its signed area."""
    count = rings.size - 1
    begins = np.empty(count + 1, np.int64)
    begins[0] = 0
    for ring in range(count):
        begins[ring + 1] = begins[ring] + 1
        for half_edge in members[rings[ring] : rings[ring + 1]]:
            begins[ring + 1] += offsets[(half_edge >> 1) + 1] - offsets[half_edge >> 1] - 1
    xy, area = np.empty((begins[count], 2), x.dtype), np.empty(count, np.float64)
    for ring in range(count):
        place, end = begins[ring], begins[ring + 1] - 1
        for half_edge in members[rings[ring] : rings[ring + 1]]:
            place = _copy(xy, place, half_edge, offsets, x, y)
        _rotate(xy[begins[ring] : end])
        xy[end] = xy[begins[ring]]
        area[ring] = _twice_area(xy[begins[ring] : end + 1])
    return xy, begins, area


@njit(cache=True, nogil=True)
def _copy(
    xy: Coordinates | Floats,
    place: int,
    half_edge: int,
    offsets: Integers,
    x: Coordinates | Floats,
    y: Coordinates | Floats,
) -> int:
    """Append the vertices of a half-edge but its last."""
    first, last = offsets[half_edge >> 1], offsets[(half_edge >> 1) + 1] - 1
    step = 1
    if half_edge & 1:
        first, last, step = last, first, -1
    for vertex in range(first, last, step):
        xy[place, 0], xy[place, 1] = x[vertex], y[vertex]
        place += 1
    return place


@njit(cache=True, nogil=True)
def _rotate(xy: Coordinates | Floats) -> None:
    """Make an open ring start at its smallest (y, x)."""
    first = 0
    for vertex in range(1, len(xy)):
        if (xy[vertex, 1], xy[vertex, 0]) < (xy[first, 1], xy[first, 0]):
            first = vertex
    if first:
        head = xy[:first].copy()
        rest = len(xy) - first
        for vertex in range(rest):
            xy[vertex] = xy[vertex + first]
        xy[rest:] = head


@njit(cache=True, nogil=True)
def _twice_area(xy: Coordinates | Floats) -> float:
    """Twice the signed area of a closed ring, px: negative when it is counter-clockwise on a screen."""
    total, x, y = 0.0, xy[0, 0], xy[0, 1]
    for vertex in range(1, len(xy) - 1):
        total += float(xy[vertex, 0] - x) * (xy[vertex + 1, 1] - y) - float(xy[vertex + 1, 0] - x) * (xy[vertex, 1] - y)
    return total
