"""The pixels of one raster file with their mask, window by window.

It knows nothing of headers, of other files, of the grid a model wants, or of resampling.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import rasterio.windows
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from geoseg.errors import RasterReadError
from geoseg.grid import Window
from geoseg.raster.calibration import AS_STORED, Calibration, Line, calibrate, calibrated_type
from geoseg.raster.handles import beside, dataset, is_remote_tiff, patiently
from geoseg.raster.options import configured

_FLOAT32_STEP = float(np.finfo(np.float32).eps)
_WHOLE = 2**24  # up to which float32 holds every whole number


@dataclass(frozen=True)
class Source:
    """The chosen bands of one file: a recipe, which opens its file when it is first read.

    Attributes
    ----------
    given : str
        The path as the user wrote it, for messages and the fingerprint.
    path : str
        The path that is opened, absolute when it is a local file.
    geobox : GeoBox
        Shape, transform and CRS.
    indexes : tuple of int
        The bands to read, counted from 1.
    dtype : numpy dtype
        Type of the result.
    nodata : tuple of (float or None)
        Declared nodata value of each of these bands.
    alpha : int or None
        The band whose zeros are invalid.
    masked : tuple of int
        The bands whose masks are read.
    units : tuple of (Line or None)
        What the numbers of each of these bands mean, as far as it is declared; else empty.
    lines : tuple of Line
        Gain and shift of each of these bands: a stored pixel x is read as ``gain * x + shift``; empty: as it is.
    notes : tuple of str
        What GDAL reported while it opened the file, and how bands were chosen where it names none.
    attribution : str
        Whose imagery it is, and its terms; empty where nothing says it.
    """

    given: str
    path: str
    geobox: GeoBox
    indexes: tuple[int, ...]
    dtype: np.dtype[Any]
    nodata: tuple[float | None, ...]
    alpha: int | None
    masked: tuple[int, ...]
    units: tuple[Line | None, ...] = ()
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    attribution: str = ""
    is_file: ClassVar[bool] = True
    """Whether GDAL opens ``path``; else a program holds the pixels."""

    def calibrated(self, calibration: Calibration, positions: Sequence[int]) -> Self:
        """Return the source as it is read when its bands are those at some positions of a raster.

        Raises
        ------
        RasterError
            The nodata value that is said cannot be one.
        """
        units = self.units or (None,) * len(self.indexes)
        lines = tuple(calibration.line(place, unit) for place, unit in zip(positions, units, strict=True))
        is_stored = all(line == AS_STORED for line in lines)
        return replace(
            self,
            dtype=calibrated_type(self.dtype, lines),
            nodata=calibration.nodata_of(self.nodata, [self.dtype] * len(self.indexes), self.given),
            lines=() if is_stored else lines,
        )

    @property
    def version(self) -> dict[str, str] | None:
        """What a catalog says that changes with the file's content; None for a file without a description."""
        return None

    def as_opened(self) -> Source:
        """Return the file as it describes itself, which is how a header was read.

        Raises
        ------
        RasterReadError
            A file that only a catalog describes is gone, or is not what that says.
        """
        return self

    @property
    def extent(self) -> Window:
        """Every pixel of the file."""
        return Window(0, 0, *self.geobox.shape)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window at full resolution: pixel by pixel, so that GDAL has no cause to look at overviews.

        A pixel is valid when every chosen band is: not the declared nodata value, not NaN or infinite, not
        transparent, not masked. Pixels are returned as stored, or in the units that `calibrated` was asked for.

        Parameters
        ----------
        window : Window
            Pixels of the file; it must lie inside.

        Returns
        -------
        pixels : ndarray, shape (band, y, x), the source's dtype
            Invalid pixels are 0 in every band.
        mask : ndarray of bool, shape (y, x)
            True = valid.

        Raises
        ------
        RasterReadError
            When the file is gone, truncated or damaged.
        """
        try:
            return patiently(self.path, lambda opened: self.read_opened(opened, window), alone=self._is_alone)
        except RasterioError as error:
            remedy = SIGN if is_denied(error) else "the file is truncated or damaged: copy or download it again"
            if "No such file" in reason(error):
                gone = "a file that it names" if Path(self.path).is_file() else "the file"  # a VRT names others
                remedy = f"{gone} is not there any more: put it back"
            raise self.refused(f"'{self.given}' cannot be read at {window} ({reason(error)}); {remedy}.") from error

    @property
    def _is_alone(self) -> bool:
        """Whether nothing that lies beside the file decides its pixels: a mask would, and the rest is known already."""
        return not self.masked and is_remote_tiff(self.path)

    def refused(self, sentence: str, kind: type[RasterReadError] = RasterReadError) -> RasterReadError:
        """The error that this file cannot be read, which knows its name."""
        error = kind(sentence)
        error.files = {self.given: sentence}
        return error

    def read_opened(self, opened: rasterio.DatasetReader, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window of a dataset that is open already; as `read`, but errors are rasterio's own."""
        where = rasterio.windows.Window(window.x, window.y, window.width, window.height)
        indexes = [*self.indexes, self.alpha] if self.alpha is not None else list(self.indexes)
        layers = _read_bands(opened, indexes, where, self.dtype)
        masks = opened.read_masks(list(self.masked), window=where) if self.masked else None
        return self.finished(layers, masks)

    def finished(self, layers: NDArray[Any], masks: NDArray[np.uint8] | None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Make of what is stored (band, y, x), alpha last, and of masks what `read` returns; in place."""
        pixels = layers[: len(self.indexes)]
        mask = self._valid(layers, masks)
        calibrate(pixels, self.lines)
        if mask is None:
            return pixels, np.ones(pixels.shape[1:], np.bool_)
        np.copyto(pixels, 0, where=~mask)
        return pixels, mask

    @property
    def chunk_bytes(self) -> int:
        """Memory that reading the smallest window takes besides it; GDAL's cache holds what files are stored in."""
        return 0

    def identity(self) -> dict[str, Any] | None:
        """What identifies the content of pixels that lie in no file; None where they do."""
        return None

    def _valid(self, layers: NDArray[Any], masks: NDArray[np.uint8] | None) -> NDArray[np.bool_] | None:
        """Return the mask of what was read; None when nothing can be invalid."""
        checks = [_differs(band, value) for band, value in zip(layers, self.nodata, strict=False) if value is not None]
        if self.dtype.kind == "f":
            checks.extend(np.isfinite(band) for band in layers[: len(self.indexes)])
        if self.alpha is not None:
            checks.append(layers[-1] != 0)
        if masks is not None:
            checks.extend(band != 0 for band in masks)
        for check in checks[1:]:
            checks[0] &= check
        return checks[0] if checks else None


def _read_bands(
    opened: rasterio.DatasetReader, indexes: list[int], window: rasterio.windows.Window, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Read bands as one type; bands of several types one by one, because rasterio reads but those of one together."""
    types = opened.dtypes
    if len({types[index - 1] for index in indexes}) > 1:
        return np.stack([opened.read(index, window=window, out_dtype=dtype) for index in indexes])
    layers: NDArray[Any] = opened.read(indexes, window=window, out_dtype=dtype)
    return layers


@configured()
def files_of(path: str) -> list[str]:
    """List the files a dataset is made of: itself, sidecars, the sources of a VRT; not its overviews.

    Raises
    ------
    RasterReadError
        When it cannot be opened any more.
    """
    try:
        with beside(path):
            names = list(dataset(path).files)
    except RasterioError as error:
        raise RasterReadError(f"'{path}' cannot be opened ({reason(error)}); has it been moved?") from error
    return [name for name in names if not name.endswith(".ovr")] or [path]


def _differs(band: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    """Compare with nodata; in float32 within four roundings, as text headers round (-3.40282e+38) but whole numbers."""
    if band.dtype != np.float32 or (abs(nodata) <= _WHOLE and float(nodata).is_integer()):
        return np.asarray(band != nodata)
    margin = 4 * _FLOAT32_STEP * abs(nodata)
    with np.errstate(over="ignore"):  # beyond the smallest float32 lies -inf, which is as good
        return ~((band >= nodata - margin) & (band <= nodata + margin))


def is_denied(error: Exception) -> bool:
    """Say whether a server has refused to give a file: its address is not signed, or not any more."""
    return re.search(r"HTTP[^:]*: *40[13]\b|HTTP error code *: *40[13]\b|AccessDenied", reason(error)) is not None


SIGN = "its server refuses to give it: sign its address anew, and continue a run with `--input`"
"""What to do about that."""


def reason(error: Exception) -> str:
    """Return GDAL's words: the cause of rasterio's error where it has one, on one line."""
    text = str(error.__cause__ or error)
    return " ".join(text.split()).rstrip(".")[:200]
