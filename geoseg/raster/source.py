"""One raster file: what its header promises, and its pixels with their mask, window by window.

It knows nothing of other files, of the grid a model wants, or of resampling.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.windows
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj.exceptions import CRSError
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from geoseg.errors import CrsError, RasterError, RasterReadError
from geoseg.grid import Window
from geoseg.raster.bands import BandRequest, FileBand, band_name, match_bands
from geoseg.raster.handles import dataset, open_dataset

_FLOAT32_STEP = float(np.finfo(np.float32).eps)
_VECTOR_SUFFIXES = {".geojson", ".json", ".gpkg", ".shp", ".fgb", ".parquet", ".kml", ".gml", ".csv"}


@dataclass(frozen=True)
class Header:
    """What a file says of itself before a pixel is read.

    Attributes
    ----------
    given : str
        The path as the user wrote it, for messages and the fingerprint.
    path : str
        The path that is opened, absolute when it is a local file.
    geobox : GeoBox
        Shape, transform and CRS.
    bands : tuple of FileBand
        Every band, alpha included.
    dtypes : tuple of numpy dtype
        Type of each band.
    nodata : tuple of (float or None)
        Declared nodata value of each band; None where a pixel of the band's type cannot hold it.
    masked : tuple of bool
        True for the bands whose validity stands in a mask of the file (internal, ``.msk``, per band).
    """

    given: str
    path: str
    geobox: GeoBox
    bands: tuple[FileBand, ...]
    dtypes: tuple[np.dtype[Any], ...]
    nodata: tuple[float | None, ...]
    masked: tuple[bool, ...]

    def select(self, wanted: Sequence[BandRequest] | None) -> tuple[Source, tuple[str, ...]]:
        """Choose bands.

        Parameters
        ----------
        wanted : sequence of band requests, or None
            What to read, in this order; None takes all but alpha.

        Returns
        -------
        source : Source
            The file, reduced to these bands.
        names : tuple of str
            The names of the bands.

        Raises
        ------
        BandError
            When the file does not have them.
        RasterError
            When their values are complex numbers.
        """
        if wanted is None:
            wanted = [band.index for band in self.bands if band.color != "alpha"]
        indexes = match_bands(wanted, self.bands, file=self.given)
        dtype = np.result_type(*(self.dtypes[index - 1] for index in indexes))
        if dtype.kind not in "iuf":
            raise RasterError(
                f"'{self.given}' holds {dtype} values, which no model takes; "
                "turn them into real numbers first, such as the amplitude."
            )
        alpha = next((band.index for band in self.bands if band.color == "alpha" and band.index not in indexes), None)
        source = Source(
            given=self.given,
            path=self.path,
            geobox=self.geobox,
            indexes=indexes,
            dtype=dtype,
            nodata=tuple(self.nodata[index - 1] for index in indexes),
            alpha=alpha,
            masked=tuple(index for index in indexes if self.masked[index - 1]),
        )
        return source, tuple(band_name(item, self.bands, index) for item, index in zip(wanted, indexes, strict=True))


@dataclass(frozen=True)
class Source:
    """The chosen bands of one file: a recipe, which opens its file when it is first read.

    Attributes
    ----------
    indexes : tuple of int
        The bands to read, counted from 1.
    dtype : numpy dtype
        Type of the result.
    alpha : int or None
        The band whose zeros are invalid.
    masked : tuple of int
        The bands whose masks are read.
    """

    given: str
    path: str
    geobox: GeoBox
    indexes: tuple[int, ...]
    dtype: np.dtype[Any]
    nodata: tuple[float | None, ...]
    alpha: int | None
    masked: tuple[int, ...]

    @property
    def extent(self) -> Window:
        """Every pixel of the file."""
        return Window(0, 0, *self.geobox.shape)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window at full resolution: pixel by pixel, so that GDAL has no cause to look at overviews.

        A pixel is valid when every chosen band is: not the declared nodata value, not NaN or infinite, not
        transparent, not masked. Digital numbers are returned as stored: ``scale`` and ``offset`` of the bands
        are not applied, because a model's scaling speaks of digital numbers.

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
        where = rasterio.windows.Window(window.x, window.y, window.width, window.height)
        indexes = [*self.indexes, self.alpha] if self.alpha is not None else list(self.indexes)
        try:
            opened = dataset(self.path)
            layers = opened.read(indexes, window=where, out_dtype=self.dtype)
            masks = opened.read_masks(list(self.masked), window=where) if self.masked else None
        except RasterioError as error:
            raise RasterReadError(
                f"'{self.given}' cannot be read at {window} ({_reason(error)}); the file is truncated or damaged: "
                "copy or download it again."
            ) from error
        pixels = layers[: len(self.indexes)]
        mask = self._valid(layers, masks)
        if mask is None:
            return pixels, np.ones(window.shape, np.bool_)
        np.copyto(pixels, 0, where=~mask)
        return pixels, mask

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


def read_header(path: str, given: str, *, require_crs: bool = True) -> Header:
    """Open a file and note what it says of itself.

    Parameters
    ----------
    path, given : str
        What is opened, and what the user wrote.
    require_crs : bool
        False also takes a raster without CRS or transform.

    Raises
    ------
    RasterError
        When GDAL cannot open it as a raster, or it holds no band.
    CrsError
        When it is not placed on the ground by a CRS and a transform.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            opened = open_dataset(path)
        except RasterioError as error:
            raise RasterError(_unreadable(given, _reason(error))) from error
        with opened:
            _check_bands(opened, given)
            dtypes = tuple(np.dtype(_numpy_name(name)) for name in opened.dtypes)
            return Header(
                given=given,
                path=path,
                geobox=_geobox(opened, given, require_crs=require_crs),
                bands=tuple(
                    FileBand(index, opened.descriptions[index - 1] or "", opened.colorinterp[index - 1].name)
                    for index in opened.indexes
                ),
                dtypes=dtypes,
                nodata=tuple(_usable(value, dtype) for value, dtype in zip(opened.nodatavals, dtypes, strict=True)),
                masked=tuple(_has_mask(flags) for flags in opened.mask_flag_enums),
            )


def files_of(path: str) -> list[str]:
    """List the files a dataset is made of: itself, sidecars, the sources of a VRT; not its overviews.

    Raises
    ------
    RasterReadError
        When it cannot be opened any more.
    """
    try:
        names = list(dataset(path).files)
    except RasterioError as error:
        raise RasterReadError(f"'{path}' cannot be opened ({_reason(error)}); has it been moved?") from error
    return [name for name in names if not name.endswith(".ovr")] or [path]


def _has_mask(flags: list[MaskFlags]) -> bool:
    """Say whether GDAL's mask knows more than the nodata value and the alpha band, which are looked at anyway."""
    return not flags or (MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags)


def _usable(nodata: float | None, dtype: np.dtype[Any]) -> float | None:
    """Return a nodata value as the band's type holds it; None when no finite pixel can equal it."""
    if nodata is None or not np.isfinite(nodata):
        return None
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return int(nodata) if float(nodata).is_integer() and limits.min <= nodata <= limits.max else None
    with np.errstate(over="ignore"):
        value = float(dtype.type(nodata)) if dtype.kind == "f" else None
    return value if value is not None and np.isfinite(value) else None


def _differs(band: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    """Compare with nodata; in float32 within four roundings, as text headers round (-3.40282e+38)."""
    if band.dtype != np.float32:
        return np.asarray(band != nodata)
    margin = 4 * _FLOAT32_STEP * abs(nodata)
    with np.errstate(over="ignore"):  # beyond the smallest float32 lies -inf, which is as good
        return ~((band >= nodata - margin) & (band <= nodata + margin))


def _check_bands(opened: rasterio.DatasetReader, given: str) -> None:
    if opened.count:
        return
    if parts := list(opened.subdatasets):
        raise RasterError(
            f"'{given}' is a container of {len(parts)} rasters; name the one to read as input, such as '{parts[0]}'."
        )
    raise RasterError(f"'{given}' holds no band of pixels; give a raster file such as a GeoTIFF.")


def _geobox(opened: rasterio.DatasetReader, given: str, *, require_crs: bool) -> GeoBox:
    transform, crs = opened.transform, opened.crs
    placed = crs is not None and not transform.is_identity
    if require_crs and not placed:
        if points := opened.gcps[0]:
            raise CrsError(
                f"'{given}' is placed by {len(points)} ground control points instead of a transform; "
                f"warp it first: `gdalwarp -tps '{given}' warped.tif`."
            )
        if opened.rpcs is not None:
            raise CrsError(
                f"'{given}' is placed by rational polynomial coefficients instead of a transform; "
                f"orthorectify it first: `gdalwarp -rpc '{given}' warped.tif`."
            )
        if crs is None:
            raise CrsError(
                f"'{given}' has no coordinate reference system; if you know it, write it into the file: "
                f"`rio edit-info --crs EPSG:32618 '{given}'` or `gdal_edit.py -a_srs EPSG:32618 '{given}'`."
            )
        raise CrsError(
            f"'{given}' has a coordinate reference system but no transform, so its place is unknown; write it into "
            f"the file: `gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM '{given}'`."
        )
    if transform.is_degenerate:
        raise RasterError(f"'{given}' has pixels of size 0 ({tuple(transform)[:6]}); correct its transform.")
    return GeoBox(opened.shape, transform, None if crs is None else _crs(crs.to_wkt(), crs.to_epsg(), given))


def _crs(wkt: str, epsg: int | None, given: str) -> CRS:
    try:
        return CRS(f"EPSG:{epsg}" if epsg is not None else wkt)
    except CRSError as error:
        raise CrsError(
            f"'{given}' has a coordinate reference system that PROJ does not know ({wkt[:60]}...); "
            "assign a known one: `rio edit-info --crs EPSG:32618 FILE`."
        ) from error


def _unreadable(given: str, reason: str) -> str:
    if Path(given).suffix.lower() in _VECTOR_SUFFIXES:
        return f"'{given}' holds no pixels but looks like vector data; the input must be a raster such as a GeoTIFF."
    return (
        f"'{given}' is not a raster that GDAL can read ({reason}); give a raster such as a GeoTIFF, "
        "or copy the file again if it is damaged."
    )


def _numpy_name(name: str) -> str:
    return "complex64" if name in ("complex_int16", "complex_int32") else name


def _reason(error: Exception) -> str:
    """Return GDAL's words: the cause of rasterio's error where it has one, on one line."""
    text = str(error.__cause__ or error)
    return " ".join(text.split()).rstrip(".")[:200]
