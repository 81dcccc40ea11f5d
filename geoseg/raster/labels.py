"""Rasters of classes or of numbers of objects: one band of whole numbers, each file with its own nodata.

It knows values and masks; nothing of what the numbers stand for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import GeosegError, RasterError
from geoseg.grid import Window
from geoseg.raster.mosaic import Raster

LIMITS = np.iinfo(np.int64)
"""Of the numbers that labels may be."""

EXACT = {4: 24, 8: 53}
"""The power of two from which on a float of so many bytes may stand for several whole numbers; files of several integer
types are read as float64."""

SAMPLE = 512
"""Side of the windows that are looked at beforehand, px."""


def check_labels(raster: Raster, name: str, error: type[GeosegError] = RasterError) -> None:
    """Refuse a raster that holds no labels, as far as its header and a look at its middle tell.

    Parameters
    ----------
    raster : Raster
        With all of its bands.
    name : str
        What it is called, for messages.
    error : type
        Raised when it holds none.

    Raises
    ------
    RasterError
        It has several bands, as a picture or labels in colours have, or numbers that are not whole.
    """
    if len(raster.bands) > 1:
        raise error(
            f"{name} has {len(raster.bands)} bands, so it looks like a picture, or like labels painted in colours; "
            "give one band of whole numbers (rgb2pct.py of GDAL numbers colours, gdal_translate -b takes one band)"
        )
    if raster.dtype.kind not in "iuf":
        raise error(f"{name} holds {raster.dtype} numbers; give one band of whole numbers")
    if raster.dtype.kind == "f":
        read_labels(raster, sample_windows(raster.shape)[0], name)


def sample_windows(shape: tuple[int, int]) -> list[Window]:
    """Some windows of a raster, the one in its middle first; none lies over another."""
    sizes = [min(SAMPLE, length) for length in shape]
    places = [[(length - size) // 2, 0, length - size] for length, size in zip(shape, sizes, strict=True)]
    chosen: list[Window] = []
    for y, x in zip(*places, strict=True):
        window = Window(y, x, *sizes)
        if not any(window.intersect(other).area for other in chosen):
            chosen.append(window)
    return chosen


def read_labels(raster: Raster, window: Window, name: str | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read whole numbers of whatever type: those of a float as int64, as QGIS and R write classes.

    Parameters
    ----------
    raster : Raster
        Whose first band counts.
    window : Window
        Pixels of it.
    name : str, optional
        What it is called, for messages; its first file unless given.

    Returns
    -------
    labels : integers, shape (y, x)
        At most 64 bits with a sign; 0 where there is none.
    mask : bool, shape (y, x)
        True = there is one.

    Raises
    ------
    RasterError
        A number is not whole, or does not fit.
    """
    pixels, mask = raster.read(window)
    values = pixels[0]
    if values.dtype.kind in "iu" and values.dtype != np.uint64:
        return values, mask
    called = name or f"'{raster.sources[0].given}'"
    is_float = values.dtype.kind == "f"
    wrong = values != np.rint(values) if is_float else values > LIMITS.max
    if wrong.any():
        raise RasterError(
            f"{called} holds {values[wrong][0]}, which is not a 63-bit integer; give classes or numbers of objects"
        )
    power = EXACT.get(values.itemsize, 0)
    large = np.abs(values) >= 2.0**power if is_float else wrong
    if large.any():
        raise RasterError(
            f"{called} holds {values[large][0]:.0f} as {values.dtype}, in which numbers from 2^{power} on are rounded, "
            "so several may have become one; give integers, and of several files those of one type, or the number as "
            "--nodata if it stands for none"
        )
    return values.astype(np.int64), mask


def common_nodata(raster: Raster) -> int | None:
    """The whole number that all files of a raster declare as nodata; None where there is none, or they differ."""
    declared = {source.nodata[0] for source in raster.sources}
    if len(declared) > 1:
        return None
    value = declared.pop()
    if value is None or not float(value).is_integer() or not LIMITS.min <= int(value) <= LIMITS.max:
        return None
    return int(value)
