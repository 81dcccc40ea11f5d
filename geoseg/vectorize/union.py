"""Pieces of faces to whole faces, exactly: what occurs twice along a border goes, the rest is linked anew.

Strategy. Rings run with their face on the left, so an edge inside a united face occurs once in each direction. Those
pairs are dropped; rings that lost an edge are cut into single edges and linked again, all others stay as they are.
A united face has one exterior, whose area has the other sign than that of its holes, so nothing has to be located
inside anything, and a face with 100,000 holes costs no more than its edges. It knows integers only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.vectorize.connected import components
from geoseg.vectorize.rings import Integers, Rings, canonical, offsets, twice_areas

STEPS = np.array([[3, 3, 3], [2, 0, 0], [1, 1, 1]])
"""Direction of an edge by the signs of its steps in y and x: 0 = east, 1 = south, 2 = west, 3 = north."""


def unite(pieces: Rings, face: Integers) -> Rings:
    """Unite pieces that share edges.

    Parameters
    ----------
    pieces : Rings
        Canonical but for vertices along borders, where the edges of neighbouring pieces are one pixel long.
    face : int64, shape (polygon,)
        Which face each piece belongs to, from 0 on, each one at least once.

    Returns
    -------
    Rings
        Canonical, one polygon for each face.
    """
    ring_of = np.repeat(np.arange(len(pieces.rings) - 1), np.diff(pieces.rings))
    face_of_ring = np.repeat(face, np.diff(pieces.polygons))
    is_edge = np.ones(len(pieces.xy), bool)
    is_edge[pieces.rings[1:] - 1] = False
    edge = np.flatnonzero(is_edge)
    cancelled = _cancelled(pieces.xy, edge, face_of_ring[ring_of[edge]])
    is_cut = np.bincount(ring_of[edge[cancelled]], minlength=len(face_of_ring)) > 0

    kept = pieces.take_rings(np.flatnonzero(~is_cut))
    loose = edge[~cancelled & is_cut[ring_of[edge]]]
    linked, linked_face = _linked(pieces.xy, loose, face_of_ring[ring_of[loose]])
    return canonical(
        _assembled(Rings.concatenate([kept, linked]), np.concatenate([face_of_ring[~is_cut], linked_face]))
    )


def _cancelled(xy: Integers, edge: Integers, face: Integers) -> NDArray[np.bool_]:
    """Say which edges, named by their first vertex, occur in both directions in the same face."""
    step = xy[edge + 1] - xy[edge]
    candidate = np.flatnonzero(np.abs(step).sum(axis=1) == 1)
    corner = np.minimum(_code(xy[edge]), _code(xy[edge + 1]))[candidate]
    is_vertical, owner = step[candidate, 0] == 0, face[candidate]
    order = np.lexsort((owner, is_vertical, corner))
    same = np.logical_and.reduce([np.diff(key[order]) == 0 for key in (corner, is_vertical.astype(np.int8), owner)])
    cancelled = np.zeros(len(edge), bool)
    cancelled[candidate[order[:-1][same]]] = True
    cancelled[candidate[order[1:][same]]] = True
    return cancelled


def _linked(xy: Integers, edge: Integers, face: Integers) -> tuple[Rings, Integers]:
    """Link loose edges to rings; returns them as polygons of one ring, and their faces."""
    if len(edge) == 0:
        return Rings.empty(), np.empty(0, np.int64)
    following = _following(xy, edge, face)
    ring = components(len(edge), np.arange(len(edge)), following)
    order = np.lexsort((-_steps_to_end(following, ring), ring))
    first = np.flatnonzero(np.diff(ring[order], prepend=-1))
    lengths = np.diff(first, append=len(order))
    closed = np.insert(order, first + lengths, order[first])
    return Rings(xy[edge[closed]], offsets(lengths + 1), np.arange(len(first) + 1)), face[order[first]]


def _following(xy: Integers, edge: Integers, face: Integers) -> Integers:
    """Find the edge that follows each edge around its face.

    Where two edges of a face leave one corner, the face touches itself there::

        face | hole        An edge that arrives with the hole on its right goes on around the hole: it turns right.
        -----+-----        Left would make a ring that touches itself, which no valid polygon has.
        rest | face
    """
    code = _code(np.concatenate([xy[edge], xy[edge + 1]]))
    owner = np.concatenate([face, face])
    order = np.lexsort((code, owner))
    is_new = (np.diff(code[order], prepend=-1) != 0) | (np.diff(owner[order], prepend=-1) != 0)
    corner = np.empty(len(order), np.int64)
    corner[order] = np.cumsum(is_new) - 1
    start, end = corner[: len(edge)], corner[len(edge) :]

    step = np.sign(xy[edge + 1] - xy[edge])
    direction = STEPS[step[:, 1] + 1, step[:, 0] + 1]
    leaving = np.lexsort((direction, start))
    first = np.searchsorted(start[leaving], end)
    count = np.bincount(start)[end]
    following: Integers = leaving[first]
    is_left = (count == 2) & (direction[following] != (direction + 1) % 4)
    following[is_left] = leaving[first[is_left] + 1]
    return following


def _steps_to_end(following: Integers, ring: Integers) -> Integers:
    """Count the edges between each edge and the last of its ring, by doubling (Wyllie's list ranking)."""
    is_last = following == ring
    steps = np.where(is_last, 0, 1)
    jump = np.where(is_last, np.arange(len(following)), following)
    while not np.array_equal(further := jump[jump], jump):
        steps = steps + steps[jump]
        jump = further
    return steps


def _assembled(rings: Rings, face: Integers) -> Rings:
    """Make polygons of single rings: for each face its exterior and then its holes."""
    is_hole = twice_areas(rings) > 0
    ordered = rings.take_rings(np.lexsort((is_hole, face)))
    return Rings(ordered.xy, ordered.rings, offsets(np.bincount(face)))


def _code(xy: Integers) -> Integers:
    """One number for a pixel corner, in raster order."""
    code: Integers = (xy[:, 1] << 32) + xy[:, 0]
    return code
