"""Which class a small face goes to: borders between faces, and the order in which faces unite.

Strategy. Pixels are looked at by NumPy alone, whatever their type: it finds the runs. All else works on runs and on
graphs of faces, in integers, so each loop is compiled once. A graph is any number of faces and the lengths of the
borders between them; this module does not know which part of a raster they are from.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import Coordinates, Integers
from geoseg.arcs.parts import find, unite_pairs
from geoseg.arcs.scanning import Runs
from geoseg.mapping_unit import MappingUnit


def runs_of(labels: NDArray[Any]) -> Runs:
    """Find the runs of an array of any integers, shape (y, x), without looking for corners."""
    height, width = labels.shape
    is_start = np.ones(labels.shape, bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=is_start[:, 1:])
    first = np.flatnonzero(is_start)
    begins = width * np.arange(height + 1)
    rows = np.searchsorted(first, begins)
    start = first - np.repeat(begins[:-1], np.diff(rows))
    return Runs(start.astype(np.int32), rows, width)


def lengths_of(runs: Runs) -> Integers:
    """Pixels of each run, int64."""
    lengths = np.diff(runs.start, append=0).astype(np.int64)
    last = runs.rows[1:] - 1
    lengths[last] = runs.width - runs.start[last]
    return lengths


def borders_of(runs: Runs, face: Coordinates, is_small: NDArray[np.bool_]) -> tuple[Integers, Integers, Integers]:
    """Find the borders of small faces.

    Parameters
    ----------
    runs : Runs
        Of one array.
    face : int32, shape (run,)
        Face of each run; -1 = nodata.
    is_small : bool, shape (face,)
        Whose borders are wanted.

    Returns
    -------
    one, other, length : int64, shape (border,)
        Two different faces, at least one of them small, and the length of a border that two of their runs share, px;
        the same two faces occur as often as their runs touch.
    """
    return _borders(runs.start, lengths_of(runs), runs.rows, face, is_small)


@njit(cache=True, nogil=True)
def _borders(
    start: Coordinates, lengths: Integers, rows: Integers, face: Coordinates, is_small: NDArray[np.bool_]
) -> tuple[Integers, Integers, Integers]:
    """Go through pairs of runs beside each other and above each other.

    Of two runs above each other the one that ends first is done with, so there are fewer pairs than runs in two rows.
    """
    table = np.empty((3 * len(start), 3), np.int64)
    count = 0
    for row in range(len(rows) - 1):
        for run in range(rows[row] + 1, rows[row + 1]):
            count = _emit(table, count, face[run - 1], face[run], 1, is_small)
        upper, lower = rows[max(row - 1, 0)], rows[row]
        while row and upper < rows[row] and lower < rows[row + 1]:
            upper_end, lower_end = start[upper] + lengths[upper], start[lower] + lengths[lower]
            shared = min(upper_end, lower_end) - max(start[upper], start[lower])
            count = _emit(table, count, face[upper], face[lower], shared, is_small)
            upper += upper_end <= lower_end
            lower += lower_end <= upper_end
    return table[:count, 0].copy(), table[:count, 1].copy(), table[:count, 2].copy()


@njit(cache=True, nogil=True)
def _emit(table: Integers, count: int, one: int, other: int, length: int, is_small: NDArray[np.bool_]) -> int:
    """Append a border if there is one and it is wanted; returns how many there are then."""
    if one == other or one < 0 or other < 0 or not (is_small[one] or is_small[other]):
        return count
    table[count, 0], table[count, 1], table[count, 2] = one, other, length
    return count + 1


@dataclass(frozen=True)
class Graph:
    """Faces and the borders between them.

    Attributes
    ----------
    label, pixels, key : int64, shape (face,)
        Label, number of pixels, and raster index of the first pixel.
    one, other, length : int64, shape (border,)
        Two faces and the length of a border between them, px; the same two may occur several times.
    """

    label: Integers
    pixels: Integers
    key: Integers
    one: Integers
    other: Integers
    length: Integers

    def __len__(self) -> int:
        """Count the faces."""
        return len(self.label)

    def take(self, index: Integers, number: Integers) -> Graph:
        """Return some of the faces, which all borders are between; ``number`` is the new number of every face."""
        return Graph(
            self.label[index], self.pixels[index], self.key[index], number[self.one], number[self.other], self.length
        )

    def take_borders(self, wanted: NDArray[np.bool_]) -> Graph:
        """Return all faces and some of the borders."""
        return replace(self, one=self.one[wanted], other=self.other[wanted], length=self.length[wanted])

    def with_borders(self, one: Integers, other: Integers) -> Graph:
        """Add borders of one pixel."""
        return replace(
            self,
            one=np.concatenate([self.one, one]),
            other=np.concatenate([self.other, other]),
            length=np.concatenate([self.length, np.ones(len(one), np.int64)]),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Graph]) -> Graph:
        """Put graphs beside one another, without a border between them."""
        begins = np.cumsum([len(part) for part in parts]) - [len(part) for part in parts]
        shifted = [
            replace(part, one=part.one + begin, other=part.other + begin)
            for part, begin in zip(parts, begins, strict=True)
        ]
        return cls(
            **{field.name: np.concatenate([getattr(part, field.name) for part in shifted]) for field in fields(cls)}
        )


def roots_of(count: int, one: Integers, other: Integers) -> Coordinates:
    """The smallest of all faces that pairs of faces connect each face with, int32, shape (face,)."""
    parent = np.arange(count, dtype=np.int32)
    unite_pairs(parent, np.stack([one, other], axis=1))
    return parent


def absorb(graph: Graph, unit: MappingUnit) -> Integers:
    """Give every small face the class it borders on most.

    Of all faces below the mapping unit of their class, the one with the fewest pixels, then with the smallest key,
    takes the label with the longest border in all (of several the smallest label); it unites with all neighbours of
    that label, and the united face is looked at again while it is small. A face without neighbours stays.

    Parameters
    ----------
    graph : Graph
        All neighbours of its small faces among its faces.
    unit : MappingUnit
        What a face must have to be large.

    Returns
    -------
    int64, shape (face,)
        The label that each face has in the end.
    """
    labels, label = np.unique(graph.label, return_inverse=True)
    faces = _Faces(np.arange(len(label), dtype=np.int32), label, graph.pixels.copy(), graph.key.copy())
    leads_to = np.column_stack([graph.other, graph.one]).ravel()
    sides = _sides(len(label), np.column_stack([graph.one, graph.other]).ravel(), leads_to, np.repeat(graph.length, 2))
    return labels[_absorb(faces, sides, np.zeros(len(labels), np.int64), unit.of(labels))]


NONE = -1
"""The end of a list, and no label."""


class _Faces(NamedTuple):
    """Faces while they unite; what belongs to a united face stands at its root."""

    root: Coordinates
    label: Integers
    pixels: Integers
    key: Integers


class _Sides(NamedTuple):
    """The two sides of each border: linked lists, one for each face.

    ``first`` and ``last`` are the ends of a face's list; ``following``, ``leads_to`` and ``length`` belong to sides.
    """

    first: Integers
    last: Integers
    following: Integers
    leads_to: Integers
    length: Integers


def _sides(count: int, face: Integers, leads_to: Integers, length: Integers) -> _Sides:
    """Link the sides of each face."""
    order = np.argsort(face, kind="stable")
    is_first = np.diff(face[order], prepend=NONE) != 0
    is_last = np.diff(face[order], append=NONE) != 0
    first, last, following = np.full(count, NONE), np.full(count, NONE), np.full(len(face), NONE)
    first[face[order[is_first]]] = order[is_first]
    last[face[order[is_last]]] = order[is_last]
    following[order[:-1]] = np.where(is_last[:-1], NONE, order[1:])
    return _Sides(first, last, following, leads_to, length)


@njit(cache=True, nogil=True)
def _absorb(faces: _Faces, sides: _Sides, border: Integers, least: Integers) -> Integers:
    """Work through a heap of small faces; ``border`` is zero for every label, ``least`` what its faces must have.

    Faces unite by linking their lists, so no border is counted anew: which face a side leads to, and which label that
    has by now, the union-find knows. A face that is looked at again has at least twice the pixels, so a side is walked
    along as many times as the largest of these has binary digits.
    """
    small = [
        face for face, side in enumerate(sides.first) if side != NONE and faces.pixels[face] < least[faces.label[face]]
    ]
    heap = [(faces.pixels[face], faces.key[face], face) for face in small]
    heapq.heapify(heap)
    while heap:
        size, _, face = heapq.heappop(heap)
        if faces.root[face] != face or faces.pixels[face] != size:
            continue  # it united with another one since
        chosen = _choose(face, faces, sides, border)
        if chosen == NONE:
            continue
        _unite(face, chosen, faces, sides, least[chosen])
        if faces.root[face] == face and faces.pixels[face] < least[chosen]:
            heapq.heappush(heap, (faces.pixels[face], faces.key[face], face))
    return np.array([faces.label[find(faces.root, face)] for face in range(len(faces.root))])


@njit(cache=True, nogil=True)
def _choose(face: int, faces: _Faces, sides: _Sides, border: Integers) -> int:
    """The label with the longest border around a face, or `NONE`."""
    side = sides.first[face]
    while side != NONE:
        neighbour = find(faces.root, sides.leads_to[side])
        if neighbour != face:
            border[faces.label[neighbour]] += sides.length[side]
        side = sides.following[side]
    chosen, longest = NONE, 0
    side = sides.first[face]
    while side != NONE:
        label = faces.label[find(faces.root, sides.leads_to[side])]
        if border[label] > longest or (border[label] == longest and label < chosen):
            chosen, longest = label, border[label]
        border[label] = 0
        side = sides.following[side]
    return chosen


@njit(cache=True, nogil=True)
def _unite(face: int, chosen: int, faces: _Faces, sides: _Sides, least: int) -> None:
    """Unite a face with all neighbours of a label; the union is large as soon as one of them is."""
    large = NONE
    side, end = sides.first[face], sides.last[face]
    while side != NONE:
        neighbour = find(faces.root, sides.leads_to[side])
        if neighbour != face and faces.label[neighbour] == chosen:
            if faces.pixels[neighbour] >= least:
                large = neighbour
            else:
                faces.root[neighbour] = face
                faces.pixels[face] += faces.pixels[neighbour]
                faces.key[face] = min(faces.key[face], faces.key[neighbour])
                sides.following[sides.last[face]] = sides.first[neighbour]
                sides.last[face] = sides.last[neighbour]
        side = sides.following[side] if side != end else NONE
    faces.label[face] = chosen
    if large != NONE:
        faces.root[face] = large
