"""The outlines of some faces as one network: arcs, each of which two faces share, between nodes.

Faces come as polygons that were traced from pixels, so neighbours have the same vertices along a common wall. Where an
outline leaves another one, or meets it at a corner, is a node; what lies between two nodes is an arc. Whoever moves
arcs and nodes moves them for all faces, so walls that were shared stay shared. It knows corners of pixels, not what is
to become of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import Chains, Coordinates, Integers, gather, offsets_of
from geoseg.arcs.rings import Rings

NOBODY = -1
"""The face on a side of an arc where there is none, and the node of a closed arc."""

LOOSE, ON_EDGE, FIXED = range(3)
"""What may become of an arc: anything; it follows the raster's edge, on which its ends may slide; nothing."""

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Network:
    """Arcs and nodes of some faces.

    Attributes
    ----------
    chains : Chains
        The vertices of each arc, from its start to its end; a closed arc repeats its first vertex.
    nodes : int32, shape (arc, 2)
        Start and end of each arc; `NOBODY` for closed ones.
    faces : int32, shape (arc, 2)
        The face that runs along the arc, and the one that runs against it, or `NOBODY`. Both have themselves on the
        same hand, so the arc has them on different ones.
    hold : uint8, shape (arc,)
        `LOOSE`, `ON_EDGE` or `FIXED`.
    node_xy : int32, shape (node, 2)
        Column and row of the nodes.
    half_arcs : int64, shape (half-arc,)
        The rings of all faces, one after another: twice the arc, and 1 more where it is run against.
    rings : int64, shape (ring + 1,)
        Where each ring begins in ``half_arcs``, and the end.
    polygons : int64, shape (face + 1,)
        Where each face begins in ``rings``, and the end; the first ring of a face is its exterior.
    """

    chains: Chains
    nodes: Coordinates
    faces: Coordinates
    hold: Bytes
    node_xy: Coordinates
    half_arcs: Integers
    rings: Integers
    polygons: Integers

    def __len__(self) -> int:
        """Count the faces."""
        return len(self.polygons) - 1

    @property
    def is_closed(self) -> Flags:
        """Arcs that are a ring by themselves."""
        closed: Flags = self.nodes[:, 0] == NOBODY
        return closed

    @property
    def keys(self) -> Integers:
        """A number for each arc that it has in every network with the same faces on its sides: its first step."""
        chains = self.chains
        first = chains.offsets[:-1]
        step = np.stack([chains.x[first], chains.y[first], chains.x[first + 1], chains.y[first + 1]], axis=1)
        return step.astype(np.int64)

    @classmethod
    def of(cls, faces: Rings, hold: Bytes | None = None) -> Network:
        """Find the arcs and nodes of faces.

        Parameters
        ----------
        faces : Rings
            Polygons whose interiors are disjoint; what two of them share has the same vertices in both.
        hold : uint8, shape (vertex,), optional
            What may become of the step from a vertex to the next; all are loose unless given.
        """
        steps = _Steps.of(faces, np.zeros(len(faces.xy), np.uint8) if hold is None else hold)
        order, begins, ring = steps.pieces()
        edge = np.minimum.reduceat(steps.edge[order], begins) if len(begins) else begins
        _, first, arc = np.unique(edge, return_index=True, return_inverse=True)
        is_against = first[arc] != np.arange(len(arc))
        chains = steps.chains(order, begins, first)
        ends = np.append(begins[1:], len(order)) - 1
        nodes = np.stack([steps.node[order[begins[first]]], steps.next_node[order[ends[first]]]], axis=1)
        owner = np.full((len(first), 2), NOBODY, np.int32)
        face = np.repeat(np.arange(len(faces)), np.diff(faces.polygons))[ring]
        owner[arc, is_against.astype(np.int64)] = face
        return cls(
            chains,
            nodes.astype(np.int32),
            owner,
            steps.hold[order[begins[first]]],
            steps.node_xy,
            2 * arc + is_against,
            offsets_of(np.bincount(ring, minlength=len(faces.rings) - 1)),
            faces.polygons,
        )

    def of_faces(self, flags: Flags) -> Flags:
        """Arcs of some faces."""
        found: Flags = (flags[self.faces] & (self.faces != NOBODY)).any(axis=1)
        return found

    def arcs_of(self, faces: Integers, rings: Flags) -> Integers:
        """Arcs of some of the rings of some faces, which follow one another."""
        ring, _ = gather(self.polygons, faces)
        half_arc, _ = gather(self.rings, ring[rings])
        return self.half_arcs[half_arc] >> 1

    def assemble(self, xy: Floats, offsets: Integers, faces: Integers) -> Rings:
        """Put faces together from arcs that were moved.

        Parameters
        ----------
        xy : float64, shape (vertex, 2)
            The vertices of all arcs, each from its start to its end.
        offsets : int64, shape (arc + 1,)
            Where each arc begins.
        faces : int64
            Those that are wanted.
        """
        ring, polygons = gather(self.polygons, faces)
        half_arc, rings = gather(self.rings, ring)
        return Rings(*_assembled(self.half_arcs[half_arc], rings, offsets, xy), polygons)


@dataclass(frozen=True)
class _Steps:
    """Every step from one vertex of a ring to the next: what it is called, and whether it begins at a node."""

    xy: Coordinates
    ring: Integers
    edge: Integers
    node: Integers
    next: Integers
    hold: Bytes
    node_xy: Coordinates

    @property
    def next_node(self) -> Integers:
        """The node that a step ends at, or `NOBODY`."""
        return self.node[self.next]

    @classmethod
    def of(cls, faces: Rings, hold: Bytes) -> _Steps:
        """Number vertices and edges; nodes are where more than two edges meet, or what holds them changes."""
        is_step = np.ones(len(faces.xy), bool)
        is_step[faces.rings[1:] - 1] = False
        lengths = np.diff(faces.rings) - 1
        offsets = offsets_of(lengths)
        ring = np.repeat(np.arange(len(lengths)), lengths)
        following = np.arange(1, len(ring) + 1)
        following[offsets[1:] - 1] = offsets[:-1]
        xy, hold = faces.xy[is_step].astype(np.int32), hold[is_step]
        code, vertex = np.unique((xy[:, 1].astype(np.int64) << 32) + xy[:, 0], return_inverse=True)
        low, high = np.minimum(vertex, vertex[following]), np.maximum(vertex, vertex[following])
        _, first, edge = np.unique(low * len(code) + high, return_index=True, return_inverse=True)
        degree = np.bincount(low[first], minlength=len(code)) + np.bincount(high[first], minlength=len(code))
        is_node = degree != 2
        is_node[vertex[following[hold != hold[following]]]] = True
        number = np.where(is_node, np.cumsum(is_node) - 1, NOBODY)
        node_xy = np.stack([code[is_node] & 0xFFFFFFFF, code[is_node] >> 32], axis=1).astype(np.int32)
        return cls(xy, ring, edge, number[vertex], following, hold, node_xy)

    def pieces(self) -> tuple[Integers, Integers, Integers]:
        """Rings from node to node.

        Returns
        -------
        order : int64, shape (step,)
            The steps ring by ring, each ring from its first node.
        begins : int64, shape (piece,)
            Where each piece begins in this order; a ring without a node is one piece.
        ring : int64, shape (piece,)
            Whose they are.
        """
        count = len(self.ring)
        offsets = offsets_of(np.bincount(self.ring))
        lengths = np.diff(offsets)
        places = np.where(self.node >= 0, np.arange(count), count)
        first = np.minimum.reduceat(places, offsets[:-1]) if count else places
        first = np.where(first == count, offsets[:-1], first)
        within = np.arange(count) - np.repeat(offsets[:-1], lengths)
        turn = np.repeat(first - offsets[:-1], lengths)
        order = np.repeat(offsets[:-1], lengths) + (within + turn) % np.repeat(lengths, lengths)
        is_begin = self.node[order] >= 0
        is_begin[offsets[:-1]] = True
        begins = np.flatnonzero(is_begin)
        return order, begins, self.ring[order[begins]]

    def chains(self, order: Integers, begins: Integers, pieces: Integers) -> Chains:
        """The vertices of some pieces, with the one that follows."""
        bounds = np.append(begins, len(order))
        place, offsets = gather(bounds, pieces)
        steps = order[place]
        last = self.next[order[bounds[pieces + 1] - 1]]
        vertex = np.insert(steps, offsets[1:], last)
        xy = self.xy[vertex]
        return Chains(offsets + np.arange(len(offsets)), xy[:, 0].copy(), xy[:, 1].copy())


@njit(cache=True, nogil=True)
def _assembled(half_arcs: Integers, rings: Integers, offsets: Integers, xy: Floats) -> tuple[Floats, Integers]:
    """The vertices of each ring, closed and without repetitions, and where the rings begin."""
    count = rings.size - 1
    begins = np.zeros(count + 1, np.int64)
    for ring in range(count):
        total = 1
        for half_arc in half_arcs[rings[ring] : rings[ring + 1]]:
            total += offsets[(half_arc >> 1) + 1] - offsets[half_arc >> 1] - 1
        begins[ring + 1] = begins[ring] + total
    found = np.empty((begins[count], 2), np.float64)
    place = 0
    for ring in range(count):
        begins[ring] = place
        for half_arc in half_arcs[rings[ring] : rings[ring + 1]]:
            first, last, step = offsets[half_arc >> 1], offsets[(half_arc >> 1) + 1] - 1, 1
            if half_arc & 1:
                first, last, step = last, first, -1
            for vertex in range(first, last, step):
                if place == begins[ring] or (found[place - 1] != xy[vertex]).any():
                    found[place] = xy[vertex]
                    place += 1
        if place > begins[ring] + 1 and (found[place - 1] == found[begins[ring]]).all():
            place -= 1
        found[place] = found[begins[ring]]
        place += 1
    begins[count] = place
    return found[:place].copy(), begins
