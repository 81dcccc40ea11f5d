"""The one look at the pixels: runs of equal labels, and the pixel corners where boundaries turn or meet.

A *crack* is the unit edge between two pixels that differ. Four cracks can meet at a pixel corner, one in each
direction, and which of them are there is the corner's code::

          N = 1
           |
    W = 8 -+- E = 2        directions 0 to 3 are N, E, S, W; a crack in direction d is bit 1 << d
           |
          S = 4

Strategy. Rows are compared with themselves and with the row above in loops that the compiler vectorises; what comes out
is a byte a column, zero nearly everywhere, so it is read eight columns at a time. Straight corners (N + S, E + W) are
not emitted: whoever follows a boundary jumps from turn to turn. Horizontal neighbours on a boundary follow one
another in the output; vertical ones are linked, with one open corner a column. This module knows an array; it does
not know which part of a raster it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import Coordinates, Integers

Codes = NDArray[np.uint8]
Flags = NDArray[np.uint8]


@dataclass(frozen=True)
class Runs:
    """Maximal stretches of one label in a row, in raster order.

    Attributes
    ----------
    start : int32, shape (run,)
        Column of the first pixel.
    rows : int64, shape (row + 1,)
        Where each row begins in ``start``, and the end.
    width : int
        Columns of the array.
    """

    start: Coordinates
    rows: Integers
    width: int


@dataclass(frozen=True)
class Corners:
    """Pixel corners that turn, meet or are cut by the array's edge, in raster order.

    Attributes
    ----------
    x, y : int32, shape (corner,)
        Column and row in the array's lattice.
    code : uint8, shape (corner,)
        Cracks that meet there; a single one where the array's edge cuts it.
    above, below : int32, shape (corner,)
        The next corner along the crack to the north and to the south, where there is one.
    """

    x: Coordinates
    y: Coordinates
    code: Codes
    above: Coordinates
    below: Coordinates

    def __len__(self) -> int:
        """Count the corners."""
        return len(self.code)


def scan(labels: NDArray[Any], void: int, row_cut: Flags, col_cut: Flags) -> tuple[Runs, Corners]:
    """Find runs and corners of an array.

    Parameters
    ----------
    labels : uint8 or int64, shape (y, x)
        Classes, C-contiguous.
    void : int
        The label of what is no face.
    row_cut, col_cut : uint8, shapes (y,) and (x,)
        1 where the border above the row, or left of the column, is a cutting line: it gets cracks even between equal
        labels, unless they are void.
    """
    void = labels.dtype.type(void)
    start, rows, table = scan_rows(labels, void, row_cut, col_cut)
    corners = Corners(table[X], table[Y], table[CODE].astype(np.uint8), table[ABOVE], table[BELOW])
    return Runs(start, rows, labels.shape[1]), corners


X, Y, CODE, ABOVE, BELOW = range(5)
"""Rows of the growing table of corners."""


@njit(cache=True, nogil=True)
def scan_rows(
    labels: NDArray[Any], void: int, row_cut: Flags, col_cut: Flags
) -> tuple[Coordinates, Integers, Coordinates]:
    """Go through the rows; see the module's strategy."""
    height, width = labels.shape
    padded = (width + 8) // 8 * 8 + 8
    earlier, here = np.zeros(padded, np.uint8), np.zeros(padded, np.uint8)
    across, code = np.zeros(padded, np.uint8), np.zeros(padded, np.uint8)
    runs = np.empty(labels.size // 8 + height + width + 16, np.int32)
    rows = np.empty(height + 1, np.int64)
    table = np.empty((5, labels.size // 8 + 4 * (height + width) + 16), np.int32)
    pending = np.zeros(width + 1, np.int32)
    run_count = count = 0
    for i in range(height):
        earlier, here = here, earlier
        _vertical_cracks(labels[i], void, col_cut, here)
        rows[i] = run_count
        if run_count + width + 2 > runs.size:
            runs = _grown(runs, 2 * runs.size + width)
        run_count = _emit_runs(here, runs, run_count)
        if count + 2 * width + 4 > table.shape[1]:
            table = _grown_table(table, 2 * table.shape[1] + 2 * width)
        if i == 0:
            count = _emit_top(runs[1:run_count], table, count, pending)
            continue
        _horizontal_cracks(labels[i - 1], labels[i], void, row_cut[i], across)
        _codes(earlier, here, across, width, code)
        count = _emit_corners(code, across, i, width, table, count, pending)
    rows[height] = run_count
    count = _emit_bottom(runs[rows[height - 1] + 1 : run_count], height, table, count, pending)
    return runs[:run_count].copy(), rows, table[:, :count].copy()


@njit(cache=True, nogil=True)
def _grown(values: Coordinates, size: int) -> Coordinates:
    grown = np.empty(size, values.dtype)
    grown[: values.size] = values
    return grown


@njit(cache=True, nogil=True)
def _grown_table(table: Coordinates, size: int) -> Coordinates:
    grown = np.empty((table.shape[0], size), table.dtype)
    grown[:, : table.shape[1]] = table
    return grown


@njit(cache=True, nogil=True)
def _vertical_cracks(row: NDArray[Any], void: int, col_cut: Flags, cracks: Flags) -> None:
    """1 where a crack stands left of a column; the array's own left edge has none."""
    for j in range(1, row.size):
        cracks[j] = (row[j] != row[j - 1]) | (col_cut[j] & (row[j] != void))


@njit(cache=True, nogil=True)
def _horizontal_cracks(upper: NDArray[Any], lower: NDArray[Any], void: int, is_cut: int, cracks: Flags) -> None:
    """1 where a crack lies between two rows."""
    for j in range(lower.size):
        cracks[j] = (lower[j] != upper[j]) | (is_cut & (lower[j] != void))


@njit(cache=True, nogil=True)
def _codes(earlier: Flags, here: Flags, across: Flags, width: int, code: Codes) -> None:
    """Codes of the corners between two rows; 0 where there is nothing, or a straight boundary."""
    for j in range(1, width):
        north, south, west, east = earlier[j], here[j], across[j - 1], across[j]
        turns = (north ^ south) | (west ^ east) | (south & east)
        code[j] = (north | (east << 1) | (south << 2) | (west << 3)) * turns


@njit(cache=True, nogil=True)
def _emit_runs(cracks: Flags, runs: Coordinates, count: int) -> int:
    """Append the starts of a row's runs: column 0, and wherever a crack stands; eight columns are skipped at once."""
    runs[count] = 0
    count += 1
    words = cracks.view(np.uint64)
    for word in range(words.size):
        if words[word]:
            for j in range(8 * word, 8 * word + 8):
                runs[count] = j
                count += cracks[j]
    return count


@njit(cache=True, nogil=True)
def _emit(table: Coordinates, count: int, x: int, y: int, code: int) -> int:
    table[X, count], table[Y, count], table[CODE, count] = x, y, code
    return count + 1


@njit(cache=True, nogil=True)
def _emit_top(columns: Coordinates, table: Coordinates, count: int, pending: Coordinates) -> int:
    """Append the ends of the vertical cracks that come in from above the array."""
    for x in columns:
        pending[x] = count
        count = _emit(table, count, x, 0, 4)
    return count


@njit(cache=True, nogil=True)
def _emit_bottom(columns: Coordinates, y: int, table: Coordinates, count: int, pending: Coordinates) -> int:
    """Append the ends of the vertical cracks that leave the array below."""
    for x in columns:
        table[ABOVE, count] = pending[x]
        table[BELOW, pending[x]] = count
        count = _emit(table, count, x, y, 1)
    return count


@njit(cache=True, nogil=True)
def _emit_corners(
    code: Codes, across: Flags, y: int, width: int, table: Coordinates, count: int, pending: Coordinates
) -> int:
    """Append the corners between two rows and link them to those above; ``pending`` holds a column's last corner."""
    if across[0]:
        count = _emit(table, count, 0, y, 2)
    words = code.view(np.uint64)
    for word in range(words.size):
        if words[word]:
            for x in range(8 * word, 8 * word + 8):
                if code[x]:
                    if code[x] & 1:
                        table[ABOVE, count] = pending[x]
                        table[BELOW, pending[x]] = count
                    if code[x] & 4:
                        pending[x] = count
                    count = _emit(table, count, x, y, code[x])
    if across[width - 1]:
        count = _emit(table, count, width, y, 8)
    return count
