"""The original vertices that simplification looks at: all of them by line, and those that a block hands on.

An arc is simplified once it is complete, perhaps far from the block that holds the vertices around a part of it. So a
block hands over what a guard may ask for there: vertices within twice the tolerance. `hulls` tells why these suffice;
this module only finds vertices, among whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import Chains, Coordinates, Integers
from geoseg.arcs.metric import ROUNDING, Gram, Metric

FARTHEST = np.int32(2**31 - 1)
"""Beyond every lattice coordinate."""

CELL = 8
"""The smallest side of a cell, px."""

CELLS = 2**22
"""The most cells that an extent is divided into."""

Sides = tuple[int | None, int | None, int | None, int | None]


class LatticeVertices(NamedTuple):
    """Vertices by lattice line: those of each row by column, or those of each column by row.

    Each of ``extent`` lines is cut into stretches of ``2**bits`` places, the first of which begins at place ``base``.
    Those in stretch s of line ``first + k`` are ``places[starts[c] : starts[c + 1]]``, int32, with
    ``c = stretches * k + s``. There is a stretch for every two vertices or so, so that finding a place is one step, no
    search.
    """

    first: int
    extent: int
    base: int
    bits: int
    stretches: int
    starts: Integers
    places: Coordinates


class Guard(NamedTuple):
    """What a chord must meet, as compiled loops take it.

    ``limit`` is the largest squared distance of a vertex, CRS units; ``low`` and ``high`` are room for one interval a
    line, so each thread has a guard of its own.
    """

    gram: Gram
    limit: float
    rows: LatticeVertices
    columns: LatticeVertices
    low: Coordinates
    high: Coordinates


@dataclass(frozen=True)
class VertexIndex:
    """The original vertices of a map, by row and by column.

    Building takes O(n log n), for the sort; memory is some 8 bytes a vertex and 8 bytes a line, twice.
    """

    rows: LatticeVertices
    columns: LatticeVertices

    @classmethod
    def of(cls, x: Coordinates, y: Coordinates) -> VertexIndex:
        """Index vertices: int32 columns and rows of pixel corners in any order; repeated ones count once."""
        return cls(_lines(y, x), _lines(x, y))

    def spans(self, x: Coordinates, y: Coordinates, where: NDArray[np.bool_]) -> bool:
        """Whether some of these vertices, which the index should hold, lie at least in its extent."""
        return all(
            lines.first <= int(line.min(where=where, initial=FARTHEST))
            and int(line.max(where=where, initial=-FARTHEST)) < lines.first + lines.extent
            for lines, line in ((self.rows, y), (self.columns, x))
        )

    def guard(self, metric: Metric, tolerance: float) -> Guard:
        """Make the test for a tolerance in CRS units."""
        limit = tolerance * tolerance * (1 + ROUNDING)
        low, high = np.empty((2, max(self.rows.extent, self.columns.extent)), np.int32)
        return Guard(metric.gram, limit, self.rows, self.columns, low, high)


def _lines(line: Coordinates, place: Coordinates) -> LatticeVertices:
    """Sort vertices by line and place, as one integer each, which is several times faster than by two."""
    if not line.size:
        return LatticeVertices(0, 0, 0, 0, 1, np.zeros(1, np.int64), np.empty(0, np.int32))
    first, base = int(line.min()), int(place.min())
    count, width = int(line.max()) - first + 1, int(place.max()) - base + 1
    keys = line.astype(np.int64)
    keys -= first
    keys <<= 32
    keys += place
    keys -= base
    keys.sort()
    keys = keys[np.append(True, keys[1:] != keys[:-1])]  # np.unique hashes integers, and is slower by far
    steps = keys & 0xFFFFFFFF
    bits = (2 * count * width // keys.size).bit_length()
    stretches = ((width - 1) >> bits) + 1
    keys >>= 32
    keys *= stretches
    keys += steps >> bits
    held = np.bincount(keys, minlength=count * stretches)
    return LatticeVertices(
        first, count, base, bits, stretches, np.append(0, np.cumsum(held)), (steps + base).astype(np.int32)
    )


def vertices_near(
    x: Coordinates, y: Coordinates, chains: Chains, chosen: NDArray[np.bool_], sides: Sides, reach: tuple[int, int]
) -> NDArray[np.bool_]:
    """Find the vertices near some chains or near open sides: all within reach, and some that are a little farther.

    Cells as large as the reach are marked if they touch the box that reaches around an edge, and a vertex counts as
    near if its cell is marked. It takes O(vertices + edges + length of edges / side of a cell), and 4 MiB at most: over
    a large extent the cells are larger.

    Parameters
    ----------
    x, y : int32, shape (vertex,)
        Columns and rows of pixel corners, in any order.
    chains : Chains
        Raw arcs, or parts of them.
    chosen : bool, shape (chain,)
        Those that count.
    sides : tuple of int or None
        The lattice row of the top, the column of the right, the row of the bottom and the column of the left side, if
        it is open; None if not. A side counts as a whole line.
    reach : rows, columns
        Pixels, as `Metric.reach` gives them for twice the tolerance.

    Returns
    -------
    bool, shape (vertex,)
    """
    rows, columns = (min(steps, 2**32) for steps in reach)
    top, right, bottom, left = sides
    near = np.zeros(x.shape, np.bool_)
    for side, line, steps in ((top, y, rows), (bottom, y, rows), (left, x, columns), (right, x, columns)):
        if side is not None:
            near |= (side - steps <= line) & (line <= side + steps)
    numbers = np.flatnonzero(chosen)
    if x.size and numbers.size:
        upper, leftmost = int(y.min()), int(x.min())
        tall, wide = _cell_bits(int(y.max()) - upper + 1, int(x.max()) - leftmost + 1, rows, columns)
        cells = np.zeros((((int(y.max()) - upper) >> tall) + 1, ((int(x.max()) - leftmost) >> wide) + 1), np.bool_)
        _mark_cells(chains.offsets, chains.x, chains.y, numbers, rows, columns, upper, leftmost, tall, wide, cells)
        near |= cells[(y - upper) >> tall, (x - leftmost) >> wide]
    return near


def _cell_bits(height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
    """Choose the sides of cells, as exponents of two: no less than the reach, and not too many cells."""
    tall, wide = ((max(CELL, steps) - 1).bit_length() for steps in (rows, columns))
    while (((height - 1) >> tall) + 1) * (((width - 1) >> wide) + 1) > CELLS:
        tall, wide = tall + 1, wide + 1
    return tall, wide


@njit(cache=True, nogil=True)
def _mark_cells(
    offsets: Integers,
    x: Coordinates,
    y: Coordinates,
    chosen: Integers,
    rows: int,
    columns: int,
    upper: int,
    leftmost: int,
    tall: int,
    wide: int,
    cells: NDArray[np.bool_],
) -> None:
    """Mark each cell that the box around an edge of a chosen chain touches, ``rows`` and ``columns`` around it."""
    height, width = cells.shape
    for chain in chosen:
        for vertex in range(offsets[chain], offsets[chain + 1] - 1):
            top, bottom = min(y[vertex], y[vertex + 1]) - upper, max(y[vertex], y[vertex + 1]) - upper
            left, right = min(x[vertex], x[vertex + 1]) - leftmost, max(x[vertex], x[vertex + 1]) - leftmost
            for row in range(max(0, (top - rows) >> tall), min(height - 1, (bottom + rows) >> tall) + 1):
                for column in range(max(0, (left - columns) >> wide), min(width - 1, (right + columns) >> wide) + 1):
                    cells[row, column] = True
