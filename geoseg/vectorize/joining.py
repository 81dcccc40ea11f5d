"""Pieces that lie side by side become one: cut arcs are chained, and what was divided by a border is united.

Strategy. Both blocks at a border give the same number to the crack that it cuts, so equal numbers are one crack; the
parts on its left in both blocks are one part, and so are those on its right. A side without any crack is one part,
which the last pixel of the side names in both blocks. Chains of cut arcs are walked from stub to stub and brought into
the direction that a single array would have given them; everything else is renumbered and stays. Joining is
associative, so a tree of joins gives the same faces as one block; it knows pieces, not when or where they are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import Chains, Coordinates, Integers
from geoseg.arcs.faces import Faces
from geoseg.arcs.parts import VOID, Parts, unite_pairs
from geoseg.arcs.tracing import CLOSED, CLOSED_ARC, EAST, FREE, NORTH, WEST, Arcs, Nodes
from geoseg.grid import Window
from geoseg.vectorize.pieces import Piece, Shaping, concatenated, resolve, void_piece

TOP, RIGHT, BOTTOM, LEFT = range(4)
"""Places in `Piece.side_ends`."""


def join(pieces: Sequence[Piece], window: Window, shaping: Shaping) -> tuple[Faces, Piece]:
    """Join the pieces of a rectangle.

    Parameters
    ----------
    pieces : sequence of Piece
        At least one; they lie in rows and columns. Where there is none the raster is void.
    window : Window
        The rectangle.
    shaping : Shaping
        The same that made them.

    Returns
    -------
    faces : Faces
        Those that are complete now, sorted by key.
    rest : Piece
        What may go on outside.
    """
    if shaping.holes is not None:
        pieces = [*pieces, *_voids_between(pieces, window)]
    arcs, nodes, parts, side_ends = _side_by_side(pieces)
    mate, same_parts = _matches(arcs, nodes)
    parts, number = _united(parts, np.concatenate([same_parts, _same_ends(pieces, side_ends)]))
    arcs = replace(arcs, left=_named(arcs.left, number), right=_named(arcs.right, number))
    nodes = replace(nodes, around=_named(nodes.around, number))
    arcs, nodes = _rechained(arcs, nodes, mate)
    joined = Piece(
        window,
        pieces[0].raster_shape,
        arcs,
        nodes,
        parts,
        _named(_outer_ends(pieces, side_ends, window), number),
        np.concatenate([piece.guard_x for piece in pieces]),
        np.concatenate([piece.guard_y for piece in pieces]),
    )
    return resolve(joined, shaping)


def _voids_between(pieces: Sequence[Piece], window: Window) -> list[Piece]:
    """Pieces of void where the rectangle has no piece, so that void on both sides of them is one region."""
    found = {(piece.window.y, piece.window.x) for piece in pieces}
    rows, cols = (
        sorted({getattr(place, name) for place in (window, *(piece.window for piece in pieces)) for name in names})
        for names in (("y", "bottom"), ("x", "right"))
    )
    return [
        void_piece(pieces[0], Window(top, left, bottom - top, right - left))
        for (top, bottom), (left, right) in product(pairwise(rows), pairwise(cols))
        if (top, left) not in found
    ]


def _side_by_side(pieces: Sequence[Piece]) -> tuple[Arcs, Nodes, Parts, list[Coordinates]]:
    """Put arcs, nodes and parts one after another, with numbers that follow."""
    arc, node, part = (
        np.cumsum([0, *(len(item) for item in items)])
        for items in zip(*((piece.arcs, piece.nodes, piece.parts) for piece in pieces), strict=True)
    )
    arcs = [
        replace(
            piece.arcs,
            start=_shifted(piece.arcs.start, node[i]),
            end=_shifted(piece.arcs.end, node[i]),
            left=_shifted(piece.arcs.left, part[i]),
            right=_shifted(piece.arcs.right, part[i]),
        )
        for i, piece in enumerate(pieces)
    ]
    nodes = [
        replace(
            piece.nodes,
            half_edges=_shifted(piece.nodes.half_edges, 2 * arc[i]),
            around=_shifted(piece.nodes.around, part[i]),
        )
        for i, piece in enumerate(pieces)
    ]
    parts = [
        replace(
            piece.parts,
            face=_shifted(piece.parts.face, part[i]),
            group=_shifted(piece.parts.group, part[i]),
        )
        for i, piece in enumerate(pieces)
    ]
    ends = [_shifted(piece.side_ends, part[i]) for i, piece in enumerate(pieces)]
    return concatenated(arcs), concatenated(nodes), concatenated(parts), ends


def _shifted(numbers: Coordinates, step: int) -> Coordinates:
    """Count numbers on; negative ones mean something else and stay."""
    return np.where(numbers >= 0, numbers + step, numbers).astype(np.int32)


def _matches(arcs: Arcs, nodes: Nodes) -> tuple[Coordinates, Coordinates]:
    """Find the two stubs of each crack that a border between the pieces cuts.

    Returns
    -------
    mate : int32, shape (node,)
        The other stub of the crack; -1 where there is none.
    same : int32, shape (pair, 2)
        Parts that lie on the same side of one crack.
    """
    stubs = np.flatnonzero(nodes.stub >= 0)
    stubs = stubs[np.argsort(nodes.stub[stubs], kind="stable")]
    is_pair = nodes.stub[stubs[1:]] == nodes.stub[stubs[:-1]]
    one, other = stubs[:-1][is_pair], stubs[1:][is_pair]
    mate = np.full(len(nodes), -1, np.int32)
    mate[one], mate[other] = other, one
    beside = np.full((len(nodes), 2), VOID, np.int32)
    for node, first, second in ((arcs.start, arcs.left, arcs.right), (arcs.end, arcs.right, arcs.left)):
        beside[node[node >= 0]] = np.stack([first, second], axis=1)[node >= 0]
    # Those that lie on the east and south side of their piece look the other way.
    is_turned = (nodes.code == 1 << WEST) | (nodes.code == 1 << NORTH)
    beside[is_turned] = beside[is_turned, ::-1]
    return mate, np.stack([beside[one], beside[other]], axis=2).reshape(-1, 2)


def _same_ends(pieces: Sequence[Piece], side_ends: Sequence[Coordinates]) -> Coordinates:
    """Parts of the pixels that two neighbouring pieces name as the end of their common side."""
    at = {(piece.window.y, piece.window.x): ends for piece, ends in zip(pieces, side_ends, strict=True)}
    same = [np.empty((0, 2), np.int32)]
    for piece, ends in zip(pieces, side_ends, strict=True):
        window = piece.window
        for place, here, there in (((window.y, window.right), RIGHT, LEFT), ((window.bottom, window.x), BOTTOM, TOP)):
            if place in at:
                same.append(np.array([[ends[here], at[place][there]]], np.int32))
    return np.concatenate(same)


def _outer_ends(pieces: Sequence[Piece], side_ends: Sequence[Coordinates], window: Window) -> Coordinates:
    """Ends of the sides of the whole rectangle."""
    found = np.full(4, VOID, np.int32)
    for piece, ends in zip(pieces, side_ends, strict=True):
        is_right, is_bottom = piece.window.right == window.right, piece.window.bottom == window.bottom
        holds = {
            TOP: is_right and piece.window.y == window.y,
            RIGHT: is_right and is_bottom,
            BOTTOM: is_right and is_bottom,
            LEFT: is_bottom and piece.window.x == window.x,
        }
        for side, is_held in holds.items():
            if is_held:
                found[side] = ends[side]
    return found


def _united(parts: Parts, pairs: Coordinates) -> tuple[Parts, Coordinates]:
    """Unite pairs of parts, and the faces and features they are of.

    Returns
    -------
    parts : Parts
        What is left of them.
    number : int32, shape (part,)
        The new number of each old part.
    """
    pairs = pairs[(pairs >= 0).all(axis=1)]
    root, face, group = np.arange(len(parts), dtype=np.int32), parts.face.copy(), parts.group.copy()
    for parent in (root, face, group):
        unite_pairs(parent, pairs)
    first, inverse = np.unique(root, return_inverse=True)
    number = inverse.astype(np.int32)
    is_giant, borders_faces = np.zeros((2, len(parts)), bool)
    is_giant[group[parts.is_giant]] = True
    borders_faces[root[parts.borders_faces]] = True
    key = np.full(len(first), np.iinfo(np.int64).max)
    np.minimum.at(key, number, parts.key)
    pixels, confidence_sum, vertices, lost, sheltered = (
        np.bincount(number, weights=values, minlength=len(first)).astype(np.int64)
        for values in (parts.pixels, parts.confidence_sum, parts.vertices, parts.lost, parts.sheltered)
    )
    label, face, group = parts.label[first], face[first], group[first]
    counts = pixels, confidence_sum, key, vertices, lost, sheltered
    flags = is_giant[group], parts.is_void[first], borders_faces[first]
    return Parts(label, *counts, number[face], number[group], *flags), number


def _named(part: Coordinates, number: Coordinates) -> Coordinates:
    """Parts by their new numbers; negative ones stay."""
    return np.where(part >= 0, number[np.maximum(part, 0)], part).astype(np.int32) if len(number) else part


def _rechained(arcs: Arcs, nodes: Nodes, mate: Coordinates) -> tuple[Arcs, Nodes]:
    """Replace the arcs whose stubs have met by the chains that they form."""
    is_matched = np.append(mate >= 0, False)
    is_chained = is_matched[arcs.start] | is_matched[arcs.end]
    if not is_chained.any():
        return arcs, nodes
    untouched = np.flatnonzero(~is_chained)
    chained = _chained(arcs, nodes, mate, is_chained)
    number = np.full(len(arcs) + 1, -1, np.int32)
    number[untouched] = np.arange(len(untouched), dtype=np.int32)
    kept = number[nodes.half_edges >> 1]
    half_edges = np.where((nodes.half_edges >= 0) & (kept >= 0), 2 * kept + (nodes.half_edges & 1), -1)
    new = len(untouched) + np.arange(len(chained))
    is_ended = chained.start >= 0
    half_edges[chained.start[is_ended], chained.start_direction[is_ended]] = 2 * new[is_ended]
    half_edges[chained.end[is_ended], _back(chained.end_direction[is_ended])] = 2 * new[is_ended] + 1
    table = concatenated([arcs.take(untouched), chained])
    return table, replace(nodes, half_edges=half_edges.astype(np.int32))


def _back(direction: NDArray[np.int8]) -> NDArray[np.int8]:
    """The other way."""
    return (direction + 2) & 3


def _chained(arcs: Arcs, nodes: Nodes, mate: Coordinates, is_chained: NDArray[np.bool_]) -> Arcs:
    """Chain arcs from stub to stub; each chain gets the direction that a single array would have given it."""
    members, offsets = _walk(arcs.start, arcs.end, mate, is_chained)
    start, start_direction, _ = _leaving(arcs, members[offsets[:-1]])
    end, end_direction, _ = _leaving(arcs, members[offsets[1:] - 1] ^ 1)
    is_closed = mate[start] >= 0
    first, last = (nodes.y[start], nodes.x[start], start_direction), (nodes.y[end], nodes.x[end], end_direction)
    is_turned = ~is_closed & _is_smaller(last, first)
    _turn(members, offsets, is_turned)
    start, start_direction, left = _leaving(arcs, members[offsets[:-1]])
    end, end_direction, right = _leaving(arcs, members[offsets[1:] - 1] ^ 1)
    is_matched = np.append(mate >= 0, False)
    ends = np.stack([is_matched[arcs.start], is_matched[arcs.end]])
    x, y, begins, is_mirrored = _gather(members, offsets, ends, is_closed, *_raw(arcs.chains))
    return Arcs(
        Chains(begins, x, y),
        np.where(is_closed, CLOSED_ARC, start).astype(np.int32),
        np.where(is_closed, CLOSED_ARC, end).astype(np.int32),
        np.where(is_closed, EAST, start_direction).astype(np.int8),
        np.where(is_closed, NORTH, _back(end_direction)).astype(np.int8),
        np.where(is_mirrored, right, left),
        np.where(is_mirrored, left, right),
        np.where(is_closed, CLOSED, FREE).astype(np.uint8),
        np.zeros(len(start), bool),
        np.zeros(len(start), np.int64),
        np.zeros(len(start), bool),
    )


def _raw(chains: Chains) -> tuple[Integers, Coordinates, Coordinates]:
    return chains.offsets, chains.x, chains.y


def _leaving(arcs: Arcs, half_edge: Coordinates) -> tuple[Coordinates, NDArray[np.int8], Coordinates]:
    """Node, direction and left part of half-edges as they leave their first node."""
    arc, is_back = half_edge >> 1, (half_edge & 1).astype(bool)
    return (
        np.where(is_back, arcs.end[arc], arcs.start[arc]),
        np.where(is_back, _back(arcs.end_direction[arc]), arcs.start_direction[arc]),
        np.where(is_back, arcs.right[arc], arcs.left[arc]),
    )


def _is_smaller(one: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """Compare tuples of numbers, the first ones first."""
    smaller, equal = np.zeros(len(one[0]), bool), np.ones(len(one[0]), bool)
    for mine, theirs in zip(one, other, strict=True):
        smaller |= equal & (mine < theirs)
        equal &= mine == theirs
    return smaller


@njit(cache=True, nogil=True)
def _walk(
    start: Coordinates, end: Coordinates, mate: Coordinates, is_chained: NDArray[np.bool_]
) -> tuple[Coordinates, Integers]:
    """Half-edges of each chain: first those that begin at a node or an unmatched stub, then the closed ones."""
    leaving = np.full(mate.size, -1, np.int32)
    for arc in range(start.size):
        if is_chained[arc]:
            leaving[start[arc]], leaving[end[arc]] = 2 * arc, 2 * arc + 1
    members, offsets = np.empty(start.size, np.int32), np.empty(start.size + 1, np.int64)
    is_walked = np.zeros(start.size, np.bool_)
    count, chain = 0, 0
    for is_closed in (False, True):
        for first in range(2 * start.size):
            arc = first >> 1
            if not is_chained[arc] or is_walked[arc]:
                continue
            begin = end[arc] if first & 1 else start[arc]
            if mate[begin] >= 0 and not is_closed:
                continue
            offsets[chain] = count
            chain += 1
            half_edge = first
            while True:
                is_walked[half_edge >> 1] = True
                members[count] = half_edge
                count += 1
                last = start[half_edge >> 1] if half_edge & 1 else end[half_edge >> 1]
                if mate[last] < 0 or leaving[mate[last]] == first:
                    break
                half_edge = leaving[mate[last]]
    offsets[chain] = count
    return members[:count].copy(), offsets[: chain + 1].copy()


@njit(cache=True, nogil=True)
def _turn(members: Coordinates, offsets: Integers, is_turned: NDArray[np.bool_]) -> None:
    """Run through some chains the other way."""
    for chain in range(is_turned.size):
        if is_turned[chain]:
            members[offsets[chain] : offsets[chain + 1]] = members[offsets[chain] : offsets[chain + 1]][::-1].copy() ^ 1


@njit(cache=True, nogil=True)
def _gather(
    members: Coordinates,
    chains: Integers,
    is_matched: NDArray[np.bool_],
    is_closed: NDArray[np.bool_],
    offsets: Integers,
    x: Coordinates,
    y: Coordinates,
) -> tuple[Coordinates, Coordinates, Integers, NDArray[np.bool_]]:
    """Vertices of each chain, without the stubs that have met; closed ones from their smallest (y, x), to the east."""
    size = 2 * is_closed.size
    for half_edge in members:
        size += offsets[(half_edge >> 1) + 1] - offsets[half_edge >> 1]
    new_x, new_y, begins = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(chains.size, np.int64)
    is_mirrored = np.zeros(is_closed.size, np.bool_)
    count = 0
    for chain in range(is_closed.size):
        begins[chain] = count
        for half_edge in members[chains[chain] : chains[chain + 1]]:
            arc, back = half_edge >> 1, half_edge & 1
            first, stop = offsets[arc] + is_matched[0, arc], offsets[arc + 1] - is_matched[1, arc]
            for step in range(stop - first):
                vertex = stop - 1 - step if back else first + step
                new_x[count], new_y[count] = x[vertex], y[vertex]
                count += 1
        if is_closed[chain]:
            new_x[count], new_y[count] = new_x[begins[chain]], new_y[begins[chain]]
            count += 1
            is_mirrored[chain] = _begin_at_smallest(new_x[begins[chain] : count], new_y[begins[chain] : count])
    begins[-1] = count
    return new_x[:count].copy(), new_y[:count].copy(), begins, is_mirrored


@njit(cache=True, nogil=True)
def _begin_at_smallest(x: Coordinates, y: Coordinates) -> Any:
    """Make a closed chain begin at its smallest (y, x) and run east from there; say whether it is turned round."""
    size = x.size - 1
    first = 0
    for vertex in range(1, size):
        if (y[vertex], x[vertex]) < (y[first], x[first]):
            first = vertex
    old_x, old_y = x[:size].copy(), y[:size].copy()
    is_mirrored = old_y[(first + 1) % size] != old_y[first]
    step = -1 if is_mirrored else 1
    for vertex in range(size + 1):
        x[vertex], y[vertex] = old_x[(first + step * vertex) % size], old_y[(first + step * vertex) % size]
    return is_mirrored
