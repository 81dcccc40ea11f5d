"""Grids on the ground: the CRS that is meant, metres per pixel, the grid of a resolution, that which covers many files.

Arithmetic of geoboxes: it knows no file and no pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pyproj
import rasterio.crs
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.exceptions import CRSError, ProjError
from rasterio.enums import WktVersion

from geoseg.errors import CrsError
from geoseg.grid import Window

SAME_RESOLUTION = 0.01
"""Resolutions that differ by this part or less are one: such a raster is read as it is."""

SAME_GRID = 1e-3
"""Grids whose pixels differ by this part of a pixel or less, anywhere, are one."""

SAME_PLACE = 0.5
"""Px: two CRS that place the corners of a raster within this distance describe it alike."""

LOCAL = "local"
"""What a person writes for the CRS of plain pixels."""

PLAIN_PIXELS = CRS('LOCAL_CS["plain pixels",UNIT["pixel",1],AXIS["x",EAST],AXIS["y",NORTH]]')
"""The CRS of rasters without a place on the ground, such as photographs: px to the right and upwards of the corner."""

UPRIGHT = Affine(1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""From px to plain pixels where a raster has no transform: rows go down, so y is negative, as in GIS programs."""

_METRES = 100.0  # length over which the scale of a projection is measured
_EDGE = 21  # points on each edge of a raster that is brought to another CRS


def named_crs(name: str | int) -> CRS:
    """Return the CRS that a person means.

    Parameters
    ----------
    name : str or int
        Whatever PROJ understands, the number of an EPSG code, or ``"local"`` for plain pixels.

    Raises
    ------
    CrsError
        When PROJ does not know it.
    """
    text = str(name).strip()
    if text.lower() == LOCAL:
        return PLAIN_PIXELS
    try:
        return _mapped(CRS(f"EPSG:{text}" if text.isdigit() else text))
    except CRSError as error:
        raise CrsError(
            f"the CRS '{text}' is not known; write an EPSG code such as EPSG:32618, or local for pixel coordinates."
        ) from error


def definition(crs: rasterio.crs.CRS) -> str:
    """Return the whole definition of a file's CRS as text: WKT 2, which keeps shifts to WGS 84 and vertical parts."""
    return str(crs.to_wkt(version=WktVersion.WKT2_2019))


@lru_cache(maxsize=256)
def stated_crs(wkt: str) -> CRS:
    """Return the CRS that a file states: a code only where its definition is equal, else the definition itself.

    GDAL's and PROJ's own search for a code also takes one that is merely close, with another datum or without the
    file's shift to WGS 84 (``TOWGS84``); that moves a map by some hundred metres.

    Parameters
    ----------
    wkt : str
        The definition, WKT 2 or 1.

    Raises
    ------
    CrsError
        When PROJ does not know it, or it is no CRS of a map.
    """
    try:
        crs = pyproj.CRS.from_wkt(wkt)
    except CRSError as error:
        raise CrsError(
            f"PROJ does not know the coordinate reference system ({wkt[:60]}...); "
            "assign a known one: `rio edit-info --crs EPSG:32618 FILE`."
        ) from error
    code = exact_code(crs)
    return _mapped(CRS(code if code and code.startswith("EPSG:") else wkt))


def exact_code(crs: pyproj.CRS) -> str | None:
    """Return the code of a CRS, such as ``"EPSG:32618"``, whose definition is equal to it; None when there is none."""
    authority = crs.to_authority()
    if authority is None:
        return None
    coded = pyproj.CRS.from_authority(*authority)
    return ":".join(authority) if crs == coded and coded == crs else None


def _mapped(crs: CRS) -> CRS:
    """Refuse a CRS whose coordinates are no place in a plane."""
    is_height = crs.proj.is_vertical and not crs.proj.is_compound
    if crs.proj.is_geocentric or is_height:
        raise CrsError(
            f"the coordinate reference system '{crs.proj.name}' ({crs.proj.type_name}) is not one of a map; "
            "warp the raster to a projected or geographic one, such as `gdalwarp -t_srs EPSG:32618`."
        )
    return crs


def is_plain(geobox: GeoBox) -> bool:
    """Say whether a grid has no place on the ground but counts plain pixels.

    Its CRS is known by its name: a GeoTIFF keeps neither the unit nor the datum of such a CRS.
    """
    crs = geobox.crs
    return crs is not None and crs.proj.is_engineering and crs.proj.name == PLAIN_PIXELS.proj.name


def grid_of(
    shape: tuple[int, int], transform: Affine, crs: CRS | None, default: CRS | None, *, require_crs: bool
) -> GeoBox | None:
    """The grid of a raster that says these things of itself; None where it has no place and has to have one.

    Parameters
    ----------
    shape : (int, int)
        Height and width, px.
    transform : Affine
        The identity where there is none.
    crs : CRS or None
        Its own.
    default : CRS or None
        Of a raster that has none; plain pixels are placed without a transform too.
    require_crs : bool
        False also takes a raster without CRS or transform.
    """
    has_place = not transform.is_identity
    if default == PLAIN_PIXELS and not (crs is not None and has_place):
        return GeoBox(shape, transform if has_place else UPRIGHT, PLAIN_PIXELS)
    if crs is None and default is not None and has_place:
        return GeoBox(shape, transform, default)
    return None if require_crs and (crs is None or not has_place) else GeoBox(shape, transform, crs)


def ground_resolution(geobox: GeoBox) -> tuple[float, float]:
    """Measure a pixel on the ground, at the grid's centre.

    The length of one CRS unit comes from the CRS's own ellipsoid (``pyproj.Geod``); a projection that is true to
    scale within 1 % there counts as exact, so UTM pixels of 10 units are 10 m.

    Returns
    -------
    (float, float)
        Metres along a column and along a row: height and width of a pixel. Plain pixels have no metres: 1, or as
        their transform says.

    Raises
    ------
    CrsError
        When the grid has no CRS.
    """
    along_x, along_y = _metres_per_unit(geobox)
    a, b, _, d, e, _ = tuple(geobox.transform)[:6]
    return math.hypot(b * along_x, e * along_y), math.hypot(a * along_x, d * along_y)


def at_resolution(geobox: GeoBox, resolution: float) -> GeoBox:
    """Return the grid with pixels of a resolution on the ground.

    It begins at the same corner and covers the same bounds, the last row and column perhaps a little more. A grid
    whose pixels are within 1 % of the resolution is returned unchanged.

    Parameters
    ----------
    geobox : GeoBox
        The grid.
    resolution : float
        Metres on the ground per pixel.
    """
    tall, wide = ground_resolution(geobox)
    if max(abs(tall / resolution - 1), abs(wide / resolution - 1)) <= SAME_RESOLUTION:
        return geobox
    zoom_y, zoom_x = resolution / tall, resolution / wide
    height, width = geobox.shape
    shape = max(1, math.ceil(height / zoom_y - SAME_GRID)), max(1, math.ceil(width / zoom_x - SAME_GRID))
    return GeoBox(shape, geobox.transform @ Affine.scale(zoom_x, zoom_y), geobox.crs)


def covering(geobox: GeoBox, others: Sequence[GeoBox]) -> GeoBox:
    """Extend a grid by whole pixels until it covers other grids too.

    Where that would take more than all longitudes, because some grids count them from 0 and some from -180, each of
    the others is taken where it is next to the first, and no place is there twice.
    """
    windows = [Window(0, 0, *geobox.shape), *(footprint(other, geobox) for other in others)]
    turn = turn_of(geobox.crs)
    step = turn / abs(geobox.transform.a) if turn is not None and geobox.transform.a else math.inf
    if max(w.right for w in windows) - min(w.x for w in windows) > step + 1:
        windows = [_nearest(window, windows[0], step) for window in windows]
    top, left = min(w.y for w in windows), min(w.x for w in windows)
    bottom, right = max(w.bottom for w in windows), max(w.right for w in windows)
    if right - left > step + 1:
        left = max(left, windows[0].right - round(step))
        right = left + round(step)
    return GeoBox((bottom - top, right - left), geobox.transform @ Affine.translation(left, top), geobox.crs)


def _nearest(window: Window, first: Window, step: float) -> Window:
    """The window, some turns of the globe away, so that it is next to the first."""
    turns = round((first.x + first.width / 2 - window.x - window.width / 2) / step)
    return replace(window, x=window.x + round(turns * step))


def turned(geobox: GeoBox) -> Iterator[GeoBox]:
    """The same grid one turn of the globe to the east, and one to the west; none where its CRS has no longitudes."""
    turn = turn_of(geobox.crs)
    for shift in () if turn is None else (turn, -turn):
        yield GeoBox(geobox.shape, Affine.translation(shift, 0.0) @ geobox.transform, geobox.crs)


def turn_of(crs: CRS | None) -> float | None:
    """All longitudes in units of a CRS; None where it has none."""
    if crs is None or not crs.proj.is_geographic:
        return None
    return math.tau / (crs.proj.axis_info[0].unit_conversion_factor or math.radians(1.0))


def footprint(geobox: GeoBox, onto: GeoBox) -> Window:
    """Return the pixels of a grid that another raster touches; the window may lie outside the grid.

    Raises
    ------
    CrsError
        When no point of the raster can be expressed in the other's CRS.
    """
    if geobox.crs == onto.crs:
        return _around(*_spread(geobox, onto, 2))
    return _footprint_elsewhere(geobox, onto)


@lru_cache(maxsize=1 << 15)
def _footprint_elsewhere(geobox: GeoBox, onto: GeoBox) -> Window:
    """Do it for two CRS: the bands of a scene have one grid, so each answer is asked for several times."""
    y, x = _spread(geobox, onto, _EDGE)
    known = np.isfinite(y) & np.isfinite(x)
    if not known.any():
        raise CrsError(
            f"a raster in {crs_label(geobox.crs)} cannot be projected to {crs_label(onto.crs)}; give rasters of one "
            "region, or reproject them first."
        )
    return _around(y[known], x[known])


def _spread(geobox: GeoBox, onto: GeoBox, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Express ``count`` x ``count`` points of a raster, from corner to corner, in px of a grid."""
    height, width = geobox.shape
    along = np.linspace(0.0, 1.0, count)
    return pixel_positions(np.repeat(along * height, count), np.tile(along * width, count), geobox, onto)


def _around(y: NDArray[np.float64], x: NDArray[np.float64]) -> Window:
    """Return the pixels between points."""
    top, left = (math.floor(values.min() + SAME_GRID) for values in (y, x))
    bottom, right = (math.ceil(values.max() - SAME_GRID) for values in (y, x))
    return Window(top, left, max(0, bottom - top), max(0, right - left))


def pixel_offset(geobox: GeoBox, onto: GeoBox) -> tuple[int, int] | None:
    """Return where a raster's pixel (0, 0) lies in a grid whose pixels are its own: ``(y, x)``, else None."""
    if geobox.crs != onto.crs:
        return None
    shift: Affine = ~onto.transform @ geobox.transform
    y, x = round(shift.f), round(shift.c)
    height, width = geobox.shape
    for row, column in ((0, 0), (0, width), (height, 0), (height, width)):
        at_x, at_y = shift @ (column, row)
        if max(abs(at_x - column - x), abs(at_y - row - y)) > SAME_GRID:
            return None
    return y, x


@lru_cache(maxsize=1024)
def lies_at(geobox: GeoBox, wkt: str) -> bool:
    """Say whether the corners of a grid are the same places, to half a pixel, when read in another CRS."""
    crs = stated_crs(wkt)
    if geobox.crs is None or crs == geobox.crs:
        return True
    height, width = geobox.shape
    rows, columns = np.array([0.0, 0.0, height, height]), np.array([0.0, width, 0.0, width])
    y, x = pixel_positions(rows, columns, GeoBox(geobox.shape, geobox.transform, crs), geobox)
    return bool((np.hypot(y - rows, x - columns) <= SAME_PLACE).all())


def pixel_positions(
    rows: NDArray[np.float64], columns: NDArray[np.float64], geobox: GeoBox, onto: GeoBox
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Express points of one grid in another.

    Parameters
    ----------
    rows, columns : ndarray of float64, one shape
        Points in px of ``geobox``; (0, 0) is the outer corner of the first pixel.
    geobox, onto : GeoBox
        From which grid to which.

    Returns
    -------
    rows, columns : ndarray of float64
        The points in px of ``onto``; not finite where the CRS has no such place.
    """
    x, y = _apply(geobox.transform, columns, rows)
    if geobox.crs != onto.crs:
        x, y = _transformer(geobox.crs, onto.crs).transform(x, y)
    columns, rows = _apply(~onto.transform, np.asarray(x), np.asarray(y))
    return rows, columns


def _apply(
    transform: Affine, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with np.errstate(invalid="ignore"):  # what has no place is infinite
        return transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f


def _metres_per_unit(geobox: GeoBox) -> tuple[float, float]:
    """Return the metres of one CRS unit along x and along y at the grid's centre."""
    if geobox.crs is None:
        raise CrsError("a raster without a coordinate reference system has no metres per pixel; assign a CRS first.")
    proj = geobox.crs.proj
    x, y = geobox.transform @ (geobox.shape[1] / 2, geobox.shape[0] / 2)
    unit = proj.axis_info[0].unit_conversion_factor or 1.0
    geod, geodetic = proj.get_geod(), proj.geodetic_crs
    if geod is None or geodetic is None:
        return unit, unit
    if proj.is_geographic:
        degrees = math.degrees(unit)
        longitude, latitude = x * degrees, float(np.clip(y * degrees, -89.0, 89.0))
        east = geod.inv(longitude, latitude, longitude + 1e-3, latitude)[2]
        north = geod.inv(longitude, latitude - 5e-4, longitude, latitude + 5e-4)[2]
        return east * 1e3 * degrees, north * 1e3 * degrees
    step = _METRES / unit
    transformer = _transformer(geobox.crs, CRS(geodetic))
    longitudes, latitudes = transformer.transform([x, x + step, x], [y, y, y + step])
    if not np.isfinite([*longitudes, *latitudes]).all():
        return unit, unit
    lengths = [geod.inv(longitudes[0], latitudes[0], longitudes[i], latitudes[i])[2] / step for i in (1, 2)]
    mean = math.sqrt(lengths[0] * lengths[1])
    return (unit, unit) if abs(mean / unit - 1) <= SAME_RESOLUTION else (mean, mean)


def crs_label(crs: CRS | None) -> str:
    """Name a CRS in a sentence: by its code, or as the CRS 'name in its definition'."""
    if crs is None:
        return "none"
    return exact_code(crs.proj) or f"the CRS '{crs.proj.name}'"


@lru_cache(maxsize=64)
def _transformer(source: CRS, target: CRS) -> Transformer:
    try:
        return Transformer.from_crs(source.proj, target.proj, always_xy=True)
    except ProjError as error:
        raise CrsError(
            f"PROJ has no transformation from '{source.proj.name}' to '{target.proj.name}'; give rasters of one planet."
        ) from error
