"""One file read onto the pixels of another grid: coarser by area average, finer by bilinear interpolation.

Every value is a function of its own position in the grid and of the file, never of the window it is read with: so
any tiling reads the same numbers, bit for bit, and a large window may be split at will. GDAL's warper does not
promise that (it approximates the transformation window by window), and is several times slower here.

Two ways to the same end. Grids whose axes are parallel (one CRS, no relative rotation: nearly always) need one
sparse matrix of weights along each axis: ``pixels' = Wy @ pixels @ Wx.T``. All others look up where each pixel lies.
Invalid pixels take no part; a pixel is valid when at least half of the weight it is made of is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.grid import Window
from geoseg.raster.placing import SAME_GRID, SAME_RESOLUTION, pixel_positions, turn_of
from geoseg.raster.source import Source

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Resampling = Literal["auto", "nearest"]

READ_BYTES = 96 * 2**20
"""Working memory of one read, about, beside its result; larger windows are split."""

_LATTICE = 16  # px between the points whose place is computed exactly; between them it is interpolated
_MANY = 4  # sample points along a pixel from which on the nearest pixel at each is as good as interpolation
_NEGLIGIBLE = 1e-6  # weights below are rounding noise of the transforms


@dataclass(frozen=True)
class Resampled:
    """A source on a grid that is not its own.

    Attributes
    ----------
    source : Source
        The file.
    geobox : GeoBox
        The grid whose pixels are read.
    resampling : str
        ``"auto"`` averages areas where the grid is coarser and interpolates where it is finer; ``"nearest"`` takes
        the pixel at the centre, for labels.
    """

    source: Source
    geobox: GeoBox
    resampling: Resampling = "auto"

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window of the grid.

        Returns
        -------
        pixels : ndarray, shape (band, y, x), the source's dtype
            Integers are rounded to the nearest, invalid pixels are 0.
        mask : ndarray of bool, shape (y, x)
            True = valid; False outside the source.
        """
        pixels = np.zeros((len(self.source.indexes), *window.shape), self.source.dtype)
        mask = np.zeros(window.shape, np.bool_)
        self._fill(window, pixels, mask)
        return pixels, mask

    def _fill(self, window: Window, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> None:
        """Read a window into arrays, in halves while it needs more of the source than ``READ_BYTES``."""
        needed = self._needed(window)
        if needed.area == 0:
            return
        if window.area > 1 and self._bytes(window, needed) > READ_BYTES:
            for half in _halves(window):
                rows, columns = half.relative_to(window).slices()
                self._fill(half, pixels[:, rows, columns], mask[rows, columns])
            return
        combine = self._combine_parallel if self._is_parallel else self._combine_scattered
        values, weights, inside = combine(window, needed)
        mask[...] = (weights > 0) & (weights >= inside * (0.5 - _NEGLIGIBLE))
        with np.errstate(divide="ignore", invalid="ignore"):
            values /= weights
        if self.source.dtype.kind in "iu":
            np.rint(values, out=values)
        np.copyto(values, 0, where=~mask)
        pixels[...] = values.astype(self.source.dtype)

    def _bytes(self, window: Window, needed: Window) -> int:
        """Estimate the working memory of a window that is read at once."""
        bands, itemsize = len(self.source.indexes), self.source.dtype.itemsize
        places = 0 if self._is_parallel else 64 * (self._samples**2 + 1)
        return needed.area * (bands * itemsize + 16) + window.area * (bands * 8 + 16 + places)

    @cached_property
    def _to_source(self) -> Affine:
        """From px of the grid to px of the source, where both have one CRS."""
        inverse: Affine = ~self.source.geobox.transform
        return inverse @ self.geobox.transform

    @cached_property
    def _is_parallel(self) -> bool:
        if self.source.geobox.crs != self.geobox.crs:
            return False
        height, width = self.geobox.shape
        return max(abs(self._to_source.b) * height, abs(self._to_source.d) * width) <= SAME_GRID

    @cached_property
    def _zoom(self) -> float:
        """Source pixels along the side of a pixel of the grid, where the middle of the source lies."""
        height, width = self.source.geobox.shape
        rows = height / 2 + np.array([0.0, 1.0, 0.0])
        columns = width / 2 + np.array([0.0, 0.0, 1.0])
        y, x = pixel_positions(rows, columns, self.source.geobox, self.geobox)
        area = abs((y[1] - y[0]) * (x[2] - x[0]) - (x[1] - x[0]) * (y[2] - y[0]))
        return 1 / math.sqrt(area) if np.isfinite(area) and area > 0 else 1.0

    @cached_property
    def _samples(self) -> int:
        """Sample points along the side of a pixel of the grid."""
        coarser = self.resampling == "auto" and self._zoom > 1 + SAME_RESOLUTION
        return math.ceil(self._zoom) if coarser else 1

    def _needed(self, window: Window) -> Window:
        """Return the pixels of the source that a window is made of."""
        if self._is_parallel:
            rows, columns = self._weights(window)
            return Window(rows.first, columns.first, rows.count, columns.count)
        y, x = self._lattice_positions(window)
        known = np.isfinite(y) & np.isfinite(x)
        if not known.any():
            return Window(0, 0, 0, 0)
        (top, bottom), (left, right) = _span(y[known]), _span(x[known])
        if self._period is not None:
            turned = x[known] - np.floor(x[known] / self._period) * self._period
            crosses = np.ptp(turned) > self._period / 2  # the meridian at which the source begins
            left, right = (0, self.source.extent.width) if crosses else _span(turned)
        return Window(top, left, bottom - top, right - left).intersect(self.source.extent)

    def _weights(self, window: Window) -> tuple[_Axis, _Axis]:
        shift, (height, width) = self._to_source, self.source.geobox.shape
        rows = _axis(window.y, window.height, shift.e, shift.f, height, self.resampling)
        columns = _axis(window.x, window.width, shift.a, shift.c, width, self.resampling)
        return rows, columns

    def _combine_parallel(self, window: Window, needed: Window) -> _Sums:
        rows, columns = self._weights(window)
        pixels, mask = self.source.read(needed)
        dtype = _working_type(self.source.dtype)
        down, across = rows.matrix.astype(dtype), columns.matrix.astype(dtype)

        def apply(layer: NDArray[Any]) -> NDArray[Any]:
            return np.asarray((across @ (down @ layer.astype(dtype)).T).T)

        values = np.empty((len(pixels), *window.shape), dtype)
        for band, layer in enumerate(pixels):
            values[band] = apply(layer)
        inside = np.outer(down.sum(axis=1), across.sum(axis=1)).astype(dtype)
        return values, inside if mask.all() else apply(mask), inside

    def _combine_scattered(self, window: Window, needed: Window) -> _Sums:
        pixels, mask = self.source.read(needed)
        y, x = self._positions(window, self._samples)
        y, x = y - needed.y, x - needed.x
        smooth = self.resampling == "auto" and self._samples < _MANY
        return _sum(pixels, mask, y, x, self._samples, smooth)

    def _positions(self, window: Window, samples: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Place sample points of a window in the source, in px; NaN where they have no place.

        Places are computed at the points of a lattice fixed to the grid, and interpolated between them: an error
        below 0.01 px for pixels under a kilometre, and the same number whatever the window.
        """
        y, x = self._lattice_positions(window)
        cell_y, part_y = _cells(window.y, window.height, samples)
        cell_x, part_x = _cells(window.x, window.width, samples)
        period = self._period
        y = _between(y, cell_y, part_y, cell_x, part_x, None)
        x = _between(x, cell_y, part_y, cell_x, part_x, period)
        return y, x if period is None else x - np.floor(x / period) * period

    def _lattice_positions(self, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Place the lattice points around a window in the source, in px; not finite where they have no place."""
        rows, columns = _lattice(window.y, window.height), _lattice(window.x, window.width)
        grid = np.meshgrid(rows, columns, indexing="ij")
        return pixel_positions(grid[0], grid[1], self.geobox, self.source.geobox)

    @cached_property
    def _period(self) -> float | None:
        """Pixels around the globe along a row of the source; None where rows are not parallels."""
        transform, turn = self.source.geobox.transform, turn_of(self.source.geobox.crs)
        return None if turn is None or transform.b or transform.d else float(turn / abs(transform.a))


_Sums = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Weighted sums of valid pixels (band, y, x), their weights (y, x), and the weights had all been valid (y, x)."""


@dataclass(frozen=True)
class _Axis:
    """Weights along one axis: row i of the matrix makes pixel i of pixels ``[first, first + count)``."""

    first: int
    count: int
    matrix: csr_matrix


def _axis(start: int, count: int, scale: float, offset: float, length: int, resampling: Resampling) -> _Axis:
    """Weigh the source pixels that make the pixels ``[start, start + count)`` of the grid, along one axis.

    Pixel i covers ``[offset + scale * i, offset + scale * (i + 1)]`` px of the source, which has ``length``.
    """
    from scipy.sparse import csr_matrix  # here: most imagery is on the grid already

    position = np.arange(start, start + count, dtype=np.float64)
    ends = offset + scale * position, offset + scale * (position + 1)
    low, high = np.minimum(*ends), np.maximum(*ends)
    if resampling == "nearest":
        taps = np.floor((low + high)[:, np.newaxis] / 2 + _NEGLIGIBLE)
        weights = np.ones_like(taps)
    elif abs(scale) > 1 + SAME_RESOLUTION:
        taps = np.floor(low)[:, np.newaxis] + np.arange(math.ceil(abs(scale)) + 1)
        overlap = np.minimum(high[:, np.newaxis], taps + 1) - np.maximum(low[:, np.newaxis], taps)
        weights = np.maximum(overlap, 0) / abs(scale)
    else:
        centre = (low + high) / 2 - 0.5
        part = centre - np.floor(centre)
        taps = np.floor(centre)[:, np.newaxis] + np.arange(2)
        weights = np.stack([1 - part, part], axis=1)
    rows, tap = np.nonzero((weights > _NEGLIGIBLE) & (taps >= 0) & (taps < length))
    columns = taps[rows, tap].astype(np.int64)
    if not len(columns):
        return _Axis(0, 0, csr_matrix((count, 0)))
    first = int(columns.min())
    size = int(columns.max()) + 1 - first
    return _Axis(first, size, csr_matrix((weights[rows, tap], (rows, columns - first)), shape=(count, size)))


def _lattice(start: int, count: int) -> NDArray[np.float64]:
    """Return the lattice points from before the pixels ``[start, start + count)`` to after them."""
    return np.arange(start // _LATTICE, (start + count - 1) // _LATTICE + 2, dtype=np.float64) * _LATTICE


def _cells(start: int, count: int, samples: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each sample point's cell of the lattice, counted from the first, and its part of the way through it."""
    points = np.arange(start * samples, (start + count) * samples, dtype=np.int64)
    size = samples * _LATTICE
    return points // size - start // _LATTICE, (points % size + 0.5) / size


def _between(
    values: NDArray[np.float64],
    cell_y: NDArray[np.int64],
    part_y: NDArray[np.float64],
    cell_x: NDArray[np.int64],
    part_x: NDArray[np.float64],
    period: float | None,
) -> NDArray[np.float64]:
    """Interpolate lattice values bilinearly; with a period, the short way around."""
    values = np.where(np.isfinite(values), values, np.nan)
    origin = values[:-1, :-1]
    steps = [corner - origin for corner in (values[:-1, 1:], values[1:, :-1], values[1:, 1:])]
    if period is not None:
        steps = [step - np.round(step / period) * period for step in steps]
    right, below, across = (step[cell_y[:, np.newaxis], cell_x] for step in steps)
    tall, wide = part_y[:, np.newaxis], part_x
    return np.asarray(
        origin[cell_y[:, np.newaxis], cell_x] + right * wide + below * tall + (across - right - below) * (tall * wide)
    )


def _sum(
    pixels: NDArray[Any], mask: NDArray[np.bool_], y: NDArray[Any], x: NDArray[Any], samples: int, smooth: bool
) -> _Sums:
    """Sum the pixels under ``samples`` x ``samples`` points a pixel: the four around each by nearness, or the one."""
    dtype = _working_type(pixels.dtype)
    shape = y.shape[0] // samples, y.shape[1] // samples
    sums = np.zeros((len(pixels), *shape), dtype), np.zeros(shape, dtype), np.zeros(shape, dtype)
    height, width = mask.shape
    for down in range(samples):
        for right in range(samples):
            at_y, at_x = y[down::samples, right::samples], x[down::samples, right::samples]
            within = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)  # NaN is nowhere
            at_y, at_x = np.where(within, at_y, 0), np.where(within, at_x, 0)
            for row, column, weight in _taps(at_y, at_x, smooth):
                _add(pixels, mask, row, column, (weight * within).astype(dtype), sums)
    return sums


def _taps(y: NDArray[Any], x: NDArray[Any], smooth: bool) -> Iterator[tuple[NDArray[Any], NDArray[Any], Any]]:
    """Give the rows, columns and weights of the pixels that each point is made of."""
    if not smooth:
        yield np.floor(y).astype(np.int64), np.floor(x).astype(np.int64), 1.0
        return
    row, column = np.floor(y - 0.5), np.floor(x - 0.5)
    low, far = y - 0.5 - row, x - 0.5 - column
    row, column = row.astype(np.int64), column.astype(np.int64)
    for down, tall in ((0, 1 - low), (1, low)):
        for right, wide in ((0, 1 - far), (1, far)):
            yield row + down, column + right, tall * wide


def _add(
    pixels: NDArray[Any],
    mask: NDArray[np.bool_],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    weight: NDArray[Any],
    sums: _Sums,
) -> None:
    """Add one weighted pixel of the source to each sum; pixels outside weigh nothing."""
    values, weights, inside = sums
    height, width = mask.shape
    weight = weight * ((row >= 0) & (row < height) & (column >= 0) & (column < width))
    flat = np.clip(row, 0, height - 1) * width + np.clip(column, 0, width - 1)
    inside += weight
    weight = weight * mask.ravel()[flat]
    weights += weight
    for band, layer in enumerate(pixels):
        values[band] += layer.ravel()[flat] * weight


def _span(values: NDArray[np.float64]) -> tuple[int, int]:
    """Return the range of whole pixels around values, and one more on either side for interpolation."""
    return math.floor(values.min()) - 1, math.ceil(values.max()) + 1


def _working_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the floating type in which averages of a type are exact enough to be rounded."""
    return np.dtype(np.float32 if dtype.kind in "iu" and dtype.itemsize <= 2 else np.float64)


def _halves(window: Window) -> tuple[Window, Window]:
    """Split a window across its longer side."""
    y, x, height, width = window.y, window.x, window.height, window.width
    if height >= width:
        return Window(y, x, height // 2, width), Window(y + height // 2, x, height - height // 2, width)
    return Window(y, x, height, width // 2), Window(y, x + width // 2, height, width - width // 2)
