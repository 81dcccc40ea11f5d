"""Ramps: weighted sums where tiles overlap, and the strips that blocks exchange.

Ramp weights are integers that sum to 256 on each axis, so every weighted sum of integers of scale 32,767 fits int32,
any order of additions gives the same bits, and a constant stays constant. This module knows arrays of tiles and
blocks; where the integers come from is not its matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.blending.integers import AS_THEY_ARE, Integers, Mask, Powers
from geoseg.blending.scores import TileScores
from geoseg.grid import Axis, Block, Tile, TileGrid, Window
from geoseg.probabilities import SCALE, Labels, Pixels, Stored

ONE = 256
"""The weight of a pixel that one tile predicts alone, along one axis."""

Sums = NDArray[np.int32]


def ramp_weights(ramp: int) -> NDArray[np.int32]:
    """Ascending weights of a ramp, ``rint(256 (t + 1/2) / ramp)``; the other tile gets ``256 - w``.

    Parameters
    ----------
    ramp : int
        Length, px.
    """
    return np.rint(ONE * (np.arange(ramp) + 0.5) / max(1, ramp)).astype(np.int32)


def axis_weights(axis: Axis, tile: int) -> NDArray[np.int32]:
    """Weights of a tile over its reach, such that at every pixel of the axis all tiles' weights sum to 256.

    The outer edges of the raster have no ramp: there a tile's weight is 256 up to the last pixel.
    """
    start, end = axis.reach(tile)
    weights = np.full(end - start, ONE, np.int32)
    ascending = ramp_weights(axis.tiling.ramp)
    if tile > 0:
        weights[: axis.tiling.ramp] = ascending
    if tile < axis.tiles - 1:
        weights[axis.tiling.stride :] = ONE - ascending
    return weights


@dataclass(frozen=True)
class Strips:
    """What a block's own tiles say about pixels that other blocks' tiles predict too: raw sums.

    All are int32, shape (class, y, x), contiguous, clipped to the raster. ``top`` and ``left`` are the block's own
    ramps, which its neighbours complete; ``right``, ``below`` and ``corner`` lie on its overhang, and each has one
    consumer. An array is empty where the block has no neighbour; its classes are counted even then.
    """

    top: Sums
    left: Sums
    right: Sums
    below: Sums
    corner: Sums


class BlockSums:
    """Weighted sums on the ramps of one block, tile after tile, in any order.

    Horizontal ramps are full-width bands, one at every border between rows of tiles; vertical ramps are
    full-height bands. Their crossings are summed in both, with the same terms, so either may label them.
    Interiors need no sums: they are labelled from the tile alone.

    Parameters
    ----------
    grid : TileGrid
        The raster's layout.
    block : Block
        Whose ramps.
    classes : int
        Number of classes; 0 of a block of which no tile is predicted.
    """

    def __init__(self, grid: TileGrid, block: Block, classes: int) -> None:
        self._grid, self._block, self._classes = grid, block, classes
        ramp, reach = grid.tiling.ramp, block.reach
        rows, cols = grid.rows, grid.cols
        self._across = {
            edge: np.zeros((classes, ramp, reach.width), np.int32) for edge in _borders(rows, block.row) if ramp
        }
        self._down = {
            edge: np.zeros((classes, reach.height, ramp), np.int32) for edge in _borders(cols, block.col) if ramp
        }

    def of(self, classes: int) -> BlockSums:
        """These sums, or empty ones for another number of classes: how many there are a network says."""
        return self if classes == self._classes else BlockSums(self._grid, self._block, classes)

    def add(self, tile: Tile, scores: TileScores) -> None:
        """Add a tile; only its ramps are quantised.

        Parameters
        ----------
        tile : Tile
            One of the block's tiles.
        scores : TileScores
            What its model says.

        Raises
        ------
        FloatingPointError
            As in `geoseg.blending.quantise`.
        """
        down = axis_weights(self._grid.rows, tile.row)
        across = axis_weights(self._grid.cols, tile.col)
        place = tile.reach.relative_to(self._block.reach)
        ramp = self._grid.tiling.ramp
        for edge, sums in self._across.items():
            y = edge - tile.reach.y
            if 0 <= y < tile.reach.height:
                integers = scores.across(y)[:, :, : tile.reach.width]
                _add_weighted(sums, np.ascontiguousarray(integers), down[y : y + ramp], across, 0, place.x)
        for edge, sums in self._down.items():
            x = edge - tile.reach.x
            if 0 <= x < tile.reach.width:
                integers = scores.down(x)[:, : tile.reach.height]
                _add_weighted(sums, np.ascontiguousarray(integers), down, across[x : x + ramp], place.y, 0)

    def inner_ramps(self) -> list[tuple[Window, Sums]]:
        """Ramps between the block's own tiles: windows relative to its core, and sums over them.

        The part of an inner ramp that crosses the block's own top or left ramp is not complete yet;
        whoever completes those overwrites it.
        """
        core = self._block.core
        found: list[tuple[Window, Sums]] = []
        if not self._classes:
            return found
        for edge, sums in self._down.items():
            if core.x < edge < core.right:
                found.append((Window(0, edge - core.x, core.height, sums.shape[2]), sums[:, : core.height]))
        for edge, sums in self._across.items():
            if core.y < edge < core.bottom:
                found.append((Window(edge - core.y, 0, sums.shape[1], core.width), sums[:, :, : core.width]))
        return found

    def strips(self) -> Strips:
        """What neighbours need, and what the block keeps until its neighbours' strips arrive."""
        core = self._block.core
        top, below = self._across.get(core.y), self._across.get(core.bottom)
        left, right = self._down.get(core.x), self._down.get(core.right)
        empty = np.zeros((self._classes, 0, 0), np.int32)
        return Strips(
            top=empty if top is None else np.ascontiguousarray(top[:, :, : core.width]),
            left=empty if left is None else np.ascontiguousarray(left[:, : core.height]),
            right=empty if right is None else np.ascontiguousarray(right[:, : core.height]),
            below=empty if below is None else np.ascontiguousarray(below[:, :, : core.width]),
            corner=empty if below is None or right is None else np.ascontiguousarray(below[:, :, core.width :]),
        )


def _borders(axis: Axis, block: int) -> list[int]:
    """Starts of the ramps that a block's tiles take part in, px: all but the outer edges of the raster."""
    first, stop = axis.block_range(block)
    return [tile * axis.tiling.stride for tile in range(max(1, first), min(stop, axis.tiles - 1) + 1)]


def complete(own: Strips, neighbours: dict[str, Sums]) -> tuple[Sums, Sums]:
    """Add the neighbours' strips to a block's own top and left ramps.

    Parameters
    ----------
    own : Strips
        The block's own.
    neighbours : dict
        ``right`` of the left neighbour, ``below`` of the upper one, ``corner`` of the upper left one;
        a missing neighbour is left out.

    Returns
    -------
    top, left : int32 arrays
        Shape (class, ramp, width) and (class, height, ramp); complete, the crossing in both.
    """
    top, left = own.top.copy(), own.left.copy()
    for sums in neighbours.values():
        for ramp in (top, left):
            height, width = min(ramp.shape[1], sums.shape[1]), min(ramp.shape[2], sums.shape[2])
            if ramp.size and sums.size:
                ramp[:, :height, :width] += sums[:, :height, :width]
    return top, left


def label_ramp(
    sums: Sums,
    values: Labels,
    wanted: Mask,
    pixels: Pixels,
    corner: tuple[int, int] = (0, 0),
    powers: Powers = AS_THEY_ARE,
) -> None:
    """Label complete ramp sums as `geoseg.blending.label` labels scores.

    A sum is first rounded back to scale 32,767, so what all tiles say alike is the same on ramps as elsewhere.

    Parameters
    ----------
    sums : int32 array
        Shape (class, y, x), with weights that sum to 65,536 at every pixel.
    values, wanted, pixels, corner, powers
        As in `geoseg.blending.label`; ``wanted`` has the shape of the ramp.
    """
    sums, wanted = np.ascontiguousarray(sums), np.ascontiguousarray(wanted)
    _label_sums(sums, values, wanted, pixels.labels, pixels.best, pixels.probabilities, *corner, powers)


@njit(cache=True, nogil=True)
def _add_weighted(
    sums: Sums, integers: Integers, down: NDArray[np.int32], across: NDArray[np.int32], top: int, left: int
) -> None:
    """``sums[:, top + y, left + x] += down[y] across[x] integers[:, y, x]``."""
    classes, height, width = integers.shape
    for position in range(classes):
        for y in range(height):
            line, found = sums[position, top + y, left : left + width], integers[position, y]
            for x in range(width):
                line[x] += np.int32(np.int32(down[y] * across[x]) * np.int32(found[x]))


@njit(cache=True, nogil=True)
def _label_sums(
    sums: Sums,
    values: Labels,
    wanted: Mask,
    labels: Labels,
    stored: Stored,
    probabilities: Stored,
    top: int,
    left: int,
    powers: Powers,
) -> None:
    """Round sums back to integers and choose the first of the largest, row by row."""
    classes, height, width = sums.shape
    best, first = np.empty(width, np.int32), np.empty(width, np.int32)
    for y in range(height):
        for x in range(width):
            best[x], first[x] = _rounded(sums[0, y, x]), 0
        for position in range(1, classes):
            for x in range(width):
                integer = _rounded(sums[position, y, x])
                larger = integer > best[x]
                best[x] = integer if larger else best[x]
                first[x] = np.int32(position) if larger else first[x]
        for x in range(width):
            if wanted[y, x]:
                labels[top + y, left + x] = values[first[x]]
                total = 0
                for position in range(classes if len(powers) else 0):
                    total += powers[_rounded(sums[position, y, x])]
                stored[top + y, left + x] = _tempered(best[x], powers, total)
                for position in range(len(probabilities)):
                    probabilities[position, top + y, left + x] = _tempered(
                        _rounded(sums[position, y, x]), powers, total
                    )


@njit(cache=True, nogil=True)
def _tempered(integer: int, powers: Powers, total: int) -> np.uint16:
    """An integer of a pixel whose powers have this sum, tempered; as it is where the sum is 0."""
    if total <= 0:
        return np.uint16(integer)
    return np.uint16((SCALE * np.int64(powers[integer]) + total // 2) // total)


@njit(cache=True, nogil=True)
def _rounded(total: int) -> int:
    """A sum, 0 or more, as an integer of scale 32,767 again."""
    return (total + ONE * ONE // 2) // (ONE * ONE)
