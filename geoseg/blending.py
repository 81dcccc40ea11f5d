"""Ramps and fixed-point sums: how overlapping tiles become one seamless set of probabilities.

Floating point sums depend on their order, so a result would depend on the layout of tiles and blocks.
Probabilities therefore become integers of scale 32,767 and ramp weights integers that sum to 256 on each axis:
every weighted sum fits int32, any order of additions gives the same bits, and a constant stays constant.
This module knows arrays of tiles and blocks, nothing of rasters, models or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from geoseg.grid import Axis, Block, Tile, TileGrid, Window

SCALE = 32_767
"""A probability of 1.0 as an integer; ``SCALE * 256 * 256`` is the largest that fits int32."""

ONE = 256
"""The weight of a pixel that one tile predicts alone, along one axis."""

LEVELS = 255
"""A confidence of 1.0 in the stored uint8."""

Sums = NDArray[np.int32]
Labels = NDArray[np.uint8]


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


def quantise(probabilities: torch.Tensor) -> torch.Tensor:
    """Turn probabilities into integers, ``round(32,767 p)``, halves to even.

    Parameters
    ----------
    probabilities : torch.Tensor
        float32, any shape, 0 to 1.

    Returns
    -------
    torch.Tensor
        int16 of the same shape.
    """
    return probabilities.mul(SCALE).round_().to(torch.int16)


def label(probabilities: torch.Tensor, window: Window) -> tuple[Labels, Labels]:
    """Choose the class of each pixel that one tile predicts alone, and say how sure that is.

    Ties of the integers go to the first class.

    Parameters
    ----------
    probabilities : torch.Tensor
        float32, shape (class, y, x), 0 to 1.
    window : Window
        Which pixels, counted from the tensor's first.

    Returns
    -------
    indices, confidence : uint8 arrays
        Shape (y, x): the class' position, and its probability times 255.
    """
    if probabilities.device.type != "cpu":
        indices, confidence = _label(quantise(probabilities[(slice(None), *window.slices())]), 1)
        return indices.cpu().numpy(), confidence.cpu().numpy()
    labels, sure = np.empty(window.shape, np.uint8), np.empty(window.shape, np.uint8)
    _label_planes(probabilities.contiguous().numpy(), window.y, window.x, labels, sure)
    return labels, sure


@njit(cache=True, nogil=True)
def _label_planes(probabilities: NDArray[np.float32], top: int, left: int, indices: Labels, confidence: Labels) -> None:
    """Quantise and label in one pass over the class planes, several times faster than one operation after another.

    Row by row, so that what is compared stays in the cache; the inner loops are vectorised by the compiler.
    """
    height, width = indices.shape
    best, first = np.empty(width, np.float32), np.empty(width, np.int32)
    for y in range(height):
        best[:] = -1
        for position in range(probabilities.shape[0]):
            row = probabilities[position, top + y, left : left + width]
            for x in range(width):
                value = np.rint(row[x] * np.float32(SCALE))
                larger = value > best[x]
                best[x] = value if larger else best[x]
                first[x] = position if larger else first[x]
        for x in range(width):
            indices[y, x] = first[x]
            confidence[y, x] = (np.int32(best[x]) * np.int32(2 * LEVELS) + np.int32(SCALE)) // np.int32(2 * SCALE)


def compile_loops() -> None:
    """Compile what is compiled, or load it from the cache on disk, ahead of the first tile."""
    label(torch.zeros(1, 1, 1), Window(0, 0, 1, 1))


def _label(sums: torch.Tensor, weight: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Label integers, int16 or int32 (class, y, x), that are weighted sums with weights of this sum.

    A constant model has the same confidence on ramps as elsewhere, because a sum is first rounded back to scale
    32,767. ``max`` is several times faster than ``argmax`` on a CPU.
    """
    best, indices = sums.max(0)
    if weight > 1:
        best = (best + weight // 2).div_(weight, rounding_mode="floor")
    best = best.to(torch.int32).mul_(2 * LEVELS).add_(SCALE).div_(2 * SCALE, rounding_mode="floor")
    return indices.to(torch.uint8), best.to(torch.uint8)


def label_ramp(sums: Sums) -> tuple[Labels, Labels]:
    """Label complete ramp sums: int32, shape (class, y, x), to uint8 indices and confidence, shape (y, x)."""
    indices, confidence = _label(torch.from_numpy(sums), ONE * ONE)
    return indices.numpy(), confidence.numpy()


@dataclass(frozen=True)
class Strips:
    """What a block's own tiles say about pixels that other blocks' tiles predict too: raw sums.

    All are int32, shape (class, y, x), clipped to the raster. ``top`` and ``left`` are the block's own ramps, which its
    neighbours complete; ``right``, ``below`` and ``corner`` lie on its overhang, and each has one consumer.
    An array is empty where the block has no neighbour.
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
        Number of classes.
    """

    def __init__(self, grid: TileGrid, block: Block, classes: int) -> None:
        self._grid, self._block = grid, block
        ramp, reach = grid.tiling.ramp, block.reach
        rows, cols = grid.rows, grid.cols
        self._across = {
            edge: np.zeros((classes, ramp, reach.width), np.int32) for edge in _borders(rows, block.row) if ramp
        }
        self._down = {
            edge: np.zeros((classes, reach.height, ramp), np.int32) for edge in _borders(cols, block.col) if ramp
        }

    def add(self, tile: Tile, probabilities: torch.Tensor) -> None:
        """Add a tile; only its ramps are quantised, and leave the device.

        Parameters
        ----------
        tile : Tile
            One of the block's tiles.
        probabilities : torch.Tensor
            float32, shape (class, y, x), over the tile's reach.
        """
        down = axis_weights(self._grid.rows, tile.row)
        across = axis_weights(self._grid.cols, tile.col)
        place = tile.reach.relative_to(self._block.reach)
        ramp = self._grid.tiling.ramp
        for edge, sums in self._across.items():
            y = edge - tile.reach.y
            if 0 <= y < tile.reach.height:
                weights = down[y : y + ramp, None] * across
                sums[:, :, place.x : place.right] += quantise(probabilities[:, y : y + ramp]).cpu().numpy() * weights
        for edge, sums in self._down.items():
            x = edge - tile.reach.x
            if 0 <= x < tile.reach.width:
                weights = down[:, None] * across[x : x + ramp]
                sums[:, place.y : place.bottom] += quantise(probabilities[:, :, x : x + ramp]).cpu().numpy() * weights

    def inner_ramps(self) -> list[tuple[Window, Sums]]:
        """Ramps between the block's own tiles: windows relative to its core, and sums over them.

        The part of an inner ramp that crosses the block's own top or left ramp is not complete yet;
        whoever completes those overwrites it.
        """
        core = self._block.core
        found: list[tuple[Window, Sums]] = []
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
        empty = np.zeros((0, 0, 0), np.int32)
        return Strips(
            top=empty if top is None else top[:, :, : core.width],
            left=empty if left is None else left[:, : core.height],
            right=empty if right is None else right[:, : core.height],
            below=empty if below is None else below[:, :, : core.width],
            corner=empty if below is None or right is None else below[:, :, core.width :],
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
