"""What a band of an opened file says of its own validity, in the types of its pixels.

It is asked when headers are read, and again by whoever opens a file of which only a catalog has spoken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from rasterio.enums import MaskFlags


def numpy_type(name: str) -> np.dtype[Any]:
    """Return the type in which rasterio reads a band."""
    return np.dtype("complex64" if name in ("complex_int16", "complex_int32") else name)


def has_mask(flags: list[MaskFlags]) -> bool:
    """Say whether GDAL's mask knows more than the nodata value and the alpha band, which are looked at anyway."""
    return not flags or (MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags)


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
