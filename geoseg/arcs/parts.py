"""Which pixels belong together: union-find over runs, which are far fewer than pixels.

A *face* is a 4-connected region of one label. Cutting lines, where there are any, divide it into *parts*, each of them
4-connected within its cell of the lines; without lines a face is one part. Parts are what arcs have on their two
sides; that several of them are one face is kept beside them. Where holes are filled, 4-connected regions of void are
parts, too, which belong to no face. This module knows runs; it does not know arcs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import Coordinates, Integers
from geoseg.arcs.scanning import Flags, Runs

VOID = -1
"""The part of pixels that are no face, unless they are numbered; and of everything outside."""


@dataclass(frozen=True)
class Parts:
    """Parts of faces, and what was counted inside them.

    Attributes
    ----------
    label, pixels, confidence_sum : int64, shape (part,)
        Class, number of pixels, and the sum of their confidence.
    key : int64, shape (part,)
        Row times the raster's width plus column of the first pixel.
    vertices : int64, shape (part,)
        Vertices of the boundary before any is removed, each arc counted on both of its sides.
    lost : int64, shape (part,)
        What simplification of complete arcs takes from the part, as `taken_area` counts it, without what it gives.
    sheltered : int64, shape (part,)
        Pixels from which surely nothing is taken.
    face : int32, shape (part,)
        One of the parts that are one face with this one, the same for all of them.
    group : int32, shape (part,)
        The same for faces that are one feature: where corners count as contact, those that touch at one.
    is_giant : bool, shape (part,)
        The feature is known to have too many vertices for one.
    is_void : bool, shape (part,)
        A region of void, which is no face; nothing is counted in it.
    borders_faces : bool, shape (part,)
        A region of void with a face at its border that is complete, and no longer among the parts.
    """

    label: Integers
    pixels: Integers
    confidence_sum: Integers
    key: Integers
    vertices: Integers
    lost: Integers
    sheltered: Integers
    face: Coordinates
    group: Coordinates
    is_giant: NDArray[np.bool_]
    is_void: NDArray[np.bool_]
    borders_faces: NDArray[np.bool_]

    def __len__(self) -> int:
        """Count the parts."""
        return len(self.label)

    @classmethod
    def void(cls, count: int, first: int = 0) -> Parts:
        """Regions of void, of which nothing is counted; ``first`` is the number of the first one."""
        none, no = np.zeros(count, np.int64), np.zeros(count, bool)
        number = np.arange(first, first + count, dtype=np.int32)
        return cls(none, none, none, none, none, none, none, number, number, no, ~no, no)


@njit(cache=True, nogil=True)
def find(parent: Coordinates, node: int) -> int:
    """Root of a node; the path to it is halved on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(cache=True, nogil=True)
def unite(parent: Coordinates, one: int, other: int) -> int:
    """Unite two nodes under the smaller of their roots, and return that."""
    one, other = find(parent, one), find(parent, other)
    low, high = min(one, other), max(one, other)
    parent[high] = low
    return low


@njit(cache=True, nogil=True)
def flatten(parent: Coordinates) -> None:
    """Point every node at its root; parents must not be larger than their children."""
    for node in range(parent.size):
        parent[node] = parent[parent[node]]


@njit(cache=True, nogil=True)
def unite_pairs(parent: Coordinates, pairs: Coordinates | Integers) -> None:
    """Unite pairs of nodes, shape (pair, 2), and point every node at its root."""
    for pair in range(len(pairs)):
        unite(parent, pairs[pair, 0], pairs[pair, 1])
    flatten(parent)


def number_parts(runs: Runs, labels: NDArray[Any], void: int, row_cut: Flags) -> tuple[Coordinates, Coordinates]:
    """Number the parts in raster order of their first pixels.

    Parameters
    ----------
    runs : Runs
        Of the array.
    labels : uint8 or int64, shape (y, x)
        Classes.
    void : int
        The label of what is no face.
    row_cut : uint8, shape (y,)
        1 where the border above the row is a cutting line.

    Returns
    -------
    part : int32, shape (run,)
        Part of each run, `VOID` where there is none.
    face : int32, shape (part,)
        The first part of each part's face.
    """
    label = labels[np.repeat(np.arange(len(labels)), np.diff(runs.rows)), runs.start]
    parent = _connect(runs.start, runs.rows, runs.width, label, row_cut)
    part, count = _number(parent, label == labels.dtype.type(void))
    return part, _faces(runs.start, runs.rows, runs.width, label, row_cut, part, count)


def number_voids(runs: Runs, labels: NDArray[Any], void: int) -> tuple[Coordinates, int]:
    """Number the 4-connected regions of void, which no cutting line divides.

    Parameters
    ----------
    runs, labels, void
        As of `number_parts`.

    Returns
    -------
    region : int32, shape (run,)
        Region of each run, `VOID` of runs of faces.
    count : int
        Number of regions.
    """
    label = labels[np.repeat(np.arange(len(labels)), np.diff(runs.rows)), runs.start]
    parent = _connect(runs.start, runs.rows, runs.width, label, np.zeros(len(labels), np.uint8))
    return _number(parent, label != labels.dtype.type(void))


@njit(cache=True, nogil=True)
def _connect(start: Coordinates, rows: Integers, width: int, label: NDArray[Any], row_cut: Flags) -> Coordinates:
    """Unite each run with the runs of its label above it, unless a cutting line lies between."""
    parent = np.arange(start.size, dtype=np.int32)
    for i in range(1, rows.size - 1):
        upper, upper_end = rows[i - 1], rows[i]
        if row_cut[i]:
            continue
        for run in range(rows[i], rows[i + 1]):
            end = start[run + 1] if run + 1 < rows[i + 1] else width
            while upper + 1 < upper_end and start[upper + 1] <= start[run]:
                upper += 1
            while True:
                if label[upper] == label[run]:
                    unite(parent, upper, run)
                if upper + 1 == upper_end or start[upper + 1] >= end:
                    break
                upper += 1
    return parent


@njit(cache=True, nogil=True)
def _number(parent: Coordinates, is_void: NDArray[np.bool_]) -> tuple[Coordinates, int]:
    """Count roots through; every other run takes the number of its root, which comes earlier."""
    part = np.empty(parent.size, np.int32)
    count = 0
    for run in range(parent.size):
        if is_void[run]:
            part[run] = VOID
        elif parent[run] == run:
            part[run] = count
            count += 1
        else:
            part[run] = part[parent[run]]
    return part, count


@njit(cache=True, nogil=True)
def _faces(
    start: Coordinates, rows: Integers, width: int, label: NDArray[Any], row_cut: Flags, part: Coordinates, count: int
) -> Coordinates:
    """Unite the parts that only a cutting line divides."""
    face = np.arange(count, dtype=np.int32)
    for i in range(rows.size - 1):
        for run in range(rows[i] + 1, rows[i + 1]):
            if part[run] >= 0 and label[run] == label[run - 1]:
                unite(face, part[run], part[run - 1])
        if i == 0 or not row_cut[i]:
            continue
        upper = rows[i - 1]
        for run in range(rows[i], rows[i + 1]):
            end = start[run + 1] if run + 1 < rows[i + 1] else width
            while upper + 1 < rows[i] and start[upper + 1] <= start[run]:
                upper += 1
            while True:
                if part[run] >= 0 and label[upper] == label[run]:
                    unite(face, part[run], part[upper])
                if upper + 1 == rows[i] or start[upper + 1] >= end:
                    break
                upper += 1
    flatten(face)
    return face


@njit(cache=True, nogil=True)
def sum_parts(
    start: Coordinates,
    rows: Integers,
    width: int,
    part: Coordinates,
    count: int,
    confidence: NDArray[np.uint8],
    origin: tuple[int, int],
    raster_width: int,
) -> tuple[Integers, Integers, Integers]:
    """Count pixels and sum confidence of each part, and find its first pixel.

    The array's first row and column belong to other arrays: they are not counted, but they may hold the first pixel.

    Parameters
    ----------
    start, rows, width
        The runs.
    part : int32, shape (run,)
        Part of each run.
    count : int
        Number of parts.
    confidence : uint8, shape (y, x)
        How sure each pixel is; shape (0, 0) when every pixel is certain.
    origin : (int, int)
        Row and column of the array's first pixel in the raster; -1 left of it or above it.
    raster_width : int
        Columns of the raster, px.

    Returns
    -------
    pixels, confidence_sum, key : int64, shape (part,)
    """
    pixels, total = np.zeros(count, np.int64), np.zeros(count, np.int64)
    key = np.full(count, np.iinfo(np.int64).max, np.int64)
    for i in range(rows.size - 1):
        for run in range(rows[i], rows[i + 1]):
            if part[run] < 0:
                continue
            end = start[run + 1] if run + 1 < rows[i + 1] else width
            place = (i + origin[0]) * raster_width + start[run] + origin[1]
            key[part[run]] = min(key[part[run]], place)
            if i == 0:
                continue
            first = max(start[run], 1)
            pixels[part[run]] += end - first
            if confidence.size:
                for j in range(first, end):
                    total[part[run]] += confidence[i, j]
    return pixels, total, key


@njit(cache=True, nogil=True)
def sheltered_pixels(
    start: Coordinates, rows: Integers, width: int, part: Coordinates, count: int, margin: int
) -> Integers:
    """Count pixels of each part that are far from its boundary, in squares of a fixed grid that lie within one part.

    Parameters
    ----------
    start, rows, width, part, count
        As of `sum_parts`.
    margin : int
        Px: those nearer to the sides of a square do not count.

    Returns
    -------
    int64, shape (part,)
        Not all such pixels: the sides of a square are four times the margin, and at least 16 px.
    """
    side = max(16, 4 * margin)
    found, held = np.zeros(count, np.int64), np.empty(width // side + 1, np.int32)
    for i in range((rows.size - 1) // side * side):
        if i % side == 0:
            held[:] = VOID
        for run in range(rows[i], rows[i + 1]):
            end = start[run + 1] if run + 1 < rows[i + 1] else width
            first, last = -(-start[run] // side), end // side
            for square in range(first, last):
                held[square] = part[run] if i % side == 0 or held[square] == part[run] else VOID
            if start[run] % side:
                held[start[run] // side] = VOID
            if end % side:
                held[end // side] = VOID
        if i % side == side - 1:
            for square in range(width // side):
                if held[square] >= 0:
                    found[held[square]] += (side - 2 * margin) ** 2
    return found


@njit(cache=True, nogil=True)
def run_at(start: Coordinates, rows: Integers, y: int, x: int) -> int:
    """The run that holds a pixel."""
    low, high = int(rows[y]), int(rows[y + 1]) - 1
    while low < high:
        middle = (low + high + 1) >> 1
        if start[middle] <= x:
            low = middle
        else:
            high = middle - 1
    return low
