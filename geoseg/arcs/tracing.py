"""Arcs: boundaries between the corners where three or more faces meet.

Strategy. A *node* is a corner where three or four cracks meet, a corner of the raster, or the place where the array's
edge cuts a crack (a *stub*). From every node each crack is followed, from turn to turn by the links of the scan, until
the next node; corners that nobody came by lie on closed arcs. Each arc runs in one direction that depends on the map
alone, and has one part on its left and one on its right::

            left
    start ---------> end        y grows downwards, so north-going arcs have west on their left
            right

It knows corners and runs, and where the array lies in the raster; it does not know what is done with arcs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import Chains, Coordinates, Integers
from geoseg.arcs.parts import run_at
from geoseg.arcs.scanning import Codes, Corners, Runs

NORTH, EAST, SOUTH, WEST = range(4)

FREE, TWIN, CLOSED = range(3)
"""How much of an arc must stay: its ends; one more vertex; a triangle."""

CLOSED_ARC = -1
"""The node at both ends of an arc that has none."""

UNSEEN = -2
"""A neighbour of a node that was not looked up, because only corners of four cracks need it."""

CROSSING = 15
"""The code of a corner where four cracks meet."""

Directions = NDArray[np.int8]


@dataclass(frozen=True)
class Arcs:
    """Boundaries between two parts.

    Attributes
    ----------
    chains : Chains
        Their vertices, which are corners that turn; nodes at both ends.
    start, end : int32, shape (arc,)
        Nodes; `CLOSED_ARC` for both when there is none.
    start_direction, end_direction : int8, shape (arc,)
        Direction of the first and of the last edge, as the arc runs.
    left, right : int32, shape (arc,)
        Parts on both sides; negative where there is none.
    keep : uint8, shape (arc,)
        `FREE`, `TWIN` or `CLOSED`.
    is_settled : bool, shape (arc,)
        Complete, and simplified.
    taken : int64, shape (arc,)
        What that takes from the left side and gives to the right one, as `taken_area` counts it.
    is_waiting : bool, shape (arc,)
        Settled, but it is not decided yet whether it may be simplified; `Chains.spare` says how.
    """

    chains: Chains
    start: Coordinates
    end: Coordinates
    start_direction: Directions
    end_direction: Directions
    left: Coordinates
    right: Coordinates
    keep: NDArray[np.uint8]
    is_settled: NDArray[np.bool_]
    taken: Integers
    is_waiting: NDArray[np.bool_]

    def __len__(self) -> int:
        """Count the arcs."""
        return len(self.start)

    def take(self, index: Integers) -> Arcs:
        """Return some of the arcs; nodes and parts keep their numbers."""
        rest = {field.name: getattr(self, field.name)[index] for field in fields(self) if field.name != "chains"}
        return Arcs(chains=self.chains.take(index), **rest)


@dataclass(frozen=True)
class Nodes:
    """Corners where arcs end.

    Attributes
    ----------
    x, y : int32, shape (node,)
        Column and row in the raster's lattice.
    code : uint8, shape (node,)
        Cracks that meet there; a single one at a stub.
    half_edges : int32, shape (node, 4)
        What leaves in each direction: ``2 a`` for arc a forwards, ``2 a + 1`` backwards, -1 for nothing that is kept.
    around : int32, shape (node, 4)
        At a crossing the parts of the pixels to the north-west, north-east, south-west and south-east; else `UNSEEN`.
    stub : int64, shape (node,)
        The crack that was cut, by a number that both sides of the cut give it; -1 at a true node.
    """

    x: Coordinates
    y: Coordinates
    code: Codes
    half_edges: Coordinates
    around: Coordinates
    stub: Integers

    def __len__(self) -> int:
        """Count the nodes."""
        return len(self.code)


def trace_arcs(
    runs: Runs, corners: Corners, part: Coordinates, origin: tuple[int, int], raster_shape: tuple[int, int]
) -> tuple[Arcs, Nodes]:
    """Follow every boundary.

    Parameters
    ----------
    runs, corners : Runs, Corners
        Of the array.
    part : int32, shape (run,)
        Part of each run.
    origin : (int, int)
        Row and column of the array's first pixel in the raster.
    raster_shape : (int, int)
        Height and width of the raster, px.
    """
    x, y = corners.x + np.int32(origin[1]), corners.y + np.int32(origin[0])
    degree = np.array([bin(code).count("1") for code in range(16)], np.uint8)[corners.code]
    height, width = raster_shape
    is_raster_corner = ((y == 0) | (y == height)) & ((x == 0) | (x == width))
    is_node = (degree != 2) | is_raster_corner
    links = np.stack([corners.above, corners.below])
    node = np.flatnonzero(is_node)
    sizes = int(degree.sum()), int(degree[node].sum())
    offsets, xy, ends, half_edges = _follow(x, y, corners.code, links, node, sizes)
    start, end, start_direction, end_direction = ends
    chains = Chains(offsets, xy[0], xy[1])
    left, right = _sides(offsets, xy, start_direction, origin, runs.start, runs.rows, part)
    around = _around(corners.x[node], corners.y[node], corners.code[node], runs.start, runs.rows, part)
    arcs = Arcs(
        chains,
        start,
        end,
        start_direction.astype(np.int8),
        end_direction.astype(np.int8),
        left,
        right,
        np.zeros(len(start), np.uint8),
        np.zeros(len(start), bool),
        np.zeros(len(start), np.int64),
        np.zeros(len(start), bool),
    )
    stub = _stub_keys(x[node], y[node], corners.code[node], width)
    return arcs, Nodes(x[node], y[node], corners.code[node], half_edges, around, stub)


def _stub_keys(x: Coordinates, y: Coordinates, code: Codes, width: int) -> Integers:
    """Number the crack that each stub lies on: twice its west or north end's place, plus one for vertical ones.

    A stub with the code E or S lies at the outer end of its crack; one with W or N at the outer end, too, which is the
    east or south one.
    """
    first = (y.astype(np.int64) + 1) * (width + 2) + x + 1
    key = np.full(len(code), -1, np.int64)
    for direction, back, is_vertical in ((EAST, 0, 0), (WEST, 1, 0), (SOUTH, 0, 1), (NORTH, width + 2, 1)):
        is_stub = code == 1 << direction
        key[is_stub] = 2 * (first[is_stub] - back) + is_vertical
    return key


@njit(cache=True, nogil=True)
def _turned(code: int, direction: int) -> int:
    """The direction in which a boundary leaves a corner of two cracks, when it came in some direction."""
    rest = code & ~(1 << ((direction + 2) & 3))
    for leaving in range(4):
        if rest >> leaving & 1:
            return leaving
    return direction


@njit(cache=True, nogil=True)
def _follow(
    x: Coordinates, y: Coordinates, code: Codes, links: Coordinates, nodes: Integers, sizes: tuple[int, int]
) -> tuple[Integers, Coordinates, Coordinates, Coordinates]:
    """Follow arcs from every node, in raster order and N, E, S, W; then the closed ones from their first corners."""
    corner_count = x.size
    node_of = np.full(corner_count, -1, np.int32)
    for node in range(nodes.size):
        node_of[nodes[node]] = node
    most = sizes[1] // 2 + corner_count // 4 + 1
    offsets, ends = np.empty(most + 1, np.int64), np.empty((4, most), np.int32)
    xy = np.empty((2, sizes[0] + corner_count // 4 + 4), np.int32)
    half_edges = np.full((nodes.size, 4), -1, np.int32)
    is_passed = np.zeros(corner_count, np.bool_)
    arc, vertex = 0, 0
    for node in range(nodes.size):
        is_passed[nodes[node]] = True
        for direction in range(4):
            if code[nodes[node]] >> direction & 1 and half_edges[node, direction] < 0:
                offsets[arc] = vertex
                vertex, last, arrival = _walk(nodes[node], direction, x, y, code, links, node_of, is_passed, xy, vertex)
                ends[0, arc], ends[1, arc], ends[2, arc], ends[3, arc] = node, node_of[last], direction, arrival
                half_edges[node, direction] = 2 * arc
                half_edges[node_of[last], (arrival + 2) & 3] = 2 * arc + 1
                arc += 1
    for corner in range(corner_count):
        if not is_passed[corner]:
            offsets[arc] = vertex
            vertex, _, _ = _walk(corner, EAST, x, y, code, links, node_of, is_passed, xy, vertex)
            ends[0, arc], ends[1, arc], ends[2, arc], ends[3, arc] = CLOSED_ARC, CLOSED_ARC, EAST, NORTH
            arc += 1
    offsets[arc] = vertex
    return offsets[: arc + 1].copy(), xy[:, :vertex].copy(), ends[:, :arc].copy(), half_edges


@njit(cache=True, nogil=True)
def _walk(
    first: int,
    direction: int,
    x: Coordinates,
    y: Coordinates,
    code: Codes,
    links: Coordinates,
    node_of: Coordinates,
    is_passed: NDArray[np.bool_],
    xy: Coordinates,
    vertex: int,
) -> tuple[int, int, int]:
    """Append the vertices from a corner to the next node, or round to the corner itself; say where and how it ends."""
    xy[0, vertex], xy[1, vertex] = x[first], y[first]
    vertex += 1
    corner = first
    while True:
        if direction == NORTH:
            corner = links[0, corner]
        elif direction == SOUTH:
            corner = links[1, corner]
        elif direction == EAST:
            corner += 1
        else:
            corner -= 1
        xy[0, vertex], xy[1, vertex] = x[corner], y[corner]
        vertex += 1
        is_passed[corner] = True
        if node_of[corner] >= 0 or corner == first:
            return vertex, corner, direction
        direction = _turned(code[corner], direction)


LEFT_Y, LEFT_X = np.array([1, 1, 0, 0]), np.array([1, 0, 0, 1])
RIGHT_Y, RIGHT_X = np.array([1, 0, 0, 1]), np.array([0, 0, 1, 1])
"""How far above and left of a corner the pixels lie that are left and right of an edge leaving it N, E, S, W."""


@njit(cache=True, nogil=True)
def _sides(
    offsets: Integers,
    xy: Coordinates,
    direction: Coordinates,
    origin: tuple[int, int],
    start: Coordinates,
    rows: Integers,
    part: Coordinates,
) -> tuple[Coordinates, Coordinates]:
    """Parts to the left and to the right of each arc's first edge, and so of all its edges."""
    left, right = np.empty(direction.size, np.int32), np.empty(direction.size, np.int32)
    for arc in range(direction.size):
        x, y = xy[0, offsets[arc]] - origin[1], xy[1, offsets[arc]] - origin[0]
        heading = direction[arc]
        left[arc] = part[run_at(start, rows, y - LEFT_Y[heading], x - LEFT_X[heading])]
        right[arc] = part[run_at(start, rows, y - RIGHT_Y[heading], x - RIGHT_X[heading])]
    return left, right


@njit(cache=True, nogil=True)
def _around(
    x: Coordinates, y: Coordinates, code: Codes, start: Coordinates, rows: Integers, part: Coordinates
) -> Coordinates:
    """Parts of the four pixels at each crossing."""
    around = np.full((x.size, 4), UNSEEN, np.int32)
    for node in range(x.size):
        if code[node] == CROSSING:
            for pixel in range(4):
                run = run_at(start, rows, y[node] - 1 + pixel // 2, x[node] - 1 + pixel % 2)
                around[node, pixel] = part[run]
    return around
