"""A small picture of the imagery, made of what blocks see while they are predicted: a report reads no imagery again.

Strategy. A pixel of the picture is a square cell of the raster, and shows the mean of a few samples. Samples lie on one
grid of the whole raster, so each lies in the core of one block. A block keeps sums and counts of its own by cell, and
sums of a cell that blocks share are added: the picture is the same for every layout of blocks.
It knows windows of pixels; nothing of files or models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window

SIDE, PIXELS = 2048, 3_000_000
"""Largest side and size of the picture, px."""

SAMPLES = 2
"""Samples along the side of a cell, where it has as many pixels."""


def factor_within(shape: tuple[int, int], *, side: int, pixels: float = math.inf) -> int:
    """Pixels of a raster along the side of a picture's, a power of two, so that the picture is within its limits.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the raster, px.
    side, pixels : int
        Largest side and size of the picture, px.
    """
    factor = 1
    while max(small := [-(-length // factor) for length in shape]) > side or math.prod(small) > pixels:
        factor *= 2
    return factor


def choose_bands(common_names: Sequence[str | None], names: Sequence[str]) -> tuple[int, ...]:
    """Choose the bands that a picture shows: red, green, blue; else near infrared, red, green; else the first ones.

    Parameters
    ----------
    common_names : sequence of (str or None)
        Of the model's bands, in the raster's order; may be empty.
    names : sequence of str
        Of the raster's bands.

    Returns
    -------
    tuple of int
        Three positions, or one.
    """
    called = [(name or "").lower() for name in common_names] if len(common_names) == len(names) else []
    for candidates in (called, [name.lower() for name in names]):
        for wanted in (("red", "green", "blue"), ("nir", "red", "green")):
            if set(wanted) <= set(candidates):
                return tuple(candidates.index(name) for name in wanted)
    return (0, 1, 2) if len(names) >= 3 else (0,)


class Readable(Protocol):
    """A raster that windows are read from, as of `geoseg.segmentation.tiles.PixelSource`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Pixels (band, y, x) and mask (y, x), True = valid."""


@dataclass(frozen=True)
class PictureGrid:
    """The cells of a picture of a raster, and their samples.

    Sample k of an axis of n pixels lies at ``min(k * step + step // 2, n - 1)``, with ``k * step < n`` and
    ``step = max(1, factor // SAMPLES)``, in cell ``k * step // factor``.

    Attributes
    ----------
    shape : (int, int)
        Height and width of the raster, px.
    bands : tuple of int
        Bands that are shown, counted from 0.
    factor : int
        Side of a cell, px.
    """

    shape: tuple[int, int]
    bands: tuple[int, ...]
    factor: int

    @classmethod
    def of(cls, shape: tuple[int, int], common_names: Sequence[str | None], names: Sequence[str]) -> PictureGrid:
        """The grid that a report wants; names as of `choose_bands`."""
        return cls(shape, choose_bands(common_names, names), factor_within(shape, side=SIDE, pixels=PIXELS))

    @property
    def cells(self) -> tuple[int, int]:
        """Height and width of the picture, px."""
        height, width = self.shape
        return -(-height // self.factor), -(-width // self.factor)

    @property
    def step(self) -> int:
        """From one sample to the next, px of the raster."""
        return max(1, self.factor // SAMPLES)

    @property
    def per_cell(self) -> int:
        """Samples along the side of a cell."""
        return self.factor // self.step

    @property
    def digest(self) -> NDArray[np.int64]:
        """What sums must have been made for so that they can be added."""
        return np.array([*self.shape, self.factor, *self.bands])

    def samples(self, window: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the samples in a window, px of the raster."""
        height, width = self.shape
        return self._along(window.y, window.bottom, height), self._along(window.x, window.right, width)

    def _along(self, start: int, stop: int, length: int) -> NDArray[np.int64]:
        """Samples of an axis in a part of it."""
        begins = np.arange(start // self.step * self.step, min(stop, length), self.step)
        places = np.minimum(begins + self.step // 2, length - 1)
        return places[(places >= start) & (places < stop)]

    def add(self, kept: Mapping[str, NDArray[Any]], sums: NDArray[np.float64], counts: NDArray[np.float64]) -> None:
        """Add what a block has kept, of `Thumbnail.arrays`, to sums (band, y, x) and counts (y, x) of the picture."""
        (top, left), (height, width) = kept["corner"], kept["counts"].shape
        where = slice(top, top + height), slice(left, left + width)
        sums[(..., *where)] += kept["sums"]
        counts[where] += kept["counts"]

    def kept_bytes(self, blocks: tuple[int, int], dtype: np.dtype[Any]) -> int:
        """Bytes on disk of the sums of so many rows and columns of blocks, at most: of a cell that is cut in each."""
        cells = math.prod(size + count for size, count in zip(self.cells, blocks, strict=True))
        return cells * (len(self.bands) * _number(dtype).itemsize + 1) + math.prod(blocks) * 1_500

    def block_bytes(self, core: Window, dtype: np.dtype[Any]) -> int:
        """Bytes of memory that a `Thumbnail` takes, at most."""
        pixel = (2 * len(self.bands) + 1) * (dtype.itemsize + _number(dtype).itemsize)
        return math.prod(map(len, self.samples(core))) * pixel


class Thumbnail:
    """What is kept of a block for the picture, noted while its tiles are read through this raster.

    Parameters
    ----------
    grid : PictureGrid
        The picture.
    raster : Readable
        Where pixels come from.
    core : Window
        Pixels that the block owns.
    """

    def __init__(self, grid: PictureGrid, raster: Readable, core: Window) -> None:
        self._grid, self._raster, self.shape = grid, raster, raster.shape
        self._places = grid.samples(core)
        self._corner = [int(places[0]) // grid.factor if len(places) else 0 for places in self._places]
        ends = [int(places[-1]) // grid.factor + 1 if len(places) else 0 for places in self._places]
        height, width = (end - first for first, end in zip(self._corner, ends, strict=True))
        self._mask = np.zeros((height * grid.per_cell, width * grid.per_cell), np.bool_)
        self._pixels: list[NDArray[Any]] = []

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window, and note the samples in it."""
        pixels, mask = self._raster.read(window)
        if not self._pixels:
            self._pixels = [np.zeros(self._mask.shape, pixels.dtype) for _ in self._grid.bands]
        (down, rows), (across, cols) = (
            self._within(axis, start, stop)
            for axis, (start, stop) in enumerate(((window.y, window.bottom), (window.x, window.right)))
        )
        bands = (pixels[band] for band in self._grid.bands)
        for noted, layer in zip((self._mask, *self._pixels), (mask, *bands), strict=True):
            noted[down, across] = layer.take(rows - window.y, 0).take(cols - window.x, 1)
        return pixels, mask

    def _within(self, axis: int, start: int, stop: int) -> tuple[slice, NDArray[np.int64]]:
        """Where samples of a part of an axis are noted, and where they lie, px of the raster."""
        first, last = self._places[axis].searchsorted((start, stop))
        places = self._places[axis][first:last]
        begin = 0 if first == last else int(places[0]) // self._grid.step - self._corner[axis] * self._grid.per_cell
        return slice(begin, begin + len(places)), places

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Sums (band, y, x) and counts (y, x) by cell, the first cell's row and column, and the grid they are of."""
        sums = [self._by_cell(np.where(self._mask, layer, 0), _number(layer.dtype)) for layer in self._pixels]
        counts = self._by_cell(self._mask, np.dtype(np.uint8))
        return {"sums": np.stack(sums), "counts": counts, "corner": np.array(self._corner), "grid": self._grid.digest}

    def _by_cell(self, values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Sums of the samples (y, x) of each cell."""
        side = range(self._grid.per_cell)
        parts = (values[i :: len(side), j :: len(side)].astype(dtype) for i in side for j in side)
        return reduce(np.add, parts)


def _number(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of sums of a few pixels; those of whole numbers of up to 16 bits are exact."""
    return np.result_type(dtype, np.float32)
