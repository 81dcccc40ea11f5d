"""Where tiles overlap: whose pixel it is, and how much two objects share.

Strategy. Every pixel of the raster lies in the core of one tile, its owner, and may lie in the overhang of the tiles
left of it, above it and at the corner. It goes to the owner's object; where the owner sees none, to that of the left
tile, then of the upper, then of the one at the corner, so an object that only one tile has seen is not lost. Whatever
is counted is counted in cores: counts of blocks add up to those of the raster, so the layout of blocks does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.grid import Block, Tile, TileGrid, Window
from geoseg.instances.painting import TileObjects
from geoseg.models.detections import Integers

LOCAL = 2**20
"""Objects that a tile may have: the key of an object is ``tile * LOCAL + number``, tiles counted in raster order."""

Look = Callable[[int, int], TileObjects | None]
"""Objects of the tile at a row and column; None where there are none."""

Zone = tuple[Window, list[tuple[int, NDArray[np.int32]]]]
"""Pixels under the same tiles: their place, and tile index and numbers of each tile, the owner first."""


@dataclass(frozen=True, eq=False)
class Meeting:
    """What the cores of some tiles say about objects; a key may stand in several rows, whose counts add up.

    Attributes
    ----------
    keys, pixels, first, rows, cols : int64 arrays
        Shape (object,): objects that own pixels, how many, the raster index of the first one, sums of rows and columns.
    winners, losers, shared : int64 arrays
        Shape (pair,): objects of two tiles and the pixels that both claim; they go to the winner's tile.
    claimants, rivals, claimed : int64 arrays
        Shape (claim,): an object, the index of another tile, and the object's pixels under that tile.
    """

    keys: Integers
    pixels: Integers
    first: Integers
    rows: Integers
    cols: Integers
    winners: Integers
    losers: Integers
    shared: Integers
    claimants: Integers
    rivals: Integers
    claimed: Integers

    @classmethod
    def of(cls, meetings: list[Meeting]) -> Meeting:
        """Put meetings one behind the other."""
        return cls(
            *(
                np.concatenate([np.empty(0, np.int64), *(getattr(item, field.name) for item in meetings)])
                for field in fields(cls)
            )
        )


def meet(grid: TileGrid, block: Block, look: Look) -> Meeting:
    """Count what a block's core says about objects.

    Parameters
    ----------
    grid : TileGrid
        The raster's layout.
    block : Block
        One of its blocks.
    look : callable
        Gives the objects of the block's tiles, and of those left of it, above it and at its corner.
    """
    width = grid.shape[1]
    meetings = []
    for tile in grid.tiles_of(block):
        zones = list(_zones(grid, tile, look))
        visible = _visible(_compose(tile, zones), tile.core, zones, width)
        pairs, claims = _collect(zones)
        meetings.append(Meeting(*visible, *pairs, *claims))
    return Meeting.of(meetings)


def paint_core(grid: TileGrid, block: Block, look: Look) -> Integers:
    """Give each pixel of a block's core to an object.

    Parameters
    ----------
    grid, block, look
        As in `meet`.

    Returns
    -------
    int64 array
        Shape (y, x) of the core: keys of objects, -1 = none.
    """
    painted = np.full(block.core.shape, -1, np.int64)
    for tile in grid.tiles_of(block):
        painted[tile.core.relative_to(block.core).slices()] = _compose(tile, list(_zones(grid, tile, look)))
    return painted


def _zones(grid: TileGrid, tile: Tile, look: Look) -> list[Zone]:
    """Cut a core into what is under one tile, two and four."""
    core, ramp = tile.core, grid.tiling.ramp
    top, left = (ramp if tile.row else 0), (ramp if tile.col else 0)
    zones = []
    for y, height, up in ((core.y, top, 1), (core.y + top, core.height - top, 0)):
        for x, width, back in ((core.x, left, 1), (core.x + left, core.width - left, 0)):
            sources = list(dict.fromkeys([(0, 0), (0, back), (up, 0), (up, back)]))
            window = Window(y, x, height, width)
            if window.area:
                zones.append((window, _seen(grid, tile, window, sources, look)))
    return zones


def _seen(
    grid: TileGrid, tile: Tile, window: Window, sources: list[tuple[int, int]], look: Look
) -> list[tuple[int, NDArray[np.int32]]]:
    """What tiles so many rows up and columns back see in a window; tiles without objects are left out."""
    seen = []
    for up, back in sources:
        row, col = tile.row - up, tile.col - back
        objects = look(row, col)
        if objects is not None and len(objects):
            reach = grid.tile(row, col).reach
            seen.append((row * grid.cols.tiles + col, objects.ids[window.relative_to(reach).slices()]))
    return seen


def _compose(tile: Tile, zones: list[Zone]) -> Integers:
    """The object of each pixel of a core, by key; -1 = none."""
    painted = np.full(tile.core.shape, -1, np.int64)
    for window, seen in zones:
        place = painted[window.relative_to(tile.core).slices()]
        for index, numbers in seen:
            _lay(place, numbers, index * LOCAL)
    return painted


@njit(cache=True, nogil=True)
def _lay(place: Integers, numbers: NDArray[np.int32], base: int) -> None:
    """Give pixels that nobody has to the objects of a tile."""
    for y in range(place.shape[0]):
        for x in range(place.shape[1]):
            if place[y, x] < 0 < numbers[y, x]:
                place[y, x] = base + numbers[y, x]


def _visible(painted: Integers, core: Window, zones: list[Zone], width: int) -> tuple[Integers, ...]:
    """Keys, number of pixels, raster index of the first one, sums of rows and columns of what is visible in a core."""
    tiles = np.unique([index for _, seen in zones for index, _ in seen]).astype(np.int64)
    largest = max((int(numbers.max(initial=0)) for _, seen in zones for _, numbers in seen), default=0)
    tally = np.zeros((4, len(tiles), largest + 1), np.int64)
    _tally(painted, tiles, *tally)
    tile, number = np.nonzero(tally[0])
    pixels, first, rows, cols = tally[:, tile, number]
    y, x = np.divmod(first, core.width)
    first = (core.y + y) * width + core.x + x
    return tiles[tile] * LOCAL + number, pixels, first, rows + core.y * pixels, cols + core.x * pixels


@njit(cache=True, nogil=True)
def _tally(
    painted: Integers, tiles: Integers, pixels: Integers, first: Integers, rows: Integers, cols: Integers
) -> None:
    """Count the pixels of each object, by its tile's row and number, add up their places, and find the first one."""
    height, width = painted.shape
    for y in range(height):
        for x in range(width):
            key = painted[y, x]
            if key >= 0:
                row = 0
                while tiles[row] != key // LOCAL:
                    row += 1
                number = key % LOCAL
                if pixels[row, number] == 0:
                    first[row, number] = y * width + x
                pixels[row, number] += 1
                rows[row, number] += y
                cols[row, number] += x


def _collect(zones: list[Zone]) -> tuple[tuple[Integers, ...], tuple[Integers, ...]]:
    """Pairs and claims of zones that lie under several tiles."""
    pairs: list[tuple[NDArray[Any], ...]] = []
    claims: list[tuple[NDArray[Any], ...]] = []
    for _, seen in zones:
        for (winner, own), (loser, other) in combinations(seen, 2):
            both = (own > 0) & (other > 0)
            codes, counts = np.unique(own[both].astype(np.int64) * LOCAL + other[both], return_counts=True)
            pairs.append((winner * LOCAL + codes // LOCAL, loser * LOCAL + codes % LOCAL, counts))
        for (index, numbers), (rival, _) in permutations(seen, 2):
            found, counts = np.unique(numbers[numbers > 0], return_counts=True)
            claims.append((index * LOCAL + found.astype(np.int64), np.full(len(found), rival), counts))
    return _columns(pairs), _columns(claims)


def _columns(rows: list[tuple[NDArray[Any], ...]]) -> tuple[Integers, ...]:
    """Three columns of int64, one behind the other."""
    return tuple(
        np.concatenate([np.empty(0, np.int64), *(row[column] for row in rows)]).astype(np.int64) for column in range(3)
    )
