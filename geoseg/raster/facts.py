"""What a band of an opened file says of its own validity, in the types of its pixels.

It is asked when headers are read, and again when a file that only a catalog describes is opened.
"""

from __future__ import annotations

import base64
import binascii
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import MaskFlags

from geoseg.raster.tags import nodata_text

ZARR_ATTRIBUTES = "_FillValue", "missing_value"
"""Attributes by which an array of Zarr declares its nodata, as xarray and CF have it."""


def declared_nodata(opened: rasterio.DatasetReader) -> tuple[float | None, ...]:
    """Return the nodata value that each band of a file declares, where GDAL's reading is another too.

    GDAL takes the fill value of a Zarr array, which is 0 unless someone chose another, and the digits before the point
    of the text that declares nodata of 64-bit integers, which rasterio writes as a float: -9 for -2**63.
    """
    read: tuple[float | None, ...] = opened.nodatavals
    if opened.driver == "Zarr":
        return tuple(_zarr_nodata(value, opened.tags() | opened.tags(index)) for index, value in enumerate(read, 1))
    return tuple(
        _written_nodata(opened, band, value) if value and dtype in ("int64", "uint64") and abs(value) < 10 else value
        for band, value, dtype in zip(opened.indexes, read, opened.dtypes, strict=True)
    )


def _written_nodata(opened: rasterio.DatasetReader, band: int, read: float) -> float:
    """The whole number that a text means, of which GDAL has read the digit before the point."""
    text = nodata_text(opened, band) or ""
    with suppress(ValueError, OverflowError):  # other words than such a float are GDAL's to read
        return int(float(text)) if "e" in text.lower() else read
    return read


def _zarr_nodata(fill_value: float | None, attributes: dict[str, str]) -> float | None:
    """The nodata value of an array: what it declares, else its fill value, unless that is 0."""
    texts = [attributes[name] for name in ZARR_ATTRIBUTES if name in attributes]
    numbers = [value for text in texts if (value := _number(text)) is not None]
    return numbers[0] if numbers else fill_value or None


def _number(text: str) -> float | None:
    """A number as text, or, as xarray writes those of floats, the bytes of a float64 in base 64."""
    with suppress(ValueError):
        return float(text)
    with suppress(binascii.Error, struct.error):
        return float(struct.unpack("<d", base64.b64decode(text, validate=True))[0])
    return None


def numpy_type(name: str) -> np.dtype[Any]:
    """Return the type in which rasterio reads a band."""
    return np.dtype("complex64" if name in ("complex_int16", "complex_int32") else name)


LAST_EXACT = 2**53
"""From here on not every whole number is a float64, as which rasterio passes nodata values on, in both directions."""


def has_mask(flags: list[MaskFlags]) -> bool:
    """Say whether GDAL's mask knows more than the nodata value and the alpha band, which are looked at anyway."""
    return not flags or (MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags)


def is_inexact(nodata: float | None, dtype: np.dtype[Any], flags: list[MaskFlags]) -> bool:
    """Say whether a band has a nodata value that rasterio's float64 cannot tell, which only GDAL's mask knows."""
    if dtype.kind not in "iu" or dtype.itemsize < 8 or MaskFlags.nodata not in flags:
        return False
    return nodata is None or abs(nodata) >= LAST_EXACT


def usable_nodata(nodata: float | None, dtype: np.dtype[Any]) -> float | None:
    """Return a nodata value as the band's type holds it; None when no finite pixel can equal it."""
    if nodata is None or not np.isfinite(nodata):
        return None
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return int(nodata) if float(nodata).is_integer() and limits.min <= nodata <= limits.max else None
    with np.errstate(over="ignore"):
        value = float(dtype.type(nodata)) if dtype.kind == "f" else None
    return value if value is not None and np.isfinite(value) else None
