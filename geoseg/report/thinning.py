"""One band of a file, read thinned: overviews where the file has them, single pixels where it has none.

Strategy. The overview just finer than the picture is read. What is still much finer, because there is none, is thinned
to about twice the picture's resolution by taking single pixels, so that memory depends on the picture; and where even
looking at every storage block would take minutes, fewer blocks are looked at, and the picture is coarse.

It knows one file; nothing of mosaics, models or colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import rasterio
import rasterio.windows
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags

from geoseg.grid import Window
from geoseg.raster import ground_resolution
from geoseg.raster.arrays import ArraySource
from geoseg.raster.handles import dataset, unplaced_allowed
from geoseg.raster.placing import footprint
from geoseg.raster.source import Source

MAX_SAMPLES = 6_000_000_000
"""Pixels of one band of one file behind what is read, at most; some minutes of decoding."""

STRIP = 256
"""Rows, about, that are read at once of what is no file."""

FINER = 2
"""Pixels of a thinned read along the side of a picture's pixel."""

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Thinned:
    """One band of a file, thinned.

    Attributes
    ----------
    pixels : float32 (y, x)
        NaN where invalid.
    transform : Affine
        From its px to CRS units.
    zoom : float
        How many of its px lie along the side of a picture's.
    is_coarse : bool
        Whether it is coarser than the picture for want of overviews.
    """

    pixels: Pixels
    transform: Affine
    zoom: float
    is_coarse: bool


def thin(source: Source, band: int, crop: GeoBox, factor: int) -> Thinned | None:
    """Read one band of a file at about a picture's resolution or finer.

    Parameters
    ----------
    source : Source
        The file.
    band : int
        Which of its chosen bands, counted from 0.
    crop : GeoBox
        The part of the raster under which it is read.
    factor : int
        Raster pixels along the side of the picture's.

    Returns
    -------
    Thinned or None
        None where the file does not lie there.
    """
    index, whole = source.indexes[band], source.extent
    around = footprint(crop, source.geobox)
    needed = Window(around.y - 2, around.x - 2, around.height + 4, around.width + 4).intersect(whole)
    if not needed.area:
        return None
    zoom = factor * _pixel_ratio(crop, source.geobox)
    if isinstance(source, ArraySource):
        return _thin_array(source, band, needed, zoom)
    if not source.is_file:
        return _thin_strips(source, band, needed, zoom)
    whole_file = dataset(source.path)
    levels = [level for level in sorted(whole_file.overviews(index)) if level <= zoom * 1.01]
    options = {"overview_level": len(levels) - 1} if levels else {}
    with unplaced_allowed(), rasterio.open(source.path, **options) as opened:
        down, across = opened.height / whole.height, opened.width / whole.width
        block = whole_file.block_shapes[index - 1]
        step, is_coarse = _step(needed.height * down, needed.width * across, block, zoom * across)
        window = rasterio.windows.Window(
            needed.x * across, needed.y * down, needed.width * across, needed.height * down
        )
        shape = max(1, round(window.height / step)), max(1, round(window.width / step))
        pixels = opened.read(index, window=window, out_shape=shape, out_dtype="float32")
        nodata = _telling_nodata(opened, index)
        if nodata is None:
            pixels[opened.read_masks(index, window=window, out_shape=shape) == 0] = np.nan
    if nodata is not None:
        pixels[pixels == nodata] = np.nan
    if (said := source.nodata[band]) is not None:
        pixels[pixels == np.float32(said)] = np.nan
    pixels[~np.isfinite(pixels)] = np.nan
    scale = Affine.scale(needed.width / shape[1], needed.height / shape[0])
    transform = source.geobox.transform @ Affine.translation(needed.x, needed.y) @ scale
    return Thinned(pixels, transform, zoom * shape[1] / needed.width, is_coarse)


def _thin_array(source: ArraySource, band: int, needed: Window, zoom: float) -> Thinned:
    """Every n-th pixel of an array; a lazy array is computed block by block."""
    step = max(1, int(zoom / FINER))
    rows, columns = (slice(item.start + (step - 1) // 2, item.stop, step) for item in needed.slices())
    pixels = source.array.take([source.indexes[band] - 1], rows, columns)[0].astype(np.float32)
    if (said := source.nodata[band]) is not None:
        pixels[pixels == np.float32(said)] = np.nan
    pixels[~np.isfinite(pixels)] = np.nan
    transform = source.geobox.transform @ Affine.translation(needed.x, needed.y) @ Affine.scale(step)
    return Thinned(pixels, transform, zoom / step, is_coarse=False)


def _thin_strips(source: Source, band: int, needed: Window, zoom: float) -> Thinned:
    """Every n-th pixel of what is no file, such as tiles, which are on disk since the map was made; strip by strip."""
    step = max(1, int(zoom / FINER))
    first, height, strips = (step - 1) // 2, step * math.ceil(STRIP / step), []
    for top in range(needed.y, needed.bottom, height):
        pixels, mask = source.read(Window(top, needed.x, min(height, needed.bottom - top), needed.width))
        strips.append(np.where(mask, pixels[band], np.float32(np.nan))[first::step, first::step].astype(np.float32))
    transform = source.geobox.transform @ Affine.translation(needed.x, needed.y) @ Affine.scale(step)
    return Thinned(np.concatenate(strips), transform, zoom / step, is_coarse=False)


def _telling_nodata(opened: rasterio.DatasetReader, index: int) -> np.float32 | None:
    """The number that tells all pixels without data of a band, where float32 holds its numbers exactly.

    It spares reading a file twice: a mask by nodata is read from the pixels.
    """
    dtype, nodata = np.dtype(opened.dtypes[index - 1]), opened.nodatavals[index - 1]
    by_nodata = opened.mask_flag_enums[index - 1] == [MaskFlags.nodata]
    if not by_nodata or not np.can_cast(dtype, np.float32):
        return None
    if dtype.kind != "f" and nodata not in range(np.iinfo(dtype).min, np.iinfo(dtype).max + 1):
        return None  # what such a number tells of integers is the file library's matter
    return np.float32(nodata)


def _pixel_ratio(one: GeoBox, other: GeoBox) -> float:
    """How many pixels of another grid lie along the side of a pixel."""
    if one.crs == other.crs:
        return math.sqrt(abs(one.transform.determinant / other.transform.determinant))
    return math.sqrt(math.prod(ground_resolution(one)) / math.prod(ground_resolution(other)))


def _step(height: float, width: float, block: tuple[int, int], zoom: float) -> tuple[float, bool]:
    """Px from one sample to the next, and whether that is coarser than the picture.

    With steps longer than a storage block only blocks that hold a sample are read, which is how large files without
    overviews stay within `MAX_SAMPLES`.
    """
    step = max(1.0, zoom / FINER)
    while height * width * min(1, block[0] / step) * min(1, block[1] / step) > MAX_SAMPLES:
        step *= 2
    return step, step > max(1.0, zoom)
