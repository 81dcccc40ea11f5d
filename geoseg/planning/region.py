"""A region of interest on the grid of a raster."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.grid import Window
from geoseg.raster import Raster
from geoseg.vector import Region, RegionLike, is_bare, place_region, read_region

Spans = tuple[int, Callable[[int], tuple[int, int]]]
"""The number of blocks along an axis, and where each begins and ends, px."""

AT_ONCE = 256
"""Windows that are compared with a region at once."""


@dataclass(frozen=True)
class RegionMask:
    """A region of interest on the raster's grid.

    Attributes
    ----------
    region : Region
        In the raster's CRS.
    geobox : GeoBox
        The raster's grid.
    """

    region: Region
    geobox: GeoBox

    @classmethod
    def of(cls, region: RegionLike, raster: Raster) -> RegionMask:
        """Read a region and bring it onto a raster; numbers without a CRS are the raster's where it is plain pixels.

        Raises
        ------
        GeosegError
            It cannot be read, or lies outside of the raster.
        """
        own = raster.crs if raster.is_plain or is_bare(region) else None
        return cls(place_region(read_region(region, crs=own), raster.geobox), raster.geobox)

    @property
    def window(self) -> Window:
        """Pixels between the bounds of the region; they may lie outside of the raster."""
        left, bottom, right, top = self.region.geometry.bounds
        corners = [~self.geobox.affine @ (x, y) for x in (left, right) for y in (bottom, top)]
        columns, rows = zip(*corners, strict=True)
        top_row, first = math.floor(min(rows)) - 1, math.floor(min(columns)) - 1
        return Window(top_row, first, math.ceil(max(rows)) + 1 - top_row, math.ceil(max(columns)) + 1 - first)

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Bool (y, x), True = touched, of a window of the raster; so polygons can be clipped to the region exactly."""
        return self.region.mask(window, self.geobox.affine, all_touched=True)

    def touches(self, window: Window) -> bool:
        """Say whether the region may hold a pixel of the window."""
        return self.region.touches(window, self.geobox.affine)

    def touches_each(self, windows: Sequence[Window]) -> NDArray[np.bool_]:
        """Say of each window whether the region may hold a pixel of it."""
        return self.region.touches_each(windows, self.geobox.affine)

    def touched_blocks(self, rows: Spans, cols: Spans) -> Iterator[tuple[int, int]]:
        """Rows and columns of the blocks that the region may hold a pixel of, in raster order.

        Only those between its bounds are looked at, and of these the ones in larger parts of the raster that it
        touches: so parts of a region may lie far apart.

        Parameters
        ----------
        rows, cols : Spans
            Where the blocks of each row and column begin and end, px; both ascend.
        """
        near = self.window
        down, across = _between(rows, near.y, near.bottom), _between(cols, near.x, near.right)
        left, right = _ends(cols, across) if across else (0, 0)
        for row in self._touched(down if across else range(0), rows, lambda y: _window(y, (left, right))):
            y = rows[1](row)
            yield from ((row, col) for col in self._touched(across, cols, partial(_window, y)))

    def _touched(self, among: range, spans: Spans, window: Callable[[tuple[int, int]], Window]) -> Iterator[int]:
        """Rows, or columns of a row, that the region may hold a pixel of; ``window`` makes one of begin and end."""
        step = max(1, math.ceil(len(among) / AT_ONCE))
        parts = [among[start : start + step] for start in range(0, len(among), step)]
        touched = self.touches_each([window(_ends(spans, part)) for part in parts]) if parts else ()
        for part in itertools.compress(parts, touched):
            yield from part if step == 1 else self._touched(part, spans, window)


def _window(rows: tuple[int, int], columns: tuple[int, int]) -> Window:
    """The pixels of rows and columns, each from where it begins to where it ends."""
    (top, bottom), (left, right) = rows, columns
    return Window(top, left, bottom - top, right - left)


def _ends(spans: Spans, blocks: range) -> tuple[int, int]:
    """Where the first block begins and the last one ends, px."""
    return spans[1](blocks[0])[0], spans[1](blocks[-1])[1]


def _between(spans: Spans, start: int, end: int) -> range:
    """The blocks that end behind ``start`` and begin before ``end``."""
    count, span = spans
    first = bisect_right(range(count), start, key=lambda block: span(block)[1])
    return range(first, bisect_left(range(count), end, key=lambda block: span(block)[0]))
