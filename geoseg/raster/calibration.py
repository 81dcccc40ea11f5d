"""What the numbers of pixels mean, and how they become the numbers that a model was trained on.

Pure arithmetic on what files, catalogs, models and people say; it opens nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import RasterError, WorkflowError
from geoseg.raster.facts import usable_nodata

Line = tuple[float, float]
"""``(scale, offset)``: a number x means the physical value ``scale * x + offset``, as GDAL and STAC declare it."""

AS_STORED: Line = (1.0, 0.0)
"""What a band means that declares nothing."""

NoData = float | Literal["none"] | None
"""A value of pixels that hold no data; ``"none"``: no value does, whatever is declared; None: as declared."""

_DIGITS = 6  # decimals of an offset in pixels; more is rounding noise of the declared decimals


@dataclass(frozen=True)
class Calibration:
    """How stored pixels become the numbers that are read.

    A pixel x is read as ``scale * x + offset`` where a person says so. Otherwise a band that declares
    ``(a, b)`` is brought to the units ``(c, d)`` that are wanted: ``(a x + b - d) / c``. Otherwise it stays x.

    Attributes
    ----------
    scale, offset : float or None
        Said by a person, in place of what is declared; one without the other leaves 1 or 0.
    nodata : float, "none" or None
        In place of the declared nodata value.
    units : tuple of (Line or None)
        Units that are wanted, one a band of the raster; empty, or None for a band: as stored.
    """

    scale: float | None = None
    offset: float | None = None
    nodata: NoData = None
    units: tuple[Line | None, ...] = ()

    def __post_init__(self) -> None:
        """Refuse numbers that would make pixels useless."""
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise WorkflowError(f"scale is {self.scale}; give a factor above 0, such as 10000.")
        if self.offset is not None and not math.isfinite(self.offset):
            raise WorkflowError(f"offset is {self.offset}; give a finite number, such as -1000.")
        if not (self.nodata is None or self.nodata == "none" or isinstance(self.nodata, int | float)):
            raise WorkflowError(f"nodata is '{self.nodata}'; give a number or none.")

    @property
    def override(self) -> Line | None:
        """What a person says in place of what is declared."""
        if self.scale is None and self.offset is None:
            return None
        return 1.0 if self.scale is None else self.scale, 0.0 if self.offset is None else self.offset

    def line(self, position: int, declared: Line | None) -> Line:
        """Gain and shift of a band of the raster that declares something."""
        if self.override is not None:
            return self.override
        wanted = self.units[position] if position < len(self.units) else None
        return AS_STORED if wanted is None or declared is None else conversion(declared, wanted)

    def nodata_of(
        self, declared: Sequence[float | None], dtypes: Sequence[np.dtype[Any]], name: str
    ) -> tuple[float | None, ...]:
        """Nodata values of a file's bands.

        Raises
        ------
        RasterError
            No pixel of such a type can have the value.
        """
        if self.nodata is None:
            return tuple(declared)
        if self.nodata == "none" or np.isnan(self.nodata):  # NaN is never valid
            return (None,) * len(declared)
        for dtype in dtypes:
            if usable_nodata(self.nodata, dtype) is None:
                raise RasterError(
                    f"nodata is {self.nodata:g}, which pixels of '{name}' cannot hold ({dtype}); give the value that "
                    "its pixels without data have, or none."
                )
        return tuple(usable_nodata(self.nodata, dtype) for dtype in dtypes)


def conversion(declared: Line, wanted: Line) -> Line:
    """Gain and shift that bring a number of one unit to another: ``c y + d == a x + b``."""
    (a, b), (c, d) = declared, wanted
    return round(a / c, 12), round((b - d) / c, _DIGITS)


def calibrated_type(dtype: np.dtype[Any], lines: Sequence[Line]) -> np.dtype[Any]:
    """The type of calibrated pixels: integers stay when a whole number is taken off them, or nothing changes."""
    if all(gain == 1 and shift <= 0 and float(shift).is_integer() for gain, shift in lines):
        return dtype
    return np.result_type(dtype, np.float32)


def calibrate(pixels: NDArray[Any], lines: Sequence[Line]) -> None:
    """Evaluate ``gain * x + shift`` band by band, in place; what an integer type cannot hold becomes its limit."""
    for band, (gain, shift) in enumerate(lines):
        if (gain, shift) == AS_STORED:
            continue
        values = pixels[band] * np.float64(gain) + shift
        if pixels.dtype.kind in "iu":
            limits = np.iinfo(pixels.dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        pixels[band] = values.astype(pixels.dtype)
