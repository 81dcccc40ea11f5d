"""What a tile's model sees: pixels with their halo, the mask of the imagery, and which pixels are wanted.

It knows windows of a raster; nothing of models or of blending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geoseg.blending import Mask
from geoseg.grid import Block, Tile, TileGrid, Window


class PixelSource(Protocol):
    """What a block reads from: a `geoseg.raster.Raster`, or anything with its two faces."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""

    def read(self, window: Window) -> tuple[NDArray[np.generic], Mask]:
        """Pixels (band, y, x) and mask (y, x), True = valid, of a window inside the raster."""


class MaskSource(Protocol):
    """Which pixels are wanted: a region of interest on the raster's grid."""

    def mask(self, window: Window) -> Mask:
        """Bool (y, x), True = wanted, of a window inside the raster."""


@dataclass(frozen=True)
class TileInput:
    """A tile as it is fed to the model: pixels, mask of the imagery, and the wanted pixels of its reach."""

    tile: Tile
    pixels: NDArray[np.generic]
    mask: Mask
    wanted: Mask


def read_tile(raster: PixelSource, tile: Tile, region: MaskSource | None = None) -> TileInput:
    """Read what a tile's model sees; outside the raster its pixels are reflected.

    Pixel t of an axis of n is pixel ``m = t mod 2 (n - 1)``, ``m if m < n else 2 (n - 1) - m``, however far outside it
    lies; with n == 1 every t is pixel 0.

    Parameters
    ----------
    raster : PixelSource
        Where pixels come from.
    tile : Tile
        One of the grid's tiles.
    region : MaskSource, optional
        Pixels outside of it are not wanted.
    """
    window = tile.read.intersect(Window(0, 0, *raster.shape))
    pixels, mask = raster.read(window)
    wanted = mask[tile.reach.relative_to(window).slices()]
    if region is not None and wanted.any():
        wanted = wanted & region.mask(tile.reach)
    if window != tile.read:
        rows = (window.y - tile.read.y, tile.read.bottom - window.bottom)
        cols = (window.x - tile.read.x, tile.read.right - window.right)
        pixels = np.pad(pixels, ((0, 0), rows, cols), mode="reflect")
        mask = np.pad(mask, (rows, cols), mode="reflect")
    return TileInput(tile, pixels, mask, wanted)


def read_wanted(
    raster: PixelSource,
    grid: TileGrid,
    block: Block,
    region: MaskSource | None = None,
    where: Callable[[Tile], bool] | None = None,
) -> Iterator[TileInput]:
    """Read the tiles of a block of which any pixel is wanted, one at a time; only those ``where`` it says so."""
    inputs = (read_tile(raster, tile, region) for tile in grid.tiles_of(block) if where is None or where(tile))
    return (item for item in inputs if item.wanted.any())


def batches(inputs: Iterator[TileInput], size: int) -> Iterator[list[TileInput]]:
    """Collect inputs into lists of at most ``size``."""
    batch: list[TileInput] = []
    for item in inputs:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def stack(batch: list[TileInput], size: int) -> tuple[NDArray[np.generic], Mask]:
    """Pixels (n, band, y, x) and masks (n, y, x) of what tiles read; a short batch is padded with empty tiles."""
    if size == 1:
        return batch[0].pixels[None], batch[0].mask[None]
    pixels = np.zeros((size, *batch[0].pixels.shape), batch[0].pixels.dtype)
    masks = np.zeros((size, *batch[0].mask.shape), np.bool_)
    for position, item in enumerate(batch):
        pixels[position], masks[position] = item.pixels, item.mask
    return pixels, masks
