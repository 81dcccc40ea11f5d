"""How much ground each class covers: pixels of the label raster, counted where they lie and weighed on the ellipsoid.

Strategy. A pixel's area changes slowly over a raster, so pixels are counted in cells of a kilometre or two, or row by
row where longitude and latitude are the axes, and each cell is measured exactly, as features are. Pixels so coarse that
a cell would hold few of them are weighed one by one, by `geoseg.raster.pixel_areas`. Every pixel is read once, in
windows, by a few threads: memory is theirs.
It knows a label raster; nothing of runs.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import rasterio.windows
from numpy.typing import NDArray

from geoseg.arcs.rings import Rings
from geoseg.grid import Window
from geoseg.planning import core_count
from geoseg.raster.pixel_areas import PixelAreas
from geoseg.report.framing import Frame
from geoseg.vectorize.areas import measure

SIDE = 2048
"""Side of the windows that are read, px; four blocks of the file."""

CELL_METRES = 2_000.0
"""Widest cell on the ground: over it a pixel of UTM changes by 3e-5, one of EPSG:3857 at 60 degrees by 1e-3. Most of
that evens out: 1e-5 is left of a class that fills a few cells, less of larger ones."""

SMALLEST_CELL = 8
"""Px: where fewer would be as wide as a cell, pixels are weighed one by one."""

MAX_THREADS = 4


@dataclass(frozen=True)
class ClassArea:
    """What one label covers.

    Attributes
    ----------
    pixels : int
        Number of pixels.
    area : float
        m2 on the ellipsoid; square pixels where the raster has no place on one.
    """

    pixels: int
    area: float


def class_areas(path: Path, frame: Frame) -> dict[int, ClassArea]:
    """Measure every label of a raster, nodata too.

    Parameters
    ----------
    path : Path
        The label raster, uint8.
    frame : Frame
        Of the raster.
    """
    counting = _Counting(path, frame)
    threads = min(MAX_THREADS, core_count())
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(counting.run) for _ in range(threads)]:
            done.result()
    pixels, areas = counting.pixels, counting.areas
    return {int(value): ClassArea(int(pixels[value]), float(areas[value])) for value in np.flatnonzero(pixels)}


def ground_areas(window: Window, frame: Frame) -> NDArray[np.float64]:
    """Area of each pixel of a window, float64 (y, x), m2: its own where pixels are coarse, else that of its cell."""
    cell = _cell(frame)
    if max(cell) < SMALLEST_CELL:
        return PixelAreas(frame.raster, 1.0).on_ground(window)
    rows, cols = (-(-length // side) for length, side in zip(window.shape, cell, strict=True))
    areas = _pixel_areas(window, cell, frame).reshape(rows, cols)
    return areas.repeat(cell[0], axis=0)[: window.height].repeat(cell[1], axis=1)[:, : window.width]


class _Counting:
    """What several threads share: the windows that are left, and the sums.

    Parameters
    ----------
    path : Path
        The label raster.
    frame : Frame
        Of the raster.
    """

    def __init__(self, path: Path, frame: Frame) -> None:
        self._path, self._frame, self._cell = path, frame, _cell(frame)
        self._left, self._lock = _windows(*map(int, frame.raster.shape)), threading.Lock()
        self.pixels, self.areas = np.zeros(256, np.int64), np.zeros(256)

    def run(self) -> None:
        """Take one window after the other until none is left."""
        with rasterio.open(self._path) as source:
            while (window := self._next()) is not None:
                where = rasterio.windows.Window(window.x, window.y, window.width, window.height)
                pixels, areas = self._counted(source.read(1, window=where), window)
                with self._lock:
                    self.pixels += pixels
                    self.areas += areas

    def _counted(self, labels: NDArray[np.uint8], window: Window) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Pixels and m2 of each label of a window."""
        if max(self._cell) < SMALLEST_CELL:
            areas = np.bincount(labels.ravel(), ground_areas(window, self._frame).ravel(), 256)
            return np.bincount(labels.ravel(), minlength=256).astype(np.int64), areas.astype(np.float64)
        counts = _counts(labels, self._cell)
        return counts.sum(axis=0), _pixel_areas(window, self._cell, self._frame) @ counts

    def _next(self) -> Window | None:
        with self._lock:
            return next(self._left, None)


def _windows(height: int, width: int) -> Iterator[Window]:
    for y in range(0, height, SIDE):
        for x in range(0, width, SIDE):
            yield Window(y, x, min(SIDE, height - y), min(SIDE, width - x))


Cell = tuple[int, int]
"""Height and width of a cell, px."""


def _cell(frame: Frame) -> Cell:
    """A row where areas depend on nothing else; else a square of a power of two, so that windows are whole cells."""
    if frame.crs is None:
        return SIDE, SIDE
    transform = frame.raster.transform
    if frame.crs.is_geographic and transform.b == transform.d == 0:
        return 1, SIDE
    width = (frame.metres or 1.0) / frame.factor
    wanted = CELL_METRES / (width * max(1.0, frame.aspect))
    side = min(SIDE, 2 ** math.floor(math.log2(max(1.0, wanted))))
    return side, side


def _counts(labels: NDArray[np.uint8], cell: Cell) -> NDArray[np.int64]:
    """Pixels by cell, in raster order, and label: int64 (cell, 256)."""
    height, width = cell
    columns = np.arange(labels.shape[1]) // width * 256
    length = int(columns[-1]) + 256
    rows = range(0, labels.shape[0], height)
    counts = [np.bincount((labels[y : y + height] + columns).ravel(), minlength=length) for y in rows]
    return np.concatenate(counts).reshape(-1, 256)


def _pixel_areas(window: Window, cell: Cell, frame: Frame) -> NDArray[np.float64]:
    """Mean area of a pixel of each cell of a window, m2; of a cell without a place on the ellipsoid 0."""
    rows, columns = np.arange(window.y, window.bottom, cell[0]), np.arange(window.x, window.right, cell[1])
    top, left = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
    bottom, right = np.minimum(top + cell[0], window.bottom), np.minimum(left + cell[1], window.right)
    if frame.crs is None:
        return np.full(len(top), abs(frame.raster.transform.determinant))
    xy = np.stack([left, top, left, bottom, right, bottom, right, top, left, top], axis=1).reshape(-1, 2)
    rings = Rings(xy.astype(np.int32), np.arange(0, len(xy) + 1, 5), np.arange(len(top) + 1))
    sizes = measure(rings, frame.raster.transform, frame.crs).area
    found: NDArray[np.float64] = np.nan_to_num(sizes / ((bottom - top) * (right - left)))
    return found
