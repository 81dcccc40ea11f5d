"""What one raster file promises: place, bands, types, nodata, masks; everything but its pixels.

It opens a file once and closes it again; reading pixels is the matter of `geoseg.raster.source`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from geoseg.errors import BandError, CrsError, RasterError
from geoseg.raster.array_grids import DEGREES
from geoseg.raster.bands import (
    BandList,
    BandRequest,
    FileBand,
    band_name,
    common_name,
    counts_as_sentinel,
    is_alpha,
    match_bands,
    sensor_band,
    spoken,
)
from geoseg.raster.calibration import AS_STORED, Line
from geoseg.raster.damage import DamageError, heeding
from geoseg.raster.facts import declared_nodata, has_mask, is_inexact, numpy_type, usable_nodata
from geoseg.raster.handles import open_dataset
from geoseg.raster.options import configured
from geoseg.raster.placing import PLAIN_PIXELS, crs_label, definition, grid_of, ground_resolution, named_crs, stated_crs
from geoseg.raster.products import LANDSAT_PIXELS, product_file, sensor_of
from geoseg.raster.source import SIGN, Source, is_denied, reason
from geoseg.raster.tags import is_cut_png, lacks_tie_point

_VECTOR_SUFFIXES = {".geojson", ".json", ".gpkg", ".shp", ".fgb", ".parquet", ".kml", ".gml", ".csv"}
_SHORT_NUMBER = re.compile(r"(?:^|[^A-Za-z0-9])(SR_|TOA_)?B[1-9]\d?(?![A-Za-z0-9])")
_STEP, _UNITS = "NETCDF_DIM_", "#units"
_SPECTRAL = {"band", "bands", "channel", "channels", "wavelength", "wavelengths"}
_SENSOR_TAGS = ("SPACECRAFT_ID", "SPACECRAFT_NAME", "SATELLITE", "PLATFORM", "platform")


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
    units : tuple of (Line or None)
        What the numbers of each band mean; None where nothing says it.
    notes : tuple of str
        What GDAL reported while it opened the file, and what is no damage.
    attribution : str
        Whose imagery it is, and its terms; empty where nothing says it.
    """

    given: str
    path: str
    geobox: GeoBox
    bands: tuple[FileBand, ...]
    dtypes: tuple[np.dtype[Any], ...]
    nodata: tuple[float | None, ...]
    masked: tuple[bool, ...]
    units: tuple[Line | None, ...]
    notes: tuple[str, ...] = ()
    attribution: str = ""

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
        if counts_as_sentinel(wanted):
            for item, index in zip(wanted, indexes, strict=True):
                self.check_sensor(item, index, self.bands[index - 1].description)
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
            units=tuple(self.units[index - 1] for index in indexes) if any(self.units) else (),
            notes=(*self.notes, *self._order_note(wanted)),
            attribution=self.attribution,
        )
        return source, tuple(band_name(item, self.bands, index) for item, index in zip(wanted, indexes, strict=True))

    def _order_note(self, wanted: Sequence[BandRequest]) -> list[str]:
        """What is to be said where bands with names are taken in the order of a file that names none."""
        names = [spoken(item) for item in wanted if not isinstance(item, int)]
        is_numbered = all(name.isdecimal() for name in names)
        if is_numbered or len(names) < 2 or any(band.is_named for band in self.bands if band.color != "alpha"):
            return []
        return [
            f"it names no band, so its bands are taken in order as {', '.join(names)}; give bands if they are others"
        ]

    def check_sensor(self, item: BandRequest, index: int, text: str) -> None:
        """Refuse a band found by a number that means another one on another satellite, where nothing tells which it is.

        Parameters
        ----------
        item : band request
            What was asked for.
        index : int
            The band that was found.
        text : str
            The text that holds its number: a description, or the name of a file.

        Raises
        ------
        BandError
            The band is numbered as Landsat's are, or has the size of their pixels.
        """
        common = None if isinstance(item, int) else common_name(item) if isinstance(item, str) else item.common_name
        number = _SHORT_NUMBER.search(text)
        if common is None or number is None or self.bands[index - 1].common or self.geobox.crs is None:
            return
        size = max(ground_resolution(self.geobox))
        if number[1] or any(abs(size / pixel - 1) < 0.01 for pixel in LANDSAT_PIXELS):
            raise BandError(
                f"'{self.given}' numbers bands as Landsat does or has its pixel size, and '{number[0].strip(' _-.')}' "
                "is another band there than of Sentinel-2; name this imagery's bands in the model's order, such as "
                "`bands: [B3, B2, B1]`."
            )


def read_header(path: str, given: str, *, crs: CRS | None = None, require_crs: bool = True) -> Header:
    """Open a file and note what it says of itself.

    Parameters
    ----------
    path, given : str
        What is opened, and what the user wrote.
    crs : CRS, optional
        Of a raster that has none; plain pixels are placed without a transform too.
    require_crs : bool
        False also takes a raster without CRS or transform.

    Raises
    ------
    RasterError
        When GDAL cannot open it as a raster, or reports that it is damaged, or it holds no band.
    CrsError
        When it is not placed on the ground by a CRS and a transform.
    """
    try:
        with heeding() as messages:
            header = _read_header(path, given, crs, require_crs=require_crs)
    except DamageError as error:
        raise RasterError(
            f"'{given}' is damaged: GDAL reports \"{reason(error)}\"; copy or download it again, or, where its place "
            "and pixels are known to be right, write it anew with gdal_translate."
        ) from error
    notes = [f"GDAL reports {message}" for message in dict.fromkeys(messages)]
    if crs is not None and header.geobox.crs is not None and header.geobox.crs != crs:
        own = crs_label(header.geobox.crs)
        notes.append(
            f"declares {own} and keeps it: crs is for files that declare none; correct what the file declares."
        )
    return replace(header, notes=tuple(notes))


@configured()
def _read_header(path: str, given: str, crs: CRS | None, *, require_crs: bool) -> Header:
    try:
        opened = open_dataset(path)
    except DamageError:
        raise
    except RasterioError as error:
        if is_denied(error):
            raise RasterError(f"'{given}' cannot be opened ({reason(error)}); {SIGN}.") from error
        raise RasterError(_unreadable(given, reason(error))) from error
    with opened:
        if opened.driver == "PNG" and is_cut_png(opened.files[0]):
            raise DamageError("the file ends before its last chunk")
        _check_bands(opened, given)
        dtypes = tuple(numpy_type(name) for name in opened.dtypes)
        product = product_file(path)
        declared = tuple(
            product.nodata if value is None and product is not None else value for value in declared_nodata(opened)
        )
        flags = opened.mask_flag_enums
        inexact = [
            value == read and is_inexact(read, dtype, band)
            for value, read, dtype, band in zip(declared, opened.nodatavals, dtypes, flags, strict=True)
        ]
        nodata = [usable_nodata(value, dtype) for value, dtype in zip(declared, dtypes, strict=True)]
        return Header(
            given=given,
            path=path,
            geobox=_geobox(opened, given, crs, require_crs=require_crs),
            bands=_bands(opened, path, () if product is None else product.bands),
            dtypes=dtypes,
            nodata=tuple(None if other else value for value, other in zip(nodata, inexact, strict=True)),
            masked=tuple(has_mask(band) or other for band, other in zip(flags, inexact, strict=True)),
            units=tuple(
                line if line != AS_STORED else None if product is None else product.unit(index)
                for index, line in enumerate(zip(opened.scales, opened.offsets, strict=True))
            ),
        )


def _bands(opened: rasterio.DatasetReader, path: str, said: Sequence[str]) -> tuple[FileBand, ...]:
    """The bands with all that name, metadata, product and the file's own words say of them."""
    named = _named_in_netcdf(opened, path) if opened.driver == "netCDF" else [""] * opened.count
    descriptions = [text or name for text, name in zip(opened.descriptions, named, strict=True)]
    if len(said) == opened.count and not any(descriptions):
        descriptions = list(said)
    tags = opened.tags()
    sensor = sensor_of(Path(path).stem, *(tags.get(name, "") for name in _SENSOR_TAGS))
    names = [Path(path).stem] if opened.count == 1 and not descriptions[0] else descriptions
    return tuple(
        FileBand(
            index,
            name,
            "undefined" if color.name == "alpha" and not is_alpha(color.name, name) else color.name,
            sensor_band(sensor, known),
        )
        for index, name, known, color in zip(opened.indexes, descriptions, names, opened.colorinterp, strict=True)
    )


def _named_in_netcdf(opened: rasterio.DatasetReader, given: str) -> list[str]:
    """Names of the bands of a variable: words of a spectral dimension, or a list of rioxarray's, or other steps."""
    tags, of_bands = opened.tags(), [opened.tags(index) for index in opened.indexes]
    if any(name.endswith("#_Encoding") and name.partition("#")[0].lower() in _SPECTRAL for name in tags):
        return ["unread name"] * opened.count  # of letters, which netCDF 3 has for words and GDAL 3.12 cannot read
    for name, value in tags.items():
        dimension = name.removeprefix(_STEP).removesuffix("_VALUES")
        words = _list_of(value) if name == f"{_STEP}{dimension}_VALUES" and dimension.lower() in _SPECTRAL else []
        if len(words) == opened.count and not any(band.get(f"{_STEP}{dimension}") for band in of_bands):
            return words
    numbers = [next((v for k, v in band.items() if _is_spectral(k)), "") for band in of_bands]
    listed = BandList(opened.count, tuple(map(int, numbers)) if all(map(str.isdecimal, numbers)) else (), given)
    try:
        listing = listed.entries("long_name", _list_of(of_bands[0].get("long_name", "")))
    except BandError:  # bands can be chosen by number all the same
        return ["unsure name"] * opened.count
    if listing:
        return listing
    steps = [{k: v for k, v in band.items() if k.startswith(_STEP) and not _is_spectral(k)} for band in of_bands]
    is_one_step = len(steps) > 1 and all(step == steps[0] for step in steps)
    return ["" if is_one_step else ", ".join(f"{k.removeprefix(_STEP)} {v}" for k, v in step.items()) for step in steps]


def _is_spectral(tag: str) -> bool:
    return tag.startswith(_STEP) and tag.removeprefix(_STEP).lower() in _SPECTRAL


def _list_of(text: str) -> list[str]:
    """The words of a list as GDAL writes it: ``{blue,green,red}``."""
    return text[1:-1].split(",") if text.startswith("{") and text.endswith("}") else []


def _check_bands(opened: rasterio.DatasetReader, given: str) -> None:
    if opened.count:
        return
    parts = list(opened.subdatasets)
    if opened.driver == "STACIT":
        assets = ", ".join(part.rpartition(":asset=")[2] for part in parts[:5])
        raise RasterError(f"'{given}' is a STAC item ({assets}); give the file of one of its assets.")
    if parts:
        raise RasterError(
            f"'{given}' is a container of {len(parts)} rasters; name the one to read as input, such as '{parts[0]}'."
        )
    raise RasterError(f"'{given}' holds no band of pixels; give a raster file such as a GeoTIFF.")


def _geobox(opened: rasterio.DatasetReader, given: str, default: CRS | None, *, require_crs: bool) -> GeoBox:
    transform, crs = opened.transform, opened.crs
    has_place = not transform.is_identity
    if has_place and transform.c == transform.f == 0 and opened.driver == "GTiff" and lacks_tie_point(opened.files[0]):
        raise DamageError("a pixel size without a tie point")
    if transform.is_degenerate:
        raise RasterError(f"'{given}' has pixels of size 0 ({tuple(transform)[:6]}); correct its transform.")
    stated = None if crs is None or (default == PLAIN_PIXELS and not has_place) else _crs(definition(crs), given)
    if crs is None and default is None and has_place and _counts_in_degrees(opened):
        stated = named_crs("EPSG:4326")
    geobox = grid_of(opened.shape, transform, stated, default, require_crs=require_crs)
    if geobox is None:
        raise _unplaced(opened, given)
    return geobox


def _counts_in_degrees(opened: rasterio.DatasetReader) -> bool:
    """Say whether the coordinates of a netCDF variable are degrees north and east, all of them."""
    tags = opened.tags() if opened.driver == "netCDF" else {}
    units = [value for name, value in tags.items() if name.endswith(_UNITS) and " since " not in value]
    return len(units) == 2 and all(unit in DEGREES for unit in units)


def _unplaced(opened: rasterio.DatasetReader, given: str) -> CrsError:
    """Say why a raster has no place, and how it gets one."""
    if points := opened.gcps[0]:
        return CrsError(
            f"'{given}' is placed by {len(points)} ground control points instead of a transform; "
            f"warp it first: `gdalwarp -tps '{given}' warped.tif`."
        )
    if opened.rpcs is not None:
        return CrsError(
            f"'{given}' is placed by rational polynomial coefficients instead of a transform; "
            f"orthorectify it first: `gdalwarp -rpc '{given}' warped.tif`."
        )
    if opened.transform.is_identity and _counts_in_degrees(opened):
        return CrsError(
            f"'{given}' has coordinates that GDAL takes for unevenly spaced, as float32 ones of small pixels are; give "
            f"it as xarray opens it, such as geoseg.run(xarray.open_dataset('{given}'), ...), or write them as float64."
        )
    if opened.driver == "netCDF" and opened.transform.is_identity:
        crs = '.rio.write_crs("EPSG:32618")' if opened.crs is None else ""
        return CrsError(
            f"'{given}' does not say which of its variables are the coordinates of rows and columns, so its place is "
            f"unknown; write that with rioxarray, `dataset{crs}.rio.write_coordinate_system()`, or give `crs: local` "
            "for pixel coordinates."
        )
    if opened.crs is None and not opened.transform.is_identity:
        return CrsError(
            f"'{given}' has no coordinate reference system; give `crs: EPSG:32618` or another, or `crs: local` for "
            "pixel coordinates."
        )
    if opened.crs is None:
        return CrsError(
            f"'{given}' has no coordinate reference system and no transform, so it is not georeferenced; give "
            "`crs: local` to process it in pixel coordinates, or georeference it."
        )
    return CrsError(
        f"'{given}' has a coordinate reference system but no transform, so its place is unknown; write it into "
        f"the file: `gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM '{given}'`, or give `crs: local` for pixel coordinates."
    )


def _crs(wkt: str, given: str) -> CRS:
    try:
        return stated_crs(wkt)
    except CrsError as error:
        raise CrsError(f"'{given}': {error}") from error


def _unreadable(given: str, cause: str) -> str:
    if Path(given).suffix.lower() in _VECTOR_SUFFIXES:
        return f"'{given}' holds no pixels but looks like vector data; the input must be a raster such as a GeoTIFF."
    return (
        f"'{given}' is not a raster that GDAL can read ({cause}); give a raster such as a GeoTIFF, "
        "or copy the file again if it is damaged."
    )
