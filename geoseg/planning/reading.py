"""Bytes of imagery that the blocks of a run read, from how large files store their pixels; no pixel is read for it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Axis, TileGrid
from geoseg.raster import CACHE_BYTES, Raster, ground_resolution
from geoseg.raster.layers import Layer, PlacedSource
from geoseg.raster.stored import StoredPixels

ASKED = 8
"""Files of a kind, by number and type of their bands, that are asked how they store pixels; the others are alike."""

Counts = NDArray[np.float64]
"""Px by block of an axis."""


def bytes_read(raster: Raster, grid: TileGrid, places: Collection[tuple[int, int]] | None, workers: int) -> int:
    """About the bytes that some blocks read, all of them unless places are given.

    A block reads its tiles with their halos: of each file the parts that are stored together, once. Of files over one
    another a pixel is read from one, unless it is the median of all. Where GDAL's cache holds all that is read, each
    worker reads it once at most.
    """
    if places is not None and not places:
        return 0
    blocks = _Blocks.of(grid, places)
    stored = _StoredKinds()
    total = sum(_layer_bytes(layer, blocks, stored) for layer in raster.layers)
    around = blocks.joined()
    pixels = around.sum(around.rows[1] - around.rows[0], around.cols[1] - around.cols[0])
    if pixels * len(raster.bands) * raster.dtype.itemsize <= CACHE_BYTES:
        total = min(total, workers * sum(_layer_bytes(layer, around, stored) for layer in raster.layers))
    return round(total)


def _layer_bytes(layer: Layer, blocks: _Blocks, stored: _StoredKinds) -> float:
    parts = ((part.extent.y, part.extent.bottom, part.extent.x, part.extent.right) for part in layer.parts)
    covered = sum(blocks.sum(_shared(blocks.rows, *ends[:2]), _shared(blocks.cols, *ends[2:])) for ends in parts)
    whole = blocks.sum(blocks.rows[1] - blocks.rows[0], blocks.cols[1] - blocks.cols[0])
    share = 1.0 if layer.order == "median" or not covered else min(1.0, whole / covered)
    return share * sum(_piece_bytes(piece, blocks, stored.of(piece)) for piece in layer.pieces)


def _piece_bytes(piece: PlacedSource, blocks: _Blocks, stored: StoredPixels) -> float:
    """What blocks read of a file: the parts under them where it lies on the grid, else as many px as on the ground."""
    extent = piece.extent
    if piece.resampled is not None:
        pixels = blocks.sum(_shared(blocks.rows, extent.y, extent.bottom), _shared(blocks.cols, extent.x, extent.right))
        ground = math.prod(ground_resolution(piece.resampled.geobox)) / math.prod(
            ground_resolution(piece.source.geobox)
        )
        return pixels * ground * stored.bytes_per_px
    height, width = stored.block
    rows = _shared(blocks.rows - piece.origin[0], 0, piece.source.geobox.shape[0], height)
    cols = _shared(blocks.cols - piece.origin[1], 0, piece.source.geobox.shape[1], width)
    return blocks.sum(rows, cols) * stored.bytes_per_px


def _shared(spans: NDArray[np.int64], start: int, end: int, step: int = 1) -> Counts:
    """Px that what blocks read shares with a span, to whole steps from its start."""
    low, high = np.maximum(spans[0], start) - start, np.minimum(spans[1], end) - start
    whole = -(-high // step) * step - low // step * step
    return np.where(high > low, whole, 0).astype(np.float64)


@dataclass(frozen=True)
class _Blocks:
    """Start and end of what blocks read by row and column, px (2, n), and the pairs of them that run; None is all."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    places: NDArray[np.int64] | None

    @classmethod
    def of(cls, grid: TileGrid, places: Collection[tuple[int, int]] | None) -> _Blocks:
        if places is None:
            return cls(_spans(grid.rows, range(grid.rows.blocks)), _spans(grid.cols, range(grid.cols.blocks)), None)
        chosen = np.array(sorted(places), np.int64).reshape(-1, 2)
        (rows, row), (cols, col) = (np.unique(numbers, return_inverse=True) for numbers in chosen.T)
        return cls(_spans(grid.rows, rows), _spans(grid.cols, cols), np.stack([row, col], axis=1))

    def joined(self) -> _Blocks:
        """One block that reads all that these do, and what lies between them."""
        rows, cols = self.rows, self.cols
        if self.places is not None:
            rows, cols = rows[:, self.places[:, 0]], cols[:, self.places[:, 1]]
        row, col = (np.array([[axis[0].min()], [axis[1].max()]]) for axis in (rows, cols))
        return _Blocks(row, col, None)

    def sum(self, rows: Counts, cols: Counts) -> float:
        """Px of all blocks, from those along each axis."""
        if self.places is None:
            return float(rows.sum() * cols.sum())
        used = np.flatnonzero(rows)
        if not used.size:
            return 0.0
        first, last = np.searchsorted(self.places[:, 0], (used[0], used[-1] + 1))
        near = self.places[first:last]
        return float(rows[near[:, 0]] @ cols[near[:, 1]])


def _spans(axis: Axis, blocks: Iterable[int]) -> NDArray[np.int64]:
    """Start and end of what each block of an axis reads: of a small region of a huge raster, of a few."""
    ranges = (axis.block_range(int(block)) for block in blocks)
    spans = [(axis.read(first)[0], axis.read(stop - 1)[1]) for first, stop in ranges]
    return np.array(spans, np.int64).reshape(-1, 2).clip(0, axis.length).T


class _StoredKinds:
    """How files store their pixels, by kind; only a few of each kind are opened."""

    def __init__(self) -> None:
        self._known: defaultdict[tuple[int, str], dict[str, StoredPixels]] = defaultdict(dict)

    def of(self, piece: PlacedSource) -> StoredPixels:
        source = piece.source
        known = self._known[len(source.indexes), source.dtype.name]
        if source.path in known:
            return known[source.path]
        if len(known) < ASKED:
            return known.setdefault(source.path, StoredPixels.of(source))
        density = sum(item.bytes_per_px for item in known.values()) / len(known)
        return StoredPixels(density, next(iter(known.values())).block)
